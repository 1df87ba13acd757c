//! The verb `warm`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::mount::{Mount, can_mount};
use crate::common::server::{Kind, Server};
use crate::common::tiny::Tiny;
use crate::common::{command, eventually};
use crate::process::daemon::{SOON, read_all};

use super::asked::status;
use super::kept::{World, last_line, number, right, series, spawn, stderr, stdout};

/// Each brick of the store is decoded once, for its own sake and for the computed level; what was warmed is read
/// without decoding anything.
#[test]
fn what_is_warm_is_read_from_the_cache_alone() {
    if !can_mount() {
        return;
    }
    let world = World::of_series();
    let told = world.told("warm", "a.ims", &[]);
    assert_eq!((number(&told, "/failed"), number(&told, "/unkept")), (0, 0), "{told}");
    assert_eq!(world.cached(), [100.0, 100.0], "when the verb ends, all is on disk");
    let bricks = number(&told, "/made");
    let before = world.status();
    assert_eq!(read_all(&world.path("a.ims")), right(world.source.path(), "a"));
    let after = world.status();
    for name in ["decoded_bytes", "filled", "passed", "cache/misses"] {
        let path = format!("/engine/{name}");
        assert_eq!(number(&before, &path), number(&after, &path), "{name}");
    }
    // And again there is nothing to do.
    let again = world.told("warm", "", &[]);
    assert_eq!((number(&again, "/made"), number(&again, "/there")), (0, bricks), "{again}");
    assert_eq!(world.decoded(), number(&after, "/engine/decoded_bytes"));
}

#[test]
fn only_the_levels_and_time_points_that_are_named_are_cached() {
    if !can_mount() {
        return;
    }
    let world = World::of_series();
    let told = world.told("warm", "a.ims", &["--levels", "1.."]);
    assert_eq!(number(&told, "/failed"), 0, "{told}");
    let cached = world.cached();
    assert!(cached[0] < 0.1 && cached[1] > 99.9, "{cached:?}");
    let told = world.told("warm", "a.ims", &["--levels", "0", "--timepoints", "1-2"]);
    assert_eq!(number(&told, "/made"), 16, "eight bricks of two time points: {told}");
    let cached = world.cached();
    assert!((cached[0] - 66.6).abs() < 0.1, "{cached:?}");
    for (args, words) in [
        (["--levels", "7.."], "no file has any of these"),
        (["--timepoints", "3-9"], "no file has any of these"),
    ] {
        let output = world.run("warm", "a.ims", &args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(words), "{output:?}");
    }
    let output = world.run("warm", "a.ims", &["--levels", "2..1"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = world.run("warm", "b.ims", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("b.ims: no such file or folder in the mount"), "{output:?}");
}

/// A folder, and the mount point with a dot and a link on the way.
#[test]
fn a_folder_is_all_that_is_below_it() {
    if !can_mount() {
        return;
    }
    let write = |folder: &std::path::Path| {
        let tiny = |seed| Tiny { seed, ..Tiny::default() };
        fs::create_dir_all(folder.join("p/q")).expect("a folder");
        tiny(1).write(&folder.join("p/a.zarr"));
        tiny(2).write(&folder.join("p/q/b.zarr"));
        tiny(3).write(&folder.join("c.zarr"));
    };
    let world = World::new(write, &[]);
    let told = world.told("warm", "p", &[]);
    assert_eq!((number(&told, "/files"), number(&told, "/files_done")), (2, 2), "{told}");
    assert_eq!(number(&world.told("warm", "p/q/../q", &[]), "/files"), 1);
    let links = TempDir::new().expect("a folder");
    std::os::unix::fs::symlink(world.mount.path(), links.path().join("m")).expect("a link");
    let mut asked = command(&[]);
    asked.current_dir(links.path()).args(["warm", "--json", "m/p/a.ims", "--socket"]);
    let output = asked.arg(world.socket()).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let mut asked = command(&[]);
    asked.current_dir(links.path()).args(["warm", "--json", "m", "--socket"]);
    let output = asked.arg(world.socket()).output().expect("it runs");
    assert_eq!(number(&last_line(&output), "/files"), 3, "{output:?}");
    let before = world.decoded();
    for name in ["c.ims", "p/a.ims", "p/q/b.ims"] {
        read_all(&world.path(name));
    }
    assert_eq!(world.decoded(), before);
}

#[test]
fn a_damaged_chunk_is_named_and_the_rest_is_cached() {
    if !can_mount() {
        return;
    }
    let source = TempDir::new().expect("a folder");
    let builder = series(1);
    builder.write(&source.path().join("a.zarr"));
    let chunk = source.path().join("a.zarr").join(builder.chunk_path(0, &[1, 0, 0, 0]));
    fs::write(chunk, b"short").expect("a chunk");
    let world = World::over(source, &[]);
    let output = world.run("warm", "a.ims", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stderr(&output);
    assert!(text.contains("a.ims: level 0, time point 1, channel 0, brick 0: "), "{text}");
    assert!(text.contains("0/c/1/0/0/0"), "{text}");
    let cached = world.cached();
    assert!(cached[0] > 95.0 && cached[0] < 99.9, "23 of 24 bricks: {cached:?}");
}

/// A store on a slow server, so that there is time to end the work.
struct Slow {
    server: Server,
    _folder: TempDir,
    sockets: TempDir,
    mount: Mount,
}

impl Slow {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let tiny = Tiny { shape: [64, 512, 512], chunk: [8, 128, 128], seed: 5 };
        tiny.write(&folder.path().join("x.zarr"));
        let server = Server::start(Kind::S3, folder.path());
        let url = server.url();
        let sockets = TempDir::new().expect("a folder");
        let starter = Mount::of(std::path::Path::new("s3://bucket"));
        let starter = starter.args(["--anonymous", "--endpoint", url.as_str(), "--socket"]);
        let mount = starter.args([sockets.path().join("s")]).start();
        // Looked at before the server is slow.
        fs::metadata(mount.path().join("x.ims")).expect("a file");
        server.delay(Duration::from_secs(1));
        Self { server, _folder: folder, sockets, mount }
    }

    fn warm(&self, args: &[&str]) -> std::process::Command {
        let mut asked = command(&[]);
        asked.arg("warm").arg(self.mount.path().join("x.ims")).args(args);
        asked.arg("--socket").arg(self.sockets.path().join("s"));
        asked
    }

    fn jobs(&self) -> Vec<Value> {
        let status = status(&self.sockets.path().join("s"));
        status["mounts"][0]["jobs"].as_array().expect("jobs").clone()
    }
}

#[test]
fn the_work_ends_with_who_has_asked_for_it() {
    if !can_mount() {
        return;
    }
    let slow = Slow::new();
    for signal in [Signal::INT, Signal::KILL] {
        let mut client = spawn(&mut slow.warm(&["--json"]));
        let mut lines = BufReader::new(client.stdout.take().expect("a pipe")).lines();
        let is_begun = |line: &String| !line.contains("\"file\":null");
        let line = lines.by_ref().map(|line| line.expect("UTF-8")).find(is_begun);
        let line = line.expect("an event");
        assert!(line.contains("\"event\":\"progress\""), "{line}");
        assert_eq!(slow.jobs().len(), 1);
        let pid = i32::try_from(client.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it runs");
        assert!(!client.wait().expect("it ends").success());
        eventually("the work ends", SOON, || slow.jobs().is_empty());
        // What is under way is finished, and nothing more is begun.
        eventually("silence", SOON, || {
            slow.server.take_asked();
            std::thread::park_timeout(Duration::from_secs(2));
            slow.server.take_asked().is_empty()
        });
    }
    slow.server.delay(Duration::ZERO);
    // It goes on from there, and what readers get is right.
    let output = slow.warm(&[]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn work_in_the_background_goes_on_and_is_done_once() {
    if !can_mount() {
        return;
    }
    let slow = Slow::new();
    let output = slow.warm(&["--background", "--json"]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(last_line(&output)["in_background"], true);
    let [job] = slow.jobs().try_into().expect("one job");
    assert_eq!((&job["kind"], &job["files"]), (&"warm".into(), &1.into()), "{job}");
    let text =
        command(&[]).args(["status", "--socket"]).arg(slow.sockets.path().join("s")).output();
    let text = String::from_utf8(text.expect("it runs").stdout).expect("UTF-8");
    assert!(text.contains("warm ") && text.contains(", in the background: "), "{text}");
    // A second one joins it, in front of somebody, whose end is not that of the work.
    let mut client = spawn(&mut slow.warm(&["--json"]));
    let mut lines = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    lines.next().expect("an event").expect("UTF-8");
    assert_eq!(slow.jobs().len(), 1);
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    assert_eq!(slow.jobs().len(), 1);
    slow.server.delay(Duration::ZERO);
    eventually("the end", SOON, || slow.jobs().is_empty());
    let socket = slow.sockets.path().join("s");
    let status = status(&socket);
    assert_eq!(status["mounts"][0]["images"][0]["cached_percent"], 100.0, "{status}");
}

/// More than the cache holds: said before the start, and what was brought in is not driven out again.
#[test]
fn a_cache_that_is_too_small_ends_the_work() {
    if !can_mount() {
        return;
    }
    let write = |folder: &std::path::Path| {
        let tiny = |seed| Tiny { shape: [64, 512, 512], chunk: [8, 256, 256], seed };
        (1..4).for_each(|seed| tiny(seed).write(&folder.join(format!("{seed}.zarr"))));
    };
    let world = World::new(write, &["--cache-size", "64MiB"]);
    let output = world.run("warm", "", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stderr(&output);
    let first = text.lines().next().unwrap_or_default();
    assert!(first.contains("are asked for, and the cache holds"), "{text}");
    assert!(stdout(&output).contains("stopped: the cache is full"), "{output:?}");
    // What was brought in is there, and what would have driven it out was not begun: 96 MiB are asked for.
    let images = world.status()["mounts"][0]["images"].clone();
    let cached: u64 = (0..3).filter_map(|image| images[image]["cached_bytes"].as_u64()).sum();
    assert!(cached > 40 << 20 && images[2].is_null(), "{images}");
}

#[test]
fn a_path_that_no_daemon_serves_gets_a_line_and_its_status() {
    let folder = TempDir::new().expect("a folder");
    for verb in ["warm", "evict", "verify"] {
        let mut asked = command(&[]);
        asked.env("XDG_RUNTIME_DIR", folder.path()).env("RUNTIME_DIRECTORY", folder.path());
        let output = asked.arg(verb).arg(folder.path().join("a.ims")).output().expect("it runs");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(stderr(&output).contains("no daemon that this user may ask serves this path"));
        assert_eq!(stderr(&output).lines().count(), 1, "{output:?}");
    }
}
