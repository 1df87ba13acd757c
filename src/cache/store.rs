//! The engine behind the public types: claims room, releases slots, keeps journal and index in
//! step.
//!
//! A brick's life: claimed (index) -> written (no lock) -> sealed (index) -> journaled (journal) ->
//! published (index); taken (index) -> eviction journaled (journal) -> punched (no lock) ->
//! released (index). A slot is busy from the first step of either line to its last.

use std::collections::HashSet;
use std::io::{self, ErrorKind};

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use xxhash_rust::xxh3::Xxh3;

use super::directory::Directory;
use super::index::{Claim, Held, Index};
use super::journal::{self, Journal, Record, Stored};
use super::notes::Notes;
use super::segment::{Created, Place, SegmentFile, SegmentFiles, SegmentKey, SlotSize};
use super::{BrickKey, CacheError, CacheStats, MinFree, lock};
use crate::log_limit::LogLimit;

/// Bytes read at a time to verify a brick.
const VERIFY_BYTES: u64 = 1 << 20;

/// State shared by the cache, its pins and its writers.
///
/// Lock order: `evicting`, then either `journal` or the table inside `files` (never both), then
/// `index`. The index is held for memory work and `fstat` only, the file table while files are
/// opened, made and deleted, the journal while records are written to it. No lock but `evicting` is
/// held while brick data is read, written or punched.
#[derive(Debug)]
pub(super) struct Store {
    /// One thread at a time makes room, so that none evicts for bytes another one is freeing.
    evicting: Mutex<()>,
    journal: Mutex<Journal>,
    pub(super) files: SegmentFiles,
    index: Mutex<Index>,
    /// Lookups answered with a brick.
    hits: AtomicU64,
    /// Bytes of bricks written so far.
    pub(super) stored: AtomicU64,
    pub(super) cap_bytes: u64,
    /// Files written since the last [`Store::write_back`].
    written: Mutex<HashSet<SegmentKey>>,
    pub(super) min_free: MinFree,
    /// When the room on the disk was measured, and what was stored in all by then.
    pub(super) measured: Mutex<(Instant, u64)>,
    /// What was stored in all when the disk had last settled.
    pub(super) settled: AtomicU64,
    pub(super) directory: Directory,
    pub(super) notes: Notes,
    pub(super) told: LogLimit,
}

impl Store {
    pub(super) fn new(
        directory: Directory,
        notes: Notes,
        files: SegmentFiles,
        journal: Journal,
        mut index: Index,
        min_free: MinFree,
    ) -> Self {
        if files.folder().tells_space_late() {
            index.set_late();
        }
        Self {
            evicting: Mutex::new(()),
            journal: Mutex::new(journal),
            files,
            cap_bytes: index.cap(),
            index: Mutex::new(index),
            stored: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            written: Mutex::default(),
            min_free,
            measured: Mutex::new((Instant::now(), 0)),
            settled: AtomicU64::new(0),
            directory,
            notes,
            told: LogLimit::default(),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.directory.is_gone()
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        lock(&self.index)
    }

    pub(super) fn segment_error(key: &SegmentKey, source: io::Error) -> CacheError {
        CacheError::Segment { path: SegmentFiles::path(key), source }
    }

    // --- reading ---

    /// Opens the file of a brick the caller has pinned and, at the first use of a brick from an
    /// earlier run, compares the brick with its checksum.
    pub(super) fn open_pinned(
        &self,
        stored: &Stored,
        verified: bool,
    ) -> Result<Option<Arc<SegmentFile>>, CacheError> {
        let place = Place::of(&stored.key, stored.size);
        let file = self
            .files
            .existing(&place.segment)
            .map_err(|source| Self::segment_error(&place.segment, source))?;
        self.check_intact(&file, &place)?;
        if !verified {
            let checksum = checksum_of(&file, place.offset, stored.length)
                .map_err(|source| Self::segment_error(&place.segment, source))?;
            if checksum != stored.checksum {
                return Ok(None);
            }
            self.index().set_verified(&stored.key);
        }
        Ok(Some(file))
    }

    /// A file that somebody removed or resized has lost bytes; nothing in it is trusted any more.
    fn check_intact(&self, file: &SegmentFile, place: &Place) -> Result<(), CacheError> {
        match file.is_intact(place.size) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.retire(&place.segment);
                Err(CacheError::SegmentDamaged { path: SegmentFiles::path(&place.segment) })
            }
            Err(source) => Err(Self::segment_error(&place.segment, source)),
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

    /// Stops serving a brick that turned out to be wrong. The caller has it pinned.
    pub(super) fn reject(&self, key: &BrickKey) {
        let mut index = self.index();
        if index.doom(key) {
            index.counters.rejected += 1;
        }
    }

    pub(super) fn unpin(&self, key: &BrickKey) {
        let last = self.index().unpin(key);
        if let Some(held) = last {
            self.release_if_possible(vec![held], true);
        }
    }

    /// The last one who was at a doomed brick has left.
    pub(super) fn release_doomed(&self, key: &BrickKey) {
        let last = self.index().release_doomed(key);
        if let Some(held) = last {
            self.release_if_possible(vec![held], true);
        }
    }

    pub(super) fn cap_bytes(&self) -> u64 {
        self.cap_bytes
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub(super) fn count_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> CacheStats {
        CacheStats { hits: self.hits.load(Ordering::Relaxed), ..self.index().stats() }
    }

    // --- writing ---

    /// Reserves a slot and the bytes for it, then opens its file.
    pub(super) fn begin(&self, held: &Held) -> Result<Arc<SegmentFile>, CacheError> {
        self.claim(held)?;
        self.open_claimed(&held.place).inspect_err(|_| {
            self.index().counters.write_errors += 1;
            self.abandon(held);
        })
    }

    fn claim(&self, held: &Held) -> Result<(), CacheError> {
        let key = held.key;
        let mut evicting = None;
        self.measure_if_due();
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
                Claim::Full { .. } | Claim::NoRoom { .. } if index.returning() > 0 => {
                    drop(index);
                    self.await_returning();
                    continue;
                }
                Claim::Full { excess } => {
                    let batch = self.batch(excess, index.limit());
                    let victims = index.take_stuck_or_victims(batch);
                    if !victims.is_empty() {
                        drop(index);
                        self.release(victims, true)?;
                        continue;
                    }
                    held.bytes
                }
                Claim::NoRoom { needed } => {
                    let stuck = index.take_stuck();
                    if !stuck.is_empty() {
                        drop(index);
                        self.release(stuck, false)?;
                        continue;
                    }
                    needed
                }
            };
            index.counters.refused += 1;
            return Err(CacheError::NoRoom { needed_bytes, limit_bytes: index.limit() });
        }
    }

    fn open_claimed(&self, place: &Place) -> Result<Arc<SegmentFile>, CacheError> {
        let lost = || self.index().has_bricks(&place.segment);
        let file = self
            .files
            .create(&place.segment, place.size, lost)
            .map_err(|source| Self::segment_error(&place.segment, source))?;
        let file = match file {
            Created::Known(file) => file,
            Created::New(file) => {
                // Its folder has made the folder above longer.
                self.measure().map_err(|source| Self::segment_error(&place.segment, source))?;
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
        // Written into a file that somebody has removed meanwhile, it would be found in another.
        self.check_intact(file, &place)?;
        lock(&self.written).insert(place.segment);
        self.index().seal(*stored);
        if let Err(error) = self.append(&[Record::Stored(*stored)]) {
            self.index().counters.write_errors += 1;
            return Err(error);
        }
        let mut index = self.index();
        index.publish(stored);
        self.stored.fetch_add(stored.length, Ordering::Relaxed);
        index.counters.stored += 1;
        observe(&mut index, &place.segment, Some(file));
        let excess = index.excess();
        drop(index);
        if excess > 0 {
            self.trim();
        }
        Ok(())
    }

    pub(super) fn count_write_error(&self) {
        self.index().counters.write_errors += 1;
    }

    /// Gives back a claimed slot that was not published.
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
            if self.index().excess() > 0 && self.await_returning() {
                continue;
            }
            let mut index = self.index();
            let excess = index.excess();
            let batch = self.batch(excess, index.limit());
            let victims = index.take_victims(batch);
            drop(index);
            if victims.is_empty() || self.release(victims, true).is_err() {
                return;
            }
        }
    }

    /// Drops all bricks of some segments; those in use go when they are let go.
    pub(super) fn discard(&self, matches: impl Fn(&SegmentKey) -> bool) {
        let taken = self.index().take_segments(matches);
        self.release_if_possible(taken, true);
    }

    /// As [`Store::release`]. What cannot be freed now is tried again when there is no room.
    pub(super) fn release_if_possible(&self, slots: Vec<Held>, journaled: bool) {
        if let Err(error) = self.release(slots, journaled) {
            tracing::debug!(%error, "cached bytes not released");
        }
    }

    /// Frees the bytes of slots that are marked as being released, neighbours together. Slots whose
    /// bytes cannot be freed stay charged, and are kept for another try.
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
        // What these slots pay for the journal goes with them: it is made shorter before, if need be,
        // and nothing is appended in between.
        let mut journal = lock(&self.journal);
        let fits = self.fit(&mut journal, 0, run.len() as u64);
        let mut index = self.index();
        let mut failed = Ok(());
        // Slots that cannot stop paying for the journal are not given back either.
        let unused = match fits.and(punched) {
            Ok(file) => {
                let mut unused = false;
                for held in run {
                    unused = index.released(held);
                    index.counters.evicted += u64::from(journaled);
                }
                observe(&mut index, &segment, file.as_deref());
                unused
            }
            Err(error) => {
                failed = Err(Self::segment_error(&segment, error));
                for held in run {
                    index.stick(held);
                    index.counters.write_errors += 1;
                }
                false
            }
        };
        drop(index);
        drop(journal);
        if unused {
            match self.files.delete_if(&segment, || self.index().is_unused(&segment)) {
                Ok(true) => self.index().close_segment(&segment),
                Ok(false) => {}
                Err(error) => {
                    let path = SegmentFiles::path(&segment);
                    if let Some(suppressed) = self.told.is_due("not deleted") {
                        let path = path.display();
                        tracing::warn!(%path, %error, suppressed, "empty segment not deleted");
                    }
                }
            }
        }
        failed
    }

    // --- notes ---

    pub(super) fn put_note(&self, name: &str, bytes: &[u8]) -> Result<(), CacheError> {
        let fail = |source| CacheError::Note { name: name.to_owned(), source };
        self.notes.write(name, bytes, &|| {
            self.measure().map_err(fail)?;
            self.trim();
            let index = self.index();
            let (needed_bytes, limit_bytes) = (index.excess(), index.limit());
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

    /// Writes the journal anew if, with so many records more and after so many slots are released, it
    /// may take more than its slots have paid for, or if it consists mostly of dead records.
    fn fit(&self, journal: &mut Journal, more: u64, released: u64) -> io::Result<()> {
        let index = self.index();
        let slots = index.slots() - released;
        let paid = journal::LEAST_BYTES + slots * journal::BYTES_PER_BRICK;
        if journal.bytes_with(more, slots) <= paid && !journal.is_bloated(slots) {
            return Ok(());
        }
        let live = index.stored_bricks();
        drop(index);
        // Records that are appended meanwhile wait for the journal's lock.
        journal.rewrite(self.files.folder(), live.into_iter(), false)
    }

    /// Brings what was written lately to the disk, and forgets what it does not take.
    ///
    /// # Errors
    /// The first failure.
    pub(super) fn write_back(&self) -> Result<(), CacheError> {
        let mut result = Ok(());
        for segment in std::mem::take(&mut *lock(&self.written)) {
            // A file that is opened anew is told of a failure that nobody was told of. One that is
            // gone has no bricks.
            let synced = match self.files.existing(&segment) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                file => file.and_then(|file| file.sync()),
            };
            if let Err(error) = synced {
                self.count_write_error();
                self.drop_segment(&segment);
                result = result.and(Err(Self::segment_error(&segment, error)));
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
        index.observe(segment, bytes);
    }
}

/// xxh3-64 of a stretch of a segment file.
fn checksum_of(file: &SegmentFile, offset: u64, length: u64) -> std::io::Result<u64> {
    let mut hasher = Xxh3::new();
    let mut buf = vec![0; usize::try_from(length.min(VERIFY_BYTES)).unwrap_or(1)];
    let mut done = 0;
    while done < length {
        let part = usize::try_from(length - done).unwrap_or(usize::MAX).min(buf.len());
        file.read_exact_at(&mut buf[..part], offset + done)?;
        hasher.update(&buf[..part]);
        done += part as u64;
    }
    Ok(hasher.digest())
}

/// The checks a slot size and a length have to pass before anything is computed from them.
pub(super) fn slot_size(key: &BrickKey, slot_bytes: u64) -> Result<SlotSize, CacheError> {
    SlotSize::new(slot_bytes).ok_or(CacheError::SlotSize { key: *key, slot_bytes })
}
