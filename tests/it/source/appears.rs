//! A store that could not be read appears by itself once it can.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::stores::{Version, shows_image};
use crate::common::eventually;
use crate::common::mount::{Mount, can_mount, detach, is_mounted};
use crate::common::process::plain_user;
use crate::common::rest::rest;

/// From the moment it can be read.
const SOON: Duration = Duration::from_secs(30);

fn lock_away(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o000)).expect("ours");
}

fn unlock(path: &Path) {
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
}

/// A folder, a store and each part of it: locked while the daemon starts and lists, then unlocked.
#[test]
fn what_was_locked_appears_once_it_is_unlocked() {
    if !can_mount() {
        return;
    }
    for version in Version::ALL {
        let [metadata, array_metadata] = version.metadata();
        let [chunk, _] = version.chunks();
        let parts = ["", "a.zarr", "a.zarr/0"]
            .map(Path::new)
            .into_iter()
            .chain([metadata, array_metadata, version.chunk_folder(), chunk].map(Path::new));
        for (number, part) in parts.enumerate() {
            let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
            let cache = TempDir::with_prefix("zarrims-cache-").expect("a temporary folder");
            let lab = source.path().join("lab");
            let store = lab.join("a.zarr");
            version.write(&store);
            rest(source.path());
            let locked = match number {
                0..=2 => lab.join(part),
                _ => store.join(part),
            };
            lock_away(&locked);
            let start =
                || Mount::of(source.path()).cache(cache.path()).wrapper(plain_user()).start();
            // The first one leaves what it knows in the cache folder.
            for round in 0..2 {
                let mount = start();
                let file = mount.path().join("lab/a.ims");
                assert!(!shows_image(&file), "{version:?} {part:?} is locked");
                if round == 0 {
                    let (status, stderr) = mount.stop();
                    assert!(status.success(), "{stderr:#?}");
                    continue;
                }
                unlock(&locked);
                eventually(&format!("{version:?} {part:?}"), SOON, || shows_image(&file));
            }
        }
    }
}

/// Told once, however often it is looked at.
#[test]
fn what_stays_locked_is_told_once() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    for store in ["a.zarr", "b.zarr"] {
        Version::V2.write(&source.path().join(store));
    }
    rest(source.path());
    lock_away(&source.path().join("a.zarr/0"));
    let mount = Mount::of(source.path()).wrapper(plain_user()).start();
    let list = || fs::read_dir(mount.path()).expect("a listing").count();
    // Three looks at the least: what is new shows that one was taken.
    for number in 0..3 {
        assert_eq!(list(), 1 + number);
        Version::V2.write(&source.path().join(format!("new{number}.zarr")));
        eventually("a new store", SOON, || list() == 2 + number);
    }
    mount.wait_for_lines(1, |line| line.contains("a.zarr/0") && line.contains("Permission denied"));
    unlock(&source.path().join("a.zarr/0"));
}

/// A share that is down when the daemon starts: its mount point gives ENOTCONN.
#[test]
fn what_lies_on_a_dead_mount_appears_when_that_is_replaced() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let share = source.path().join("share");
    fs::create_dir(&share).expect("a folder");
    rest(source.path());
    let elsewhere = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let cache = TempDir::with_prefix("zarrims-cache-").expect("a temporary folder");
    let dead = Mount::of(elsewhere.path()).at(&share).start();
    dead.signal(Signal::KILL);
    eventually("the end of the daemon", SOON, || !dead.is_running());
    // The list of mounts may change while it is read.
    eventually("the dead mount", SOON, || is_mounted(&share));

    let mount = Mount::of(source.path()).cache(cache.path()).start();
    let file = mount.path().join("share/a.ims");
    assert!(!shows_image(&file), "the share is down");
    assert!(detach(&share), "the dead mount goes");
    Version::V3.write(&share.join("a.zarr"));
    eventually("the share", SOON, || shows_image(&file));
}

#[test]
fn what_a_link_stood_for_appears_when_the_folder_takes_its_place() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let elsewhere = TempDir::with_prefix("zarrims-elsewhere-").expect("a temporary folder");
    let outside = elsewhere.path().join("a.zarr");
    Version::V3.write(&outside);
    symlink(&outside, source.path().join("a.zarr")).expect("a link");
    // Within a group, and of a level.
    let plate = source.path().join("plate.zarr");
    fs::create_dir(&plate).expect("a folder");
    fs::write(plate.join(".zgroup"), "{\"zarr_format\": 2}").expect("metadata");
    Version::V2.write(&plate.join("real"));
    symlink("missing", plate.join("linked")).expect("a link");
    rest(source.path());
    let mount = Mount::of(source.path()).start();
    assert!(!shows_image(&mount.path().join("a.ims")), "leads out of the source");
    let names = || fs::read_dir(mount.path()).expect("a listing").count();
    assert_eq!(names(), 1);
    assert!(shows_image(&mount.path().join("plate.ims")), "one of two");

    fs::remove_file(source.path().join("a.zarr")).expect("a link");
    Version::V3.write(&source.path().join("a.zarr"));
    eventually("the store", SOON, || shows_image(&mount.path().join("a.ims")));
    Version::V2.write(&plate.join("missing"));
    eventually("the link's target", SOON, || {
        shows_image(&mount.path().join("plate/linked.ims"))
            && shows_image(&mount.path().join("plate/real.ims"))
    });
}
