//! Levels of a store read with `zarrs`, for what no digest of the manifest covers.

use std::path::Path;
use std::sync::Arc;

use zarrs::array::{Array, ElementOwned};
use zarrs::filesystem::FilesystemStore;
use zarrs::plugin::ExtensionName;

/// Voxels of one level of a store as numbers, order (t, c, z, y, x).
pub struct SourceLevel {
    shape: [usize; 5],
    voxels: Vec<f64>,
}

impl SourceLevel {
    /// Reads a level with `zarrs`, chunk by whole chunk: its partial decoding is not to be trusted
    /// with every codec.
    pub fn read(store: &Path, path: &str, axes: &str) -> Result<Self, String> {
        let fail = |error: &dyn std::fmt::Display| error.to_string();
        let storage = Arc::new(FilesystemStore::new(store).map_err(|e| fail(&e))?);
        let array = Array::open(storage, &format!("/{path}")).map_err(|e| fail(&e))?;
        let name = array.data_type().name_v3().unwrap_or_default().into_owned();
        let voxels = match name.as_str() {
            "uint8" => stored_voxels::<u8>(&array),
            "int8" => stored_voxels::<i8>(&array),
            "uint16" => stored_voxels::<u16>(&array),
            "int16" => stored_voxels::<i16>(&array),
            "uint32" => stored_voxels::<u32>(&array),
            "int32" => stored_voxels::<i32>(&array),
            "float32" => stored_voxels::<f32>(&array),
            "float64" => stored_voxels::<f64>(&array),
            other => Err(format!("data type {other}: not known to this test")),
        }?;
        let stored: Vec<usize> =
            array.shape().iter().map(|&n| usize::try_from(n).expect("small")).collect();
        Ok(Self::reordered(&stored, axes, &voxels))
    }

    /// From the stored order of axes to (t, c, z, y, x).
    fn reordered(stored: &[usize], axes: &str, voxels: &[f64]) -> Self {
        let position = ["t", "c", "z", "y", "x"].map(|axis| axes.find(axis));
        let shape = position.map(|position| position.map_or(1, |i| stored[i]));
        let stride = position.map(|p| p.map_or(0, |i| stored[i + 1..].iter().product::<usize>()));
        let count: usize = shape.iter().product();
        let mut sorted = Vec::with_capacity(count);
        for linear in 0..count {
            let mut rest = linear;
            let mut at = 0;
            for axis in (0..5).rev() {
                at += rest % shape[axis] * stride[axis];
                rest /= shape[axis];
            }
            sorted.push(voxels[at]);
        }
        Self { shape, voxels: sorted }
    }

    /// The part of a channel that is published, as bytes of the published type.
    pub fn cropped(&self, t: usize, c: usize, size: [usize; 3], voxel: &str) -> Vec<u8> {
        let [_, channels, nz, ny, nx] = self.shape;
        let mut bytes = Vec::new();
        for z in 0..size[0] {
            for y in 0..size[1] {
                let start = (((t * channels + c) * nz + z) * ny + y) * nx;
                for value in &self.voxels[start..start + size[2]] {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "the stored type is no wider than the published one"
                    )]
                    match voxel {
                        "uint8" => bytes.push(*value as u8),
                        "uint16" => bytes.extend_from_slice(&(*value as u16).to_le_bytes()),
                        _ => bytes.extend_from_slice(&(*value as f32).to_le_bytes()),
                    }
                }
            }
        }
        bytes
    }
}

/// All voxels in stored order.
fn stored_voxels<T: ElementOwned + Copy + Into<f64>>(
    array: &Array<FilesystemStore>,
) -> Result<Vec<f64>, String>
where
    Vec<T>: zarrs::array::FromArrayBytes,
{
    let size = |n: &u64| usize::try_from(*n).expect("small");
    let shape: Vec<usize> = array.shape().iter().map(size).collect();
    let dimensions = shape.len();
    let grid = array.chunk_grid_shape().to_vec();
    let first = array.chunk_shape(&vec![0; dimensions]).map_err(|error| error.to_string())?;
    let chunk: Vec<usize> = first.iter().map(|n| size(&n.get())).collect();
    let mut voxels = vec![f64::NAN; shape.iter().product()];
    for number in 0..grid.iter().product::<u64>() {
        let mut rest = number;
        let mut indices = vec![0; dimensions];
        for axis in (0..dimensions).rev() {
            indices[axis] = rest % grid[axis];
            rest /= grid[axis];
        }
        let values: Vec<T> = array.retrieve_chunk(&indices).map_err(|error| error.to_string())?;
        for (linear, value) in values.into_iter().enumerate() {
            let mut rest = linear;
            let (mut at, mut stride, mut inside) = (0, 1, true);
            for axis in (0..dimensions).rev() {
                let position = size(&indices[axis]) * chunk[axis] + rest % chunk[axis];
                rest /= chunk[axis];
                inside &= position < shape[axis];
                at += position * stride;
                stride *= shape[axis];
            }
            if inside {
                voxels[at] = value.into();
            }
        }
    }
    Ok(voxels)
}
