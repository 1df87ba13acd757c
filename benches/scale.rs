//! Does opening cost the same for a gigabyte, a terabyte and a petabyte?
//!
//! Stores that declare these sizes (every chunk missing, so every voxel is the fill value) are listed,
//! opened and sampled through a kernel mount, side by side, each time with a new daemon and an empty
//! cache. Prints medians and ratios to the smallest as a table for `doc/PERFORMANCE.md`.
//!
//! ```text
//! cargo bench --bench scale
//! ```

#![allow(missing_docs, reason = "a program, not an interface")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use common::ims::Ims;
use common::mount::Starter;

/// Rounds; the first warms the disk and is not counted.
const ROUNDS: usize = 8;

/// Voxels read at random places, each in another chunk.
const SAMPLES: u64 = 64;

/// Name and shape (z, y, x) of uint16 voxels.
const STORES: [(&str, [u64; 3]); 3] = [
    ("1 GiB", [512, 1024, 1024]),
    ("1 TiB", [8192, 8192, 8192]),
    ("1 PiB", [65_536, 65_536, 131_072]),
];

/// What is timed, in milliseconds.
#[derive(Default)]
struct Times {
    list: Vec<f64>,
    open: Vec<f64>,
    sample: Vec<f64>,
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for pyramid in [true, false] {
        println!("\n{}:\n", if pyramid { "With a pyramid" } else { "One level only" });
        compare(folder.path(), pyramid);
    }
}

fn compare(folder: &Path, pyramid: bool) {
    let sources: Vec<PathBuf> = STORES
        .iter()
        .map(|(name, shape)| {
            let source = folder.join(format!("{name} {pyramid}"));
            declare(&source.join("image.zarr"), *shape, pyramid);
            source
        })
        .collect();
    let mut times: Vec<Times> = STORES.iter().map(|_| Times::default()).collect();
    for round in 0..ROUNDS {
        for ((source, times), (_, shape)) in sources.iter().zip(&mut times).zip(&STORES) {
            let measured = measure(source, *shape, round as u64);
            if round > 0 {
                times.list.push(measured[0]);
                times.open.push(measured[1]);
                times.sample.push(measured[2]);
            }
        }
    }
    println!("| store | list, ms | open, ms | {SAMPLES} random voxels, ms |");
    println!("|---|---|---|---|");
    for ((name, _), own) in STORES.iter().zip(&times) {
        let cell = |own: &[f64], base: &[f64]| {
            let (low, high) =
                own.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            let ratio = median(own) / median(base);
            format!("{:.1} ({low:.1} to {high:.1}), x{ratio:.2}", median(own))
        };
        println!(
            "| {name} | {} | {} | {} |",
            cell(&own.list, &times[0].list),
            cell(&own.open, &times[0].open),
            cell(&own.sample, &times[0].sample)
        );
    }
}

/// Times listing, opening and sampling with a new daemon and an empty cache.
fn measure(source: &Path, shape: [u64; 3], seed: u64) -> [f64; 3] {
    let started = Instant::now();
    let rows = common::list_json(source, &[]);
    let list = milliseconds(started);
    let file = common::files(&rows).remove(0);

    let mount = Starter::new(source).try_start().expect("mounted");
    let started = Instant::now();
    let ims = Ims::open(&mount.path().join(file)).expect("opens");
    assert!(ims.levels().expect("levels") >= 1);
    assert_eq!(ims.info_size().expect("size").map(|n| n as u64), shape);
    let open = milliseconds(started);

    let started = Instant::now();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..SAMPLES {
        let at = shape.map(|length| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % length).expect("64-bit")
        });
        let voxel = ims.voxel_at(0, 0, 0, at).expect("reads");
        assert!((voxel - 7.0).abs() < f64::EPSILON, "the fill value at {at:?}");
    }
    [list, open, milliseconds(started)]
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Metadata of an image without a single chunk; fill value 7.
fn declare(store: &Path, shape: [u64; 3], pyramid: bool) {
    let mut shapes = vec![shape];
    while pyramid && shapes.last().is_some_and(|s| s.iter().product::<u64>() > 512 << 10) {
        shapes.extend(shapes.last().map(|s| s.map(|n| (n / 2).max(1))));
    }
    let axes: Vec<Value> = ["z", "y", "x"]
        .iter()
        .map(|name| json!({"name": name, "type": "space", "unit": "micrometer"}))
        .collect();
    let datasets: Vec<Value> = (0..shapes.len())
        .map(|level| {
            let step = f64::from(1_u32 << level);
            let scale = json!([{"type": "scale", "scale": [step, step, step]}]);
            json!({"path": level.to_string(), "coordinateTransformations": scale})
        })
        .collect();
    write(
        store,
        &json!({"zarr_format": 3, "node_type": "group", "attributes": {"ome": {
        "version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}}}),
    );
    for (level, shape) in shapes.iter().enumerate() {
        write(
            &store.join(level.to_string()),
            &json!({
            "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [64, 64, 64]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "fill_value": 7, "attributes": {}}),
        );
    }
}

fn write(folder: &Path, document: &Value) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join("zarr.json"), document.to_string()).expect("metadata");
}
