//! The nodes that are known, by inode.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lru::LruCache;

use crate::fs::view::{Attributes, FsError, Ino};
use crate::sync::lock;

use super::node::{Child, Content, Node};

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
}

impl Nodes {
    /// The root alone.
    pub(super) fn new(root: Node) -> Self {
        Self {
            known: Mutex::new(HashMap::from([(Ino::ROOT, Arc::new(root))])),
            lingering: Mutex::default(),
            former: Mutex::new(LruCache::new(MOST_FORMER)),
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
    pub(super) fn former_path(&self, ino: Ino) -> Option<PathBuf> {
        lock(&self.former).get(&ino).cloned()
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
                    pending.extend(listing.into_iter().flat_map(|old| {
                        old.names.into_values().map(|child| child.ino).collect::<Vec<_>>()
                    }));
                }
            }
        }
    }
}
