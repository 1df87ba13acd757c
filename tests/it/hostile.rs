//! Sources made to exhaust the daemon that inspects them: it still serves the store beside them.

mod folders;
mod links;
mod source;
mod stores;

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use self::source::{PLANES, Source};
use crate::common::mount::{Mount, can_mount};
use crate::common::planes::Shown;
use crate::common::rest::rest;

/// What the daemon may take with all of it.
const MEMORY_LIMIT_KIB: u64 = 300 << 10;
const DESCRIPTORS: usize = 700;

/// Longest time for all names of the source, and for what can be read of a store.
const LIST_LIMIT: Duration = Duration::from_mins(1);
const READ_LIMIT: Duration = Duration::from_secs(20);

/// Everything below a mount point, one name after another, by a program that goes down one folder at
/// a time: whole paths are too long.
fn find(mount: &Path, what: &str) -> Vec<Vec<u8>> {
    let mut command = Command::new("timeout");
    command.arg(LIST_LIMIT.as_secs().to_string()).arg("find").arg(mount);
    let output = command.args(["-type", what, "-printf", "%P\\0"]).output().expect("find");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "find: {}: {stderr}", output.status);
    output.stdout.split(|&byte| byte == 0).filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect()
}

fn descriptors(mount: &Mount) -> usize {
    fs::read_dir(format!("/proc/{}/fd", mount.pid())).expect("the daemon runs").count()
}

#[track_caller]
fn assert_good(mount: &Mount, places: &[u64], name: &str) {
    let shown = Shown::open(&mount.path().join(name), places).expect("opens");
    assert_eq!(shown.versions(), [Ok(1), Ok(1), Ok(1)], "{name}");
}

/// The begin, the middle and the end of a file; whether any of it could be read is not asked.
fn touch(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    let size = file.metadata().expect("attributes").len();
    let mut block = vec![0; 256 << 10];
    for at in [0, size / 2, size.saturating_sub(block.len() as u64)] {
        // It may be an error.
        let _ = file.read_at(&mut block, at);
    }
}

#[test]
fn declared_sizes_deep_documents_odd_names_and_many_files_exhaust_nothing() {
    if !can_mount() {
        return;
    }
    let source = Source::new();
    let places = PLANES.places(source.path(), "good.zarr");
    stores::write(&source);
    let deepest = folders::write(&source);
    rest(&source.at("good.zarr"));
    let mount = Mount::of(source.path()).start();
    let started = Instant::now();
    let files = find(mount.path(), "f");
    println!("{} files found in {:?}", files.len(), started.elapsed());
    let folders = find(mount.path(), "d");
    let listed_kib = mount.peak_memory_kib();
    println!("{} folders, {:?}, {listed_kib} KiB", folders.len(), started.elapsed());
    assert_good(&mount, &places, "good.ims");
    assert_good(&mount, &places, "many/good.ims");
    for name in &deepest {
        assert!(folders.contains(name) || files.contains(name), "no {} bytes deep", name.len());
    }
    for name in folders::odd_names() {
        assert!(files.contains(&name), "no {}", String::from_utf8_lossy(&name));
    }

    for name in &files {
        let path = mount.path().join(std::ffi::OsStr::from_bytes(name));
        let before = Instant::now();
        touch(&path);
        let took = before.elapsed();
        let name = String::from_utf8_lossy(name);
        assert!(took < READ_LIMIT, "{name}: {took:?}");
    }
    assert_good(&mount, &places, "good.ims");
    let (peak, open) = (mount.peak_memory_kib(), descriptors(&mount));
    println!("{peak} KiB at most, {open} descriptors, {:?}", started.elapsed());
    assert!(peak < MEMORY_LIMIT_KIB, "{peak} KiB");
    assert!(open < DESCRIPTORS, "{open} descriptors");
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}");
    assert!(stderr.len() < 1000, "{} lines", stderr.len());
    for line in &stderr {
        assert!(!line.contains("panicked") && !line.contains("internal fault"), "{line}");
        assert!(!line.starts_with(folders::FORGED), "a name has made a line of its own: {line}");
        assert!(line.len() < 20_000, "a line of {} bytes", line.len());
    }
    for name in stores::SKIPPED {
        assert!(stderr.iter().any(|line| line.contains(name)), "no word of {name}");
    }
}

#[test]
fn a_second_daemon_on_a_cache_directory_says_who_has_it() {
    if !can_mount() {
        return;
    }
    let source = Source::new();
    let first = Mount::of(source.path()).start();
    let second = Mount::of(source.path()).cache(first.cache()).try_start();
    let refused = second.expect_err("one cache directory, one daemon");
    assert!(!refused.status.success());
    let [line] = &refused.stderr[..] else { panic!("not one line: {:#?}", refused.stderr) };
    assert!(line.contains(&*first.cache().to_string_lossy()), "{line}");
    assert!(line.contains(&first.pid().to_string()), "{line}");
    assert!(first.path().join("good.ims").is_file());
}
