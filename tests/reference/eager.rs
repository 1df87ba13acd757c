//! The eager reference image: what a virtual file must hold, built the slow, obvious way.

use super::hdf5::Hdf5;
use super::store::{Step, StoreBuilder};

/// A level that the Imaris file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// Which level of the store.
    pub(crate) stored: usize,
    /// Its shape there, stored axis order.
    pub(crate) shape: Vec<u64>,
    /// Size in the file, (z, y, x): every half rounded down.
    pub(crate) size: [u64; 3],
}

/// The levels an Imaris file of the store has, from what the builder did to the axes.
pub(crate) fn published(store: &StoreBuilder) -> Vec<Published> {
    let shapes = store.level_shapes();
    let mut size = ['z', 'y', 'x'].map(|axis| store.length(&store.shape, axis));
    let mut levels = vec![Published { stored: 0, shape: store.shape.clone(), size }];
    for (stored, steps) in (1..).zip(&store.steps) {
        for (slot, axis) in ['z', 'y', 'x'].into_iter().enumerate() {
            if store.axes.find(axis).is_some_and(|at| steps[at] != Step::Keep) {
                size[slot] = (size[slot] / 2).max(1);
            }
        }
        // Equal levels say nothing new, and planes of one row or column no reader takes.
        let same = levels.last().is_some_and(|above| above.size == size);
        if !same && size[1] > 1 && size[2] > 1 {
            levels.push(Published { stored, shape: shapes[stored].clone(), size });
        }
    }
    levels
}

/// Path of the voxels of one level, time point and channel.
pub(crate) fn data_path(level: usize, t: u64, c: u64) -> String {
    format!("DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}/Data")
}

/// Number of time points and channels.
pub(crate) fn time_points_and_channels(store: &StoreBuilder) -> (u64, u64) {
    (store.length(&store.shape, 't'), store.length(&store.shape, 'c'))
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
    for (level, published) in published(store).iter().enumerate() {
        for t in 0..time_points {
            for c in 0..channels {
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
                    let bytes = &mut image[range(&place)];
                    let mut voxels = bytes.chunks_exact_mut(voxel_bytes);
                    for z in first[0]..first[0] + dataset.chunk[0] {
                        for y in first[1]..first[1] + dataset.chunk[1] {
                            for x in first[2]..first[2] + dataset.chunk[2] {
                                let voxel = voxels.next().expect("a chunk holds its voxels");
                                let inside = z < published.size[0]
                                    && y < published.size[1]
                                    && x < published.size[2];
                                if inside {
                                    let at = [t, c, z, y, x];
                                    let value = store.voxel(published.stored, &published.shape, at);
                                    voxel.copy_from_slice(&value);
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
