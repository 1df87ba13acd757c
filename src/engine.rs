//! What all mounts share: bricks in memory and on disk, and the rule that one brick is produced once however
//! many readers ask for it. The engine knows keys and bytes; what an image is, it does not know.

pub(crate) mod brick;
pub(crate) mod error;
mod kept;
mod shelf;
pub(crate) mod turns;
mod write_queue;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde::Serialize;

use crate::cache::disk::{Disk, LocalDisk};
use crate::cache::{
    BrickKey, CacheError, CacheLimits, CacheStatus, ImageId, Removed, Role, SingleFlight, Slot,
    SteadyCache,
};
use crate::objects::ObjectError;
use crate::resources::buffer::Buffer;
use crate::resources::shares::Shares;
use crate::resources::{Resources, buffer};
use crate::shared_cache::{Shared, SharedCache, SharedCacheConfig, SharedCacheStats};
use crate::source;

use brick::{Brick, BrickDone, BrickTicket, FlightResult, Keep, Mode, Produced, Purpose};
use error::ImageError;
use kept::KeptBricks;
use turns::Turns;
use write_queue::Unwritten;

pub use crate::resources::memory::MemoryStats;
pub use write_queue::WriteStats;

/// How long bricks on their way to the disk may take before they are dropped as they are.
const LONGEST_WRITE: Duration = Duration::from_secs(10);

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The brick cache; `None` serves without one.
    pub cache: Option<CacheConfig>,
    /// The cache that is shared with other daemons, if there is one.
    pub shared: Option<SharedCacheConfig>,
    /// The memory budget in bytes.
    pub memory_bytes: u64,
    /// Most threads that produce bricks.
    pub threads: usize,
}

/// Where bricks are cached.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// The folder.
    pub dir: PathBuf,
    /// How much of its disk the cache may take.
    pub limits: CacheLimits,
}

/// What was dropped of some images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evicted {
    /// From the disk.
    pub removed: Removed,
    /// Bytes in memory.
    pub memory_bytes: u64,
}

/// Counters since the start, and what is in use now.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EngineStats {
    /// Bricks and records produced to be kept.
    pub filled: u64,
    /// Bricks produced to make others from, or to be counted.
    pub passed: u64,
    /// Bytes produced to be kept.
    pub filled_bytes: u64,
    /// Bytes produced, kept or not.
    pub decoded_bytes: u64,
    /// Requests that ended in an error.
    pub failed: u64,
    /// Bricks in production.
    pub in_flight: usize,
    /// Threads that produce bricks and measure pixels.
    pub threads: usize,
    /// Bricks on their way to the cache.
    pub unwritten: WriteStats,
    /// The memory budget.
    pub memory: MemoryStats,
    /// Bytes of bricks in memory that were produced lately.
    pub recent_bytes: u64,
    /// Bytes of records in memory, and of bricks that are not on disk.
    pub only_in_memory_bytes: u64,
    /// Bytes of buffers that are kept for the next task.
    pub buffer_bytes: u64,
    /// The brick cache, where there is one.
    pub cache: Option<CacheStatus>,
    /// The shared cache, where there is one.
    pub shared: Option<SharedCacheStats>,
}

#[derive(Debug, Default)]
struct Counters {
    filled: AtomicU64,
    passed: AtomicU64,
    filled_bytes: AtomicU64,
    decoded_bytes: AtomicU64,
    failed: AtomicU64,
}

/// Shared by the images of all mounts.
#[derive(Debug)]
pub struct Engine {
    resources: Arc<Resources>,
    kept: KeptBricks,
    shared: Option<SharedCache>,
    flights: Arc<SingleFlight<BrickKey, FlightResult>>,
    turns: Arc<Turns>,
    counters: Counters,
}

impl Engine {
    /// Opens the cache. Threads start when there is work for them.
    ///
    /// # Errors
    /// [`EngineError::Cache`], such as [`CacheError::InUse`] when another process has the cache;
    /// [`EngineError::Shared`] when the shared cache cannot be used as it is configured.
    pub fn start(config: &EngineConfig) -> Result<Arc<Self>, EngineError> {
        Self::start_on(Arc::new(LocalDisk), config)
    }

    /// As [`Engine::start`], with the cache on another disk than those of this machine.
    ///
    /// # Errors
    /// As for [`Engine::start`].
    pub fn start_on(disk: Arc<dyn Disk>, config: &EngineConfig) -> Result<Arc<Self>, EngineError> {
        let cache = match &config.cache {
            Some(cache) => Some(SteadyCache::open(disk, &cache.dir, cache.limits)?),
            None => None,
        };
        let shares = Shares::of(config.memory_bytes);
        source::remember_at_most(shares);
        let resources = Resources::new(shares, config.threads);
        let shared = match &config.shared {
            Some(shared) => {
                let memory = resources.memory.clone();
                Some(SharedCache::open(shared, memory, shares.shared_puts())?)
            }
            None => None,
        };
        Ok(Arc::new(Self {
            shared,
            kept: KeptBricks::new(cache, shares),
            flights: SingleFlight::new(),
            turns: Turns::new(resources.clone()),
            resources,
            counters: Counters::default(),
        }))
    }

    /// The brick cache, where there is one.
    #[must_use]
    pub fn cache(&self) -> Option<&SteadyCache> {
        self.kept.cache()
    }

    pub(crate) fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// The bricks in memory and in the cache.
    pub(crate) fn kept(&self) -> &KeptBricks {
        &self.kept
    }

    /// Calls `done` with the brick, produced by `produce` on a worker unless another thread produces it.
    pub(crate) fn request(
        self: &Arc<Self>,
        slot: Slot,
        mode: Mode,
        produce: impl FnOnce() -> Result<Produced, ImageError> + Send + 'static,
        done: BrickDone,
    ) {
        match self.join(slot.key, done) {
            Role::Follower => {}
            Role::Leader(ticket) => {
                let engine = self.clone();
                let Resources { workers, metadata_workers, .. } = &*self.resources;
                let waits = mode.purpose == Purpose::Metadata;
                let workers = if waits { metadata_workers } else { workers };
                workers.spawn(move || engine.fill(slot, mode, produce, ticket));
            }
        }
    }

    /// Which bricks the shared cache keeps, where there is one.
    pub(crate) fn shares(&self) -> Option<Shared> {
        self.shared.as_ref().map(SharedCache::keeps)
    }

    /// Calls `then` with the brick of the shared cache, which is kept here from now on, or with nothing. Here and
    /// now, unless another caller has asked for it already.
    pub(crate) fn find_shared(
        &self,
        key: BrickKey,
        slot: Slot,
        then: impl FnOnce(Option<Brick>) + Send + 'static,
    ) {
        let done: BrickDone = Box::new(move |found| then(found.ok()));
        if let Role::Leader(ticket) = self.join(key, done) {
            ticket.complete(self.get_shared(key, slot).ok_or(ImageError::Abandoned));
        }
    }

    /// The same for one caller. Waits, but not for long.
    pub(crate) fn get_shared(&self, key: BrickKey, slot: Slot) -> Option<Brick> {
        let produced = self.look_up_shared(key, slot)?;
        if let Some(unwritten) = self.kept.hold(slot, Purpose::Reader, &produced) {
            self.kept.write_soon(unwritten);
        }
        Some(Brick::Memory(produced.whole()))
    }

    fn look_up_shared(&self, key: BrickKey, slot: Slot) -> Option<Produced> {
        let reserved = self.resources.reserve(slot.slot_bytes)?;
        let bytes = self.shared.as_ref()?.get(key, slot.slot_bytes)?;
        Some(Produced::new(Arc::new(bytes), Keep::OnDisk, false).holding(reserved))
    }

    /// Puts a brick into the shared cache, if it is true for good.
    pub(crate) fn share(&self, key: BrickKey, keep: Keep, bytes: &Arc<Buffer>) {
        if let (Some(shared), Keep::OnDisk) = (&self.shared, keep) {
            shared.put_soon(key, bytes);
        }
    }

    /// Waits, by callback, for a brick in production. The first caller has to produce it.
    pub(crate) fn join(&self, key: BrickKey, done: BrickDone) -> Role<BrickKey, FlightResult> {
        self.flights.join(key, done, || Err(ImageError::Abandoned))
    }

    /// Takes the duty to produce a brick, unless another caller has it.
    ///
    /// # Errors
    /// `done`, when another caller has it.
    pub(crate) fn lead(&self, key: BrickKey, done: BrickDone) -> Result<BrickTicket, BrickDone> {
        self.flights.lead(key, done, || Err(ImageError::Abandoned))
    }

    /// Whether a brick is in production.
    pub(crate) fn is_under_way(&self, slot: Slot) -> bool {
        self.flights.contains(&slot.key)
    }

    /// Produces a brick that no reader has asked for, here and now; false if it is there, or in production.
    pub(crate) fn make_ahead(
        &self,
        slot: Slot,
        shared: Option<BrickKey>,
        produce: impl FnOnce() -> Result<Produced, ImageError>,
    ) -> bool {
        // The wait comes first: the rest may be otherwise after it.
        let may = self.kept.may_make_ahead(slot.slot_bytes);
        if !may || self.kept.contains(slot) || self.resources.memory.is_short() {
            return false;
        }
        let Ok(ticket) = self.lead(slot.key, Box::new(drop)) else { return false };
        let mode = Mode { purpose: Purpose::Ahead, shared, ..Mode::default() };
        self.fill(slot, mode, produce, ticket);
        true
    }

    /// Produces a brick here and now.
    pub(crate) fn fill(
        &self,
        slot: Slot,
        mode: Mode,
        produce: impl FnOnce() -> Result<Produced, ImageError>,
        ticket: BrickTicket,
    ) {
        // Another flight may have landed between the reader's look and its request.
        if !mode.unreadable
            && let Some(brick) = self.kept.get(slot)
        {
            ticket.complete(Ok(brick));
            return;
        }
        let shared = mode.shared.and_then(|key| self.look_up_shared(key, slot));
        let is_made = shared.is_none();
        match shared.map_or_else(produce, Ok) {
            Ok(produced) => {
                if let (true, Some(key)) = (is_made, mode.shared) {
                    self.share(key, produced.keep, &produced.bytes);
                }
                let is_wanted = mode.purpose == Purpose::Passing
                    && ticket.waiters() > 1
                    && !self.kept.contains(slot);
                let purpose = if is_wanted { Purpose::Reader } else { mode.purpose };
                let unwritten = if is_made {
                    self.hold(slot, purpose, &produced)
                } else {
                    self.kept.hold(slot, purpose, &produced)
                };
                // Answer the waiting readers before the wait for the cache's disk.
                let waiters = ticket.complete(Ok(Brick::Memory(produced.whole())));
                if let Some(unwritten) = unwritten {
                    self.kept.write_soon(unwritten);
                } else if purpose == Purpose::Ahead && waiters > 1 {
                    self.kept.is_wanted(slot);
                }
            }
            Err(error) => {
                // A guess that no reader waits for, and that is given up at the end, is no failure.
                if mode.purpose != Purpose::Ahead || ticket.waiters() > 1 {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                }
                ticket.complete(Err(error));
            }
        }
    }

    /// Keeps what was produced, where it may be kept.
    pub(crate) fn take_in(&self, slot: Slot, purpose: Purpose, produced: &Produced) -> Brick {
        if let Some(unwritten) = self.hold(slot, purpose, produced) {
            self.kept.write_soon(unwritten);
        }
        Brick::Memory(produced.whole())
    }

    fn hold(&self, slot: Slot, purpose: Purpose, produced: &Produced) -> Option<Unwritten> {
        let Counters { filled, passed, filled_bytes, decoded_bytes, .. } = &self.counters;
        decoded_bytes.fetch_add(produced.bytes.len() as u64, Ordering::Relaxed);
        if purpose == Purpose::Passing {
            passed.fetch_add(1, Ordering::Relaxed);
        } else {
            filled.fetch_add(1, Ordering::Relaxed);
            filled_bytes.fetch_add(produced.bytes.len() as u64, Ordering::Relaxed);
        }
        self.kept.hold(slot, purpose, produced)
    }

    /// Drops all bricks of some images, on disk and in memory. Those that are produced meanwhile are kept.
    pub fn evict(&self, images: &HashSet<ImageId>) -> Evicted {
        let (tell, written) = mpsc::channel();
        self.kept.when_written(move || {
            // The receiver may have given up.
            let _ = tell.send(());
        });
        // A disk that hangs has nothing to lose.
        let _ = written.recv_timeout(LONGEST_WRITE);
        let memory_bytes = self.kept.forget(|key| images.contains(&key.image));
        let removed = self.cache().map(|cache| cache.remove_images(images)).unwrap_or_default();
        Evicted { removed, memory_bytes }
    }

    /// Gives memory back that only saves work if readers come again: for a time of rest.
    pub fn give_back(&self) {
        self.kept.give_back();
        buffer::give_back();
        source::forget_remembered();
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        let Counters { filled, passed, filled_bytes, decoded_bytes, failed } = &self.counters;
        let [recent_bytes, only_in_memory_bytes] = self.kept.bytes();
        EngineStats {
            filled: filled.load(Ordering::Relaxed),
            passed: passed.load(Ordering::Relaxed),
            filled_bytes: filled_bytes.load(Ordering::Relaxed),
            decoded_bytes: decoded_bytes.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
            in_flight: self.flights.in_flight(),
            threads: self.resources.running_threads(),
            unwritten: self.kept.unwritten(),
            memory: self.resources.memory.stats(),
            recent_bytes,
            only_in_memory_bytes,
            buffer_bytes: buffer::kept_bytes(),
            cache: self.cache().map(SteadyCache::status),
            shared: self.shared.as_ref().map(SharedCache::stats),
        }
    }

    /// The number of bricks in production, by their images.
    #[must_use]
    pub fn in_flight(&self) -> HashMap<ImageId, usize> {
        let mut numbers = HashMap::new();
        for key in self.flights.keys() {
            *numbers.entry(key.image).or_default() += 1;
        }
        numbers
    }

    /// Ends all work: waiting readers get an error, the cache is left in order.
    pub fn stop(&self) {
        // No pass that waits starts while the threads end.
        self.turns.close();
        self.resources.stop();
        self.kept.stop();
        if let Some(shared) = &self.shared {
            shared.finish();
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
    /// The shared cache cannot be used as it is configured.
    #[error("the shared cache: {0}")]
    Shared(#[from] ObjectError),
}

#[cfg(test)]
mod tests;
