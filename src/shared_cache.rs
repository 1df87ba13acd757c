//! The shared cache: bricks that are expensive to make, in an object store or a folder that several daemons
//! use. One computes a pyramid, the others read it.
//!
//! * **Never a wrong byte.** A brick is named by the identity of its content, which is the same on every
//!   machine that sees the same files, and differs after any change of them. An object says which brick it
//!   holds, and has a checksum of all of it ([`object`]). Whatever is not right about it makes it a miss.
//!   This guards against accidents. Whoever may write objects can still forge them.
//! * **Nobody waits for it long.** A look-up ends within [`LOOK_UP_TIME`]. After a failure no object is asked
//!   for during [`PAUSE`]. Bricks are put in the background ([`queue`]), or dropped where that is slow.
//! * **Nothing is ever removed.** That is up to the owner of the bucket or folder.
//!
//! What a brick is, and which ones are worth it, this room does not know.

mod health;
mod object;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::cache::BrickKey;
use crate::objects::{Address, Fault, Got, ObjectError, Objects, Options};
use crate::resources::buffer::Buffer;
use crate::resources::memory::MemoryBudget;

use health::Health;
use queue::Queue;

#[cfg(fuzzing)]
pub use object::fuzzing;

/// Longest time for a look-up: making most bricks takes less.
const LOOK_UP_TIME: Duration = Duration::from_secs(2);

/// Time after a failure in which nothing is asked for.
const PAUSE: Duration = Duration::from_secs(30);

/// Which bricks are kept there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shared {
    /// Those of computed levels, and metadata that depends on voxels.
    Computed,
    /// All.
    All,
}

/// How a shared cache is set up.
#[derive(Debug, Clone)]
pub struct SharedCacheConfig {
    /// Where it lies.
    pub address: Address,
    /// How to get there; its limit of time is for writing.
    pub options: Options,
    /// Which bricks are kept there.
    pub keeps: Shared,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SharedCacheStats {
    /// Bricks that were found.
    pub hits: u64,
    /// Bricks that were not there.
    pub misses: u64,
    /// Objects that were there and are not what their name says.
    pub damaged: u64,
    /// Bricks that were put.
    pub puts: u64,
    /// Bricks that were not put, because too many waited, or during a pause.
    pub dropped: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Whether calls pause after a failure.
    pub is_paused: bool,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    damaged: AtomicU64,
    puts: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// Bricks that several daemons share.
#[derive(Debug)]
pub(crate) struct SharedCache {
    inner: Arc<Inner>,
    queue: Queue,
    keeps: Shared,
}

#[derive(Debug)]
struct Inner {
    reading: Objects,
    writing: Objects,
    health: Health,
    counters: Counters,
}

impl SharedCache {
    /// Prepares it. No request is sent. `memory` is the budget that waiting bricks are taken from, `limit`
    /// their most bytes.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub(crate) fn open(
        config: &SharedCacheConfig,
        memory: Arc<MemoryBudget>,
        limit: u64,
    ) -> Result<Self, ObjectError> {
        let SharedCacheConfig { address, options, keeps } = config;
        let for_reading = Options { timeout: LOOK_UP_TIME, ..options.clone() };
        let inner = Inner {
            reading: Objects::connect(address, &for_reading)?,
            writing: Objects::connect(address, options)?,
            health: Health::new(address.to_string(), PAUSE),
            counters: Counters::default(),
        };
        let queue = Queue::new(memory, limit);
        Ok(Self { inner: Arc::new(inner), queue, keeps: *keeps })
    }

    /// Which bricks are kept here.
    pub(crate) fn keeps(&self) -> Shared {
        self.keeps
    }

    /// The bytes of a brick, at most `most_bytes`; `None` where it has to be made. Waits, but not for long.
    pub(crate) fn get(&self, key: BrickKey, most_bytes: u64) -> Option<Buffer> {
        let Inner { reading, health, counters, .. } = &*self.inner;
        if !health.may_ask() {
            return None;
        }
        let got = reading.get(&object::name(key), object::most_bytes(most_bytes));
        let (counter, found) = match got {
            Ok(Got::Whole(whole)) => match object::decode(key, most_bytes, &whole.bytes) {
                Some(bytes) => (&counters.hits, Some(bytes)),
                None => (&counters.damaged, None),
            },
            Ok(Got::Larger(_)) => (&counters.damaged, None),
            Err(error) if error.fault == Fault::Absent => (&counters.misses, None),
            Err(error) => {
                health.failed(&error);
                counters.failed.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        };
        health.works();
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Puts a brick, sometime.
    pub(crate) fn put_soon(&self, key: BrickKey, bytes: &Arc<Buffer>) {
        let is_queued = self.inner.health.may_ask() && {
            let (inner, bytes) = (self.inner.clone(), bytes.clone());
            let length = bytes.len() as u64;
            self.queue.push(length, move || inner.put(key, &bytes))
        };
        if !is_queued {
            self.inner.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counters as they are now.
    pub(crate) fn stats(&self) -> SharedCacheStats {
        let Counters { hits, misses, damaged, puts, dropped, failed } = &self.inner.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SharedCacheStats {
            hits: load(hits),
            misses: load(misses),
            damaged: load(damaged),
            puts: load(puts),
            dropped: load(dropped),
            failed: load(failed),
            is_paused: !self.inner.health.may_ask(),
        }
    }

    /// Puts what is queued, unless that takes long, and ends.
    pub(crate) fn finish(&self) {
        self.queue.finish();
    }
}

impl Inner {
    fn put(&self, key: BrickKey, bytes: &Buffer) {
        let counters = &self.counters;
        let counter = if self.health.may_ask() {
            match self.writing.put(&object::name(key), object::encode(key, bytes)) {
                Ok(()) => {
                    self.health.works();
                    &counters.puts
                }
                Err(error) => {
                    self.health.failed(&error);
                    &counters.failed
                }
            }
        } else {
            &counters.dropped
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
