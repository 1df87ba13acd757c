//! Large stores that take little disk: a few chunks under many names.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::tiny::{group_json, write_json};

/// Different chunks of a store.
const DIFFERENT: u64 = 5;

/// Sides (t, z, y, x) of an image of 16-bit voxels, and of its chunks.
#[derive(Debug, Clone, Copy)]
pub struct Linked {
    pub image: [u64; 4],
    pub chunk: [u64; 4],
}

impl Linked {
    /// Bytes of the voxels.
    pub fn bytes(&self) -> u64 {
        self.image.iter().product::<u64>() * 2
    }

    /// Chunks along each axis.
    pub fn chunks(&self) -> [u64; 4] {
        std::array::from_fn(|axis| self.image[axis].div_ceil(self.chunk[axis]))
    }

    /// Writes the chunks into a folder, for any number of stores.
    pub fn write_chunks(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder");
        for number in 0..DIFFERENT {
            let voxel = |at: u64| u16::try_from((at + number * 977) % 60_000 + 1).expect("16 bits");
            let voxels = 0..self.chunk.iter().product::<u64>();
            let bytes: Vec<u8> = voxels.flat_map(|at| voxel(at).to_le_bytes()).collect();
            fs::write(folder.join(number.to_string()), bytes).expect("a chunk");
        }
    }

    /// Writes a store of the chunks in a folder on the same file system.
    pub fn write(&self, store: &Path, chunks: &Path) {
        let array = store.join("0");
        write_json(
            &array.join("zarr.json"),
            &json!({
                "zarr_format": 3, "node_type": "array", "shape": self.image, "data_type": "uint16",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self.chunk}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
                "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                "fill_value": 0, "attributes": {}}),
        );
        let [times, depth, height, width] = self.chunks();
        for number in 0..times * depth * height * width {
            let (x, rest) = (number % width, number / width);
            let (y, rest) = (rest % height, rest / height);
            let (z, t) = (rest % depth, rest / depth);
            let name = array.join(format!("c.{t}.{z}.{y}.{x}"));
            fs::hard_link(chunks.join((number % DIFFERENT).to_string()), name).expect("a link");
        }
        let axes = ["t", "z", "y", "x"].map(|name| json!({"name": name}));
        let multiscale = json!({"axes": axes, "datasets": [{"path": "0"}]});
        let ome = json!({"ome": {"version": "0.5", "multiscales": [multiscale]}});
        write_json(&store.join("zarr.json"), &group_json(&ome));
    }
}
