//! Does opening cost the same for a gigabyte, a terabyte and a petabyte?
//!
//! Stores that declare these sizes (every chunk missing, so every voxel is the fill value) are listed,
//! opened and sampled through a kernel mount, side by side, each time with a new daemon and an empty
//! cache.
//!
//! ```text
//! cargo bench --bench scale -- [--write]
//! ```

#![allow(missing_docs, reason = "a program, not an interface")]

mod measure;

use std::path::{Path, PathBuf};
use std::time::Instant;

use measure::common::ims::Ims;
use measure::common::mount::Starter;
use measure::declare::Declared;
use measure::figures::{Figures, Table, milliseconds};

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
    list: Figures,
    open: Figures,
    sample: Figures,
}

fn main() {
    if !measure::is_bench() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for pyramid in [true, false] {
        compare(folder.path(), pyramid);
    }
}

fn compare(folder: &Path, pyramid: bool) {
    let sources: Vec<PathBuf> = STORES
        .iter()
        .map(|(name, shape)| {
            let source = folder.join(format!("{name} {pyramid}"));
            Declared::volume(*shape, pyramid).write(&source.join("image.zarr"));
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
    let mut table = Table::new(["store", "list, ms", "open, ms", "64 random voxels, ms"]);
    for ((name, _), own) in STORES.iter().zip(&times) {
        let cell = |own: &Figures, base: &Figures| {
            format!("{}, x{:.2}", own.cell(1), own.over(base).median())
        };
        table.row([
            (*name).to_owned(),
            cell(&own.list, &times[0].list),
            cell(&own.open, &times[0].open),
            cell(&own.sample, &times[0].sample),
        ]);
    }
    let how = format!(
        "{} rounds, new daemon and empty cache each time, median (least to most), ratio to the first",
        ROUNDS - 1
    );
    let name = if pyramid { "scale-pyramid" } else { "scale-flat" };
    measure::publish::publish(name, &how, table.text(), measure::is_written());
}

/// Times listing, opening and sampling with a new daemon and an empty cache.
fn measure(source: &Path, shape: [u64; 3], seed: u64) -> [f64; 3] {
    let started = Instant::now();
    let rows = measure::common::list_json(source, &[]);
    let list = milliseconds(started);
    let file = measure::common::files(&rows).remove(0);

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
