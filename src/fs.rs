//! The file system without a kernel: names, inodes, handles, reads.
//!
//! [`view`] is the face that services such as FUSE see. [`tree`] mirrors the source folder and follows
//! its changes, [`naming`] decides the name of each store. This layer knows what a file system promises
//! and nothing of the FUSE protocol.

mod error;
pub mod naming;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod view;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::image::ImageError;
use crate::sync::lock;

use tree::Opened;
pub use tree::{ImageNames, Labels, Revalidate, Save, Tree, TreeConfig};
pub use view::{
    Attributes, DirectoryEntry, FsError, Ino, NodeKind, OpenedHandle, Paging, ReadDone, Space, View,
};

/// The file system of one mount: a tree and its open files.
#[derive(Debug)]
pub struct FileSystem {
    tree: Tree,
    handles: Mutex<HashMap<u64, Opened>>,
    next_handle: AtomicU64,
}

impl FileSystem {
    /// A file system over a tree.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self { tree, handles: Mutex::default(), next_handle: AtomicU64::new(1) }
    }

    /// Number of open files.
    #[must_use]
    pub fn open_handles(&self) -> usize {
        lock(&self.handles).len()
    }

    /// Saves what is known of the source in the cache, for the next start.
    pub fn save(&self, when: Save) {
        self.tree.save(when);
    }
}

impl View for FileSystem {
    fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attributes, FsError> {
        self.tree.lookup(parent, name)
    }

    fn attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        self.tree.fresh_attributes(ino)
    }

    fn attributes_at_hand(&self, ino: Ino) -> Option<Attributes> {
        self.tree.attributes_at_hand(ino)
    }

    fn entries(&self, folder: Ino) -> Result<Vec<DirectoryEntry>, FsError> {
        self.tree.entries(folder)
    }

    fn open(&self, ino: Ino) -> Result<OpenedHandle, FsError> {
        let opened = self.tree.open(ino)?;
        let (paging, is_another) = (opened.paging, opened.is_another);
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        lock(&self.handles).insert(handle, opened);
        Ok(OpenedHandle { handle, paging, is_another })
    }

    fn read(&self, handle: u64, offset: u64, len: usize, done: ReadDone) {
        let file = lock(&self.handles).get(&handle).map(|opened| opened.file.clone());
        let Some(file) = file else { return done(Err(FsError::BadHandle)) };
        let reader = file.clone();
        let answer = move |result: Result<&[u8], ImageError>| {
            if result.as_ref().is_err_and(ImageError::is_change) {
                reader.outdate();
            }
            done(result.map_err(FsError::from));
        };
        file.read(offset, len, Box::new(answer));
    }

    fn close(&self, handle: u64) {
        let closed = lock(&self.handles).remove(&handle);
        if let Some(opened) = closed {
            self.tree.close(opened);
        }
    }

    fn statfs(&self) -> Result<Space, FsError> {
        Ok(self.tree.source().storage().space()?)
    }
}
