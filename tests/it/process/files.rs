//! The daemon works with few file descriptors.

use std::fs;
use std::path::Path;
use std::thread;

use tempfile::TempDir;

use super::daemon::read_all;
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::rest::rest;
use crate::common::tiny::Tiny;

/// More than there are descriptors, although each store alone needs few.
const STORES: u16 = 300;

fn write_stores(source: &Path) {
    for seed in 0..STORES {
        Tiny { seed, ..Tiny::default() }.write(&source.join(format!("s{seed}.zarr")));
    }
    rest(source);
}

fn soft_limit(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).expect("the daemon runs");
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).expect("a limit");
    soft.parse().expect("a number")
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    if !can_mount() {
        return;
    }
    let source = TempDir::new().expect("a folder");
    let mount = Mount::of(source.path()).wrapper(&["prlimit", "--nofile=100:777"]).start();
    assert_eq!(soft_limit(mount.pid()), 777);
}

/// All stores are served, twice, and by several readers at once.
#[track_caller]
fn assert_serves_all(limit: &str) {
    let source = TempDir::new().expect("a folder");
    write_stores(source.path());
    let mount = Mount::of(source.path()).wrapper(&["prlimit", limit]).start();
    let read = |seed: u16| read_all(&mount.path().join(format!("s{seed}.ims")));
    let first: Vec<Vec<u8>> = (0..STORES).map(read).collect();
    thread::scope(|scope| {
        for reader in 0..8 {
            let (first, read) = (&first, &read);
            scope.spawn(move || {
                for seed in (reader..STORES).step_by(8) {
                    assert!(first[usize::from(seed)] == read(seed), "s{seed}");
                }
            });
        }
    });
    let (status, lines) = mount.stop();
    assert!(status.success(), "{status}: {lines:#?}");
    let bad: Vec<_> = lines.iter().filter(|line| !line.contains(" INFO ")).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn more_stores_than_descriptors() {
    if can_mount() {
        assert_serves_all("--nofile=256:256");
    }
}

/// As few as there can be: everything beyond waits for its turn.
#[test]
fn many_more_stores_than_descriptors() {
    if can_mount() {
        assert_serves_all("--nofile=48:48");
    }
}

/// Files that the tests read while they start a daemon are not open in it: their mounts would end ten seconds late.
#[test]
fn a_daemon_keeps_no_file_of_the_tests_open() {
    if !can_mount() {
        return;
    }
    let source = TempDir::new().expect("a folder");
    Tiny::default().write(&source.path().join("a.zarr"));
    rest(source.path());
    let mount = Mount::of(source.path()).start();
    let ims = Ims::open(&mount.path().join("a.ims")).expect("opens");
    let _other = Mount::of(source.path()).start();
    drop(ims);
    let (status, lines) = mount.stop();
    assert!(status.success(), "{status}: {lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("still open")), "{lines:#?}");
}
