//! A store, a disk and a source that fail on demand, and the engine between them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zarrims::cache::{CacheError, CacheLimits, CacheStats, MinFree};
use zarrims::engine::EngineError;
use zarrims::image::{CacheConfig, Engine, EngineConfig, ImageOptions, Images, VirtualFile};
use zarrims::source::SourceRoot;
use zarrims::source::discover::open_image;

use super::faulty_chunks::Chunks;
use super::mem_disk::MemDisk;
use crate::common::picks::Picks;
use crate::common::rest::rest;
use crate::common::store::{Dtype, StoreBuilder};
use crate::reference::opened::{Brick, OnDisk, Opened, assert_same, slice};

/// Charged for folders, lock and journal whatever is in the cache, and a little more.
pub(crate) const FIXED: u64 = 128 << 10;

/// Time for what takes a second at most on a machine that does nothing else.
const PATIENCE: Duration = Duration::from_mins(1);

/// See the module.
pub(crate) struct Rig {
    pub(crate) on_disk: OnDisk,
    pub(crate) disk: MemDisk,
    pub(crate) chunks: Arc<Chunks>,
    pub(crate) limits: CacheLimits,
    pub(crate) memory_bytes: u64,
    pub(crate) threads: usize,
    root: Arc<SourceRoot>,
}

impl Rig {
    /// The cache may take `cap` bytes.
    pub(crate) fn new(store: &StoreBuilder, seed: u64, cap: u64) -> Self {
        let on_disk = OnDisk::new(store);
        rest(&on_disk.path());
        let chunks = Chunks::new(seed);
        let source = on_disk.path();
        let source = source.parent().expect("below the source folder");
        let root = SourceRoot::open(source, false).expect("just made");
        let root = Arc::new(root.with_storage(|storage| chunks.wrap(storage)));
        let limits = CacheLimits { cap_bytes: cap, min_free: MinFree::Bytes(0) };
        // Small, so that what is not in the cache is seldom in memory either.
        let memory_bytes = 64 << 10;
        let disk = MemDisk::new(seed);
        disk.set_cap(cap);
        Self { on_disk, disk, chunks, limits, memory_bytes, threads: 2, root }
    }

    pub(crate) fn set_cap(&mut self, bytes: u64) {
        self.limits.cap_bytes = bytes;
        self.disk.set_cap(bytes);
    }

    /// The right bytes of the whole file, for the state the store is in.
    pub(crate) fn expected(&self) -> Vec<u8> {
        self.on_disk.open(None).whole()
    }

    /// Starts an engine and opens the file.
    pub(crate) fn open(&self) -> Opened {
        let config = EngineConfig {
            cache: Some(CacheConfig { dir: MemDisk::cache(), limits: self.limits }),
            shared: None,
            memory_bytes: self.memory_bytes,
            threads: self.threads,
        };
        // A worker of the last engine may still hold the directory for a moment.
        let start = || match Engine::start_on(Arc::new(self.disk.clone()), &config) {
            Err(EngineError::Cache(CacheError::InUse { .. })) => None,
            other => Some(other.expect("an engine")),
        };
        let engine = poll("the cache's lock", start);
        self.open_on(engine)
    }

    /// Reopens the file.
    pub(crate) fn open_on(&self, engine: Arc<Engine>) -> Opened {
        let path = self.on_disk.path();
        let name = Path::new(path.file_name().expect("a name"));
        let image = open_image(&self.root, name, "", 0).expect("a store");
        let chunks = image.keep_to_chunks().ok();
        assert!(chunks.is_some(), "a store small enough to look at");
        let coarsest_bytes = self.on_disk.store.coarsest_bytes;
        let options = ImageOptions { coarsest_bytes, ..ImageOptions::default() };
        let images = Images::new(engine.clone(), options);
        let file = VirtualFile::new(&self.root, Arc::new(image), images, chunks.as_ref());
        Opened { file: Arc::new(file.expect("a plan")), engine }
    }

    /// Paths of the chunk files, as the program opens them.
    pub(crate) fn chunk_paths(&self) -> Vec<PathBuf> {
        let store = self.on_disk.path();
        let source = store.parent().expect("below the source folder");
        let relative = |path: PathBuf| path.strip_prefix(source).expect("below").to_path_buf();
        self.on_disk.chunk_files().into_iter().map(relative).collect()
    }
}

/// What the cache holds, and what happened, once what was read is written.
pub(crate) fn cache_stats(opened: &Opened) -> CacheStats {
    poll("the cache", || (opened.engine.stats().unwritten.bricks == 0).then_some(()));
    opened.engine.stats().cache.expect("a cache").stats
}

/// Tries until there is an answer.
pub(crate) fn poll<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// A store of many small bricks: 24 of 16 KiB, and as many of 4 KiB that are computed from them.
pub(crate) fn series() -> StoreBuilder {
    let mut store = StoreBuilder::new(Dtype::U8, "tzyx", &[24, 2, 64, 64]);
    store.unit = vec![1, 2, 64, 64];
    store.coarsest_bytes = 4_000;
    store
}

/// Reads bricks in any order and compares them.
pub(crate) fn read_bricks(opened: &Opened, image: &[u8], picks: &mut Picks, reads: usize) {
    let bricks = opened.bricks();
    for _ in 0..reads {
        let Brick { address, bytes, .. } = bricks[picks.index(bricks.len())];
        assert_same(slice(image, address, bytes), &opened.read(address, bytes), address);
    }
}
