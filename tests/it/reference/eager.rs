//! The eager reference image: what a virtual file must hold, built the slow, obvious way.

use super::hdf5::Hdf5;
use crate::common::store::{Step, StoreBuilder};

/// A level that the Imaris file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// Which level of the store; `None` where it is computed from the level above.
    pub(crate) stored: Option<usize>,
    /// Size in the file, (z, y, x): every half rounded down.
    pub(crate) size: [u64; 3],
}

/// How often a step halves an axis of a length.
pub(crate) fn halvings(step: Step, length: u64) -> u32 {
    match step {
        Step::Keep => 0,
        Step::FloorHalf | Step::CeilHalf => u32::from(length > 1),
        Step::Quarter => 2.min(length.ilog2()),
    }
}

/// The levels an Imaris file of the store has, from what the builder did to the axes.
pub(crate) fn published(store: &StoreBuilder) -> Vec<Published> {
    let mut stored = ['z', 'y', 'x'].map(|axis| store.length(&store.shape, axis));
    let shapes = store.level_shapes();
    let mut size = stored;
    let mut levels = vec![Published { stored: Some(0), size }];
    for (number, steps) in (1..).zip(&store.steps) {
        let mut left = [0; 3];
        for (slot, axis) in ['z', 'y', 'x'].into_iter().enumerate() {
            if let Some(at) = store.axes.find(axis) {
                left[slot] = halvings(steps[at], stored[slot]);
                stored[slot] = shapes[number][at];
            }
        }
        let last: [u64; 3] = std::array::from_fn(|axis| (size[axis] >> left[axis]).max(1));
        // Planes of one row or column no reader takes, and no later level has more.
        if last[1] < 2 || last[2] < 2 {
            break;
        }
        // Equal levels say nothing new.
        if left == [0; 3] {
            continue;
        }
        // An axis halved once on the way to one halved twice is halved where the maker would.
        if left.contains(&2) {
            let makers = makers_halves(size);
            for axis in 0..3 {
                if left[axis] == 2 || (left[axis] == 1 && makers[axis]) {
                    size[axis] = (size[axis] / 2).max(1);
                }
            }
            levels.push(Published { stored: None, size });
        }
        size = last;
        levels.push(Published { stored: Some(number), size });
    }
    let limit = store.coarsest_bytes / store.dtype.imaris_bytes() as u64;
    loop {
        let makers = makers_halves(size);
        let mut below = size;
        for axis in 0..3 {
            let is_thin = axis > 0 && size[axis] < 4;
            if makers[axis] && !is_thin {
                below[axis] = size[axis] / 2;
            }
        }
        if size.iter().product::<u64>() <= limit || below == size {
            return levels;
        }
        size = below;
        levels.push(Published { stored: None, size });
    }
}

/// The rule in imaris-format.md, section 8.
fn makers_halves([z, y, x]: [u64; 3]) -> [bool; 3] {
    let halves = |own: u64, a: u64, b: u64| own > 1 && 100 * own * own > a * b;
    [halves(z, y, x), halves(y, z, x), halves(x, z, y)]
}

/// Path of the voxels of one level, time point and channel.
pub(crate) fn data_path(level: usize, t: u64, c: u64) -> String {
    format!("DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}/Data")
}

/// Number of time points and channels.
pub(crate) fn time_points_and_channels(store: &StoreBuilder) -> (u64, u64) {
    (store.length(&store.shape, 't'), store.length(&store.shape, 'c'))
}

/// All voxels of all levels of one time point and channel, C order (z, y, x).
pub(crate) struct Voxels {
    levels: Vec<Published>,
    voxels: Vec<Vec<Vec<u8>>>,
}

impl Voxels {
    pub(crate) fn new(store: &StoreBuilder, t: u64, c: u64) -> Self {
        let levels = published(store);
        let shapes = store.level_shapes();
        let mut all = Self { levels: Vec::new(), voxels: Vec::new() };
        for level in levels {
            let [depth, height, width] = level.size;
            let mut voxels = Vec::new();
            for z in 0..depth {
                for y in 0..height {
                    for x in 0..width {
                        voxels.push(match level.stored {
                            Some(stored) => store.voxel(stored, &shapes[stored], [t, c, z, y, x]),
                            None => all.mean(store, level.size, [z, y, x]),
                        });
                    }
                }
            }
            all.levels.push(level);
            all.voxels.push(voxels);
        }
        all
    }

    /// The voxel of a level.
    pub(crate) fn get(&self, level: usize, [z, y, x]: [u64; 3]) -> &[u8] {
        let [_, height, width] = self.levels[level].size;
        &self.voxels[level][usize::try_from((z * height + y) * width + x).expect("small")]
    }

    /// The voxel of a level below the last one: the mean of what lies on it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the mean of a type lies within its range"
    )]
    fn mean(&self, store: &StoreBuilder, size: [u64; 3], at: [u64; 3]) -> Vec<u8> {
        let above = self.levels.len() - 1;
        let step: [u64; 3] =
            std::array::from_fn(|a| if self.levels[above].size[a] == size[a] { 1 } else { 2 });
        let mut sum = 0.0_f32;
        let mut count = 0.0_f32;
        for z in 0..step[0] {
            for y in 0..step[1] {
                for x in 0..step[2] {
                    let within = [z, y, x];
                    let place = std::array::from_fn(|a| at[a] * step[a] + within[a]);
                    sum += match *self.get(above, place) {
                        [a] => f32::from(a),
                        [a, b] => f32::from(u16::from_le_bytes([a, b])),
                        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                        _ => panic!("no voxel"),
                    };
                    count += 1.0;
                }
            }
        }
        let mean = sum / count;
        match store.dtype.imaris_bytes() {
            1 => vec![mean.trunc() as u8],
            2 => (mean.trunc() as u16).to_le_bytes().to_vec(),
            _ => mean.to_le_bytes().to_vec(),
        }
    }
}

/// Whether two voxels are the same. Which kind of not-a-number arithmetic gives is left open.
pub(crate) fn is_same(expected: &[u8], found: &[u8]) -> bool {
    let is_nan = |voxel: &[u8]| {
        voxel.first_chunk::<4>().is_some_and(|bytes| f32::from_le_bytes(*bytes).is_nan())
    };
    expected == found || (is_nan(expected) && is_nan(found))
}

/// Builds the reference image.
///
/// The metadata is taken from the file as it was read, and the nodes of the chunk indices, which
/// are checked on the way; every voxel comes from the formula, and every other byte is zero. What
/// belongs to two things at once is a failure.
pub(crate) fn reference_image(file: &[u8], metadata_bytes: u64, store: &StoreBuilder) -> Vec<u8> {
    let mut image = vec![0; file.len()];
    // What is taken from the file as it is, and where voxels go.
    let metadata = 0..metadata_bytes;
    let mut copied = vec![metadata];
    let mut written = Vec::new();
    let hdf5 = Hdf5::open(file);
    let (time_points, channels) = time_points_and_channels(store);
    let levels = published(store);
    for t in 0..time_points {
        for c in 0..channels {
            let voxels = Voxels::new(store, t, c);
            for (level, published) in levels.iter().enumerate() {
                let dataset = hdf5.dataset(&data_path(level, t, c));
                let voxel_bytes = store.dtype.imaris_bytes();
                let class = u8::from(voxel_bytes == 4);
                assert_eq!(dataset.class_and_size, (class, voxel_bytes as u64), "data type");
                for (axis, size) in published.size.iter().enumerate() {
                    let padded = size.next_multiple_of(dataset.chunk[axis]);
                    assert_eq!(dataset.shape[axis], padded, "whole chunks, and not one more");
                }
                let index = hdf5.index(&dataset);
                copied.extend(index.nodes);
                for (first, place) in index.chunks {
                    let read = file[range(&place)].chunks_exact(voxel_bytes);
                    let mut written_voxels =
                        image[range(&place)].chunks_exact_mut(voxel_bytes).zip(read);
                    for z in first[0]..first[0] + dataset.chunk[0] {
                        for y in first[1]..first[1] + dataset.chunk[1] {
                            for x in first[2]..first[2] + dataset.chunk[2] {
                                let (voxel, read) =
                                    written_voxels.next().expect("a chunk holds its voxels");
                                let inside = z < published.size[0]
                                    && y < published.size[1]
                                    && x < published.size[2];
                                if inside {
                                    let expected = voxels.get(level, [z, y, x]);
                                    let same = is_same(expected, read);
                                    voxel.copy_from_slice(if same { read } else { expected });
                                }
                            }
                        }
                    }
                    written.push(place);
                }
            }
        }
    }
    for place in &copied {
        image[range(place)].copy_from_slice(&file[range(place)]);
    }
    let mut taken = [copied, written].concat();
    taken.sort_by_key(|place| place.start);
    for pair in taken.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{:?} and {:?} overlap", pair[0], pair[1]);
    }
    image
}

fn range(place: &std::ops::Range<u64>) -> std::ops::Range<usize> {
    let index = |address| usize::try_from(address).expect("files under test fit in memory");
    index(place.start)..index(place.end)
}
