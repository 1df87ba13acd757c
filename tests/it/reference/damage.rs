//! Stores that are damaged or vanish: a read gives the right bytes or fails, and nothing else.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use zarrims::image::ImageError;
use zarrims::source::SourceError;

use super::cases::{Case, Picks, any_case, large_case, run};
use super::eager::published;
use super::opened::{Brick, OnDisk, Opened, assert_same, slice};
use crate::common::rest::rest;
use crate::common::store::{Codec, Dtype, Format, StoreBuilder};

/// What happens to the file of a chunk.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// It loses its second half.
    Cut,
    /// It is there and empty.
    Empty,
    /// It keeps its length and nothing else.
    Overwritten,
}

impl Damage {
    fn pick(store: &StoreBuilder, picks: &mut Picks) -> Self {
        // Bytes that are neither compressed nor summed cannot be told from others.
        let raw = match store.format {
            Format::V2(_) => matches!(store.codec, Codec::None | Codec::Crc32c),
            Format::V3 => store.codec == Codec::None && store.shard.is_none(),
        };
        match picks.below(if raw { 2 } else { 3 }) {
            0 => Self::Cut,
            1 => Self::Empty,
            _ => Self::Overwritten,
        }
    }

    fn apply(self, path: &Path) {
        let mut bytes = fs::read(path).expect("a chunk file");
        match self {
            Self::Cut => bytes.truncate(bytes.len() / 2),
            Self::Empty => bytes.clear(),
            Self::Overwritten => bytes.fill(0xEE),
        }
        fs::write(path, bytes).expect("an own file");
    }
}

/// Invariant 7: exactly the reads that need a damaged chunk fail.
#[test]
fn a_damaged_chunk_fails_the_reads_that_need_it() {
    run("damage", 40, any_case(), damaged_chunk);
}

/// The same where many levels are built at once: what a pass gives up must not take others along.
#[test]
fn a_damaged_chunk_fails_no_other_brick_of_a_pass() {
    run("damaged pass", 16, large_case(), |Case { mut store, seed }| {
        store.coarsest_bytes = 2_000;
        store.steps.clear();
        damaged_chunk(Case { store, seed });
    });
}

fn damaged_chunk(Case { store, seed }: Case) {
    let on_disk = OnDisk::new(&store);
    let mut picks = Picks::new(seed);
    let image = on_disk.checked_image();
    let files = on_disk.chunk_files();
    if files.is_empty() {
        return;
    }
    let path = &files[picks.index(files.len())];
    let relative = path.strip_prefix(on_disk.path()).expect("below the store");
    let place = Chunk::of_file(&store, &relative.to_string_lossy());
    let healthy = fs::read(path).expect("a chunk file");
    let damage = Damage::pick(&store, &mut picks);
    damage.apply(path);
    // A shard that still has its index has its first chunks as well.
    let has_index = store.shard.is_some() && store.index_at_start;
    let may_be_whole = has_index && matches!(damage, Damage::Cut);

    let opened = on_disk.open([None, Some(4 << 20)][picks.index(2)]);
    let mut bricks = opened.bricks();
    picks.shuffle(&mut bricks);
    let check = |brick: &Brick| {
        let read = opened.try_read(brick.address, brick.bytes);
        match (place.needed_by(brick, &opened), read) {
            (Need::Yes, Ok(_)) if !may_be_whole => {
                panic!("{damage:?} {} was read for {brick:?}", relative.display())
            }
            (Need::Yes | Need::Perhaps, Err(_)) => {}
            (Need::No, Err(error)) => panic!("{brick:?} needs no {}: {error}", relative.display()),
            (_, Ok(bytes)) => {
                assert_same(slice(&image, brick.address, brick.bytes), &bytes, brick.address);
            }
        }
    };
    // All at once: passes over the same bricks meet.
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(brick) = bricks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(brick);
                }
            });
        }
    });
    bricks.iter().for_each(check);
    // Statistics leave out what cannot be read; the file can still be opened.
    opened.read(0, opened.file.plan().layout.metadata_bytes());
    drop(opened);
    fs::write(path, healthy).expect("an own file");
    let opened = on_disk.open(Some(4 << 20));
    for brick in &bricks {
        let expected = slice(&image, brick.address, brick.bytes);
        assert_same(expected, &opened.read(brick.address, brick.bytes), brick.address);
    }
}

/// An absent chunk reads as the fill value, and is not remembered as such: a microscope may be
/// about to write it.
#[test]
fn a_chunk_that_arrives_late_is_seen() {
    run("late", 12, any_case(), |Case { mut store, .. }| {
        store.left_out = 0;
        let on_disk = OnDisk::new(&store);
        let healthy = on_disk.checked_image();
        let path = on_disk.chunk_files().swap_remove(0);
        let bytes = fs::read(&path).expect("a chunk file");
        fs::remove_file(&path).expect("an own file");
        let early = on_disk.open(Some(64 << 20));
        early.whole();
        drop(early);
        fs::write(&path, bytes).expect("an own file");
        let late = on_disk.open(Some(64 << 20));
        assert_same(&healthy, &late.whole(), 0);
    });
}

/// Of a shard that lost its end, what is left is right and the rest fails.
#[test]
fn a_cut_shard_fails_for_the_chunks_it_lost() {
    // Time points never share a brick.
    let mut store = StoreBuilder::new(Dtype::U8, "tyx", &[4, 64, 64]);
    store.unit = vec![1, 64, 64];
    store.shard = Some(vec![4, 1, 1]);
    store.index_at_start = true;
    let on_disk = OnDisk::new(&store);
    let image = on_disk.checked_image();
    let files = on_disk.chunk_files();
    assert_eq!(files.len(), 1, "shards");
    Damage::Cut.apply(&files[0]);
    let opened = on_disk.open(None);
    let bricks = opened.bricks();
    assert_eq!(bricks.len(), 4, "bricks");
    let mut failed = 0;
    for brick in bricks {
        match opened.try_read(brick.address, brick.bytes) {
            Ok(bytes) => {
                assert_same(slice(&image, brick.address, brick.bytes), &bytes, brick.address);
            }
            Err(_) => failed += 1,
        }
    }
    // The index takes a little of the first half, so that only one chunk of two is whole there.
    assert_eq!(failed, 3, "chunks lost");
}

/// The voxels of a chunk or shard that the virtual file shows.
#[derive(Debug)]
struct Chunk {
    /// Level of the virtual file; `None` where it has no such level.
    level: Option<usize>,
    /// Along (t, c, z, y, x).
    voxels: [Range<u64>; 5],
}

impl Chunk {
    /// From the path of its file below the store.
    fn of_file(store: &StoreBuilder, path: &str) -> Self {
        let levels = published(store);
        let shapes = store.level_shapes();
        let chunk = store.chunk();
        let mut found = None;
        for (stored, shape) in shapes.iter().enumerate() {
            let grid: Vec<u64> = shape.iter().zip(&chunk).map(|(s, c)| s.div_ceil(*c)).collect();
            crate::common::store::each_position(&grid, &mut |position| {
                if store.chunk_path(stored, position) == path {
                    found = Some((stored, position.to_vec()));
                }
            });
        }
        let (stored, position) = found.expect("the file of a chunk");
        let level = levels.iter().position(|level| level.stored == Some(stored));
        let size = level.map_or([0; 3], |level| levels[level].size);
        let voxels = ['t', 'c', 'z', 'y', 'x'].map(|axis| {
            let Some(at) = store.axes.find(axis) else { return 0..1 };
            // The surplus of levels that were rounded up is not shown.
            let shown = match axis {
                'z' => size[0],
                'y' => size[1],
                'x' => size[2],
                _ => store.shape[at],
            };
            let start = position[at] * chunk[at];
            start.min(shown)..(start + chunk[at]).min(shown)
        });
        Self { level, voxels }
    }

    /// Whether it has voxels in a box of a level that is stored.
    fn is_in(&self, level: usize, [t, c]: [u64; 2], [z, y, x]: [Range<u64>; 3]) -> bool {
        self.level == Some(level)
            && self.voxels.iter().zip(&[t..t + 1, c..c + 1, z, y, x]).all(overlap)
    }

    /// Whether a brick needs any voxel of it.
    fn needed_by(&self, brick: &Brick, opened: &Opened) -> Need {
        let levels = &opened.file.plan().levels;
        let base = opened.file.plan().base(brick.level);
        let mut needed = brick.voxels.clone();
        // Bricks are made whole, also where a part of them is needed, or an odd plane is dropped.
        let mut made = brick.voxels.clone();
        for level in (base + 1..=brick.level).rev() {
            let above = &levels[level - 1];
            let halved = levels[level].halved(above);
            for axis in 0..3 {
                let step = if halved[axis] { 2 } else { 1 };
                let scaled = |range: &Range<u64>| range.start * step..range.end * step;
                needed[axis] = scaled(&needed[axis]);
                let Range { start, end } = scaled(&made[axis]);
                let side = above.brick[axis];
                made[axis] = start / side * side..end.next_multiple_of(side).min(above.size[axis]);
            }
        }
        if self.is_in(base, brick.tc, needed) {
            Need::Yes
        } else if self.is_in(base, brick.tc, made) {
            Need::Perhaps
        } else {
            Need::No
        }
    }
}

/// Whether a read needs a chunk.
enum Need {
    Yes,
    /// It lies in the same brick of the store as what is needed.
    Perhaps,
    No,
}

fn overlap((a, b): (&Range<u64>, &Range<u64>)) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

/// How a store goes away.
#[derive(Debug, Clone, Copy)]
enum Removal {
    /// The folder gets another name, or another place.
    Renamed,
    /// All files are deleted, all folders stay.
    Emptied,
    /// The folder is deleted.
    Deleted,
}

/// Invariant 7: a store that is gone has no chunks, which does not mean that it is empty.
#[test]
fn a_removed_store_never_reads_as_empty() {
    run("removed", 30, any_case(), |Case { store, seed }| {
        let on_disk = OnDisk::new(&store);
        let image = on_disk.open(None).whole();
        let mut picks = Picks::new(seed);
        let opened = on_disk.open([None, Some(64 << 20)][picks.index(2)]);
        let bricks = opened.bricks();
        // A computed brick may come from cached bricks.
        let stored: Vec<&Brick> = bricks.iter().filter(|brick| !brick.is_computed).collect();
        let known = stored[picks.index(stored.len())];
        let right = |brick: &Brick, bytes: &[u8]| {
            assert_same(slice(&image, brick.address, brick.bytes), bytes, brick.address);
        };
        right(known, &opened.read(known.address, known.bytes));

        let removal = [Removal::Renamed, Removal::Emptied, Removal::Deleted][picks.index(3)];
        let away = on_disk.elsewhere("away.zarr");
        match removal {
            Removal::Renamed => fs::rename(on_disk.path(), &away).expect("an own folder"),
            Removal::Deleted => fs::remove_dir_all(on_disk.path()).expect("an own folder"),
            Removal::Emptied => remove_files(&on_disk.path()),
        }
        right(known, &opened.read(known.address, known.bytes));
        for brick in &bricks {
            match opened.try_read(brick.address, brick.bytes) {
                Ok(bytes) if brick.is_computed => right(brick, &bytes),
                Err(_) if brick.is_computed => {}
                read => {
                    let produced = brick.address == known.address;
                    assert_eq!(read.is_ok(), produced, "{removal:?}, then {brick:?}");
                }
            }
        }
        let metadata_bytes = opened.file.plan().layout.metadata_bytes();
        if let Ok(bytes) = opened.try_read(0, metadata_bytes) {
            // All its voxels are known.
            assert!(stored.len() == 1, "{removal:?}, then the metadata");
            assert_same(slice(&image, 0, metadata_bytes), &bytes, 0);
        }

        if matches!(removal, Removal::Renamed) {
            // A reader that joins a fill begun without the store would share its error.
            while opened.engine.stats().in_flight > 0 {
                thread::yield_now();
            }
            fs::rename(away, on_disk.path()).expect("an own folder");
            assert_same(&image, &opened.whole(), 0);
        }
    });
}

fn remove_files(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            remove_files(&path);
        } else {
            fs::remove_file(path).expect("an own file");
        }
    }
}

/// Computed levels under one level of the store, one chunk of which is taken away.
fn sparse_pyramid() -> (OnDisk, Vec<u8>, std::path::PathBuf, Vec<u8>) {
    let mut store = StoreBuilder::new(Dtype::U16, "zyx", &[24, 70, 90]);
    store.unit = vec![8, 16, 32];
    store.codec = Codec::BloscLz4;
    store.coarsest_bytes = 2_000;
    let on_disk = OnDisk::new(&store);
    let healthy = on_disk.checked_image();
    let path = on_disk.chunk_files().swap_remove(0);
    let bytes = fs::read(&path).expect("a chunk file");
    fs::remove_file(&path).expect("an own file");
    rest(&on_disk.path());
    (on_disk, healthy, path, bytes)
}

/// Levels of a store at rest are kept although a chunk is absent, and made again once it has come.
#[test]
fn computed_levels_of_sparse_stores_are_kept_and_follow_their_chunks() {
    let (on_disk, healthy, path, bytes) = sparse_pyramid();
    let read_computed = |opened: &Opened| {
        let bricks = opened.bricks();
        let computed = bricks.iter().filter(|brick| brick.is_computed);
        computed.map(|brick| opened.read(brick.address, brick.bytes)).collect::<Vec<_>>()
    };
    let first = on_disk.open(Some(64 << 20));
    let sparse = read_computed(&first);
    assert!(!sparse.is_empty() && first.engine.stats().filled > 0);
    drop(first);
    let again = on_disk.open(Some(64 << 20));
    assert_eq!(read_computed(&again), sparse);
    assert_eq!(again.engine.stats().filled, 0, "computed levels made again");
    drop(again);

    fs::write(&path, bytes).expect("an own file");
    rest(&on_disk.path());
    let late = on_disk.open(Some(64 << 20));
    let size = late.file.size();
    let metadata_bytes = late.file.plan().layout.metadata_bytes();
    // Statistics are the same in the end; here the voxels count.
    let got = late.read(metadata_bytes, size - metadata_bytes);
    assert_same(slice(&healthy, metadata_bytes, size), &got, metadata_bytes);
    assert_ne!(read_computed(&late), sparse);
}

/// An opening keeps to the state it began with: a chunk that comes later is absent to the end, in the
/// store's own levels and in computed ones. The next opening has it everywhere.
#[test]
fn an_opening_keeps_to_what_was_there() {
    let (on_disk, healthy, path, bytes) = sparse_pyramid();
    let sparse = on_disk.open(None).whole();
    let opened = on_disk.open(Some(64 << 20));
    let bricks = opened.bricks();
    opened.read(bricks[0].address, bricks[0].bytes);
    fs::write(&path, bytes).expect("an own file");
    assert_same(&sparse, &opened.whole(), 0);
    drop(opened);
    rest(&on_disk.path());
    assert_same(&healthy, &on_disk.open(Some(64 << 20)).whole(), 0);
}

/// A chunk that was there when the file was opened and is rewritten or deleted: what was produced is
/// still served, all else is an error, and the next opening has the new state. Nowhere are there
/// bytes of two states.
#[test]
fn regression_rewritten_and_deleted_chunks_are_noticed() {
    for [deleted, known_before] in [[false; 2], [true, false], [false, true], [true; 2]] {
        let (on_disk, healthy, path, bytes) = sparse_pyramid();
        fs::write(&path, &bytes).expect("an own file");
        rest(&on_disk.path());
        let opened = on_disk.open(Some(64 << 20));
        let bricks = opened.bricks();
        // The chunk lies in the first brick.
        let last = bricks.iter().rfind(|brick| !brick.is_computed).expect("a brick");
        let known = if known_before { &bricks[0] } else { last };
        opened.read(known.address, known.bytes);
        if deleted {
            fs::remove_file(&path).expect("an own file");
        } else {
            // In place, and with the time it had.
            let modified = fs::metadata(&path).and_then(|meta| meta.modified()).expect("a time");
            fs::write(&path, vec![7; bytes.len()]).expect("an own file");
            let file = fs::File::options().write(true).open(&path).expect("an own file");
            file.set_modified(modified).expect("an own file");
        }
        let mut failed = 0;
        for brick in &bricks {
            match opened.try_read(brick.address, brick.bytes) {
                Ok(got) => {
                    let expected = slice(&healthy, brick.address, brick.bytes);
                    assert_same(expected, &got, brick.address);
                }
                Err(ImageError::Source(error)) => {
                    assert!(matches!(*error, SourceError::Changed { .. }), "{error}");
                    failed += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(failed == 0, known_before);
        opened.read(known.address, known.bytes);
        drop(opened);
        rest(&on_disk.path());
        let fresh = on_disk.open(None);
        let again = on_disk.open(Some(64 << 20));
        for brick in &bricks {
            let expected = fresh.try_read(brick.address, brick.bytes);
            let got = again.try_read(brick.address, brick.bytes);
            match (expected, got) {
                (Ok(expected), Ok(got)) => assert_same(&expected, &got, brick.address),
                (Err(_), Err(_)) => assert!(!deleted, "an absent chunk is no error"),
                (expected, got) => panic!("{:?} and {:?}", expected.is_ok(), got.is_ok()),
            }
        }
    }
}

/// A chunk that is rewritten gives other computed levels at the next opening.
#[test]
fn rewritten_chunks_give_other_levels() {
    let (on_disk, healthy, path, bytes) = sparse_pyramid();
    fs::write(&path, &bytes).expect("an own file");
    rest(&on_disk.path());
    let first = on_disk.open(Some(64 << 20));
    first.whole();
    drop(first);
    // Its neighbour's voxels: other numbers of the same kind.
    let other = on_disk.chunk_files().swap_remove(1);
    fs::copy(&other, &path).expect("an own file");
    rest(&on_disk.path());
    let second = on_disk.open(Some(64 << 20));
    let changed = second.bricks().into_iter().filter(|brick| brick.is_computed).any(|brick| {
        let got = second.read(brick.address, brick.bytes);
        got != slice(&healthy, brick.address, brick.bytes)
    });
    assert!(changed, "computed levels are those of before");
}
