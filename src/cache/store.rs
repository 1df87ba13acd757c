//! The engine behind the public types: claims room, releases slots, keeps journal and index in
//! step.
//!
//! A brick's life: claimed (index) -> written (no lock) -> sealed (index) -> journaled (journal) ->
//! published (index); taken (index) -> eviction journaled (journal) -> punched (no lock) ->
//! released (index). A slot is busy from the first step of either line to its last.
//!
//! Slots whose bytes cannot be freed stay charged. The next brick is stored only once they are free:
//! such a disk counts as failed.

use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use super::account::Held;
use super::error::CacheError;
use super::index::{Claim, Found, Index, Taken};
use super::journal::{self, Journal, Record, Stored};
use super::key::BrickKey;
use super::notes::Notes;
use super::room::Room;
use super::segment::{Created, Place, SegmentFile, SegmentFiles, SegmentKey, SlotSize};
use super::stats::{CacheStats, Removed};
use crate::log_limit::LogLimit;
use crate::sync::lock;

/// State shared by the cache, its pins and its writers.
///
/// Lock order: the names of the notes, `evicting`, then either `journal` or the table inside `files` (never both), then
/// `index`. The index is held for memory work and `fstat` only, the file table while files are
/// opened, made and deleted, the journal while records are written to it. No lock but `evicting` is
/// held while brick data is read, written or punched.
#[derive(Debug)]
pub(super) struct Store {
    /// One thread at a time makes room, so that none evicts for bytes another one is freeing.
    evicting: Mutex<()>,
    journal: Mutex<Journal>,
    files: SegmentFiles,
    pub(super) index: Mutex<Index>,
    /// Files written since the last [`Store::write_back`].
    written: Mutex<HashSet<SegmentKey>>,
    pub(super) room: Room,
    pub(super) told: LogLimit,
}

impl Store {
    /// Fails if the disk does not tell how much is free on it.
    pub(super) fn new(
        files: SegmentFiles,
        journal: Journal,
        mut index: Index,
        room: Room,
    ) -> io::Result<Self> {
        if files.folder().tells_space_late() {
            index.account.set_late();
        }
        let store = Self {
            evicting: Mutex::new(()),
            journal: Mutex::new(journal),
            files,
            index: Mutex::new(index),
            written: Mutex::default(),
            room,
            told: LogLimit::default(),
        };
        store.room.measure(&store.index)?;
        store.trim();
        Ok(store)
    }

    pub(super) fn is_gone(&self) -> bool {
        self.room.directory.is_gone()
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    /// Makes errors of a segment file.
    pub(super) fn at(key: &SegmentKey) -> impl Fn(io::Error) -> CacheError + use<> {
        let key = *key;
        move |source| CacheError::Segment { path: SegmentFiles::path(&key), source }
    }

    pub(super) fn contains(&self, key: &BrickKey) -> bool {
        self.index().contains(key)
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.index().stats()
    }

    // --- reading ---

    /// Pins a brick and counts the lookup; with `only_verified`, a miss is not counted.
    pub(super) fn pin(&self, key: &BrickKey, size: SlotSize, only_verified: bool) -> Option<Found> {
        let mut index = self.index();
        let found = index.pin(key, size, only_verified);
        if found.is_some() {
            index.counters.hits += 1;
        } else if !only_verified {
            index.counters.misses += 1;
        }
        found
    }

    /// Opens the file of a brick that the caller has pinned and, at the first use of a brick from an
    /// earlier run, compares the brick with its checksum. `None` if it does not match.
    pub(super) fn open_pinned(
        &self,
        found: &Found,
    ) -> Result<Option<Arc<SegmentFile>>, CacheError> {
        let Found { stored, is_verified } = found;
        let place = Place::of(&stored.key, stored.size);
        let file = self.files.existing(&place.segment).map_err(Self::at(&place.segment))?;
        self.check_intact(&file, &place)?;
        if !is_verified {
            let checksum =
                file.checksum(place.offset, stored.length).map_err(Self::at(&place.segment))?;
            if checksum != stored.checksum {
                if let Some(suppressed) = self.told.is_due("checksum") {
                    let brick = &stored.key;
                    tracing::warn!(%brick, suppressed, "cached brick does not match its checksum");
                }
                return Ok(None);
            }
            self.index().set_verified(&stored.key);
        }
        Ok(Some(file))
    }

    /// A file that was removed or resized from outside has lost bytes; nothing in it is trusted.
    fn check_intact(&self, file: &SegmentFile, place: &Place) -> Result<(), CacheError> {
        match file.is_intact(place.size) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.retire(&place.segment);
                Err(CacheError::SegmentDamaged { path: SegmentFiles::path(&place.segment) })
            }
            Err(error) => Err(Self::at(&place.segment)(error)),
        }
    }

    fn retire(&self, segment: &SegmentKey) {
        let path = SegmentFiles::path(segment);
        if let Some(suppressed) = self.told.is_due(&path.to_string_lossy()) {
            let path = path.display();
            tracing::warn!(%path, suppressed, "cache segment changed from outside, dropped");
        }
        self.drop_segment(segment);
    }

    fn drop_segment(&self, segment: &SegmentKey) {
        self.files.forget(segment);
        self.discard(|key| key == segment);
    }

    /// Stops serving a brick that is wrong or cannot be read. The caller has it pinned.
    pub(super) fn reject(&self, key: &BrickKey) {
        let mut index = self.index();
        if index.remove_pinned(key) {
            index.counters.rejected += 1;
        }
    }

    /// A pinned brick could not be opened: its lookup counts as a miss.
    pub(super) fn reject_at_lookup(&self, key: &BrickKey) {
        self.reject(key);
        let counters = &mut self.index().counters;
        counters.hits -= 1;
        counters.misses += 1;
    }

    pub(super) fn unpin(&self, key: &BrickKey) {
        let last = self.index().unpin(key);
        if let Some(held) = last {
            self.release_if_possible(vec![held], true);
        }
    }

    // --- writing ---

    /// Reserves a slot and the bytes for it, then opens its file.
    pub(super) fn begin(&self, held: &Held) -> Result<Arc<SegmentFile>, CacheError> {
        let unreleased = self.index().take_unreleased();
        self.release(unreleased, false)?;
        if self.room.measure_if_due(&self.index) && self.index().account.excess() > 0 {
            // Others on the disk need the bytes now, not when a brick happens to fit.
            self.trim();
        }
        self.claim(held)?;
        self.open_claimed(&held.place).inspect_err(|_| {
            self.index().counters.write_errors += 1;
            self.abandon(held);
        })
    }

    fn claim(&self, held: &Held) -> Result<(), CacheError> {
        let key = held.key;
        let mut evicting = None;
        loop {
            let mut index = self.index();
            let needed_bytes = match index.claim(held) {
                Claim::Granted => return Ok(()),
                Claim::Busy => return Err(CacheError::Busy { key }),
                Claim::Mismatch { stored_bytes } => {
                    let slot_bytes = held.place.size.bytes();
                    return Err(CacheError::SlotMismatch { key, slot_bytes, stored_bytes });
                }
                Claim::Replace(old) => {
                    drop(index);
                    self.release(vec![old], true)?;
                    continue;
                }
                Claim::Full { .. } if evicting.is_none() => {
                    drop(index);
                    evicting = Some(lock(&self.evicting));
                    continue;
                }
                Claim::Full { .. } | Claim::NoRoom { .. } if index.account.returning() > 0 => {
                    drop(index);
                    self.room.await_returning(&self.index);
                    continue;
                }
                Claim::Full { excess } => {
                    let batch = self.room.batch(excess, index.account.limit());
                    let victims = index.take_victims(batch);
                    if !victims.is_empty() {
                        drop(index);
                        self.release(victims, true)?;
                        continue;
                    }
                    held.bytes
                }
                Claim::NoRoom { needed } => needed,
            };
            index.counters.refused += 1;
            return Err(CacheError::NoRoom { needed_bytes, limit_bytes: index.account.limit() });
        }
    }

    fn open_claimed(&self, place: &Place) -> Result<Arc<SegmentFile>, CacheError> {
        let lost = || self.index().has_bricks(&place.segment);
        let created = self.files.create(&place.segment, place.size, lost);
        let file = match created.map_err(Self::at(&place.segment))? {
            Created::Known(file) => file,
            Created::New(file) => {
                // Its folder has made the folder above longer.
                self.room.measure(&self.index).map_err(Self::at(&place.segment))?;
                file
            }
            Created::Lost => {
                self.retire(&place.segment);
                return Err(CacheError::SegmentDamaged {
                    path: SegmentFiles::path(&place.segment),
                });
            }
        };
        self.check_intact(&file, place)?;
        Ok(file)
    }

    /// Journals and publishes a written brick, with one pin.
    pub(super) fn publish(&self, stored: &Stored, file: &SegmentFile) -> Result<(), CacheError> {
        let place = Place::of(&stored.key, stored.size);
        // If the file was removed meanwhile, the brick would be looked for in another one.
        self.check_intact(file, &place)?;
        lock(&self.written).insert(place.segment);
        self.index().seal(*stored);
        let journaled = self.append(&[Record::Stored(*stored)]);
        journaled.inspect_err(|_| self.count_write_error())?;
        let mut index = self.index();
        index.publish(stored);
        self.room.count_stored(stored.length);
        index.counters.stored += 1;
        observe(&mut index, &place.segment, Some(file));
        let excess = index.account.excess();
        drop(index);
        if excess > 0 {
            self.trim();
        }
        Ok(())
    }

    pub(super) fn count_write_error(&self) {
        self.index().counters.write_errors += 1;
    }

    /// Releases a claimed slot that was not published.
    pub(super) fn abandon(&self, held: &Held) {
        self.index().give_up(&held.key);
        self.release_if_possible(vec![*held], false);
    }

    // --- releasing ---

    /// Evicts until the limit holds: after a lower cap, or when the file system's own metadata turned
    /// out larger than estimated.
    pub(super) fn trim(&self) {
        let _evicting = lock(&self.evicting);
        loop {
            if self.index().account.excess() > 0 && self.room.await_returning(&self.index) {
                continue;
            }
            let mut index = self.index();
            let excess = index.account.excess();
            let batch = self.room.batch(excess, index.account.limit());
            let victims = index.take_victims(batch);
            drop(index);
            if victims.is_empty() || self.release(victims, true).is_err() {
                return;
            }
        }
    }

    /// Removes all bricks of some segments; the last reader of a pinned one releases it.
    pub(super) fn discard(&self, matches: impl Fn(&SegmentKey) -> bool) -> Removed {
        let Taken { free, removed } = self.index().take_segments(matches);
        self.release_if_possible(free, true);
        removed
    }

    /// As [`Store::release`]. What cannot be freed now is tried again before the next brick.
    fn release_if_possible(&self, slots: Vec<Held>, journaled: bool) {
        if let Err(error) = self.release(slots, journaled) {
            tracing::debug!(%error, "cached bytes not released");
        }
    }

    /// Frees the bytes of slots that are marked as being released, neighbours together.
    ///
    /// # Errors
    ///
    /// The last failure.
    fn release(&self, mut slots: Vec<Held>, journaled: bool) -> Result<(), CacheError> {
        let mut failed = Ok(());
        if slots.is_empty() {
            return failed;
        }
        if journaled {
            let records: Vec<Record> = slots.iter().map(|held| Record::Evicted(held.key)).collect();
            if let Err(error) = self.append(&records) {
                // The stale claim is refuted by its checksum; freeing the bytes matters more.
                tracing::debug!(%error, "eviction not journaled");
                self.index().counters.write_errors += 1;
            }
        }
        slots.sort_unstable_by_key(|held| (held.place.segment, held.place.offset));
        let adjacent = |a: &Held, b: &Held| {
            a.place.segment == b.place.segment && a.place.offset + a.place.stride == b.place.offset
        };
        for run in slots.chunk_by(adjacent) {
            let first = run[0].place;
            let bytes = first.stride * run.len() as u64;
            let punched = match self.files.existing(&first.segment) {
                Ok(file) => file.punch(first.offset, bytes).map(|()| Some(file)),
                // No file, no bytes.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            };
            if let Err(error) = self.settle(run, punched, journaled) {
                failed = Err(error);
            }
        }
        failed
    }

    fn settle(
        &self,
        run: &[Held],
        punched: io::Result<Option<Arc<SegmentFile>>>,
        journaled: bool,
    ) -> Result<(), CacheError> {
        let segment = run[0].place.segment;
        // What these slots pay for the journal goes with them: the journal is shortened before, if
        // need be, and nothing is appended in between.
        let mut journal = lock(&self.journal);
        let fits = self.fit(&mut journal, 0, run.len() as u64);
        let mut index = self.index();
        // Slots that cannot stop paying for the journal are not released either.
        let freed = fits.and(punched);
        let mut is_unused = false;
        for held in run {
            if freed.is_ok() {
                is_unused = index.released(held);
                index.counters.evicted += u64::from(journaled);
            } else {
                index.keep_unreleased(held);
                index.counters.write_errors += 1;
            }
        }
        if let Ok(file) = &freed {
            observe(&mut index, &segment, file.as_deref());
        }
        drop(index);
        drop(journal);
        if is_unused {
            self.delete_unused(&segment);
        }
        freed.map(drop).map_err(Self::at(&segment))
    }

    fn delete_unused(&self, segment: &SegmentKey) {
        match self.files.delete_if(segment, || self.index().account.is_unused(segment)) {
            Ok(true) => self.index().account.close_segment(segment),
            Ok(false) => {}
            Err(error) => {
                if let Some(suppressed) = self.told.is_due("not deleted") {
                    let path = SegmentFiles::path(segment);
                    let path = path.display();
                    tracing::warn!(%path, %error, suppressed, "empty segment not deleted");
                }
            }
        }
    }

    // --- notes ---

    pub(super) fn notes(&self) -> &Notes {
        &self.room.notes
    }

    pub(super) fn put_note(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let fail = |source| CacheError::Note { name: name.to_owned(), source };
        self.room.notes.write(name, bytes, &|| {
            self.room.measure(&self.index).map_err(fail)?;
            self.trim();
            let account = &self.index().account;
            let (needed_bytes, limit_bytes) = (account.excess(), account.limit());
            if needed_bytes == 0 {
                Ok(())
            } else {
                Err(CacheError::NoRoom { needed_bytes, limit_bytes })
            }
        })
    }

    // --- journal ---

    fn append(&self, records: &[Record]) -> Result<(), CacheError> {
        let mut journal = lock(&self.journal);
        self.fit(&mut journal, records.len() as u64, 0)
            .and_then(|()| journal.append(records))
            .map_err(|source| CacheError::Journal { source })
    }

    /// Rewrites the journal if, with `more` records and without `released` slots, it may take more than
    /// its slots have paid for, or if it consists mostly of dead records.
    fn fit(&self, journal: &mut Journal, more: u64, released: u64) -> io::Result<()> {
        let index = self.index();
        let slots = index.account.slots() - released;
        let paid = journal::LEAST_BYTES + slots * journal::BYTES_PER_BRICK;
        if journal.bytes_with(more, slots) <= paid && !journal.is_bloated(slots) {
            return Ok(());
        }
        let live = index.stored_bricks();
        drop(index);
        // Appending threads wait for the journal's lock meanwhile.
        journal.rewrite(self.files.folder(), live.into_iter(), false)
    }

    /// Syncs the segment files written since the last call, and drops those that fail.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn write_back(&self) -> Result<(), CacheError> {
        let mut result = Ok(());
        for segment in std::mem::take(&mut *lock(&self.written)) {
            // Reopening reports a pending write error. A missing file holds no bricks.
            let synced = match self.files.existing(&segment) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                file => file.and_then(|file| file.sync()),
            };
            if let Err(error) = synced {
                self.count_write_error();
                self.drop_segment(&segment);
                result = result.and(Err(Self::at(&segment)(error)));
            }
        }
        result
    }

    pub(super) fn sync(&self) {
        if let Err(error) = lock(&self.journal).sync() {
            tracing::warn!(%error, "cache journal not flushed");
        }
    }
}

/// Corrects the account of a segment by what its file takes. The index is locked around it, so no
/// slot of the file can be charged or released between the two figures.
fn observe(index: &mut Index, segment: &SegmentKey, file: Option<&SegmentFile>) {
    if let Ok(bytes) = file.map_or(Ok(0), SegmentFile::disk_bytes) {
        index.account.observe(segment, bytes);
    }
}

#[cfg(test)]
mod tests;
