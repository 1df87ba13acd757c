//! The invariants of virtual files (`doc/DESIGN.md`), on random stores.
//!
//! Every property compares with something built the slow, obvious way: voxels with a formula, bytes
//! with an eager reference image, whole files with what libhdf5 reads. A failing run prints the
//! seed that repeats it; counter-examples found so far are the tests named `regression_*`.

pub(crate) mod cases;
mod damage;
pub(crate) mod eager;
pub(crate) mod hdf5;
mod libhdf5;
pub(crate) mod opened;
mod regressions;

use std::fs;
use std::sync::Barrier;
use std::thread;

use zarrims::image::{ChunkShape, ImageOptions};

use crate::common::store::StoreBuilder;
use cases::{Case, Picks, any_case, large_case, run, small_case};
use opened::{Brick, OnDisk, Opened, assert_same, slice};

/// Invariant 1: whatever the pieces and their order, the bytes are the same.
#[test]
fn any_split_of_reads_gives_the_same_bytes() {
    run("split", 40, any_case(), splits_agree);
}

fn splits_agree(Case { store, seed }: Case) {
    let on_disk = OnDisk::new(&store);
    let mut picks = Picks::new(seed);
    let whole = on_disk.open(None).whole();
    let size = whole.len() as u64;

    // A file that has produced nothing yet, and forgets most of what it produces.
    let opened = on_disk.open(Some(size / 2));
    let mut cuts: Vec<u64> = (0..40).map(|_| picks.below(size)).chain([0, size]).collect();
    cuts.sort_unstable();
    let mut pieces: Vec<[u64; 2]> = cuts.windows(2).map(|cut| [cut[0], cut[1]]).collect();
    picks.shuffle(&mut pieces);
    for [start, end] in pieces {
        assert_same(slice(&whole, start, end - start), &opened.read(start, end - start), start);
    }

    let opened = on_disk.open(None);
    for border in borders(&opened, &mut picks) {
        for offset in border.saturating_sub(2)..(border + 2).min(size) {
            assert_same(slice(&whole, offset, 1), &opened.read(offset, 1), offset);
        }
        let start = border.saturating_sub(1000);
        assert_same(slice(&whole, start, 2000), &opened.read(start, 2000), start);
    }
    ends_of_the_file(&opened, &whole);
}

/// Where one kind of bytes ends and another begins; at most 60 of them.
fn borders(opened: &Opened, picks: &mut Picks) -> Vec<u64> {
    let mut borders = vec![0];
    let mut at = 0;
    while let Some((_, run)) = opened.file.plan().layout.locate(at) {
        at += run;
        borders.push(at);
    }
    assert_eq!(at, opened.file.size(), "extents end where the file ends");
    picks.shuffle(&mut borders);
    borders.truncate(60);
    borders
}

/// Reads over the end are short; behind the end there is nothing.
fn ends_of_the_file(opened: &Opened, whole: &[u8]) {
    let size = whole.len() as u64;
    for (offset, len) in [(size - 10, 100), (size - 70_000, u64::MAX), (0, u64::MAX)] {
        assert_same(slice(whole, offset, len), &opened.read(offset, len), offset);
    }
    for offset in [size, size + 1, size + 5000, i64::MAX.unsigned_abs(), u64::MAX] {
        assert_eq!(opened.read(offset, 1000), [0; 0], "behind the end, at {offset}");
    }
    assert_eq!(opened.read(size / 2, 0), [0; 0], "a read of nothing");
}

/// Invariant 3: the bytes are those of the eager reference image, with any cache, any order of
/// evictions, and a restart in between.
#[test]
fn bytes_equal_the_eager_reference_image() {
    run("eager", 60, any_case(), equals_the_reference_image);
}

fn equals_the_reference_image(Case { store, seed }: Case) {
    let on_disk = OnDisk::new(&store);
    let image = on_disk.checked_image();
    let size = image.len() as u64;
    let mut picks = Picks::new(seed);
    let bricks = on_disk.open(None).bricks();
    let one_brick = bricks[picks.index(bricks.len())].bytes + (64 << 10);
    let room = [one_brick, size / 3, size, everything(size)][picks.index(4)];
    // Folders, the lock and the journal count as well.
    let cap = room + (128 << 10);
    for _ in 0..2 {
        let opened = on_disk.open(Some(cap));
        for _ in 0..40 {
            let brick = &bricks[picks.index(bricks.len())];
            let within = picks.below(brick.bytes);
            let (offset, len) = match picks.below(4) {
                0 => (picks.below(size), picks.below(size)),
                1 => (brick.address, brick.bytes),
                2 => (brick.address + within, 1),
                _ => (brick.address + within, picks.below(brick.bytes)),
            };
            assert_same(slice(&image, offset, len), &opened.read(offset, len), offset);
            opened.assert_within_cap();
        }
    }
    assert_same(&image, &on_disk.open(Some(cap)).whole(), 0);
}

/// Runs through a file are followed: the bytes are the same, and no brick is made twice or for nothing.
#[test]
fn readers_who_run_are_followed_with_the_right_bytes() {
    run("runs", 24, any_case(), runs_are_followed);
}

fn runs_are_followed(Case { store, seed }: Case) {
    let on_disk = OnDisk::new(&store);
    let image = on_disk.checked_image();
    let mut picks = Picks::new(seed);
    let bricks = on_disk.open(None).bricks();
    // In the order of the file, in pieces that do not care for borders.
    let opened = on_disk.open(Some(everything(image.len() as u64)));
    let mut at = 0;
    while at < image.len() as u64 {
        let len = 1 + picks.below(40_000);
        assert_same(slice(&image, at, len), &opened.read(at, len), at);
        at += len;
    }
    let filled = opened.engine.stats().filled;
    let most = bricks.len() as u64 + opened.file.records();
    assert!(filled <= most, "{filled} for {most} bricks and records");
    drop(opened);
    // Backwards, and in steps, from a cache too small for it.
    for (step, is_back) in [(1, true), (2, false), (3, true)] {
        let opened = on_disk.open(Some(everything(0)));
        let mut way: Vec<_> = bricks.iter().step_by(step).collect();
        if is_back {
            way.reverse();
        }
        for brick in way {
            let read = opened.read(brick.address, brick.bytes);
            assert_same(slice(&image, brick.address, brick.bytes), &read, brick.address);
            opened.assert_within_cap();
        }
    }
}

/// `--chunk`: whatever the shape, each level has it, and libhdf5 and the eager reference image agree on every
/// voxel; also through a small cache, in pieces.
#[test]
fn any_shape_of_chunks_has_the_same_voxels() {
    run("chunks", 32, any_case(), |Case { store, seed }| {
        let on_disk = OnDisk::new(&store);
        let mut picks = Picks::new(seed);
        let longest = [2, 9, 40, 200][picks.index(4)];
        let chunk: [u64; 3] = std::array::from_fn(|_| 1 + picks.below(longest));
        println!("chunks of {chunk:?}");
        let options = ImageOptions { chunk: ChunkShape::Given(chunk), ..ImageOptions::default() };
        if on_disk.open_with(None, options).file.size() > 32 << 20 {
            // A page for each chunk is more than a test has time for.
            return;
        }
        let image = on_disk.checked_image_with(options);
        let copy = on_disk.elsewhere("copy.ims");
        fs::write(&copy, &image).expect("room for a small file");
        libhdf5::check(&copy, &store);
        let file = hdf5_metno::File::open(&copy).expect("libhdf5 opens the file");
        for (level, published) in eager::published(&store).iter().enumerate() {
            let dataset = file.dataset(&eager::data_path(level, 0, 0)).expect("a data set");
            let found: Vec<u64> =
                dataset.chunk().expect("chunks").iter().map(|side| *side as u64).collect();
            let expected: Vec<u64> =
                (0..3).map(|axis| chunk[axis].min(published.size[axis])).collect();
            assert_eq!(found, expected, "level {level}");
        }
        let size = image.len() as u64;
        let opened = on_disk.open_with(Some(size / 2 + (128 << 10)), options);
        for _ in 0..40 {
            let (offset, len) = (picks.below(size), picks.below(size / 4));
            assert_same(slice(&image, offset, len), &opened.read(offset, len), offset);
            opened.assert_within_cap();
        }
    });
}

/// A cache size that holds a whole file.
fn everything(file_bytes: u64) -> u64 {
    file_bytes * 2 + (16 << 20)
}

/// What one run has produced the next one finds, and nothing else than what was produced. Chunks
/// that were absent are another matter: `damage::a_chunk_that_arrives_late_is_seen`.
#[test]
fn a_restart_produces_nothing_again() {
    run("restart", 16, any_case(), |Case { mut store, .. }| {
        store.left_out = 0;
        let on_disk = OnDisk::new(&store);
        crate::common::rest::rest(&on_disk.path());
        let cap = Some(everything(on_disk.open(None).file.size()));
        let first = on_disk.open(cap);
        let image = first.whole();
        let made = first.bricks().len() as u64 + first.file.records();
        assert_eq!(first.engine.stats().filled, made);
        drop(first);
        let second = on_disk.open(cap);
        assert_same(&image, &second.whole(), 0);
        assert_eq!(second.engine.stats().filled, 0, "bricks produced after the restart");
    });
}

/// Invariant 4: a copy of the file is an HDF5 file, and libhdf5 reads every voxel of it.
#[test]
fn libhdf5_reads_every_voxel() {
    run("libhdf5", 60, any_case(), |Case { store, .. }| {
        libhdf5_agrees(&store);
    });
}

fn libhdf5_agrees(store: &StoreBuilder) {
    let on_disk = OnDisk::new(store);
    let copy = on_disk.elsewhere("copy.ims");
    fs::write(&copy, on_disk.open(None).whole()).expect("room for a small file");
    libhdf5::check(&copy, store);
}

/// Invariant 2: the size follows from the metadata alone and never changes.
#[test]
fn the_size_is_constant_and_needs_no_voxel() {
    run("size", 24, small_case(), |Case { store, .. }| {
        let on_disk = OnDisk::new(&store);
        let opened = on_disk.open(None);
        let size = opened.file.size();
        assert_eq!(opened.engine.stats().filled, 0, "bricks produced by opening");
        assert_eq!(opened.whole().len() as u64, size);
        assert_eq!(opened.file.size(), size, "after everything was read");
        assert_eq!(on_disk.open(None).file.size(), size, "opened again");
        for chunk in on_disk.chunk_files() {
            fs::remove_file(chunk).expect("an own file");
        }
        let bare = on_disk.open(None);
        assert_eq!(bare.file.size(), size, "without a chunk");
        assert_eq!(bare.whole().len() as u64, size, "every voxel is the fill value");
    });
}

/// Invariant 6: one brick is produced once, however many ask for it at the same time.
#[test]
fn concurrent_readers_cause_one_fill() {
    const READERS: usize = 8;
    run("concurrent", 16, large_case(), |Case { store, seed }| {
        let on_disk = OnDisk::new(&store);
        let image = on_disk.open(None).whole();
        let opened = on_disk.open(Some(everything(image.len() as u64)));
        let bricks = opened.bricks();
        // A brick of a computed level is made from others.
        let stored: Vec<&Brick> = bricks.iter().filter(|brick| !brick.is_computed).collect();
        let first = stored[Picks::new(seed).index(stored.len())];
        // All at the same brick, then all through the whole file.
        let all = bricks.len() as u64 + opened.file.records();
        for (offset, len, filled) in [(first.address, first.bytes, 1), (0, opened.file.size(), all)]
        {
            let start = Barrier::new(READERS);
            thread::scope(|scope| {
                for _ in 0..READERS {
                    scope.spawn(|| {
                        start.wait();
                        assert_same(slice(&image, offset, len), &opened.read(offset, len), offset);
                    });
                }
            });
            assert_eq!(opened.engine.stats().filled, filled, "bricks produced");
        }
    });
}
