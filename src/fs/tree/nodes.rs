//! The nodes that are known, by inode.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lru::LruCache;

use crate::fs::view::{Attributes, FsError, Ino};
use crate::source::root::join;
use crate::sync::lock;

use super::forgotten::{Below, Forgotten, Kept};
use super::inspected::Inspected;
use super::node::{Child, Content, Listing, Node};

/// Inodes of files that are remembered after they have left the listings.
const MOST_FORMER: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// See the module.
#[derive(Debug)]
pub(super) struct Nodes {
    known: Mutex<HashMap<Ino, Arc<Node>>>,
    /// Files that are not listed any more, and were still open then.
    lingering: Mutex<Vec<Ino>>,
    /// Paths of files that are not listed any more, by their inodes: file servers come back to these.
    former: Mutex<LruCache<Ino, PathBuf>>,
    /// What was listed, and forgotten since. Locked after `known`.
    forgotten: Mutex<Forgotten>,
}

/// What a listing had that was forgotten.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// By name in the source.
    pub(super) inspected: Vec<(OsString, Arc<Inspected>)>,
    /// Not dropped under a lock.
    _nodes: Vec<Arc<Node>>,
    /// Memory of what is left of the listing, if anything is.
    pub(super) left_bytes: Option<u64>,
}

impl Nodes {
    /// The root alone.
    pub(super) fn new(root: Node, forgotten: Forgotten) -> Self {
        Self {
            known: Mutex::new(HashMap::from([(Ino::ROOT, Arc::new(root))])),
            lingering: Mutex::default(),
            former: Mutex::new(LruCache::new(MOST_FORMER)),
            forgotten: Mutex::new(forgotten),
        }
    }

    /// # Errors
    /// [`FsError::Stale`] when the inode is not known.
    pub(super) fn get(&self, ino: Ino) -> Result<Arc<Node>, FsError> {
        lock(&self.known).get(&ino).cloned().ok_or(FsError::Stale)
    }

    /// # Errors
    /// [`FsError::Stale`] when the inode is not known.
    pub(super) fn attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        self.get(ino).map(|node| node.attributes())
    }

    /// The path of a file that is not listed any more.
    fn former_path(&self, ino: Ino) -> Option<PathBuf> {
        lock(&self.former).get(&ino).cloned()
    }

    /// The path of an inode whose listing was forgotten.
    pub(super) fn forgotten_path(&self, ino: Ino) -> Option<PathBuf> {
        let (known, forgotten) = (lock(&self.known), lock(&self.forgotten));
        let (mut folder, mut path) = forgotten.place(ino)?;
        loop {
            if let Some(node) = known.get(&folder) {
                return Some(join(&node.path, &path));
            }
            let (above, inside) = forgotten.place(folder)?;
            (folder, path) = (above, inside.join(path));
        }
    }

    /// The path of an inode that is not known as such: its listing was forgotten, or it has left its listing.
    pub(super) fn earlier_path(&self, ino: Ino) -> Option<PathBuf> {
        self.former_path(ino).or_else(|| self.forgotten_path(ino))
    }

    /// Whether inodes that were forgotten may be known to nobody here.
    pub(super) fn has_lost_inodes(&self) -> bool {
        lock(&self.forgotten).is_incomplete
    }

    /// Folders in which an inode may be found again whose path is not known any more.
    pub(super) fn may_have_had(&self, ino: Ino) -> Vec<Ino> {
        lock(&self.forgotten).may_have_had(ino)
    }

    /// Number of nodes that were forgotten, and whose inodes are known.
    pub(super) fn forgotten(&self) -> usize {
        lock(&self.forgotten).len()
    }

    /// The folder of the source that a folder mirrors.
    ///
    /// # Errors
    /// [`FsError::Stale`] when there is no such folder any more.
    pub(super) fn source_of(&self, folder: Ino) -> Result<PathBuf, FsError> {
        match &self.get(folder)?.content {
            Content::Mirror { source, .. } => Ok(source.clone()),
            _ => Err(FsError::Stale),
        }
    }

    /// What listings hold, by folders of the source.
    pub(super) fn inspected(&self) -> Vec<(PathBuf, Arc<Inspected>)> {
        let is_folder = |node: &Node| matches!(node.content, Content::Mirror { .. });
        let folders: Vec<Ino> = {
            let known = lock(&self.known);
            known.iter().filter(|(_, node)| is_folder(node)).map(|(ino, _)| *ino).collect()
        };
        let mut all = Vec::new();
        for folder in folders {
            let Ok(node) = self.get(folder) else { continue };
            let Content::Mirror { source, listing } = &node.content else { continue };
            let listing = lock(listing);
            let inspected = listing.iter().flat_map(|listing| &*listing.inspected);
            all.extend(inspected.map(|(name, found)| (source.join(name), found.clone())));
        }
        all
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        lock(&self.known).len()
    }

    /// What is to stay of a folder that was forgotten, and is listed again.
    pub(super) fn kept_of(&self, ino: Ino) -> Option<Kept> {
        lock(&self.forgotten).take_kept(ino)
    }

    /// Forgets what a folder shows, but for what is in use: files that are open, and folders that are listed. What
    /// a thread works with it has an `Arc` of, and nobody gets one while `known` is locked.
    pub(super) fn forget_listing(&self, folder: Ino) -> Option<Dropped> {
        let mut known = lock(&self.known);
        let node = known.get(&folder)?.clone();
        let Content::Mirror { listing, .. } = &node.content else { return None };
        // That of `known`, and this one: so nobody has the lock of the listing.
        if Arc::strong_count(&node) > 2 {
            return None;
        }
        let mut listing = lock(listing);
        let listing = listing.as_mut().filter(|listing| listing.may_be_forgotten())?;
        let in_use =
            |child: &&Child| is_in_use(&known, child.ino) || child.inspected.has_findings();
        let kept: HashSet<_> = listing.names.values().filter(in_use).map(Child::store).collect();
        let (mut below, mut nodes) = (Below::default(), Vec::new());
        let mut pending = Vec::new();
        listing.names.retain(|_, child| {
            let stays = kept.contains(&child.store());
            if !stays {
                pending.push(child.ino);
            }
            stays
        });
        while let Some(ino) = pending.pop() {
            let Some(gone) = known.remove(&ino) else { continue };
            if let Content::StoreFolder { names, .. } = &gone.content {
                pending.extend(lock(names).values());
            }
            let path = gone.path.strip_prefix(&node.path).unwrap_or(&gone.path);
            below.add(ino, path, gone.to_keep());
            nodes.push(gone);
        }
        let inspected = listing.forget_all_but(&kept);
        lock(&self.forgotten).add(folder, below);
        let left_bytes = (!listing.names.is_empty()).then(|| listing.bytes());
        Some(Dropped { inspected, _nodes: nodes, left_bytes })
    }

    /// Notes that a folder that was forgotten is listed again, all of it. Files that are not there any more leave
    /// their paths behind, as those do that leave a listing.
    pub(super) fn settle(&self, folder: Ino, path: &Path) {
        let mut pending = vec![(folder, path.to_path_buf())];
        while let Some((folder, path)) = pending.pop() {
            let known = lock(&self.known);
            let mut forgotten = lock(&self.forgotten);
            forgotten.take_halves(folder);
            let Some(below) = forgotten.take(folder) else { continue };
            drop(forgotten);
            for (ino, inside) in below.iter().filter(|(ino, _)| !known.contains_key(ino)) {
                let path = join(&path, inside);
                lock(&self.former).put(ino, path.clone());
                pending.push((ino, path));
            }
        }
    }

    /// Adds a node. A known folder keeps its listing, a known file what was found out about it.
    pub(super) fn add(&self, ino: Ino, node: Node) {
        if let Content::File(_) = node.content {
            // A store that has come back gets the inode that a program may still have open.
            lock(&self.lingering).retain(|known| *known != ino);
        }
        let mut nodes = lock(&self.known);
        if let Some(known) = nodes.get(&ino) {
            let same = match (&known.content, &node.content) {
                (Content::Mirror { source: a, .. }, Content::Mirror { source: b, .. }) => a == b,
                (Content::File(_), Content::File(_)) => true,
                _ => false,
            };
            if same {
                let mut shown = *lock(&node.shown);
                if let Content::Mirror { .. } = known.content {
                    // See `Node::touch`.
                    let before = known.attributes().modified;
                    shown.attributes.modified = shown.attributes.modified.max(before);
                }
                *lock(&known.shown) = shown;
                return;
            }
        }
        nodes.insert(ino, Arc::new(node));
    }

    /// Forgets a file at whose path another one is now.
    pub(super) fn retire(&self, ino: Ino, path: PathBuf) -> Option<Arc<Node>> {
        let before = lock(&self.known).remove(&ino);
        lock(&self.former).put(ino, path);
        before
    }

    /// Drops nodes that are no longer listed, and all below them.
    pub(super) fn forget(&self, children: impl Iterator<Item = Child>) {
        let mut pending: Vec<Ino> = children.map(|child| child.ino).collect();
        pending.append(&mut lock(&self.lingering));
        while let Some(ino) = pending.pop() {
            let Some(node) = lock(&self.known).remove(&ino) else { continue };
            match &node.content {
                Content::File(file) if file.is_open() => {
                    // Programs that have it open may ask for its attributes.
                    lock(&self.known).insert(ino, node);
                    lock(&self.lingering).push(ino);
                }
                Content::File(_) => drop(lock(&self.former).put(ino, node.path.clone())),
                Content::StoreFolder { names, .. } => pending.extend(lock(names).values()),
                Content::Mirror { listing, .. } => {
                    let listing = lock(listing).take();
                    self.settle(ino, &node.path);
                    pending.extend(listing.into_iter().flat_map(|old| {
                        old.names.into_values().map(|child| child.ino).collect::<Vec<_>>()
                    }));
                }
            }
        }
    }
}

/// Whether somebody works with a node, has it open, or it is a folder that is listed; or this is so for what is in it.
fn is_in_use(known: &HashMap<Ino, Arc<Node>>, ino: Ino) -> bool {
    let mut pending = vec![ino];
    while let Some(ino) = pending.pop() {
        let Some(node) = known.get(&ino) else { continue };
        if Arc::strong_count(node) > 1 {
            return true;
        }
        match &node.content {
            Content::File(file) if file.is_in_use() => return true,
            Content::File(_) => {}
            Content::StoreFolder { names, .. } => pending.extend(lock(names).values()),
            Content::Mirror { listing, .. } => {
                if lock(listing).as_ref().is_some_and(Listing::holds_anything) {
                    return true;
                }
            }
        }
    }
    false
}
