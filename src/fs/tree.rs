//! The tree of names: plain folders of the source mirrored, stores shown as `.ims` files.
//!
//! Nothing is walked ahead of need. A folder is listed when it is first looked into, a store is
//! inspected when the folder above it is listed, and the tree keeps the findings as a few numbers and a
//! [`Fingerprint`](crate::source::Fingerprint) per store; an image is only built when its file is
//! opened. A folder looked into again is checked against the source at most once per
//! [`CHECK_INTERVAL`](super::view::CHECK_INTERVAL), and less often if the check takes long, so a name
//! appears, changes or goes within seconds and without a remount. Listings that were not used lately are
//! forgotten, and recalled from the findings that the `memo` keeps: packed in memory, and in the cache folder
//! for the next start.
//!
//! Inode numbers are derived from the path and, for files, from the identity of the image, so they
//! are the same after a restart and different after the store has changed.
//!
//! From the bottom up: `file` and `inspected` hold what is known of images and stores, `node` and `nodes`
//! the inodes, `access` compares owners and modes, `inspect` looks into a folder, `looks` does so in the
//! background, `names` makes nodes, `refresh` keeps a listing up to date, `search` finds inodes of an earlier
//! run, `recent`, `forget` and `forgotten` bound the memory of all this, `decide` and `open` open files.

mod access;
mod closed;
mod decide;
mod file;
mod forget;
mod forgotten;
mod inspect;
mod inspected;
mod labels;
mod looks;
mod memo;
mod names;
mod node;
mod nodes;
mod open;
mod options;
mod pages;
mod recent;
mod refresh;
mod search;
mod told;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::by_hand::{StoreTable, Tables};
use crate::image::Images;
use crate::resources::workers::Workers;
use crate::source::SourceRoot;
use crate::sync::lock;

use super::view::{Attributes, DirectoryEntry, FsError, Ino, NodeKind};
use access::{Rights, check_not_narrowed};
use closed::Closed;
use forgotten::Forgotten;
use inspect::Inspector;
use inspected::Checked;
use looks::Wait;
use names::Namer;
use node::{Content, Listing, Node, Shown};
use nodes::Nodes;
use open::Opener;
use recent::Recent;
use refresh::Refresh;

pub use file::{FileSpec, LevelSpec, ViewSpec};
pub use forget::TreeFigures;
pub use inspected::Skipped;
pub use memo::Save;
pub use open::Opened;
pub use options::{ImageNames, Labels, Revalidate, TreeConfig};
pub use told::Told;

/// How often an opening starts again because the store has changed under it.
const OPEN_ATTEMPTS: usize = 5;

/// How often a folder is compared with the source because somebody asks for its attributes. Reading a file makes the
/// kernel ask for those of the root, and listings of other machines may cost money.
const COMPARED_EVERY: Duration = Duration::from_secs(3);
const COMPARED_EVERY_REMOTE: Duration = Duration::from_mins(1);

/// The tree of one mount.
#[derive(Debug)]
pub struct Tree {
    inspector: Arc<Inspector>,
    nodes: Nodes,
    rights: Rights,
    opener: Opener,
    /// Files that were closed just now.
    closed: Closed,
    /// Which listings were used lately.
    recent: Recent,
    /// Locked while listings are forgotten.
    tidying: Mutex<()>,
    /// The last search for an inode of an earlier run that found nothing.
    searched_in_vain: Mutex<Option<Checked>>,
    /// They look into folders.
    workers: Workers,
}

/// What a walk comes to.
#[derive(Debug)]
pub enum Seen<'a> {
    /// An image, with its path below the mount point.
    Image(&'a Path, &'a FileSpec),
    /// What of a store, or beside the stores, is skipped.
    Skipped(&'a Path, &'a [Skipped]),
    /// A folder of the mount that cannot be listed.
    Unreadable(&'a Path, &'a FsError),
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.workers.leave();
    }
}

impl Tree {
    /// A tree over a source folder; nothing is read yet.
    ///
    /// # Errors
    /// The operating system's reason when threads cannot be started.
    pub fn new(root: Arc<SourceRoot>, images: Arc<Images>, config: TreeConfig) -> io::Result<Self> {
        Self::corrected(root, images, config, Arc::default())
    }

    /// The same, with what the configuration says of stores.
    ///
    /// # Errors
    /// As for [`Tree::new`].
    pub fn corrected(
        root: Arc<SourceRoot>,
        images: Arc<Images>,
        config: TreeConfig,
        by_hand: Arc<Tables>,
    ) -> io::Result<Self> {
        let rights = Rights { root: root.clone(), config };
        let inspector = Arc::new(Inspector::new(root, images, config, by_hand));
        let opener = Opener {
            inspector: inspector.clone(),
            rights: rights.clone(),
            revalidate: config.revalidate,
        };
        let top = Node {
            shown: Mutex::new(Shown::now(rights.folder_attributes(Ino::ROOT, Path::new("")))),
            parent: Ino::ROOT,
            path: PathBuf::new(),
            content: Content::Mirror { source: PathBuf::new(), listing: Box::default() },
        };
        let names = inspector.images.engine().resources().names.clone();
        Ok(Self {
            inspector,
            nodes: Nodes::new(top, Forgotten::within(names.forgotten)),
            rights,
            opener,
            closed: Closed::new(config.revalidate.time()),
            recent: Recent::new(names.all),
            tidying: Mutex::default(),
            searched_in_vain: Mutex::default(),
            workers: Workers::within("look", looks::THREADS, looks::MOST_THREADS),
        })
    }

    /// The path of a known inode below the mount point.
    pub(super) fn path_of(&self, ino: Ino) -> Option<PathBuf> {
        let known = self.nodes.get(ino).map(|node| node.path.clone()).ok();
        known.or_else(|| self.nodes.earlier_path(ino))
    }

    /// What the images of the mount share.
    #[must_use]
    pub fn images(&self) -> &Arc<Images> {
        &self.inspector.images
    }

    /// The source folder.
    #[must_use]
    pub fn source(&self) -> &Arc<SourceRoot> {
        &self.rights.root
    }

    /// Saves what is known of the source in the cache, for the next start; and forgets what takes too much memory.
    pub fn save(&self, when: Save) {
        self.tidy();
        self.inspector.save(when, || self.nodes.inspected());
    }

    /// Attributes of a known inode, with owner and mode as they are in the source now, or were less
    /// than [`CHECK_INTERVAL`](super::view::CHECK_INTERVAL) ago. What the source does not answer stays as
    /// it was. A file that is not listed any more has the attributes of the file that is at its path now.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is not known.
    pub fn fresh_attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        let error = match self.node(ino) {
            Ok(node) => {
                self.rights.renew(&node);
                return Ok(node.attributes());
            }
            Err(error) => error,
        };
        let path = self.nodes.earlier_path(ino).ok_or(error)?;
        match self.find(&path) {
            Ok(found) if found.kind == NodeKind::File => Ok(Attributes { ino, ..found }),
            _ => Err(FsError::Stale),
        }
    }

    /// Compares a folder that was listed with the source, if that was not done lately: the time of the folder then
    /// tells of new names.
    pub fn compare(&self, ino: Ino) {
        let Ok(node) = self.nodes.get(ino) else { return };
        let Content::Mirror { source, listing } = &node.content else { return };
        let is_remote = self.source().storage().is_remote();
        let pause = if is_remote { COMPARED_EVERY_REMOTE } else { COMPARED_EVERY };
        // One that was forgotten is made anew, which must not take most of the time.
        let is_due = |listing: &Listing| match listing.checked {
            Some(checked) if listing.is_forgotten && checked.is_recent() => false,
            Some(checked) => checked.is_older_than(pause),
            None => listing.is_forgotten,
        };
        let is_due = lock(listing).as_ref().is_some_and(is_due);
        if is_due && let Err(error) = self.refresh(&node, source, listing, Wait::Listing) {
            tracing::debug!(path = %node.path.display(), %error, "a folder cannot be compared");
        }
    }

    /// Attributes of a known inode, if that takes no look into the source.
    #[must_use]
    pub fn attributes_at_hand(&self, ino: Ino) -> Option<Attributes> {
        let node = self.nodes.get(ino).ok()?;
        node.has_fresh_access().then(|| node.attributes())
    }

    /// Finds a path below the mount point.
    ///
    /// # Errors
    /// As for [`Tree::lookup`].
    pub fn find(&self, path: &Path) -> Result<Attributes, FsError> {
        let mut found = self.nodes.attributes(Ino::ROOT)?;
        for name in path {
            found = self.lookup_in(&*self.node(found.ino)?, name)?;
        }
        Ok(found)
    }

    /// Finds a name in a folder. The name `.` is any inode itself, also one that an earlier run has given out: it
    /// may take a look into all folders.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::Stale`], [`FsError::NotADirectory`], [`FsError::Source`].
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attributes, FsError> {
        if name == "." {
            return self.attributes_of_any(parent);
        }
        self.lookup_in(&*self.any_node(parent)?, name)
    }

    fn lookup_in(&self, node: &Node, name: &OsStr) -> Result<Attributes, FsError> {
        if name == ".." {
            return Ok(self.any_node(node.parent)?.attributes());
        }
        self.touch(node);
        match &node.content {
            Content::File(_) => Err(FsError::NotADirectory),
            Content::StoreFolder { names, .. } => {
                let ino = lock(names).get(name).copied().ok_or(FsError::NotFound)?;
                self.fresh_attributes(ino)
            }
            Content::Mirror { source, listing } => {
                let find = |listing: &Option<Listing>| listing.as_ref()?.names.get(name).cloned();
                let known = find(&lock(listing));
                // Not locked here: a store that does not answer must not delay its neighbours.
                if let Some(child) = known
                    && child.inspected.is_fresh(self.source())
                {
                    return self.fresh_attributes(child.ino);
                }
                self.refresh(node, source, listing, Wait::Name(name))?;
                let ino = find(&lock(listing)).map(|child| child.ino).ok_or(FsError::NotFound)?;
                self.fresh_attributes(ino)
            }
        }
    }

    /// The names in a folder, `.` and `..` first: without those of stores that take long to look into, unless
    /// they were known before.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`], [`FsError::Stale`], [`FsError::Source`].
    pub fn entries(&self, ino: Ino) -> Result<Vec<DirectoryEntry>, FsError> {
        self.entries_of(&*self.any_node(ino)?, Wait::Listing)
    }

    fn entries_of(&self, node: &Node, wait: Wait<'_>) -> Result<Vec<DirectoryEntry>, FsError> {
        self.touch(node);
        let names: Vec<(OsString, Ino)> = match &node.content {
            Content::File(_) => return Err(FsError::NotADirectory),
            Content::StoreFolder { names, .. } => {
                lock(names).iter().map(|(name, ino)| (name.clone(), *ino)).collect()
            }
            Content::Mirror { source, listing } => {
                self.refresh(node, source, listing, wait)?;
                let listing = lock(listing);
                let names = listing.iter().flat_map(|listing| &listing.names);
                names.map(|(name, child)| (name.clone(), child.ino)).collect()
            }
        };
        let mut entries = vec![
            DirectoryEntry { name: OsString::from("."), attributes: node.attributes() },
            DirectoryEntry {
                name: OsString::from(".."),
                attributes: self.node(node.parent)?.attributes(),
            },
        ];
        for (name, ino) in names {
            // A name that went while the folder was read is left out.
            if let Ok(attributes) = self.nodes.attributes(ino) {
                entries.push(DirectoryEntry { name, attributes });
            }
        }
        Ok(entries)
    }

    /// Walks everything: each image with its path below the mount point, and what of each store, or
    /// beside the stores, is skipped.
    pub fn walk(
        &self,
        image: &mut dyn FnMut(&Path, &FileSpec),
        skipped: &mut dyn FnMut(&Path, &[Skipped]),
    ) {
        self.walk_from(Ino::ROOT, &mut |seen| match seen {
            Seen::Image(path, spec) => image(path, spec),
            Seen::Skipped(path, rows) => skipped(path, rows),
            Seen::Unreadable(path, error) => {
                skipped(path, &[Skipped::because(path, &error.to_string())]);
            }
        });
    }

    /// The same for what is at a path below the mount point, and below it.
    ///
    /// # Errors
    /// As for [`Tree::lookup`].
    pub fn walk_at(&self, path: &Path, see: &mut dyn FnMut(Seen<'_>)) -> Result<(), FsError> {
        self.walk_from(self.find(path)?.ino, see);
        Ok(())
    }

    fn walk_from(&self, ino: Ino, see: &mut dyn FnMut(Seen<'_>)) {
        let mut pending = vec![ino];
        while let Some(ino) = pending.pop() {
            let Ok(node) = self.node(ino) else { continue };
            if let Content::File(file) = &node.content {
                see(Seen::Image(&node.path, &file.spec));
                continue;
            }
            let entries = match self.entries_of(&node, Wait::All) {
                Ok(entries) => entries,
                Err(error) => {
                    see(Seen::Unreadable(&node.path, &error));
                    continue;
                }
            };
            if let Content::Mirror { source, listing } = &node.content
                && let Some(listing) = lock(listing).as_ref()
            {
                for row in &listing.skipped {
                    see(Seen::Skipped(&row.path, slice::from_ref(row)));
                }
                let mut sources: Vec<_> = listing.inspected.iter().collect();
                sources.sort_by_key(|(name, _)| *name);
                for (name, inspected) in sources {
                    see(Seen::Skipped(&source.join(name), &inspected.skipped));
                }
            }
            let mut folders = Vec::new();
            for entry in entries.into_iter().skip(2) {
                let Ok(child) = self.nodes.get(entry.attributes.ino) else { continue };
                match &child.content {
                    Content::File(file) => see(Seen::Image(&child.path, &file.spec)),
                    _ => folders.push(entry.attributes.ino),
                }
            }
            pending.extend(folders.into_iter().rev());
        }
    }

    /// Tables `[[store]]` that are about none of the stores that were looked at so far.
    #[must_use]
    pub fn unmatched(&self) -> Vec<&StoreTable> {
        self.inspector.unmatched()
    }

    /// Opens the image behind a file in the state of the moment. If another file is at its path by now, as
    /// after a change of metadata, that one is opened: file servers look a name up, and open what they found
    /// a moment later by its inode.
    ///
    /// # Errors
    /// [`FsError::IsADirectory`]; [`FsError::Stale`] when there is no such file any more, or the store keeps
    /// changing; [`FsError::Restricted`] when fewer users may read it than at the lookup.
    pub(super) fn open_known(&self, ino: Ino) -> Result<Opened, FsError> {
        let mut current = ino;
        for _ in 0..OPEN_ATTEMPTS {
            let path = match self.node(current) {
                Ok(node) => match self.opener.open(&node) {
                    Err(FsError::Stale) => node.path.clone(),
                    Ok(opened) if current != ino => return self.stand_in(ino, &node, opened),
                    other => return other,
                },
                Err(error) => self.nodes.earlier_path(current).ok_or(error)?,
            };
            current = self.find(&path).map_err(|_| FsError::Stale)?.ino;
        }
        Err(FsError::Stale)
    }

    /// A file that is opened by the inode of an earlier one.
    ///
    /// # Errors
    /// [`FsError::Restricted`].
    fn stand_in(&self, ino: Ino, node: &Node, opened: Opened) -> Result<Opened, FsError> {
        if let Some(before) = self.nodes.retire(ino, node.path.clone()) {
            check_not_narrowed(before.attributes(), node.attributes())?;
        }
        Ok(opened.stand_in())
    }

    /// Closes a file.
    pub fn close(&self, opened: Opened) {
        // The last handle: programs that open the file again soon find it.
        if Arc::strong_count(&opened.file) == 1 {
            self.closed.keep(opened.file);
        }
    }

    fn refresh(
        &self,
        node: &Node,
        source: &Path,
        listing: &Mutex<Option<Listing>>,
        wait: Wait<'_>,
    ) -> Result<(), FsError> {
        let namer = Namer { nodes: &self.nodes, rights: &self.rights };
        let refresh = Refresh { namer, inspector: &self.inspector, workers: &self.workers };
        match refresh.run(node, source, listing, wait) {
            Ok(Some((bytes, cost))) => {
                self.recent.note(node.ino(), bytes, cost);
                self.tidy();
            }
            Ok(None) => {}
            Err(error) => {
                if lock(listing).as_ref().is_none_or(|listing| listing.names.is_empty()) {
                    self.recent.remove(node.ino());
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
