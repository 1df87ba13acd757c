//! Passes over whole images that wait for a chunk.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;
use zarrims::image::ImageOptions;

use super::SOON;
use super::gate::{GatedFolder, OpenAtEnd};
use super::stalled::{WORKERS, read_exactly, without_hanging};
use crate::common::eventually;
use crate::common::library::{BrickBytes, Library, brick_at};
use crate::common::mount::{Mount, can_mount, summary};
use crate::common::rest::rest;
use crate::common::store::{Dtype, StoreBuilder};
use crate::common::tiny::Tiny;
use crate::control::asked::status;

/// Images whose coarsest level waits for a chunk: more than the passes that run side by side.
const STALLED: usize = 20;

/// Large enough for a computed level.
const IMAGE: Tiny = Tiny { shape: [64, 160, 160], chunk: [32, 160, 160], seed: 1 };

fn name(number: usize, extension: &str) -> PathBuf {
    PathBuf::from(format!("image{number}.{extension}"))
}

/// Levels of many images wait for chunks; those of another one are computed all the same.
#[test]
fn many_stalled_passes_hold_up_no_other() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::with_prefix("zarrims-passes-").expect("a temporary folder");
    for number in 0..=STALLED {
        IMAGE.write(&folder.path().join(name(number, "zarr")));
    }
    rest(folder.path());
    let source = GatedFolder::over(folder.path());
    let library = Library::of(source.path(), ImageOptions::default());
    let truth: Vec<(BrickBytes, Vec<u8>)> = (0..=STALLED)
        .map(|number| {
            let file = library.file(&name(number, "zarr").to_string_lossy());
            let coarsest = file.plan().levels.len() - 1;
            assert!(coarsest > 0, "no computed levels");
            let brick = brick_at(&file, coarsest, [0; 3]);
            let len = usize::try_from(brick.len).expect("64 bits");
            (brick, file.read_blocking(brick.offset, len).expect("readable"))
        })
        .collect();
    let mount = Mount::of(source.path()).args(["--threads", &WORKERS.to_string()]).start();
    let at = mount.path().to_path_buf();
    let read = |number: usize| {
        let (brick, bytes) = truth[number].clone();
        let path = at.join(name(number, "ims"));
        move || {
            let read = read_exactly(&path, brick.offset, bytes.len()).expect("readable");
            assert!(read == bytes, "wrong bytes of {}", path.display());
        }
    };
    let gate = source.gate();
    gate.shut((0..STALLED).map(|number| name(number, "zarr").join("0/c/0/0/0")));
    thread::scope(|scope| {
        let _open = OpenAtEnd(gate);
        let waiting: Vec<_> = (0..STALLED).map(|number| scope.spawn(read(number))).collect();
        let asked = gate.held_up(STALLED.min(WORKERS), SOON);
        assert!(asked >= STALLED.min(WORKERS), "only {asked} chunks are asked for");
        without_hanging("computing the levels of another file", read(STALLED));
        assert!(waiting.iter().all(|reader| !reader.is_finished()), "a chunk came from nowhere");
        gate.open();
        for reader in waiting {
            reader.join().expect("right bytes");
        }
    });
}

/// Issue: "channels in parallel, progress, single-pass statistics": one read of the histograms of all channels asks for
/// their chunks at a time. The pass over each makes each brick of each level once, and says how far it is, to `status`
/// and to the log.
#[test]
fn passes_over_all_channels_side_by_side_tell_how_far_they_are() {
    /// As many as one processor has under way.
    const CHANNELS: u64 = 3;
    /// After this time the log has a line.
    const TOLD_AFTER_S: u64 = 10;
    if !can_mount() {
        return;
    }
    let folder = TempDir::with_prefix("zarrims-passes-").expect("a temporary folder");
    let mut store = StoreBuilder::new(Dtype::U16, "czyx", &[CHANNELS, 32, 160, 160]);
    store.unit = vec![1, 32, 160, 160];
    store.write(&folder.path().join("a.zarr"));
    rest(folder.path());
    let source = GatedFolder::over(folder.path());
    let (of_channel, level_0, records, metadata_bytes) = {
        let file = Library::of(source.path(), ImageOptions::default()).file("a.zarr");
        let plan = file.plan();
        assert!(plan.levels.len() > 1, "no computed levels");
        let of_level = plan.layout.levels().iter().map(|level| level.bricks.count());
        let bytes = usize::try_from(plan.layout.metadata_bytes()).expect("64 bits");
        (of_level.sum::<u64>(), plan.layout.levels()[0].bricks.count(), file.records(), bytes)
    };
    let own = TempDir::new().expect("a folder");
    let socket = own.path().join("s");
    let args = ["--statistics", "exact", "--socket"];
    let mount = Mount::of(source.path()).args(args).args([&socket]).start();
    let passes = || status(&socket)["mounts"][0]["passes"].clone();
    let gate = source.gate();
    gate.shut((0..CHANNELS).map(|c| PathBuf::from(format!("a.zarr/0/c/{c}/0/0/0"))));
    thread::scope(|scope| {
        let _open = OpenAtEnd(gate);
        let reader = scope.spawn(|| {
            // Past the page cache, so that no voxels are read ahead.
            let path = mount.path().join("a.ims");
            let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
            file.expect("opens").read_exact_at(&mut vec![0; metadata_bytes], 0).expect("readable");
        });
        assert_eq!(gate.held_up(3, SOON), 3, "channels whose chunks are asked for at a time");
        eventually("the pass has taken a while", SOON, || {
            passes()[0]["seconds"].as_u64() >= Some(TOLD_AFTER_S)
        });
        // Beside them, displayed ranges and the thumbnail are measured.
        let all = passes();
        let whole = all.as_array().expect("a list").iter();
        let whole: Vec<_> = whole.filter(|pass| pass["kind"] != "read_sample").collect();
        assert_eq!(whole.len() as u64, CHANNELS, "{all}");
        for pass in whole {
            assert_eq!(pass["image"], "a.zarr");
            let read = (pass["bricks_read"].as_u64(), pass["percent"].as_f64());
            assert_eq!(read, (Some(0), Some(0.0)), "{pass}");
            assert_eq!(pass["bricks_total"].as_u64(), Some(level_0), "bricks of the store: {pass}");
        }
        gate.open();
        reader.join().expect("reads");
    });
    mount.wait_for_line(SOON, |line| line.contains("image=a.zarr") && line.contains("percent="));
    eventually("the pass has ended", SOON, || passes().as_array().is_some_and(Vec::is_empty));
    let (_, stderr) = mount.stop();
    let made = summary(&stderr, "filled") + summary(&stderr, "passed");
    // Displayed ranges, those for the thumbnail and the thumbnail are measured at the same time, and share bricks by
    // chance.
    let (least, other) = (of_channel * CHANNELS, 3 * level_0 * CHANNELS + records);
    assert!((least..=least + other).contains(&made), "{made} bricks made for {least}");
}
