//! What the daemon may take of its machine: threads and memory.

pub(crate) mod buffer;
pub(crate) mod headroom;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod shares;
pub(crate) mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memory::{Held, MemoryBudget, Reserved};
use shares::{FETCH_THREADS, METADATA_THREADS, Shares};
use workers::Workers;

/// Threads and memory, shared by all mounts.
#[derive(Debug)]
pub(crate) struct Resources {
    /// They produce bricks. A task on them must not wait for another task.
    pub(crate) workers: Workers,
    /// They measure what metadata say of pixels, and wait for bricks.
    pub(crate) metadata_workers: Workers,
    /// They fetch and decode what comes from other machines: many wait at a time.
    pub(crate) fetchers: Workers,
    /// For bricks that are decoded, and what leaves less for them.
    pub(crate) memory: Arc<MemoryBudget>,
    /// The part of it that passes and records in production may take.
    aside: Arc<MemoryBudget>,
    /// Most threads that produce bricks.
    pub(crate) threads: usize,
    is_stopping: AtomicBool,
}

/// Memory of a pass over bricks, or of a record in production; less is decoded while it is in use.
#[derive(Debug)]
pub(crate) struct Aside {
    reserved: Reserved,
    _held: Held,
}

impl Aside {
    /// Reports progress: memory without progress is not waited for.
    pub(crate) fn renew(&self) {
        self.reserved.renew();
    }
}

impl Resources {
    pub(crate) fn new(shares: Shares, threads: usize) -> Arc<Self> {
        buffer::keep_at_most(shares.buffers());
        Arc::new(Self {
            workers: Workers::new("fill", threads),
            metadata_workers: Workers::new("metadata", METADATA_THREADS),
            fetchers: Workers::waiting("fetch", FETCH_THREADS),
            memory: MemoryBudget::new(shares.budget()),
            aside: MemoryBudget::new(shares.aside()),
            threads,
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Waits until `bytes` are free and takes them; `None` once the end has come.
    pub(crate) fn reserve(&self, bytes: u64) -> Option<Reserved> {
        let reserved = self.memory.reserve(bytes);
        (!self.is_stopping.load(Ordering::Relaxed)).then_some(reserved)
    }

    /// Waits until `bytes` may be used beside the bricks that are decoded. For threads that produce
    /// metadata: a thread that holds some must not wait for a thread that wants some.
    pub(crate) fn reserve_aside(&self, bytes: u64) -> Aside {
        Aside { reserved: self.aside.reserve(bytes), _held: self.memory.hold(bytes) }
    }

    /// Takes `bytes` beside the bricks that are decoded, if they are free now, or `anyway`.
    pub(crate) fn try_aside(&self, bytes: u64, anyway: bool) -> Option<Aside> {
        let reserved = match self.aside.try_reserve(bytes) {
            None if anyway => self.aside.overdraw(bytes),
            reserved => reserved?,
        };
        Some(Aside { reserved, _held: self.memory.hold(bytes) })
    }

    /// Threads that run now.
    pub(crate) fn running_threads(&self) -> usize {
        self.workers.threads() + self.metadata_workers.threads() + self.fetchers.threads()
    }

    /// Ends the threads; waiting tasks are dropped.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.workers.stop();
        self.metadata_workers.stop();
        self.fetchers.stop();
    }
}
