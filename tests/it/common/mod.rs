//! What the tests of several subjects and the benches share: a mount that always goes away, a reader of
//! `.ims` files, small hand-written stores, the corpus manifest.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "helpers of tests"
)]

pub mod check;
pub mod corpus;
pub mod disk;
pub mod group;
pub mod ims;
pub mod level;
pub mod library;
pub mod linked;
pub mod mount;
pub mod picks;
pub mod planes;
pub mod process;
pub mod rest;
pub mod server;
pub mod store;
pub mod tiny;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT};

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_zarrims-mount");

/// Says on standard error, past the capture of the test harness, that a test did not run.
pub fn skipped(reason: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// Waits until `cond` holds. The pause only leaves the processor to other programs.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut cond: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !cond() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Programs inherit that signals are ignored, as `nohup` does, and as a shell does for `&`. Signals that this process
/// catches have their default in the programs that it starts.
fn restore_signals() {
    static RESTORE: LazyLock<()> = LazyLock::new(|| {
        let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(ignored.unwrap_or("0").trim(), 16).expect("a mask");
        for signal in [SIGHUP, SIGINT].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 1)
        {
            signal_hook::flag::register(signal, Arc::default()).expect("it can be caught");
        }
    });
    LazyLock::force(&RESTORE);
}

/// Closes what a program has inherited, and becomes the program that is named second, under the name given first.
/// libhdf5 opens files such that programs inherit them. So a daemon would keep those open that other tests read while
/// it was started, and their mounts, which give open files ten seconds, would take that long to end.
const LET_GO: &str = r#"
for descriptor in /proc/$$/fd/*; do
    descriptor=${descriptor##*/}
    [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
done
exec -a "$0" "$@"
"#;

/// The whole path of a program of this machine.
#[track_caller]
pub fn found(program: &str) -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = std::env::split_paths(&paths).map(|folder| folder.join(program));
    paths.find(|path| path.exists()).unwrap_or_else(|| panic!("{program} is not installed"))
}

/// The program without the environment variables it reads, perhaps started by a wrapper.
pub fn command(wrapper: &[&str]) -> Command {
    command_as(wrapper.first().unwrap_or(&BINARY), wrapper)
}

/// The same, under a name.
pub fn command_as(name: &str, wrapper: &[&str]) -> Command {
    // Some tests give the program a PATH without any shell.
    static SHELL: LazyLock<PathBuf> = LazyLock::new(|| found("bash"));
    restore_signals();
    let mut command = Command::new(&*SHELL);
    command.args(["-c", LET_GO, name]).args(wrapper).arg(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ZARRIMS_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET").env_remove("XDG_CACHE_HOME").env_remove("COLUMNS");
    // No file of this machine.
    command.env("ZARRIMS_CONFIG", "/dev/null");
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
#[track_caller]
pub fn run(args: &[&OsStr]) -> Output {
    command(&[]).args(args).output().expect("the program starts")
}

/// `--list --json` of a source folder, one value a line.
#[track_caller]
pub fn list_json(source: &Path, wrapper: &[&str]) -> Vec<Value> {
    let output = command(wrapper).arg("--list").arg("--json").arg(source).output();
    let output = output.expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "--list --json: {}: {stderr}", output.status);
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// The `file` members of the rows that have one.
pub fn files(rows: &[Value]) -> Vec<String> {
    rows.iter().filter_map(|row| Some(row.get("file")?.as_str()?.to_owned())).collect()
}

/// The row of a file.
#[track_caller]
pub fn row_of<'a>(rows: &'a [Value], file: &str) -> &'a Value {
    let found = rows.iter().find(|row| row.get("file").and_then(Value::as_str) == Some(file));
    found.unwrap_or_else(|| panic!("{file} is not listed: {rows:#?}"))
}
