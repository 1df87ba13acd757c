//! The journal, for the fuzz targets: the only thing they look at that is private.

use std::path::Path;

use super::CacheError;
use super::journal::{Found, Journal};

/// Reads the journal at `from`, as a start does, and appends all its records to the one at `to`.
/// Returns how many records were skipped; `None` where there was no journal of this version.
///
/// # Errors
///
/// [`CacheError::Journal`] if the disk fails.
pub fn copy_journal(from: &Path, to: &Path) -> Result<Option<u64>, CacheError> {
    let mut records = Vec::new();
    let (_, found) = Journal::open(from, |record| records.push(record))?;
    let (mut copy, _) = Journal::open(to, |_| ())?;
    copy.append(&records)?;
    Ok(match found {
        Found::Replayed { skipped } => Some(skipped),
        Found::Missing | Found::Foreign => None,
    })
}
