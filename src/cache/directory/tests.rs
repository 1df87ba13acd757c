use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::CacheError;
use super::super::disk::{Disk, LocalDisk};
use super::super::testing::{
    MIB, assert_within_cap, files, open, private, put, reopen, slot, try_open,
};

#[test]
fn everything_is_private_to_the_owner() {
    let (dir, cache) = open(MIB);
    put(&cache, slot(1, 0, 0, 4096), 4096).unwrap();
    let root = private(dir.path());
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
fn other_versions_are_removed_and_their_owners_respected() {
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
    fs::remove_file(private(dir.path()).join("lock")).unwrap();
    assert!(matches!(try_open(dir.path(), MIB), Err(CacheError::InUse { .. })));
}
