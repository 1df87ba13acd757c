//! What computed levels, exact statistics and many datasets cost.
//!
//! An image of 2 GiB without a pyramid, in chunks of 64 x 64 x 64 (Blosc lz4): the time until the coarsest
//! level is there, and until exact statistics are, beside **D**, the time `zarrs` takes to decode the
//! same chunks on all cores and to drop them. Then a series of 1000 time points and 4 channels: the time
//! until all metadata is served, first and after a restart. All chunks of a store are one file under
//! many names, so the disk is never the limit.
//!
//! ```text
//! cargo bench --bench pyramid
//! ```

#![allow(missing_docs, reason = "a program, not an interface")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};
use zarrs::array::{Array, ArrayBytes};
use zarrs::filesystem::FilesystemStore;

use common::ims::Ims;
use common::mount::{Mount, Starter};

/// Rounds; the first warms the disk and is not counted.
const ROUNDS: usize = 6;

/// An image (t, c, z, y, x) and its chunks.
const VOLUME: ([u64; 5], [u64; 5]) = ([1, 1, 512, 1024, 2048], [1, 1, 64, 64, 64]);
const SERIES: ([u64; 5], [u64; 5]) = ([1000, 4, 8, 64, 64], [1, 1, 8, 64, 64]);

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    volume(&folder.path().join("volume"));
    series(&folder.path().join("series"));
}

fn volume(source: &Path) {
    write_store(&source.join("image.zarr"), VOLUME);
    let mut rows: [Vec<f64>; 3] = Default::default();
    let mut peaks = [0; 2];
    for round in 0..ROUNDS {
        let decoded = decode_all(&source.join("image.zarr/0"));
        let mut times = vec![decoded];
        for (peak, statistics) in peaks.iter_mut().zip(["fast", "exact"]) {
            let mount = mount(source, None, statistics);
            let started = Instant::now();
            let ims = Ims::open(&mount.path().join("image.ims")).expect("opens");
            let coarsest = ims.levels().expect("levels") - 1;
            ims.pixels(coarsest, 0, 0).expect("reads");
            times.push(milliseconds(started));
            *peak = mount.peak_memory_kib().max(*peak);
        }
        if round > 0 {
            rows.iter_mut().zip(times).for_each(|(row, time)| row.push(time));
        }
    }
    println!("\n| 2 GiB without a pyramid | ms | throughput against D | peak resident |");
    println!("|---|---|---|---|");
    let base = median(&rows[0]);
    let names = ["D: decoded and dropped", "all levels computed", "and exact statistics"];
    for ((name, row), peak) in names.iter().zip(&rows).zip([0, peaks[0], peaks[1]]) {
        let peak = if peak == 0 { String::new() } else { format!("{} MiB", peak / 1024) };
        println!("| {name} | {} | {:.2} | {peak} |", cell(row), base / median(row));
    }
}

fn series(source: &Path) {
    write_store(&source.join("image.zarr"), SERIES);
    let (mut first, mut again) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for round in 0..ROUNDS {
        let cache = tempfile::tempdir().expect("a temporary folder");
        for times in [&mut first, &mut again] {
            let mount = mount(source, Some(cache.path()), "fast");
            let started = Instant::now();
            bytes = read_metadata(&mount.path().join("image.ims"));
            if round > 0 {
                times.push(milliseconds(started));
            }
        }
    }
    println!("\n| 1000 time points x 4 channels, {} MiB of metadata | ms |", bytes >> 20);
    println!("|---|---|");
    println!("| first opening, all metadata read | {} |", cell(&first));
    println!("| after a restart | {} |", cell(&again));
}

/// Reads what lies before the voxels, and opens the file with libhdf5; the number of bytes read.
fn read_metadata(path: &Path) -> u64 {
    let size = fs::metadata(path).expect("listed").len();
    let [_, _, z, y, x] = SERIES.0;
    // Voxels, their tail of zeros, and the B-tree of each dataset are no metadata.
    let voxels = SERIES.0[0] * SERIES.0[1] * (z * y * x * 2 + 3136) + (64 << 10);
    let mut rest = size - voxels;
    let mut file = File::open(path).expect("opens");
    let mut buffer = vec![0; 1 << 20];
    while rest > 0 {
        let want = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..want]).expect("reads");
        rest -= want as u64;
    }
    let ims = Ims::open(path).expect("opens");
    assert_eq!(ims.time_points(0).expect("groups"), 1000);
    size - voxels
}

fn mount(source: &Path, cache: Option<&Path>, statistics: &str) -> Mount {
    let mut starter = Starter::new(source).args(["--statistics", statistics]);
    if let Some(cache) = cache {
        starter = starter.cache(cache);
    }
    starter.try_start().expect("mounted")
}

/// Decodes every chunk on all cores.
fn decode_all(folder: &Path) -> f64 {
    let storage = Arc::new(FilesystemStore::new(folder).expect("a folder"));
    let array = Array::open(storage, "/").expect("metadata zarrs takes");
    let grid: Vec<u64> = VOLUME.0.iter().zip(VOLUME.1).map(|(n, c)| n.div_ceil(c)).collect();
    let chunks: u64 = grid.iter().product();
    let next = AtomicU64::new(0);
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= chunks {
                        return;
                    }
                    let at = [
                        0,
                        0,
                        number / grid[3] / grid[4],
                        number / grid[4] % grid[3],
                        number % grid[4],
                    ];
                    let bytes: ArrayBytes<'_> = array.retrieve_chunk(&at).expect("decodes");
                    assert!(bytes.size() > 0);
                }
            });
        }
    });
    milliseconds(started)
}

/// Metadata, one chunk, and its names.
fn write_store(store: &Path, (shape, chunk): ([u64; 5], [u64; 5])) {
    let folder = store.join("0");
    let axes = ["t", "c", "z", "y", "x"].map(|name| json!({"name": name}));
    write(
        store,
        &json!({"zarr_format": 3, "node_type": "group", "attributes": {"ome": {
        "version": "0.5", "multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}}}),
    );
    write(
        &folder,
        &json!({
        "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "blosc", "configuration": {"cname": "lz4", "clevel": 5,
                "shuffle": "shuffle", "typesize": 2, "blocksize": 0}}],
        "fill_value": 0, "attributes": {}}),
    );
    let storage = Arc::new(FilesystemStore::new(&folder).expect("a folder"));
    let array = Array::open(storage, "/").expect("metadata zarrs takes");
    // A ramp with noise, which compresses like an image.
    let mut state = 1_u32;
    let voxels = (0..chunk.iter().product::<u64>()).flat_map(|at| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u16::try_from(at / 64 % 3000 + u64::from(state >> 28)).unwrap_or(0).to_le_bytes()
    });
    let bytes = ArrayBytes::new_flen(voxels.collect::<Vec<u8>>());
    array.store_chunk(&[0; 5], bytes).expect("a chunk zarrs can encode");
    let name = |at: [u64; 5]| -> PathBuf {
        folder.join(format!("c.{}", at.map(|n| n.to_string()).join(".")))
    };
    let grid: [u64; 5] = std::array::from_fn(|axis| shape[axis].div_ceil(chunk[axis]));
    for number in 1..grid.iter().product() {
        let mut rest = number;
        let mut at = [0; 5];
        for axis in (0..5).rev() {
            at[axis] = rest % grid[axis];
            rest /= grid[axis];
        }
        fs::hard_link(name([0; 5]), name(at)).expect("a link");
    }
}

fn write(folder: &Path, document: &Value) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join("zarr.json"), document.to_string()).expect("metadata");
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn cell(values: &[f64]) -> String {
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    format!("{:.0} ({low:.0} to {high:.0})", median(values))
}
