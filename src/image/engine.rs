//! What all mounts share: the brick cache, the workers, the memory budget, the turns of passes, and the
//! rule that one brick is produced once however many ask for it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::buffer::{self, Buffer};
use crate::cache::disk::{Disk, LocalDisk};
use crate::cache::{
    BrickKey, CacheError, CacheLimits, CacheStats, PinnedBrick, Role, SingleFlight, Slot,
    SteadyCache, Ticket,
};

use crate::source;

use super::ImageError;
use super::kept::{KeptBricks, Unwritten};
use super::turns::Turns;
use crate::memory::{Held, MemoryBudget, Reserved};
use crate::workers::Workers;

/// Part of the memory budget for what is neither a brick being decoded nor one that is kept: computed bricks
/// that a pass has open, and metadata regions in the making.
const ASIDE_SHARE: u64 = 4;

/// Threads that make metadata regions. They wait for the threads that produce bricks.
const METADATA_THREADS: usize = 32;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The brick cache; `None` serves without one.
    pub cache: Option<CacheConfig>,
    /// Memory for decoding in bytes.
    pub memory_bytes: u64,
    /// Number of threads that produce bricks.
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

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct EngineStats {
    /// Bricks and metadata regions produced to be kept.
    pub filled: u64,
    /// Bricks produced to make others from, or to be counted.
    pub passed: u64,
    /// Bytes produced.
    pub filled_bytes: u64,
    /// Requests that ended in an error.
    pub failed: u64,
    /// Bricks that are to be written to the cache, but are not yet.
    pub unwritten: usize,
    /// Productions under way.
    pub in_flight: usize,
    /// Largest memory reserved at once for decoding, in bytes.
    pub memory_peak_bytes: u64,
    /// The brick cache, where there is one.
    pub cache: Option<CacheStats>,
}

/// Memory of a pass over bricks, or of metadata in the making; less is decoded while it is in use.
#[derive(Debug)]
pub(super) struct Aside {
    reserved: Reserved,
    _held: Held,
}

impl Aside {
    /// Who has it makes headway.
    pub(super) fn renew(&self) {
        self.reserved.renew();
    }
}

/// Bytes of a brick, wherever they are.
#[derive(Debug, Clone)]
pub(crate) enum Brick {
    /// In the cache, and pinned there.
    Cached(PinnedBrick),
    /// In memory.
    Memory(Whole),
}

impl Whole {
    /// So many bytes from `offset` on.
    pub(crate) fn slice(&self, offset: u64, len: usize) -> &[u8] {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        &self.bytes[start..start + len]
    }
}

impl Brick {
    /// The brick in memory.
    ///
    /// # Errors
    /// [`CacheError`] when the cache file cannot be read: the brick must then be produced again.
    fn whole(&self) -> Result<Whole, CacheError> {
        match self {
            Self::Memory(whole) => Ok(whole.clone()),
            Self::Cached(brick) => {
                let mut bytes = Buffer::try_of(usize::try_from(brick.len()).unwrap_or(usize::MAX))?;
                brick.read_at(0, &mut bytes)?;
                Ok(Whole { bytes: Arc::new(bytes), lasting: true, is_zero: false })
            }
        }
    }
}

/// A brick in memory.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(super) bytes: Arc<Buffer>,
    /// They may be kept: no part of the source was absent.
    pub(super) lasting: bool,
    /// All bytes are known to be zero, as where a store has no chunks.
    pub(super) is_zero: bool,
}

/// What was produced, and how long it may be kept.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) bytes: Arc<Buffer>,
    pub(crate) keep: Keep,
    /// All bytes are known to be zero.
    pub(crate) is_zero: bool,
    /// Held until the bytes are where they are to be kept.
    pub(super) reserved: Option<Arc<Reserved>>,
}

impl Produced {
    pub(crate) fn new(bytes: Arc<Buffer>, keep: Keep, is_zero: bool) -> Self {
        Self { bytes, keep, is_zero, reserved: None }
    }

    fn brick(&self) -> Brick {
        let (bytes, is_zero) = (self.bytes.clone(), self.is_zero);
        Brick::Memory(Whole { bytes, lasting: self.keep.is_lasting(), is_zero })
    }
}

/// How long bytes are true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As long as the identity of the image is the same.
    OnDisk,
    /// So long as well, but they cost nothing to make: all chunks are absent.
    Lightly,
    /// The source may complete them any time: chunks are absent of an image that may still be
    /// written.
    InMemory(Duration),
}

impl Keep {
    /// Whether bytes are true for as long as the identity of the image is the same.
    pub(crate) fn is_lasting(self) -> bool {
        !matches!(self, Self::InMemory(_))
    }

    /// For bytes that cost little.
    pub(crate) const FLEETING: Self = Self::InMemory(Self::FLEETING_TIME);

    /// Readers see what comes late after this time.
    pub(crate) const FLEETING_TIME: Duration = Duration::from_secs(5);
}

/// How a request is treated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode {
    /// The cache has the brick but cannot read it: do not ask it again.
    pub(crate) unreadable: bool,
    pub(crate) purpose: Purpose,
}

/// What a brick is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Purpose {
    /// A reader asked for it.
    #[default]
    Reader,
    /// Others are made from it: it is kept only if a reader asks meanwhile.
    Passing,
    /// It is the metadata region: read in many small pieces, so kept in memory as well, and made by
    /// who waits for other bricks.
    Metadata,
    /// Nobody has asked for it yet: it waits in memory for somebody.
    Ahead,
}

/// Receives a brick or the reason why there is none.
pub(crate) type BrickDone = Box<dyn FnOnce(Result<Brick, ImageError>) + Send>;

pub(super) type FlightResult = Result<Brick, ImageError>;

/// The duty to produce a brick.
pub(super) type BrickTicket = Ticket<BrickKey, FlightResult>;

/// Shared by the images of all mounts.
#[derive(Debug)]
pub struct Engine {
    kept: Arc<KeptBricks>,
    flights: Arc<SingleFlight<BrickKey, FlightResult>>,
    workers: Workers,
    metadata_workers: Workers,
    pub(super) turns: Turns,
    memory: Arc<MemoryBudget>,
    aside: Arc<MemoryBudget>,
    threads: usize,
    filled: AtomicU64,
    passed: AtomicU64,
    filled_bytes: AtomicU64,
    failed: AtomicU64,
    stopping: AtomicBool,
}

impl Engine {
    /// Opens the cache and starts the workers.
    ///
    /// # Errors
    /// [`CacheError::InUse`] when somebody else has the cache, or the reason why threads cannot be
    /// started.
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
        buffer::keep_at_most(config.memory_bytes);
        source::remember_at_most(config.memory_bytes);
        Ok(Arc::new(Self {
            kept: KeptBricks::new(cache, config.memory_bytes)?,
            flights: SingleFlight::new(),
            workers: Workers::start("fill", config.threads)?,
            metadata_workers: Workers::start("metadata", METADATA_THREADS)?,
            turns: Turns::default(),
            memory: MemoryBudget::new(config.memory_bytes),
            aside: MemoryBudget::new(config.memory_bytes / ASIDE_SHARE),
            threads: config.threads,
            filled: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            filled_bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }))
    }

    /// Size of the brick cache, 0 without one.
    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache().map_or(0, SteadyCache::cap_bytes)
    }

    /// The brick cache, where there is one.
    #[must_use]
    pub fn cache(&self) -> Option<&SteadyCache> {
        self.kept.cache()
    }

    /// The brick, if it is at hand at once: not if its checksum is still to be compared.
    pub(crate) fn get_ready(&self, slot: Slot) -> Option<Brick> {
        self.kept.get_ready(slot)
    }

    /// The brick, if it is in memory or in the cache.
    pub(super) fn get(&self, slot: Slot) -> Option<Brick> {
        self.kept.get(slot)
    }

    /// Whether [`Engine::get`] would probably find the brick.
    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.kept.contains(slot)
    }

    /// Calls `done` with the brick, produced by `produce` on a worker if nobody else is at it.
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
                let waits = mode.purpose == Purpose::Metadata;
                let workers = if waits { &self.metadata_workers } else { &self.workers };
                workers.spawn(move || engine.fill(slot, mode, produce, ticket));
            }
        }
    }

    /// Joins those who wait for a brick; the first has to produce it.
    pub(super) fn join(&self, key: BrickKey, done: BrickDone) -> Role<BrickKey, FlightResult> {
        self.flights.join(key, done, || Err(ImageError::Abandoned))
    }

    /// Takes the duty to produce a brick, unless somebody has it.
    ///
    /// # Errors
    /// `done`, when somebody has it.
    pub(super) fn lead(&self, key: BrickKey, done: BrickDone) -> Result<BrickTicket, BrickDone> {
        self.flights.lead(key, done, || Err(ImageError::Abandoned))
    }

    /// Bytes of bricks that may be in memory before anybody wants them.
    pub(super) fn ahead_bytes(&self) -> u64 {
        self.kept.ahead_bytes()
    }

    /// Threads that produce bricks.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Produces a brick that nobody has asked for, here and now; false if it is there, or somebody is at
    /// it.
    pub(super) fn make_ahead(
        self: &Arc<Self>,
        slot: Slot,
        produce: impl FnOnce() -> Result<Produced, ImageError>,
    ) -> bool {
        // The wait comes first: the rest may be otherwise after it.
        let may = self.kept.may_make_ahead(slot.slot_bytes);
        if !may || self.contains(slot) || self.memory.is_short() {
            return false;
        }
        let Ok(ticket) = self.lead(slot.key, Box::new(drop)) else { return false };
        let mode = Mode { purpose: Purpose::Ahead, ..Mode::default() };
        self.fill(slot, mode, produce, ticket);
        true
    }

    /// Whether somebody is at producing a brick.
    pub(super) fn is_under_way(&self, slot: Slot) -> bool {
        self.flights.contains(&slot.key)
    }

    /// Runs a task on a thread that produces bricks, when it has nothing else to do.
    pub(super) fn spawn_when_idle(&self, task: impl FnOnce() + Send + 'static) {
        self.workers.spawn_when_idle(task);
    }

    /// Runs a task on a thread that produces bricks, if one has nothing to do now.
    pub(super) fn spawn_if_idle(&self, task: impl FnOnce() + Send + 'static) {
        self.workers.spawn_if_idle(task);
    }

    /// Runs a task on a thread that produces bricks. It must not wait for another task.
    pub(super) fn spawn(&self, task: impl FnOnce() + Send + 'static) {
        self.workers.spawn(task);
    }

    /// Produces a brick here and now.
    pub(super) fn fill(
        self: &Arc<Self>,
        slot: Slot,
        mode: Mode,
        produce: impl FnOnce() -> Result<Produced, ImageError>,
        ticket: BrickTicket,
    ) {
        // Another flight may have landed between the reader's look and its request.
        if !mode.unreadable
            && let Some(brick) = self.get(slot)
        {
            ticket.complete(Ok(brick));
            return;
        }
        match produce() {
            Ok(produced) => {
                let purpose = match mode.purpose {
                    Purpose::Passing if ticket.waiters() > 1 && !self.contains(slot) => {
                        Purpose::Reader
                    }
                    purpose => purpose,
                };
                let unwritten = self.hold(slot, purpose, &produced);
                // Who waits need not wait for the disk of the cache.
                let waiters = ticket.complete(Ok(produced.brick()));
                if let Some(unwritten) = unwritten {
                    self.kept.write_soon(unwritten);
                } else if purpose == Purpose::Ahead && waiters > 1 {
                    self.kept.is_wanted(slot);
                }
            }
            Err(error) => {
                // A guess that nobody waits for, and that is given up at the end, is no failure.
                if mode.purpose != Purpose::Ahead || ticket.waiters() > 1 {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
                ticket.complete(Err(error));
            }
        }
    }

    /// Keeps what was produced, where it may be kept.
    pub(super) fn take_in(&self, slot: Slot, purpose: Purpose, produced: &Produced) -> Brick {
        if let Some(unwritten) = self.hold(slot, purpose, produced) {
            self.kept.write_soon(unwritten);
        }
        produced.brick()
    }

    fn hold(&self, slot: Slot, purpose: Purpose, produced: &Produced) -> Option<Unwritten> {
        if purpose == Purpose::Passing {
            self.passed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.filled.fetch_add(1, Ordering::Relaxed);
            self.filled_bytes.fetch_add(produced.bytes.len() as u64, Ordering::Relaxed);
        }
        self.kept.hold(slot, purpose, produced)
    }

    /// Runs `work` while `bytes` of the memory budget are reserved for it. What it produces stays reserved.
    ///
    /// # Errors
    /// Those of `work`; [`ImageError::Abandoned`] once the engine is stopping.
    pub(crate) fn with_memory(
        &self,
        bytes: u64,
        work: impl FnOnce() -> Result<Produced, ImageError>,
    ) -> Result<Produced, ImageError> {
        let reserved = self.memory.reserve(bytes);
        if self.stopping.load(Ordering::Relaxed) {
            return Err(ImageError::Abandoned);
        }
        let produced = work()?;
        reserved.shrink_to(produced.bytes.len() as u64);
        Ok(Produced { reserved: Some(Arc::new(reserved)), ..produced })
    }

    /// The brick in memory, with the part of the budget that it takes if it has to be read for that. For
    /// threads that have none of the budget yet.
    ///
    /// # Errors
    /// [`CacheError`] when the cache file cannot be read: the brick must then be produced again.
    pub(super) fn whole(&self, brick: &Brick) -> Result<(Whole, Option<Reserved>), CacheError> {
        let reserved = match brick {
            Brick::Memory(_) => None,
            Brick::Cached(cached) => Some(self.memory.reserve(cached.len())),
        };
        Ok((brick.whole()?, reserved))
    }

    /// So many bytes of the memory budget, if they are free now.
    pub(super) fn try_memory(&self, bytes: u64) -> Option<Reserved> {
        self.memory.try_reserve(bytes)
    }

    /// Waits until so many bytes may be used beside the bricks that are decoded. For threads that make
    /// metadata: nobody who has them may wait for others to get some.
    pub(super) fn reserve_aside(&self, bytes: u64) -> Aside {
        Aside { reserved: self.aside.reserve(bytes), _held: self.memory.hold(bytes) }
    }

    /// So many bytes beside the bricks that are decoded, if they are free now, or `anyway`.
    pub(super) fn try_aside(&self, bytes: u64, anyway: bool) -> Option<Aside> {
        let reserved = match self.aside.try_reserve(bytes) {
            None if anyway => self.aside.overdraw(bytes),
            reserved => reserved?,
        };
        Some(Aside { reserved, _held: self.memory.hold(bytes) })
    }

    /// Leaves so many bytes less for decoding, for as long as the answer lives: what a file takes while it
    /// is open.
    pub(super) fn hold_memory(&self, bytes: u64) -> Held {
        self.memory.hold(bytes)
    }

    /// Gives memory back that only saves work if somebody comes again: for a time of rest.
    pub fn give_back(&self) {
        self.kept.give_back();
        buffer::give_back();
        source::forget_remembered();
    }

    /// The counters as they are now.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            filled: self.filled.load(Ordering::Relaxed),
            passed: self.passed.load(Ordering::Relaxed),
            filled_bytes: self.filled_bytes.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            unwritten: self.kept.unwritten(),
            in_flight: self.flights.in_flight(),
            memory_peak_bytes: self.memory.peak(),
            cache: self.cache().map(SteadyCache::stats),
        }
    }

    /// Ends all work: readers that still wait get an error, the cache is left in order.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.turns.clear();
        self.workers.stop();
        self.metadata_workers.stop();
        self.kept.stop();
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
