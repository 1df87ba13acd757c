//! A disk under the cache that is full, fails, cannot be written, cannot punch, or went away.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tracing::Dispatch;
use tracing::subscriber::with_default;
use zarrims::cache::{
    BrickCache, BrickKey, CacheLimits, CacheStats, Health, ImageId, MinFree, Slot, SteadyCache,
};

use super::mem_disk::MemDisk;
use super::rig::{FIXED, Rig, cache_stats, poll, read_bricks, series};
use super::state::{DiskFaults, HEALTHY};
use crate::common::picks::Picks;
use crate::common::store::{Dtype, StoreBuilder};
use crate::reference::opened::{Opened, assert_same};

const KIB: u64 = 1024;

/// Room for about half of the bricks of [`series`].
const HALF: u64 = FIXED + 300 * KIB;

const FAILING: DiskFaults = DiskFaults { eio: 1000, ..HEALTHY };
const UNRELIABLE: DiskFaults = DiskFaults { eio: 300, ..HEALTHY };
const READ_ONLY: DiskFaults = DiskFaults { read_only: true, ..HEALTHY };

/// Reads until a brick is stored that was not there.
fn await_caching(opened: &Opened, image: &[u8], picks: &mut Picks) {
    let before = cache_stats(opened).stored;
    poll("a brick to be stored", || {
        read_bricks(opened, image, picks, 1);
        (cache_stats(opened).stored > before).then_some(())
    });
}

/// Whatever ails the disk, every read has the right bytes; and what is read is cached again when it is
/// well.
#[test]
fn a_full_or_failing_or_read_only_cache_disk_makes_no_read_fail() {
    let rig = Rig::new(&series(), 3, HALF);
    let image = rig.expected();
    let mut picks = Picks::new(4);
    let opened = rig.open();
    for faults in [FAILING, UNRELIABLE, READ_ONLY, HEALTHY] {
        read_bricks(&opened, &image, &mut picks, 40);
        // What was read is written by now.
        let before = cache_stats(&opened);
        // A healthy disk may still be full.
        let capacity = if faults == HEALTHY { rig.disk.used() } else { HEALTHY.capacity };
        rig.disk.set_faults(DiskFaults { capacity, ..faults });
        assert_same(&image, &opened.whole(), 0);
        read_bricks(&opened, &image, &mut picks, 60);
        let after = cache_stats(&opened);
        // Of a full disk, it may have learned before it tried to write.
        let told = |stats: &CacheStats| stats.write_errors + stats.refused;
        assert!(told(&after) > told(&before), "{faults:?}: {before:?}, {after:?}");
        rig.disk.set_faults(HEALTHY);
        await_caching(&opened, &image, &mut picks);
    }
    rig.disk.assert_cap_held();
}

/// A disk that takes bricks and does not give them back: what is stored is lost at once, while others
/// wait for it.
#[test]
fn a_cache_disk_that_cannot_be_read_makes_no_read_fail() {
    for read_eio in [300, 700, 1000] {
        let rig = Rig::new(&series(), 22, HALF);
        let image = rig.expected();
        let opened = rig.open();
        rig.disk.set_faults(DiskFaults { read_eio, ..HEALTHY });
        thread::scope(|scope| {
            for reader in 0..6 {
                let (opened, image) = (&opened, &image);
                let mut picks = Picks::new(read_eio * 10 + reader);
                scope.spawn(move || read_bricks(opened, image, &mut picks, 300));
            }
        });
        assert!(cache_stats(&opened).rejected > 0);
        assert_same(&image, &opened.whole(), 0);
        rig.disk.assert_cap_held();
    }
}

/// A cache that begins on such a disk is there once the disk is well.
#[test]
fn a_cache_disk_that_fails_at_the_start_is_used_once_it_works() {
    for faults in [FAILING, READ_ONLY, DiskFaults { capacity: 0, ..HEALTHY }] {
        let rig = Rig::new(&series(), 5, HALF);
        let image = rig.expected();
        rig.disk.set_faults(faults);
        let opened = rig.open();
        read_bricks(&opened, &image, &mut Picks::new(6), 5);
        assert_eq!(cache_stats(&opened).stored, 0, "{faults:?}");
        rig.disk.set_faults(HEALTHY);
        await_caching(&opened, &image, &mut Picks::new(7));
        assert_same(&image, &opened.whole(), 0);
        rig.disk.assert_cap_held();
    }
}

#[test]
fn a_disk_without_hole_punching_is_served_uncached() {
    let without = DiskFaults { no_punch: true, ..HEALTHY };
    let rig = Rig::new(&series(), 8, HALF);
    let image = rig.expected();
    rig.disk.set_faults(without);
    let opened = rig.open();
    assert_same(&image, &opened.whole(), 0);
    read_bricks(&opened, &image, &mut Picks::new(9), 40);
    let CacheStats { stored, bricks, .. } = cache_stats(&opened);
    assert_eq!((stored, bricks), (0, 0), "bricks on a disk that cannot give them back");
    drop(opened);

    // Where it ceases to work, what is there stays, and the cap holds.
    let rig = Rig::new(&series(), 10, HALF);
    let opened = rig.open();
    read_bricks(&opened, &image, &mut Picks::new(11), 20);
    rig.disk.set_faults(without);
    read_bricks(&opened, &image, &mut Picks::new(12), 120);
    assert_same(&image, &opened.whole(), 0);
    rig.disk.assert_cap_held();
}

#[test]
fn a_removed_cache_directory_is_made_anew() {
    let rig = Rig::new(&series(), 13, HALF);
    let image = rig.expected();
    let mut picks = Picks::new(14);
    let opened = rig.open();
    for _ in 0..3 {
        read_bricks(&opened, &image, &mut picks, 40);
        assert!(rig.disk.used() > 0);
        rig.disk.remove_cache();
        assert_same(&image, &opened.whole(), 0);
        read_bricks(&opened, &image, &mut picks, 20);
        await_caching(&opened, &image, &mut picks);
        assert!(rig.disk.length("journal") > 0, "no new cache");
    }
    rig.disk.assert_cap_held();
    drop(opened);
    assert_same(&image, &rig.open().whole(), 0);
}

/// Not after the fact: at each of some ten thousand operations, while readers on several threads make
/// the cache evict, the journal is rewritten, and the disk fails now and then.
#[test]
fn the_cap_holds_at_every_operation() {
    for (seed, read_eio, cap) in [(15, 0, HALF), (16, 0, FIXED + 40 * KIB), (17, 300, HALF)] {
        let rig = Rig::new(&series(), seed, cap);
        let image = rig.expected();
        let opened = rig.open();
        rig.disk.set_faults(DiskFaults { read_eio, ..HEALTHY });
        thread::scope(|scope| {
            for reader in 0..3 {
                let (opened, image) = (&opened, &image);
                scope.spawn(move || {
                    read_bricks(opened, image, &mut Picks::new(seed * 10 + reader), 500);
                });
            }
        });
        rig.disk.assert_cap_held();
        let counts = rig.disk.counts();
        assert!(counts.changes > 1000, "{counts:?}");
        // The account is not just careful.
        assert!(counts.peak_bytes > (cap - FIXED) * 3 / 4, "{counts:?} of {cap}");
    }
}

#[test]
fn min_free_shrinks_the_cache() {
    let mut rig = Rig::new(&series(), 18, HALF);
    let (capacity, min_free) = (16 << 20, 4 << 20);
    rig.limits.min_free = MinFree::Bytes(min_free);
    rig.disk.set_faults(DiskFaults { capacity, ..HEALTHY });
    let image = rig.expected();
    let mut picks = Picks::new(19);
    let opened = rig.open();
    read_bricks(&opened, &image, &mut picks, 100);
    let full = cache_stats(&opened).used_bytes;
    assert!(full > FIXED + 200 * KIB, "{full}");

    // Others take what was left, and 200 KiB of what the cache has.
    let others = capacity - min_free - rig.disk.used() + 200 * KIB;
    rig.disk.set_faults(DiskFaults { capacity, others, ..HEALTHY });
    let most = full - 200 * KIB + 32 * KIB;
    poll("the cache to shrink", || {
        read_bricks(&opened, &image, &mut picks, 3);
        (cache_stats(&opened).used_bytes <= most).then_some(())
    });
    read_bricks(&opened, &image, &mut picks, 40);
    assert!(cache_stats(&opened).used_bytes <= most);
    assert!(rig.disk.used() <= most, "{}", rig.disk.used());

    rig.disk.set_faults(DiskFaults { capacity, ..HEALTHY });
    poll("the cache to grow", || {
        read_bricks(&opened, &image, &mut picks, 3);
        (cache_stats(&opened).used_bytes > full - 64 * KIB).then_some(())
    });
    assert_same(&image, &opened.whole(), 0);
    rig.disk.assert_cap_held();
}

/// Lines of a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn count(&self, what: &str) -> usize {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).lines().filter(|line| line.contains(what)).count()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One line when it begins and one when it is over, however many bricks there are.
#[test]
fn a_fault_of_the_cache_disk_is_told_once() {
    let lines = Lines::default();
    let sink = lines.clone();
    // With a single one, `tracing` asks the thread that comes first, which may be another test's.
    let _second = Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone()).finish();
    let disk = MemDisk::new(21);
    let limits = CacheLimits { cap_bytes: 1 << 20, min_free: MinFree::Bytes(0) };
    with_default(log, || {
        let cache = SteadyCache::open(Arc::new(disk.clone()), &MemDisk::cache(), limits);
        let cache = cache.expect("a healthy disk");
        assert!(cache.put(small_slot(0), &[1; 5000]));
        disk.set_faults(READ_ONLY);
        for index in 1..100 {
            assert!(!cache.put(small_slot(index), &[1; 5000]));
        }
        assert_eq!(lines.count("cannot cache bricks"), 1);
        disk.set_faults(HEALTHY);
        let mut index = 100;
        poll("a brick to be stored", || {
            index += 1;
            cache.put(small_slot(index), &[1; 5000]).then_some(())
        });
        assert!(cache.put(small_slot(1000), &[1; 5000]));
    });
    assert_eq!(lines.count("cannot cache bricks"), 1);
    assert_eq!(lines.count("the cache takes bricks again"), 1);
}

/// The state of the cache has a name and a reason, and a hole that cannot be punched is a fault.
#[test]
fn health_names_what_is_wrong_with_the_cache_disk() {
    let disk = MemDisk::new(29);
    let limits = CacheLimits { cap_bytes: 1 << 20, min_free: MinFree::Bytes(0) };
    let open = || {
        let cache = SteadyCache::open(Arc::new(disk.clone()), &MemDisk::cache(), limits);
        cache.expect("nobody else has it")
    };
    let no_punch = DiskFaults { no_punch: true, ..HEALTHY };
    disk.set_faults(no_punch);
    let cache = open();
    assert!(matches!(cache.health(), Health::Unsuitable(_)), "{:?}", cache.health());
    disk.set_faults(HEALTHY);
    let mut index = 0;
    let mut recovers = |cache: &SteadyCache| {
        poll("a brick to be stored", || {
            index += 1;
            cache.put(small_slot(index), &[1; 5000]).then_some(())
        });
        assert_eq!(cache.health(), Health::Works);
    };
    recovers(&cache);

    // Until the cache is full, and a brick has to go for the next one.
    disk.set_faults(no_punch);
    let mut next = 1000;
    while cache.put(small_slot(next), &[1; 5000]) {
        next += 1;
    }
    let Health::Failing(outage) = cache.health() else { panic!("{:?}", cache.health()) };
    assert!(outage.reason.contains("segment"), "{outage:?}");
    let held = cache.stats().held_bytes;
    assert!(held > 0, "what could not be freed stays charged");
    disk.set_faults(HEALTHY);
    recovers(&cache);
    assert_eq!(cache.stats().held_bytes, 0);

    disk.remove_cache();
    assert!(!cache.put(small_slot(0), &[1; 5000]));
    assert!(matches!(cache.health(), Health::Gone(_)), "{:?}", cache.health());
    recovers(&cache);
}

fn small_slot(index: u64) -> Slot {
    let key = BrickKey { image: ImageId(1), space: 0, index };
    Slot { key, slot_bytes: 8 * KIB, is_proven: false }
}

/// A brick that is in use cannot be stored, which says nothing of the disk: the next one is tried.
#[test]
fn regression_a_busy_brick_does_not_put_off_the_next_try() {
    let disk = MemDisk::new(23);
    let limits = CacheLimits { cap_bytes: 1 << 20, min_free: MinFree::Bytes(0) };
    let cache = SteadyCache::open(Arc::new(disk.clone()), &MemDisk::cache(), limits);
    let cache = cache.expect("a healthy disk");
    assert!(cache.put(small_slot(0), &[1; 5000]));
    let pinned = cache.get(small_slot(0)).expect("just stored");
    disk.set_faults(READ_ONLY);
    assert!(!cache.put(small_slot(1), &[1; 5000]));
    disk.set_faults(HEALTHY);
    poll("a brick to be stored", || {
        assert!(!cache.put(small_slot(0), &[1; 5000]), "stored while in use");
        cache.put(small_slot(1), &[1; 5000]).then_some(())
    });
    assert_eq!(pinned.len(), 5000);
}

/// A sequential reader takes bricks that were read ahead faster than they are written; in the end all of
/// them are in the cache.
#[test]
fn regression_all_that_a_run_has_read_is_cached() {
    let mut store = StoreBuilder::new(Dtype::U8, "tzyx", &[1000, 2, 64, 64]);
    store.unit = vec![1, 2, 64, 64];
    let mut rig = Rig::new(&store, 26, 64 << 20);
    // Little may wait to be written, and some be made ahead.
    rig.memory_bytes = 1 << 20;
    let opened = rig.open();
    for brick in opened.bricks() {
        opened.read(brick.address, brick.bytes);
    }
    let (stats, filled) = (cache_stats(&opened), opened.engine.stats().filled);
    // But for some, if the machine keeps the writing thread waiting for longer than anybody waits for it.
    assert!(stats.stored >= filled * 19 / 20, "{filled} filled, {stats:?}");
}

/// Slots that could not be punched are punched once that works, and their bricks can be stored again,
/// although others can be evicted all the time.
#[test]
fn regression_stuck_slots_are_released_while_others_are_evicted() {
    let disk = MemDisk::new(24);
    let limits = CacheLimits { cap_bytes: FIXED + 300 * KIB, min_free: MinFree::Bytes(0) };
    let cache = BrickCache::open(&disk, &MemDisk::cache(), limits).expect("a healthy disk");
    let put = |index| cache.put(small_slot(index), &[1; 5000]).is_ok();
    assert!(put(0));
    disk.set_faults(DiskFaults { no_punch: true, ..HEALTHY });
    cache.remove_images(&HashSet::from([ImageId(1)]));
    disk.set_faults(HEALTHY);
    let mut next = 1;
    poll("the slot to be released", || {
        next += 1;
        assert!(put(next), "room for other bricks");
        put(0).then_some(())
    });
}

/// Bricks of a page or less: the journal is a part of the account that can be seen.
#[test]
fn the_cap_holds_with_many_small_bricks() {
    let disk = MemDisk::new(25);
    let limits = CacheLimits { cap_bytes: 4 << 20, min_free: MinFree::Bytes(0) };
    disk.set_cap(limits.cap_bytes);
    let cache = BrickCache::open(&disk, &MemDisk::cache(), limits).expect("a healthy disk");
    let mut picks = Picks::new(26);
    for _ in 0..6000 {
        let slot = Slot { slot_bytes: 4096, ..small_slot(picks.below(3000)) };
        if cache.get(slot).is_none() {
            cache.put(slot, &[7; 4096]).expect("room");
        }
        disk.assert_cap_held();
    }
    assert!(disk.length("journal") > 64 * KIB);
    assert!(disk.counts().peak_bytes > (4 << 20) - FIXED - 512 * KIB, "{:?}", disk.counts());
}

/// Notes count against the cap before they are written, and one that cannot be written leaves the last
/// one as it was.
#[test]
fn the_cap_holds_while_notes_are_stored_and_the_last_one_stays() {
    let disk = MemDisk::new(27);
    let limits = CacheLimits { cap_bytes: 2 << 20, min_free: MinFree::Bytes(0) };
    disk.set_cap(limits.cap_bytes);
    let open = || BrickCache::open(&disk, &MemDisk::cache(), limits).expect("a healthy disk");
    let mut cache = open();
    let mut picks = Picks::new(28);
    let (mut last, mut refused) = (None, 0);
    for round in 0..600_u64 {
        for _ in 0..5 {
            drop(cache.put(small_slot(picks.below(3000)), &[7; 5000]));
        }
        disk.set_faults(if round % 3 == 0 { UNRELIABLE } else { HEALTHY });
        let length = usize::try_from(picks.below(cache.most_note_bytes() + 1)).expect("64 bits");
        let bytes = vec![u8::try_from(picks.below(256)).expect("a byte"); length];
        match cache.put_note("a", &bytes) {
            Ok(()) => last = Some(bytes),
            Err(_) => refused += 1,
        }
        disk.set_faults(HEALTHY);
        assert_eq!(cache.note("a").expect("a healthy disk"), last);
        if round % 100 == 99 {
            drop(cache);
            cache = open();
            assert_eq!(cache.note("a").expect("a healthy disk"), last);
        }
        disk.assert_cap_held();
    }
    assert!((10..200).contains(&refused), "{refused}");
    assert!(disk.counts().peak_bytes > (2 << 20) - FIXED - 512 * KIB, "{:?}", disk.counts());
}
