//! A daemon that serves several mounts of a configuration file.

use std::io::Read;
use std::process::{Child, Stdio};

use rustix::process::{Pid, kill_process};

use super::*;
use crate::common::command;

/// A daemon with three mounts, which go away however the test ends.
struct Three {
    folders: TempDir,
    daemon: Child,
}

const FILE: &str = r#"
[cache]
dir = "@/cache"
size = "1GiB"
min-free = 0

[defaults]
statistics = "exact"

[[mount]]
source = "@/a"
mountpoint = "@/m0"

[[mount]]
source = "@/a"
mountpoint = "@/m1"
int16 = "offset"
labels = "files"
umask = "077"
pyramid = "source"

[[mount]]
source = "@/b"
mountpoint = "@/m2"
uid = 12345
"#;

impl Three {
    /// Writes sources and the file; `change` may make the file wrong.
    fn folders(change: impl Fn(&str) -> String) -> TempDir {
        let folders = TempDir::with_prefix("zarrims-several-").expect("a temporary folder");
        for name in ["m0", "m1", "m2", "cache"] {
            fs::create_dir(folders.path().join(name)).expect("a folder");
        }
        let tiny = Tiny { shape: [16, 512, 512], chunk: [16, 256, 256], seed: 3 };
        tiny.write(&folders.path().join("a/large.ome.zarr"));
        Tiny::default().write(&folders.path().join("b/small.ome.zarr"));
        let text = change(FILE).replace('@', &folders.path().display().to_string());
        fs::write(folders.path().join("f.toml"), text).expect("a file");
        folders
    }

    fn start(folders: TempDir) -> Self {
        let daemon = command(&[])
            .arg("--config")
            .arg(folders.path().join("f.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Self { folders, daemon }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folders.path().join(name)
    }

    fn are_mounted(&self) -> [bool; 3] {
        ["m0", "m1", "m2"].map(|name| is_mounted(&self.path(name)))
    }

    /// Waits for the end, and returns the exit status and standard error.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut stderr = String::new();
        let pipe = self.daemon.stderr.as_mut().expect("a pipe");
        pipe.read_to_string(&mut stderr).expect("UTF-8");
        (self.daemon.wait().expect("the child is ours").code(), stderr)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("it is running");
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            drop(self.daemon.wait());
        }
        for name in ["m0", "m1", "m2"] {
            if is_mounted(&self.path(name)) {
                unmount(&["fusermount3", "-u", "-z"], &self.path(name));
            }
        }
    }
}

#[test]
fn each_mount_has_its_options_and_they_share_a_cache_and_end_one_by_one() {
    if !can_mount() {
        return;
    }
    let mut three = Three::start(Three::folders(str::to_owned));
    eventually("three mounts", SOON, || three.are_mounted() == [true; 3]);
    let read = |name: &str| fs::read(three.path(name)).expect("a file");
    let (computed, stored) = (read("m0/large.ims"), read("m1/large.ims"));
    // Without its computed levels it is smaller.
    assert!(computed.len() > stored.len(), "{} {}", computed.len(), stored.len());
    assert_eq!(&stored[..4], b"\x89HDF");
    let metadata = |name: &str| fs::metadata(three.path(name)).expect("attributes");
    assert_eq!(metadata("m1/large.ims").mode() & 0o077, 0);
    assert_ne!(metadata("m0/large.ims").mode() & 0o077, 0);
    assert_eq!(metadata("m2/small.ims").uid(), 12_345);
    assert!(!read("m2/small.ims").is_empty());
    // One goes; the others are served on.
    assert!(unmount(&["fusermount3", "-u"], &three.path("m1")));
    eventually("one is gone", SOON, || three.are_mounted() == [true, false, true]);
    assert_eq!(read("m0/large.ims"), computed);
    assert!(unmount(&["fusermount3", "-u"], &three.path("m0")));
    assert!(!read("m2/small.ims").is_empty());
    assert!(matches!(three.daemon.try_wait(), Ok(None)), "it still has a mount");
    assert!(unmount(&["fusermount3", "-u"], &three.path("m2")));
    let (code, stderr) = three.ended();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr.matches(" mounted ").count(), 3, "{stderr}");
    let lines: Vec<String> = stderr.lines().map(str::to_owned).collect();
    assert!(summary(&lines, "filled") > 0, "{stderr}");
}

#[test]
fn a_signal_takes_all_mounts_away() {
    if !can_mount() {
        return;
    }
    let mut three = Three::start(Three::folders(str::to_owned));
    eventually("three mounts", SOON, || three.are_mounted() == [true; 3]);
    three.signal(Signal::TERM);
    let (code, stderr) = three.ended();
    assert_eq!((code, three.are_mounted()), (Some(0), [false; 3]), "{stderr}");
}

#[test]
fn a_mount_that_cannot_be_made_takes_the_others_away() {
    if !can_mount() {
        return;
    }
    let folders = Three::folders(|text| text.replace("@/b\"", "@/f.toml\""));
    let mut three = Three::start(folders);
    let (code, stderr) = three.ended();
    assert_eq!((code, three.are_mounted()), (Some(1), [false; 3]), "{stderr}");
    let last = stderr.lines().last().unwrap_or_default();
    let file = three.path("f.toml");
    let start = format!("zarrims-mount: {}:23: source = ", file.display());
    assert!(last.starts_with(&start) && last.contains("is neither a folder"), "{stderr}");
    assert!(!stderr.contains(" mounted "), "{stderr}");
}
