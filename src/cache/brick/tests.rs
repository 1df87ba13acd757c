use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::super::testing::{
    FIXED, MIB, assert_within_cap, content, files, has, open, private, put, read, reopen, slot,
};
use super::super::{CacheError, Check, ImageId, Slot};

#[test]
fn a_brick_is_read_back_at_any_offset_also_after_a_restart() {
    let (dir, cache) = open(MIB);
    let slots = [slot(1, 0, 0, 100_000), slot(1, 0, 1 << 50, 100_000), slot(2, 7, u64::MAX, 1)];
    for slot in slots {
        put(&cache, slot, slot.slot_bytes).unwrap();
    }
    assert!(cache.get(Slot { slot_bytes: 99_999, ..slots[0] }).is_none());
    cache.sync();
    drop(cache);
    let cache = reopen(dir.path(), MIB);
    for slot in slots {
        assert!(has(&cache, slot, slot.slot_bytes));
    }
    let brick = cache.get(slots[0]).unwrap();
    let mut part = [0; 1000];
    brick.read_at(99_000, &mut part).unwrap();
    assert_eq!(part[..], content(&slots[0].key, 0, 100_000)[99_000..]);
    assert!(matches!(brick.read_at(99_001, &mut part), Err(CacheError::OutOfRange { .. })));
    assert!(matches!(brick.read_at(u64::MAX, &mut part), Err(CacheError::OutOfRange { .. })));
    let stats = cache.stats();
    assert_eq!((stats.bricks, stats.hits, stats.misses, stats.segments), (3, 4, 0, 3));
    assert_within_cap(&cache, dir.path());
}

#[test]
fn an_unfinished_brick_leaves_nothing() {
    let (dir, cache) = open(MIB);
    let target = slot(1, 0, 3, 200_000);
    let mut writer = cache.begin(target, 200_000).unwrap();
    writer.write(&vec![1; 150_000]).unwrap();
    assert!(cache.get(target).is_none());
    assert!(matches!(cache.begin(target, 1), Err(CacheError::Busy { .. })));
    assert!(matches!(writer.write(&vec![1; 50_001]), Err(CacheError::WrongLength { .. })));
    assert!(matches!(writer.finish(), Err(CacheError::WrongLength { .. })));
    assert_eq!(cache.stats().used_bytes, FIXED);
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    put(&cache, target, 200_000).unwrap();
    assert!(has(&cache, target, 200_000));
}

#[test]
fn a_brick_is_replaced_only_while_nobody_reads_it() {
    let (dir, cache) = open(MIB);
    let target = slot(1, 0, 3, 200_000);
    let pinned = cache.put(target, &content(&target.key, 1, 200_000)).unwrap();
    assert!(matches!(put(&cache, target, 5000), Err(CacheError::Busy { .. })));
    assert_eq!(read(&pinned), content(&target.key, 1, 200_000));
    drop(pinned);
    put(&cache, target, 5000).unwrap();
    assert!(has(&cache, target, 5000));
    assert_within_cap(&cache, dir.path());
    let other = Slot { slot_bytes: 300_000, ..target };
    assert!(matches!(put(&cache, other, 5000), Err(CacheError::SlotMismatch { .. })));
    cache.remove_images(&HashSet::from([target.key.image]));
    put(&cache, other, 5000).unwrap();
}

#[test]
fn a_removed_image_goes_when_its_last_reader_and_writer_are_done() {
    let (dir, cache) = open(MIB);
    let pinned = put(&cache, slot(1, 0, 0, 4096), 4096).unwrap();
    put(&cache, slot(1, 4, 1, 4096), 4096).unwrap();
    put(&cache, slot(2, 0, 0, 4096), 4096).unwrap();
    let mut writer = cache.begin(slot(1, 0, 9, 4096), 5).unwrap();
    cache.remove_images(&HashSet::from([ImageId(1)]));
    assert!(cache.get(slot(1, 0, 0, 4096)).is_none());
    assert!(cache.get(slot(1, 4, 1, 4096)).is_none());
    assert!(has(&cache, slot(2, 0, 0, 4096), 4096));
    let clone = pinned.clone();
    drop(pinned);
    assert_eq!(read(&clone), content(&slot(1, 0, 0, 4096).key, 0, 4096));
    drop(clone);
    writer.write(b"hello").unwrap();
    let written = writer.finish().unwrap();
    assert_eq!(read(&written), b"hello");
    assert!(cache.get(slot(1, 0, 9, 4096)).is_none());
    drop(written);
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!(fs::read_dir(private(dir.path()).join("images")).unwrap().count(), 1);
    drop(cache);
    let cache = reopen(dir.path(), MIB);
    assert_eq!(cache.stats().bricks, 1);
}

/// As a disk that gives other bytes than it was given, while the cache is in use.
#[test]
fn a_check_finds_a_changed_byte_although_the_brick_was_read_before() {
    let (dir, cache) = open(MIB);
    let [right, wrong] = [slot(1, 0, 0, 100_000), slot(1, 0, 1, 100_000)];
    for target in [right, wrong] {
        put(&cache, target, 100_000).unwrap();
        assert!(has(&cache, target, 100_000));
    }
    let [file] = files(dir.path()).try_into().unwrap();
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    let second = 100_000_u64.next_multiple_of(4096);
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", second + 50).unwrap();
    let before = cache.stats();
    assert!(matches!(cache.check(right), Check::Right(brick) if brick.len() == 100_000));
    let Check::Wrong(reason) = cache.check(wrong) else { panic!("it has another byte") };
    assert!(reason.contains("checksum"), "{reason}");
    assert!(matches!(cache.check(wrong), Check::Absent));
    assert!(matches!(cache.check(Slot { slot_bytes: 1, ..right }), Check::Absent));
    assert!(!cache.contains(&wrong.key) && has(&cache, right, 100_000));
    let after = cache.stats();
    assert_eq!((after.hits, after.misses), (before.hits + 1, before.misses), "no lookups");
    assert_eq!((after.rejected, after.bricks, after.held_bytes), (1, 1, 0));
    assert_within_cap(&cache, dir.path());
}

#[test]
fn what_is_removed_is_counted_and_pinned_bricks_go_with_their_readers() {
    let (dir, cache) = open(MIB);
    for image in [1, 2, 3] {
        put(&cache, slot(image, 0, 0, 50_000), 50_000).unwrap();
        put(&cache, slot(image, 1, 5, 4096), 4096).unwrap();
    }
    let pinned = cache.get(slot(2, 0, 0, 50_000)).unwrap();
    let removed = cache.remove_images(&HashSet::from([ImageId(1), ImageId(2), ImageId(9)]));
    assert_eq!((removed.bricks, removed.pinned_bytes), (4, 13 * 4096));
    assert_eq!(removed.freed_bytes, (13 + 1 + 1) * 4096);
    assert_eq!(read(&pinned), content(&slot(2, 0, 0, 1).key, 0, 50_000));
    assert_eq!(
        files(dir.path()).len(),
        3,
        "that of the pinned brick, and those of the third image"
    );
    drop(pinned);
    assert_eq!((files(dir.path()).len(), cache.stats().bricks), (2, 2));
    assert_within_cap(&cache, dir.path());
}
