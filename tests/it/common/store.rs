//! Small OME-Zarr stores with voxels from a formula.
//!
//! A [`StoreBuilder`] describes a store completely: [`StoreBuilder::write`] puts it on disk through
//! the `zarrs` crate, and [`StoreBuilder::voxel`] says what an Imaris file of it must hold at any
//! place. Voxels beyond the edge of an array, which chunks store in full, are junk that no reader
//! may ever see.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;
use zarrs::metadata::ArrayMetadata;

mod dtype;

pub(crate) use dtype::{DTYPES, Dtype, Fill};

/// Compression or checksum behind the array-to-bytes codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Gzip,
    Zstd,
    BloscLz4,
    /// Zarr v3 only; a v2 store has no compressor then.
    Crc32c,
}

/// Zarr version; 2 with the separator of its chunk keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    V2(char),
    V3,
}

/// Order of the voxels within a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    C,
    /// All axes reversed; where there are shards, in front of them.
    F,
    /// All axes reversed within the inner chunks of shards.
    FInShards,
}

/// What a level does to an axis of the one above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Keep,
    FloorHalf,
    CeilHalf,
    /// Rounded down.
    Quarter,
}

impl Step {
    fn factor(self) -> f64 {
        match self {
            Self::Keep => 1.0,
            Self::FloorHalf | Self::CeilHalf => 2.0,
            Self::Quarter => 4.0,
        }
    }
}

/// A store. Lists per axis are in stored order.
#[derive(Debug, Clone)]
pub(crate) struct StoreBuilder {
    pub(crate) dtype: Dtype,
    /// Letters out of t, c, z, y, x.
    pub(crate) axes: String,
    pub(crate) shape: Vec<u64>,
    /// Shape of a chunk, or of an inner chunk where there are shards.
    pub(crate) unit: Vec<u64>,
    /// Units per shard.
    pub(crate) shard: Option<Vec<u64>>,
    pub(crate) index_at_start: bool,
    pub(crate) format: Format,
    pub(crate) codec: Codec,
    pub(crate) order: Order,
    pub(crate) big_endian: bool,
    pub(crate) fill: Fill,
    /// One unit in `left_out` is not stored; 0 stores all.
    pub(crate) left_out: u64,
    /// One list per coarser level.
    pub(crate) steps: Vec<Vec<Step>>,
    /// Unit of the space axes.
    pub(crate) length_unit: Option<&'static str>,
    pub(crate) scale: Vec<f64>,
    pub(crate) translation: Option<Vec<f64>>,
    /// Names and colours of the channels, as `omero` has them.
    pub(crate) omero: Vec<(String, String)>,
    /// Where computed levels of the virtual file end.
    pub(crate) coarsest_bytes: u64,
    /// Makes the voxels of one store differ from those of another.
    pub(crate) salt: u64,
}

impl StoreBuilder {
    /// One level in one plain chunk, Zarr v3, no metadata beyond the axes.
    pub(crate) fn new(dtype: Dtype, axes: &str, shape: &[u64]) -> Self {
        Self {
            dtype,
            axes: axes.to_owned(),
            shape: shape.to_vec(),
            unit: shape.to_vec(),
            shard: None,
            index_at_start: false,
            format: Format::V3,
            codec: Codec::None,
            order: Order::C,
            big_endian: false,
            fill: Fill::Zero,
            left_out: 0,
            steps: Vec::new(),
            length_unit: None,
            scale: vec![1.0; shape.len()],
            translation: None,
            omero: Vec::new(),
            coarsest_bytes: 1 << 20,
            salt: 0,
        }
    }

    // --- what the store holds ---

    /// Stored shapes, finest first.
    pub(crate) fn level_shapes(&self) -> Vec<Vec<u64>> {
        let mut shapes = vec![self.shape.clone()];
        for steps in &self.steps {
            let above = &shapes[shapes.len() - 1];
            let shape = above.iter().zip(steps).map(|(&length, step)| match step {
                Step::Keep => length,
                Step::FloorHalf => (length / 2).max(1),
                Step::CeilHalf => length.div_ceil(2),
                Step::Quarter => (length / 4).max(1),
            });
            shapes.push(shape.collect());
        }
        shapes
    }

    /// Shape of what one file holds: a chunk, or a shard.
    pub(crate) fn chunk(&self) -> Vec<u64> {
        let shard = self.shard.clone().unwrap_or_else(|| vec![1; self.unit.len()]);
        self.unit.iter().zip(shard).map(|(unit, count)| unit * count).collect()
    }

    /// Path of a chunk's file below the store.
    pub(crate) fn chunk_path(&self, level: usize, chunk: &[u64]) -> String {
        let parts: Vec<String> = chunk.iter().map(u64::to_string).collect();
        match self.format {
            Format::V2(separator) => format!("{level}/{}", parts.join(&separator.to_string())),
            Format::V3 => format!("{level}/c/{}", parts.join("/")),
        }
    }

    /// Length of a logical axis of a level: 1 where the store has no such axis.
    pub(crate) fn length(&self, shape: &[u64], axis: char) -> u64 {
        self.axes.find(axis).map_or(1, |at| shape[at])
    }

    /// Element at a stored position, which lies within the level.
    fn element(&self, level: usize, shape: &[u64], at: &[u64]) -> dtype::Element {
        if self.is_left_out(level, at) {
            return self.dtype.fill(self.fill);
        }
        // A running number that is never the same twice in the store.
        let mut number = level as u64 + self.salt;
        for (axis, &at) in at.iter().enumerate() {
            number = number * shape[axis].max(self.shape[axis]) + at;
        }
        self.dtype.element(number)
    }

    /// Whether the unit of a position is not stored.
    fn is_left_out(&self, level: usize, at: &[u64]) -> bool {
        let mut hash = 0x9E37_79B9_u64.wrapping_add(level as u64);
        for (at, unit) in at.iter().zip(&self.unit) {
            hash = (hash ^ (at / unit)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        }
        self.left_out > 0 && (hash >> 7).is_multiple_of(self.left_out)
    }

    /// The voxel at (t, c, z, y, x) of a stored level, as an Imaris file must hold it.
    pub(crate) fn voxel(&self, level: usize, shape: &[u64], tczyx: [u64; 5]) -> Vec<u8> {
        let mut at = [0; 5];
        for (slot, axis) in self.axes.bytes().enumerate() {
            at[slot] = tczyx["tczyx".bytes().position(|name| name == axis).unwrap_or(0)];
        }
        let element = self.element(level, shape, &at[..shape.len()]);
        self.dtype.to_imaris(element)
    }

    // --- writing it ---

    /// Writes the store into a folder that does not exist yet.
    pub(crate) fn write(&self, folder: &Path) {
        for (level, shape) in self.level_shapes().iter().enumerate() {
            self.write_level(&folder.join(level.to_string()), level, shape);
        }
        self.write_group(folder);
    }

    fn write_level(&self, folder: &Path, level: usize, shape: &[u64]) {
        fs::create_dir_all(folder).expect("a fresh folder");
        let chunk = self.chunk();
        let (name, document) = match self.format {
            Format::V3 => ("zarr.json", self.array_v3(shape, &chunk)),
            Format::V2(_) => (".zarray", self.array_v2(shape, &chunk)),
        };
        fs::write(folder.join(name), document.to_string()).expect("a writable folder");
        let metadata = match self.format {
            Format::V3 => serde_json::from_value(document).map(ArrayMetadata::V3),
            Format::V2(_) => {
                let mut document = document;
                document["node_type"] = json!("array");
                serde_json::from_value(document).map(ArrayMetadata::V2)
            }
        };
        let storage = Arc::new(FilesystemStore::new(folder).expect("a folder"));
        let array = Array::new_with_metadata(storage, "/", metadata.expect("metadata is valid"))
            .expect("metadata zarrs takes");
        let grid: Vec<u64> = shape.iter().zip(&chunk).map(|(s, c)| s.div_ceil(*c)).collect();
        each_position(&grid, &mut |position| {
            let bytes = self.chunk_bytes(level, shape, &chunk, position);
            let bytes = zarrs::array::ArrayBytes::new_flen(bytes);
            array.store_chunk(position, bytes).expect("a chunk zarrs can encode");
        });
    }

    fn chunk_bytes(&self, level: usize, shape: &[u64], chunk: &[u64], position: &[u64]) -> Vec<u8> {
        let size = self.dtype.bytes();
        let mut bytes = Vec::new();
        let mut at = vec![0; shape.len()];
        each_position(chunk, &mut |within| {
            for axis in 0..at.len() {
                at[axis] = position[axis] * chunk[axis] + within[axis];
            }
            let inside = at.iter().zip(shape).all(|(at, length)| at < length);
            let element = if inside || self.is_left_out(level, &at) {
                self.element(level, shape, &at)
            } else {
                self.dtype.junk()
            };
            bytes.extend_from_slice(&element[..size]);
        });
        bytes
    }

    fn array_v3(&self, shape: &[u64], chunk: &[u64]) -> Value {
        let endian = if self.big_endian { "big" } else { "little" };
        let mut codecs = vec![json!({"name": "bytes", "configuration": {"endian": endian}})];
        codecs.extend(match self.codec {
            Codec::None => None,
            Codec::Gzip => Some(json!({"name": "gzip", "configuration": {"level": 1}})),
            Codec::Zstd => {
                Some(json!({"name": "zstd", "configuration": {"level": 1, "checksum": true}}))
            }
            Codec::BloscLz4 => Some(json!({"name": "blosc", "configuration": {"cname": "lz4",
                "clevel": 5, "shuffle": "shuffle", "typesize": self.dtype.bytes(), "blocksize": 0}})),
            Codec::Crc32c => Some(json!({"name": "crc32c"})),
        });
        let reversed: Vec<usize> = (0..shape.len()).rev().collect();
        let transpose = json!({"name": "transpose", "configuration": {"order": reversed}});
        let mut inner = self.unit.clone();
        if self.order == Order::FInShards || (self.order == Order::F && self.shard.is_none()) {
            codecs.insert(0, transpose.clone());
        }
        if self.shard.is_some() {
            let outside = self.order == Order::F;
            if outside {
                inner.reverse();
            }
            let location = if self.index_at_start { "start" } else { "end" };
            codecs = vec![json!({"name": "sharding_indexed", "configuration": {
                "chunk_shape": inner, "codecs": codecs, "index_location": location,
                "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
                    {"name": "crc32c"}]}})];
            if outside {
                codecs.insert(0, transpose);
            }
        }
        json!({"zarr_format": 3, "node_type": "array", "shape": shape,
            "data_type": self.dtype.name_v3(), "codecs": codecs, "attributes": {},
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": self.dtype.fill_json(self.fill)})
    }

    fn array_v2(&self, shape: &[u64], chunk: &[u64]) -> Value {
        let compressor = match self.codec {
            Codec::None | Codec::Crc32c => Value::Null,
            Codec::Gzip => json!({"id": "gzip", "level": 1}),
            Codec::Zstd => json!({"id": "zstd", "level": 1}),
            Codec::BloscLz4 => {
                json!({"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0})
            }
        };
        let separator = match self.format {
            Format::V2(separator) => separator,
            Format::V3 => '/',
        };
        json!({"zarr_format": 2, "shape": shape, "chunks": chunk,
            "dtype": self.dtype.name_v2(self.big_endian), "compressor": compressor,
            "fill_value": self.dtype.fill_json(self.fill), "filters": null,
            "order": if self.order == Order::C { "C" } else { "F" },
            "dimension_separator": separator.to_string()})
    }

    fn write_group(&self, folder: &Path) {
        let ome = self.ome();
        let write = |name: &str, document: Value| {
            fs::write(folder.join(name), document.to_string()).expect("a writable folder");
        };
        if self.format == Format::V3 {
            let attributes = json!({"ome": ome});
            write(
                "zarr.json",
                json!({"zarr_format": 3, "node_type": "group",
                "attributes": attributes}),
            );
        } else {
            write(".zgroup", json!({"zarr_format": 2}));
            write(".zattrs", Value::Object(ome));
        }
    }

    /// OME-NGFF 0.5 for Zarr v3, 0.4 for v2.
    fn ome(&self) -> Map<String, Value> {
        let version = if self.format == Format::V3 { "0.5" } else { "0.4" };
        let axes = self.axes.chars().map(|name| match name {
            't' => json!({"name": "t", "type": "time", "unit": "second"}),
            'c' => json!({"name": "c", "type": "channel"}),
            space => match self.length_unit {
                Some(unit) => json!({"name": space, "type": "space", "unit": unit}),
                None => json!({"name": space, "type": "space"}),
            },
        });
        let axes: Vec<Value> = axes.collect();
        let mut scale = self.scale.clone();
        let mut datasets = Vec::new();
        for level in 0..=self.steps.len() {
            if let Some(steps) = level.checked_sub(1).map(|above| &self.steps[above]) {
                for (scale, step) in scale.iter_mut().zip(steps) {
                    *scale *= step.factor();
                }
            }
            let mut transforms = vec![json!({"type": "scale", "scale": scale})];
            if let Some(translation) = &self.translation {
                transforms.push(json!({"type": "translation", "translation": translation}));
            }
            datasets.push(json!({"path": level.to_string(),
                "coordinateTransformations": transforms}));
        }
        let mut ome = Map::new();
        let multiscale = json!({"name": "formula", "axes": axes, "datasets": datasets,
            "version": version});
        ome.insert("version".to_owned(), json!(version));
        ome.insert("multiscales".to_owned(), json!([multiscale]));
        if !self.omero.is_empty() {
            let channels = self.omero.iter().map(|(label, color)| {
                json!({"label": label, "color": color, "active": true,
                    "window": {"min": 0, "max": 255, "start": 2, "end": 200}})
            });
            let channels: Vec<Value> = channels.collect();
            ome.insert("omero".to_owned(), json!({"channels": channels}));
        }
        ome
    }
}

/// Calls `visit` with every position of a box, the last axis fastest.
pub(crate) fn each_position(shape: &[u64], visit: &mut dyn FnMut(&[u64])) {
    let mut at = vec![0; shape.len()];
    if shape.contains(&0) {
        return;
    }
    loop {
        visit(&at);
        let mut axis = shape.len();
        loop {
            let Some(next) = axis.checked_sub(1) else { return };
            axis = next;
            at[axis] += 1;
            if at[axis] < shape[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
}
