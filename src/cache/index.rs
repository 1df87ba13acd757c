//! What is on disk, in memory: bricks, pins and the account of bytes. No I/O happens here.
//!
//! Every slot that has, or may have, bytes on disk is in exactly one of two maps: `ready` (a whole
//! brick, which may be read, pinned and evicted) or `busy` (being written or given back; nobody
//! else may touch the slot). Its bytes are charged from before the first one is written until after
//! the punch has succeeded, so `used` never falls short of what the files take.
//!
//! File systems also count their own metadata (ext4: extent blocks) against a file. Each segment is
//! charged an estimate of that, raised to what was seen whenever its file is looked at. Charged as
//! well are the folders and the lock, and the journal, for which each brick pays in advance.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;

use super::gate::Gate;
use super::journal::{self, Stored};
use super::recency::Recency;
use super::segment::{PAGE_BYTES, Place, SegmentKey, SlotSize, allocated_bytes};
use super::{BrickKey, CacheStats, ImageId};

/// A whole brick.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) size: SlotSize,
    pub(super) length: u64,
    pub(super) checksum: u64,
    /// The bytes were written, or compared with the checksum, by this process.
    pub(super) verified: bool,
    pins: u32,
    /// For those who have found it before.
    gate: Arc<Gate>,
}

impl Entry {
    pub(super) fn recovered(stored: &Stored) -> Self {
        let Stored { size, length, checksum, .. } = *stored;
        Self { size, length, checksum, verified: false, pins: 0, gate: Arc::default() }
    }

    fn written(stored: &Stored) -> Self {
        Self { verified: true, pins: 1, ..Self::recovered(stored) }
    }

    fn stored(&self, key: &BrickKey, is_proven: bool) -> Stored {
        let &Self { size, length, checksum, .. } = self;
        Stored { key: *key, size, length, checksum, is_proven }
    }
}

#[derive(Debug)]
enum Busy {
    /// Being written. `stored` is set just before the journal is told; `doomed` is set when the
    /// brick is to go as soon as it is there.
    Writing { segment: SegmentKey, stored: Option<Stored>, doomed: bool },
    /// To be released by whoever drops the last pin.
    Doomed(Entry),
    /// Being punched by the thread that holds its [`Held`].
    Releasing,
}

/// A slot that is charged, marked busy, and in the hands of one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) key: BrickKey,
    pub(super) place: Place,
    /// What the brick takes in its file.
    pub(super) bytes: u64,
}

/// What is charged for a brick of so many bytes: its pages, and its records in the journal.
fn charge_of(length: u64) -> u64 {
    allocated_bytes(length) + journal::BYTES_PER_BRICK
}

impl Held {
    pub(super) fn new(key: BrickKey, size: SlotSize, length: u64) -> Self {
        Self { key, place: Place::of(&key, size), bytes: allocated_bytes(length) }
    }

    fn charge(&self) -> u64 {
        self.bytes + journal::BYTES_PER_BRICK
    }
}

/// The answer to a claim for room.
#[derive(Debug)]
pub(super) enum Claim {
    /// The slot is marked as being written and its bytes are charged.
    Granted,
    /// The slot holds an unpinned brick, which has to be released first.
    Replace(Held),
    /// So many bytes have to be released first.
    Full { excess: u64 },
    /// Pins and bricks in motion leave too little to release.
    NoRoom { needed: u64 },
    /// The slot is in other hands.
    Busy,
    /// The segment has slots of another size.
    Mismatch { stored_bytes: u64 },
}

/// The account of one segment file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) size: SlotSize,
    /// Slots in `ready` and `busy`. The account outlives the last one until the file is deleted.
    pub(super) slots: u64,
    /// Bytes charged for them.
    pub(super) bytes: u64,
    /// Bytes charged for the file system's metadata.
    overhead: u64,
}

/// ext4 puts up to 340 extents into a block, and leaves blocks half empty when it splits them. In the
/// worst case each page is an extent.
fn overhead_estimate(slots: u64, bytes: u64) -> u64 {
    (1 + slots / 64 + bytes / (170 * PAGE_BYTES)) * PAGE_BYTES
}

/// Bytes of the folder of an image with so many segment files: a name takes less than 40 bytes. Without
/// one there is no folder.
fn image_folder_bytes(segments: u64) -> u64 {
    if segments == 0 { 0 } else { (1 + segments / 64) * PAGE_BYTES }
}

#[derive(Debug)]
pub(super) struct Index {
    cap: u64,
    /// What the disk has room for now.
    room: u64,
    /// Bytes that were given back, and that the disk may not have again yet.
    returning: u64,
    /// The part of `used` that is being written or given back.
    moving: u64,
    /// It has them again only some time later.
    is_late: bool,
    used: u64,
    /// Bytes of ready bricks without a pin.
    evictable: u64,
    /// The part of `used` that is the file system's metadata for segment files.
    overhead: u64,
    /// The part that no brick pays for: folders, lock, and the least that the journal needs.
    fixed: u64,
    /// All slots that are charged.
    slots: u64,
    ready: Recency<BrickKey, Entry>,
    busy: HashMap<BrickKey, Busy>,
    segments: HashMap<SegmentKey, Segment>,
    /// Number of segments by image.
    images: HashMap<ImageId, u64>,
    /// Slots whose punch failed: still charged, still busy.
    stuck: Vec<Held>,
    pub(super) counters: Counters,
}

/// Events since the cache was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) misses: u64,
    pub(super) stored: u64,
    pub(super) evicted: u64,
    pub(super) rejected: u64,
    pub(super) refused: u64,
    pub(super) write_errors: u64,
    pub(super) skipped_records: u64,
}

impl Index {
    pub(super) fn new(cap: u64) -> Self {
        Self {
            cap,
            room: cap,
            returning: 0,
            moving: 0,
            is_late: false,
            used: 0,
            evictable: 0,
            overhead: 0,
            fixed: 0,
            slots: 0,
            ready: Recency::new(cap),
            busy: HashMap::new(),
            segments: HashMap::new(),
            images: HashMap::new(),
            stuck: Vec::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn cap(&self) -> u64 {
        self.cap
    }

    /// What may be used now: the cap, or less where the disk is short of room.
    pub(super) fn limit(&self) -> u64 {
        self.cap.min(self.room.saturating_sub(self.returning))
    }

    /// Bytes that were given back and may not be on the disk again.
    pub(super) fn returning(&self) -> u64 {
        self.returning
    }

    /// Bytes that are being written or given back: on the disk or not, who knows.
    pub(super) fn moving(&self) -> u64 {
        self.moving
    }

    /// From now on what is given back comes late.
    pub(super) fn set_late(&mut self) {
        self.is_late = true;
    }

    /// So many bytes that were given back are there again.
    pub(super) fn returned(&mut self, bytes: u64) {
        self.returning = self.returning.saturating_sub(bytes);
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// All slots that are charged, those in motion included.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    /// From now on no more than so many bytes may be used, nor more than the cap, those included that the
    /// disk does not have again yet.
    pub(super) fn set_room(&mut self, bytes: u64) {
        self.room = bytes;
    }

    /// Charges so many bytes for what belongs to no brick.
    pub(super) fn set_fixed(&mut self, bytes: u64) {
        self.used = self.used - self.fixed + bytes;
        self.fixed = bytes;
    }

    pub(super) fn bricks(&self) -> u64 {
        self.ready.len() as u64
    }

    pub(super) fn segments(&self) -> &HashMap<SegmentKey, Segment> {
        &self.segments
    }

    pub(super) fn stats(&self) -> CacheStats {
        let Counters { misses, stored, evicted, rejected, refused, write_errors, skipped_records } =
            self.counters;
        CacheStats {
            cap_bytes: self.cap,
            limit_bytes: self.limit(),
            used_bytes: self.used,
            held_bytes: self.used - self.evictable - self.overhead - self.fixed,
            bricks: self.bricks(),
            segments: self.segments.len() as u64,
            // Counted by the store, without the lock.
            hits: 0,
            misses,
            stored,
            evicted,
            rejected,
            refused,
            write_errors,
            skipped_records,
        }
    }

    /// Every brick the journal should know, those that are to go first in front.
    pub(super) fn stored_bricks(&self) -> Vec<Stored> {
        let writing = self.busy.values().filter_map(|busy| match busy {
            Busy::Writing { stored, .. } => *stored,
            Busy::Doomed(_) | Busy::Releasing => None,
        });
        let is_proven = |key: &BrickKey| self.ready.is_proven(key);
        let ready = self.ready.iter().map(|(key, entry)| entry.stored(key, is_proven(key)));
        ready.chain(writing).collect()
    }

    // --- the account ---

    fn charge(&mut self, held: &Held) {
        let key = held.place.segment;
        let is_new = !self.segments.contains_key(&key);
        let segment = self.segments.entry(key).or_insert_with(|| Segment {
            size: held.place.size,
            slots: 0,
            bytes: 0,
            overhead: 0,
        });
        segment.slots += 1;
        segment.bytes += held.bytes;
        let overhead = segment.overhead.max(overhead_estimate(segment.slots, segment.bytes));
        let mut raised = overhead - segment.overhead;
        segment.overhead = overhead;
        if is_new {
            let segments = self.images.entry(key.image).or_insert(0);
            raised += image_folder_bytes(*segments + 1) - image_folder_bytes(*segments);
            *segments += 1;
        }
        self.slots += 1;
        self.overhead += raised;
        self.used += held.charge() + raised;
    }

    /// What `charge` would add.
    fn cost(&self, held: &Held) -> u64 {
        let key = held.place.segment;
        let (slots, bytes, overhead) = self
            .segments
            .get(&key)
            .map_or((0, 0, 0), |segment| (segment.slots, segment.bytes, segment.overhead));
        let file = overhead_estimate(slots + 1, bytes + held.bytes).saturating_sub(overhead);
        let folder = if self.segments.contains_key(&key) {
            0
        } else {
            let segments = self.images.get(&key.image).copied().unwrap_or(0);
            image_folder_bytes(segments + 1) - image_folder_bytes(segments)
        };
        held.charge() + file + folder
    }

    /// Bytes charged for a segment file, metadata included.
    pub(super) fn charged(&self, segment: &SegmentKey) -> u64 {
        self.segments.get(segment).map_or(0, |segment| segment.bytes + segment.overhead)
    }

    /// Takes note of what a segment file takes on disk.
    pub(super) fn observe(&mut self, segment: &SegmentKey, disk_bytes: u64) {
        if let Some(segment) = self.segments.get_mut(segment) {
            let seen = disk_bytes.saturating_sub(segment.bytes);
            let overhead = seen.max(overhead_estimate(segment.slots, segment.bytes));
            self.used = self.used - segment.overhead + overhead;
            self.overhead = self.overhead - segment.overhead + overhead;
            segment.overhead = overhead;
        }
    }

    /// Bytes beyond what may be used.
    pub(super) fn excess(&self) -> u64 {
        self.used.saturating_sub(self.limit())
    }

    // --- lookup and pins ---

    /// Pins a ready brick and notes its use.
    pub(super) fn pin(&mut self, key: &BrickKey, size: SlotSize) -> Option<(Stored, bool)> {
        let is_proven = self.ready.is_proven(key);
        let entry = self.ready.get(key).filter(|entry| entry.size == size)?;
        if entry.pins == 0 {
            self.evictable -= charge_of(entry.length);
        }
        entry.pins += 1;
        Some((entry.stored(key, is_proven), entry.verified))
    }

    /// The gate of a brick whose checksum was compared in this run.
    pub(super) fn gate(&self, key: &BrickKey) -> Option<Arc<Gate>> {
        self.ready.peek(key).filter(|entry| entry.verified).map(|entry| entry.gate.clone())
    }

    /// Whether a whole brick is there.
    pub(super) fn contains(&self, key: &BrickKey) -> bool {
        self.ready.contains(key)
    }

    /// Whether there is such a brick, and its checksum was compared in this run.
    pub(super) fn is_verified(&self, key: &BrickKey) -> bool {
        self.ready.peek(key).is_some_and(|entry| entry.verified)
    }

    /// The checksum of a brick that the caller has pinned was found to be right.
    pub(super) fn set_verified(&mut self, key: &BrickKey) {
        if let Some(entry) = self.ready.peek_mut(key) {
            entry.verified = true;
        }
    }

    /// Drops a pin. A brick that was only kept by it is handed out for release.
    pub(super) fn unpin(&mut self, key: &BrickKey) -> Option<Held> {
        if let Some(entry) = self.ready.peek_mut(key) {
            entry.pins -= 1;
            if entry.pins == 0 {
                self.evictable += charge_of(entry.length);
            }
            return None;
        }
        if let Some(Busy::Doomed(entry)) = self.busy.get_mut(key) {
            entry.pins -= 1;
        }
        self.release_doomed(key)
    }

    /// Hands a doomed brick out for release, if nobody is at it.
    pub(super) fn release_doomed(&mut self, key: &BrickKey) -> Option<Held> {
        let busy = self.busy.get_mut(key)?;
        let Busy::Doomed(entry) = busy else {
            return None;
        };
        if entry.pins > 0 || !entry.gate.is_empty() {
            return None;
        }
        let held = Held::new(*key, entry.size, entry.length);
        *busy = Busy::Releasing;
        self.moving += held.bytes;
        Some(held)
    }

    /// Stops handing out a brick that somebody is at; the last one to go releases it. False if that was
    /// done before.
    pub(super) fn doom(&mut self, key: &BrickKey) -> bool {
        let entry = self.ready.pop(key);
        let found = entry.is_some();
        if let Some(entry) = entry {
            entry.gate.close();
            if entry.pins == 0 {
                self.evictable -= charge_of(entry.length);
            }
            self.busy.insert(*key, Busy::Doomed(entry));
        }
        found
    }

    // --- writing ---

    /// Asks for the slot and for room in it.
    pub(super) fn claim(&mut self, held: &Held) -> Claim {
        if self.busy.contains_key(&held.key) {
            return Claim::Busy;
        }
        if let Some(segment) = self.segments.get(&held.place.segment)
            && segment.size != held.place.size
        {
            return Claim::Mismatch { stored_bytes: segment.size.bytes() };
        }
        if let Some(entry) = self.ready.peek(&held.key) {
            // Another size means another segment, which this brick would not lie in.
            if entry.size != held.place.size {
                return Claim::Mismatch { stored_bytes: entry.size.bytes() };
            }
            if entry.pins > 0 || !entry.gate.is_empty() {
                return Claim::Busy;
            }
        }
        let needed = self.cost(held);
        let wanted = self.used.saturating_add(needed);
        // What is left after evicting everything: slots in use, and the metadata of one file.
        let kept = self.used - self.evictable - self.overhead;
        let least = held.charge() + overhead_estimate(1, held.bytes) + image_folder_bytes(1);
        let limit = self.limit();
        if kept.saturating_add(least) > limit {
            return Claim::NoRoom { needed };
        }
        if self.ready.contains(&held.key) {
            return self.take(&held.key).map_or(Claim::Busy, Claim::Replace);
        }
        if wanted > limit {
            return Claim::Full { excess: wanted - limit };
        }
        self.charge(held);
        self.moving += held.bytes;
        let segment = held.place.segment;
        self.busy.insert(held.key, Busy::Writing { segment, stored: None, doomed: false });
        Claim::Granted
    }

    /// The brick is written; from now on a rewritten journal includes it.
    pub(super) fn seal(&mut self, new: Stored) {
        if let Some(Busy::Writing { stored, .. }) = self.busy.get_mut(&new.key) {
            *stored = Some(new);
        }
    }

    /// The brick is in the journal: hands it out, with one pin.
    pub(super) fn publish(&mut self, stored: &Stored) {
        let entry = Entry::written(stored);
        self.moving -= allocated_bytes(stored.length);
        if let Some(Busy::Writing { doomed: true, .. }) = self.busy.remove(&stored.key) {
            self.busy.insert(stored.key, Busy::Doomed(entry));
        } else {
            let bytes = charge_of(stored.length);
            self.ready.put(stored.key, entry, bytes, stored.is_proven);
        }
    }

    /// The brick will not be written.
    pub(super) fn give_up(&mut self, key: &BrickKey) {
        self.busy.insert(*key, Busy::Releasing);
    }

    // --- release ---

    /// Takes an unpinned ready brick for release, unless somebody is at it.
    fn take(&mut self, key: &BrickKey) -> Option<Held> {
        if !self.ready.peek(key)?.gate.close_if_empty() {
            return None;
        }
        let entry = self.ready.pop(key)?;
        let held = Held::new(*key, entry.size, entry.length);
        self.evictable -= held.charge();
        self.moving += held.bytes;
        self.busy.insert(*key, Busy::Releasing);
        Some(held)
    }

    /// Takes bricks of at least `bytes` together, those that are to go first, as far as there are any
    /// without a pin.
    pub(super) fn take_victims(&mut self, bytes: u64) -> Vec<Held> {
        let mut taken = 0;
        let is_free = |entry: &Entry| entry.pins == 0 && entry.gate.is_empty();
        let unpinned = self.ready.iter().filter(|(_, entry)| is_free(entry));
        let victims = unpinned.take_while(|(_, entry)| {
            let wanted = taken < bytes;
            taken += charge_of(entry.length);
            wanted
        });
        let victims: Vec<BrickKey> = victims.map(|(key, _)| *key).collect();
        victims.iter().filter_map(|key| self.take(key)).collect()
    }

    /// Takes every brick of the segments that match; pinned ones, and ones being written, are
    /// doomed. Costs a walk over all bricks.
    pub(super) fn take_segments(&mut self, matches: impl Fn(&SegmentKey) -> bool) -> Vec<Held> {
        for busy in self.busy.values_mut() {
            if let Busy::Writing { segment, doomed, .. } = busy {
                *doomed |= matches(segment);
            }
        }
        let keys: Vec<(BrickKey, bool)> = self
            .ready
            .iter()
            .filter(|(key, entry)| matches(&Place::of(key, entry.size).segment))
            .map(|(key, entry)| (*key, entry.pins > 0))
            .collect();
        let mut taken = Vec::new();
        for (key, pinned) in keys {
            let own = if pinned { None } else { self.take(&key) };
            if own.is_none() {
                self.doom(&key);
                // The one who was at it may have left in between.
                taken.extend(self.release_doomed(&key));
            }
            taken.extend(own);
        }
        taken
    }

    /// The slot's bytes are free. True if it was the last slot of its segment.
    pub(super) fn released(&mut self, held: &Held) -> bool {
        self.busy.remove(&held.key);
        self.used -= held.charge();
        self.moving -= held.bytes;
        self.slots -= 1;
        if self.is_late {
            self.returning += held.bytes;
        }
        let Some(segment) = self.segments.get_mut(&held.place.segment) else {
            return false;
        };
        segment.slots -= 1;
        segment.bytes -= held.bytes;
        segment.slots == 0
    }

    /// The slot's bytes could not be freed; it stays charged and busy until a retry succeeds.
    pub(super) fn stick(&mut self, held: &Held) {
        self.moving -= held.bytes;
        self.stuck.push(*held);
    }

    /// Slots whose release failed, for another try; if there are none, victims for so many bytes.
    pub(super) fn take_stuck_or_victims(&mut self, bytes: u64) -> Vec<Held> {
        let stuck = self.take_stuck();
        if stuck.is_empty() { self.take_victims(bytes) } else { stuck }
    }

    /// Some of the slots whose release failed, for another try.
    pub(super) fn take_stuck(&mut self) -> Vec<Held> {
        let keep = self.stuck.len().saturating_sub(16);
        let stuck = self.stuck.split_off(keep);
        self.moving += stuck.iter().map(|held| held.bytes).sum::<u64>();
        stuck
    }

    /// Whether no slot of the segment is in use.
    pub(super) fn is_unused(&self, segment: &SegmentKey) -> bool {
        self.segments.get(segment).is_none_or(|segment| segment.slots == 0)
    }

    /// Whether whole bricks are, or should be, in the segment. Costs a walk over all bricks, unless
    /// the segment has but one slot, the caller's own.
    pub(super) fn has_bricks(&self, segment: &SegmentKey) -> bool {
        self.segments.get(segment).is_some_and(|segment| segment.slots > 1)
            && self.ready.iter().any(|(key, entry)| Place::of(key, entry.size).segment == *segment)
    }

    /// The segment file is gone: closes its account, unless a new one is being made already.
    pub(super) fn close_segment(&mut self, segment: &SegmentKey) {
        if let hash_map::Entry::Occupied(entry) = self.segments.entry(*segment)
            && entry.get().slots == 0
        {
            let mut freed = entry.remove().overhead;
            if let hash_map::Entry::Occupied(mut segments) = self.images.entry(segment.image) {
                let left = *segments.get() - 1;
                freed += image_folder_bytes(left + 1) - image_folder_bytes(left);
                *segments.get_mut() = left;
                if left == 0 {
                    segments.remove();
                }
            }
            self.used -= freed;
            self.overhead -= freed;
        }
    }

    // --- recovery, before the index is shared ---

    /// A brick from the journal replaces what was known of its slot.
    pub(super) fn recover(&mut self, stored: &Stored) {
        self.forget(&stored.key);
        let held = Held::new(stored.key, stored.size, stored.length);
        let size = self.segments.get(&held.place.segment).map(|segment| segment.size);
        if size.is_some_and(|size| size != stored.size) {
            // The later record is right: the file was deleted and made anew with other slots.
            self.forget_segment(&held.place.segment);
        }
        self.charge(&held);
        self.evictable += held.charge();
        self.ready.put(stored.key, Entry::recovered(stored), held.charge(), stored.is_proven);
    }

    pub(super) fn forget(&mut self, key: &BrickKey) {
        if let Some(held) = self.take(key)
            && self.released(&held)
        {
            self.close_segment(&held.place.segment);
        }
    }

    pub(super) fn forget_segment(&mut self, segment: &SegmentKey) {
        for held in self.take_segments(|key| key == segment) {
            self.released(&held);
        }
        self.close_segment(segment);
    }

    /// The slot of every whole brick.
    pub(super) fn held(&self) -> impl Iterator<Item = Held> + '_ {
        self.ready.iter().map(|(key, entry)| Held::new(*key, entry.size, entry.length))
    }
}
