//! What many datasets cost.
//!
//! A series of 1000 time points and 4 channels: the time until all metadata is served, first and after a
//! restart. All chunks are one file under many names, so the disk is never the limit. What computed levels
//! and exact statistics of a large volume cost is the case `computed` of the bench `mounted`.
//!
//! ```text
//! cargo bench --bench pyramid -- [--write]
//! ```

#![allow(missing_docs, reason = "a program, not an interface")]
#![allow(clippy::cast_precision_loss, reason = "figures are for people")]

mod measure;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use zarrs::array::{Array, ArrayBytes};
use zarrs::filesystem::FilesystemStore;

use measure::common::ims::Ims;
use measure::common::mount::Starter;
use measure::declare::{Declared, blosc};
use measure::figures::{Figures, Table, milliseconds};

/// Rounds; the first warms the disk and is not counted.
const ROUNDS: usize = 6;

/// Lengths (t, c, z, y, x).
const SHAPE: [u64; 5] = [1000, 4, 8, 64, 64];

fn main() {
    if !measure::is_bench() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("series");
    write_store(&source.join("image.zarr"));
    let mut times: [Figures; 2] = Default::default();
    let mut peaks: [Figures; 2] = Default::default();
    let mut bytes = 0;
    for round in 0..ROUNDS {
        let cache = tempfile::tempdir().expect("a temporary folder");
        for (times, peaks) in times.iter_mut().zip(&mut peaks) {
            let mount = Starter::new(&source).cache(cache.path()).try_start().expect("mounted");
            let started = Instant::now();
            bytes = read_metadata(&mount.path().join("image.ims"));
            if round > 0 {
                times.push(milliseconds(started));
                peaks.push(mount.peak_memory_kib() as f64 / 1024.0);
            }
        }
    }
    let mut table = Table::new(["", "ms", "peak, MiB"]);
    let names = ["first opening, all metadata read", "after a restart"];
    for (name, (times, peaks)) in names.iter().zip(times.iter().zip(&peaks)) {
        table.row([(*name).to_owned(), times.cell(0), format!("{:.0}", peaks.most())]);
    }
    let how = format!(
        "1000 time points x 4 channels, {} MiB of metadata; {} rounds, new daemon each time, source in \
         the page cache, median (least to most)",
        bytes >> 20,
        ROUNDS - 1
    );
    measure::publish::publish("datasets", &how, table.text(), measure::is_written());
}

/// Reads what lies before the voxels, and opens the file with libhdf5; the number of bytes read.
fn read_metadata(path: &Path) -> u64 {
    let size = fs::metadata(path).expect("listed").len();
    let [times, channels, z, y, x] = SHAPE;
    // Voxels, their tail of zeros, and the B-tree of each dataset are no metadata.
    let voxels = times * channels * (z * y * x * 2 + 3136) + (64 << 10);
    let mut rest = size - voxels;
    let mut file = File::open(path).expect("opens");
    let mut buffer = vec![0; 1 << 20];
    while rest > 0 {
        let want = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..want]).expect("reads");
        rest -= want as u64;
    }
    let ims = Ims::open(path).expect("opens");
    assert_eq!(ims.time_points(0).expect("groups") as u64, times);
    size - voxels
}

/// Metadata, one chunk, and its names.
fn write_store(store: &Path) {
    let declared = Declared {
        axes: "tczyx",
        shape: SHAPE.to_vec(),
        chunk: vec![1, 1, 8, 64, 64],
        shard: None,
        data_type: "uint16",
        compressor: Some(blosc(2)),
        fill_value: 0,
        separator: ".",
        pyramid: false,
    };
    declared.write(store);
    let folder = store.join("0");
    let storage = Arc::new(FilesystemStore::new(&folder).expect("a folder"));
    let array = Array::open(storage, "/").expect("metadata zarrs takes");
    // A ramp with noise, which compresses like an image.
    let mut state = 1_u32;
    let voxels = (0..declared.chunk.iter().product::<u64>()).flat_map(|at| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        u16::try_from(at / 64 % 3000 + u64::from(state >> 28)).unwrap_or(0).to_le_bytes()
    });
    let bytes = ArrayBytes::new_flen(voxels.collect::<Vec<u8>>());
    array.store_chunk(&[0; 5], bytes).expect("a chunk zarrs can encode");
    let name = |number: u64| {
        let [_, channels, ..] = SHAPE;
        folder.join(format!("c.{}.{}.0.0.0", number / channels, number % channels))
    };
    for number in 1..SHAPE[0] * SHAPE[1] {
        fs::hard_link(name(0), name(number)).expect("a link");
    }
}
