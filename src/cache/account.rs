//! The account of bytes: what the cache takes on disk, never less than `du` says.
//!
//! A brick is charged from before its first byte is written until after the punch that frees it.
//! File systems also count their own metadata (ext4: extent blocks) against a file. Each segment is
//! charged an estimate of that, raised to what `stat` shows whenever its file is looked at. Charged
//! as well are the folders, the lock, the notes, and the journal, for which each brick pays in
//! advance.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::journal;
use super::key::{BrickKey, ImageId};
use super::segment::{PAGE_BYTES, Place, SegmentKey, SlotSize, allocated_bytes};
use super::stats::Tally;

/// A slot that is charged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) key: BrickKey,
    pub(super) place: Place,
    /// What the brick takes in its file.
    pub(super) bytes: u64,
}

impl Held {
    pub(super) fn new(key: BrickKey, size: SlotSize, length: u64) -> Self {
        Self { key, place: Place::of(&key, size), bytes: allocated_bytes(length) }
    }

    /// What is charged for it: its pages, and its records in the journal.
    pub(super) fn charge(&self) -> u64 {
        self.bytes + journal::BYTES_PER_BRICK
    }

    /// What has to be free for it if the cache holds nothing else.
    pub(super) fn charge_alone(&self) -> u64 {
        self.charge() + overhead_estimate(1, self.bytes) + image_folder_bytes(1)
    }
}

/// The account of one segment file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) size: SlotSize,
    /// Slots that are charged. The account outlives the last one until the file is deleted.
    pub(super) slots: u64,
    /// Bytes charged for them.
    bytes: u64,
    /// Bytes charged for the file system's metadata.
    overhead: u64,
}

/// ext4 puts up to 340 extents into a block, and leaves blocks half empty when it splits them. In the
/// worst case each page is an extent.
fn overhead_estimate(slots: u64, bytes: u64) -> u64 {
    (1 + slots / 64 + bytes / (170 * PAGE_BYTES)) * PAGE_BYTES
}

/// Bytes of the folder of an image with this number of segment files: a name takes less than 40
/// bytes. Without a file there is no folder.
fn image_folder_bytes(segments: u64) -> u64 {
    if segments == 0 { 0 } else { (1 + segments / 64) * PAGE_BYTES }
}

/// The account just before the free space of the disk is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// Bytes that the disk surely does not count as free.
    held: u64,
    released: u64,
    returning: u64,
}

impl Before {
    /// Whether released bytes may not be available yet.
    pub(super) fn is_returning(&self) -> bool {
        self.returning > 0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Account {
    cap: u64,
    /// What the disk has room for now.
    room: u64,
    /// Bytes that were released and that the disk may not have available yet.
    returning: u64,
    /// The part of `used` that is being written or released.
    moving: u64,
    /// All bytes that were released so far.
    released: u64,
    /// The disk has released bytes available only some time later.
    is_late: bool,
    used: u64,
    /// The part of `used` that is the file system's metadata for segment files.
    overhead: u64,
    /// The part that no brick pays for: folders, lock, notes, and the least that the journal needs.
    fixed: u64,
    /// All slots that are charged.
    slots: u64,
    segments: HashMap<SegmentKey, Segment>,
    /// Number of segments by image.
    images: HashMap<ImageId, u64>,
}

impl Account {
    pub(super) fn new(cap: u64) -> Self {
        Self {
            cap,
            room: cap,
            returning: 0,
            moving: 0,
            released: 0,
            is_late: false,
            used: 0,
            overhead: 0,
            fixed: 0,
            slots: 0,
            segments: HashMap::new(),
            images: HashMap::new(),
        }
    }

    /// Sets another cap; the limit follows.
    pub(super) fn set_cap(&mut self, cap: u64) {
        if self.room == self.cap {
            // Not measured since: the disk had room for all of it.
            self.room = cap;
        }
        self.cap = cap;
    }

    pub(super) fn cap(&self) -> u64 {
        self.cap
    }

    /// What may be used now: the cap, or less where the disk is short of room.
    pub(super) fn limit(&self) -> u64 {
        self.cap.min(self.room.saturating_sub(self.returning))
    }

    /// Bytes beyond what may be used.
    pub(super) fn excess(&self) -> u64 {
        self.used.saturating_sub(self.limit())
    }

    /// Bytes that were released and may not be available on the disk yet.
    pub(super) fn returning(&self) -> u64 {
        self.returning
    }

    #[cfg(test)]
    pub(super) fn moving(&self) -> u64 {
        self.moving
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// The part of `used` that bricks take, without the file system's metadata.
    pub(super) fn in_slots(&self) -> u64 {
        self.used - self.overhead - self.fixed
    }

    /// What stays charged when the slots of `evictable` bytes are released, and with them the
    /// metadata of their files.
    pub(super) fn without(&self, evictable: u64) -> u64 {
        self.used - evictable - self.overhead
    }

    /// All slots that are charged.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    pub(super) fn segments(&self) -> &HashMap<SegmentKey, Segment> {
        &self.segments
    }

    /// The slots of a segment file that are charged.
    pub(super) fn tally(&self, segment: &SegmentKey) -> Tally {
        let found = self.segments.get(segment);
        found.map_or_else(Tally::default, |found| Tally { bricks: found.slots, bytes: found.bytes })
    }

    /// From now on, released bytes become available late.
    pub(super) fn set_late(&mut self) {
        self.is_late = true;
    }

    /// What has to be known before the free space is measured, see [`Account::take_measure`].
    pub(super) fn before_measure(&self) -> Before {
        Before {
            // Of what is being written or released, some may count as free.
            held: self.used - self.moving,
            released: self.released,
            returning: self.returning,
        }
    }

    /// Sets the limit from the free space of the disk, which was measured after `before`; `min_free` is
    /// left to others. With `has_settled`, all that was returning by then is available again.
    ///
    /// Bricks that were stored meanwhile may be free on the disk still, so they are not counted as held;
    /// bricks that were released meanwhile may be free already, so they are not either.
    pub(super) fn take_measure(
        &mut self,
        before: &Before,
        has_settled: bool,
        free: u64,
        min_free: u64,
    ) {
        if has_settled {
            self.returning = self.returning.saturating_sub(before.returning);
        }
        let held = before.held.saturating_sub(self.released - before.released);
        let all = held.saturating_add(self.returning).saturating_add(free);
        self.room = all.saturating_sub(min_free);
    }

    /// Charges `bytes` for what belongs to no brick.
    pub(super) fn set_fixed(&mut self, bytes: u64) {
        self.used = self.used - self.fixed + bytes;
        self.fixed = bytes;
    }

    /// A slot begins to be written or released.
    pub(super) fn start_moving(&mut self, bytes: u64) {
        self.moving += bytes;
    }

    /// A slot is written, or could not be released.
    pub(super) fn stop_moving(&mut self, bytes: u64) {
        self.moving -= bytes;
    }

    pub(super) fn charge(&mut self, held: &Held) {
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
    pub(super) fn cost(&self, held: &Held) -> u64 {
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

    /// The slot's bytes are free. True if it was the last slot of its segment.
    pub(super) fn release(&mut self, held: &Held) -> bool {
        self.used -= held.charge();
        self.moving -= held.bytes;
        self.released += held.bytes;
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

    /// Whether no slot of the segment is charged.
    pub(super) fn is_unused(&self, segment: &SegmentKey) -> bool {
        self.segments.get(segment).is_none_or(|segment| segment.slots == 0)
    }

    /// The segment file is gone: closes its account, unless a new file is being made already.
    pub(super) fn close_segment(&mut self, segment: &SegmentKey) {
        if let Entry::Occupied(entry) = self.segments.entry(*segment)
            && entry.get().slots == 0
        {
            let mut freed = entry.remove().overhead;
            if let Entry::Occupied(mut segments) = self.images.entry(segment.image) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(image: u128, index: u64, length: u64) -> Held {
        let key = BrickKey { image: ImageId(image), space: 0, index };
        Held::new(key, SlotSize::new(8 << 20).unwrap(), length)
    }

    /// Charges slots of many segments, looks at their files, and releases all.
    #[test]
    fn what_is_charged_is_given_back_whole() {
        let mut account = Account::new(1 << 30);
        account.set_fixed(5000);
        // Three segments of one image, one of another.
        let slots: Vec<Held> = [(1, 0), (1, 1), (1, 1 << 20), (1, 1 << 30), (2, 7)]
            .map(|(image, index)| held(image, index, 1 + index % 7 * 4096))
            .into();
        for held in &slots {
            let before = account.used();
            let cost = account.cost(held);
            account.charge(held);
            assert_eq!(account.used(), before + cost);
            account.start_moving(held.bytes);
        }
        assert_eq!((account.slots(), account.segments().len()), (5, 4));
        let first = slots[0].place.segment;
        account.observe(&first, account.charged(&first) + 100 * PAGE_BYTES);
        assert!(account.charged(&first) > 100 * PAGE_BYTES);
        let tally = account.tally(&first);
        assert_eq!((tally.bricks, tally.bytes), (2, slots[0].bytes + slots[1].bytes));
        for held in &slots {
            let is_last = account.release(held);
            assert_eq!(is_last, account.is_unused(&held.place.segment));
            if is_last {
                account.close_segment(&held.place.segment);
            }
        }
        assert_eq!((account.used(), account.moving(), account.slots()), (5000, 0, 0));
        assert_eq!(account.tally(&first), Tally::default());
        assert_eq!((account.in_slots(), account.segments().len()), (0, 0));
    }

    #[test]
    fn released_bytes_of_a_late_disk_lower_the_limit_until_they_return() {
        let mut account = Account::new(1 << 20);
        account.set_late();
        let held = held(1, 0, 10_000);
        account.charge(&held);
        account.start_moving(held.bytes);
        account.release(&held);
        assert_eq!(account.returning(), held.bytes);
        assert_eq!(account.limit(), (1 << 20) - held.bytes);
        let before = account.before_measure();
        account.take_measure(&before, true, 2 << 20, 0);
        assert_eq!((account.returning(), account.limit()), (0, 1 << 20));
    }

    #[test]
    fn bytes_that_other_threads_move_during_a_measurement_do_not_count_twice() {
        const DISK_BYTES: u64 = 1 << 20;
        for is_late in [false, true] {
            let mut account = Account::new(u64::MAX);
            if is_late {
                account.set_late();
            }
            let slots: Vec<Held> = (0..3).map(|index| held(1, index, 40_000)).collect();
            let store = |account: &mut Account, held: &Held| {
                account.charge(held);
                account.start_moving(held.bytes);
                account.stop_moving(held.bytes);
            };
            store(&mut account, &slots[0]);
            let before = account.before_measure();
            let free = DISK_BYTES - account.used();
            // The disk still counts the second and third as free, and has the first available at once.
            store(&mut account, &slots[1]);
            store(&mut account, &slots[2]);
            account.start_moving(slots[0].bytes);
            account.release(&slots[0]);
            account.take_measure(&before, false, free + slots[0].bytes, 0);
            assert!(account.limit() <= DISK_BYTES, "{is_late}: {}", account.limit());
        }
    }
}
