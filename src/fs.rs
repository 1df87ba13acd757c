//! The file system without a kernel: names, inodes, handles, reads.
//!
//! [`view`] is the face that services such as FUSE see. [`tree`] mirrors the source folder and follows
//! its changes, [`naming`] decides the name of each store. This layer knows what a file system promises
//! and nothing of the FUSE protocol.

mod error;
mod known;
pub mod naming;
#[cfg(test)]
mod tests;
pub mod tree;
pub mod view;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::image::{ImageError, VirtualFile};
use crate::sync::lock;

pub use known::KnownImage;
use known::KnownImages;
use tree::Opened;
pub use tree::{ImageNames, Labels, Revalidate, Save, Seen, Tree, TreeConfig, TreeFigures};
pub use view::{
    Attributes, DirectoryEntry, FsError, Ino, NodeKind, OpenedHandle, Paging, ReadDone, Space, View,
};

/// The file system of one mount: a tree and its open files.
#[derive(Debug)]
pub struct FileSystem {
    tree: Tree,
    handles: Mutex<HashMap<u64, Opened>>,
    next_handle: AtomicU64,
    known: KnownImages,
}

impl FileSystem {
    /// A file system over a tree.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        let (handles, known) = Default::default();
        Self { tree, handles, next_handle: AtomicU64::new(1), known }
    }

    /// The images that were opened, with the number of handles that are open. The source is not asked.
    #[must_use]
    pub fn known_images(&self) -> Vec<KnownImage> {
        self.known.now(&self.handles)
    }

    /// Notes an error for who asks later, unless it is everyday business or noted where it arose.
    fn noted<T>(
        &self,
        path: impl FnOnce() -> PathBuf,
        result: Result<T, FsError>,
    ) -> Result<T, FsError> {
        if let Err(error) = &result
            && error.is_noteworthy()
        {
            self.tree.images().note_error(&path(), error.to_string());
        }
        result
    }

    fn path_of(&self, ino: Ino) -> PathBuf {
        self.tree.path_of(ino).unwrap_or_default()
    }

    /// Number of open files.
    #[must_use]
    pub fn open_handles(&self) -> usize {
        lock(&self.handles).len()
    }

    /// What is known of the tree now.
    #[must_use]
    pub fn tree_figures(&self) -> TreeFigures {
        self.tree.figures()
    }

    /// What is at a path below the mount point, and below it.
    ///
    /// # Errors
    /// As for [`View::lookup`].
    pub fn walk_at(&self, path: &Path, see: &mut dyn FnMut(Seen<'_>)) -> Result<(), FsError> {
        self.tree.walk_at(path, see)
    }

    /// Opens the file at a path below the mount point for other work than to read it, and calls `work` with it.
    ///
    /// # Errors
    /// As for [`View::lookup`] and [`View::open`].
    pub fn with_file<T>(
        &self,
        path: &Path,
        work: impl FnOnce(&Arc<VirtualFile>) -> T,
    ) -> Result<T, FsError> {
        let opened = self.tree.open(self.tree.find(path)?.ino)?;
        let done = work(&opened.file);
        self.tree.close(opened);
        Ok(done)
    }

    /// Lists the image of a file among those that were opened.
    pub fn note(&self, path: &Path, file: &VirtualFile) {
        self.known.note(&path.into(), file);
    }

    /// Saves what is known of the source in the cache, for the next start.
    pub fn save(&self, when: Save) {
        self.tree.save(when);
    }
}

impl View for FileSystem {
    fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attributes, FsError> {
        self.noted(|| self.path_of(parent).join(name), self.tree.lookup(parent, name))
    }

    fn attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        self.tree.attributes(ino)
    }

    fn attributes_at_hand(&self, ino: Ino) -> Option<Attributes> {
        self.tree.attributes_at_hand(ino)
    }

    fn compare(&self, folder: Ino) {
        self.tree.compare(folder);
    }

    fn entries(&self, folder: Ino) -> Result<Vec<DirectoryEntry>, FsError> {
        self.noted(|| self.path_of(folder), self.tree.entries(folder))
    }

    fn open(&self, ino: Ino) -> Result<OpenedHandle, FsError> {
        let opened = self.noted(|| self.path_of(ino), self.tree.open(ino))?;
        self.known.note(&opened.path, &opened.file);
        let (paging, is_another) = (opened.paging, opened.is_another);
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        lock(&self.handles).insert(handle, opened);
        Ok(OpenedHandle { handle, paging, is_another })
    }

    fn read(&self, handle: u64, offset: u64, len: usize, done: ReadDone) {
        let file = lock(&self.handles)
            .get(&handle)
            .map(|opened| (opened.file.clone(), opened.path.clone()));
        let Some((file, path)) = file else { return done(Err(FsError::BadHandle)) };
        let (reader, images) = (file.clone(), self.tree.images().clone());
        let answer = move |result: Result<&[u8], ImageError>| {
            if result.as_ref().is_err_and(ImageError::is_change) {
                reader.outdate();
            }
            // Those of the source are noted where they arise, with the chunk.
            if let Err(error) = &result
                && !matches!(error, ImageError::Source(_))
            {
                images.note_error(&path, error.to_string());
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
