//! What the daemon may take of its machine: threads and memory.

pub(crate) mod buffer;
pub(crate) mod headroom;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod shares;
pub(crate) mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// What is known of names.
    pub(crate) names: Names,
    is_stopping: AtomicBool,
}

/// What all mounts together keep of a kind, and how much that may be. Who adds to it makes room.
#[derive(Debug)]
pub(crate) struct Account {
    bytes: AtomicU64,
    most_bytes: u64,
    whole: Whole,
}

/// What an account is a part of.
#[derive(Debug)]
enum Whole {
    /// What is in it leaves less of the budget to others.
    Budget(Arc<MemoryBudget>),
    Account(Arc<Account>),
}

/// What is known of the names of all mounts.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// All of it: listings of folders, and the other two.
    pub(crate) all: Arc<Account>,
    /// The inodes and paths of what was forgotten.
    pub(crate) forgotten: Arc<Account>,
    /// What was found out about stores that no listing holds.
    pub(crate) memo: Arc<Account>,
}

impl Names {
    pub(crate) fn within(shares: Shares, memory: &Arc<MemoryBudget>) -> Self {
        let account =
            |most_bytes, whole| Arc::new(Account { bytes: AtomicU64::new(0), most_bytes, whole });
        let all = account(shares.names(), Whole::Budget(memory.clone()));
        let part = |most_bytes| account(most_bytes, Whole::Account(all.clone()));
        let (forgotten, memo) = (part(shares.forgotten()), part(shares.memo()));
        Self { all, forgotten, memo }
    }
}

impl Account {
    /// What took `old` bytes takes `new` ones now.
    pub(crate) fn change(&self, old: u64, new: u64) {
        self.bytes.fetch_add(new, Ordering::Relaxed);
        self.bytes.fetch_sub(old, Ordering::Relaxed);
        match &self.whole {
            Whole::Budget(memory) => memory.change_held(old, new),
            Whole::Account(whole) => whole.change(old, new),
        }
    }

    /// Bytes in it.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.most_bytes
    }
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
        let memory = MemoryBudget::new(shares.budget());
        let names = Names::within(shares, &memory);
        Arc::new(Self {
            workers: Workers::new("fill", threads),
            metadata_workers: Workers::new("metadata", METADATA_THREADS),
            fetchers: Workers::waiting("fetch", FETCH_THREADS),
            memory,
            aside: MemoryBudget::new(shares.aside()),
            threads,
            names,
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
