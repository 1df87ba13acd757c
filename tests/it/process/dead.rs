//! What a killed daemon leaves behind, and how the next one reports it.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use super::daemon::{Daemon, source_of_one};
use crate::common::mount::{Mount, can_mount};
use crate::common::tiny::Tiny;
use crate::common::{command, files, list_json};

/// The one line of a command line that is refused.
#[track_caller]
fn refusal(args: &[&Path]) -> String {
    let output = command(&[]).args(args).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

#[test]
fn a_dead_mount_is_named_with_what_to_do() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let mut daemon = Daemon::start(source.path(), Stdio::null(), &[], &[]);
    daemon.kill();
    let dead = daemon.path();
    let folders = tempfile::tempdir().expect("a folder");
    let (empty, cache) = (folders.path().join("empty"), folders.path().join("cache"));
    fs::create_dir(&empty).expect("a folder");
    let [list, cache_dir] = ["--list", "--cache-dir"].map(Path::new);
    let below = dead.join("below");
    let cases: [(&str, &[&Path]); 6] = [
        ("MOUNTPOINT", &[source.path(), &dead, cache_dir, &cache]),
        ("SOURCE", &[&dead, &empty, cache_dir, &cache]),
        ("SOURCE", &[&below, &empty, cache_dir, &cache]),
        ("SOURCE", &[list, &dead]),
        ("SOURCE", &[list, &below]),
        ("--cache-dir", &[source.path(), &empty, cache_dir, &below]),
    ];
    let shown = dead.display();
    let advice = format!(
        "a mount whose program has died is in the way; remove it with \"fusermount3 -u -z {shown}\", \
         or \"umount -l {shown}\" as root"
    );
    for (word, args) in cases {
        let line = refusal(args);
        assert!(line.starts_with(&format!("zarrims-mount: {word} ")), "{args:?}: {line}");
        assert!(line.contains(&advice), "{args:?}: {line}");
    }
    let text = fs::read_to_string("doc/TROUBLESHOOTING.md").expect("a document");
    for quoted in
        ["Transport endpoint is not connected", "a mount whose program has died is in the way"]
    {
        assert!(text.contains(quoted), "{quoted}");
    }
}

/// Below SOURCE it hides itself, and nothing else.
#[test]
fn a_dead_mount_below_the_source_hides_nothing_else() {
    if !can_mount() {
        return;
    }
    let (inner, _) = source_of_one();
    let mut daemon = Daemon::start(inner.path(), Stdio::null(), &[], &[]);
    let dead = daemon.path();
    let source = dead.parent().expect("a folder");
    Tiny::default().write(&source.join("b.zarr"));
    daemon.kill();
    let rows = list_json(source, &[]);
    assert_eq!(files(&rows), ["b.ims"]);
    let row = rows.iter().find(|row| row["skipped"] == "mount");
    let reason = row.and_then(|row| row["reason"].as_str()).expect("a row for it");
    assert!(reason.contains(&format!("\"fusermount3 -u -z {}\"", dead.display())), "{reason}");

    let mount = Mount::of(source).start();
    assert!(fs::read_dir(mount.path().join("mount")).is_err());
    assert!(mount.path().join("b.ims").is_file());
    let (status, lines) = mount.stop();
    assert!(status.success(), "{status}: {lines:#?}");
    let told = lines.iter().filter(|line| line.contains("fusermount3 -u -z")).count();
    assert_eq!(told, 1, "{lines:#?}");
}
