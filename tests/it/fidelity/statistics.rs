//! Histograms, ranges and thumbnails, computed again from whole arrays. The formulas are those of
//! `imaris-format.md`, section 9, written without the program's.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use hdf5_metno::types::{IntSize, TypeDescriptor};
use serde_json::json;
use zarrims::image::ImageOptions;

use super::thumbnail::assert_thumbnail;
use super::{Shown, assert_close, ome, source, write_array, write_group};
use crate::common::ims::Ims;
use crate::common::library::Library;
use crate::common::mount::{Mount, can_mount, summary};
use crate::common::rest::rest;

/// What a channel group must hold.
struct Expected {
    min: f64,
    max: f64,
    histogram: Vec<u64>,
    histogram_1024: Option<Vec<u64>>,
}

/// Bin `i` of `n` goes to bin `i * m / n`.
fn resampled(bins: &[u64], m: usize) -> Vec<u64> {
    let mut out = vec![0; m];
    for (i, count) in bins.iter().enumerate() {
        out[i * m / bins.len()] += count;
    }
    out
}

/// One bin per value from `first` to `last`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "16-bit numbers")]
fn counted(values: &[f64], first: f64, last: f64) -> Vec<u64> {
    let mut bins = vec![0; (last - first) as usize + 1];
    for value in values {
        bins[(value - first) as usize] += 1;
    }
    bins
}

fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of the number of bins"
)]
fn expected(values: &[f64], voxel_type: &TypeDescriptor) -> Expected {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (smallest, largest) = extremes(finite());
    let (min, max) = match voxel_type {
        TypeDescriptor::Unsigned(IntSize::U1) => (0.0, 255.0),
        TypeDescriptor::Unsigned(IntSize::U2) => (0.0, largest.max(256.0)),
        // At least 257 bins, within the range of the type.
        TypeDescriptor::Integer(_) => (smallest, largest.max(smallest + 256.0)),
        _ => {
            let width = largest - smallest;
            let mut fine = vec![0; 1024];
            for value in finite() {
                let bin = ((value - smallest) / width * 1024.0) as usize;
                fine[bin.min(1023)] += 1;
            }
            let histogram = fine.chunks(4).map(|bins| bins.iter().sum()).collect();
            return Expected { min: smallest, max: largest, histogram, histogram_1024: Some(fine) };
        }
    };
    let bins = counted(values, min, max);
    if bins.len() == 256 {
        return Expected { min, max, histogram: bins, histogram_1024: None };
    }
    let fine = if bins.len() > 1024 { resampled(&bins, 1024) } else { bins };
    Expected { min, max, histogram: resampled(&fine, 256), histogram_1024: Some(fine) }
}

/// Compares the histograms of a channel of a level with those of all its voxels.
#[track_caller]
pub(super) fn assert_histograms(shown: &Shown, level: usize, t: usize, c: usize) {
    let voxel_type = shown.voxel_type();
    let values = shown.values(level, t, c);
    let expected = expected(&values, &voxel_type);
    let group = Ims::channel_path(level, t, c);
    let histogram = shown.counts(&group, "Histogram").expect("a histogram");
    assert!(histogram == expected.histogram, "{group}: Histogram");
    let fine = shown.counts(&group, "Histogram1024");
    assert!(fine == expected.histogram_1024, "{group}: Histogram1024");
    let finite = values.iter().filter(|value| value.is_finite()).count() as u64;
    assert_eq!(histogram.iter().sum::<u64>(), finite, "{group}: sum of the bins");
    let suffixes: &[&str] = if fine.is_some() { &["", "1024"] } else { &[""] };
    for suffix in suffixes {
        for (bound, want) in [("Min", expected.min), ("Max", expected.max)] {
            let name = format!("Histogram{bound}{suffix}");
            let found = shown.ims.number(&group, &name).expect("a number");
            // Three decimals.
            assert!((found - want).abs() <= 6e-4, "{group} {name}: {found}, expected {want}");
        }
    }
}

/// The displayed range where the store states none: a thousandth of the voxels of each time point
/// may lie outside on either side.
fn assert_measured_range(shown: &Shown, c: usize) {
    let mut range = (f64::INFINITY, f64::NEG_INFINITY);
    for t in 0..shown.ims.time_points(0).expect("time points") {
        let mut values = shown.values(0, t, c);
        values.sort_by(f64::total_cmp);
        let tail = values.len() / 1000;
        range.0 = range.0.min(values[tail]);
        range.1 = range.1.max(values[values.len() - 1 - tail]);
    }
    assert_close(&shown.color_range(c), &[range.0, range.1], &format!("range of channel {c}"));
}

/// Colours of the two channels of every store here.
const COLOURS: [[u8; 3]; 2] = [[0, 255, 0], [255, 128, 0]];

/// Two time points, two channels; with `windows`, displayed ranges.
fn write_store<const N: usize>(
    store: &Path,
    data_type: &str,
    size: [u64; 3],
    windows: Option<[[f64; 2]; 2]>,
    voxel: impl Fn(&[u64]) -> [u8; N],
) {
    let [z, y, x] = size;
    let shape = [2, 2, z, y, x];
    let chunk = [1, 1, z.div_ceil(2), 256.min(y), 200];
    write_array(&store.join("0"), data_type, &shape, &chunk, voxel);
    let mut ome = ome("tczyx", &[1.0, 1.0, 2.0, 0.5, 0.25]);
    let channels = COLOURS.iter().enumerate().map(|(c, [red, green, blue])| {
        let mut channel = json!({"label": "x", "color": format!("{red:02X}{green:02X}{blue:02X}")});
        if let Some([start, end]) = windows.map(|windows| windows[c]) {
            channel["window"] = json!({"start": start, "end": end});
        }
        channel
    });
    ome["omero"] = json!({"channels": channels.collect::<Vec<_>>()});
    write_group(store, &ome);
}

/// A number without a pattern, the same every time.
fn scrambled(at: &[u64]) -> u64 {
    let hash = at.iter().fold(0x9E37_79B9_7F4A_7C15_u64, |hash, at| {
        (hash ^ at).wrapping_mul(0xFF51_AFD7_ED55_8CCD).rotate_left(31)
    });
    hash >> 33
}

fn write_uint8(store: &Path) {
    let windows = Some([[20.0, 220.0], [0.0, 97.0]]);
    write_store(store, "uint8", [30, 30, 4600], windows, |at| {
        let number = scrambled(at) % 100 + at[4] / 40 + 10 * at[0] + at[1];
        [u8::try_from(number).expect("below 256")]
    });
}

/// Channel 0 has more than 1024 values, channel 1 fewer than 257 at time 0.
fn write_uint16(store: &Path, size: [u64; 3]) {
    write_store(store, "uint16", size, None, |at| {
        let number = match (at[0], at[1]) {
            (_, 0) => scrambled(at) % 900 + at[4] * 31 + 1000 * at[0],
            (0, _) => scrambled(at) % 200,
            _ => scrambled(at) % 700 + 5,
        };
        u16::try_from(number).expect("below 2^16").to_le_bytes()
    });
}

fn write_float32(store: &Path) {
    let windows = Some([[-50.0, 850.5], [0.0, 1.0]]);
    write_store(store, "float32", [9, 501, 603], windows, |at| {
        let number = scrambled(at);
        let wide = u16::try_from(number % 60_000).expect("below 2^16");
        let value = match number % 5003 {
            1 => f32::NAN,
            2 => f32::INFINITY,
            3 => f32::NEG_INFINITY,
            _ if at[1] == 0 => f32::from(wide) / 64.0 - 100.0,
            _ => f32::from(wide) / 60_000.0,
        };
        value.to_le_bytes()
    });
}

#[track_caller]
fn assert_all_histograms(shown: &Shown, sizes: &[[usize; 3]]) {
    assert_eq!(shown.sizes(), sizes);
    for level in 0..sizes.len() {
        for t in 0..2 {
            for c in 0..2 {
                assert_histograms(shown, level, t, c);
            }
        }
    }
}

/// Compares everything that depends on voxels with what the whole arrays give.
#[track_caller]
fn assert_statistics(shown: &Shown, sizes: &[[usize; 3]], is_measured: bool) {
    assert_all_histograms(shown, sizes);
    if is_measured {
        assert_measured_range(shown, 0);
        assert_measured_range(shown, 1);
    }
    assert_thumbnail(shown, &COLOURS);
}

const UINT8_SIZES: [[usize; 3]; 3] = [[30, 30, 4600], [30, 30, 2300], [15, 15, 1150]];
const SMALL_SIZES: [[usize; 3]; 3] = [[9, 501, 603], [9, 250, 301], [9, 125, 150]];
/// More than the 16 Mi voxels that are always measured exactly.
const LARGE_SIZES: [[usize; 3]; 3] = [[5, 905, 1101], [5, 452, 550], [5, 226, 275]];

#[test]
fn statistics_equal_those_of_whole_arrays() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_uint8(&source.path().join("uint8.zarr"));
    write_uint16(&source.path().join("uint16.zarr"), [9, 501, 603]);
    write_float32(&source.path().join("float32.zarr"));
    let mount = Mount::of(source.path()).start();
    assert_statistics(&Shown::open(&mount, "uint8.ims"), &UINT8_SIZES, false);
    assert_statistics(&Shown::open(&mount, "uint16.ims"), &SMALL_SIZES, true);
    assert_statistics(&Shown::open(&mount, "float32.ims"), &SMALL_SIZES, false);
}

#[test]
fn exact_statistics_equal_those_of_whole_arrays() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_uint16(&source.path().join("uint16.zarr"), [5, 905, 1101]);
    write_float32(&source.path().join("float32.zarr"));
    let mount = Mount::of(source.path()).args(["--statistics", "exact"]).start();
    assert_all_histograms(&Shown::open(&mount, "uint16.ims"), &LARGE_SIZES);
    assert_statistics(&Shown::open(&mount, "float32.ims"), &SMALL_SIZES, false);
}

#[test]
fn exact_and_fast_files_differ_in_nothing_but_histograms() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_uint16(&source.path().join("uint16.zarr"), [5, 905, 1101]);
    let mounts = ["fast", "exact"]
        .map(|statistics| Mount::of(source.path()).args(["--statistics", statistics]).start());
    let [fast, exact] = mounts.each_ref().map(|mount| Shown::open(mount, "uint16.ims"));
    for c in 0..2 {
        let [fast, exact] = [&fast, &exact].map(|shown| shown.color_range(c).map(f64::to_bits));
        assert_eq!(fast, exact, "range of channel {c}");
    }
    let thumbnail = fast.thumbnail();
    assert!(thumbnail == exact.thumbnail(), "another thumbnail");
    let shades: std::collections::BTreeSet<_> = thumbnail.2.chunks(4).collect();
    assert!(shades.len() > 20, "a thumbnail of {} shades tells nothing", shades.len());
    let group = Ims::channel_path(0, 1, 1);
    let [fast, exact] = [fast, exact].map(|shown| shown.counts(&group, "Histogram"));
    let (fast, exact) = (fast.expect("a histogram"), exact.expect("a histogram"));
    assert!(fast != exact, "of a part of the voxels, and of all");
    assert_eq!(fast.iter().sum::<u64>(), exact.iter().sum::<u64>());
}

/// How many bytes of metadata a virtual file begins with, from its plan.
fn metadata_bytes(source: &Path, store: &str) -> usize {
    let file = Library::of(source, ImageOptions::default()).file(store);
    usize::try_from(file.plan().layout.metadata_bytes()).expect("64 bits")
}

#[test]
fn exact_statistics_are_kept_across_a_restart() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_uint16(&source.path().join("a.zarr"), [9, 501, 603]);
    rest(source.path());
    let cache = tempfile::tempdir().expect("a temporary folder");
    let mut metadata = vec![0; metadata_bytes(source.path(), "a.zarr")];
    let mut look = || {
        let mount =
            Mount::of(source.path()).cache(cache.path()).args(["--statistics", "exact"]).start();
        let path = mount.path().join("a.ims");
        // Without the page cache between, the kernel does not read ahead into the voxels.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
        file.expect("opens").read_exact_at(&mut metadata, 0).expect("readable");
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
        (metadata.clone(), summary(&stderr, "filled"), summary(&stderr, "passed"))
    };
    let (first, filled, passed) = look();
    assert!(filled > 0 && passed > 0, "nothing was measured: {filled} filled, {passed} passed");
    let (second, filled, passed) = look();
    assert!(first == second, "other metadata after a restart");
    assert_eq!((filled, passed), (0, 0), "measured again");
}
