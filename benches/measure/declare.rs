//! Metadata of OME-Zarr 0.5 images. Without chunks, every voxel is the fill value.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// `ImarisWriter` ends a pyramid with the first level that is no larger.
pub const COARSEST_BYTES: u64 = 1 << 20;

/// An image, or a store of several levels, by its metadata.
#[derive(Debug, Clone)]
pub struct Declared<'a> {
    /// One letter for each axis: z, y and x come last and are halved from level to level.
    pub axes: &'a str,
    pub shape: Vec<u64>,
    /// Shape of a chunk, or of a chunk within a shard.
    pub chunk: Vec<u64>,
    pub shard: Option<Vec<u64>>,
    /// `uint16` or `float32`.
    pub data_type: &'a str,
    /// What follows the bytes of a chunk.
    pub compressor: Option<Value>,
    pub fill_value: u64,
    /// Between the parts of a chunk's name.
    pub separator: &'a str,
    /// The last level is the first one whose channels have no more bytes; `None`: there is only one.
    pub coarsest_bytes: Option<u64>,
}

impl Declared<'static> {
    /// An image (z, y, x) without a chunk, every voxel of it 7.
    pub fn volume(shape: [u64; 3], pyramid: bool) -> Self {
        Self {
            axes: "zyx",
            shape: shape.to_vec(),
            chunk: vec![64; 3],
            shard: None,
            data_type: "uint16",
            compressor: None,
            fill_value: 7,
            separator: "/",
            coarsest_bytes: pyramid.then_some(COARSEST_BYTES),
        }
    }
}

impl Declared<'_> {
    pub fn voxel_bytes(&self) -> u64 {
        if self.data_type == "float32" { 4 } else { 2 }
    }

    /// Shapes of the levels, finest first.
    pub fn levels(&self) -> Vec<Vec<u64>> {
        let mut shapes = vec![self.shape.clone()];
        let first = self.shape.len() - 3;
        while let Some(last) = shapes.last() {
            let bytes = last[first..].iter().product::<u64>() * self.voxel_bytes();
            if self.coarsest_bytes.is_none_or(|most| bytes <= most) {
                break;
            }
            let halved = last.iter().enumerate();
            let halved = halved.map(|(axis, n)| if axis < first { *n } else { (n / 2).max(1) });
            shapes.push(halved.collect());
        }
        shapes
    }

    /// Bytes of the voxels of all levels.
    pub fn bytes(&self) -> u64 {
        self.levels().iter().map(|shape| shape.iter().product::<u64>() * self.voxel_bytes()).sum()
    }

    /// Writes the metadata of the group and of its arrays.
    pub fn write(&self, store: &Path) {
        let levels = self.levels();
        let axis = |name: char| match name {
            't' => json!({"name": "t", "type": "time", "unit": "second"}),
            'c' => json!({"name": "c", "type": "channel"}),
            other => json!({"name": other, "type": "space", "unit": "micrometer"}),
        };
        let axes: Vec<Value> = self.axes.chars().map(axis).collect();
        let dataset = |level: usize| {
            let step = f64::from(1_u32 << level);
            let scale = self.axes.chars().map(|axis| if "zyx".contains(axis) { step } else { 1.0 });
            let scale = json!([{"type": "scale", "scale": scale.collect::<Vec<_>>()}]);
            json!({"path": level.to_string(), "coordinateTransformations": scale})
        };
        let datasets: Vec<Value> = (0..levels.len()).map(dataset).collect();
        let multiscales = json!([{"axes": axes, "datasets": datasets}]);
        write(
            store,
            &json!({"zarr_format": 3, "node_type": "group",
                "attributes": {"ome": {"version": "0.5", "multiscales": multiscales}}}),
        );
        for (level, shape) in levels.iter().enumerate() {
            write(&store.join(level.to_string()), &self.array(shape));
        }
    }

    fn array(&self, shape: &[u64]) -> Value {
        let little = json!({"name": "bytes", "configuration": {"endian": "little"}});
        let mut codecs = vec![little.clone()];
        codecs.extend(self.compressor.clone());
        if self.shard.is_some() {
            codecs = vec![json!({"name": "sharding_indexed", "configuration": {
                "chunk_shape": self.chunk, "codecs": codecs, "index_location": "end",
                "index_codecs": [little, {"name": "crc32c"}]}})];
        }
        let stored = self.shard.as_ref().unwrap_or(&self.chunk);
        let names: Vec<String> = self.axes.chars().map(String::from).collect();
        json!({
            "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": self.data_type,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": stored}},
            "chunk_key_encoding":
                {"name": "default", "configuration": {"separator": self.separator}},
            "codecs": codecs, "fill_value": self.fill_value, "dimension_names": names,
            "attributes": {}})
    }
}

/// Blosc with lz4 and shuffle, as most writers set it.
pub fn blosc(voxel_bytes: u64) -> Value {
    json!({"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5,
        "shuffle": "shuffle", "typesize": voxel_bytes, "blocksize": 0}})
}

/// Zstandard at level 3.
pub fn zstd() -> Value {
    json!({"name": "zstd", "configuration": {"level": 3, "checksum": false}})
}

fn write(folder: &Path, document: &Value) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join("zarr.json"), document.to_string()).expect("metadata");
}
