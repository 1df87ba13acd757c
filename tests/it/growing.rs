//! Time-lapses that are still being written, under `--live`: readers see complete time points alone, each soon
//! after its last chunk, and never a wrong byte.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use zarrs::array::{Array, ArraySubset};
use zarrs::filesystem::FilesystemStore;

use crate::common::eventually;
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::tiny::{group_json, write_json};

/// Time points that are written.
const TIMES: usize = 50;

/// What users are promised: from the last chunk of a time point to its view.
const PROMISED: Duration = Duration::from_secs(5);

/// What a machine may take that has more to do than processors. How long it took is printed.
const SEEN_WITHIN: Duration = Duration::from_mins(1);

/// Between two time points.
const EVERY: Duration = Duration::from_millis(120);

/// Between two chunks, and between the halves of one that is written in place.
const BREATH: Duration = Duration::from_millis(15);

/// Side of a plane.
const SIDE: usize = 32;
const CHANNELS: usize = 2;

/// How a writer writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// The length is stated first; chunks are renamed into place.
    Declared,
    /// The length is stated anew before the chunks of each time point.
    Resized,
    /// Each shard holds four time points, and is rewritten in place for each of them.
    Sharded,
    /// Chunks of zeros are not written: one of two in every fifth time point.
    Sparse,
    /// Chunks are written in place, in halves.
    InPlace,
    /// A coarser level is written a moment later.
    Coarser,
    /// All of the first channel is written before the second.
    ByChannel,
}

fn pause(time: Duration) {
    thread::park_timeout(time);
}

/// The voxel of a plane; zero where the writer leaves it out.
fn voxel(how: How, t: usize, c: usize) -> u16 {
    let is_left_out = how == How::Sparse && t % 5 == 3 && c == 1;
    if is_left_out { 0 } else { u16::try_from(1 + t * CHANNELS + c).expect("few planes") }
}

fn plane(voxel: u16, side: usize) -> Vec<u8> {
    voxel.to_le_bytes().repeat(side * side)
}

/// A store, and when the last chunk of each time point was written.
struct Series {
    store: PathBuf,
    how: How,
    written: Mutex<Vec<Instant>>,
}

impl Series {
    fn new(store: &Path, how: How) -> Self {
        let series = Self { store: store.to_path_buf(), how, written: Mutex::default() };
        let times = if how == How::Resized { 1 } else { TIMES };
        for (level, side) in series.sides() {
            write_json(&store.join(format!("{level}/zarr.json")), &series.array(times, side));
        }
        write_json(&store.join("zarr.json"), &series.group());
        series
    }

    fn sides(&self) -> Vec<(usize, usize)> {
        let coarser = (self.how == How::Coarser).then_some((1, SIDE / 2));
        [(0, SIDE)].into_iter().chain(coarser).collect()
    }

    fn array(&self, times: usize, side: usize) -> Value {
        let bytes = json!({"name": "bytes", "configuration": {"endian": "little"}});
        let is_sharded = self.how == How::Sharded;
        let codecs = if is_sharded {
            json!([{"name": "sharding_indexed", "configuration": {
                "chunk_shape": [1, 1, side, side], "index_location": "end",
                "codecs": [bytes, {"name": "crc32c"}],
                "index_codecs": [bytes, {"name": "crc32c"}]}}])
        } else {
            json!([bytes])
        };
        json!({"zarr_format": 3, "node_type": "array", "shape": [times, CHANNELS, side, side],
            "data_type": "uint16", "fill_value": 0, "attributes": {}, "codecs": codecs,
            "chunk_grid": {"name": "regular", "configuration": {
                "chunk_shape": [if is_sharded { 4 } else { 1 }, 1, side, side]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}})
    }

    fn group(&self) -> Value {
        let space = |name| json!({"name": name, "type": "space", "unit": "micrometer"});
        let axes = json!([{"name": "t", "type": "time", "unit": "second"},
            {"name": "c", "type": "channel"}, space("y"), space("x")]);
        let datasets = self.sides().into_iter().map(|(level, side)| {
            let scale = SIDE / side;
            json!({"path": level.to_string(), "coordinateTransformations":
                [{"type": "scale", "scale": [1.0, 1.0, scale, scale]}]})
        });
        let datasets: Vec<Value> = datasets.collect();
        group_json(&json!({"ome": {"version": "0.5",
            "multiscales": [{"name": "series", "axes": axes, "datasets": datasets}]}}))
    }

    fn chunk(&self, level: usize, t: usize, c: usize) -> PathBuf {
        self.store.join(format!("{level}/c/{t}/{c}/0/0"))
    }

    fn write_chunk(&self, level: usize, side: usize, t: usize, c: usize) {
        let (path, bytes) = (self.chunk(level, t, c), plane(voxel(self.how, t, c), side));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        if self.how == How::InPlace {
            fs::write(&path, &bytes[..bytes.len() / 2]).expect("a chunk");
            pause(BREATH);
            fs::write(&path, &bytes).expect("a chunk");
        } else {
            let part = path.with_extension("part");
            fs::write(&part, &bytes).expect("a chunk");
            fs::rename(part, path).expect("a chunk");
        }
    }

    fn write_all(&self) {
        if self.how != How::ByChannel {
            for t in 0..TIMES {
                self.write_time(t);
                pause(EVERY);
            }
            return;
        }
        for c in 0..CHANNELS {
            for t in 0..TIMES {
                self.write_chunk(0, SIDE, t, c);
                if c + 1 == CHANNELS {
                    self.written.lock().expect("no panic").push(Instant::now());
                }
                pause(EVERY);
            }
        }
    }

    fn write_time(&self, t: usize) {
        if self.how == How::Resized && t > 0 {
            let part = self.store.join("0/zarr.json.part");
            write_json(&part, &self.array(t + 1, SIDE));
            fs::rename(part, self.store.join("0/zarr.json")).expect("metadata");
            pause(BREATH);
        }
        if self.how == How::Sharded {
            let storage = Arc::new(FilesystemStore::new(self.store.join("0")).expect("a folder"));
            let array = Array::open(storage, "/").expect("an array");
            for c in 0..CHANNELS {
                let at = |n: usize| n as u64..n as u64 + 1;
                let side = 0..SIDE as u64;
                let ranges: [Range<u64>; 4] = [at(t), at(c), side.clone(), side];
                let voxels = vec![voxel(self.how, t, c); SIDE * SIDE];
                let subset = ArraySubset::new_with_ranges(&ranges);
                array.store_array_subset(&subset, &voxels).expect("written");
            }
        } else {
            for (level, side) in self.sides() {
                for c in 0..CHANNELS {
                    if voxel(self.how, t, c) != 0 {
                        self.write_chunk(level, side, t, c);
                    }
                    pause(BREATH);
                }
            }
        }
        self.written.lock().expect("no panic").push(Instant::now());
    }

    /// Reads all that is shown, and checks it. Returns the number of time points; `None` while there is no file, or
    /// where a shard was rewritten while it was read.
    fn check(&self, path: &Path) -> Option<usize> {
        let ims = Ims::open(path).ok()?;
        let times = ims.time_points(0).ok()?;
        let levels = ims.levels().ok()?;
        for t in 0..times {
            for c in 0..CHANNELS {
                let expected = voxel(self.how, t, c).to_le_bytes();
                for level in 0..levels {
                    let pixels = match ims.pixels(level, t, c) {
                        Err(_) if self.how == How::Sharded => return None,
                        pixels => pixels.expect("readable"),
                    };
                    let wrong = pixels.chunks_exact(2).find(|pair| **pair != expected);
                    assert_eq!(wrong, None, "{:?}: time {t}, channel {c}, level {level}", self.how);
                }
            }
        }
        let written = self.written.lock().expect("no panic").len();
        assert!(times <= written + 1, "{times} time points are shown, {written} are written");
        Some(times)
    }
}

/// Writes a series while it is read, and checks what is seen and when.
fn grow(how: How) {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let series = Series::new(&source.path().join("a.zarr"), how);
    let start = |cache: &Path| Mount::of(source.path()).args(["--live"]).cache(cache).start();
    let cache = TempDir::with_prefix("zarrims-cache-").expect("a temporary folder");
    let mut mount = Some(start(cache.path()));
    let path = |mount: &Option<Mount>| mount.as_ref().expect("mounted").path().join("a.ims");
    let mut seen: Vec<Instant> = Vec::new();
    let mut has_restarted = how != How::Declared;
    thread::scope(|scope| {
        scope.spawn(|| series.write_all());
        eventually("all time points", SEEN_WITHIN * 2, || {
            let Some(times) = series.check(&path(&mount)) else {
                assert!(seen.is_empty() || how == How::Sharded, "the file is gone");
                return false;
            };
            assert!(times >= seen.len(), "{times} after {}", seen.len());
            let now = Instant::now();
            seen.extend((seen.len()..times).map(|_| now));
            if !has_restarted && seen.len() >= TIMES / 2 {
                has_restarted = true;
                mount.take().expect("mounted").stop();
                mount = Some(start(cache.path()));
            }
            times == TIMES
        });
    });
    let written = series.written.lock().expect("no panic");
    let delays: Vec<Duration> =
        seen.iter().zip(&*written).map(|(seen, written)| seen.duration_since(*written)).collect();
    println!("{how:?}: longest {:?}", delays.iter().max());
    assert!(delays.iter().all(|delay| *delay <= SEEN_WITHIN), "{how:?}: {delays:?}");
}

#[test]
fn a_series_of_declared_length_grows_and_survives_a_restart() {
    grow(How::Declared);
}

#[test]
fn a_series_that_is_resized_grows() {
    grow(How::Resized);
}

#[test]
fn a_series_in_shards_that_are_rewritten_grows() {
    grow(How::Sharded);
}

#[test]
fn a_series_whose_writer_leaves_out_chunks_grows() {
    grow(How::Sparse);
}

#[test]
fn a_series_that_is_written_in_place_grows() {
    grow(How::InPlace);
}

#[test]
fn a_series_with_a_coarser_level_grows() {
    grow(How::Coarser);
}

#[test]
fn a_series_that_is_written_channel_by_channel_grows() {
    grow(How::ByChannel);
}

#[test]
fn a_view_of_stores_that_grow_one_after_the_other_stays() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let both =
        ["a.zarr", "b.zarr"].map(|name| Series::new(&source.path().join(name), How::Resized));
    for series in &both {
        series.write_time(0);
    }
    let table = "[[view]]\nname = \"both\"\nof = [\"a.zarr\", \"b.zarr\"]\nas = \"channels\"\n";
    fs::write(source.path().join("a.zarr.zarrims.toml"), table).expect("a table");
    let mount = Mount::of(source.path()).args(["--live"]).start();
    let view = mount.path().join("both.ims");
    let times = |path: &Path| Ims::open(path).ok()?.time_points(0).ok();
    eventually("a time point", SEEN_WITHIN, || times(&view) == Some(1));
    for t in 1..4 {
        both[0].write_time(t);
        eventually("longer than the other", SEEN_WITHIN, || {
            assert!(view.exists(), "the other one is shorter");
            times(&mount.path().join("a.ims")) == Some(t + 1)
        });
        assert_eq!(times(&view), Some(t));
        both[1].write_time(t);
        eventually("another time point", SEEN_WITHIN, || {
            assert!(view.exists(), "both have another one");
            times(&view) == Some(t + 1)
        });
        let ims = Ims::open(&view).expect("opens");
        for c in 0..2 * CHANNELS {
            let pixels = ims.pixels(0, t, c).expect("readable");
            assert_eq!(pixels, plane(voxel(How::Resized, t, c % CHANNELS), SIDE), "{t}, {c}");
        }
    }
}

#[test]
fn who_has_the_file_open_keeps_its_time_points() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let series = Series::new(&source.path().join("a.zarr"), How::Resized);
    series.write_time(0);
    let mount = Mount::of(source.path()).args(["--live"]).start();
    let path = mount.path().join("a.ims");
    eventually("a time point", SEEN_WITHIN, || path.exists());
    let opened = Ims::open(&path).expect("opens");
    series.write_time(1);
    eventually("another one", SEEN_WITHIN, || series.check(&path) == Some(2));
    assert_eq!(opened.time_points(0).expect("readable"), 1);
    for c in 0..CHANNELS {
        let pixels = opened.pixels(0, 0, c).expect("still readable");
        assert_eq!(pixels, plane(voxel(How::Resized, 0, c), SIDE));
    }
}

#[test]
fn a_chunk_that_stays_half_written_keeps_its_time_point_hidden() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let series = Series::new(&source.path().join("a.zarr"), How::Declared);
    series.write_time(0);
    series.write_time(1);
    let whole = fs::read(series.chunk(0, 1, 1)).expect("a chunk");
    fs::write(series.chunk(0, 1, 1), &whole[..whole.len() / 2]).expect("a chunk");
    let mount = Mount::of(source.path()).args(["--live"]).start();
    let path = mount.path().join("a.ims");
    eventually("the first time point", SEEN_WITHIN, || series.check(&path) == Some(1));
    let since = Instant::now();
    eventually("longer than the promise", SEEN_WITHIN, || {
        assert_eq!(series.check(&path), Some(1), "the second is half-written");
        since.elapsed() > PROMISED * 2
    });
    fs::write(series.chunk(0, 1, 1), whole).expect("a chunk");
    eventually("the second time point", SEEN_WITHIN, || series.check(&path) == Some(2));
}
