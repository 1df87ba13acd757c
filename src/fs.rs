//! The file system without a kernel: names, inodes, handles, reads.
//!
//! [`tree`] mirrors the source folder and keeps up with its changes, [`naming`] decides what a store
//! is called. This layer knows what a file system promises and nothing of the FUSE protocol.

pub mod naming;
pub mod tree;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use crate::image::ImageError;
use crate::source::SourceError;
use crate::source::storage::Space;

use tree::Opened;
pub use tree::{
    Attributes, DirectoryEntry, Ino, NodeKind, Paging, Revalidate, Save, Tree, TreeConfig,
};

/// Why a file system operation fails.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FsError {
    /// No such name in the folder.
    #[error("no such file or folder")]
    NotFound,
    /// The inode is not known, or the store behind it changed.
    #[error("file has changed or gone since it was looked up")]
    Stale,
    /// Fewer users may read the file than when it was looked up: the kernel has to ask again.
    #[error("permissions have been taken away since the file was looked up")]
    Restricted,
    /// The handle is not open.
    #[error("handle is not open")]
    BadHandle,
    /// A folder was expected.
    #[error("not a folder")]
    NotADirectory,
    /// A file was expected.
    #[error("is a folder")]
    IsADirectory,
    /// Nothing can be changed here.
    #[error("file system is read-only")]
    ReadOnly,
    /// A folder of the source cannot be read.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The bytes cannot be produced.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// A call of the operating system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// An open file or folder.
#[derive(Debug, Clone)]
enum Handle {
    File(Opened),
    Folder(Arc<Vec<DirectoryEntry>>),
}

/// A file that was opened.
#[derive(Debug, Clone, Copy)]
pub struct OpenedHandle {
    /// Number of the handle.
    pub handle: u64,
    /// What the kernel does with the pages it has.
    pub paging: Paging,
    /// The kernel must ask for the attributes of the inode.
    pub is_another: bool,
}

/// Receives the bytes of a read, possibly on another thread.
pub type ReadDone = Box<dyn FnOnce(Result<&[u8], FsError>) + Send>;

/// The file system of one mount.
#[derive(Debug)]
pub struct FileSystem {
    tree: Tree,
    handles: Mutex<HashMap<u64, Handle>>,
    next_handle: AtomicU64,
}

impl FileSystem {
    /// A file system over a tree.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self { tree, handles: Mutex::default(), next_handle: AtomicU64::new(1) }
    }

    /// The tree of names.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Finds a name in a folder.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::Stale`], [`FsError::NotADirectory`], [`FsError::Source`].
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attributes, FsError> {
        self.tree.lookup(parent, name)
    }

    /// Attributes of a known inode; may look into the source for owner and mode.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is not known.
    pub fn attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        self.tree.fresh_attributes(ino)
    }

    /// The same, if that needs no look into the source.
    #[must_use]
    pub fn attributes_at_hand(&self, ino: Ino) -> Option<Attributes> {
        self.tree.attributes_at_hand(ino)
    }

    /// The size of the file system that holds the source.
    ///
    /// # Errors
    /// [`FsError::Io`].
    pub fn space(&self) -> Result<Space, FsError> {
        Ok(self.tree.source().storage().space()?)
    }

    /// Opens a file for reading; also tells what becomes of the pages the kernel has of it.
    ///
    /// # Errors
    /// As for [`Tree::open`].
    pub fn open(&self, ino: Ino) -> Result<OpenedHandle, FsError> {
        let opened = self.tree.open(ino)?;
        let (paging, is_another) = (opened.paging, opened.is_another);
        Ok(OpenedHandle { handle: self.insert(Handle::File(opened)), paging, is_another })
    }

    /// Opens a folder; the handle keeps the names it has now.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`], [`FsError::Stale`], [`FsError::Source`].
    pub fn open_folder(&self, ino: Ino) -> Result<u64, FsError> {
        let entries = self.tree.entries(ino)?;
        Ok(self.insert(Handle::Folder(Arc::new(entries))))
    }

    /// The names of an open folder, with `.` and `..` first.
    ///
    /// # Errors
    /// [`FsError::BadHandle`].
    pub fn folder_entries(&self, handle: u64) -> Result<Arc<Vec<DirectoryEntry>>, FsError> {
        match self.get(handle)? {
            Handle::Folder(entries) => Ok(entries),
            Handle::File(_) => Err(FsError::NotADirectory),
        }
    }

    /// Reads `len` bytes from `offset`, fewer at the end of the file. Bytes at hand are delivered
    /// before this returns, others later by a worker; the caller's thread never waits.
    pub fn read(&self, handle: u64, offset: u64, len: usize, done: ReadDone) {
        match self.get(handle) {
            Ok(Handle::File(Opened { file, .. })) => {
                let reader = file.clone();
                let answer = move |result: Result<&[u8], ImageError>| {
                    if let Err(error) = &result
                        && error.is_change()
                    {
                        reader.outdate();
                    }
                    done(result.map_err(FsError::from));
                };
                file.read(offset, len, Box::new(answer));
            }
            Ok(Handle::Folder(_)) => done(Err(FsError::IsADirectory)),
            Err(error) => done(Err(error)),
        }
    }

    /// Closes a handle.
    pub fn release(&self, handle: u64) {
        let closed = self.lock_handles().remove(&handle);
        if let Some(Handle::File(opened)) = closed {
            self.tree.close(opened);
        }
    }

    fn insert(&self, handle: Handle) -> u64 {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.lock_handles().insert(number, handle);
        number
    }

    fn get(&self, handle: u64) -> Result<Handle, FsError> {
        self.lock_handles().get(&handle).cloned().ok_or(FsError::BadHandle)
    }

    fn lock_handles(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
