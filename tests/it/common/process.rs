//! What the system knows of a process, and what the process of the tests may do.

use std::fs;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use super::skipped;

/// A number of `/proc/<pid>/status`, in KiB.
#[track_caller]
pub fn status_kib(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()).expect("a line of it");
    number.parse().expect("a number")
}

/// Lets the process of the tests open this many files, and says so if it may not. The limit only rises:
/// other tests run at the same time.
pub fn allow_descriptors(count: u64) -> bool {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.current.map(|now| now.max(count));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: wanted, ..limit });
    if let Err(errno) = raised {
        skipped(&format!("no {count} open files on this machine: {errno}"));
    }
    raised.is_ok()
}

/// Whether the tests run as root; if not, says what root is needed for.
pub fn is_root(what_for: &str) -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        skipped(&format!("needs root: {what_for}"));
    }
    is_root
}

/// What a program is started through so that file modes bind it, root or not.
pub fn plain_user() -> &'static [&'static str] {
    if geteuid().is_root() {
        &["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    } else {
        &[]
    }
}
