//! Bricks that are kept: on disk, on their way there, and in memory.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::cache::{BrickKey, Slot, SteadyCache};
use crate::workers::Workers;

use super::engine::{Brick, Keep, Produced, Purpose, Whole};
use super::lock;
use super::shelf::Shelf;

/// Part of the memory budget that keeps metadata regions and bricks that could not be cached.
const ONLY_SHARE: u64 = 4;

/// Part of the memory budget that keeps bricks which were made lately.
const RECENT_SHARE: u64 = 4;

/// Part of the memory budget that may wait to be written to the cache: little, so that the processor has
/// it at hand still.
const UNWRITTEN_SHARE: u64 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct KeptBricks {
    cache: Option<SteadyCache>,
    in_memory: Mutex<InMemory>,
    /// Writes to the cache.
    writer: Workers,
    /// Held while a brick is written: a file takes one writer at a time, and the kernel burns time where
    /// there are two.
    writing: Mutex<()>,
    memory_bytes: u64,
}

#[derive(Debug)]
struct InMemory {
    /// Those that are not on disk as well, and metadata regions.
    only: Shelf,
    /// Those that were made lately: most are read in several pieces, or were made ahead of a reader.
    recent: Shelf,
    /// Those that are to be on disk, until they are.
    unwritten: HashMap<BrickKey, Arc<Vec<u8>>>,
    unwritten_bytes: u64,
}

impl InMemory {
    fn get(&mut self, key: &BrickKey) -> Option<(Arc<Vec<u8>>, bool)> {
        self.recent
            .get(key)
            .or_else(|| Some((self.unwritten.get(key)?.clone(), true)))
            .or_else(|| self.only.get(key))
    }

    /// Puts a brick among those that are to be written, if it is not there.
    fn queue(&mut self, key: BrickKey, bytes: &Arc<Vec<u8>>) -> bool {
        let is_new = self.unwritten.insert(key, bytes.clone()).is_none();
        if is_new {
            self.unwritten_bytes += bytes.len() as u64;
        }
        is_new
    }
}

/// A brick that is to be written to the cache.
#[derive(Debug)]
#[must_use = "it would stay in memory for ever"]
pub(super) struct Unwritten {
    slot: Slot,
    purpose: Purpose,
    bytes: Arc<Vec<u8>>,
    /// The thread that writes has enough to do.
    is_much: bool,
}

impl KeptBricks {
    /// `memory_bytes`: the memory budget.
    ///
    /// # Errors
    /// The operating system's reason when a thread cannot be started.
    pub(super) fn new(cache: Option<SteadyCache>, memory_bytes: u64) -> io::Result<Arc<Self>> {
        let in_memory = Mutex::new(InMemory {
            only: Shelf::new(memory_bytes / ONLY_SHARE),
            recent: Shelf::new(memory_bytes / RECENT_SHARE),
            unwritten: HashMap::new(),
            unwritten_bytes: 0,
        });
        let writer = Workers::start("cache-write", 1)?;
        Ok(Arc::new(Self { cache, in_memory, writer, writing: Mutex::default(), memory_bytes }))
    }

    /// The cache on disk, where there is one.
    pub(super) fn cache(&self) -> Option<&SteadyCache> {
        self.cache.as_ref()
    }

    /// Bytes of bricks that may be in memory before anybody wants them: less than is kept, so that none
    /// goes before its time.
    pub(super) fn ahead_bytes(&self) -> u64 {
        self.memory_bytes / RECENT_SHARE / 2
    }

    /// The brick, if it is at hand at once: not if its checksum is still to be compared.
    pub(super) fn get_ready(&self, slot: Slot) -> Option<Brick> {
        let cache = self.cache();
        // First where no lock is needed.
        cache
            .and_then(|cache| cache.get_again(slot))
            .map(Brick::Cached)
            .or_else(|| self.in_memory(&slot.key))
            .or_else(|| cache?.get_ready(slot).map(Brick::Cached))
    }

    /// The brick, if it is in memory or in the cache.
    pub(super) fn get(&self, slot: Slot) -> Option<Brick> {
        self.in_memory(&slot.key).or_else(|| self.cache()?.get(slot).map(Brick::Cached))
    }

    fn in_memory(&self, key: &BrickKey) -> Option<Brick> {
        let (bytes, lasting) = lock(&self.in_memory).get(key)?;
        Some(Brick::Memory(Whole { bytes, lasting, is_zero: false }))
    }

    /// Whether [`KeptBricks::get`] would probably find the brick.
    pub(super) fn contains(&self, slot: Slot) -> bool {
        let is_in_memory = lock(&self.in_memory).get(&slot.key).is_some();
        is_in_memory || self.cache().is_some_and(|cache| cache.contains(&slot.key))
    }

    /// Keeps what was produced in memory, to be found at once; tells what is to be written.
    pub(super) fn hold(
        &self,
        slot: Slot,
        purpose: Purpose,
        Produced { bytes, keep, .. }: &Produced,
    ) -> Option<Unwritten> {
        let mut memory = lock(&self.in_memory);
        match *keep {
            _ if purpose == Purpose::Passing => return None,
            Keep::OnDisk => memory.recent.put(slot.key, bytes, None),
            // Else each of the kernel's small reads would produce it anew.
            Keep::Lightly => {
                memory.only.put(slot.key, bytes, None);
                return None;
            }
            Keep::InMemory(time) => {
                memory.only.put(slot.key, bytes, Some(Instant::now() + time));
                return None;
            }
        }
        if purpose == Purpose::Ahead {
            return None;
        }
        self.queue(&mut memory, slot, purpose, bytes)
    }

    /// Somebody wants a brick that was made before: it is to be written after all.
    pub(super) fn is_wanted(&self, slot: Slot) -> Option<Unwritten> {
        if self.cache().is_some_and(|cache| cache.contains(&slot.key)) {
            return None;
        }
        let mut memory = lock(&self.in_memory);
        let (bytes, _) = memory.recent.get(&slot.key)?;
        self.queue(&mut memory, slot, Purpose::Reader, &bytes)
    }

    fn queue(
        &self,
        memory: &mut InMemory,
        slot: Slot,
        purpose: Purpose,
        bytes: &Arc<Vec<u8>>,
    ) -> Option<Unwritten> {
        let waiting = memory.unwritten_bytes;
        let limit = self.memory_bytes / UNWRITTEN_SHARE;
        let is_much = waiting > 0 && waiting + bytes.len() as u64 > limit;
        let is_new = memory.queue(slot.key, bytes);
        is_new.then(|| Unwritten { slot, purpose, bytes: bytes.clone(), is_much })
    }

    /// Writes a brick aside, unless there is much to write.
    pub(super) fn write_later(self: &Arc<Self>, brick: Unwritten) {
        if brick.is_much {
            self.write(brick);
        } else {
            let kept = self.clone();
            self.writer.spawn(move || kept.write(brick));
        }
    }

    /// Writes a brick to the cache; what that does not take stays in memory for a while.
    pub(super) fn write(&self, Unwritten { slot, purpose, bytes, .. }: Unwritten) {
        let stored = {
            let _writing = lock(&self.writing);
            self.cache().is_some_and(|cache| cache.put(slot, &bytes))
        };
        let mut memory = lock(&self.in_memory);
        if purpose == Purpose::Metadata || !stored {
            memory.only.put(slot.key, &bytes, None);
        }
        if memory.unwritten.remove(&slot.key).is_some() {
            memory.unwritten_bytes -= bytes.len() as u64;
        }
    }

    /// Bricks that are to be written, but are not yet.
    pub(super) fn unwritten(&self) -> usize {
        lock(&self.in_memory).unwritten.len()
    }

    /// Brings what is to be written to the cache, and the cache to an end.
    pub(super) fn stop(&self) {
        self.writer.finish();
        self.writer.stop();
        if let Some(cache) = self.cache() {
            cache.stop();
        }
    }
}
