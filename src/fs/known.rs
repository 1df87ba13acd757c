//! The images of a mount that were opened, for who asks how much of each is cached. It keeps no image alive.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lru::LruCache;

use crate::image::{Bricks, VirtualFile};
use crate::sync::lock;

use super::tree::Opened;

/// Images remembered; some hundred bytes each.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// An image that was opened.
#[derive(Debug, Clone)]
pub struct KnownImage {
    /// The path of its file below the mount point.
    pub path: Arc<Path>,
    /// Its folder below the source.
    pub folder: PathBuf,
    /// The size of its file in bytes.
    pub size_bytes: u64,
    /// Handles that are open.
    pub handles: usize,
    /// Its bricks, in the state in which it was opened last.
    pub bricks: Arc<Bricks>,
}

/// The images that were opened last, by their paths.
#[derive(Debug)]
pub(super) struct KnownImages(Mutex<LruCache<Arc<Path>, KnownImage>>);

impl Default for KnownImages {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl KnownImages {
    /// Notes an opening.
    pub(super) fn note(&self, path: &Arc<Path>, file: &VirtualFile) {
        let mut known = lock(&self.0);
        if known.get(path).is_some_and(|known| known.bricks.content == file.content()) {
            return;
        }
        let image = KnownImage {
            path: path.clone(),
            folder: file.source().folder(),
            size_bytes: file.size(),
            handles: 0,
            bricks: Arc::new(Bricks::of(file)),
        };
        known.put(path.clone(), image);
    }

    /// All of them, in the order of their paths, with the number of their `handles`.
    pub(super) fn now(&self, handles: &Mutex<HashMap<u64, Opened>>) -> Vec<KnownImage> {
        let mut open: HashMap<Arc<Path>, usize> = HashMap::new();
        for opened in lock(handles).values() {
            *open.entry(opened.path.clone()).or_default() += 1;
        }
        let all: Vec<KnownImage> = lock(&self.0).iter().map(|(_, known)| known.clone()).collect();
        let count = |known: KnownImage| KnownImage {
            handles: open.get(&known.path).copied().unwrap_or_default(),
            ..known
        };
        let mut all: Vec<_> = all.into_iter().map(count).collect();
        all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        all
    }
}
