//! Many readers at once, and readers after a restart.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Barrier;

use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;
use zarrims::image::ImageOptions;

use crate::common::ims::Ims;
use crate::common::library::Library;
use crate::common::mount::{Mount, can_mount, summary};
use crate::common::rest::rest;
use crate::common::tiny::Tiny;

const READERS: usize = 200;

/// What is read at once.
const BLOCK: usize = 128 << 10;

/// Several bricks of several chunks; sides that no power of two divides.
const IMAGE: Tiny = Tiny { shape: [50, 251, 133], chunk: [25, 128, 133], seed: 7 };

fn source() -> TempDir {
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    IMAGE.write(&source.path().join("a.zarr"));
    rest(source.path());
    source
}

/// How many bricks and records the virtual file has, from its plan.
fn bricks_and_records(source: &Path) -> u64 {
    let file = Library::of(source, ImageOptions::default()).file("a.zarr");
    let levels = file.plan().layout.levels();
    let bricks = levels.iter().map(|level| level.bricks.bricks().iter().product::<u64>());
    bricks.sum::<u64>() + file.records()
}

/// Reads a file past the page cache, beginning at some block, and hashes it in the order of its bytes.
fn hash_from(path: &Path, start: usize) -> (u64, usize) {
    // Without the page cache between, every reader asks the daemon itself.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).expect("open");
    let size = usize::try_from(file.metadata().expect("attributes").len()).expect("64 bits");
    let blocks = size.div_ceil(BLOCK);
    let mut bytes = vec![0; size];
    for i in 0..blocks {
        let at = (start + i) % blocks * BLOCK;
        let end = (at + BLOCK).min(size);
        file.read_exact_at(&mut bytes[at..end], at as u64).expect("a read");
    }
    (xxh3_64(&bytes), size)
}

#[test]
fn many_readers_of_one_brick_cause_one_fill() {
    if !can_mount() {
        return;
    }
    let source = source();
    let wanted = bricks_and_records(source.path());
    assert!(wanted > 4, "one brick and three records are too few to tell");
    let mount = Mount::of(source.path()).start();
    let path = mount.path().join("a.ims");
    let barrier = Barrier::new(READERS);
    let found: Vec<(u64, usize)> = std::thread::scope(|scope| {
        let read = |number: usize| {
            let (barrier, path) = (&barrier, &path);
            // Half of them in step, half of them from everywhere.
            let start = if number.is_multiple_of(2) { 0 } else { number };
            move || {
                barrier.wait();
                hash_from(path, start)
            }
        };
        let readers: Vec<_> = (0..READERS).map(|number| scope.spawn(read(number))).collect();
        readers.into_iter().map(|reader| reader.join().expect("a reader")).collect()
    });
    assert!(found.iter().all(|one| *one == found[0]), "readers got different bytes");
    // Right bytes, not only equal ones: read without the mount, so that nothing here keeps it busy.
    let scratch = TempDir::new().expect("a temporary folder");
    let copy = scratch.path().join("copy.ims");
    fs::copy(&path, &copy).expect("a copy");
    let copied = fs::read(&copy).expect("readable");
    assert_eq!((xxh3_64(&copied), copied.len()), found[0]);
    let pixels = Ims::open(&copy).and_then(|ims| ims.pixels(0, 0, 0)).expect("readable");
    assert!(pixels == IMAGE.pixels(), "pixels differ");
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert_eq!(summary(&stderr, "filled"), wanted, "{stderr:#?}");
    assert_eq!(summary(&stderr, "failed"), 0);
}

#[test]
fn a_restart_serves_from_the_cache() {
    if !can_mount() {
        return;
    }
    let source = source();
    let cache = TempDir::with_prefix("zarrims-cache-").expect("a temporary folder");
    let read = || {
        let mount = Mount::of(source.path()).cache(cache.path()).start();
        let bytes = fs::read(mount.path().join("a.ims")).expect("readable");
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
        (bytes, summary(&stderr, "filled"))
    };
    let (first, filled) = read();
    assert_eq!(filled, bricks_and_records(source.path()));
    let (second, filled) = read();
    assert!(first == second, "other bytes after a restart");
    assert_eq!(filled, 0, "filled again after a restart");
    // Equal bytes from an empty cache as well.
    let mount = Mount::of(source.path()).start();
    assert!(fs::read(mount.path().join("a.ims")).expect("readable") == first);
}

#[test]
fn a_changed_store_is_not_served_from_the_cache() {
    if !can_mount() {
        return;
    }
    let source = source();
    let cache = TempDir::with_prefix("zarrims-cache-").expect("a temporary folder");
    let pixels = || {
        let mount = Mount::of(source.path()).cache(cache.path()).start();
        let scratch = TempDir::new().expect("a temporary folder");
        let copy = scratch.path().join("copy.ims");
        fs::copy(mount.path().join("a.ims"), &copy).expect("a copy");
        Ims::open(&copy).and_then(|ims| ims.pixels(0, 0, 0)).expect("readable")
    };
    assert!(pixels() == IMAGE.pixels(), "pixels differ");
    let other = Tiny { seed: 8, ..IMAGE };
    fs::remove_dir_all(source.path().join("a.zarr")).expect("a store");
    other.write(&source.path().join("a.zarr"));
    assert!(pixels() == other.pixels(), "pixels of the store that was there before");
}
