//! An export that is killed or stopped goes on where it was.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Bench, assert_equal, exporter, must_export, stderr};
use crate::common::mount::{Mount, can_mount};
use crate::common::picks::Picks;
use crate::common::store::{Codec, Dtype, Format, Step, StoreBuilder};
use crate::common::tiny::Tiny;

/// Issue: "killed at 20 random moments it resumes to the same file".
const KILLS: usize = 20;

/// More than an export of these stores takes.
const LIMIT: Duration = Duration::from_mins(2);

/// Waits for the end for some time; whether it has come.
fn ends_within(child: &mut Child, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if child.try_wait().expect("ours").is_some() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

#[test]
fn killed_at_random_moments_it_ends_as_the_same_file() {
    if !can_mount() {
        return;
    }
    let mut picks = Picks::of_test("killed_at_random_moments_it_ends_as_the_same_file");
    let bench = Bench::new();
    // One whose levels are computed, and one that has them.
    let mut computed = StoreBuilder::new(Dtype::U16, "zyx", &[64, 512, 512]);
    computed.unit = vec![16, 128, 128];
    computed.shard = Some(vec![2, 2, 2]);
    computed.codec = Codec::Zstd;
    computed.write(&bench.store("computed.zarr"));
    let mut stored = StoreBuilder::new(Dtype::U8, "tczyx", &[2, 2, 24, 512, 512]);
    stored.unit = vec![1, 1, 8, 256, 256];
    stored.format = Format::V2('.');
    stored.codec = Codec::BloscLz4;
    stored.steps = vec![vec![Step::Keep, Step::Keep, Step::Keep, Step::FloorHalf, Step::FloorHalf]];
    stored.write(&bench.store("stored.zarr"));
    let mount = Mount::of(&bench.source).start();
    let mut resumed = 0;
    for name in ["computed", "stored"] {
        let plain = fs::read(mount.path().join(format!("{name}.ims"))).expect("readable");
        let (store, out) =
            (bench.store(&format!("{name}.zarr")), bench.out(&format!("{name}.ims")));
        for packing in [&[][..], &["--gzip", "2"], &["--lz4"]] {
            let mut args: Vec<&dyn AsRef<OsStr>> = vec![&store, &out];
            args.extend(packing.iter().map(|arg| arg as &dyn AsRef<OsStr>));
            let _ = fs::remove_file(&out);
            let began = Instant::now();
            must_export(&args);
            let whole = u64::try_from(began.elapsed().as_millis()).expect("short").max(20);
            let packed = fs::read(&out).expect("readable");
            let expected = if packing.is_empty() { &plain } else { &packed };
            // Two kinds of compression share the kills.
            resumed += kill(
                &args,
                &out,
                whole,
                if packing.is_empty() { KILLS } else { KILLS / 2 },
                &mut picks,
            );
            // A kill at the very end may have left the complete file with what is removed behind it.
            args.extend([&"--verify" as &dyn AsRef<OsStr>, &"--force"]);
            must_export(&args);
            assert_equal(&out, expected, &format!("{name} {packing:?}"));
        }
    }
    assert_eq!(bench.left(), ["computed.ims", "stored.ims"]);
    println!("{resumed} exports went on where one was killed");
    assert!(resumed > 0, "no kill hit an export that had written anything");
}

/// Exports until so many exports have been killed. Returns how many went on where one was killed.
fn kill(
    args: &[&dyn AsRef<OsStr>],
    out: &Path,
    whole: u64,
    kills: usize,
    picks: &mut Picks,
) -> usize {
    let (mut killed, mut resumed) = (0, 0);
    while killed < kills {
        let _ = fs::remove_file(out);
        let spawned = exporter(args).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("the program starts");
        let moment = Duration::from_millis(picks.below(whole * 3 / 2));
        if !ends_within(&mut child, moment) {
            child.kill().expect("ours");
            killed += 1;
        }
        let output = child.wait_with_output().expect("ours");
        resumed += usize::from(stderr(&output).contains("goes on"));
    }
    resumed
}

/// Ctrl-C loses nothing, and has a status of its own.
#[test]
fn a_signal_stops_it_and_the_same_command_goes_on() {
    let bench = Bench::new();
    let mut store = StoreBuilder::new(Dtype::U16, "zyx", &[64, 512, 512]);
    store.unit = vec![16, 64, 64];
    store.codec = Codec::Gzip;
    store.write(&bench.store("a.zarr"));
    let out = bench.out("a.ims");
    let journal = bench.out("a.ims.part.journal");
    let mut stopped = false;
    for _ in 0..20 {
        let mut child = exporter(&[&bench.store("a.zarr"), &out])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let deadline = Instant::now() + LIMIT;
        // As soon as it writes.
        while !journal.exists() && child.try_wait().expect("ours").is_none() {
            assert!(Instant::now() < deadline, "writes at last");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("small")).expect("a process");
        if child.try_wait().expect("ours").is_none() {
            kill_process(pid, Signal::INT).expect("ours");
        }
        let output = child.wait_with_output().expect("ours");
        let text = stderr(&output);
        if output.status.success() {
            fs::remove_file(&out).expect("complete");
            continue;
        }
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert!(text.contains("stopped; what is written stays"), "{text}");
        assert!(!out.exists());
        stopped = true;
        break;
    }
    assert!(stopped, "a signal came in time at least once");
    must_export(&[&bench.store("a.zarr"), &out, &"--verify"]);
    assert_eq!(bench.left(), ["a.ims"]);
}

#[test]
fn a_changed_store_begins_again_with_one_line() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let tiny = Tiny { shape: [64, 200, 200], chunk: [16, 64, 64], seed: 1 };
    tiny.write(&bench.store("a.zarr"));
    let out = bench.out("a.ims");
    // A chunk that is damaged leaves a part behind.
    let chunk = bench.store("a.zarr").join("0").join(&tiny.chunk_paths()[30]);
    fs::write(&chunk, "short").expect("writable");
    assert!(!exporter(&[&bench.store("a.zarr"), &out]).output().expect("runs").status.success());
    assert!(bench.out("a.ims.part").exists());
    fs::remove_dir_all(bench.store("a.zarr")).expect("ours");
    let other = Tiny { seed: 9, ..tiny };
    other.write(&bench.store("a.zarr"));
    let text = must_export(&[&bench.store("a.zarr"), &out]);
    assert!(
        text.contains("the image or the options have changed since an earlier export began"),
        "{text}"
    );
    let mount = Mount::of(&bench.source).start();
    let expected = fs::read(mount.path().join("a.ims")).expect("readable");
    assert_equal(&out, &expected, "the new image");
}
