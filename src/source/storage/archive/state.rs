//! An archive in one state, and the folders in it.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use super::super::interface::{FileKind, FolderName, Meta, OpenFolder};
use super::super::stamp::Stamp;
use super::directory::{Directory, Found};
use super::member::stamp_of;

/// Names that a listing gives at a time.
const NAMES: usize = 1024;

/// An archive that was opened or looked at, in one state.
pub(super) struct Archive<T> {
    /// The open file, or what a look at it has shown.
    pub(super) file: T,
    pub(super) stamp: Stamp,
    pub(super) directory: Arc<Directory>,
    /// A later change will have another stamp.
    pub(super) is_settled: bool,
}

/// The error of a path that is not in an archive: like that of a path below a file, where it is one.
pub(super) fn not_there(directory: &Directory, path: &[u8]) -> io::Error {
    let is_below_file = Path::new(OsStr::from_bytes(path))
        .ancestors()
        .skip(1)
        .any(|above| matches!(directory.find(above.as_os_str().as_bytes()), Some(Found::File(_))));
    let kind = if is_below_file { io::ErrorKind::NotADirectory } else { io::ErrorKind::NotFound };
    kind.into()
}

/// What stands at a path in an archive.
pub(super) fn meta_in(archive: &Archive<Meta>, path: &[u8]) -> Option<Meta> {
    if path.is_empty() {
        return Some(archive.file);
    }
    Some(match archive.directory.find(path)? {
        Found::File(member) => Meta::plain(FileKind::File, stamp_of(&archive.stamp, &member)),
        Found::Folder => Meta::plain(FileKind::Folder, archive.stamp.within(xxh3_128(path), 0)),
    })
}

/// A folder in an archive, in the state it was opened in.
pub(super) struct ArchiveFolder {
    archive: Archive<Meta>,
    path: Vec<u8>,
    /// The member at which the next names begin.
    next: Option<usize>,
}

impl ArchiveFolder {
    pub(super) fn new(archive: Archive<Meta>, path: Vec<u8>) -> Self {
        Self { archive, path, next: None }
    }
}

impl fmt::Debug for ArchiveFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveFolder").field("path", &self.path).finish_non_exhaustive()
    }
}

impl OpenFolder for ArchiveFolder {
    fn meta(&self) -> io::Result<Meta> {
        meta_in(&self.archive, &self.path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        let (names, next) = self.archive.directory.names(&self.path, self.next, NAMES);
        self.next = Some(next);
        Ok(names)
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        meta_in(&self.archive, &path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
