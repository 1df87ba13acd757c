//! Virtual files say and hold what their stores do, with the defaults and with every option that
//! changes images: metadata, voxels, levels, statistics. All of it is read through a kernel mount
//! with libhdf5 and compared with the formulas the stores were written from.

mod chunks;
mod conventions;
mod levels;
mod metadata;
mod statistics;
mod systems;
mod thumbnail;
mod voxels;

use std::fs;
use std::ops::Range;
use std::path::Path;

use hdf5_metno::File;
use hdf5_metno::types::TypeDescriptor;
use ndarray::{Ix1, Ix2, Ix3, s};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::ims::Ims;
use crate::common::mount::Mount;
use crate::common::store::each_position;
use crate::common::tiny::{group_json, write_json};

/// A source folder that goes with the test.
fn source() -> TempDir {
    TempDir::with_prefix("zarrims-source-").expect("a temporary folder")
}

// --- stores ---

/// Writes an uncompressed Zarr v3 array from a formula. What chunks hold beyond its edge is zero.
fn write_array<const N: usize>(
    folder: &Path,
    data_type: &str,
    shape: &[u64],
    chunk: &[u64],
    voxel: impl Fn(&[u64]) -> [u8; N],
) {
    let grid: Vec<u64> =
        shape.iter().zip(chunk).map(|(side, chunk)| side.div_ceil(*chunk)).collect();
    let mut at = vec![0; shape.len()];
    each_position(&grid, &mut |position| {
        let mut bytes = Vec::new();
        each_position(chunk, &mut |within| {
            for axis in 0..at.len() {
                at[axis] = position[axis] * chunk[axis] + within[axis];
            }
            let inside = at.iter().zip(shape).all(|(at, side)| at < side);
            bytes.extend(if inside { voxel(&at) } else { [0; N] });
        });
        let names: Vec<String> = position.iter().map(u64::to_string).collect();
        let path = folder.join("c").join(names.join("/"));
        fs::create_dir_all(path.parent().expect("a chunk in a folder")).expect("a folder");
        fs::write(path, bytes).expect("a chunk");
    });
    write_json(&folder.join("zarr.json"), &array_json(data_type, shape, chunk));
}

fn array_json(data_type: &str, shape: &[u64], chunk: &[u64]) -> Value {
    json!({
        "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "fill_value": 0, "attributes": {},
    })
}

/// OME-NGFF metadata of an image with one level, `0`. Lengths are in micrometres.
fn ome(axes: &str, scale: &[f64]) -> Value {
    let axes: Vec<Value> = axes
        .chars()
        .map(|name| match name {
            't' => json!({"name": "t", "type": "time", "unit": "second"}),
            'c' => json!({"name": "c", "type": "channel"}),
            space => json!({"name": space, "type": "space", "unit": "micrometer"}),
        })
        .collect();
    let transforms = json!([{"type": "scale", "scale": scale}]);
    let datasets = json!([{"path": "0", "coordinateTransformations": transforms}]);
    json!({"version": "0.5",
        "multiscales": [{"name": "image", "axes": axes, "datasets": datasets}]})
}

/// Writes the group of an image. Last of all, so that what has metadata is complete.
fn write_group(store: &Path, ome: &Value) {
    write_json(&store.join("zarr.json"), &group_json(&json!({"ome": ome})));
}

// --- virtual files ---

/// An open virtual file whose voxels are read as numbers; binary64 holds all types.
struct Shown {
    ims: Ims,
    file: File,
}

impl Shown {
    #[track_caller]
    fn open(mount: &Mount, name: &str) -> Self {
        let path = mount.path().join(name);
        let ims = Ims::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { ims, file: File::open(&path).expect("opened a moment ago") }
    }

    /// Sizes of the levels, finest first, order (z, y, x).
    fn sizes(&self) -> Vec<[usize; 3]> {
        let levels = self.ims.levels().expect("levels");
        (0..levels).map(|level| self.ims.size(level, 0, 0).expect("a size")).collect()
    }

    /// All voxels of a channel, order (z, y, x).
    fn values(&self, level: usize, t: usize, c: usize) -> Vec<f64> {
        let [z, y, x] = self.ims.size(level, t, c).expect("a size");
        self.values_in(level, t, c, [0..z, 0..y, 0..x])
    }

    fn values_in(&self, level: usize, t: usize, c: usize, part: [Range<usize>; 3]) -> Vec<f64> {
        let path = format!("{}/Data", Ims::channel_path(level, t, c));
        let [z, y, x] = part;
        let data = self.file.dataset(&path).expect("a dataset");
        data.read_slice::<f64, _, Ix3>(s![z, y, x]).expect("voxels").into_iter().collect()
    }

    /// Type of the voxels.
    fn voxel_type(&self) -> TypeDescriptor {
        let data = self.file.dataset("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data");
        let dtype = data.and_then(|data| data.dtype()).expect("a type");
        dtype.to_descriptor().expect("a known type")
    }

    /// A dataset of counts in a channel group; `None` where there is none.
    fn counts(&self, group: &str, name: &str) -> Option<Vec<u64>> {
        let group = self.file.group(group).expect("a group");
        group.link_exists(name).then(|| {
            let data = group.dataset(name).expect("a dataset");
            data.read_slice::<u64, _, Ix1>(s![..]).expect("counts").to_vec()
        })
    }

    /// Height, width and bytes (red, green, blue, alpha) of the thumbnail.
    fn thumbnail(&self) -> (usize, usize, Vec<u8>) {
        let data = self.file.dataset("Thumbnail/Data").expect("a thumbnail");
        let pixels = data.read_slice::<u8, _, Ix2>(s![.., ..]).expect("pixels");
        let (height, width) = pixels.dim();
        (height, width / 4, pixels.into_iter().collect())
    }

    /// Edge of a voxel of level 0, order (x, y, z).
    #[expect(clippy::cast_precision_loss, reason = "small images")]
    fn voxel_um(&self) -> [f64; 3] {
        let [z, y, x] = self.ims.info_size().expect("a size");
        let extents = self.ims.extents().expect("extents");
        std::array::from_fn(|axis| {
            let (low, high) = extents[axis];
            (high - low) / [x, y, z][axis] as f64
        })
    }

    /// What is displayed of a channel, black to full.
    fn color_range(&self, c: usize) -> [f64; 2] {
        let range = self.ims.numbers(&format!("DataSetInfo/Channel {c}"), "ColorRange");
        range.expect("a range").try_into().expect("two bounds")
    }
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1e-3);
    let all = found.len() == expected.len() && found.iter().zip(expected).all(close);
    assert!(all, "{what}: {found:?}, expected {expected:?}");
}

/// Compares voxels; what is not a number equals itself.
#[track_caller]
fn assert_voxels(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of voxels");
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let other = found.iter().zip(expected).position(|(a, b)| !same(*a, b + 0.0));
    if let Some(at) = other {
        panic!("{what}: voxel {at} is {}, expected {}", found[at], expected[at]);
    }
}

// --- levels ---

/// How voxels are joined to one of the next level, written without the program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    /// Mean of whole numbers: float32 sum, truncated toward zero.
    Whole,
    /// Mean of floats, in float32.
    Float,
    /// The most frequent, and of equally frequent ones the first.
    MostFrequent,
}

impl Join {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "the mean is a float32 one"
    )]
    fn apply(self, voxels: &[f64]) -> f64 {
        if self == Self::MostFrequent {
            let count = |wanted: f64| {
                voxels.iter().filter(|value| value.to_bits() == wanted.to_bits()).count()
            };
            let most = voxels.iter().map(|value| count(*value)).max();
            return *voxels.iter().find(|value| Some(count(**value)) == most).expect("a voxel");
        }
        let sum = voxels.iter().fold(0.0_f32, |sum, value| sum + *value as f32);
        let mean = f64::from(sum / voxels.len() as f32);
        if self == Self::Whole { mean.trunc() + 0.0 } else { mean }
    }
}

/// The level of size `below` under a level, each axis halved (an odd last voxel dropped) or kept.
fn join_level(values: &[f64], size: [usize; 3], below: [usize; 3], join: Join) -> Vec<f64> {
    let step: [usize; 3] = std::array::from_fn(|axis| {
        assert!(below[axis] == size[axis] || below[axis] == size[axis] / 2, "{size:?} {below:?}");
        if below[axis] == size[axis] { 1 } else { 2 }
    });
    let mut joined = Vec::with_capacity(below.iter().product());
    let mut voxels = Vec::new();
    for z in 0..below[0] {
        for y in 0..below[1] {
            for x in 0..below[2] {
                voxels.clear();
                for z in z * step[0]..(z + 1) * step[0] {
                    for y in y * step[1]..(y + 1) * step[1] {
                        let row = (z * size[1] + y) * size[2];
                        voxels
                            .extend_from_slice(&values[row + x * step[2]..row + (x + 1) * step[2]]);
                    }
                }
                joined.push(join.apply(&voxels));
            }
        }
    }
    joined
}

/// Checks that every level of a channel from `first` on is joined from the one above.
#[track_caller]
fn assert_chain(shown: &Shown, first: usize, join: Join) {
    let sizes = shown.sizes();
    for level in first..sizes.len() {
        let above = shown.values(level - 1, 0, 0);
        let expected = join_level(&above, sizes[level - 1], sizes[level], join);
        assert_voxels(&shown.values(level, 0, 0), &expected, &format!("level {level}"));
    }
}
