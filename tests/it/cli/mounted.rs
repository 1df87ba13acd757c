//! A mount as its admin sees it: in use, in `df` and `findmnt`, ended by two signals.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::rig::{Folders, refused};
use crate::common::mount::{Mount, can_mount, is_mounted};
use crate::common::tiny::Tiny;

/// For a line that the daemon writes at once.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_mount_point_in_use_and_a_cache_in_use_are_refused() {
    if !can_mount() {
        return;
    }
    let folders = Folders::new();
    let mount = Mount::of(&folders.folder.path().join("source"))
        .at(&folders.folder.path().join("mount"))
        .cache(&folders.folder.path().join("cache"))
        .start();
    let lines = [
        ("@source @mount --cache-dir @other", "MOUNTPOINT"),
        ("@source @full2 --cache-dir @cache", "--cache-dir"),
    ];
    fs::create_dir(folders.folder.path().join("full2")).expect("a folder");
    for (line, word) in lines {
        let output = refused(line, &folders);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{line}: {}", output.status);
        assert_eq!(stderr.lines().count(), 1, "{line}: {stderr:?}");
        assert!(stderr.contains(word), "{line}: {stderr:?}");
        if word == "--cache-dir" {
            let (cache, pid) = (folders.expand("@cache"), mount.pid());
            let line = format!("--cache-dir: cache directory {cache} is in use by process {pid}");
            assert_eq!(stderr, format!("zarrims-mount: {line}\n"));
        }
    }
    assert!(!is_mounted(&folders.folder.path().join("full2")));
    // The first daemon is none the worse.
    assert!(mount.path().join("a.ims").is_file());
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    // What it held is free again.
    let next = Mount::of(&folders.folder.path().join("source"))
        .at(&folders.folder.path().join("mount"))
        .cache(&folders.folder.path().join("cache"))
        .start();
    let (status, stderr) = next.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
}

/// Columns of `df` for a path.
fn df(columns: &str, path: &Path) -> Vec<String> {
    let output = Command::new("df").arg(format!("--output={columns}")).arg(path).output();
    let output = output.expect("df starts");
    assert!(output.status.success(), "df: {}", output.status);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let line = text.lines().nth(1).expect("a second line");
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn df_shows_source_and_the_space_of_its_disk() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::with_prefix("zarrims-df-").expect("a temporary folder");
    // A comma in a name must not end a mount option.
    let source = folder.path().join("a,b");
    Tiny::default().write(&source.join("a.ome.zarr"));
    let mount = Mount::of(&source).start();
    let seen = df("source,fstype", mount.path());
    assert_eq!(seen, [source.display().to_string(), "fuse.zarrims".to_owned()]);
    assert_eq!(df("size,itotal", mount.path()), df("size,itotal", &source));
    for percent in df("pcent,ipcent", mount.path()) {
        assert_ne!(percent, "100%");
    }
}

#[test]
fn a_cap_larger_than_the_disk_is_told() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-cap-").expect("a temporary folder");
    let mount = Mount::of(source.path()).args(["--cache-size", "16000PiB"]).start();
    let wanted = "--cache-size 15.6 EiB: is more than the disk has, which is ";
    mount.wait_for_line(SOON, |line| line.contains(wanted) && line.contains("WARN"));
}

#[test]
fn a_second_signal_says_what_it_did() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-signal-").expect("a temporary folder");
    Tiny::default().write(&source.path().join("a.ome.zarr"));
    let mount = Mount::of(source.path()).start();
    let path = mount.path().to_path_buf();
    let open = File::open(path.join("a.ims")).expect("readable");
    mount.signal(Signal::INT);
    mount.wait_for_line(SOON, |line| line.contains("files are still open; serving them on"));
    mount.signal(Signal::INT);
    let (status, stderr) = mount.wait();
    assert_eq!(status.code(), Some(130), "{stderr:#?}");
    let last = stderr.last().expect("a line");
    let wanted = "ended at once by a second signal; whoever has files open gets errors";
    assert!(last.contains(wanted), "{stderr:#?}");
    assert!(!is_mounted(&path));
    drop(open);
}
