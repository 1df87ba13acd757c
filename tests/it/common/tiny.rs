//! Small stores written by hand: metadata through `serde_json`, chunks as plain bytes. What is on
//! disk is therefore known to the byte, and no Zarr library is trusted to have written it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// A Zarr v3 image of unsigned 16-bit voxels, order (z, y, x), uncompressed.
#[derive(Debug, Clone, Copy)]
pub struct Tiny {
    pub shape: [usize; 3],
    pub chunk: [usize; 3],
    /// Makes the voxels of one image differ from those of another.
    pub seed: u16,
}

impl Default for Tiny {
    fn default() -> Self {
        Self { shape: [3, 21, 35], chunk: [2, 16, 16], seed: 1 }
    }
}

impl Tiny {
    /// The voxel at a position.
    pub fn voxel(&self, [z, y, x]: [usize; 3]) -> u16 {
        let linear = (z * self.shape[1] + y) * self.shape[2] + x;
        let low = u16::try_from(linear % 65_521).expect("below 2^16");
        low.wrapping_mul(31).wrapping_add(self.seed.wrapping_mul(257))
    }

    /// Metadata of the array.
    pub fn array_json(&self) -> Value {
        json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self.chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "dimension_names": ["z", "y", "x"],
            "attributes": {},
        })
    }

    /// Metadata of a multiscales group with the array as its only level.
    pub fn image_json(name: &str) -> Value {
        group_json(&json!({"ome": {
            "version": "0.5",
            "multiscales": [{
                "name": name,
                "axes": [
                    {"name": "z", "type": "space", "unit": "micrometer"},
                    {"name": "y", "type": "space", "unit": "micrometer"},
                    {"name": "x", "type": "space", "unit": "micrometer"},
                ],
                "datasets": [{
                    "path": "0",
                    "coordinateTransformations": [{"type": "scale", "scale": [2.0, 0.5, 0.25]}],
                }],
            }],
        }}))
    }

    /// Writes the array: chunks first, so that what has metadata is complete.
    pub fn write_array(&self, folder: &Path) {
        let count: [usize; 3] = std::array::from_fn(|i| self.shape[i].div_ceil(self.chunk[i]));
        for z in 0..count[0] {
            for y in 0..count[1] {
                fs::create_dir_all(folder.join(format!("c/{z}/{y}"))).expect("a folder");
                for x in 0..count[2] {
                    let path = folder.join(format!("c/{z}/{y}/{x}"));
                    fs::write(path, self.chunk_bytes([z, y, x])).expect("a chunk");
                }
            }
        }
        write_json(&folder.join("zarr.json"), &self.array_json());
    }

    /// Paths of the chunks below the array.
    pub fn chunk_paths(&self) -> Vec<String> {
        let [z, y, x]: [usize; 3] =
            std::array::from_fn(|axis| self.shape[axis].div_ceil(self.chunk[axis]));
        let path = |i: usize| format!("c/{}/{}/{}", i / (y * x), i / x % y, i % x);
        (0..z * y * x).map(path).collect()
    }

    /// The stored bytes of a chunk; positions outside of the array are zero.
    pub fn chunk_bytes(&self, at: [usize; 3]) -> Vec<u8> {
        let [nz, ny, nx] = self.chunk;
        let mut bytes = Vec::with_capacity(nz * ny * nx * 2);
        for z in 0..nz {
            for y in 0..ny {
                for x in 0..nx {
                    let position = [at[0] * nz + z, at[1] * ny + y, at[2] * nx + x];
                    let inside = (0..3).all(|axis| position[axis] < self.shape[axis]);
                    let value = if inside { self.voxel(position) } else { 0 };
                    bytes.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// Writes an OME-Zarr store.
    pub fn write(&self, store: &Path) {
        self.write_array(&store.join("0"));
        let name = store.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        write_json(&store.join("zarr.json"), &Self::image_json(&name));
    }

    /// All voxels, little-endian, order (z, y, x).
    pub fn pixels(&self) -> Vec<u8> {
        let [nz, ny, nx] = self.shape;
        let position = |i: usize| [i / (ny * nx), i / nx % ny, i % nx];
        (0..nz * ny * nx).flat_map(|i| self.voxel(position(i)).to_le_bytes()).collect()
    }
}

/// Metadata of a Zarr v3 group.
pub fn group_json(attributes: &Value) -> Value {
    json!({"zarr_format": 3, "node_type": "group", "attributes": attributes})
}

/// Writes a document, with the folders above it.
pub fn write_json(path: &Path, document: &Value) {
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
    fs::write(path, serde_json::to_vec_pretty(document).expect("JSON")).expect("a file");
}
