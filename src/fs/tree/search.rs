//! Inodes of an earlier run. A file server comes back with one after a restart of the daemon, and the kernel asks
//! for it before anybody has looked its name up. An inode is a hash of its path: only a look into the folders
//! finds what it stands for.

use std::time::{Duration, Instant};

use crate::fs::view::{Attributes, FsError, Ino, NodeKind};
use crate::sync::lock;

use super::Tree;
use super::inspected::Checked;
use super::looks::Wait;

/// How long a search takes at most. A later one goes on where it ended, as folders keep their listings.
const PATIENCE: Duration = Duration::from_mins(1);

impl Tree {
    /// The attributes of an inode that this process may not have given out.
    ///
    /// # Errors
    /// [`FsError::Stale`] when there is no such file or folder now.
    pub(super) fn attributes_of_any(&self, ino: Ino) -> Result<Attributes, FsError> {
        match self.fresh_attributes(ino) {
            Err(FsError::Stale) if self.is_found_again(ino) || self.search(ino) => {
                self.fresh_attributes(ino)
            }
            known => known,
        }
    }

    /// Looks into all folders until one has this inode in it. One search runs at a time; after one that has found
    /// nothing there is none for a while, as anybody may make handles up.
    pub(super) fn search(&self, ino: Ino) -> bool {
        let is_found = || self.nodes.get(ino).is_ok();
        let mut in_vain = lock(&self.searched_in_vain);
        if is_found() {
            return true;
        }
        if in_vain.as_ref().is_some_and(Checked::is_recent) {
            return false;
        }
        let began = Instant::now();
        let mut pending = vec![Ino::ROOT];
        while let Some(folder) = pending.pop() {
            if began.elapsed() > PATIENCE {
                *in_vain = Some(Checked::of_growing(PATIENCE));
                return false;
            }
            // Folders that cannot be read hide no others.
            let Ok(node) = self.node(folder) else { continue };
            let Ok(entries) = self.entries_of(&node, Wait::Listing) else { continue };
            if is_found() {
                return true;
            }
            let below = entries.iter().skip(2).map(|entry| entry.attributes);
            let folders = below.filter(|below| below.kind == NodeKind::Directory);
            pending.extend(folders.map(|folder| folder.ino));
        }
        *in_vain = Some(Checked::since(began));
        false
    }
}
