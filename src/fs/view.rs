//! The face of a tree of files to the services that show it: FUSE, and any other file service.
//!
//! A service needs nothing else of this layer. Inodes name files and folders; a handle keeps a file in
//! the state in which it was opened.

use std::ffi::{OsStr, OsString};
use std::time::{Duration, SystemTime};

pub use super::error::{ErrorKind, FsError};
pub use crate::source::storage::Space;

/// How long a service may answer `stat` and lookups by itself. A name is compared with the source
/// when the last comparison is older than this.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The root folder, by convention of FUSE.
    pub const ROOT: Self = Self(1);
    /// The largest number in a tree. Those above are for what a view shows beside a tree.
    pub const MOST: Self = Self(u64::MAX - 16);
}

/// File or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A folder.
    Directory,
    /// A virtual `.ims` file.
    File,
}

/// The answer to `stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number.
    pub ino: Ino,
    /// File or folder.
    pub kind: NodeKind,
    /// Size in bytes; 0 for folders.
    pub size: u64,
    /// Time of the newest metadata file of the image, and of its chunk files after the first look at
    /// them; of a folder, its own, or that of the last change of what is shown in it.
    pub modified: SystemTime,
    /// Permission bits, without any for writing.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// One name in a folder.
#[derive(Debug, Clone)]
pub struct DirectoryEntry {
    /// The name.
    pub name: OsString,
    /// What it stands for.
    pub attributes: Attributes,
}

/// What a service does with the pages that it has cached of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// The cached pages are valid.
    Keep,
    /// The cached pages must be dropped.
    Drop,
    /// This handle must read past the cached pages (`FOPEN_DIRECT_IO`).
    Bypass,
}

/// A file that was opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenedHandle {
    /// Number of the handle.
    pub handle: u64,
    /// What becomes of cached pages.
    pub paging: Paging,
    /// The inode stands for another file now: the service must ask for its attributes again.
    pub is_another: bool,
}

/// Receives the bytes of a read, possibly on another thread.
pub type ReadDone = Box<dyn FnOnce(Result<&[u8], FsError>) + Send>;

/// A tree of files that can be read.
///
/// All but [`View::attributes_at_hand`], [`View::read`] and [`View::close`] may wait for the source.
pub trait View: Send + Sync {
    /// Finds a name in a folder. The name `.` is any inode itself, also of a file, and also one that an earlier run
    /// has given out: that may take a look into all folders.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::Stale`], [`FsError::NotADirectory`], [`FsError::Source`].
    fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attributes, FsError>;

    /// Attributes of a known inode.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is not known.
    fn attributes(&self, ino: Ino) -> Result<Attributes, FsError>;

    /// The same, if that takes no look into the source.
    fn attributes_at_hand(&self, ino: Ino) -> Option<Attributes>;

    /// Compares a folder with the source, if it was listed before and not compared lately: for after an answer that
    /// told its time. Clients of NFS keep the names that they know for as long as this time stays.
    fn compare(&self, _folder: Ino) {}

    /// The names in a folder, with `.` and `..` first.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`], [`FsError::Stale`], [`FsError::Source`].
    fn entries(&self, folder: Ino) -> Result<Vec<DirectoryEntry>, FsError>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`FsError::IsADirectory`]; [`FsError::Stale`] when the file is gone or keeps changing;
    /// [`FsError::Restricted`] when fewer users may read it than at the lookup.
    fn open(&self, ino: Ino) -> Result<OpenedHandle, FsError>;

    /// Reads `len` bytes from `offset`, fewer at the end of the file. Calls `done` before it returns
    /// if the bytes are at hand, else later from a worker; the caller's thread never waits.
    fn read(&self, handle: u64, offset: u64, len: usize, done: ReadDone);

    /// Closes a handle.
    fn close(&self, handle: u64);

    /// Size and free space.
    ///
    /// # Errors
    /// [`FsError::Io`].
    fn statfs(&self) -> Result<Space, FsError>;
}
