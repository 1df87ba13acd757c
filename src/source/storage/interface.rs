//! What every storage does: see [`Storage`].

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use thiserror::Error;

use super::stamp::Stamp;
use crate::objects::ObjectError;

/// Most files and folders of an image that one survey visits: half a second on a local disk.
const MOST_ENTRIES: usize = 200_000;

/// Longest time for it. The reader who opens the file waits.
const LONGEST_TIME: Duration = Duration::from_secs(1);

/// The same, where a listing takes a request for each thousand files.
const LONGEST_REMOTE_TIME: Duration = Duration::from_secs(8);

/// The calls on the files of a source. Paths are relative to its top folder; the empty path is that
/// folder itself.
///
/// A call answers, or it fails: no storage turns an error into "there is nothing". A storage never leaves
/// its source, opens nothing but regular files, and writes nothing.
///
/// Methods with a default are for what only some storages have.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// `NotFound` when there is no such name; any other error when there is one and it is not a
    /// regular file below the source folder that may be read.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)>;

    /// Whether each call is a request to another machine. Such a storage has versions for stamps, no owners and
    /// no links; what it does not find is not there; and each call ends in time.
    fn is_remote(&self) -> bool {
        false
    }

    /// As [`Storage::open`], for a file of which some parts will be read, the index first.
    ///
    /// # Errors
    /// As for [`Storage::open`].
    fn open_parts(&self, path: &Path, _index: Index) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        self.open(path)
    }

    /// Says that the caller opens these small files next, of which some may be absent. A storage may fetch them all at
    /// once, and answer from them for a moment.
    fn open_soon(&self, _paths: &[PathBuf]) {}

    /// What stands at the path of a file, as of `since` or later: callers may share one answer.
    ///
    /// # Errors
    /// As for [`Storage::stat`].
    fn stat_since(&self, path: &Path, _since: Instant) -> io::Result<Meta> {
        self.stat(path, Links::Follow)
    }

    /// What stands at a path. Storages without links ignore `links`.
    ///
    /// # Errors
    /// `NotFound` when there is no such name, else the reason of the storage.
    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta>;

    /// Opens a folder for listing.
    ///
    /// # Errors
    /// `NotFound` when there is no such name, `NotADirectory` when it is no folder, else the
    /// reason of the storage.
    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>>;

    /// Calls `visit` with every file below a folder, by its path relative to that folder, in no particular
    /// order. `None`: there is no such listing, and the caller walks the folders.
    fn survey(
        &self,
        _folder: &Path,
        _budget: &mut Budget,
        _visit: &mut dyn FnMut(&Path, &Meta),
    ) -> Option<Result<(), Unfollowed>> {
        None
    }

    /// Waits until a file answers, and returns whether it does. The caller holds no memory meanwhile: a file
    /// system may hang. A storage whose calls end in time need not ask.
    fn answers(&self, path: &Path) -> bool {
        self.open(path).and_then(|(file, _)| file.read_exact_at(&mut [0], 0)).is_ok()
    }

    /// Whether a regular file is an archive of Zarr metadata. If so, its path is also the path of a folder.
    ///
    /// # Errors
    /// `InvalidData` for an archive that is damaged, else the reason of the storage.
    fn holds_zarr(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }

    /// Which members of an archive no path leads to, in words; `None` where there are none.
    fn left_out(&self, _path: &Path) -> Option<String> {
        None
    }

    /// As [`Storage::stat`], following links, with an access control list counted in its narrowest reading.
    ///
    /// # Errors
    /// As for [`Storage::stat`].
    fn access(&self, path: &Path) -> io::Result<Meta> {
        self.stat(path, Links::Follow)
    }

    /// The size of the file system that holds the source; all zero where it has none.
    ///
    /// # Errors
    /// The reason of the storage.
    fn space(&self) -> io::Result<Space> {
        Ok(Space { block_bytes: 4096, ..Space::default() })
    }
}

/// An open file.
pub trait OpenFile: fmt::Debug + Send + Sync {
    /// The state that the bytes read so far are of: the one it was opened in, unless it has changed.
    ///
    /// # Errors
    /// The reason of the storage.
    fn stamp(&self) -> io::Result<Stamp>;

    /// Fills `out` from byte `offset` on.
    ///
    /// # Errors
    /// The reason of the storage; `UnexpectedEof` beyond the end.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// The bytes of several ranges, in the order given.
    ///
    /// # Errors
    /// As for [`OpenFile::read_exact_at`].
    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
        let read = |range: &Range<u64>| {
            let length = usize::try_from(range.end.saturating_sub(range.start));
            let mut bytes = vec![0; length.unwrap_or(usize::MAX)];
            self.read_exact_at(&mut bytes, range.start).map(|()| bytes)
        };
        ranges.iter().map(read).collect()
    }
}

/// Where the index of a file lies, and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// At the start of the file.
    AtStart(u64),
    /// At its end.
    AtEnd(u64),
}

/// An open folder.
pub trait OpenFolder: fmt::Debug + Send {
    /// The state of the folder now; always the same where a storage has no states of folders.
    ///
    /// # Errors
    /// The reason of the storage.
    fn meta(&self) -> io::Result<Meta>;

    /// The next names, without `.` and `..`, in no particular order; none at the end.
    ///
    /// # Errors
    /// The reason of the storage; `NotFound` when the folder was removed meanwhile.
    fn next_names(&mut self) -> io::Result<Vec<FolderName>>;

    /// What a name in the folder stands for; a link is not followed.
    ///
    /// # Errors
    /// `NotFound` when the name has gone, else the reason of the storage.
    fn stat(&self, name: &OsStr) -> io::Result<Meta>;
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderName {
    /// Any bytes but `/` and NUL.
    pub name: OsString,
    /// What it stands for, where the storage gives that with the name.
    pub kind: Option<FileKind>,
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The target counts.
    Follow,
    /// The link itself counts.
    Stay,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A socket, device or FIFO.
    Other,
}

/// What `stat` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: FileKind,
    /// The state it is in.
    pub stamp: Stamp,
    /// Which file or folder it is, in whatever state and at whatever path; `None` where the path alone
    /// says that.
    pub node: Option<u128>,
    /// Owner and mode, where the storage has them. An access control list is not counted: its mask stands
    /// for the group's bits.
    pub access: Option<Access>,
}

impl Meta {
    /// A file or folder of a storage that knows neither owners nor links.
    #[must_use]
    pub fn plain(kind: FileKind, stamp: Stamp) -> Self {
        Self { kind, stamp, node: None, access: None }
    }

    /// Whether both, of one path or of a link and its target, are the same file or folder, in whatever
    /// state.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.node == other.node && self.kind == other.kind
    }
}

/// Who may do what with a file or folder, by the three classes of POSIX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Access {
    /// Permission bits, such as `0o640`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Access {
    /// Everybody may read, where a storage knows no owners. `uid` is the owner to show.
    #[must_use]
    pub fn everybody(uid: u32) -> Self {
        Self { mode: 0o555, uid, gid: 0 }
    }
}

/// Size of a file system and what of it is free, as `statvfs` reports it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Size of a block in bytes.
    pub block_bytes: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Blocks that are free, those for root included.
    pub free: u64,
    /// Blocks that are free for everybody.
    pub available: u64,
    /// Number of files it can hold.
    pub files: u64,
    /// Number of files that can be added.
    pub files_free: u64,
}

/// Why the chunk files of an image cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unfollowed {
    /// There are more than a survey visits.
    #[error("more than {MOST_ENTRIES} files")]
    TooMany,
    /// The survey took too long.
    #[error("looking at its files took too long")]
    TooSlow,
    /// A folder could not be read, or something in it is neither a file nor a folder.
    #[error("not all its files can be looked at")]
    Unreadable,
    /// The service does not list what it has.
    #[error("the source does not list its files")]
    NoListing,
    /// Its folders came and went during each look.
    #[error("its folders come and go")]
    Unsteady,
}

/// How much surveys may still visit, and until when.
#[derive(Debug)]
pub struct Budget {
    entries: usize,
    deadline: Instant,
}

impl Budget {
    /// The budget for one image of a storage.
    pub(in crate::source) fn of_image(is_remote: bool) -> Self {
        let time = if is_remote { LONGEST_REMOTE_TIME } else { LONGEST_TIME };
        Self { entries: MOST_ENTRIES, deadline: Instant::now() + time }
    }

    #[cfg(test)]
    pub(super) fn of_entries(entries: usize) -> Self {
        Self { entries, ..Self::of_image(false) }
    }

    /// Entries that are left.
    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Sets the entries that are left, as before a folder is listed again.
    pub(super) fn restore(&mut self, entries: usize) {
        self.entries = entries;
    }

    /// Takes one entry.
    ///
    /// # Errors
    /// [`Unfollowed::TooMany`] or [`Unfollowed::TooSlow`] when the budget is used up.
    pub fn take(&mut self) -> Result<(), Unfollowed> {
        self.entries = self.entries.checked_sub(1).ok_or(Unfollowed::TooMany)?;
        if Instant::now() < self.deadline { Ok(()) } else { Err(Unfollowed::TooSlow) }
    }
}

/// The source itself is not there, or does not answer: until it is back, every call fails.
#[derive(Debug)]
pub(crate) struct SourceGone;

impl SourceGone {
    /// Whether it is the reason of an error. The storage has logged it already.
    pub(crate) fn is_reason_of(error: &io::Error) -> bool {
        let is_gone = error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Self>);
        is_gone || ObjectError::reason_of(error).is_some_and(|error| error.fault.is_outage())
    }
}

impl fmt::Display for SourceGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SOURCE is gone")
    }
}

impl Error for SourceGone {}

/// Whether an error says that there is no such name.
pub(in crate::source) fn is_not_found(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether a link that fails in this way leads nowhere, or out of the source folder.
pub(in crate::source) fn is_bad_link(error: &io::Error) -> bool {
    let outside = [Errno::XDEV, Errno::LOOP].map(|errno| Some(errno.raw_os_error()));
    is_not_found(error) || outside.contains(&error.raw_os_error())
}
