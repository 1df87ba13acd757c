//! The index: what is on disk, in memory. No I/O happens here.
//!
//! Every slot that has, or may have, bytes on disk is in exactly one of two maps: `ready` (a whole
//! brick, which may be read, pinned and evicted) or `busy` (being written or released; no other
//! thread may touch the slot). Both are charged in the account.
//!
//! A pin counts one reader of a brick. A brick with a pin is neither evicted nor replaced; if it is
//! removed, its last reader releases it.

use std::collections::HashMap;

use super::account::{Account, Held};
use super::journal::Stored;
use super::key::{BrickKey, ImageId};
use super::recency::Recency;
use super::segment::{Place, SegmentKey, SlotSize};
use super::stats::{CacheStats, Removed, Tally};

/// A whole brick.
#[derive(Debug)]
struct Entry {
    size: SlotSize,
    length: u64,
    checksum: u64,
    /// This process has written the bytes, or compared them with the checksum.
    is_verified: bool,
    pins: u32,
}

impl Entry {
    fn recovered(stored: &Stored) -> Self {
        let Stored { size, length, checksum, .. } = *stored;
        Self { size, length, checksum, is_verified: false, pins: 0 }
    }

    /// With the pin of its writer.
    fn written(stored: &Stored) -> Self {
        Self { is_verified: true, pins: 1, ..Self::recovered(stored) }
    }

    fn stored(&self, key: &BrickKey, is_proven: bool) -> Stored {
        let &Self { size, length, checksum, .. } = self;
        Stored { key: *key, size, length, checksum, is_proven }
    }

    fn held(&self, key: &BrickKey) -> Held {
        Held::new(*key, self.size, self.length)
    }
}

#[derive(Debug)]
enum Busy {
    /// Being written. `stored` is set just before the journal gets the record; `is_removed` is set
    /// when the brick has to go as soon as it is written.
    Writing { segment: SegmentKey, stored: Option<Stored>, is_removed: bool },
    /// Removed while it has pins; the reader with the last pin releases it.
    Removed { held: Held, pins: u32 },
    /// Being released by the thread that has its [`Held`].
    Releasing,
    /// Its bytes could not be freed.
    Unreleased(Held),
}

/// What was taken out of the index.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// To be released.
    pub(super) free: Vec<Held>,
    /// The same, and what its readers release.
    pub(super) removed: Removed,
}

/// A brick that was found and pinned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) stored: Stored,
    pub(super) is_verified: bool,
}

/// The answer to a claim for room.
#[derive(Debug)]
pub(super) enum Claim {
    /// The slot is marked as being written and its bytes are charged.
    Granted,
    /// The slot holds an unpinned brick, which has to be released first.
    Replace(Held),
    /// This number of bytes has to be released first.
    Full { excess: u64 },
    /// Too little can be released, because of pins and bricks in motion.
    NoRoom { needed: u64 },
    /// The slot is pinned, being written or being released.
    Busy,
    /// The segment has slots of another size.
    Mismatch { stored_bytes: u64 },
}

/// Events since the cache was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) stored: u64,
    pub(super) evicted: u64,
    pub(super) rejected: u64,
    pub(super) refused: u64,
    pub(super) write_errors: u64,
    pub(super) skipped_records: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) account: Account,
    /// Charge of ready bricks without a pin.
    evictable: u64,
    ready: Recency<BrickKey, Entry>,
    busy: HashMap<BrickKey, Busy>,
    /// Slots in `busy` whose bytes could not be freed.
    unreleased: usize,
    pub(super) counters: Counters,
}

impl Index {
    pub(super) fn new(cap: u64) -> Self {
        Self {
            account: Account::new(cap),
            evictable: 0,
            ready: Recency::new(cap),
            busy: HashMap::new(),
            unreleased: 0,
            counters: Counters::default(),
        }
    }

    pub(super) fn set_cap(&mut self, cap: u64) {
        self.account.set_cap(cap);
        self.ready.set_cap(cap);
    }

    pub(super) fn bricks(&self) -> u64 {
        self.ready.len() as u64
    }

    pub(super) fn stats(&self) -> CacheStats {
        let Counters {
            hits,
            misses,
            stored,
            evicted,
            rejected,
            refused,
            write_errors,
            skipped_records,
        } = self.counters;
        CacheStats {
            cap_bytes: self.account.cap(),
            limit_bytes: self.account.limit(),
            used_bytes: self.account.used(),
            held_bytes: self.account.in_slots() - self.evictable,
            bricks: self.bricks(),
            segments: self.account.segments().len() as u64,
            hits,
            misses,
            stored,
            evicted,
            rejected,
            refused,
            write_errors,
            skipped_records,
        }
    }

    /// What of one space of an image is there. Costs a look at each of its segments, of which a space has one
    /// for each terabyte of its bricks.
    pub(super) fn tally(&self, image: ImageId, space: u16, slots: u64, size: SlotSize) -> Tally {
        let mut all = Tally::default();
        for segment in 0..size.segments(slots) {
            let Tally { bricks, bytes } = self.account.tally(&SegmentKey { image, space, segment });
            all.bricks += bricks;
            all.bytes += bytes;
        }
        all
    }

    /// Every brick that the journal should have, in the order in which they are to be evicted.
    pub(super) fn stored_bricks(&self) -> Vec<Stored> {
        let writing = self.busy.values().filter_map(|busy| match busy {
            Busy::Writing { stored, .. } => *stored,
            _ => None,
        });
        let is_proven = |key: &BrickKey| self.ready.is_proven(key);
        let ready = self.ready.iter().map(|(key, entry)| entry.stored(key, is_proven(key)));
        ready.chain(writing).collect()
    }

    // --- lookup and pins ---

    /// Pins a ready brick and notes its use. With `only_verified`, a brick whose checksum this
    /// process has not compared yet counts as missing.
    pub(super) fn pin(
        &mut self,
        key: &BrickKey,
        size: SlotSize,
        only_verified: bool,
    ) -> Option<Found> {
        if only_verified && !self.ready.peek(key)?.is_verified {
            return None;
        }
        self.ready.get(key);
        self.pin_unused(key, size)
    }

    /// Pins a ready brick for somebody who does not use it.
    pub(super) fn pin_unused(&mut self, key: &BrickKey, size: SlotSize) -> Option<Found> {
        let is_proven = self.ready.is_proven(key);
        let entry = self.ready.peek_mut(key).filter(|entry| entry.size == size)?;
        if entry.pins == 0 {
            self.evictable -= entry.held(key).charge();
        }
        entry.pins += 1;
        Some(Found { stored: entry.stored(key, is_proven), is_verified: entry.is_verified })
    }

    /// Whether a whole brick is there.
    pub(super) fn contains(&self, key: &BrickKey) -> bool {
        self.ready.contains(key)
    }

    /// The checksum of a brick that the caller has pinned is right.
    pub(super) fn set_verified(&mut self, key: &BrickKey) {
        if let Some(entry) = self.ready.peek_mut(key) {
            entry.is_verified = true;
        }
    }

    /// Drops a pin. If it was the last one of a removed brick, the caller has to release it.
    pub(super) fn unpin(&mut self, key: &BrickKey) -> Option<Held> {
        if let Some(entry) = self.ready.peek_mut(key) {
            entry.pins -= 1;
            if entry.pins == 0 {
                self.evictable += entry.held(key).charge();
            }
            return None;
        }
        let busy = self.busy.get_mut(key)?;
        let Busy::Removed { held, pins } = busy else { return None };
        *pins -= 1;
        if *pins > 0 {
            return None;
        }
        let held = *held;
        *busy = Busy::Releasing;
        self.account.start_moving(held.bytes);
        Some(held)
    }

    /// Removes a brick that the caller has pinned; false if that was done before.
    pub(super) fn remove_pinned(&mut self, key: &BrickKey) -> bool {
        let entry = self.ready.pop(key);
        if let Some(entry) = &entry {
            let removed = Busy::Removed { held: entry.held(key), pins: entry.pins };
            self.busy.insert(*key, removed);
        }
        entry.is_some()
    }

    // --- writing ---

    /// Asks for the slot and for room in it.
    pub(super) fn claim(&mut self, held: &Held) -> Claim {
        if self.busy.contains_key(&held.key) {
            return Claim::Busy;
        }
        let segment = held.place.segment;
        if let Some(segment) = self.account.segments().get(&segment)
            && segment.size != held.place.size
        {
            return Claim::Mismatch { stored_bytes: segment.size.bytes() };
        }
        if let Some(entry) = self.ready.peek(&held.key) {
            // Another size means another segment, in which this brick would not be found.
            if entry.size != held.place.size {
                return Claim::Mismatch { stored_bytes: entry.size.bytes() };
            }
            if entry.pins > 0 {
                return Claim::Busy;
            }
        }
        let needed = self.account.cost(held);
        let wanted = self.account.used().saturating_add(needed);
        let limit = self.account.limit();
        let kept = self.account.without(self.evictable);
        if kept.saturating_add(held.charge_alone()) > limit {
            return Claim::NoRoom { needed };
        }
        if let Some(old) = self.take(&held.key) {
            return Claim::Replace(old);
        }
        if wanted > limit {
            return Claim::Full { excess: wanted - limit };
        }
        self.account.charge(held);
        self.account.start_moving(held.bytes);
        self.busy.insert(held.key, Busy::Writing { segment, stored: None, is_removed: false });
        Claim::Granted
    }

    /// The brick is written; from now on a rewritten journal includes it.
    pub(super) fn seal(&mut self, new: Stored) {
        if let Some(Busy::Writing { stored, .. }) = self.busy.get_mut(&new.key) {
            *stored = Some(new);
        }
    }

    /// The brick is in the journal: makes it ready, with one pin.
    pub(super) fn publish(&mut self, stored: &Stored) {
        let (key, entry) = (stored.key, Entry::written(stored));
        let held = entry.held(&key);
        self.account.stop_moving(held.bytes);
        if let Some(Busy::Writing { is_removed: true, .. }) = self.busy.remove(&key) {
            self.busy.insert(key, Busy::Removed { held, pins: entry.pins });
        } else {
            self.ready.put(key, entry, held.charge(), stored.is_proven);
        }
    }

    /// The brick will not be written.
    pub(super) fn give_up(&mut self, key: &BrickKey) {
        self.busy.insert(*key, Busy::Releasing);
    }

    // --- release ---

    /// Takes an unpinned ready brick for release.
    fn take(&mut self, key: &BrickKey) -> Option<Held> {
        if self.ready.peek(key)?.pins > 0 {
            return None;
        }
        let held = self.ready.pop(key)?.held(key);
        self.evictable -= held.charge();
        self.account.start_moving(held.bytes);
        self.busy.insert(*key, Busy::Releasing);
        Some(held)
    }

    /// Takes unpinned bricks of at least `bytes` together, as far as there are any, in the order in
    /// which they are to be evicted.
    pub(super) fn take_victims(&mut self, bytes: u64) -> Vec<Held> {
        let mut taken = 0;
        let unpinned = self.ready.iter().filter(|(_, entry)| entry.pins == 0);
        let victims = unpinned.take_while(|(key, entry)| {
            let wanted = taken < bytes;
            taken += entry.held(key).charge();
            wanted
        });
        let victims: Vec<BrickKey> = victims.map(|(key, _)| *key).collect();
        victims.iter().filter_map(|key| self.take(key)).collect()
    }

    /// Removes every brick of the segments that match, and takes those without a pin for release.
    /// Costs a walk over all bricks.
    pub(super) fn take_segments(&mut self, matches: impl Fn(&SegmentKey) -> bool) -> Taken {
        for busy in self.busy.values_mut() {
            if let Busy::Writing { segment, is_removed, .. } = busy {
                *is_removed |= matches(segment);
            }
        }
        let all = self.ready.iter().map(|(key, entry)| entry.held(key));
        let matching: Vec<Held> = all.filter(|held| matches(&held.place.segment)).collect();
        let mut taken = Taken::default();
        for held in matching {
            taken.removed.bricks += 1;
            if let Some(free) = self.take(&held.key) {
                taken.removed.freed_bytes += free.bytes;
                taken.free.push(free);
            } else {
                taken.removed.pinned_bytes += held.bytes;
                self.remove_pinned(&held.key);
            }
        }
        taken
    }

    /// The slot's bytes are free. True if it was the last slot of its segment.
    pub(super) fn released(&mut self, held: &Held) -> bool {
        self.busy.remove(&held.key);
        self.account.release(held)
    }

    /// The slot's bytes could not be freed. It stays charged, and no brick is stored there.
    pub(super) fn keep_unreleased(&mut self, held: &Held) {
        self.account.stop_moving(held.bytes);
        self.busy.insert(held.key, Busy::Unreleased(*held));
        self.unreleased += 1;
    }

    /// Takes the slots whose bytes could not be freed, for another try. Nearly always there are none.
    pub(super) fn take_unreleased(&mut self) -> Vec<Held> {
        if std::mem::take(&mut self.unreleased) == 0 {
            return Vec::new();
        }
        let mut taken = Vec::new();
        for busy in self.busy.values_mut() {
            if let Busy::Unreleased(held) = busy {
                taken.push(*held);
                *busy = Busy::Releasing;
            }
        }
        for held in &taken {
            self.account.start_moving(held.bytes);
        }
        taken
    }

    /// Whether whole bricks are, or should be, in the segment. Costs a walk over all bricks, unless
    /// the segment has only one slot, the caller's own.
    pub(super) fn has_bricks(&self, segment: &SegmentKey) -> bool {
        self.account.segments().get(segment).is_some_and(|segment| segment.slots > 1)
            && self.ready.iter().any(|(key, entry)| Place::of(key, entry.size).segment == *segment)
    }

    // --- recovery, before other threads see the index ---

    /// A brick from the journal replaces what was known of its slot.
    pub(super) fn recover(&mut self, stored: &Stored) {
        self.forget(&stored.key);
        let held = Held::new(stored.key, stored.size, stored.length);
        let size = self.account.segments().get(&held.place.segment).map(|segment| segment.size);
        if size.is_some_and(|size| size != stored.size) {
            // The later record is right: the file was deleted, and made again with other slots.
            self.forget_segment(&held.place.segment);
        }
        self.account.charge(&held);
        self.evictable += held.charge();
        self.ready.put(stored.key, Entry::recovered(stored), held.charge(), stored.is_proven);
    }

    pub(super) fn forget(&mut self, key: &BrickKey) {
        if let Some(held) = self.take(key)
            && self.released(&held)
        {
            self.account.close_segment(&held.place.segment);
        }
    }

    pub(super) fn forget_segment(&mut self, segment: &SegmentKey) {
        for held in self.take_segments(|key| key == segment).free {
            self.released(&held);
        }
        self.account.close_segment(segment);
    }

    /// The slot of every whole brick.
    pub(super) fn held(&self) -> impl Iterator<Item = Held> + '_ {
        self.ready.iter().map(|(key, entry)| entry.held(key))
    }
}

#[cfg(test)]
mod tests;
