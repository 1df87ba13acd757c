//! How much of the disk may be used, and when released bytes can be used again.
//!
//! Btrfs and similar file systems report late what was written, and make the bytes of holes
//! available only after their next transaction. There, released bytes count as used until the disk
//! has settled; nothing more is evicted for bytes that are on their way; and bricks go in batches,
//! since settling takes as long as writing everything that is not written back.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::account::Before;
use super::directory::Directory;
use super::disk::Folder;
use super::index::Index;
use super::journal;
use super::limits::MinFree;
use super::notes::Notes;
use super::segment::{IMAGES, PAGE_BYTES};
use crate::sync::lock;

/// How often the free space of the disk is measured while bricks are stored.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// Likewise by bytes stored: XFS sets space aside for each piece that is not written back yet.
const MEASURE_BYTES: u64 = 4 << 20;

/// Left free beyond `--min-free`, for what the file system sets aside between two measurements.
const MARGIN_BYTES: u64 = 1 << 20;

/// Where bytes return late, bricks that take this part of the limit, but at most
/// [`MOST_BATCH_BYTES`], are evicted together: the disk then settles once for all of them.
const BATCH_SHARE: u64 = 16;
const MOST_BATCH_BYTES: u64 = 128 << 20;

/// Kept free for what grows without notice: the folder of the images, and, for each of the two
/// journal files, an incomplete page and a block of extents.
const GROWTH_BYTES: u64 = 12 * PAGE_BYTES;

/// See the module.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) directory: Directory,
    pub(super) notes: Notes,
    folder: Arc<dyn Folder>,
    min_free: Mutex<MinFree>,
    /// Bytes of bricks stored so far.
    stored: AtomicU64,
    /// When the free space was measured, and what was stored by then.
    measured: Mutex<(Instant, u64)>,
    /// What was stored when the disk last settled.
    settled: AtomicU64,
    /// One thread at a time asks the disk: released bytes return once.
    measuring: Mutex<()>,
}

impl Room {
    pub(super) fn new(directory: Directory, notes: Notes, min_free: MinFree) -> Self {
        Self {
            folder: directory.folder(),
            directory,
            notes,
            min_free: Mutex::new(min_free),
            stored: AtomicU64::new(0),
            measured: Mutex::new((Instant::now(), 0)),
            settled: AtomicU64::new(0),
            measuring: Mutex::default(),
        }
    }

    /// From now on, this much is left to others.
    pub(super) fn set_min_free(&self, min_free: MinFree) {
        *lock(&self.min_free) = min_free;
    }

    /// A brick of this length was stored.
    pub(super) fn count_stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Measures what belongs to no brick, and how much may be used now: what is used and free on the
    /// disk together, less what is left to others.
    pub(super) fn measure(&self, index: &Mutex<Index>) -> io::Result<()> {
        self.measure_settled(index, false)
    }

    /// The same; `settles` always has the disk settle first, where it reports space late.
    fn measure_settled(&self, index: &Mutex<Index>, settles: bool) -> io::Result<()> {
        let _alone = lock(&self.measuring);
        let fixed = self.directory.fixed_bytes()?
            + self.folder.disk_bytes(Path::new(IMAGES))?.max(PAGE_BYTES)
            + journal::LEAST_BYTES
            + GROWTH_BYTES;
        // Before the disk is asked: what other threads store meanwhile must not count twice.
        let stored = self.stored.load(Ordering::Relaxed);
        let before = {
            let account = &mut lock(index).account;
            account.set_fixed(fixed + self.notes.charged());
            account.before_measure()
        };
        let mut space = self.folder.space()?;
        let min_free = lock(&self.min_free).of(space.total).saturating_add(MARGIN_BYTES);
        // Where space is reported late, what was written may still count as free, and what was released
        // not yet.
        let has_settled = self.folder.tells_space_late()
            && (settles || self.must_settle(index, &before, space.free, min_free));
        if has_settled {
            if let Err(error) = self.folder.settle_space() {
                tracing::debug!(%error, "the cache disk does not settle");
            }
            self.settled.store(stored, Ordering::Relaxed);
            space = self.folder.space()?;
        }
        lock(index).account.take_measure(&before, has_settled, space.free, min_free);
        Ok(())
    }

    /// Whether `free` bytes, of which some may be written already, matter for the limit.
    fn must_settle(&self, index: &Mutex<Index>, before: &Before, free: u64, min_free: u64) -> bool {
        let stored = self.stored.load(Ordering::Relaxed);
        let unsettled = stored.saturating_sub(self.settled.load(Ordering::Relaxed));
        let account = &lock(index).account;
        let least = account.used().saturating_add(free).saturating_sub(unsettled);
        least.saturating_sub(min_free) < account.cap() && (unsettled > 0 || before.is_returning())
    }

    /// Measures, unless that was done just now. Returns whether it did, and was not short of an
    /// answer from the disk.
    pub(super) fn measure_if_due(&self, index: &Mutex<Index>) -> bool {
        let stored = self.stored.load(Ordering::Relaxed);
        let mut measured: MutexGuard<'_, (Instant, u64)> = lock(&self.measured);
        let is_much =
            !self.folder.tells_space_late() && stored.saturating_sub(measured.1) >= MEASURE_BYTES;
        if measured.0.elapsed() < MEASURE_INTERVAL && !is_much {
            return false;
        }
        *measured = (Instant::now(), stored);
        drop(measured);
        let result = self.measure(index);
        result.inspect_err(|error| tracing::debug!(%error, "free space not measured")).is_ok()
    }

    /// Waits for released bytes that are on their way; returns whether there were any.
    pub(super) fn await_returning(&self, index: &Mutex<Index>) -> bool {
        let is_any = lock(index).account.returning() > 0;
        if is_any && let Err(error) = self.measure_settled(index, true) {
            tracing::debug!(%error, "free space not measured");
        }
        is_any
    }

    /// Bytes to evict where `excess` is needed and `limit` may be used.
    pub(super) fn batch(&self, excess: u64, limit: u64) -> u64 {
        let is_late = excess > 0 && self.folder.tells_space_late();
        let more = if is_late { (limit / BATCH_SHARE).min(MOST_BATCH_BYTES) } else { 0 };
        excess.saturating_add(more)
    }
}
