//! Folders of caches that do not get into each other's way, and a device that cannot be opened.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::daemon::{SOON, source_of_one};
use crate::common::mount::{Mount, can_mount, is_mounted};
use crate::common::process::is_root;
use crate::common::{BINARY, command, eventually};

/// A user that owns nothing.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a folder").permissions().mode() & 0o777
}

/// Two daemons without `--cache-dir` do not meet.
#[test]
fn each_source_has_a_cache_of_its_own() {
    if !can_mount() {
        return;
    }
    let folders = TempDir::new().expect("a folder");
    let (first, second) = (source_of_one().0, source_of_one().0);
    let mut running = Vec::new();
    for (number, source) in [&first, &second].into_iter().enumerate() {
        let mountpoint = folders.path().join(format!("mount{number}"));
        fs::create_dir(&mountpoint).expect("a folder");
        let child = command(&[])
            .env("XDG_CACHE_HOME", folders.path())
            .arg(source.path())
            .arg(&mountpoint)
            .spawn()
            .expect("it starts");
        running.push((child, mountpoint));
    }
    for (child, mountpoint) in &mut running {
        eventually("mounted", SOON, || {
            let ended = child.try_wait().expect("our child");
            assert!(ended.is_none(), "{ended:?}");
            is_mounted(mountpoint)
        });
    }
    let caches = fs::read_dir(folders.path().join("zarrims")).expect("a folder");
    assert_eq!(caches.count(), 2);
    for (mut child, mountpoint) in running {
        assert!(crate::common::mount::unmount(&["fusermount3", "-u"], &mountpoint));
        assert!(child.wait().expect("our child").success());
    }
}

/// What root made does not shut out the user of a service that has a folder beside it.
#[test]
fn a_cache_of_root_shuts_nobody_out_of_the_folders_above() {
    if !can_mount() || !is_root("to become another user") {
        return;
    }
    let (source, _) = source_of_one();
    let folders = TempDir::new().expect("a folder");
    let cache = folders.path().join("cache/zarrims/one");
    drop(Mount::of(source.path()).cache(&cache).start());
    assert_eq!(mode(&cache), 0o700);
    assert_eq!(mode(&folders.path().join("cache/zarrims")), 0o755);
    assert_eq!(mode(&folders.path().join("cache")), 0o755);
}

/// `/dev/fuse` is for root alone, as on a machine without the rule of udev.
#[test]
fn a_device_that_cannot_be_opened_is_named() {
    if !can_mount() || !is_root("to become another user") {
        return;
    }
    let (source, _) = source_of_one();
    let folders = TempDir::new().expect("a folder");
    let device = folders.path().join("fuse");
    let made = std::process::Command::new("mknod")
        .args(["--mode=600".as_ref(), device.as_os_str()])
        .args(["c", "10", "229"])
        .status();
    assert!(made.expect("mknod").success());
    for path in [source.path(), folders.path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our folder");
    }
    let program = folders.path().join("program");
    fs::copy(BINARY, &program).expect("a copy");
    let own = |name: &str| {
        let path = folders.path().join(name);
        fs::create_dir(&path).expect("a folder");
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).expect("root");
        path
    };
    let (mountpoint, cache) = (own("mount"), own("cache"));
    let script = "mount --bind \"$1\" /dev/fuse && shift && exec \"$@\"";
    let output = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(&device)
        .args(NOBODY)
        .arg(&program)
        .args([source.path(), &mountpoint])
        .arg("--cache-dir")
        .arg(&cache)
        .output()
        .expect("unshare");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = text.lines().last().unwrap_or_default();
    assert!(line.contains("/dev/fuse cannot be opened by this user"), "{text}");
    assert!(line.contains("\"chmod 666 /dev/fuse\""), "{text}");
    assert!(!text.contains("user_allow_other"), "{text}");
}
