use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::super::journal;
use super::super::testing::{
    FIXED, KIB, MIB, assert_within_cap, content, files, has, open, private, put, read, reopen, slot,
};
use super::super::{CacheError, ImageId, PinnedBrick, Slot};

#[test]
fn the_least_recently_used_go_first_and_pinned_ones_stay() {
    let (dir, cache) = open(9 * 64 * KIB);
    let brick = |index| slot(1, 0, index, 64 * KIB);
    let pinned = put(&cache, brick(0), 64 * KIB).unwrap();
    for index in 1..8 {
        put(&cache, brick(index), 64 * KIB).unwrap();
    }
    assert!(has(&cache, brick(1), 64 * KIB));
    put(&cache, brick(8), 64 * KIB).unwrap();
    put(&cache, brick(9), 64 * KIB).unwrap();
    let here: Vec<u64> = (0..10).filter(|index| has(&cache, brick(*index), 64 * KIB)).collect();
    assert_eq!(here, [0, 1, 4, 5, 6, 7, 8, 9]);
    assert_eq!(cache.stats().evicted, 2);
    assert_eq!(read(&pinned), content(&brick(0).key, 0, 64 * KIB));
    assert_within_cap(&cache, dir.path());
}

#[test]
fn what_cannot_fit_is_refused_without_evicting_anything() {
    let (_dir, cache) = open(MIB);
    let large = |index| slot(1, 0, index, MIB);
    put(&cache, large(0), 500 * KIB).unwrap();
    assert!(matches!(cache.begin(large(1), MIB), Err(CacheError::NoRoom { .. })));
    let pinned = cache.get(large(0)).unwrap();
    assert!(matches!(cache.begin(large(1), 600 * KIB), Err(CacheError::NoRoom { .. })));
    assert!(has(&cache, large(0), 500 * KIB));
    assert_eq!(cache.stats().refused, 2);
    drop(pinned);
    put(&cache, large(1), 600 * KIB).unwrap();
    assert!(cache.get(large(0)).is_none());
    for (length, slot_bytes) in [(0, 1), (2, 1), (1, 0), (1, u64::MAX)] {
        let result = cache.begin(slot(5, 0, 0, slot_bytes), length);
        assert!(matches!(result, Err(CacheError::BadLength { .. } | CacheError::SlotSize { .. })));
    }
}

#[test]
fn metadata_of_many_small_files_does_not_keep_a_large_brick_out() {
    let (dir, cache) = open(MIB);
    for image in 0..60 {
        put(&cache, slot(image, 0, 0, 4096), 4096).unwrap();
    }
    put(&cache, slot(99, 0, 0, MIB), 1000 * KIB).unwrap();
    assert_within_cap(&cache, dir.path());
}

#[test]
fn the_journal_stays_short_while_bricks_come_and_go() {
    let (dir, cache) = open(20 * 8 * KIB);
    for index in 0..2000 {
        put(&cache, slot(1, 0, index % 100, 8 * KIB), 8 * KIB).unwrap();
    }
    let journal = private(dir.path()).join("journal");
    assert!(fs::metadata(&journal).unwrap().len() <= journal::LEAST_BYTES + 64 * 3 * 20);
    let bricks = cache.stats().bricks;
    drop(cache);
    let cache = reopen(dir.path(), MIB);
    assert!(fs::metadata(&journal).unwrap().len() <= 64 * (2 * bricks + 1));
    assert_eq!(cache.stats().bricks, bricks);
    for index in 100 - bricks..100 {
        assert!(has(&cache, slot(1, 0, index, 8 * KIB), 8 * KIB));
    }
}

#[test]
fn more_segments_than_open_files() {
    let (dir, cache) = open(8 * MIB);
    for image in 0..400 {
        put(&cache, slot(image, 0, 0, 4096), 100).unwrap();
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
        let target = fs::read_link(entry.as_ref().unwrap().path()).unwrap_or_default();
        target.starts_with(dir.path()) && target.extension().is_some_and(|end| end == "bricks")
    });
    assert_eq!(open.count(), 256);
    for image in 0..400 {
        assert!(has(&cache, slot(image, 0, 0, 4096), 100));
    }
}

#[test]
fn a_file_truncated_while_in_use_costs_its_bricks_only() {
    let (dir, cache) = open(MIB);
    let pinned = put(&cache, slot(1, 0, 0, 4096), 4096).unwrap();
    put(&cache, slot(1, 0, 1, 4096), 4096).unwrap();
    put(&cache, slot(2, 0, 0, 4096), 4096).unwrap();
    OpenOptions::new().write(true).open(&files(dir.path())[0]).unwrap().set_len(100).unwrap();
    assert!(pinned.read_at(0, &mut [0; 200]).is_err());
    assert!(cache.get(slot(1, 0, 0, 4096)).is_none());
    assert!(cache.get(slot(1, 0, 1, 4096)).is_none());
    assert!(matches!(put(&cache, slot(1, 0, 2, 4096), 9), Err(CacheError::SegmentDamaged { .. })));
    assert!(has(&cache, slot(2, 0, 0, 4096), 4096));
    drop(pinned);
    put(&cache, slot(1, 0, 2, 4096), 9).unwrap();
    assert!(cache.get(slot(1, 0, 1, 4096)).is_none());
    assert_within_cap(&cache, dir.path());
}

#[test]
fn a_directory_that_goes_away_is_an_error_of_each_call() {
    let (dir, cache) = open(MIB);
    let pinned = put(&cache, slot(1, 0, 0, 4096), 4096).unwrap();
    put(&cache, slot(1, 0, 1, 4096), 4096).unwrap();
    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(read(&pinned), content(&slot(1, 0, 0, 4096).key, 0, 4096));
    assert!(cache.get(slot(1, 0, 1, 4096)).is_none());
    for index in 0..3 {
        assert!(matches!(
            put(&cache, slot(1, 0, 5 + index, 4096), 4096),
            Err(CacheError::Segment { .. } | CacheError::SegmentDamaged { .. })
        ));
    }
    drop(pinned);
    let stats = cache.stats();
    assert_eq!((stats.bricks, stats.used_bytes), (0, FIXED), "{stats:?}");
    assert!(cache.is_gone());
}

#[test]
fn a_folder_of_images_that_goes_away_is_made_anew() {
    let (dir, cache) = open(MIB);
    put(&cache, slot(1, 0, 1, 4096), 4096).unwrap();
    fs::remove_dir_all(private(dir.path()).join("images")).unwrap();
    assert!(cache.get(slot(1, 0, 1, 4096)).is_none());
    put(&cache, slot(2, 0, 5, 4096), 4096).unwrap();
    assert!(has(&cache, slot(2, 0, 5, 4096), 4096));
    assert!(!cache.is_gone());
    assert_within_cap(&cache, dir.path());
}

#[test]
fn a_note_stays_under_the_cap_across_restarts_and_bricks_go_for_it() {
    let (dir, cache) = open(8 * MIB);
    assert_eq!(cache.note("a").unwrap(), None);
    assert_eq!(cache.stats().used_bytes, FIXED);
    for index in 0..200 {
        put(&cache, slot(1, 0, index, 65_536), 65_536).unwrap();
    }
    let most = usize::try_from(cache.most_note_bytes()).unwrap();
    assert!((MIB / 16..MIB).contains(&(most as u64)), "{most}");
    for (fill, length) in [(1, most), (2, most / 2), (3, 0), (4, most)] {
        cache.put_note("a", &vec![fill; length]).unwrap();
        assert_eq!(cache.note("a").unwrap(), Some(vec![fill; length]));
        assert_within_cap(&cache, dir.path());
    }
    let evicted = cache.stats().evicted;
    assert!(evicted > 0);
    drop(cache);
    let cache = reopen(dir.path(), 8 * MIB);
    assert_eq!(cache.note("a").unwrap(), Some(vec![4; most]));
    assert_within_cap(&cache, dir.path());
    // What everything is taken from leaves no room: the last one stays.
    let pins: Vec<_> = (0..200).filter_map(|index| cache.get(slot(1, 0, index, 65_536))).collect();
    assert!(pins.len() > 50);
    let mut more = 1000;
    while let Ok(pin) = put(&cache, slot(1, 0, more, 65_536), 65_536) {
        std::mem::forget(pin);
        more += 1;
    }
    assert!(matches!(cache.put_note("a", &vec![5; most]), Err(CacheError::NoRoom { .. })));
    assert_eq!(cache.note("a").unwrap(), Some(vec![4; most]));
    assert_within_cap(&cache, dir.path());
}

/// A brick is not evicted, replaced or released while it is read.
#[test]
fn a_brick_stays_while_it_is_read() {
    let (dir, cache) = open(200 * KIB);
    let (mine, other) = (slot(1, 0, 0, 100_000), slot(1, 0, 1, 100_000));
    drop(put(&cache, mine, 90_000).unwrap());
    let held = cache.get(mine).unwrap();
    assert!(matches!(put(&cache, mine, 90_000), Err(CacheError::Busy { .. })));
    drop(put(&cache, other, 90_000).unwrap());
    assert!(put(&cache, slot(1, 0, 2, 100_000), 90_000).is_ok(), "the other goes");
    assert!(cache.get(other).is_none());
    // Removed, it is there for its reader, and goes with the last one.
    cache.remove_images(&HashSet::from([ImageId(1)]));
    assert!(cache.get(mine).is_none());
    assert_eq!(read(&held), content(&mine.key, 0, 90_000));
    assert!(cache.stats().used_bytes > FIXED);
    drop(held);
    assert_eq!(cache.stats().used_bytes, FIXED);
    assert_within_cap(&cache, dir.path());
}

#[test]
fn many_threads_few_bytes() {
    const THREADS: u64 = 6;
    let (dir, cache) = open(400 * KIB);
    let done = AtomicBool::new(false);
    let of = |n: u64| match n % 3 {
        0 => slot(u128::from(n % 2), 0, n, 20_000),
        1 => slot(u128::from(n % 2), 1, n, 1 << 39),
        _ => slot(u128::from(n % 5) + 7, 0, n, 5000),
    };
    let length = |slot: &Slot| slot.slot_bytes.min(30_000) - slot.key.index * 11;
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let stats = cache.stats();
                assert!(stats.used_bytes <= stats.cap_bytes, "{stats:?}");
                thread::yield_now();
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let cache = &cache;
                scope.spawn(move || {
                    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(thread + 1);
                    let mut pins: Vec<(Slot, PinnedBrick)> = Vec::new();
                    for _ in 0..4000 {
                        state ^= state << 13;
                        state ^= state >> 7;
                        state ^= state << 17;
                        let slot = of(state % 60);
                        let expected = content(&slot.key, 0, length(&slot));
                        let brick = if (state >> 32).is_multiple_of(3) {
                            cache
                                .put(slot, &expected)
                                .inspect_err(|error| {
                                    assert!(
                                        matches!(
                                            error,
                                            CacheError::Busy { .. } | CacheError::NoRoom { .. }
                                        ),
                                        "{error}"
                                    );
                                })
                                .ok()
                        } else {
                            cache.get(slot)
                        };
                        if let Some(brick) = brick {
                            assert_eq!(read(&brick), expected);
                            pins.push((slot, brick));
                        }
                        if pins.len() > 2 {
                            let (slot, brick) = pins.remove(0);
                            assert_eq!(read(&brick), content(&slot.key, 0, length(&slot)));
                        }
                        if (state >> 40).is_multiple_of(300) {
                            cache.remove_images(&HashSet::from([slot.key.image]));
                        }
                    }
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
        assert!(results.iter().all(Result::is_ok));
    });
    let stats = cache.stats();
    assert_eq!((stats.rejected, stats.write_errors, stats.held_bytes), (0, 0, 0), "{stats:?}");
    assert!(stats.evicted > 1000 && stats.hits > 1000, "{stats:?}");
    assert_within_cap(&cache, dir.path());
    let bricks = stats.bricks;
    drop(cache);
    let cache = reopen(dir.path(), 400 * KIB);
    assert_eq!(cache.stats().bricks, bricks);
    let here = (0..60).filter(|n| has(&cache, of(*n), length(&of(*n)))).count();
    assert_eq!(here as u64, bricks);
}
