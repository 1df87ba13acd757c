use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use super::super::disk::LocalDisk;
use super::super::testing::{MIB, content, read, slot};
use super::super::{CacheLimits, Health, MinFree, Slot, SteadyCache};

fn open(path: &Path) -> SteadyCache {
    let limits = CacheLimits { cap_bytes: MIB, min_free: MinFree::Bytes(0) };
    SteadyCache::open(Arc::new(LocalDisk), path, limits).unwrap()
}

/// Stores a brick as soon as the cache takes one. No time is asserted: it is tried until it works.
fn put_in_the_end(cache: &SteadyCache, slot: Slot, bytes: &[u8]) {
    let mut tries = 0;
    while !cache.put(slot, bytes) {
        tries += 1;
        assert!(tries < 100_000_000, "the cache never came back");
        thread::yield_now();
    }
    assert_eq!(cache.health(), Health::Works);
}

#[test]
fn a_steady_cache_begins_again_when_its_directory_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let cache = open(&path);
    let target = slot(1, 0, 0, 4096);
    let bytes = content(&target.key, 0, 4096);
    assert!(cache.put(target, &bytes));
    let pinned = cache.get(target).unwrap();
    assert_eq!(cache.health(), Health::Works);
    fs::remove_dir_all(&path).unwrap();
    assert!(!cache.put(slot(2, 0, 0, 4096), &bytes));
    let Health::Gone(outage) = cache.health() else { panic!("{:?}", cache.health()) };
    assert!(outage.reason.contains("segment"), "{outage:?}");
    assert!(cache.get(target).is_none());
    put_in_the_end(&cache, target, &bytes);
    assert_eq!(read(&cache.get(target).unwrap()), bytes);
    assert_eq!(read(&pinned), bytes);
    // What was pinned in the old folder does nothing to the new one.
    drop(pinned);
    assert_eq!(read(&cache.get(target).unwrap()), bytes);
    assert_eq!((cache.stats().stored, cache.stats().bricks), (2, 1));
}

#[test]
fn a_steady_cache_begins_without_a_folder_and_takes_bricks_once_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    fs::write(&path, "a file in its place").unwrap();
    let cache = open(&path);
    let Health::Failing(outage) = cache.health() else { panic!("{:?}", cache.health()) };
    assert!(outage.next_try > outage.since);
    let target = slot(1, 0, 0, 4096);
    let bytes = content(&target.key, 0, 4096);
    assert!(!cache.put(target, &bytes) && cache.get(target).is_none());
    assert!(!cache.put_note("a", b"text") && cache.note("a").is_none());
    fs::remove_file(&path).unwrap();
    put_in_the_end(&cache, target, &bytes);
    assert_eq!(read(&cache.get(target).unwrap()), bytes);
    assert!(cache.put_note("a", b"text"));
    assert_eq!(cache.note("a").as_deref(), Some(&b"text"[..]));
}
