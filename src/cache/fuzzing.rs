//! The journal, for the fuzz targets: the only thing they look at that is private.

use std::io;
use std::path::Path;

use super::disk::{Disk, LocalDisk};
use super::journal::{Found, Journal};

/// Reads the journal in folder `from`, as a start does, and appends all its records to the one in `to`.
/// Returns how many records were skipped; `None` where there was no journal of this version.
///
/// # Errors
///
/// The operating system's reason if the disk fails.
pub fn copy_journal(from: &Path, to: &Path) -> io::Result<Option<u64>> {
    let mut records = Vec::new();
    let (_, found) = Journal::open(&*LocalDisk.enter(from)?, |record| records.push(record))?;
    let (mut copy, _) = Journal::open(&*LocalDisk.enter(to)?, |_| ())?;
    copy.append(&records)?;
    Ok(match found {
        Found::Replayed { skipped } => Some(skipped),
        Found::Missing | Found::Foreign => None,
    })
}
