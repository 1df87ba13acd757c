//! A log that cannot be written, or that nobody reads, costs lines and nothing else; what is written is
//! one line an event, whatever names are in it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use serde_json::Value;

use super::daemon::{Daemon, read_all, source_of_one};
use crate::common::mount::{Mount, can_mount, summary};
use crate::common::process::is_root;

/// Makes each look-up of a name that is not there a few lines.
const LOUD: &str = "-vv";

/// Look-ups that give more lines than a pipe holds (64 KiB), and more than may wait (1 MiB).
const MORE_THAN_A_PIPE: usize = 2000;
const MORE_THAN_MAY_WAIT: usize = 12_000;

fn look_up(mount: &Path, names: usize) {
    for number in 0..names {
        let found = fs::metadata(mount.join(format!("not-there-{number}-{}", "x".repeat(100))));
        assert_eq!(found.expect_err("no such name").kind(), std::io::ErrorKind::NotFound);
    }
}

/// Serves and ends as if the log were well.
#[track_caller]
fn assert_serves(stderr: Stdio, what: &str, wrapper: &[&str]) {
    let (source, tiny) = source_of_one();
    let mut daemon = Daemon::start(source.path(), stderr, wrapper, &[LOUD]);
    let file = daemon.path().join("a.ims");
    look_up(&daemon.path(), MORE_THAN_A_PIPE);
    let bytes = read_all(&file);
    assert!(bytes.len() > tiny.pixels().len(), "{what}");
    assert_eq!(fs::read_dir(daemon.path()).expect("a folder").count(), 1, "{what}");
    assert!(daemon.status().is_none(), "{what}: {:?}", daemon.status());
    let status = daemon.stop();
    assert!(status.success(), "{what}: {status}");
}

#[test]
fn a_full_disk_under_the_log() {
    if can_mount() {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a device");
        assert_serves(full.into(), "/dev/full", &[]);
    }
}

#[test]
fn a_pipe_whose_reader_is_gone() {
    if can_mount() {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        assert_serves(writer.into(), "a pipe without a reader", &[]);
    }
}

#[test]
fn a_pipe_that_nobody_reads() {
    if can_mount() {
        let (_reader, writer) = pipe().expect("a pipe");
        assert_serves(writer.into(), "a pipe that nobody reads", &[]);
    }
}

#[test]
fn a_pipe_that_nobody_reads_and_that_does_not_wait() {
    if can_mount() {
        let (_reader, writer) = pipe().expect("a pipe");
        let flags = fcntl_getfl(writer.as_fd()).expect("flags");
        fcntl_setfl(writer.as_fd(), flags | OFlags::NONBLOCK).expect("flags");
        assert_serves(writer.into(), "a pipe with O_NONBLOCK", &[]);
    }
}

#[test]
fn a_standard_error_that_is_closed() {
    if can_mount() {
        let close = ["sh", "-c", "exec \"$0\" \"$@\" 2>&-"];
        assert_serves(Stdio::null(), "closed", &close);
    }
}

#[test]
fn a_refused_command_line_keeps_its_exit_status() {
    for (args, expected) in [(vec!["--no-such-flag"], 2), (vec!["/nowhere", "/nowhere"], 1)] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let status = crate::common::command(&[]).args(&args).stderr(full).status();
        assert_eq!(status.expect("it runs").code(), Some(expected), "{args:?}");
    }
}

/// Collects the lines once a reader takes them.
fn read_lines(reader: PipeReader) -> thread::JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        BufReader::new(reader).read_to_end(&mut bytes).expect("a pipe");
        bytes.lines().map(|line| line.expect("UTF-8")).collect()
    })
}

#[test]
fn lines_that_were_lost_are_counted_and_told() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let (reader, writer) = pipe().expect("a pipe");
    let daemon = Daemon::start(source.path(), writer.into(), &[], &[LOUD]);
    look_up(&daemon.path(), MORE_THAN_MAY_WAIT);
    let lines = read_lines(reader);
    assert!(daemon.stop().success());
    let lines = lines.join().expect("lines");
    let told = lines.iter().find(|line| line.contains("log lines lost lost="));
    let told = told.and_then(|line| line.rsplit_once("lost=")).expect("a line").1;
    assert!(told.trim().parse::<u64>().expect("a number") > 0, "{told}");
    assert!(summary(&lines, "log_lines_lost") >= told.trim().parse().expect("a number"));
}

/// A folder whose name would forge a line, and steer a terminal.
const FORGED: &str = "x\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{9b}1m\u{202e}.zarr";

#[test]
fn names_forge_no_lines() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let store = source.path().join(FORGED);
    fs::create_dir(&store).expect("a folder");
    fs::write(store.join("zarr.json"), "{\"zarr_format\": 3, \"node_type").expect("a file");
    for format in ["text", "json"] {
        let mount = Mount::of(source.path()).args(["--log-format", format, "-v"]).start();
        assert_eq!(fs::read_dir(mount.path()).expect("a folder").count(), 1);
        let (status, lines) = mount.stop();
        assert!(status.success(), "{lines:#?}");
        let skipped = lines.iter().filter(|line| line.contains("skipped")).count();
        assert_eq!(skipped, 1, "{lines:#?}");
        for line in &lines {
            assert!(!line.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{line:?}");
            if format == "json" {
                let line: Value =
                    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
                if line["message"] == "skipped" {
                    assert_eq!(line["path"], FORGED);
                }
            } else {
                assert!(!line.starts_with("2026-01-01T00:00:00Z"), "{line:?}");
            }
        }
    }
}

/// Numbers are no text: a program that reads them need not know of units.
#[test]
fn json_lines_have_numbers_as_numbers() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let mount = Mount::of(source.path()).args(["--log-format", "json"]).start();
    read_all(&mount.path().join("a.ims"));
    let (_, lines) = mount.stop();
    let lines: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let line = |message: &str| {
        let found = lines.iter().find(|line| line["message"] == message);
        found.unwrap_or_else(|| panic!("{message}: {lines:#?}"))
    };
    assert_eq!(line("mounted")["memory_bytes"], 128 << 20);
    assert_eq!(line("mounted")["cache_bytes"], 1 << 30);
    assert!(line("unmounted")["filled_bytes"].as_u64().expect("a number") > 0);
    assert_eq!(line("unmounted")["log_lines_lost"], 0);
    for (name, value) in lines.iter().filter_map(Value::as_object).flatten() {
        let text = value.as_str().unwrap_or_default();
        assert!(text.parse::<f64>().is_err(), "{name}: {text}");
        assert!(!text.ends_with("iB"), "{name}: {text}");
    }
}

/// The last line is written before the end.
#[test]
fn a_log_in_a_file_is_complete() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let log = tempfile::NamedTempFile::new().expect("a file");
    let stderr = File::create(log.path()).expect("a file");
    let daemon = Daemon::start(source.path(), stderr.into(), &[], &[]);
    assert!(daemon.stop().success());
    let text = fs::read_to_string(log.path()).expect("a file");
    assert!(text.lines().last().is_some_and(|line| line.contains(" unmounted ")), "{text}");
}

/// Programs ask again and again for what cannot be read.
#[test]
fn requests_that_fail_are_told_once() {
    if !can_mount() || !is_root("to make a folder that is another user's") {
        return;
    }
    let (source, _) = source_of_one();
    let closed = source.path().join("closed");
    fs::create_dir(&closed).expect("a folder");
    // It can be entered, and not be listed.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).expect("our folder");
    chown(&closed, Some(65534), Some(65534)).expect("root");
    let without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let mount = Mount::of(source.path()).wrapper(&without).start();
    for number in 0..300 {
        let found = fs::metadata(mount.path().join("closed").join(number.to_string()));
        let error = found.expect_err("a name in a folder that cannot be read").raw_os_error();
        assert_eq!(error, Some(Errno::ACCESS.raw_os_error()));
    }
    let (status, lines) = mount.stop();
    assert!(status.success(), "{status}: {lines:#?}");
    let failed = lines.iter().filter(|line| line.contains("request failed")).count();
    assert!((1..=2).contains(&failed), "{failed}: {lines:#?}");
}
