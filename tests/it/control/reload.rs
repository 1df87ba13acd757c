//! The configuration is read again while the daemon serves.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::asked::status;
use crate::common::mount::{can_mount, detach, is_mounted};
use crate::common::tiny::Tiny;
use crate::common::{command, eventually};
use crate::process::daemon::{SOON, read_all};

/// A daemon with the mounts of a file, all of which go away however the test ends.
struct OfFile {
    folders: TempDir,
    daemon: Child,
}

const MOUNTS: [&str; 3] = ["m0", "m1", "m2"];

impl OfFile {
    fn start(mounts: &[&str]) -> Self {
        let folders = TempDir::with_prefix("zarrims-reload-").expect("a temporary folder");
        for name in MOUNTS {
            fs::create_dir(folders.path().join(name)).expect("a folder");
        }
        Tiny::default().write(&folders.path().join("source/a.zarr"));
        write(folders.path(), "1GiB", mounts, "");
        let daemon = command(&[])
            .arg("--config")
            .arg(folders.path().join("f.toml"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let daemon = Self { folders, daemon };
        eventually("mounted", SOON, || mounts.iter().all(|name| is_mounted(&daemon.path(name))));
        eventually("can be asked", SOON, || daemon.path("s").exists());
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folders.path().join(name)
    }

    fn write(&self, size: &str, mounts: &[&str], more: &str) {
        write(self.folders.path(), size, mounts, more);
    }

    /// `reload`: the exit status and what it says.
    fn reload(&self) -> (Option<i32>, String) {
        let asked = command(&[]).args(["reload", "--socket"]).arg(self.path("s")).output();
        let output = asked.expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("UTF-8"))
    }

    fn are_mounted(&self) -> [bool; 3] {
        MOUNTS.map(|name| is_mounted(&self.path(name)))
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("it is running");
    }
}

impl Drop for OfFile {
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            drop(self.daemon.wait());
        }
        for name in MOUNTS {
            if is_mounted(&self.path(name)) {
                detach(&self.path(name));
            }
        }
    }
}

fn write(folder: &Path, size: &str, mounts: &[&str], more: &str) {
    let at = folder.display();
    let mut text = format!(
        "[cache]\ndir = \"{at}/cache\"\nsize = \"{size}\"\nmin-free = 0\n[control]\nsocket = \"{at}/s\"\n"
    );
    let mount = |name: &&str| {
        format!("[[mount]]\nsource = \"{at}/source\"\nmountpoint = \"{at}/{name}\"\n")
    };
    text.extend(mounts.iter().map(mount));
    fs::write(folder.join("f.toml"), text + more).expect("a file");
}

#[test]
fn mounts_come_and_go_and_those_that_stay_are_not_touched() {
    if !can_mount() {
        return;
    }
    let daemon = OfFile::start(&["m0", "m1"]);
    let kept = fs::File::open(daemon.path("m0/a.ims")).expect("a file");
    let since = status(&daemon.path("s"))["mounts"][0]["since_s"].clone();
    let device = |path: &Path| fs::metadata(path).expect("a mount").dev();
    let before = device(&daemon.path("m0"));
    daemon.write("2GiB", &["m0", "m2"], "");
    let (code, text) = daemon.reload();
    assert_eq!(code, Some(0), "{text}");
    for part in ["mounted: ", "/m2", "unmounted: ", "/m1", "changed: cache-size"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("other options"), "{text}");
    assert_eq!(device(&daemon.path("m0")), before, "the same mount");
    eventually("exchanged", SOON, || daemon.are_mounted() == [true, false, true]);
    read_all(&daemon.path("m2/a.ims"));
    let now = status(&daemon.path("s"));
    let row = |point: &str| {
        let mounts = now["mounts"].as_array().expect("mounts");
        let is_it = |row: &&serde_json::Value| {
            row["mountpoint"].as_str().is_some_and(|path| path.ends_with(point))
        };
        mounts.iter().find(is_it).cloned().unwrap_or_default()
    };
    assert_eq!((&row("m0")["since_s"], &row("m0")["open_handles"]), (&since, &1.into()));
    assert_eq!(now["engine"]["cache"]["cap_bytes"], 2_u64 << 30);
    drop(kept);
    // A signal does the same, and the same again is nothing.
    daemon.write("2GiB", &["m0", "m1", "m2"], "umask = \"077\"\n");
    daemon.signal(Signal::HUP);
    eventually("all", SOON, || daemon.are_mounted() == [true; 3]);
    eventually("another mode", SOON, || {
        use std::os::unix::fs::PermissionsExt;
        let file = fs::metadata(daemon.path("m2/a.ims"));
        file.is_ok_and(|file| file.permissions().mode() % 0o100 == 0)
    });
    let (code, text) = daemon.reload();
    assert_eq!((code, text.as_str()), (Some(0), "nothing has changed\n"));
}

#[test]
fn a_wrong_configuration_changes_nothing() {
    if !can_mount() {
        return;
    }
    let daemon = OfFile::start(&["m0", "m1"]);
    for (mounts, more, reason) in [
        (&["m0"][..], "sise = 3\n", "sise: no such key"),
        (&["m0"], "[[mount]]\nsource = \"/usr\"\nmountpoint = \"/nowhere\"\n", "/nowhere"),
        (&[], "", "has no [[mount]]"),
        (
            &["m0", "m1", "m2"],
            "[[mount]]\nsource = \"/nowhere\"\nmountpoint = \"/usr\"\n",
            "/nowhere",
        ),
    ] {
        daemon.write("3GiB", mounts, more);
        let (code, text) = daemon.reload();
        assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
        assert!(text.contains(reason), "{text}");
        assert_eq!(daemon.are_mounted(), [true, true, false]);
    }
    read_all(&daemon.path("m1/a.ims"));
    let cap = status(&daemon.path("s"))["engine"]["cache"]["cap_bytes"].clone();
    assert_eq!(cap, 1_u64 << 30);
    daemon.write("1GiB", &["m0", "m1"], "[resources]\nthreads = 9\n");
    let (code, text) = daemon.reload();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("changed by the next start only: threads"), "{text}");
}
