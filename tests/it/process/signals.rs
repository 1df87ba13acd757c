//! Signals that have no meaning for the daemon do nothing.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;

use super::daemon::{Daemon, SOON, read_all, source_of_one};
use crate::common::eventually;
use crate::common::mount::{Mount, can_mount};

#[test]
fn signals_that_mean_nothing_do_not_end_it() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let mut daemon = Daemon::start(source.path(), Stdio::null(), &[], &[]);
    let before = read_all(&daemon.path().join("a.ims"));
    for signal in [
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::PIPE,
        Signal::XFSZ,
    ] {
        daemon.signal(signal);
        eventually("delivered", SOON, || {
            let status = fs::read_to_string(format!("/proc/{}/status", daemon.id()));
            let status = status.expect("it runs");
            let pending: Vec<&str> =
                status.lines().filter_map(|line| line.strip_prefix("ShdPnd:")).collect();
            pending.iter().all(|mask| mask.trim().bytes().all(|digit| digit == b'0'))
        });
        assert_eq!(read_all(&daemon.path().join("a.ims")), before, "{signal:?}");
        assert!(daemon.status().is_none(), "{signal:?}: {:?}", daemon.status());
    }
    assert!(daemon.stop().success());
}

/// `ulimit -f` sends a signal for each write that is too long: here, for the first segment file.
#[test]
fn a_limit_of_file_sizes_costs_the_cache_only() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let mount = Mount::of(source.path()).wrapper(&["prlimit", "--fsize=65536"]).start();
    read_all(&mount.path().join("a.ims"));
    let (status, lines) = mount.stop();
    assert!(status.success(), "{status}: {lines:#?}");
    let told = lines.iter().filter(|line| line.contains("cannot cache bricks")).count();
    assert_eq!(told, 1, "{lines:#?}");
}
