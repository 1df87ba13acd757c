//! Forgetting listings that take too much memory: those used longest ago first. What is open, or worked with, stays;
//! the rest is recalled from the memo when somebody asks for it.
//!
//! An inode that was forgotten is found by its path: whoever comes back to it has the folder listed again, and meets
//! the same node as if it had never been forgotten, or learns that the store has changed since. If the path is not
//! known any more, all folders are listed that may have had it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::fs::view::{Attributes, FsError, Ino};

use super::looks::Wait;
use super::node::Node;
use super::open::Opened;
use super::{OPEN_ATTEMPTS, Tree};

/// Folders within folders that are listed to find an inode.
const DEEPEST: usize = 64;

/// What is known of a tree, as numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeFigures {
    /// Files and folders that are known.
    pub nodes: usize,
    /// Files and folders that were listed, and forgotten since.
    pub forgotten: usize,
}

impl Tree {
    /// What is known now.
    #[must_use]
    pub fn figures(&self) -> TreeFigures {
        TreeFigures { nodes: self.nodes.len(), forgotten: self.nodes.forgotten() }
    }

    /// A node by its inode. If it was forgotten, its folder is listed again.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is not known; [`FsError::Source`] while the source does not answer.
    pub(super) fn node(&self, ino: Ino) -> Result<Arc<Node>, FsError> {
        for _ in 0..OPEN_ATTEMPTS {
            if let Ok(node) = self.nodes.get(ino) {
                return Ok(node);
            }
            let Some(path) = self.nodes.forgotten_path(ino) else { break };
            match self.find(&path) {
                Err(FsError::Source(error)) if error.is_outage() => return Err(error.into()),
                // Another file may be there by now.
                Ok(_) | Err(_) => {}
            }
        }
        self.nodes.get(ino)
    }

    /// As [`Tree::fresh_attributes`], also for an inode of which not even the path could be kept.
    ///
    /// # Errors
    /// As for [`Tree::fresh_attributes`].
    pub fn attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        match self.fresh_attributes(ino) {
            Err(FsError::Stale) if self.is_found_again(ino) => self.fresh_attributes(ino),
            known => known,
        }
    }

    /// As [`Tree::open_known`], also for an inode of which not even the path could be kept.
    ///
    /// # Errors
    /// As for [`Tree::open_known`].
    pub fn open(&self, ino: Ino) -> Result<Opened, FsError> {
        match self.open_known(ino) {
            Err(FsError::Stale) if self.is_found_again(ino) => self.open_known(ino),
            known => known,
        }
    }

    /// As [`Tree::node`], also for an inode of which not even the path could be kept. It may take a look into all
    /// folders.
    ///
    /// # Errors
    /// As for [`Tree::node`].
    pub(super) fn any_node(&self, ino: Ino) -> Result<Arc<Node>, FsError> {
        match self.node(ino) {
            Err(FsError::Stale) if self.is_found_again(ino) => self.node(ino),
            known => known,
        }
    }

    /// Whether an inode is known again that was not.
    pub(super) fn is_found_again(&self, ino: Ino) -> bool {
        self.nodes.get(ino).is_err()
            && (self.is_in_its_folder(ino, DEEPEST)
                || self.nodes.has_lost_inodes() && self.search(ino))
    }

    /// Whether an inode whose path is not known any more is in a folder that may have had it, which is listed. The
    /// folder may have to be found in the same way.
    fn is_in_its_folder(&self, ino: Ino, levels: usize) -> bool {
        let Some(levels) = levels.checked_sub(1) else { return false };
        self.nodes.may_have_had(ino).into_iter().any(|folder| {
            let node = match self.node(folder) {
                Err(_) if self.is_in_its_folder(folder, levels) => self.node(folder),
                known => known,
            };
            node.is_ok_and(|node| self.entries_of(&node, Wait::Listing).is_ok())
                && self.nodes.get(ino).is_ok()
        })
    }

    /// Forgets listings until the rest takes its share of memory.
    pub fn tidy(&self) {
        if !self.recent.are_too_many() {
            return;
        }
        let Ok(_alone) = self.tidying.try_lock() else { return };
        for folder in self.recent.idle() {
            if !self.recent.are_too_many() {
                break;
            }
            self.forget(folder);
        }
    }

    /// Notes that the listings of a folder, and of all above it, are used.
    pub(super) fn touch(&self, node: &Node) {
        self.recent.touch(node.ino());
        let mut above = node.parent;
        while let Ok(node) = self.nodes.get(above) {
            self.recent.touch(above);
            if above == Ino::ROOT {
                break;
            }
            above = node.parent;
        }
    }

    /// Forgets the listing of a folder, unless somebody works with it.
    fn forget(&self, folder: Ino) {
        let Ok(path) = self.nodes.source_of(folder) else { return self.recent.remove(folder) };
        let Some(dropped) = self.nodes.forget_listing(folder) else {
            return self.recent.touch(folder);
        };
        match dropped.left_bytes {
            None => self.recent.remove(folder),
            Some(bytes) => self.recent.shrink(folder, bytes),
        }
        let join = |(name, found)| (path.join(name), found);
        let mut results: Vec<(PathBuf, _)> = dropped.inspected.into_iter().map(join).collect();
        results.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        self.inspector.pack(&results);
        tracing::debug!(path = %path.display(), results = results.len(), "listing forgotten");
    }
}
