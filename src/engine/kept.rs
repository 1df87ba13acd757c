//! Bricks that are kept: on disk, on their way there, and in memory.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::cache::{BrickKey, ImageId, Slot, SteadyCache};
use crate::resources::buffer::Buffer;
use crate::resources::shares::Shares;
use crate::sync::lock;

use super::brick::{Brick, Keep, Produced, Purpose, Whole};
use super::shelf::Shelf;
use super::write_queue::{Destination, Unwritten, WriteQueue, WriteStats};

/// See the module.
#[derive(Debug)]
pub(crate) struct KeptBricks {
    places: Arc<Places>,
    queue: WriteQueue<Places>,
    ahead_bytes: u64,
}

/// The disk and the memory.
#[derive(Debug)]
struct Places {
    cache: Option<SteadyCache>,
    shelves: Mutex<Shelves>,
}

#[derive(Debug)]
struct Shelves {
    /// Bricks that are not on disk as well, and records.
    only: Shelf,
    /// Bricks that were produced lately: most are read in several pieces, or were made ahead of a reader.
    recent: Shelf,
}

impl Destination for Places {
    fn write(&self, brick: &Unwritten) {
        let is_stored =
            self.cache.as_ref().is_some_and(|cache| cache.put(brick.slot, &brick.bytes));
        // What the cache does not take stays in memory for a while.
        if brick.purpose == Purpose::Metadata || !is_stored {
            self.give_up(brick);
        }
    }

    fn give_up(&self, brick: &Unwritten) {
        lock(&self.shelves).only.put(brick.slot.key, &brick.bytes, None);
    }
}

impl KeptBricks {
    pub(super) fn new(cache: Option<SteadyCache>, shares: Shares) -> Self {
        let shelves = Mutex::new(Shelves {
            only: Shelf::new(shares.only_in_memory()),
            recent: Shelf::new(shares.recent()),
        });
        let places = Arc::new(Places { cache, shelves });
        let queue = WriteQueue::new(places.clone(), shares.unwritten());
        Self { places, queue, ahead_bytes: shares.ahead() }
    }

    /// The cache on disk, where there is one.
    pub(super) fn cache(&self) -> Option<&SteadyCache> {
        self.places.cache.as_ref()
    }

    /// Bytes of bricks that may be in memory before a reader asks for them.
    pub(crate) fn ahead_bytes(&self) -> u64 {
        self.ahead_bytes
    }

    /// The brick, if it is at hand at once: not if its checksum is still to be compared.
    pub(crate) fn get_ready(&self, slot: Slot) -> Option<Brick> {
        self.in_memory(slot).or_else(|| self.cache()?.get_ready(slot).map(Brick::Cached))
    }

    /// The brick, if it is in memory or in the cache.
    pub(crate) fn get(&self, slot: Slot) -> Option<Brick> {
        self.in_memory(slot).or_else(|| self.cache()?.get(slot).map(Brick::Cached))
    }

    fn in_memory(&self, slot: Slot) -> Option<Brick> {
        let mut shelves = lock(&self.places.shelves);
        let (bytes, lasting) = self.find(&mut shelves, &slot.key)?;
        self.want(&mut shelves, slot);
        drop(shelves);
        Some(Brick::Memory(Whole { bytes, lasting, is_zero: false }))
    }

    /// Bytes in memory, and whether they are true for as long as the image.
    fn find(&self, shelves: &mut Shelves, key: &BrickKey) -> Option<(Arc<Buffer>, bool)> {
        let unwritten = || self.queue.get(key).map(|bytes| (bytes, true));
        shelves.recent.get(key).or_else(unwritten).or_else(|| shelves.only.get(key))
    }

    /// Whether the cache on disk has the brick.
    pub(crate) fn is_on_disk(&self, slot: Slot) -> bool {
        self.cache().is_some_and(|cache| cache.contains(&slot.key))
    }

    /// The same, or will have it in a moment.
    pub(crate) fn is_cached(&self, slot: Slot) -> bool {
        self.is_on_disk(slot) || self.queue.get(&slot.key).is_some()
    }

    /// Whether [`KeptBricks::get`] would probably find the brick.
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        let is_in_memory = self.find(&mut lock(&self.places.shelves), &slot.key).is_some();
        is_in_memory || self.is_on_disk(slot)
    }

    /// Keeps what was produced in memory, to be found at once; returns what is to be written.
    pub(super) fn hold(
        &self,
        slot: Slot,
        purpose: Purpose,
        Produced { bytes, keep, reserved, .. }: &Produced,
    ) -> Option<Unwritten> {
        if purpose == Purpose::Passing {
            return None;
        }
        let Shelves { only, recent } = &mut *lock(&self.places.shelves);
        match *keep {
            Keep::OnDisk if purpose == Purpose::Ahead => recent.put_ahead(slot.key, bytes),
            Keep::OnDisk => {
                recent.put(slot.key, bytes, None);
                return self.queue.add(slot, purpose, bytes, reserved.clone());
            }
            // Else each of the kernel's small reads would produce it again.
            Keep::Lightly => only.put(slot.key, bytes, None),
            Keep::InMemory(time) => only.put(slot.key, bytes, Some(Instant::now() + time)),
        }
        None
    }

    /// A reader wants a brick: if it was made ahead, it is to be written after all. Never waits.
    pub(super) fn is_wanted(&self, slot: Slot) {
        self.want(&mut lock(&self.places.shelves), slot);
    }

    fn want(&self, shelves: &mut Shelves, slot: Slot) {
        // All bricks that were made ahead may be wanted at once. If the disk is slower than that, the
        // next piece that is read of the brick gives it another chance.
        let fit = |bytes| self.queue.has_room(bytes, self.ahead_bytes);
        if let Some(bytes) = shelves.recent.want(&slot.key, fit)
            && let Some(brick) = self.queue.add(slot, Purpose::Reader, &bytes, None)
        {
            self.queue.push_at_once(brick);
        }
    }

    /// Has a brick written; see [`WriteQueue::push`]. One that was made to be cached is never given up: who asks
    /// for such bricks asks for few at a time.
    pub(super) fn write_soon(&self, brick: Unwritten) {
        match brick.purpose {
            Purpose::Warming => self.queue.push_at_once(brick),
            _ => self.queue.push(brick),
        }
    }

    /// Whether a brick of `bytes` may be made ahead: not while much is to be written, or more would be read
    /// than is written. Waits as [`KeptBricks::write_soon`] does.
    pub(crate) fn may_make_ahead(&self, bytes: u64) -> bool {
        self.queue.wait_for_room(bytes)
    }

    /// Drops bricks from memory that are in the cache as well.
    pub(super) fn give_back(&self) {
        let contains = |key: &BrickKey| self.cache().is_some_and(|cache| cache.contains(key));
        let Shelves { only, recent } = &mut *lock(&self.places.shelves);
        recent.forget(contains);
        only.forget(contains);
    }

    /// Drops bricks from memory that match; their bytes. Those that are on their way to the disk stay.
    pub(crate) fn forget(&self, matches: impl Fn(&BrickKey) -> bool) -> u64 {
        let Shelves { only, recent } = &mut *lock(&self.places.shelves);
        recent.forget(&matches) + only.forget(&matches)
    }

    /// Whether bricks of an image are on their way to the disk.
    pub(crate) fn has_unwritten(&self, image: ImageId) -> bool {
        self.queue.has_any_of(image)
    }

    /// Runs a task when all bricks that are on their way by now are written, or never.
    pub(crate) fn when_written(&self, task: impl FnOnce() + Send + 'static) {
        self.queue.then(task);
    }

    /// The bricks that are not yet written.
    pub(super) fn unwritten(&self) -> WriteStats {
        self.queue.stats()
    }

    /// Bytes of bricks in memory: recent ones, and those that are only there.
    pub(super) fn bytes(&self) -> [u64; 2] {
        let Shelves { only, recent } = &*lock(&self.places.shelves);
        [recent.bytes(), only.bytes()]
    }

    /// Writes what is to be written, and ends the cache.
    pub(super) fn stop(&self) {
        self.queue.finish();
        if let Some(cache) = self.cache() {
            cache.stop();
        }
    }
}

#[cfg(test)]
mod tests;
