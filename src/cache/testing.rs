//! What the tests of the cache share.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::disk::LocalDisk;
use super::{
    BrickCache, BrickKey, CacheError, CacheLimits, ImageId, MinFree, PinnedBrick, Slot,
    folder_name, journal,
};

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;

/// Charged for folders, lock and journal, whatever is in the cache.
pub(super) const FIXED: u64 = 19 * 4096 + journal::LEAST_BYTES;

pub(super) fn slot(image: u128, space: u16, index: u64, slot_bytes: u64) -> Slot {
    let key = BrickKey { image: ImageId(image), space, index };
    Slot { key, slot_bytes, is_proven: false }
}

/// Bytes that no other brick, and no other version of it, has at the same place.
pub(super) fn content(key: &BrickKey, version: u64, length: u64) -> Vec<u8> {
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

pub(super) fn read(brick: &PinnedBrick) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(brick.len()).unwrap()];
    brick.read_at(0, &mut bytes).unwrap();
    bytes
}

pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for image in fs::read_dir(private(dir).join("images")).into_iter().flatten() {
        for file in fs::read_dir(image.unwrap().path()).into_iter().flatten() {
            found.push(file.unwrap().path());
        }
    }
    found.sort();
    found
}

/// What `du` says: files and folders, the named one included.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    let meta = fs::symlink_metadata(path).unwrap();
    let inside = if meta.is_dir() { Some(fs::read_dir(path).unwrap()) } else { None };
    let inside = inside.into_iter().flatten().map(|entry| disk_bytes(&entry.unwrap().path()));
    meta.blocks() * 512 + inside.sum::<u64>()
}

pub(super) fn assert_within_cap(cache: &BrickCache, dir: &Path) {
    let stats = cache.stats();
    assert!(stats.used_bytes <= stats.cap_bytes, "{stats:?}");
    let disk = disk_bytes(dir);
    assert!(disk <= stats.used_bytes, "{disk} bytes on disk, {stats:?}");
}

pub(super) fn put(cache: &BrickCache, slot: Slot, length: u64) -> Result<PinnedBrick, CacheError> {
    cache.put(slot, &content(&slot.key, 0, length))
}

/// The folder of this format version.
pub(super) fn private(dir: &Path) -> PathBuf {
    dir.join(folder_name())
}

pub(super) fn has(cache: &BrickCache, slot: Slot, length: u64) -> bool {
    cache.get(slot).is_some_and(|brick| {
        assert_eq!(read(&brick), content(&slot.key, 0, length));
        true
    })
}

/// Opens the cache with room for this many bytes of bricks beside what is always charged.
pub(super) fn try_open(dir: &Path, room: u64) -> Result<Arc<BrickCache>, CacheError> {
    let limits = CacheLimits { cap_bytes: room + FIXED, min_free: MinFree::Bytes(0) };
    BrickCache::open(&LocalDisk, dir, limits)
}

pub(super) fn reopen(dir: &Path, room: u64) -> Arc<BrickCache> {
    try_open(dir, room).unwrap()
}

pub(super) fn open(room: u64) -> (TempDir, Arc<BrickCache>) {
    let dir = tempfile::tempdir().unwrap();
    let cache = reopen(dir.path(), room);
    (dir, cache)
}
