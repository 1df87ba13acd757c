//! What many time points, channels and levels cost.
//!
//! * `datasets-open`: from a first opening to a slice of the last time point, side by side for series of different
//!   lengths. The stores declare their voxels, every chunk is missing.
//! * `datasets-walk`: a reader of every attribute and every histogram of 1000 time points and 4 channels. All chunks
//!   are one file under many names, so the disk is never the limit.
//!
//! ```text
//! cargo bench --bench datasets -- [--write]
//! ```

#![allow(missing_docs, reason = "a program, not an interface")]
#![allow(clippy::cast_precision_loss, reason = "figures are for people")]

mod measure;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hdf5_metno::File;
use hdf5_metno::types::FixedAscii;
use zarrs::array::{Array, ArrayBytes};
use zarrs::filesystem::FilesystemStore;

use measure::common::ims::Ims;
use measure::common::mount::Starter;
use measure::declare::{COARSEST_BYTES, Declared, blosc};
use measure::figures::{Figures, Table, milliseconds};

/// Rounds; the first warms the disk and is not counted.
const ROUNDS: usize = 6;

/// A series without a chunk.
struct Series {
    name: &'static str,
    time_points: u64,
    channels: u64,
    /// Lengths (z, y, x), of which the number of levels follows.
    shape: [u64; 3],
    levels: usize,
}

const fn flat(name: &'static str, time_points: u64, channels: u64) -> Series {
    Series { name, time_points, channels, shape: [16, 64, 64], levels: 1 }
}

/// The first one is what the others are compared with.
const SERIES: [Series; 5] = [
    flat("1", 1, 1),
    flat("1000", 1000, 1),
    flat("50 000", 50_000, 1),
    Series {
        name: "50 000 x 4 channels x 8 levels",
        time_points: 50_000,
        channels: 4,
        shape: [8192, 8192, 16_384],
        levels: 8,
    },
    flat("1 x 10 000 channels", 1, 10_000),
];

/// Of so many time stamps one is read: libhdf5 looks through all of them for each.
const STAMP_STEP: usize = 97;

/// What is measured of a series.
#[derive(Default)]
struct Opening {
    /// The look at the file, in milliseconds.
    look: Figures,
    /// From opening it to the slice.
    slice: Figures,
    /// The same of another opening, all from the kernel's pages.
    again: Figures,
    read_kib: Figures,
    /// Each 97th time stamp, of the first opening and from the kernel's pages.
    times: [Figures; 2],
    peak_mib: Figures,
}

/// Lengths (t, c, z, y, x) of the series that is walked.
const WALKED: [u64; 5] = [1000, 4, 16, 64, 64];

/// Of it two levels are stored.
const WALKED_COARSEST_BYTES: u64 = 16 << 10;

fn main() {
    if !measure::is_bench() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    compare_openings(folder.path());
    compare_walks(&folder.path().join("walked"));
}

fn compare_openings(folder: &Path) {
    let mut found: Vec<Opening> = SERIES.iter().map(|_| Opening::default()).collect();
    for round in 0..ROUNDS {
        for (number, (series, found)) in SERIES.iter().zip(&mut found).enumerate() {
            let source = folder.join(number.to_string());
            if round == 0 {
                declare(series, &source.join("image.zarr"));
                open(series, &source, &mut Opening::default());
            } else {
                open(series, &source, found);
            }
        }
    }
    let mut table = Table::new([
        "time points",
        "look, ms",
        "open to slice, ms",
        "more than of one, s",
        "again from the kernel's pages, ms",
        "read, KiB",
        "`TimeInfo` and each 97th stamp, ms",
        "again, ms",
        "peak, MiB",
        "of one",
    ]);
    for (series, own) in SERIES.iter().zip(&found) {
        let one = &found[0];
        let more = own.slice.with(&one.slice, |own, one| (own - one) / 1000.0);
        table.row([
            series.name.to_owned(),
            own.look.cell(1),
            own.slice.cell(1),
            more.at_most(3, 0.2),
            own.again.cell(1),
            format!("{:.0}", own.read_kib.median()),
            own.times[0].cell(1),
            own.times[1].cell(1),
            own.peak_mib.cell(1),
            own.peak_mib.over(&one.peak_mib).at_most(2, 1.2),
        ]);
    }
    let how = format!(
        "every chunk missing; {} rounds in turn, new daemon and empty cache each time, median (least to most); the \
         slice is of the coarsest level of the last time point and channel",
        ROUNDS - 1
    );
    measure::publish::publish("datasets-open", &how, table.text(), measure::is_written());
}

fn declare(series: &Series, store: &Path) {
    let [z, y, x] = series.shape;
    let declared = Declared {
        axes: "tczyx",
        shape: vec![series.time_points, series.channels, z, y, x],
        chunk: vec![1, 1, 16, 64, 64],
        shard: None,
        data_type: "uint16",
        compressor: None,
        fill_value: 7,
        separator: "/",
        coarsest_bytes: Some(COARSEST_BYTES),
    };
    assert_eq!(declared.levels().len(), series.levels, "{}", series.name);
    declared.write(store);
}

fn open(series: &Series, source: &Path, found: &mut Opening) {
    let mount = Starter::new(source).try_start().expect("mounted");
    let path = mount.path().join("image.ims");
    let started = Instant::now();
    fs::metadata(&path).expect("listed");
    found.look.push(milliseconds(started));
    let before = read_bytes();
    found.slice.push(slice(series, &path));
    found.read_kib.push((read_bytes() - before) as f64 / 1024.0);
    found.peak_mib.push(mount.peak_memory_kib() as f64 / 1024.0);
    found.again.push(slice(series, &path));
    for times in &mut found.times {
        let started = Instant::now();
        let file = File::open(&path).expect("opens");
        let group = file.group("DataSetInfo/TimeInfo").expect("a group");
        let stamps = (1..=series.time_points).map(|t| format!("TimePoint{t}"));
        for name in stamps.step_by(STAMP_STEP) {
            let attribute = group.attr(&name).expect("a stamp");
            attribute.read_raw::<FixedAscii<1>>().expect("reads");
        }
        times.push(milliseconds(started));
    }
}

/// Reads a slice of the last time point; how long it takes, in milliseconds.
fn slice(series: &Series, path: &Path) -> f64 {
    let started = Instant::now();
    let ims = Ims::open(path).expect("opens");
    let last = |count: u64| usize::try_from(count - 1).expect("few");
    let (t, c) = (last(series.time_points), last(series.channels));
    let voxels = ims.pixels_in(series.levels - 1, t, c, [0..1, 0..64, 0..64]).expect("reads");
    let elapsed = milliseconds(started);
    assert!(voxels.as_chunks::<2>().0.iter().all(|voxel| *voxel == [7, 0]), "the fill value");
    elapsed
}

/// Bytes that this process has asked the system for.
fn read_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("the system tells");
    let bytes = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    bytes.and_then(|bytes| bytes.parse().ok()).expect("a number")
}

fn compare_walks(source: &Path) {
    let store = source.join("image.zarr");
    write_store(&store);
    let mut decoding = Figures::default();
    let mut walks: [(Figures, Figures); 3] = Default::default();
    for round in 0..ROUNDS {
        let decoded = decode(&store.join("0"));
        let cache = tempfile::tempdir().expect("a temporary folder");
        let start = || Starter::new(source).cache(cache.path()).try_start().expect("mounted");
        let mut measured = Vec::new();
        for walks in [2, 1] {
            let mount = start();
            for _ in 0..walks {
                let time = walk(&mount.path().join("image.ims"));
                measured.push((time, mount.peak_memory_kib() as f64 / 1024.0));
            }
        }
        if round > 0 {
            decoding.push(decoded);
            for ((times, peaks), (time, peak)) in walks.iter_mut().zip(measured) {
                times.push(time);
                peaks.push(peak);
            }
        }
    }
    let mut table = Table::new(["", "ms", "peak, MiB"]);
    let names = ["first", "again, from the kernel's pages", "after a restart"];
    for (name, (times, peaks)) in names.iter().zip(&walks) {
        table.row([(*name).to_owned(), times.cell(0), format!("{:.0}", peaks.most())]);
    }
    table.row([
        "D: the counted level decoded and dropped".to_owned(),
        decoding.cell(0),
        String::new(),
    ]);
    let how = format!(
        "{} time points x {} channels, two stored levels, of which the first, {} MiB, is counted; {} rounds, new daemon \
         each time, source in the page cache, median (least to most)",
        WALKED[0],
        WALKED[1],
        (2 * WALKED.iter().product::<u64>()) >> 20,
        ROUNDS - 1
    );
    measure::publish::publish("datasets-walk", &how, table.text(), measure::is_written());
}

/// Reads every attribute and histogram of every dataset, a time point after the other; how long it takes, in
/// milliseconds.
fn walk(path: &Path) -> f64 {
    let started = Instant::now();
    let file = File::open(path).expect("opens");
    let mut voxels = 0;
    let [time_points, channels, ..] = WALKED;
    for t in 0..time_points {
        for c in 0..channels {
            for level in 0..2 {
                let path = format!("DataSet/ResolutionLevel {level}/TimePoint {t}/Channel {c}");
                let group = file.group(&path).expect("a channel");
                for name in group.attr_names().expect("attributes") {
                    let attribute = group.attr(&name).expect("an attribute");
                    attribute.read_raw::<FixedAscii<1>>().expect("reads");
                }
                for name in ["Histogram", "Histogram1024"] {
                    let dataset = group.dataset(name).expect("a histogram");
                    voxels += dataset.read_raw::<u64>().expect("reads").iter().sum::<u64>();
                }
            }
        }
    }
    let elapsed = milliseconds(started);
    let all = WALKED.iter().product::<u64>();
    assert_eq!(
        voxels,
        2 * (all + all / 8),
        "each voxel is counted in both histograms of its level"
    );
    elapsed
}

/// Decodes all chunks of an array on all cores; how long it takes, in milliseconds.
fn decode(folder: &Path) -> f64 {
    let storage = Arc::new(FilesystemStore::new(folder).expect("a folder"));
    let array = Array::open(storage, "/").expect("metadata zarrs takes");
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let [time_points, channels, ..] = WALKED;
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let array = &array;
            scope.spawn(move || {
                for number in
                    (thread..time_points * channels).step_by(usize::try_from(threads).expect("few"))
                {
                    let chunk = [number / channels, number % channels, 0, 0, 0];
                    array.retrieve_chunk::<ArrayBytes>(&chunk).expect("a chunk zarrs can decode");
                }
            });
        }
    });
    milliseconds(started)
}

/// Metadata, one chunk of each level, and its names.
fn write_store(store: &Path) {
    let [time_points, channels, z, y, x] = WALKED;
    let declared = Declared {
        axes: "tczyx",
        shape: WALKED.to_vec(),
        chunk: vec![1, 1, z, y, x],
        shard: None,
        data_type: "uint16",
        compressor: Some(blosc(2)),
        fill_value: 0,
        separator: ".",
        coarsest_bytes: Some(WALKED_COARSEST_BYTES),
    };
    declared.write(store);
    assert_eq!(declared.levels().len(), 2);
    for level in 0..2 {
        let folder = store.join(level.to_string());
        let storage = Arc::new(FilesystemStore::new(&folder).expect("a folder"));
        let array = Array::open(storage, "/").expect("metadata zarrs takes");
        // A ramp with noise, which compresses like an image.
        let mut state = 1_u32;
        let voxels = (0..z * y * x).flat_map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u16::try_from(at / 64 % 3000 + u64::from(state >> 28)).unwrap_or(0).to_le_bytes()
        });
        let bytes = ArrayBytes::new_flen(voxels.collect::<Vec<u8>>());
        array.store_chunk(&[0; 5], bytes).expect("a chunk zarrs can encode");
        let name = |number: u64| {
            folder.join(format!("c.{}.{}.0.0.0", number / channels, number % channels))
        };
        for number in 1..time_points * channels {
            fs::hard_link(name(0), name(number)).expect("a link");
        }
    }
}
