//! A daemon whose standard error is whatever a test wants, and what tests of processes share.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::mount::{detach, is_mounted};
use crate::common::tiny::Tiny;
use crate::common::{command, eventually};

/// More than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// What users are promised, see `doc/SEMANTICS.md`.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A running daemon that may have nothing to say.
pub(crate) struct Daemon {
    child: Child,
    folders: TempDir,
}

impl Daemon {
    /// Starts it, and returns when it has mounted.
    pub(crate) fn start(source: &Path, stderr: Stdio, wrapper: &[&str], args: &[&str]) -> Self {
        let folders = TempDir::with_prefix("zarrims-process-").expect("a temporary folder");
        let mountpoint = folders.path().join("mount");
        fs::create_dir(&mountpoint).expect("a folder");
        let child = command(wrapper)
            .arg(source)
            .arg(&mountpoint)
            .arg("--cache-dir")
            .arg(folders.path().join("cache"))
            .args(["--cache-size", "1GiB"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        let mut daemon = Self { child, folders };
        eventually("mounted", SOON, || {
            assert!(daemon.status().is_none(), "ended: {:?}", daemon.status());
            is_mounted(&mountpoint)
        });
        daemon
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folders.path().join("mount")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The end, if it has come.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("it runs");
    }

    /// Asks for the end, and gives the status.
    #[track_caller]
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        eventually("ended", STOP_LIMIT, || self.status().is_some());
        assert!(!is_mounted(&self.path()), "still mounted");
        self.status().expect("it has ended")
    }

    /// Kills it: the mount stays.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let path = self.path();
        while is_mounted(&path) && detach(&path) {}
    }
}

/// A source with one small store, and the voxels that its file must hold.
pub(crate) fn source_of_one() -> (TempDir, Tiny) {
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let tiny = Tiny::default();
    tiny.write(&source.path().join("a.zarr"));
    (source, tiny)
}

/// All bytes of a file of the mount. The signature of HDF5 shows that they are no zeros.
#[track_caller]
pub(crate) fn read_all(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let opened = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (&opened).read_to_end(&mut bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(&bytes[..8], b"\x89HDF\r\n\x1a\n", "{}", path.display());
    bytes
}
