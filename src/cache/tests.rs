//! The cache as its callers see it: contents, cap, restart, damage, threads.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use tempfile::TempDir;

use super::disk::{Disk, LocalDisk};
use super::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Charged for folders, lock and journal, whatever is in the cache.
const FIXED: u64 = 19 * 4096 + journal::LEAST_BYTES;

fn slot(image: u128, space: u16, index: u64, slot_bytes: u64) -> Slot {
    let key = BrickKey { image: ImageId(image), space, index };
    Slot { key, slot_bytes, is_proven: false }
}

/// Bytes that no other brick, and no other version of it, has at the same place.
fn content(key: &BrickKey, version: u64, length: u64) -> Vec<u8> {
    let mut state = xxhash_rust::xxh3::xxh3_64(format!("{key} {version}").as_bytes()) | 1;
    let mut bytes = Vec::with_capacity(usize::try_from(length + 8).unwrap());
    while (bytes.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(usize::try_from(length).unwrap());
    bytes
}

fn read(brick: &PinnedBrick) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(brick.len()).unwrap()];
    brick.read_at(0, &mut bytes).unwrap();
    bytes
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for image in fs::read_dir(dir.join("zarrims-v1/images")).into_iter().flatten() {
        for file in fs::read_dir(image.unwrap().path()).into_iter().flatten() {
            found.push(file.unwrap().path());
        }
    }
    found.sort();
    found
}

/// What `du` says: files and folders, the named one included.
fn disk_bytes(path: &Path) -> u64 {
    let meta = fs::symlink_metadata(path).unwrap();
    let inside = if meta.is_dir() { Some(fs::read_dir(path).unwrap()) } else { None };
    let inside = inside.into_iter().flatten().map(|entry| disk_bytes(&entry.unwrap().path()));
    meta.blocks() * 512 + inside.sum::<u64>()
}

fn assert_within_cap(cache: &BrickCache, dir: &Path) {
    let stats = cache.stats();
    assert!(stats.used_bytes <= stats.cap_bytes, "{stats:?}");
    let disk = disk_bytes(dir);
    assert!(disk <= stats.used_bytes, "{disk} bytes on disk, {stats:?}");
}

fn put(cache: &BrickCache, slot: Slot, length: u64) -> Result<PinnedBrick, CacheError> {
    cache.put(slot, &content(&slot.key, 0, length))
}

/// Looks up as readers do.
fn find(cache: &BrickCache, slot: Slot) -> Option<PinnedBrick> {
    cache.get_again(slot).or_else(|| cache.get(slot))
}

fn has(cache: &BrickCache, slot: Slot, length: u64) -> bool {
    find(cache, slot).is_some_and(|brick| {
        assert_eq!(read(&brick), content(&slot.key, 0, length));
        true
    })
}

/// Opens the cache with room for so many bytes of bricks beside what is always charged.
fn try_open(dir: &Path, room: u64) -> Result<Arc<BrickCache>, CacheError> {
    let limits = CacheLimits { cap_bytes: room + FIXED, min_free: MinFree::Bytes(0) };
    BrickCache::open(&LocalDisk, dir, limits)
}

fn reopen(dir: &Path, room: u64) -> Arc<BrickCache> {
    try_open(dir, room).unwrap()
}

fn open(room: u64) -> (TempDir, Arc<BrickCache>) {
    let dir = tempfile::tempdir().unwrap();
    let cache = reopen(dir.path(), room);
    (dir, cache)
}

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
fn everything_is_private_to_the_owner() {
    let (dir, cache) = open(MIB);
    put(&cache, slot(1, 0, 0, 4096), 4096).unwrap();
    let root = dir.path().join("zarrims-v1");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = files(dir.path()).remove(0);
    for dir in [&root, &root.join("images"), &file.parent().unwrap().to_path_buf()] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    for file in [&file, &root.join("journal"), &root.join("lock")] {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    assert!(file.ends_with("00000000000000000000000000000001/0-0.bricks"));
}

#[test]
fn a_directory_has_one_owner() {
    let (dir, cache) = open(MIB);
    let pinned = put(&cache, slot(1, 0, 0, 1), 1).unwrap();
    let in_use = |dir: &Path| match try_open(dir, MIB) {
        Err(CacheError::InUse { pid, .. }) => pid == Some(std::process::id()),
        other => other.map(|_| false).unwrap(),
    };
    assert!(in_use(dir.path()));
    drop(cache);
    assert!(in_use(dir.path()));
    drop(pinned);
    reopen(dir.path(), MIB);
}

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
    cache.remove_image(target.key.image);
    put(&cache, other, 5000).unwrap();
}

#[test]
fn a_removed_image_goes_when_its_last_reader_and_writer_are_done() {
    let (dir, cache) = open(MIB);
    let pinned = put(&cache, slot(1, 0, 0, 4096), 4096).unwrap();
    put(&cache, slot(1, 4, 1, 4096), 4096).unwrap();
    put(&cache, slot(2, 0, 0, 4096), 4096).unwrap();
    let mut writer = cache.begin(slot(1, 0, 9, 4096), 5).unwrap();
    cache.remove_image(ImageId(1));
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
    assert_eq!(fs::read_dir(dir.path().join("zarrims-v1/images")).unwrap().count(), 1);
    drop(cache);
    let cache = reopen(dir.path(), MIB);
    assert_eq!(cache.stats().bricks, 1);
}

#[test]
fn a_lower_cap_holds_from_the_start() {
    let (dir, cache) = open(MIB);
    for index in 0..10 {
        put(&cache, slot(1, 0, index, 64 * KIB), 64 * KIB).unwrap();
    }
    drop(cache);
    let cache = reopen(dir.path(), 300 * KIB);
    assert_eq!(cache.stats().bricks, 4);
    assert!(has(&cache, slot(1, 0, 9, 64 * KIB), 64 * KIB));
    assert_within_cap(&cache, dir.path());
}

#[test]
fn bytes_nobody_accounts_for_are_freed_at_the_start() {
    let (dir, cache) = open(4 * MIB);
    put(&cache, slot(1, 0, 1, 64 * KIB), 1000).unwrap();
    put(&cache, slot(1, 0, 3, 64 * KIB), 64 * KIB).unwrap();
    drop(cache);
    let file = files(dir.path()).remove(0);
    let stray = OpenOptions::new().write(true).open(&file).unwrap();
    for offset in [0, 64 * KIB + 4096, 2 * 64 * KIB, 4 * 64 * KIB, 1 << 39] {
        stray.write_all_at(&[7; 8192], offset).unwrap();
    }
    let images = dir.path().join("zarrims-v1/images");
    let other = images.join(ImageId(77).to_string());
    fs::create_dir(&other).unwrap();
    fs::write(other.join("3-5.bricks"), vec![1; 100_000]).unwrap();
    fs::write(images.join("unrelated"), b"kept").unwrap();
    let cache = reopen(dir.path(), 4 * MIB);
    assert_within_cap(&cache, dir.path());
    assert!(!other.exists() && images.join("unrelated").exists());
    assert!(has(&cache, slot(1, 0, 1, 64 * KIB), 1000));
    assert!(has(&cache, slot(1, 0, 3, 64 * KIB), 64 * KIB));
}

#[test]
fn a_foreign_journal_means_an_empty_start() {
    let (dir, cache) = open(MIB);
    put(&cache, slot(1, 0, 0, 64 * KIB), 1000).unwrap();
    drop(cache);
    fs::write(dir.path().join("zarrims-v1/journal"), b"something else").unwrap();
    let cache = reopen(dir.path(), MIB);
    assert_eq!(cache.stats().used_bytes, FIXED);
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    put(&cache, slot(1, 0, 0, 32 * KIB), 1000).unwrap();
}

#[test]
fn the_journal_stays_short_while_bricks_come_and_go() {
    let (dir, cache) = open(20 * 8 * KIB);
    for index in 0..2000 {
        put(&cache, slot(1, 0, index % 100, 8 * KIB), 8 * KIB).unwrap();
    }
    let journal = dir.path().join("zarrims-v1/journal");
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
    fs::remove_dir_all(dir.path().join("zarrims-v1/images")).unwrap();
    assert!(cache.get(slot(1, 0, 1, 4096)).is_none());
    put(&cache, slot(2, 0, 5, 4096), 4096).unwrap();
    assert!(has(&cache, slot(2, 0, 5, 4096), 4096));
    assert!(!cache.is_gone());
    assert_within_cap(&cache, dir.path());
}

#[test]
fn other_layouts_are_removed_and_their_owners_respected() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("zarrims-v0");
    fs::create_dir_all(other.join("images/7")).unwrap();
    fs::write(other.join("images/7/0-0.bricks"), vec![1; 100_000]).unwrap();
    fs::write(dir.path().join("zarrims-vault"), b"kept").unwrap();
    let owner = LocalDisk.enter(&other).unwrap().lock(Path::new("lock")).unwrap();
    assert!(matches!(try_open(dir.path(), MIB), Err(CacheError::InUse { pid: Some(_), .. })));
    drop(owner);
    let cache = reopen(dir.path(), MIB);
    assert!(!other.exists() && dir.path().join("zarrims-vault").exists());
    put(&cache, slot(1, 0, 5, 4096), 4096).unwrap();
    fs::remove_file(dir.path().join("zarrims-vault")).unwrap();
    assert_within_cap(&cache, dir.path());
}

#[test]
fn a_removed_lock_file_lets_nobody_else_in() {
    let (dir, _cache) = open(MIB);
    fs::remove_file(dir.path().join("zarrims-v1/lock")).unwrap();
    assert!(matches!(try_open(dir.path(), MIB), Err(CacheError::InUse { .. })));
}

#[test]
fn a_steady_cache_begins_anew_when_its_directory_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let limits = CacheLimits { cap_bytes: MIB, min_free: MinFree::Bytes(0) };
    let cache = SteadyCache::open(Arc::new(LocalDisk), &path, limits).unwrap();
    let target = slot(1, 0, 0, 4096);
    let bytes = content(&target.key, 0, 4096);
    assert!(cache.put(target, &bytes));
    let pinned = cache.get(target).unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert!(!cache.put(slot(2, 0, 0, 4096), &bytes));
    // No time is asserted: it is tried until it works.
    let mut tries = 0;
    while !cache.put(target, &bytes) {
        tries += 1;
        assert!(tries < 100_000_000, "the cache never came back");
        thread::yield_now();
    }
    assert_eq!(read(&cache.get(target).unwrap()), bytes);
    assert_eq!(read(&pinned), bytes);
    // What was pinned in the old directory does nothing to the new one.
    drop(pinned);
    assert_eq!(read(&cache.get(target).unwrap()), bytes);
    assert_eq!((cache.stats().stored, cache.stats().bricks), (2, 1));
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

#[derive(Clone, Debug)]
enum Step {
    Put { slot: Slot, length: u64 },
    Abandon { slot: Slot, length: u64 },
    Get { slot: Slot },
    Pin { slot: Slot },
    Unpin,
    Remove { image: u128 },
    Reopen { cap: u64 },
}

/// Few keys, so that they meet; one space with four slots in a segment, so that files come and go.
fn any_slot() -> impl Strategy<Value = Slot> {
    (0..3_u128, 0..3_u16, 0..12_u64).prop_map(|(image, space, index)| match space {
        0 => slot(image, 0, index, 40_000),
        1 => slot(image, 1, index, 1 << 38),
        _ => slot(image, 2, index << 47, 4096),
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let sized = || {
        any_slot().prop_flat_map(|slot| {
            (1..=slot.slot_bytes.min(60_000)).prop_map(move |length| (slot, length))
        })
    };
    prop_oneof![
        10 => sized().prop_map(|(slot, length)| Step::Put { slot, length }),
        1 => sized().prop_map(|(slot, length)| Step::Abandon { slot, length }),
        10 => any_slot().prop_map(|slot| Step::Get { slot }),
        2 => any_slot().prop_map(|slot| Step::Pin { slot }),
        2 => Just(Step::Unpin),
        1 => (0..3_u128).prop_map(|image| Step::Remove { image }),
        1 => (20_000..600_000_u64).prop_map(|cap| Step::Reopen { cap }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_history_gives_right_bytes_or_none(steps in prop::collection::vec(any_step(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = reopen(dir.path(), 300_000);
        let mut model: HashMap<BrickKey, Vec<u8>> = HashMap::new();
        let mut pins: Vec<(PinnedBrick, Vec<u8>)> = Vec::new();
        for (version, step) in (0_u64..).zip(steps) {
            match step {
                Step::Put { slot, length } => {
                    let bytes = content(&slot.key, version, length);
                    match cache.put(slot, &bytes) {
                        Ok(brick) => {
                            prop_assert!(read(&brick) == bytes);
                            drop(brick);
                            prop_assert!(cache.get(slot).is_some());
                            model.insert(slot.key, bytes);
                        }
                        Err(CacheError::NoRoom { .. } | CacheError::Busy { .. }) => {}
                        Err(error) => prop_assert!(false, "{}", error),
                    }
                }
                Step::Abandon { slot, length } => {
                    if let Ok(mut writer) = cache.begin(slot, length) {
                        let half = usize::try_from(length / 2).unwrap();
                        writer.write(&content(&slot.key, version, length)[..half]).unwrap();
                        model.remove(&slot.key);
                    }
                }
                Step::Get { slot } => {
                    if let Some(brick) = find(&cache, slot) {
                        prop_assert!(Some(&read(&brick)) == model.get(&slot.key));
                    }
                }
                Step::Pin { slot } => {
                    if let Some(brick) = find(&cache, slot) {
                        pins.push((brick, model[&slot.key].clone()));
                    }
                }
                Step::Unpin => drop(pins.pop()),
                Step::Remove { image } => {
                    cache.remove_image(ImageId(image));
                    model.retain(|key, _| key.image != ImageId(image));
                }
                Step::Reopen { cap } => {
                    pins.clear();
                    let before = cache.stats();
                    drop(cache);
                    cache = reopen(dir.path(), cap);
                    let after = cache.stats();
                    prop_assert!(after.bricks == before.bricks || cap + FIXED < before.used_bytes);
                    prop_assert_eq!(after.skipped_records, 0);
                }
            }
            for (brick, bytes) in &pins {
                prop_assert!(&read(brick) == bytes);
            }
            assert_within_cap(&cache, dir.path());
        }
        let stats = cache.stats();
        prop_assert_eq!((stats.rejected, stats.write_errors), (0, 0));
        drop(pins);
        prop_assert_eq!(cache.stats().held_bytes, 0);
    }

    #[test]
    fn any_damage_gives_right_bytes_or_none(
        damage in prop::collection::vec((0..4_u8, any::<u64>(), 1..=255_u8), 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let cache = reopen(dir.path(), MIB);
        let all: Vec<Slot> =
            (0..24_u64).map(|n| slot(u128::from(n % 3), 0, n, 9000)).collect();
        for slot in &all {
            let older = content(&slot.key, 1, 5000 + slot.key.index * 100);
            cache.put(*slot, &older).unwrap();
            put(&cache, *slot, 8999 - slot.key.index * 100).unwrap();
        }
        drop(cache);
        let journal = dir.path().join("zarrims-v1/journal");
        for (kind, place, mask) in damage {
            let mut paths = files(dir.path());
            if kind < 2 || paths.is_empty() {
                paths = vec![journal.clone()];
            }
            let path = &paths[usize::try_from(place % paths.len() as u64).unwrap()];
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            let end = file.metadata().unwrap().len().clamp(1, 40 * 12 * KIB);
            let offset = (place >> 8) % end;
            if kind % 2 == 0 {
                let mut byte = [0];
                let _ = file.read_at(&mut byte, offset).unwrap();
                file.write_all_at(&[byte[0] ^ mask], offset).unwrap();
            } else {
                file.set_len(offset).unwrap();
            }
        }
        for _ in 0..2 {
            let cache = reopen(dir.path(), MIB);
            assert_within_cap(&cache, dir.path());
            for slot in &all {
                if let Some(brick) = cache.get(*slot) {
                    // A lost journal tail may claim the older brick, whose bytes are gone.
                    let expected = content(&slot.key, 0, 8999 - slot.key.index * 100);
                    prop_assert!(read(&brick) == expected, "wrong bytes in {}", slot.key);
                }
            }
            for slot in &all {
                put(&cache, *slot, 8999 - slot.key.index * 100).unwrap();
                assert!(cache.get(*slot).is_some());
            }
            assert_within_cap(&cache, dir.path());
        }
    }
}

/// A brick that somebody has gone back to is not evicted, replaced or released under them.
#[test]
fn a_brick_found_again_stays_while_it_is_held() {
    let (dir, cache) = open(200 * KIB);
    let (mine, other) = (slot(1, 0, 0, 100_000), slot(1, 0, 1, 100_000));
    drop(put(&cache, mine, 90_000).unwrap());
    assert!(cache.get_again(mine).is_none(), "this thread has not looked it up");
    drop(cache.get(mine).unwrap());
    let held = cache.get_again(mine).unwrap();
    assert!(matches!(put(&cache, mine, 90_000), Err(CacheError::Busy { .. })));
    drop(put(&cache, other, 90_000).unwrap());
    assert!(put(&cache, slot(1, 0, 2, 100_000), 90_000).is_ok(), "the other goes");
    assert!(cache.get_again(other).is_none() && cache.get(other).is_none());
    // Removed, it is there for who holds it, and goes with them.
    cache.remove_image(ImageId(1));
    assert!(cache.get_again(mine).is_none() && cache.get(mine).is_none());
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
                            find(cache, slot)
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
                            cache.remove_image(slot.key.image);
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
