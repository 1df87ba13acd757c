//! The command line: messages, exit status, `--list`. Whatever is wrong is told in one line that
//! names the flag or the argument, before anything is mounted.

mod common;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::mpsc;
use std::time::Duration;

use common::mount::{Mount, can_mount, is_mounted};
use common::tiny::{Tiny, group_json, write_json};
use common::{command, files, list_json, row_of, run};
use serde_json::json;
use tempfile::TempDir;

/// A command line that should have been refused mounts instead and does not return.
const LIMIT: Duration = Duration::from_secs(20);

/// A source with one store, an empty mount point, a cache folder.
struct Folders {
    folder: TempDir,
}

impl Folders {
    fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-cli-").expect("a temporary folder");
        Tiny::default().write(&folder.path().join("source/a.ome.zarr"));
        for name in ["mount", "cache", "full"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        fs::write(folder.path().join("full/file"), b"").expect("a file");
        fs::write(folder.path().join("file"), b"").expect("a file");
        Self { folder }
    }

    /// Arguments, in which a leading `@` stands for the temporary folder.
    fn args(&self, words: &str) -> Vec<OsString> {
        let expand = |word: &str| match word.strip_prefix('@') {
            Some(inside) => self.folder.path().join(inside).into_os_string(),
            None => OsString::from(word),
        };
        words.split_whitespace().map(expand).collect()
    }

    fn mounted(&self) -> bool {
        ["mount", "source", "full", "source/inside"]
            .iter()
            .any(|name| is_mounted(&self.folder.path().join(name)))
    }
}

/// Runs a command line that must be refused; one that mounts is ended by its own process.
fn refused(args: &[OsString]) -> Output {
    let mut child = command(&[])
        .args(args)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .expect("the child is not yet reaped");
    let (done, ended) = mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if ended.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Fails only when it has ended just now.
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::TERM);
        }
    });
    let mut stderr = Vec::new();
    if let Some(pipe) = child.stderr.as_mut() {
        std::io::Read::read_to_end(pipe, &mut stderr).expect("a pipe");
    }
    let output = child.wait_with_output().expect("the child is ours");
    drop(done);
    guard.join().expect("the guard ends");
    Output { stderr, ..output }
}

/// Everything wrong with a refusal: status, number of lines, words.
fn faults(folders: &Folders, line: &str, words: &[&str]) -> Vec<String> {
    let output = refused(&folders.args(line));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut faults = Vec::new();
    if output.status.success() || output.status.code().is_none() {
        faults.push(format!("{line}: {}", output.status));
    }
    if stderr.lines().count() != 1 {
        faults.push(format!("{line}: not one line: {stderr:?}"));
    }
    for word in words.iter().filter(|&&word| !stderr.contains(word)) {
        faults.push(format!("{line}: {word:?} is not in {stderr:?}"));
    }
    if !output.stdout.is_empty() {
        faults.push(format!("{line}: writes to standard output"));
    }
    if folders.mounted() {
        faults.push(format!("{line}: something is mounted"));
    }
    faults
}

#[track_caller]
fn assert_refused(table: &[(&str, &[&str])]) {
    let folders = Folders::new();
    fs::create_dir(folders.folder.path().join("source/inside")).expect("a folder");
    let before = tree(folders.folder.path());
    let mut all = Vec::new();
    for (line, words) in table {
        all.extend(faults(&folders, line, words));
    }
    let after = tree(folders.folder.path());
    if before != after {
        all.push(format!("folders or files came or went: {before:?} {after:?}"));
    }
    assert!(all.is_empty(), "{} faults:\n{}", all.len(), all.join("\n"));
}

/// All paths below a folder.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("a name").path();
            if path.is_dir() {
                pending.push(path.clone());
            }
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn a_bad_source_or_mount_point_is_one_line_and_nothing_is_mounted() {
    assert_refused(&[
        ("@none @mount --cache-dir @cache", &["SOURCE", "/none", "no such file"]),
        ("@file @mount --cache-dir @cache", &["SOURCE", "/file", "not a folder"]),
        ("@source @none --cache-dir @cache", &["MOUNTPOINT", "/none", "no such file"]),
        ("@source @file --cache-dir @cache", &["MOUNTPOINT", "/file", "not a folder"]),
        ("@source @full --cache-dir @cache", &["MOUNTPOINT", "/full", "not empty"]),
        ("@source @source/inside --cache-dir @cache", &["MOUNTPOINT", "/inside", "inside SOURCE"]),
        ("@source @source --cache-dir @cache", &["MOUNTPOINT", "SOURCE"]),
        ("@source/a.ome.zarr @source --cache-dir @cache", &["MOUNTPOINT", "contains SOURCE"]),
        ("@source /proc --cache-dir @cache", &["MOUNTPOINT", "/proc", "mounted"]),
    ]);
}

#[test]
fn a_bad_cache_folder_is_one_line_and_is_not_made() {
    assert_refused(&[
        // Below a regular file, and in /proc, not even root can make a folder.
        ("@source @mount --cache-dir @file/cache", &["--cache-dir", "/file/cache"]),
        ("@source @mount --cache-dir @file", &["--cache-dir", "/file"]),
        ("@source @mount --cache-dir /proc/zarrims", &["--cache-dir", "/proc/zarrims"]),
        ("@source @mount --cache-dir @source/cache", &["--cache-dir", "inside SOURCE"]),
        ("@source @mount --cache-dir @source/inside/a/b", &["--cache-dir", "inside SOURCE"]),
        ("@source @mount --cache-dir @source", &["--cache-dir", "inside SOURCE"]),
        ("@source @mount --cache-dir @mount/cache", &["--cache-dir", "inside MOUNTPOINT"]),
    ]);
}

#[test]
fn values_that_are_too_small_are_one_line() {
    assert_refused(&[
        ("@source @mount --cache-dir @cache --cache-size 1KiB", &["--cache-size", "at least"]),
        ("@source @mount --cache-dir @cache --memory 1MiB", &["--memory", "at least"]),
        ("--list @none", &["SOURCE", "/none"]),
        ("--list @file", &["SOURCE", "/file"]),
    ]);
}

#[test]
fn values_that_do_not_parse_are_one_line() {
    assert_refused(&[
        ("@source @mount --cache-dir @cache --cache-size lots", &["--cache-size", "lots"]),
        ("@source @mount --cache-dir @cache --memory 12parsecs", &["--memory", "12parsecs"]),
        ("@source @mount --cache-dir @cache --umask 9", &["--umask", "octal"]),
        ("@source @mount --cache-dir @cache --umask 1777", &["--umask", "octal"]),
        ("@source @mount --cache-dir @cache --threads 0", &["--threads"]),
        ("@source @mount --cache-dir @cache --uid me", &["--uid", "me"]),
        ("@source @mount --cache-dir @cache --log-format xml", &["--log-format", "xml"]),
        ("@source @mount --cache-dir @cache --no-such-flag", &["--no-such-flag"]),
        ("@source", &["MOUNTPOINT"]),
    ]);
}

#[test]
fn flags_that_contradict_each_other_are_one_line() {
    assert_refused(&[
        ("@source @mount --cache-dir @cache --json", &["--json"]),
        ("@source --json", &["--list"]),
        ("@source @mount --list", &["--list", "MOUNTPOINT"]),
    ]);
}

#[test]
fn a_mount_point_in_use_and_a_cache_in_use_are_refused() {
    if !can_mount() {
        return;
    }
    let folders = Folders::new();
    let mount = Mount::of(&folders.folder.path().join("source"))
        .at(&folders.folder.path().join("mount"))
        .cache(&folders.folder.path().join("cache"))
        .start();
    let lines = [
        ("@source @mount --cache-dir @other", "MOUNTPOINT"),
        ("@source @full2 --cache-dir @cache", "--cache-dir"),
    ];
    fs::create_dir(folders.folder.path().join("full2")).expect("a folder");
    for (line, word) in lines {
        let output = refused(&folders.args(line));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{line}: {}", output.status);
        assert_eq!(stderr.lines().count(), 1, "{line}: {stderr:?}");
        assert!(stderr.contains(word), "{line}: {stderr:?}");
        if word == "--cache-dir" {
            let pid = mount.pid().to_string();
            assert!(stderr.contains(&pid), "{line}: {pid} is not in {stderr:?}");
        }
    }
    assert!(!is_mounted(&folders.folder.path().join("full2")));
    // The first daemon is none the worse.
    assert!(mount.path().join("a.ims").is_file());
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    // What it held is free again.
    let next = Mount::of(&folders.folder.path().join("source"))
        .at(&folders.folder.path().join("mount"))
        .cache(&folders.folder.path().join("cache"))
        .start();
    let (status, stderr) = next.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
}

#[test]
fn help_and_version() {
    let help = run(&[OsStr::new("--help")]);
    assert!(help.status.success(), "{}", help.status);
    let text = String::from_utf8(help.stdout).expect("UTF-8");
    for word in [
        "SOURCE",
        "MOUNTPOINT",
        "--list",
        "--json",
        "--cache-dir",
        "--cache-size",
        "--allow-other",
        "--uid",
        "--gid",
        "--umask",
        "--threads",
        "--memory",
        "--verbose",
        "--log-format",
    ] {
        assert!(text.contains(word), "{word} is not in the help");
    }
    let version = run(&[OsStr::new("--version")]);
    assert!(version.status.success(), "{}", version.status);
    let text = String::from_utf8(version.stdout).expect("UTF-8");
    assert_eq!(text.trim(), format!("zarrims-mount {}", env!("CARGO_PKG_VERSION")));
}

/// One store below a folder, one array that is no image, one store that is not complete.
fn listed_source() -> TempDir {
    let source = TempDir::with_prefix("zarrims-list-").expect("a temporary folder");
    Tiny::default().write(&source.path().join("deep/a.ome.zarr"));
    Tiny { shape: [1, 40, 30], chunk: [1, 40, 30], seed: 2 }
        .write_array(&source.path().join("plain.zarr"));
    write_json(&source.path().join("empty.zarr/zarr.json"), &group_json(&json!({})));
    fs::create_dir(source.path().join("half.zarr")).expect("a folder");
    fs::write(source.path().join("half.zarr/zarr.json"), b"{\"zarr_form").expect("a file");
    source
}

#[test]
fn list_as_json_has_one_object_a_line() {
    let source = listed_source();
    let rows = list_json(source.path(), &[]);
    let mut names = files(&rows);
    names.sort();
    assert_eq!(names, ["deep/a.ims", "plain.ims"]);
    let row = row_of(&rows, "deep/a.ims");
    assert_eq!(row["store"], "deep/a.ome.zarr");
    assert_eq!(row["image"], "");
    assert_eq!(row["multiscale"], 0);
    assert_eq!(row["role"], "image");
    assert_eq!(row["shape"], json!([1, 1, 3, 21, 35]));
    assert_eq!(row["levels"], 1);
    // Larger than its voxels, by metadata, padding and index.
    assert!(row["size"].as_u64().expect("a size") > 3 * 21 * 35 * 2);
    assert_eq!(row_of(&rows, "plain.ims")["shape"], json!([1, 1, 1, 40, 30]));
    let skipped: Vec<_> = rows.iter().filter(|row| row.get("skipped").is_some()).collect();
    let mut paths: Vec<_> = skipped.iter().map(|row| row["skipped"].as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, [Some("empty.zarr"), Some("half.zarr")], "{skipped:?}");
    assert!(skipped.iter().all(|row| row["reason"].as_str().is_some_and(|r| !r.is_empty())));
    assert_eq!(rows.len(), 4);
}

#[test]
fn list_as_text_has_one_line_for_each_file_and_each_skipped_path() {
    let source = listed_source();
    let output = run(&[OsStr::new("--list"), source.path().as_os_str()]);
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let line = |start: &str| {
        let found: Vec<&str> = text.lines().filter(|line| line.starts_with(start)).collect();
        assert_eq!(found.len(), 1, "lines that start with {start:?} in {text}");
        found[0]
    };
    assert!(line("deep/a.ims ").contains("1 x 1 x 3 x 21 x 35"));
    assert!(line("plain.ims ").contains("1 x 1 x 1 x 40 x 30"));
    assert!(line("skipped empty.zarr: ").len() > "skipped empty.zarr: ".len());
    assert!(line("skipped half.zarr: ").len() > "skipped half.zarr: ".len());
    assert!(text.lines().last().expect("a line").starts_with("2 files"), "{text}");
    assert!(text.contains("2 skipped"), "{text}");
}

/// Lines of `--list`.
fn list_text(source: &Path, args: &[&str]) -> Vec<String> {
    let output = command(&[]).arg("--list").args(args).arg(source).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", output.status);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn list_sums_up_what_is_no_image_and_names_it_on_request() {
    let source = TempDir::with_prefix("zarrims-list-").expect("a temporary folder");
    let store = source.path().join("x.zarr");
    Tiny::default().write(&store.join("im"));
    for label in ["a", "b", "c"] {
        Tiny::default().write(&store.join("im/labels").join(label));
    }
    for (path, attributes) in [
        ("", json!({})),
        ("im/labels", json!({"ome": {"labels": ["a", "b", "c"]}})),
        ("t", json!({"encoding-type": "anndata"})),
    ] {
        write_json(&store.join(path).join("zarr.json"), &group_json(&attributes));
    }
    let mut matrix = Tiny::default().array_json();
    matrix["shape"] = json!([3, 4]);
    write_json(&store.join("affine/zarr.json"), &matrix);
    fs::create_dir(store.join("half")).expect("a folder");
    fs::write(store.join("half/zarr.json"), b"{").expect("a file");

    let lines = list_text(source.path(), &[]);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[0].starts_with("x.ims "), "{lines:#?}");
    assert!(lines[1].starts_with("skipped x.zarr/half: "), "{lines:#?}");
    let summary = "5 nodes are no images: 3 labels, 1 table, 1 matrix (--list -v names them)";
    assert_eq!(lines[2], format!("x.zarr: {summary}"));
    assert!(lines[3].starts_with("1 file, ") && lines[3].ends_with("; 6 skipped"), "{lines:#?}");

    let lines = list_text(source.path(), &["-v"]);
    let skipped: Vec<&String> = lines.iter().filter(|line| line.starts_with("skipped ")).collect();
    assert_eq!(skipped.len(), 6, "{lines:#?}");
    for path in ["im/labels/a", "im/labels/b", "im/labels/c", "t", "affine", "half"] {
        let start = format!("skipped x.zarr/{path}: ");
        assert!(skipped.iter().any(|line| line.starts_with(&start)), "{path}: {lines:#?}");
    }
    let rows = list_json(source.path(), &[]);
    assert_eq!(rows.iter().filter(|row| row.get("skipped").is_some()).count(), 6, "{rows:#?}");
}

#[test]
fn list_bounds_the_faults_of_one_store() {
    let source = TempDir::with_prefix("zarrims-list-").expect("a temporary folder");
    let store = source.path().join("x.zarr");
    write_json(&store.join("zarr.json"), &group_json(&json!({})));
    for number in 10..40 {
        fs::create_dir(store.join(number.to_string())).expect("a folder");
        fs::write(store.join(format!("{number}/zarr.json")), b"{").expect("a file");
    }
    let lines = list_text(source.path(), &[]);
    assert_eq!(lines.len(), 22, "{lines:#?}");
    assert_eq!(lines[20], "x.zarr: and 10 more (--list -v names them)");
    assert_eq!(list_text(source.path(), &["-v"]).len(), 31);
}

#[test]
fn list_says_that_there_is_nothing() {
    let source = TempDir::with_prefix("zarrims-list-").expect("a temporary folder");
    fs::create_dir(source.path().join("empty")).expect("a folder");
    let line = format!("no Zarr stores found in {}", source.path().display());
    assert_eq!(list_text(source.path(), &[]), [line]);
    assert!(list_json(source.path(), &[]).is_empty());
}

#[test]
fn list_writes_nothing_into_the_source() {
    let source = listed_source();
    let before = tree(source.path());
    list_json(source.path(), &[]);
    assert_eq!(tree(source.path()), before);
}
