//! The log, steered while the daemon runs.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::mount::{Mount, can_mount};
use crate::common::{command, eventually};
use crate::process::daemon::{SOON, read_all, source_of_one};

#[test]
fn a_log_file_is_opened_again_and_the_filter_changes() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let folder = TempDir::new().expect("a folder");
    let [log, old, socket] = ["log", "old", "s"].map(|name| folder.path().join(name));
    let text = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default();
    // What goes to the file does not go to standard error, where the helper looks for it.
    let config = folder.path().join("f.toml");
    let written = format!("[log]\nfile = {:?}\n", log.display());
    fs::write(&config, written).expect("a file");
    let mut daemon = crate::process::daemon::Daemon::start(
        source.path(),
        std::process::Stdio::piped(),
        &[],
        &["--config", config.to_str().expect("UTF-8"), "--socket", socket.to_str().expect("UTF-8")],
    );
    eventually("mounted", SOON, || text(&log).contains(" mounted "));
    let ask = |args: &[&str]| {
        let asked = command(&[]).args(args).arg("--socket").arg(&socket).output();
        let output = asked.expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    read_all(&daemon.path().join("a.ims"));
    assert!(!text(&log).contains("answered"), "{}", text(&log));
    assert_eq!(ask(&["log", "zarrims=debug"]), (Some(0), "zarrims=debug\n".to_owned()));
    fs::metadata(daemon.path().join("not-there")).expect_err("no such name");
    eventually("a span", SOON, || {
        let lines = text(&log);
        let mut lines = lines.lines().filter(|line| line.contains("answered"));
        lines.any(|line| {
            ["request{", "id=", "lookup", "ENOENT", " us="].iter().all(|part| line.contains(part))
        })
    });
    assert_eq!(ask(&["log", "loud"]).0, Some(2));
    let (_, json) = ask(&["log", "--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["filter"], "zarrims=debug");
    fs::rename(&log, &old).expect("our files");
    daemon.signal(Signal::HUP);
    eventually("opened again", SOON, || text(&log).contains("configuration read again"));
    assert!(daemon.status().is_none(), "SIGHUP does not end it");
    assert_eq!(ask(&["log", "info"]).0, Some(0));
    daemon.signal(Signal::USR1);
    eventually("more", SOON, || text(&log).contains("SIGUSR1"));
    fs::metadata(daemon.path().join("not-there-either")).expect_err("no such name");
    eventually("a span", SOON, || text(&log).contains("ENOENT"));
    assert!(daemon.stop().success());
    assert!(text(&log).lines().last().is_some_and(|line| line.contains(" unmounted ")));
}

#[test]
fn lines_for_the_journal_have_priorities() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    // The shell learns what standard error is, as systemd tells its services.
    let script = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$0\" \"$@\"";
    let mount = Mount::of(source.path()).wrapper(&["sh", "-c", script]).start();
    let (_, lines) = mount.stop();
    assert!(lines.iter().all(|line| line.starts_with("<6>")), "{lines:#?}");
    let mount = Mount::of(source.path()).wrapper(&["env", "JOURNAL_STREAM=1:1"]).start();
    let (_, lines) = mount.stop();
    assert!(lines.iter().all(|line| !line.starts_with('<')), "{lines:#?}");
}
