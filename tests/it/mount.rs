//! What programs see of a mount, through the kernel: attributes, errors, its beginning and its end.

mod foreign;
mod names;
mod reads;
mod several;
mod tree;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirEntryExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink,
};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::common::mount::{Mount, can_mount, is_mounted, summary, unmount};
use crate::common::tiny::Tiny;
use crate::common::{eventually, files, list_json, row_of};
use rustix::fs::{FlockOperation, flock, statvfs};
use rustix::io::Errno;
use rustix::process::Signal;
use tempfile::TempDir;

/// More than anything in these tests takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A source with `a.ome.zarr` and `deep/b.zarr`.
fn two_stores() -> TempDir {
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    Tiny::default().write(&source.path().join("a.ome.zarr"));
    Tiny { shape: [5, 33, 17], chunk: [5, 8, 17], seed: 2 }
        .write(&source.path().join("deep/b.zarr"));
    source
}

/// Inode number and size of everything below a mount point, by path.
fn below(folder: &Path) -> BTreeMap<String, (u64, u64)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).expect("a folder") {
            let entry = entry.expect("a name");
            let metadata = entry.metadata().expect("attributes");
            assert_eq!(entry.ino(), metadata.ino(), "readdir and stat differ");
            let path = entry.path();
            let name = path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
            found.insert(name, (metadata.ino(), metadata.len()));
            if metadata.is_dir() {
                pending.push(path);
            }
        }
    }
    found
}

#[test]
fn sizes_are_those_of_the_list_before_and_after_reading() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let rows = list_json(source.path(), &[]);
    let mount = Mount::of(source.path()).start();
    let mut names = files(&rows);
    names.sort();
    assert_eq!(names, ["a.ims", "deep/b.ims"]);
    for name in &names {
        let path = mount.path().join(name);
        let size = row_of(&rows, name)["size"].as_u64().expect("a size");
        assert_eq!(fs::metadata(&path).expect("attributes").len(), size, "{name}, not yet read");
        let bytes = fs::read(&path).expect("readable");
        assert_eq!(bytes.len() as u64, size, "bytes of {name}");
        assert_eq!(&bytes[..8], b"\x89HDF\r\n\x1a\n", "{name}");
        assert_eq!(fs::metadata(&path).expect("attributes").len(), size, "{name}, read");
        // At the end, and behind it, there is nothing.
        let file = File::open(&path).expect("readable");
        assert_eq!(file.read_at(&mut [0; 16], size).expect("a read"), 0);
        assert_eq!(file.read_at(&mut [0; 16], size - 5).expect("a read"), 5);
    }
}

#[test]
fn nothing_can_be_changed() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let mount = Mount::of(source.path()).start();
    let (root, file) = (mount.path(), mount.path().join("a.ims"));
    let folder = root.join("deep");
    let now = std::fs::FileTimes::new().set_modified(SystemTime::now());
    let read_only = File::open(&file).expect("readable");
    let unit = |result: io::Result<File>| result.map(|_| ());
    let attempts: Vec<(&str, io::Result<()>)> = vec![
        ("create", unit(File::create_new(root.join("new")))),
        ("create below", unit(File::create_new(folder.join("new")))),
        ("mkdir", fs::create_dir(root.join("new"))),
        ("symlink", symlink("a.ims", root.join("new"))),
        ("link", fs::hard_link(&file, root.join("new"))),
        ("unlink", fs::remove_file(&file)),
        ("rmdir", fs::remove_dir(&folder)),
        ("rename", fs::rename(&file, root.join("new"))),
        ("rename over", fs::rename(&file, folder.join("b.ims"))),
        ("chmod", fs::set_permissions(&file, fs::Permissions::from_mode(0o777))),
        ("chmod folder", fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))),
        ("chown", std::os::unix::fs::chown(&file, Some(0), Some(0))),
        ("utimens", read_only.set_times(now)),
        ("truncate", truncate(&file)),
        ("open O_WRONLY", unit(OpenOptions::new().write(true).open(&file))),
        ("open O_RDWR", unit(OpenOptions::new().read(true).write(true).open(&file))),
        ("open O_APPEND", unit(OpenOptions::new().append(true).open(&file))),
        (
            "open O_TRUNC",
            unit(OpenOptions::new().write(true).custom_flags(libc::O_TRUNC).open(&file)),
        ),
    ];
    let wrong: Vec<String> = attempts
        .iter()
        .filter(|(_, result)| {
            result.as_ref().err().and_then(Errno::from_io_error) != Some(Errno::ROFS)
        })
        .map(|(name, result)| format!("{name}: {result:?}"))
        .collect();
    assert!(wrong.is_empty(), "expected EROFS: {wrong:#?}");
    // A file is no folder, a name that is not there is not there.
    let errno =
        |result: io::Result<fs::Metadata>| result.err().as_ref().and_then(Errno::from_io_error);
    assert_eq!(errno(fs::metadata(root.join("none"))), Some(Errno::NOENT));
    assert_eq!(errno(fs::metadata(file.join("inside"))), Some(Errno::NOTDIR));
}

/// `truncate(2)`, which the standard library only has for open files.
fn truncate(path: &Path) -> io::Result<()> {
    let output = Command::new("truncate").args(["-s", "0"]).arg(path).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false if text.contains("Read-only file system") => Err(Errno::ROFS.into()),
        false => Err(io::Error::other(text.into_owned())),
    }
}

#[test]
fn locks_and_statfs_work() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let mount = Mount::of(source.path()).start();
    let open = || File::open(mount.path().join("a.ims")).expect("readable");
    let (one, two, three) = (open(), open(), open());
    flock(&one, FlockOperation::NonBlockingLockShared).expect("a shared lock");
    flock(&two, FlockOperation::NonBlockingLockShared).expect("a second shared lock");
    let third = flock(&three, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(third, Err(Errno::WOULDBLOCK));
    flock(&one, FlockOperation::Unlock).expect("unlocked");
    // Closing would do, were it not for a child of another test that is just being started with a
    // copy of this descriptor.
    flock(&two, FlockOperation::Unlock).expect("unlocked");
    flock(&three, FlockOperation::NonBlockingLockExclusive).expect("nobody else has it");

    let mounted = statvfs(mount.path()).expect("statfs");
    let below = statvfs(source.path()).expect("statfs");
    assert_eq!(mounted.f_blocks * mounted.f_frsize, below.f_blocks * below.f_frsize);
    assert_eq!(mounted.f_namemax, 255);
    assert!(mounted.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
}

#[test]
fn the_time_is_that_of_the_newest_metadata_file() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let store = source.path().join("a.ome.zarr");
    let at = |seconds: u64, nanos: u32| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    let set = |path: &str, time| {
        let file = OpenOptions::new().write(true).open(store.join(path)).expect("a file");
        file.set_modified(time).expect("a time");
    };
    set("zarr.json", at(1_500_000_000, 0));
    set("0/zarr.json", at(1_600_000_000, 250_000_000));
    // A chunk is no metadata, however new.
    set("0/c/0/0/0", at(1_700_000_000, 0));
    let mount = Mount::of(source.path()).start();
    let shown = fs::metadata(mount.path().join("a.ims")).expect("attributes");
    assert_eq!(shown.modified().expect("a time"), at(1_600_000_000, 250_000_000));
    assert_eq!(shown.nlink(), 1);
}

#[test]
fn inode_numbers_are_the_same_after_a_remount() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let look = || {
        let mount = Mount::of(source.path()).start();
        let found = below(mount.path());
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
        found
    };
    let first = look();
    assert_eq!(first.keys().collect::<Vec<_>>(), ["a.ims", "deep", "deep/b.ims"]);
    assert_eq!(look(), first);
}

#[test]
fn owner_group_and_umask_are_as_asked() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    // Only root may enter another user's folders.
    let own = rustix::process::geteuid();
    let uid = if own.is_root() { 12_345 } else { own.as_raw() };
    for (path, mode) in
        [("", 0o755), ("deep", 0o755), ("a.ome.zarr", 0o755), ("deep/b.zarr", 0o755)]
    {
        let path = source.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    let mount = Mount::of(source.path())
        .args(["--uid", &uid.to_string(), "--gid", "54321", "--umask", "027"])
        .start();
    for (path, mode) in [("", 0o550), ("deep", 0o550), ("a.ims", 0o440), ("deep/b.ims", 0o440)] {
        let shown = fs::metadata(mount.path().join(path)).expect("attributes");
        assert_eq!((shown.uid(), shown.gid()), (uid, 54_321), "{path:?}");
        assert_eq!(shown.mode() & 0o7777, mode, "{path:?}: {:o}", shown.mode());
    }
    let (status, _) = mount.stop();
    assert!(status.success());

    let mount = Mount::of(source.path()).start();
    for (path, mode) in [("", 0o555), ("deep", 0o555), ("a.ims", 0o444)] {
        let shown = fs::metadata(mount.path().join(path)).expect("attributes");
        let stored = fs::metadata(source.path()).expect("attributes");
        assert_eq!((shown.uid(), shown.gid()), (stored.uid(), stored.gid()), "{path:?}");
        assert_eq!(shown.mode() & 0o7777, mode, "{path:?}: {:o}", shown.mode());
    }
}

#[test]
fn signals_unmount_and_end_the_daemon_in_order() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    for signal in [Signal::TERM, Signal::INT] {
        let mount = Mount::of(source.path()).start();
        let at = mount.path().to_path_buf();
        fs::read(at.join("a.ims")).expect("readable");
        assert!(is_mounted(&at));
        mount.signal(signal);
        mount.wait_for_line(SOON, |line| line.contains(" unmounted "));
        assert!(!is_mounted(&at), "{signal:?}: still mounted");
        let (status, stderr) = mount.wait();
        assert!(status.success(), "{signal:?}: {status}: {stderr:#?}");
        assert_eq!(summary(&stderr, "failed"), 0);
    }
}

#[test]
fn an_unmount_by_somebody_else_ends_the_daemon() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let mount = Mount::of(source.path()).start();
    let at = mount.path().to_path_buf();
    fs::read(at.join("a.ims")).expect("readable");
    assert!(mount.is_running());
    // Busy for as long as a child of another test is being started with a copy of a descriptor.
    eventually("fusermount3 -u", SOON, || unmount(&["fusermount3", "-u"], &at));
    let (status, stderr) = mount.wait();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert!(summary(&stderr, "filled") > 0);
    assert!(!is_mounted(&at));
}

#[test]
fn an_open_file_is_served_to_its_end_after_a_signal() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let mount = Mount::of(source.path()).start();
    let at = mount.path().to_path_buf();
    let path = at.join("a.ims");
    let whole = fs::read(&path).expect("readable");
    let other = File::open(at.join("deep/b.ims")).expect("readable");
    let file = File::open(&path).expect("readable");
    mount.signal(Signal::TERM);
    mount.wait_for_line(SOON, |line| line.contains("still open"));
    assert!(!is_mounted(&at), "nobody can open anything new");
    assert!(File::open(&path).is_err());
    let mut bytes = vec![0; whole.len()];
    file.read_exact_at(&mut bytes, 0).expect("readable");
    assert!(bytes == whole, "other bytes than before");
    // Never read before: the store must still be decoded.
    other.read_exact_at(&mut [0; 4096], 0).expect("readable");
    assert!(mount.is_running());
    drop((file, other));
    let (status, stderr) = mount.wait();
    assert!(status.success(), "{status}: {stderr:#?}");
    let cut_off = stderr.iter().any(|line| line.contains("will get errors"));
    assert!(!cut_off, "did not notice that the files were closed: {stderr:#?}");
}
