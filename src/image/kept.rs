//! Bricks that are kept: on disk, on their way there, and in memory.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::cache::{BrickKey, Slot, SteadyCache};
use crate::memory::Reserved;
use crate::workers::Workers;

use super::engine::{Brick, Keep, Produced, Purpose, Whole};
use super::lock;
use super::shelf::Shelf;

/// Part of the memory budget that keeps metadata regions and bricks that could not be cached.
const ONLY_SHARE: u64 = 8;

/// Part of the memory budget that keeps bricks which were made lately.
const RECENT_SHARE: u64 = 4;

/// Part of the memory budget that may wait to be written to the cache: little, so that the processor has
/// it at hand still.
const UNWRITTEN_SHARE: u64 = 64;

/// Longest time that who made a brick waits for it to be written: less than it takes to be held for a task
/// that hangs.
const LONGEST_WAIT: Duration = Duration::from_millis(300);

/// See the module.
#[derive(Debug)]
pub(super) struct KeptBricks {
    cache: Option<SteadyCache>,
    in_memory: Mutex<InMemory>,
    /// Writes to the cache: a file takes one writer at a time, and the kernel burns time where there are
    /// two.
    writer: Workers,
    /// Something was written.
    written: Condvar,
    memory_bytes: u64,
}

#[derive(Debug)]
struct InMemory {
    /// Those that are not on disk as well, and metadata regions.
    only: Shelf,
    /// Those that were made lately: most are read in several pieces, or were made ahead of a reader.
    recent: Shelf,
    /// Those that are to be on disk, until they are.
    unwritten: HashMap<BrickKey, Arc<Buffer>>,
    /// Bytes of those that the thread that writes has been given.
    writing_bytes: u64,
}

impl InMemory {
    fn get(&mut self, key: &BrickKey) -> Option<(Arc<Buffer>, bool)> {
        self.recent
            .get(key)
            .or_else(|| Some((self.unwritten.get(key)?.clone(), true)))
            .or_else(|| self.only.get(key))
    }

    /// Puts a brick among those that are to be written, if it is not there.
    fn queue(
        &mut self,
        slot: Slot,
        purpose: Purpose,
        bytes: &Arc<Buffer>,
        reserved: Option<Arc<Reserved>>,
    ) -> Option<Unwritten> {
        let is_new = self.unwritten.insert(slot.key, bytes.clone()).is_none();
        is_new.then(|| Unwritten { slot, purpose, bytes: bytes.clone(), reserved })
    }

    /// A brick is written, or not to be written after all. What the cache did not take stays in memory
    /// for a while.
    fn end(&mut self, brick: &Unwritten, is_stored: bool) {
        if brick.purpose == Purpose::Metadata || !is_stored {
            self.only.put(brick.slot.key, &brick.bytes, None);
        }
        self.unwritten.remove(&brick.slot.key);
    }
}

/// A brick that is to be written to the cache.
#[derive(Debug)]
#[must_use = "it would stay in memory for ever"]
pub(super) struct Unwritten {
    slot: Slot,
    purpose: Purpose,
    bytes: Arc<Buffer>,
    /// Of the memory budget, until it is written.
    reserved: Option<Arc<Reserved>>,
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
            writing_bytes: 0,
        });
        let writer = Workers::start("cache-write", 1)?;
        Ok(Arc::new(Self { cache, in_memory, writer, written: Condvar::new(), memory_bytes }))
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
    pub(super) fn get_ready(self: &Arc<Self>, slot: Slot) -> Option<Brick> {
        self.in_memory(slot).or_else(|| self.cache()?.get_ready(slot).map(Brick::Cached))
    }

    /// The brick, if it is in memory or in the cache.
    pub(super) fn get(self: &Arc<Self>, slot: Slot) -> Option<Brick> {
        self.in_memory(slot).or_else(|| self.cache()?.get(slot).map(Brick::Cached))
    }

    fn in_memory(self: &Arc<Self>, slot: Slot) -> Option<Brick> {
        let mut memory = lock(&self.in_memory);
        let (bytes, lasting) = memory.get(&slot.key)?;
        self.want(&mut memory, slot);
        drop(memory);
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
        Produced { bytes, keep, reserved, .. }: &Produced,
    ) -> Option<Unwritten> {
        if purpose == Purpose::Passing {
            return None;
        }
        let mut memory = lock(&self.in_memory);
        match *keep {
            Keep::OnDisk if purpose == Purpose::Ahead => memory.recent.put_ahead(slot.key, bytes),
            Keep::OnDisk => {
                memory.recent.put(slot.key, bytes, None);
                return memory.queue(slot, purpose, bytes, reserved.clone());
            }
            // Else each of the kernel's small reads would produce it anew.
            Keep::Lightly => memory.only.put(slot.key, bytes, None),
            Keep::InMemory(time) => {
                memory.only.put(slot.key, bytes, Some(Instant::now() + time));
            }
        }
        None
    }

    /// Somebody wants a brick: if it was made before anybody did, it is to be written after all. Never
    /// waits.
    pub(super) fn is_wanted(self: &Arc<Self>, slot: Slot) {
        self.want(&mut lock(&self.in_memory), slot);
    }

    fn want(self: &Arc<Self>, memory: &mut InMemory, slot: Slot) {
        // All that may be in advance may be wanted at once. If the disk is slower than that, the next
        // piece that is read of the brick gives it another chance.
        let limit = self.unwritten_bytes() + self.ahead_bytes();
        let fit = |bytes| has_room(memory.writing_bytes, bytes, limit);
        if let Some(bytes) = memory.recent.want(&slot.key, fit)
            && let Some(brick) = memory.queue(slot, Purpose::Reader, &bytes, None)
        {
            self.spawn(memory, brick);
        }
    }

    /// Has a brick written. Waits while there is much to write, so that who makes bricks is not faster
    /// than the disk; but if that hangs, not for long: then the brick is not written.
    pub(super) fn write_soon(self: &Arc<Self>, brick: Unwritten) {
        match self.wait_for_room(brick.bytes.len() as u64) {
            (mut memory, true) => self.spawn(&mut memory, brick),
            (mut memory, false) => memory.end(&brick, false),
        }
    }

    /// Whether a brick of so many bytes may be made before anybody wants it: not while there is much to
    /// write, or more would be read than is written. Waits as [`KeptBricks::write_soon`] does.
    pub(super) fn may_make_ahead(&self, bytes: u64) -> bool {
        self.wait_for_room(bytes).1
    }

    /// Waits, not for long, until the thread that writes may be given so many bytes; whether it may.
    fn wait_for_room(&self, bytes: u64) -> (MutexGuard<'_, InMemory>, bool) {
        let limit = self.unwritten_bytes();
        let is_full = |memory: &mut InMemory| !has_room(memory.writing_bytes, bytes, limit);
        let memory = lock(&self.in_memory);
        let waited = self.written.wait_timeout_while(memory, LONGEST_WAIT, is_full);
        let (memory, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (memory, !timeout.timed_out())
    }

    /// Bytes that may wait to be written before who makes bricks waits as well.
    fn unwritten_bytes(&self) -> u64 {
        self.memory_bytes / UNWRITTEN_SHARE
    }

    fn spawn(self: &Arc<Self>, memory: &mut InMemory, brick: Unwritten) {
        memory.writing_bytes += brick.bytes.len() as u64;
        let kept = self.clone();
        self.writer.spawn(move || {
            let put = || kept.cache().is_some_and(|cache| cache.put(brick.slot, &brick.bytes));
            // Whatever happens to the disk, the brick is no longer waited for.
            let is_stored = catch_unwind(AssertUnwindSafe(put)).unwrap_or(false);
            let mut memory = lock(&kept.in_memory);
            memory.writing_bytes -= brick.bytes.len() as u64;
            memory.end(&brick, is_stored);
            kept.written.notify_all();
            drop(memory);
            drop(brick.reserved);
        });
    }

    /// Forgets bricks that can be had from the cache.
    pub(super) fn give_back(&self) {
        let contains = |key: &BrickKey| self.cache().is_some_and(|cache| cache.contains(key));
        let mut memory = lock(&self.in_memory);
        memory.recent.forget(contains);
        memory.only.forget(contains);
    }

    /// Bricks that are to be written, but are not yet.
    pub(super) fn unwritten(&self) -> usize {
        lock(&self.in_memory).unwritten.len()
    }

    /// Brings what is to be written to the cache, and the cache to an end.
    pub(super) fn stop(&self) {
        self.writer.finish();
        if let Some(cache) = self.cache() {
            cache.stop();
        }
    }
}

/// Whether the thread that writes may be given so many bytes more than the `writing_bytes` it has: one
/// brick always, however large.
fn has_room(writing_bytes: u64, bytes: u64, limit: u64) -> bool {
    writing_bytes == 0 || writing_bytes + bytes <= limit
}
