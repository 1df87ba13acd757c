//! The brick cache: all that it offers to its callers.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::brick::{BrickWriter, Check, PinnedBrick};
use super::disk::Disk;
use super::error::CacheError;
use super::key::{BrickKey, ImageId, Slot};
use super::limits::CacheLimits;
use super::recovery;
use super::segment::SlotSize;
use super::stats::{CacheStats, Removed, Tally};
use super::store::Store;

/// The cache. All its methods may be called from any thread.
#[derive(Debug)]
pub struct BrickCache {
    store: Arc<Store>,
}

impl BrickCache {
    /// Opens the cache in `dir`, which is created if need be, and takes over the bricks of earlier
    /// runs, as far as they fit under the limits. The directory stays owned until the cache and every
    /// pin and writer are dropped.
    ///
    /// # Errors
    ///
    /// [`CacheError::InUse`] if another process or cache owns the directory, [`CacheError::NoHolePunching`] if
    /// its file system cannot do the work, [`CacheError::Directory`] and [`CacheError::Journal`] if
    /// it cannot be read and written.
    pub fn open(disk: &dyn Disk, dir: &Path, limits: CacheLimits) -> Result<Arc<Self>, CacheError> {
        let store = Arc::new(recovery::open(disk, dir, limits)?);
        Ok(Arc::new(Self { store }))
    }

    /// Looks up a brick, notes the use and pins it.
    ///
    /// The first use of a brick of an earlier run reads it whole and compares its checksum. A brick
    /// that fails is counted, forgotten, and not returned.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<PinnedBrick> {
        PinnedBrick::open(&self.store, slot, false)
    }

    /// Like [`Self::get`], but never waits for a whole brick to be read: a brick whose checksum is
    /// still to be compared counts as missing. Such a miss is not counted.
    #[must_use]
    pub fn get_ready(&self, slot: Slot) -> Option<PinnedBrick> {
        PinnedBrick::open(&self.store, slot, true)
    }

    /// Compares a brick with its checksum, whether that was done before or not, and pins it; a brick that fails is
    /// forgotten. Counts as no lookup and no use.
    #[must_use]
    pub fn check(&self, slot: Slot) -> Check {
        PinnedBrick::check(&self.store, slot)
    }

    /// Whether a lookup would probably find the brick; neither reads nor changes anything.
    #[must_use]
    pub fn contains(&self, key: &BrickKey) -> bool {
        self.store.contains(key)
    }

    /// Sets other limits; bricks beyond a lower cap go at once.
    ///
    /// # Errors
    ///
    /// The disk does not tell its free space; the new limits hold all the same.
    pub fn set_limits(&self, limits: CacheLimits) -> io::Result<()> {
        self.store.index().set_cap(limits.cap_bytes);
        self.store.room.set_min_free(limits.min_free);
        let measured = self.store.room.measure(&self.store.index);
        self.store.trim();
        measured
    }

    /// How many of the `slots` bricks of one space of an image are there. Costs next to nothing, however many
    /// there are; neither reads nor changes anything.
    #[must_use]
    pub fn tally(&self, image: ImageId, space: u16, slots: u64, slot_bytes: u64) -> Tally {
        let size = SlotSize::new(slot_bytes);
        let count = |size| self.store.index().tally(image, space, slots, size);
        size.map_or_else(Tally::default, count)
    }

    /// Stores a brick; see [`Self::begin`].
    ///
    /// # Errors
    ///
    /// Those of [`Self::begin`], [`BrickWriter::write`] and [`BrickWriter::finish`].
    pub fn put(&self, slot: Slot, data: &[u8]) -> Result<PinnedBrick, CacheError> {
        let mut writer = self.begin(slot, data.len() as u64)?;
        writer.write(data)?;
        writer.finish()
    }

    /// Reserves the bytes for a brick of `length` bytes, evicting bricks until they fit: those on
    /// trial before proven ones, least recently used first. A brick that is there already, without a
    /// pin, is replaced: it goes at once.
    ///
    /// # Errors
    ///
    /// [`CacheError::Busy`] if another thread is writing, releasing or reading the brick: nothing here
    /// waits for another thread. [`CacheError::NoRoom`] if pins, or the cap, make
    /// it impossible. [`CacheError::SlotSize`], [`CacheError::SlotMismatch`] and
    /// [`CacheError::BadLength`] for a slot that is impossible. [`CacheError::Segment`] and
    /// [`CacheError::SegmentDamaged`] if the disk fails.
    pub fn begin(&self, slot: Slot, length: u64) -> Result<BrickWriter, CacheError> {
        BrickWriter::begin(&self.store, slot, length)
    }

    /// Removes all bricks of some images: pinned ones when their last pin is dropped, those being written
    /// once they are finished. Costs a walk over all bricks of the cache, however many images there are.
    #[expect(clippy::must_use_candidate, reason = "what there was matters to few callers")]
    pub fn remove_images(&self, images: &HashSet<ImageId>) -> Removed {
        self.store.discard(|segment| images.contains(&segment.image))
    }

    /// Whether the directory was removed: what is stored from now on fails.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.store.is_gone()
    }

    /// What the cache holds and what happened.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.store.stats()
    }

    /// The note of this name, if there is one and it is whole.
    ///
    /// # Errors
    ///
    /// [`CacheError::Note`] if it cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        self.store.notes().read(name)
    }

    /// Largest content of a note in bytes.
    #[must_use]
    pub fn most_note_bytes(&self) -> u64 {
        self.store.notes().most_bytes()
    }

    /// Stores a note in place of the last one of this name. Its bytes count under the cap; bricks, and
    /// notes that were not used since the cache was opened, make room for it. A name has up to 64
    /// lower-case letters, digits and hyphens.
    ///
    /// # Errors
    ///
    /// [`CacheError::NoRoom`] if it is too long, or pins make it impossible; [`CacheError::Note`] if
    /// the disk fails. The last one stays then.
    pub fn put_note(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        self.store.put_note(name, bytes)
    }

    /// Syncs the segment files written since the last call. If that fails for a file, its bricks are
    /// dropped: once the system drops its pages, they would read as something else, and their
    /// checksums are not compared again in this run.
    ///
    /// # Errors
    /// The first failure.
    pub fn write_back(&self) -> Result<(), CacheError> {
        self.store.write_back()
    }

    /// Waits until the journal is on disk. For a clean end: a power failure soon after then costs only
    /// bricks whose data the system has not written back.
    pub fn sync(&self) {
        self.store.sync();
    }
}

#[cfg(test)]
mod tests;
