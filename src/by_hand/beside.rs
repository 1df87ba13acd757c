//! The file `NAME.zarrims.toml` beside a store NAME.
//!
//! Every user who may write into a folder of stores may write such a file: its size and the number of its tables
//! are bounded, and its paths stay below its folder.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::source::store_name::BESIDE;
use crate::source::{Fingerprint, Seen, SourceError, SourceRoot, Unsupported};

use super::document::{Document, Mistake, Origin};
use super::store::Place;
use super::tables::Tables;

/// Largest file that is read, in bytes.
const LIMIT_BYTES: u64 = 64 << 10;

/// Most tables of each kind.
const TABLES_LIMIT: usize = 100;

/// Longest name that a file can have.
const NAME_LIMIT_BYTES: usize = 255;

/// Where the file of a store is. A store that is the whole source has none, nor one with too long a name.
pub(super) fn file_of(store: &Path) -> Option<PathBuf> {
    let mut name = store.file_name()?.to_owned();
    name.push(BESIDE);
    (name.len() <= NAME_LIMIT_BYTES).then(|| store.with_file_name(name))
}

/// The name of the store that a file is about, if it is such a file.
#[must_use]
pub(super) fn store_of(file: &OsStr) -> Option<&OsStr> {
    let store = file.as_bytes().strip_suffix(BESIDE.as_bytes())?;
    (!store.is_empty()).then(|| OsStr::from_bytes(store))
}

/// Reads a file, if it is there, and records its state.
///
/// # Errors
/// Where it cannot be read, or is wrong.
pub(super) fn read(
    root: &SourceRoot,
    file: &Path,
    fingerprint: &mut Fingerprint,
) -> Result<Option<Tables>, SourceError> {
    let Seen::Present(stamp) = fingerprint.record(root, file) else {
        // A file that cannot be looked at may be there: the answer is asked for again.
        return root.stamp(file).map(|_| None).map_err(|error| SourceError::io(file, error));
    };
    if stamp.size() > LIMIT_BYTES {
        return Err(wrong(file, &format!("is larger than {} KiB", LIMIT_BYTES >> 10)));
    }
    let Some((bytes, _)) = root.read_metadata(file)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| wrong(file, "is not UTF-8"))?;
    parse(&file.to_string_lossy(), &text).map(Some).map_err(|mistake| refused(file, &mistake))
}

fn wrong(file: &Path, words: &str) -> SourceError {
    let words = format!("{} {words}", file.display());
    SourceError::unsupported(file, Unsupported::ByHand(words))
}

/// The error of an image or a store whose table has a mistake.
pub(super) fn refused(path: &Path, mistake: &Mistake) -> SourceError {
    SourceError::unsupported(path, Unsupported::ByHand(mistake.to_string()))
}

/// The tables of the text of a file beside a store; `name` is what messages call the file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Tables, Mistake> {
    let document = Document::new(name, text);
    let root = document.parse()?;
    let tables = Tables::parse_all(&document, root.get_ref(), Place::Beside)?;
    if tables.stores.len().max(tables.views.len()) > TABLES_LIMIT {
        let origin = Origin { file: document.file.clone(), line: 1 };
        return Err(Mistake::at(&origin, format!("has more than {TABLES_LIMIT} tables of a kind")));
    }
    Ok(tables)
}
