//! Bricks on disk, under a byte cap, kept across restarts.
//!
//! A brick is a blob of bytes that never changes once it is there. Its caller names it by image,
//! space and index, and knows how to make it again; so the cache may lose any brick at any time,
//! but must never hand out a wrong byte and never take more of the disk than its cap.
//!
//! * **Never a wrong byte.** A brick counts as present if the journal says so; the first time a run
//!   uses a brick of an earlier one, its checksum is compared. So nothing needs to be synced while
//!   bricks come and go, and a crash at any point costs bricks, not truth. A slot is never punched
//!   or written while a pin is on it or another thread is at it. Replacing or removing a brick is
//!   not synced either: after a power failure the old one may be back, whole. Content that may
//!   change therefore needs another [`ImageId`].
//! * **Never more than the cap.** Bytes are charged before they are written and given back after
//!   the punch that frees them. Charged are whole pages, folders, the journal, and for each file the
//!   metadata the file system counts against it: all that `du` counts. Where the disk has less room
//!   left than it should have, the cache shrinks.
//! * **A fault costs speed only.** A full or failing disk, or a directory that went away, is an
//!   error of one call; the caller serves the bytes it has. [`SteadyCache`] is the cache for callers
//!   that do not want to know.
//!
//! The layers, from the outside in: `steady` (a cache that comes and goes), `brick` (what callers
//! hold), `store` (the protocol), `gate` (the way in without a lock), `index` (pins, account) and
//! `recency` (what goes first), `room` (how much there is), `journal` and `segment` (the files), `notes` (what callers want to
//! know at the next start), `directory` (ownership), `recovery` (start), [`disk`] (what is asked of
//! the file system). [`SingleFlight`] stands beside them.

mod brick;
mod directory;
pub mod disk;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod index;
mod journal;
mod notes;
mod recency;
mod recovery;
mod room;
mod segment;
mod single_flight;
mod steady;
mod store;
#[cfg(test)]
mod tests;
mod trouble;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::Store;

pub use brick::{BrickWriter, PinnedBrick};
pub use error::CacheError;
pub use single_flight::{Role, SingleFlight, Ticket, Waiter};
pub use steady::SteadyCache;

use disk::Disk;

/// Identity of an image's plan and source: bricks of different content must differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub u128);

impl ImageId {
    /// The inverse of `Display`.
    fn parse(text: &str) -> Option<Self> {
        let id = Self(u128::from_str_radix(text, 16).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Names a brick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BrickKey {
    /// The image it belongs to.
    pub image: ImageId,
    /// Part of the image whose bricks share one slot size, such as a resolution level.
    pub space: u16,
    /// Number of the brick in its space.
    pub index: u64,
}

impl fmt::Display for BrickKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, space, index } = self;
        write!(f, "{image}/{space}/{index}")
    }
}

/// A brick and the room it may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The brick.
    pub key: BrickKey,
    /// Upper bound of the brick's length in bytes, the same for all bricks of its image and space.
    pub slot_bytes: u64,
    /// Every opening of its file reads it: no scan of other bricks may drive it out.
    pub is_proven: bool,
}

/// How much of a disk a cache may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Most bytes on disk, all that `du` counts.
    pub cap_bytes: u64,
    /// What is left to others on the disk.
    pub min_free: MinFree,
}

/// Room on a disk that a cache leaves free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinFree {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the disk.
    Percent(u8),
}

impl MinFree {
    /// In bytes, for a disk of so many.
    #[must_use]
    pub fn of(self, total_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total_bytes / 100 * u64::from(percent),
        }
    }
}

/// What the cache holds, and what happened since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CacheStats {
    /// The cap.
    pub cap_bytes: u64,
    /// What may be used now: the cap, or less where the disk is short of room.
    pub limit_bytes: u64,
    /// Bytes charged against the cap.
    pub used_bytes: u64,
    /// The part of them that cannot be evicted now: pinned, being written or being released.
    pub held_bytes: u64,
    /// Bricks that can be read.
    pub bricks: u64,
    /// Segment files.
    pub segments: u64,
    /// Lookups answered with a brick.
    pub hits: u64,
    /// Lookups answered with none.
    pub misses: u64,
    /// Bricks written.
    pub stored: u64,
    /// Bricks released: evicted, replaced, removed or rejected.
    pub evicted: u64,
    /// Bricks dropped because they could not be read, or did not match their checksum.
    pub rejected: u64,
    /// Bricks not taken for want of room.
    pub refused: u64,
    /// Failures of the disk while writing, journaling or releasing.
    pub write_errors: u64,
    /// Damaged journal records skipped when the cache was opened.
    pub skipped_records: u64,
}

impl std::ops::AddAssign for CacheStats {
    /// The limits are those of the left side.
    fn add_assign(&mut self, other: Self) {
        self.used_bytes += other.used_bytes;
        self.held_bytes += other.held_bytes;
        self.bricks += other.bricks;
        self.segments += other.segments;
        self.hits += other.hits;
        self.misses += other.misses;
        self.stored += other.stored;
        self.evicted += other.evicted;
        self.rejected += other.rejected;
        self.refused += other.refused;
        self.write_errors += other.write_errors;
        self.skipped_records += other.skipped_records;
    }
}

/// The cache. All its methods may be called from any thread.
#[derive(Debug)]
pub struct BrickCache {
    store: Arc<Store>,
}

impl BrickCache {
    /// Opens the cache in `dir`, making it if need be, and takes up the bricks of earlier runs, as
    /// far as they fit under the limits. The directory stays owned until the cache and every pin
    /// and writer are dropped.
    ///
    /// # Errors
    ///
    /// [`CacheError::InUse`] if somebody else owns the directory, [`CacheError::NoHolePunching`] if
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
        PinnedBrick::open(&self.store, slot)
    }

    /// A brick that this thread has looked up before, if it is still there; takes no lock, so that
    /// readers do not wait for each other. Now and then it finds nothing, to have the use noted by a
    /// lookup.
    #[must_use]
    pub fn get_again(&self, slot: Slot) -> Option<PinnedBrick> {
        PinnedBrick::again(&self.store, &slot)
    }

    /// Like [`Self::get`], but never waits for a whole brick to be read: a brick whose checksum is
    /// still to be compared is not returned.
    #[must_use]
    pub fn get_ready(&self, slot: Slot) -> Option<PinnedBrick> {
        // The lock is given back before the brick is pinned, which takes it again.
        let verified = self.store.index().is_verified(&slot.key);
        if verified { PinnedBrick::open(&self.store, slot) } else { None }
    }

    /// Whether a lookup would probably find the brick; neither reads nor changes anything.
    #[must_use]
    pub fn contains(&self, key: &BrickKey) -> bool {
        self.store.index().contains(key)
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
    /// [`CacheError::Busy`] if the brick is being written or released by somebody else, or is there
    /// and pinned: nobody waits for anybody here. [`CacheError::NoRoom`] if pins, or the cap, make
    /// it impossible. [`CacheError::SlotSize`], [`CacheError::SlotMismatch`] and
    /// [`CacheError::BadLength`] for a slot that cannot be. [`CacheError::Segment`] and
    /// [`CacheError::SegmentDamaged`] if the disk fails.
    pub fn begin(&self, slot: Slot, length: u64) -> Result<BrickWriter, CacheError> {
        BrickWriter::begin(&self.store, slot, length)
    }

    /// Removes all bricks of an image: those in use when their last pin is dropped, those being
    /// written when they are finished. Costs a walk over all bricks of the cache.
    pub fn remove_image(&self, image: ImageId) {
        self.store.discard(|segment| segment.image == image);
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
        self.store.notes.read(name)
    }

    /// Largest content of a note in bytes.
    #[must_use]
    pub fn most_note_bytes(&self) -> u64 {
        self.store.notes.most_bytes()
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

    /// Brings the segment files written since the last call to the disk. Bricks of a file that the disk
    /// did not take are forgotten: once the system drops its pages, they would read as something
    /// else, and their checksums are not compared again in this run.
    ///
    /// # Errors
    /// The first failure.
    pub fn write_back(&self) -> Result<(), CacheError> {
        self.store.write_back()
    }

    /// Waits until the journal is on disk. For a clean end, so that a power failure soon after
    /// costs no more bricks than the data the system has not written back.
    pub fn sync(&self) {
        self.store.sync();
    }
}

/// Locks, also after a panic elsewhere: every section below leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
