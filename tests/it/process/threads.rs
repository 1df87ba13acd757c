//! Few threads while there is nothing to do.

use std::fs;
use std::process::Stdio;

use tempfile::TempDir;

use super::daemon::{Daemon, SOON};
use crate::common::eventually;
use crate::common::mount::can_mount;
use crate::common::tiny::Tiny;

/// What a daemon at rest may have, besides those that the kernel's requests wake.
const FEW: usize = 16;

/// The names of all threads of a process.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(|task| name(task.ok()?)).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn a_daemon_at_rest_has_few_threads() {
    if !can_mount() {
        return;
    }
    let source = TempDir::new().expect("a folder");
    for seed in 0..20 {
        Tiny { seed, ..Tiny::default() }.write(&source.path().join(format!("s{seed}.zarr")));
    }
    let daemon = Daemon::start(source.path(), Stdio::null(), &[], &[]);
    let few = || threads(daemon.id()).len() < FEW;
    eventually("few threads after the start", SOON, few);
    let listed = fs::read_dir(daemon.path()).expect("mounted").flatten();
    let sizes: u64 = listed.map(|file| file.metadata().expect("a file").len()).sum();
    assert!(sizes > 0);
    fs::read(daemon.path().join("s0.ims")).expect("readable");
    eventually("few threads after a listing and a read", SOON, few);
}
