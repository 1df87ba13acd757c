//! Where chunks of the finest level lie in a virtual file.

use std::ops::Range;

use zarrims::image::ImageOptions;

use crate::measure::common::library::Library;
use crate::measure::common::picks::Picks;
use crate::measure::stores::{STORE, Store};

/// A chunk of the virtual file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    /// Its voxels, as ranges in the order of the array.
    pub(crate) ranges: Vec<Range<u64>>,
}

/// Chunks of the finest level of a virtual file.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) places: Vec<Place>,
    /// Bytes of a chunk.
    pub(crate) len: usize,
}

/// A chunk at a random place in each of `count` different bricks of the finest level, or in all bricks
/// if there are fewer.
pub(crate) fn random(store: &Store, count: usize, seed: u64) -> Places {
    let library = Library::of(&store.source, ImageOptions::default());
    let file = library.file(STORE);
    let plan = file.plan();
    let level = &plan.levels[0];
    let bricks = &plan.layout.levels()[0].bricks;
    let outer = &store.declared.shape[..store.declared.shape.len() - 3];
    let per_dataset: u64 = bricks.bricks().iter().product();
    let datasets: u64 = outer.iter().product();
    let mut picks = Picks::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut numbers: Vec<u64> = (0..per_dataset * datasets).collect();
    picks.shuffle(&mut numbers);
    numbers.truncate(count);
    let place = |number: &u64| {
        let (dataset, brick) = (number / per_dataset, number % per_dataset);
        let chunk =
            bricks.brick_box(brick).map(|range| range.start + picks.below(range.end - range.start));
        let mut ranges: Vec<_> =
            crate::measure::stores::position(outer, dataset).iter().map(|at| *at..at + 1).collect();
        ranges.extend((0..3).map(|axis| {
            let start = chunk[axis] * level.chunk[axis];
            start..(start + level.chunk[axis]).min(level.size[axis])
        }));
        Place { offset: plan.layout.chunk_address(0, dataset, chunk), ranges }
    };
    let places = numbers.iter().map(place).collect();
    let len = level.chunk.iter().product::<u64>() * store.declared.voxel_bytes();
    Places { places, len: usize::try_from(len).expect("64 bits") }
}

/// The bytes of one level, coarsest level 0 last, and the number of its bricks.
pub(crate) fn level(store: &Store, level: usize) -> (Range<u64>, u64) {
    let library = Library::of(&store.source, ImageOptions::default());
    let file = library.file(STORE);
    let layout = &file.plan().layout;
    let outer = &store.declared.shape[..store.declared.shape.len() - 3];
    let datasets: u64 = outer.iter().product();
    let start = layout.chunk_address(level, 0, [0; 3]);
    let planned = &layout.levels()[level];
    let bricks = planned.bricks.bricks().iter().product::<u64>() * datasets;
    (start..start + planned.data_bytes() * datasets, bricks)
}

/// Number of levels, all of which the store must hold.
pub(crate) fn assert_stored(store: &Store) {
    let library = Library::of(&store.source, ImageOptions::default());
    let file = library.file(STORE);
    let levels = &file.plan().levels;
    assert_eq!(levels.len(), store.declared.levels().len(), "{}: levels", store.kind.name);
    let stored = |level: &zarrims::image::plan::PlannedLevel| {
        matches!(level.origin, zarrims::image::LevelOrigin::Stored(_))
    };
    assert!(levels.iter().all(stored), "{}: a level is computed", store.kind.name);
}
