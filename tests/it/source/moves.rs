//! SOURCE itself goes, comes back, and is another folder or disk: it is served by its path, and while it
//! is gone every access fails.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use tempfile::TempDir;

use super::stores::{Version, shows_image};
use crate::common::mount::{Mount, can_mount, is_mounted, unmount};
use crate::common::process::is_root;
use crate::common::{command, eventually, skipped};

/// A second each for the folder, the names in it, and the names in the kernel; the rest for a busy machine.
const SOON: Duration = Duration::from_secs(10);

fn folder() -> TempDir {
    TempDir::with_prefix("zarrims-source-").expect("a temporary folder")
}

fn made(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).expect("a folder");
    path
}

/// The names in the mount, or the number of the error.
fn names(mount: &Mount) -> Result<Vec<String>, Option<i32>> {
    let entries = fs::read_dir(mount.path()).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| error.raw_os_error())?;
    Ok(entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// Waits for EIO; until then the names must be those of before, and never none.
#[track_caller]
fn fails_soon(mount: &Mount, before: &str) {
    eventually("an error", SOON, || match names(mount) {
        Ok(names) => {
            assert_eq!(names, [before], "the folder as it was, or an error");
            false
        }
        Err(errno) => {
            assert_eq!(errno, Some(Errno::IO.raw_os_error()));
            true
        }
    });
    // Another name than before: none of the kernel's.
    let found = fs::metadata(mount.path().join("unheard-of.ims"));
    let errno = found.expect_err("nothing is there").raw_os_error();
    assert_eq!(errno, Some(Errno::IO.raw_os_error()), "no word on what is there");
}

#[track_caller]
fn shows_soon(mount: &Mount, image: &str) {
    eventually(image, SOON, || {
        names(mount).is_ok_and(|names| names == [image]) && shows_image(&mount.path().join(image))
    });
}

#[track_caller]
fn told(mount: &Mount, words: &str, times: usize) {
    mount.wait_for_lines(times, |line| line.contains(words));
}

/// A file system in memory, which goes with the test.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        let status = Command::new("mount").args(["-t", "tmpfs", "disk"]).arg(at).status();
        assert!(status.expect("mount").success());
        Self(at.to_path_buf())
    }

    /// Not lazily: nothing may use it.
    fn unmount(self) {
        eventually("nobody uses the disk", SOON, || unmount(&["umount"], &self.0));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if is_mounted(&self.0) {
            unmount(&["umount", "-l"], &self.0);
        }
    }
}

fn can_mount_disks() -> bool {
    is_root("to mount a disk") && can_mount()
}

#[test]
fn a_source_that_is_renamed_fails_and_is_served_again() {
    if !can_mount() {
        return;
    }
    let above = folder();
    let source = made(above.path().join("data"));
    Version::V3.write(&source.join("a.zarr"));
    let mount = Mount::of(&source).start();
    shows_soon(&mount, "a.ims");
    for round in 1..=2 {
        fs::rename(&source, above.path().join("elsewhere")).expect("ours");
        fails_soon(&mount, "a.ims");
        told(&mount, "SOURCE is gone", round);
        fs::rename(above.path().join("elsewhere"), &source).expect("ours");
        shows_soon(&mount, "a.ims");
        told(&mount, "SOURCE is back", round);
    }
    told(&mount, "request failed", 0);
}

#[test]
fn a_source_that_is_replaced_or_pointed_elsewhere_is_served() {
    if !can_mount() {
        return;
    }
    let above = folder();
    let at = |name: &str| above.path().join(name);
    for name in ["one", "two"] {
        Version::V2.write(&made(at(name)).join(format!("{name}.zarr")));
    }
    symlink("one", at("link")).expect("a link");
    let replaced = made(at("data"));
    Version::V3.write(&replaced.join("old.zarr"));
    let linked = Mount::of(&at("link")).start();
    let mount = Mount::of(&replaced).start();
    shows_soon(&linked, "one.ims");
    shows_soon(&mount, "old.ims");

    symlink("two", at("new")).expect("a link");
    fs::rename(at("new"), at("link")).expect("a link");
    shows_soon(&linked, "two.ims");
    told(&linked, "another folder or disk stands at SOURCE", 1);

    fs::rename(&replaced, at("before")).expect("ours");
    fs::rename(at("one"), &replaced).expect("ours");
    shows_soon(&mount, "one.ims");
}

#[test]
fn a_disk_that_is_mounted_later_and_again_is_served_and_its_mount_point_never() {
    if !can_mount_disks() {
        return;
    }
    let source = folder();
    let mount = Mount::of(source.path()).start();
    told(&mount, "SOURCE is empty", 1);
    assert_eq!(names(&mount), Ok(Vec::new()), "what was there at the start, and was told");
    for round in 1..=2 {
        let disk = Disk::mount(source.path());
        Version::V3.write(&source.path().join("a.zarr"));
        shows_soon(&mount, "a.ims");
        disk.unmount();
        fails_soon(&mount, "a.ims");
        told(&mount, "SOURCE is gone", round);
        told(&mount, "is the disk not mounted?", round);
    }
}

#[test]
fn a_disk_below_the_source_is_let_go_when_nobody_reads() {
    if !can_mount_disks() {
        return;
    }
    let source = folder();
    let disk = Disk::mount(&made(source.path().join("disk")));
    Version::V3.write(&disk.0.join("a.zarr"));
    let mount = Mount::of(source.path()).start();
    let file = mount.path().join("disk/a.ims");
    eventually("the image", SOON, || shows_image(&file));
    let held = fs::File::open(&file).expect("an image");
    disk.unmount();
    eventually("the end of the image", SOON, || fs::metadata(&file).is_err());
    drop(held);
}

/// A filter of system calls, as of systemd (ENOSYS) and of old containers (EPERM).
#[test]
fn without_openat2_the_daemon_says_so_and_ends() {
    if Command::new("strace").arg("-V").output().is_err() {
        skipped("no strace");
        return;
    }
    let source = folder();
    Version::V3.write(&source.path().join("a.zarr"));
    let mountpoint = folder();
    let cache = folder();
    for errno in ["ENOSYS", "EPERM"] {
        let inject = format!("inject=openat2:error={errno}");
        let output =
            command(&["timeout", "30", "strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject])
                .args([source.path(), mountpoint.path(), Path::new("--cache-dir"), cache.path()])
                .output()
                .expect("strace");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errno}: {stderr}");
        let line = stderr.lines().last().unwrap_or_default();
        let start = format!("zarrims-mount: SOURCE {}: ", source.path().display());
        assert!(line.starts_with(&start) && line.contains("openat2 is refused"), "{stderr}");
        assert!(!is_mounted(mountpoint.path()));
    }
}
