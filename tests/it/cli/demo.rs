//! `make demo`: it ends with the next step, and Ctrl-C at any point leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::common::mount::can_mount;
use crate::common::{BINARY, skipped};

/// The demo, and the temporary folder for everything it writes.
struct Demo {
    folder: TempDir,
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Demo {
    fn start() -> Option<Self> {
        let programs = Path::new(BINARY).parent().expect("a folder");
        let has_h5ls = Command::new("h5ls").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !programs.join("examples/sample_store").exists() || !has_h5ls {
            skipped("the demo needs h5ls, and the examples that \"cargo test\" builds");
            return None;
        }
        if !can_mount() {
            return None;
        }
        let folder = TempDir::with_prefix("zarrims-demo-test-").expect("a temporary folder");
        // As from a terminal, also where this test is started without one.
        let mut child = Command::new("env")
            .args(["--default-signal=INT,TERM,HUP", "bash", "scripts/demo.sh", "", ""])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("TMPDIR", folder.path())
            .env("DEMO_BIN", programs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("env starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Some(Self { folder, child, lines })
    }

    /// Reads on until a line begins so.
    fn wait_for(&mut self, start: &str) {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).expect("UTF-8"), 0, "no line {start:?}");
        }
    }

    /// The exit status, the rest of the lines, and what is left in the folder or mounted there.
    fn end(mut self) -> (Option<i32>, String, Vec<String>) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("UTF-8");
        let status = self.child.wait().expect("the child is ours");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a table");
        let below = self.folder.path().display().to_string();
        let mounts = mounts.lines().filter(|line| line.contains(&below)).map(str::to_owned);
        let names = fs::read_dir(self.folder.path()).expect("a folder");
        let names = names.map(|entry| entry.expect("a name").path().display().to_string());
        (status.code(), rest, names.chain(mounts).collect())
    }
}

#[test]
fn the_demo_ends_with_the_next_step() {
    let Some(demo) = Demo::start() else { return };
    let (status, text, left) = demo.end();
    assert_eq!(status, Some(0), "{text}");
    let (_, next) = text.split_once("== Next, with your own stores\n").expect("a next step");
    assert!(next.contains("make demo SOURCE=/data/zarr MOUNT=/mnt/ims"), "{next}");
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for step in [
        "== Writing a sample store",
        "== Mounting it",
        "== One .ims file",
        "== A slice of every level",
        "opened in ",
        "== Unmounting",
    ] {
        let Some(mut demo) = Demo::start() else { return };
        demo.wait_for(step);
        // All that a terminal sends Ctrl-C to.
        let group = Pid::from_child(&demo.child);
        kill_process_group(group, Signal::INT).expect("it is running");
        // A second Ctrl-C may come too late.
        let _ = kill_process_group(group, Signal::INT);
        let (status, _, left) = demo.end();
        assert!(left.is_empty(), "{step}: {left:#?}");
        assert_eq!(status, Some(130), "{step}");
    }
}
