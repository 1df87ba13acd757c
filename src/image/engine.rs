//! What all images of a mount share: the brick cache, the workers, the memory budget, and the rule
//! that one brick is produced once however many ask for it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::cache::{
    BrickCache, BrickKey, CacheError, CacheStats, PinnedBrick, Role, SingleFlight, Slot, Ticket,
};

use super::ImageError;
use crate::workers::{MemoryBudget, Workers};

/// Part of the memory budget that keeps metadata regions and bricks that could not be cached.
const KEPT_SHARE: u64 = 4;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Folder of the brick cache; `None` serves without one.
    pub cache_dir: Option<PathBuf>,
    /// Largest size of the brick cache in bytes.
    pub cache_bytes: u64,
    /// Memory for decoding in bytes.
    pub memory_bytes: u64,
    /// Number of threads that produce bricks.
    pub threads: usize,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct EngineStats {
    /// Bricks and metadata regions produced.
    pub filled: u64,
    /// Bytes produced.
    pub filled_bytes: u64,
    /// Requests that ended in an error.
    pub failed: u64,
    /// Productions under way.
    pub in_flight: usize,
    /// Largest memory reserved at once for decoding, in bytes.
    pub memory_peak_bytes: u64,
    /// The brick cache, where there is one.
    pub cache: Option<CacheStats>,
}

/// Bytes of a brick, wherever they are.
#[derive(Debug, Clone)]
pub(crate) enum Brick {
    /// In the cache, and pinned there.
    Cached(PinnedBrick),
    /// In memory.
    Memory(Arc<Vec<u8>>),
}

impl Brick {
    /// Fills `out` from `offset` within the brick.
    ///
    /// # Errors
    /// [`CacheError`] when the cache file cannot be read: the brick must then be produced again.
    pub(crate) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), CacheError> {
        match self {
            Self::Cached(brick) => brick.read_at(offset, out),
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                out.copy_from_slice(&bytes[start..start + out.len()]);
                Ok(())
            }
        }
    }
}

/// What was produced, and whether it may be kept on disk.
pub(crate) struct Produced {
    pub(crate) bytes: Vec<u8>,
    pub(crate) keep: bool,
}

/// How a request is treated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode {
    /// Keep the bytes in memory as well: they are read in many small pieces.
    pub(crate) keep_in_memory: bool,
    /// The cache has the brick but cannot read it: do not ask it again.
    pub(crate) unreadable: bool,
}

/// Receives a brick or the reason why there is none.
pub(crate) type BrickDone = Box<dyn FnOnce(Result<Brick, ImageError>) + Send>;

type FlightResult = Result<Brick, ImageError>;

/// Shared by all images of a mount.
#[derive(Debug)]
pub struct Engine {
    cache: Option<Arc<BrickCache>>,
    flights: Arc<SingleFlight<BrickKey, FlightResult>>,
    workers: Workers,
    memory: MemoryBudget,
    kept: Mutex<Kept>,
    filled: AtomicU64,
    filled_bytes: AtomicU64,
    failed: AtomicU64,
    cache_fault: AtomicBool,
}

/// Bricks kept in memory, least recently used first to go.
#[derive(Debug)]
struct Kept {
    bricks: LruCache<BrickKey, Arc<Vec<u8>>>,
    bytes: u64,
    limit: u64,
}

impl Engine {
    /// Opens the cache and starts the workers.
    ///
    /// # Errors
    /// [`CacheError`] when the cache cannot be used, or the reason why threads cannot be started.
    pub fn start(config: &EngineConfig) -> Result<Arc<Self>, EngineError> {
        let cache = match &config.cache_dir {
            Some(dir) => Some(BrickCache::open(dir, config.cache_bytes)?),
            None => None,
        };
        Ok(Arc::new(Self {
            cache,
            flights: SingleFlight::new(),
            workers: Workers::start("fill", config.threads)?,
            memory: MemoryBudget::new(config.memory_bytes),
            kept: Mutex::new(Kept {
                bricks: LruCache::unbounded(),
                bytes: 0,
                limit: config.memory_bytes / KEPT_SHARE,
            }),
            filled: AtomicU64::new(0),
            filled_bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            cache_fault: AtomicBool::new(false),
        }))
    }

    /// The brick, if it is at hand.
    pub(crate) fn get(&self, slot: Slot) -> Option<Brick> {
        if let Some(bytes) = self.lock_kept().bricks.get(&slot.key) {
            return Some(Brick::Memory(bytes.clone()));
        }
        self.cache.as_ref()?.get(slot).map(Brick::Cached)
    }

    /// Calls `done` with the brick, produced by `produce` on a worker if nobody else is at it.
    pub(crate) fn request(
        self: &Arc<Self>,
        slot: Slot,
        mode: Mode,
        produce: impl FnOnce(&Self) -> Result<Produced, ImageError> + Send + 'static,
        done: BrickDone,
    ) {
        match self.flights.join(slot.key, done, || Err(ImageError::Abandoned)) {
            Role::Follower => {}
            Role::Leader(ticket) => {
                let engine = self.clone();
                self.workers.spawn(move || engine.fill(slot, mode, produce, ticket));
            }
        }
    }

    fn fill(
        &self,
        slot: Slot,
        mode: Mode,
        produce: impl FnOnce(&Self) -> Result<Produced, ImageError>,
        ticket: Ticket<BrickKey, FlightResult>,
    ) {
        // Another flight may have landed between the reader's look and its request.
        if !mode.unreadable
            && let Some(brick) = self.get(slot)
        {
            ticket.complete(Ok(brick));
            return;
        }
        let produced = match produce(self) {
            Ok(produced) => produced,
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                ticket.complete(Err(error));
                return;
            }
        };
        self.filled.fetch_add(1, Ordering::Relaxed);
        self.filled_bytes.fetch_add(produced.bytes.len() as u64, Ordering::Relaxed);
        let bytes = Arc::new(produced.bytes);
        if mode.keep_in_memory || self.cache.is_none() {
            self.keep(slot.key, &bytes);
        }
        if produced.keep {
            self.store(slot, &bytes);
        }
        ticket.complete(Ok(Brick::Memory(bytes)));
    }

    /// A fault of the cache costs speed, never the read.
    fn store(&self, slot: Slot, bytes: &[u8]) {
        let Some(cache) = &self.cache else { return };
        match cache.put(slot, bytes) {
            Ok(_) => {
                if self.cache_fault.swap(false, Ordering::Relaxed) {
                    tracing::info!("the cache takes bricks again");
                }
            }
            Err(error) => {
                if !self.cache_fault.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "cannot cache a brick; serving uncached until it works again");
                }
            }
        }
    }

    fn keep(&self, key: BrickKey, bytes: &Arc<Vec<u8>>) {
        let mut kept = self.lock_kept();
        let len = bytes.len() as u64;
        if len > kept.limit {
            return;
        }
        kept.bytes += len;
        if let Some(old) = kept.bricks.put(key, bytes.clone()) {
            kept.bytes -= old.len() as u64;
        }
        while kept.bytes > kept.limit {
            let Some((_, old)) = kept.bricks.pop_lru() else { break };
            kept.bytes -= old.len() as u64;
        }
    }

    fn lock_kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` while `bytes` of the memory budget are reserved for it.
    pub(crate) fn with_memory<T>(&self, bytes: u64, work: impl FnOnce() -> T) -> T {
        let _reserved = self.memory.reserve(bytes);
        work()
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            filled: self.filled.load(Ordering::Relaxed),
            filled_bytes: self.filled_bytes.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            in_flight: self.flights.in_flight(),
            memory_peak_bytes: self.memory.peak(),
            cache: self.cache.as_ref().map(|cache| cache.stats()),
        }
    }

    /// Ends all work: readers that still wait get an error, the cache is left in order.
    pub fn stop(&self) {
        self.workers.stop();
        if let Some(cache) = &self.cache {
            cache.sync();
        }
    }
}

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}
