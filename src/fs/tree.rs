//! The tree of names: plain folders of the source mirrored, stores shown as `.ims` files.
//!
//! Nothing is walked ahead of need. A folder is listed when it is first looked into, a store is
//! inspected when the folder above it is listed, and what was found is kept as a few numbers and a
//! [`Fingerprint`](crate::source::Fingerprint) per store; an image is only built when its file is opened. A folder looked into
//! again is checked against the source at most once per [`CHECK_INTERVAL`], and less often if the
//! check takes long, so a name appears, changes or goes within seconds and without a remount. What was
//! found is also kept for the next start (`memo`).
//!
//! Inode numbers are derived from the path and, for files, from the identity of the image, so they
//! are the same after a restart and different after the store has changed.

mod access;
mod closed;
mod inspect;
mod looks;
mod memo;
mod names;
mod node;
mod open;
mod pages;
mod refresh;
mod told;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::image::Images;
use crate::source::SourceRoot;
use crate::workers::Workers;

use super::FsError;
use closed::Closed;
use inspect::Inspector;
use looks::Wait;
use memo::Memo;
use node::{Child, Content, Listing, Node};

pub use node::{
    Attributes, CHECK_INTERVAL, DirectoryEntry, FileSpec, Ino, LevelSpec, NodeKind, Skipped,
};
pub use open::Opened;
pub use pages::Paging;
pub use told::Told;

/// Inodes of files that are remembered when these are not listed any more.
const MOST_FORMER: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// What a tree shows instead of what the source says.
#[derive(Debug, Clone, Copy, Default)]
pub struct TreeConfig {
    /// Owner of everything, else the source's.
    pub uid: Option<u32>,
    /// Group of everything, else the source's.
    pub gid: Option<u32>,
    /// Permission bits taken away.
    pub umask: u16,
    /// Other users may enter the mount.
    pub is_shared: bool,
    /// Label images are shown, too.
    pub labels: bool,
    /// When chunk files are looked at.
    pub revalidate: Revalidate,
}

/// When chunk files that were rewritten, added or deleted are noticed; metadata always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revalidate {
    /// When a file is opened so long after the last look.
    After(Duration),
    /// Never.
    Never,
}

impl Revalidate {
    /// At each opening.
    pub const AT_ONCE: Self = Self::After(Duration::ZERO);
    /// Programs that open a file many times in a row look once.
    pub const AFTER_A_MOMENT: Self = Self::After(Duration::from_secs(2));

    /// How old a look may be that is not repeated.
    fn time(self) -> Duration {
        match self {
            Self::After(time) => time,
            Self::Never => Duration::ZERO,
        }
    }
}

impl Default for Revalidate {
    fn default() -> Self {
        Self::AFTER_A_MOMENT
    }
}

/// The tree of one mount.
#[derive(Debug)]
pub struct Tree {
    root: Arc<SourceRoot>,
    images: Arc<Images>,
    config: TreeConfig,
    nodes: Mutex<HashMap<Ino, Arc<Node>>>,
    /// Files that are not listed any more, and were still open then.
    lingering: Mutex<Vec<Ino>>,
    /// Paths of files that are not listed any more, by the inodes they had: file servers come back to these.
    former: Mutex<LruCache<Ino, PathBuf>>,
    /// Files that were closed just now.
    closed: Closed,
    /// What was found out in earlier runs; `None` without a cache folder.
    memo: Option<Arc<Memo>>,
    inspector: Arc<Inspector>,
    /// They look into folders.
    workers: Workers,
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.workers.leave();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tree {
    /// A tree over a source folder; nothing is read yet.
    ///
    /// # Errors
    /// The operating system's reason when threads cannot be started.
    pub fn new(root: Arc<SourceRoot>, images: Arc<Images>, config: TreeConfig) -> io::Result<Self> {
        let nodes = Mutex::default();
        let lingering = Mutex::default();
        let inspector = Arc::new(Inspector::new(root.clone(), images.clone(), config));
        let memo = inspector.memo.clone();
        let former = Mutex::new(LruCache::new(MOST_FORMER));
        let closed = Closed::new(config.revalidate.time());
        let workers = Workers::within("look", looks::THREADS, looks::MOST_THREADS);
        let tree = Self {
            root,
            images,
            config,
            nodes,
            lingering,
            former,
            closed,
            memo,
            inspector,
            workers,
        };
        let attributes = tree.folder_attributes(Ino::ROOT, Path::new(""));
        let node = Node {
            attributes: Mutex::new(attributes),
            access_at: access::checked_now(),
            parent: Ino::ROOT,
            path: PathBuf::new(),
            content: Content::Mirror { source: PathBuf::new(), listing: Box::default() },
        };
        lock(&tree.nodes).insert(Ino::ROOT, Arc::new(node));
        Ok(tree)
    }

    /// The source folder.
    #[must_use]
    pub fn source(&self) -> &Arc<SourceRoot> {
        &self.root
    }

    fn node(&self, ino: Ino) -> Result<Arc<Node>, FsError> {
        lock(&self.nodes).get(&ino).cloned().ok_or(FsError::Stale)
    }

    /// Attributes of a known inode.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is not known.
    pub fn attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        self.node(ino).map(|node| node.attributes())
    }

    /// Finds a path below the mount point.
    ///
    /// # Errors
    /// As for [`Tree::lookup`].
    fn find(&self, path: &Path) -> Result<Attributes, FsError> {
        let mut found = self.attributes(Ino::ROOT)?;
        for name in path {
            found = self.lookup(found.ino, name)?;
        }
        Ok(found)
    }

    /// Finds a name in a folder.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::Stale`], [`FsError::NotADirectory`], [`FsError::Source`].
    pub fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attributes, FsError> {
        let node = self.node(parent)?;
        if name == "." {
            return Ok(node.attributes());
        }
        if name == ".." {
            return self.attributes(node.parent);
        }
        match &node.content {
            Content::File(_) => Err(FsError::NotADirectory),
            Content::StoreFolder { names, .. } => {
                let ino = lock(names).get(name).copied().ok_or(FsError::NotFound)?;
                self.fresh_attributes(ino)
            }
            Content::Mirror { source, listing } => {
                let find = |listing: &Option<Listing>| listing.as_ref()?.names.get(name).cloned();
                let known = find(&lock(listing));
                // Not locked here: a store that does not answer must not hold up its neighbours.
                if let Some(child) = known
                    && child.inspected.is_fresh(&self.root)
                {
                    return self.fresh_attributes(child.ino);
                }
                self.refresh(&node, source, listing, Wait::Name(name))?;
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
        self.entries_after(ino, Wait::Listing)
    }

    fn entries_after(&self, ino: Ino, wait: Wait<'_>) -> Result<Vec<DirectoryEntry>, FsError> {
        let node = self.node(ino)?;
        let names: Vec<(OsString, Ino)> = match &node.content {
            Content::File(_) => return Err(FsError::NotADirectory),
            Content::StoreFolder { names, .. } => {
                lock(names).iter().map(|(name, ino)| (name.clone(), *ino)).collect()
            }
            Content::Mirror { source, listing } => {
                self.refresh(&node, source, listing, wait)?;
                let listing = lock(listing);
                let names = listing.iter().flat_map(|listing| &listing.names);
                names.map(|(name, child)| (name.clone(), child.ino)).collect()
            }
        };
        let mut entries = vec![
            DirectoryEntry { name: OsString::from("."), attributes: node.attributes() },
            DirectoryEntry {
                name: OsString::from(".."),
                attributes: self.attributes(node.parent)?,
            },
        ];
        for (name, ino) in names {
            // A name that went while the folder was read is left out.
            if let Ok(attributes) = self.attributes(ino) {
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
        let mut pending = vec![Ino::ROOT];
        while let Some(ino) = pending.pop() {
            let Ok(node) = self.node(ino) else { continue };
            let entries = match self.entries_after(ino, Wait::All) {
                Ok(entries) => entries,
                Err(error) => {
                    skipped(&node.path, &[Skipped::because(&node.path, &error.to_string())]);
                    continue;
                }
            };
            if let Content::Mirror { source, listing } = &node.content
                && let Some(listing) = lock(listing).as_ref()
            {
                listing.skipped.iter().for_each(|row| skipped(&row.path, slice::from_ref(row)));
                let mut sources: Vec<_> = listing.inspected.iter().collect();
                sources.sort_by_key(|(name, _)| *name);
                for (name, inspected) in sources {
                    skipped(&source.join(name), &inspected.skipped);
                }
            }
            let mut folders = Vec::new();
            for entry in entries.into_iter().skip(2) {
                let Ok(child) = self.node(entry.attributes.ino) else { continue };
                match &child.content {
                    Content::File(file) => image(&child.path, &file.spec),
                    _ => folders.push(entry.attributes.ino),
                }
            }
            pending.extend(folders.into_iter().rev());
        }
    }

    /// Makes a node known. A folder that is known keeps its listing, a file its open image.
    fn know(&self, ino: Ino, node: Node) {
        let mut nodes = lock(&self.nodes);
        if let Some(known) = nodes.get(&ino) {
            let same = match (&known.content, &node.content) {
                (Content::Mirror { source: a, .. }, Content::Mirror { source: b, .. }) => a == b,
                (Content::File(_), Content::File(_)) => true,
                _ => false,
            };
            if same {
                *lock(&known.attributes) = node.attributes();
                *lock(&known.access_at) = *lock(&node.access_at);
                return;
            }
        }
        nodes.insert(ino, Arc::new(node));
    }

    /// Drops nodes that are no longer listed, and all below them.
    fn forget(&self, children: impl Iterator<Item = Child>) {
        let mut pending: Vec<Ino> = children.map(|child| child.ino).collect();
        pending.append(&mut lock(&self.lingering));
        while let Some(ino) = pending.pop() {
            let Some(node) = lock(&self.nodes).remove(&ino) else { continue };
            match &node.content {
                Content::File(file) if file.is_open() => {
                    // Who has it open may ask for its attributes.
                    lock(&self.nodes).insert(ino, node);
                    lock(&self.lingering).push(ino);
                }
                Content::File(_) => drop(lock(&self.former).put(ino, node.path.clone())),
                Content::StoreFolder { names, .. } => pending.extend(lock(names).values()),
                Content::Mirror { listing, .. } => {
                    let listing = lock(listing).take();
                    pending.extend(listing.into_iter().flat_map(|old| {
                        old.names.into_values().map(|child| child.ino).collect::<Vec<_>>()
                    }));
                }
            }
        }
    }
}
