//! Writes an OME-Zarr 0.5 store that looks like a light-sheet image: bright spots on a sloping
//! background with camera noise, channels by different spots, a pyramid of means.
//!
//! The demo, the benches and the scale test make their stores with it:
//!
//! ```text
//! cargo run --release --example sample_store -- out.ome.zarr
//! cargo run --release --example sample_store -- big.ome.zarr --shape 1,65536,65536,131072 --declare
//! ```

#[path = "../benches/measure/hash.rs"]
mod hash;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use serde_json::{Map, Value, json};
use zarrs::array::codec::{BloscCodec, BloscCompressor, BloscShuffleMode, ZstdCodec};
use zarrs::array::{Array, ArrayBuilder, BytesToBytesCodecTraits, data_type};
use zarrs::filesystem::FilesystemStore;
use zarrs::group::GroupBuilder;

use hash::hash;

/// Camera offset of the background.
const OFFSET: f32 = 110.0;

#[derive(Debug, Parser)]
struct Options {
    /// Folder of the store; must not exist
    out: PathBuf,
    /// Lengths of channel, z, y, x
    #[arg(long, default_value = "3,128,512,512", value_parser = parse_list::<4>)]
    shape: [u64; 4],
    /// Lengths of a chunk along z, y, x (of an inner chunk, with --shard)
    #[arg(long, default_value = "64,64,64", value_parser = parse_list::<3>)]
    chunk: [u64; 3],
    /// Lengths of a shard along z, y, x
    #[arg(long, value_parser = parse_list::<3>)]
    shard: Option<[u64; 3]>,
    /// Compression
    #[arg(long, default_value = "blosc")]
    codec: Codec,
    /// Number of levels, each halved along all axes
    #[arg(long, default_value_t = 4)]
    levels: usize,
    /// Write the metadata only: every voxel is the fill value
    #[arg(long)]
    declare: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Codec {
    /// Blosc with lz4 and shuffle
    Blosc,
    /// Zstandard, level 3
    Zstd,
    /// None
    Raw,
}

fn parse_list<const N: usize>(text: &str) -> Result<[u64; N], String> {
    let numbers: Vec<u64> = text
        .split(',')
        .map(|number| number.parse().map_err(|_| format!("{number:?} is not a number")))
        .collect::<Result<_, String>>()?;
    if numbers.contains(&0) {
        return Err("lengths must be at least 1".to_owned());
    }
    <[u64; N]>::try_from(numbers).map_err(|_| format!("{N} numbers are needed"))
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    anyhow::ensure!(!options.out.exists(), "{}: exists already", options.out.display());
    let store = Arc::new(FilesystemStore::new(&options.out).context("cannot make the store")?);
    let mut group = GroupBuilder::new();
    group.attributes(ome_metadata(&options));
    group.build(store.clone(), "/")?.store_metadata()?;
    let levels: Vec<Array<FilesystemStore>> = (0..options.levels)
        .map(|level| build_level(&store, &options, level))
        .collect::<Result<_, _>>()?;
    for level in &levels {
        level.store_metadata()?;
    }
    if !options.declare {
        for channel in 0..options.shape[0] {
            write_channel(&levels, &options, channel)?;
        }
    }
    println!("{}: {} bytes of voxels", options.out.display(), voxel_bytes(&options));
    Ok(())
}

/// Size of level 0.
fn voxel_bytes(options: &Options) -> u128 {
    options.shape.iter().fold(2, |bytes, n| bytes * u128::from(*n))
}

fn level_shape(options: &Options, level: usize) -> [u64; 4] {
    let [c, z, y, x] = options.shape;
    let halved = |n: u64| (n >> level).max(1);
    [c, halved(z), halved(y), halved(x)]
}

fn build_level(
    store: &Arc<FilesystemStore>,
    options: &Options,
    level: usize,
) -> anyhow::Result<Array<FilesystemStore>> {
    let shape = level_shape(options, level);
    let [z, y, x] = options.chunk;
    let chunk = vec![1, z, y, x];
    let outer = match options.shard {
        Some([z, y, x]) => vec![1, z, y, x],
        None => chunk.clone(),
    };
    let mut builder = ArrayBuilder::new(shape.to_vec(), outer, data_type::uint16(), 0_u16);
    if options.shard.is_some() {
        builder.subchunk_shape(chunk);
    }
    let codec: Option<Arc<dyn BytesToBytesCodecTraits>> = match options.codec {
        Codec::Raw => None,
        Codec::Zstd => Some(Arc::new(ZstdCodec::new(3, false))),
        Codec::Blosc => Some(Arc::new(BloscCodec::new(
            BloscCompressor::LZ4,
            5.try_into().map_err(|_| anyhow::anyhow!("compression level"))?,
            None,
            BloscShuffleMode::Shuffle,
            Some(2),
        )?)),
    };
    builder.bytes_to_bytes_codecs(codec.into_iter().collect());
    builder.dimension_names(["c", "z", "y", "x"].into());
    Ok(builder.build(store.clone(), &format!("/{level}"))?)
}

fn ome_metadata(options: &Options) -> Map<String, Value> {
    let micrometre = |name: &str| json!({"name": name, "type": "space", "unit": "micrometer"});
    let axes = json!([{"name": "c", "type": "channel"}, micrometre("z"), micrometre("y"), micrometre("x")]);
    let datasets: Vec<Value> = (0..options.levels)
        .map(|level| {
            let step = f64::from(1_u32 << level);
            let scale = json!([1.0, 2.0 * step, 0.65 * step, 0.65 * step]);
            let transform = json!([{"type": "scale", "scale": scale}]);
            json!({"path": level.to_string(), "coordinateTransformations": transform})
        })
        .collect();
    let colours = ["0000FF", "00FF00", "FF00FF"];
    let names = ["DAPI", "GFP", "Cy5"];
    let channels: Vec<Value> = (0..options.shape[0])
        .map(|c| {
            let i = usize::try_from(c).unwrap_or(0);
            let window = json!({"min": 0, "max": 65535, "start": 100, "end": 1800});
            json!({"label": names.get(i).map_or(format!("Channel {c}"), |n| (*n).to_owned()),
                   "color": colours.get(i).unwrap_or(&"FFFFFF"), "window": window, "active": true})
        })
        .collect();
    let name =
        options.out.file_stem().map_or("sample".into(), |s| Path::new(s).display().to_string());
    let multiscales = json!([{"name": name, "axes": axes, "datasets": datasets}]);
    let ome =
        json!({"version": "0.5", "multiscales": multiscales, "omero": {"channels": channels}});
    Map::from_iter([("ome".to_owned(), ome)])
}

/// Writes one channel: chunk layers of level 0 from the formula, each reduced into the level below.
fn write_channel(
    levels: &[Array<FilesystemStore>],
    options: &Options,
    channel: u64,
) -> anyhow::Result<()> {
    let [_, size_z, size_y, size_x] = options.shape;
    let mut volume = vec![0_u16; usize::try_from(size_z * size_y * size_x)?];
    let plane = usize::try_from(size_y * size_x)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let per_thread = volume.len().div_ceil(plane).div_ceil(threads) * plane;
        for (part, slab) in volume.chunks_mut(per_thread).enumerate() {
            let first = (part * per_thread / plane) as u64;
            scope.spawn(move || fill_slab(slab, first, options, channel));
        }
    });
    let mut shape = [size_z, size_y, size_x];
    for (number, level) in levels.iter().enumerate() {
        if number > 0 {
            (volume, shape) = halve(&volume, shape)?;
        }
        let subset = zarrs::array::ArraySubset::new_with_ranges(&[
            channel..channel + 1,
            0..shape[0],
            0..shape[1],
            0..shape[2],
        ]);
        level.store_array_subset(&subset, &volume)?;
    }
    Ok(())
}

/// Spots on a jittered grid over a slope, with noise.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a picture, not a measurement"
)]
fn fill_slab(slab: &mut [u16], first_plane: u64, options: &Options, channel: u64) {
    const CELL: u64 = 48;
    let [_, _, size_y, size_x] = options.shape;
    for (i, voxel) in slab.iter_mut().enumerate() {
        let i = i as u64;
        let x = i % size_x;
        let y = i / size_x % size_y;
        let z = first_plane + i / (size_x * size_y);
        let spot = hash(z / CELL, y / CELL, x / CELL, channel);
        let centre = |shift: u32| 12.0 + (spot >> shift & 0xff) as f32 / 255.0 * 24.0;
        let distance = |at: u64, shift: u32| (at % CELL) as f32 - centre(shift);
        let squared = distance(z, 0).powi(2) + distance(y, 8).powi(2) + distance(x, 16).powi(2);
        let brightness = 400.0 + (spot >> 24 & 0x7ff) as f32;
        let signal = brightness * (-squared / 90.0).exp();
        let slope = 40.0 * (y as f32 / size_y as f32);
        let noise = (hash(z, y, x, channel) & 31) as f32;
        *voxel = (OFFSET + slope + signal + noise) as u16;
    }
}

/// Mean of eight voxels, odd last planes dropped.
fn halve(volume: &[u16], shape: [u64; 3]) -> anyhow::Result<(Vec<u16>, [u64; 3])> {
    let half = shape.map(|n| (n / 2).max(1));
    let at = |z: u64, y: u64, x: u64| -> u32 {
        let [z, y, x] = [z.min(shape[0] - 1), y.min(shape[1] - 1), x.min(shape[2] - 1)];
        let index = (z * shape[1] + y) * shape[2] + x;
        u32::from(volume[usize::try_from(index).unwrap_or(usize::MAX)])
    };
    let mut out = Vec::with_capacity(usize::try_from(half.iter().product::<u64>())?);
    for z in 0..half[0] {
        for y in 0..half[1] {
            for x in 0..half[2] {
                let mut sum = 0;
                for (dz, dy, dx) in [
                    (0, 0, 0),
                    (0, 0, 1),
                    (0, 1, 0),
                    (0, 1, 1),
                    (1, 0, 0),
                    (1, 0, 1),
                    (1, 1, 0),
                    (1, 1, 1),
                ] {
                    sum += at(2 * z + dz, 2 * y + dy, 2 * x + dx);
                }
                out.push(u16::try_from(sum / 8)?);
            }
        }
    }
    Ok((out, half))
}
