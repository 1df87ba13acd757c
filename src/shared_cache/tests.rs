use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::cache::ImageId;

fn open(folder: &Path) -> SharedCache {
    let config = SharedCacheConfig {
        address: Address::of_folder(folder),
        options: Options::default(),
        keeps: Shared::Computed,
    };
    SharedCache::open(&config, MemoryBudget::new(1 << 20), 1 << 20).expect("a folder")
}

fn key(index: u64) -> BrickKey {
    BrickKey { image: ImageId(5), space: 1, index }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn what_one_puts_the_other_gets_and_damage_is_a_miss() {
    let dir = tempfile::tempdir().expect("a folder");
    let bytes: Vec<u8> = (0..=255).collect();
    let first = open(dir.path());
    assert!(first.get(key(1), 256).is_none());
    first.put_soon(key(1), &Arc::new(bytes.clone().into()));
    first.finish();
    let stats = first.stats();
    assert_eq!((stats.misses, stats.puts, stats.dropped, stats.failed), (1, 1, 0, 0));

    let second = open(dir.path());
    assert_eq!(second.get(key(1), 256).expect("it is there")[..], bytes[..]);
    assert!(second.get(key(2), 256).is_none());
    let mut files = Vec::new();
    files_below(dir.path(), &mut files);
    assert_eq!(files.len(), 1, "{files:?}");
    let whole = fs::read(&files[0]).expect("the object");
    fs::write(&files[0], &whole[..whole.len() - 1]).expect("written");
    assert!(second.get(key(1), 256).is_none());
    fs::write(&files[0], vec![0; 100_000]).expect("written");
    assert!(second.get(key(1), 256).is_none());
    let stats = second.stats();
    assert_eq!((stats.hits, stats.misses, stats.damaged, stats.failed), (1, 1, 2, 0));
}

#[test]
fn a_failure_is_counted_and_followed_by_a_pause() {
    let dir = tempfile::tempdir().expect("a folder");
    let shared = open(dir.path());
    // A folder in place of an object is no object.
    let name = dir.path().join(object::name(key(1)));
    fs::create_dir_all(name).expect("a folder");
    shared.put_soon(key(1), &Arc::new(vec![1].into()));
    shared.finish();
    let stats = shared.stats();
    assert_eq!((stats.puts, stats.failed, stats.is_paused), (0, 1, true));
    assert!(shared.get(key(2), 1).is_none());
    assert_eq!(shared.stats().misses, 0, "nothing is asked");
    shared.put_soon(key(2), &Arc::new(vec![1].into()));
    assert_eq!(shared.stats().dropped, 1);
}
