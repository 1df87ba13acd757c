use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::super::ImageId;
use super::super::testing::{
    FIXED, KIB, MIB, assert_within_cap, files, has, open, private, put, reopen, slot,
};

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
    let images = private(dir.path()).join("images");
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
    fs::write(private(dir.path()).join("journal"), b"something else").unwrap();
    let cache = reopen(dir.path(), MIB);
    assert_eq!(cache.stats().used_bytes, FIXED);
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    put(&cache, slot(1, 0, 0, 32 * KIB), 1000).unwrap();
}
