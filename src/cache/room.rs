//! How much of the disk may be used, and when what was given back can be used again.
//!
//! Btrfs and its like tell late what was written, and have the room of holes again only after their next
//! transaction. There, what was given back counts as used until the disk has settled; nothing more is evicted
//! for room that is on its way; and bricks go in batches, since to settle takes as long as to write all that
//! is not written back.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::segment::{IMAGES, PAGE_BYTES};
use super::store::Store;
use super::{journal, lock};

/// How often the room on the disk is measured while bricks are stored.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// The same by the bytes stored: XFS sets some aside for each piece that is not written back yet.
const MEASURE_BYTES: u64 = 4 << 20;

/// Left free beyond what is to be, for what the file system sets aside between two measurements.
const MARGIN_BYTES: u64 = 1 << 20;

/// Where room comes back late, bricks go together that take this part of what may be used, and so many bytes at most:
/// the disk is then asked to have their room again once for all of them.
const BATCH_SHARE: u64 = 16;
const MOST_BATCH_BYTES: u64 = 128 << 20;

/// Kept free for what grows without notice: the folder of the images, and, for each of the two
/// journal files, an incomplete page and a block of extents.
const GROWTH_BYTES: u64 = 12 * PAGE_BYTES;

impl Store {
    /// Measures what belongs to no brick, and how much may be used now: what is used and free on the
    /// disk together, but for what is left to others.
    pub(super) fn measure(&self) -> io::Result<()> {
        let folder = self.files.folder();
        let fixed = self.directory.fixed_bytes()?
            + folder.disk_bytes(Path::new(IMAGES))?.max(PAGE_BYTES)
            + journal::LEAST_BYTES
            + GROWTH_BYTES;
        let mut space = folder.space()?;
        let min_free = self.min_free.of(space.total).saturating_add(MARGIN_BYTES);
        if folder.tells_space_late() {
            // What was written since may still be counted as free, and what was given back not yet.
            let unsettled =
                self.stored_bytes().saturating_sub(self.settled.load(Ordering::Relaxed));
            let index = self.index();
            let least = index.used().saturating_add(space.free).saturating_sub(unsettled);
            let is_ample = least.saturating_sub(min_free) >= index.cap();
            let is_settled = unsettled == 0 && index.returning() == 0;
            drop(index);
            if !is_ample && !is_settled {
                self.settle_space();
                space = folder.space()?;
            }
        }
        let mut index = self.index();
        index.set_fixed(fixed + self.notes.charged());
        // Of what is being written or given back, some may be counted as free.
        let known = index.used().saturating_sub(index.moving());
        let all = known.saturating_add(index.returning()).saturating_add(space.free);
        index.set_room(all.saturating_sub(min_free));
        Ok(())
    }

    /// Waits until the disk counts what was written, and has again what was given back.
    fn settle_space(&self) {
        let (stored, returning) = (self.stored_bytes(), self.index().returning());
        if let Err(error) = self.files.folder().settle_space() {
            tracing::debug!(%error, "the cache disk does not settle");
        }
        self.settled.store(stored, Ordering::Relaxed);
        self.index().returned(returning);
    }

    /// Has the room again that is on its way, rather than making more; whether there was any.
    pub(super) fn await_returning(&self) -> bool {
        let is_any = self.index().returning() > 0;
        if is_any {
            self.settle_space();
            if let Err(error) = self.measure() {
                tracing::debug!(%error, "room on the cache disk not measured");
            }
        }
        is_any
    }

    /// Bytes to evict where so many are needed and so many may be used.
    pub(super) fn batch(&self, excess: u64, limit: u64) -> u64 {
        let is_late = excess > 0 && self.files.folder().tells_space_late();
        let more = if is_late { (limit / BATCH_SHARE).min(MOST_BATCH_BYTES) } else { 0 };
        excess.saturating_add(more)
    }

    pub(super) fn measure_if_due(&self) {
        {
            let stored = self.stored_bytes();
            let is_late = self.files.folder().tells_space_late();
            let mut measured = lock(&self.measured);
            let is_much = !is_late && stored.saturating_sub(measured.1) >= MEASURE_BYTES;
            if measured.0.elapsed() < MEASURE_INTERVAL && !is_much {
                return;
            }
            *measured = (Instant::now(), stored);
        }
        match self.measure() {
            // What others need now is not kept until a brick happens to fit.
            Ok(()) if self.index().excess() > 0 => self.trim(),
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "room on the cache disk not measured"),
        }
        // Not only for want of room: as long as they are stuck, their bricks cannot be stored.
        let stuck = self.index().take_stuck();
        self.release_if_possible(stuck, false);
    }
}
