//! The log mentions a failing cache disk once.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::daemon::{SOON, read_all};
use crate::common::mount::{Mount, can_mount, unmount};
use crate::common::rest::rest;
use crate::common::tiny::Tiny;
use crate::common::{eventually, skipped};

/// More stores than are read within two seconds.
const STORES: u16 = 400;

/// A file system in memory, until the end of the test.
struct Disk(TempDir);

impl Disk {
    fn of(size: &str) -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        skipped("no file system in memory can be mounted here");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&["umount", "-l"], self.path());
    }
}

#[test]
fn a_cache_that_others_squeeze_to_nothing_says_so_once() {
    if !can_mount() {
        return;
    }
    let Some(disk) = Disk::of("100m") else { return };
    let source = TempDir::new().expect("a folder");
    for seed in 0..STORES {
        Tiny { seed, ..Tiny::default() }.write(&source.path().join(format!("s{seed}.zarr")));
    }
    rest(source.path());
    let mount = Mount::of(source.path())
        .cache(&disk.path().join("cache"))
        .args(["--min-free", "5%"])
        .start();
    fs::write(disk.path().join("others"), vec![7; 98 << 20]).expect("room");
    // The free space is asked for once a second, while bricks are made.
    let told = |line: &String| line.contains("others have filled the cache disk up to --min-free");
    let mut unread = 0..STORES;
    let mut read_next = || {
        let seed = unread.next().expect("told by then");
        read_all(&mount.path().join(format!("s{seed}.ims")));
    };
    eventually("told", SOON, || {
        read_next();
        mount.stderr().iter().any(told)
    });
    (0..20).for_each(|_| read_next());
    let (status, lines) = mount.stop();
    assert!(status.success(), "{status}: {lines:#?}");
    assert_eq!(lines.iter().filter(|line| told(line)).count(), 1, "{lines:#?}");
    // The other warning: the cap that tests have is more than this disk.
    let warnings =
        lines.iter().filter(|line| line.contains(" WARN ") && !line.contains("--cache-size"));
    assert_eq!(warnings.count(), 1, "{lines:#?}");
}
