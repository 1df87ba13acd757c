//! The control socket and the verb `status`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::command;
use crate::common::mount::{Mount, can_mount};
use crate::process::daemon::{read_all, source_of_one};

/// `status` of a socket, as JSON.
#[track_caller]
pub(crate) fn status(socket: &Path) -> Value {
    let output = command(&[]).args(["status", "--json", "--socket"]).arg(socket).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn status_tells_of_images_levels_and_errors() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("s");
    let mount = Mount::of(source.path()).args(["--socket"]).args([&socket]).start();
    assert_eq!(fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let before = status(&socket);
    assert_eq!(before["mounts"][0]["mountpoint"], mount.path().to_str().expect("UTF-8"));
    assert_eq!(before["mounts"][0]["images"], Value::Array(Vec::new()));
    read_all(&mount.path().join("a.ims"));
    let after = status(&socket);
    let image = &after["mounts"][0]["images"][0];
    assert_eq!(image["path"], "a.ims");
    assert_eq!(image["errors"], 0);
    assert!(after["engine"]["decoded_bytes"].as_u64().expect("a number") > 0);
    for level in image["levels"].as_array().expect("levels") {
        let bricks = level["bricks"].as_u64().expect("a number");
        assert!(level["cached"].as_u64().expect("a number") <= bricks && bricks > 0, "{level}");
    }
    // Bricks are written behind the readers' backs.
    crate::common::eventually("all is cached", crate::process::daemon::SOON, || {
        status(&socket)["mounts"][0]["images"][0]["cached_percent"] == 100.0
    });
    let text = command(&[]).args(["status", "--socket"]).arg(&socket).output().expect("it runs");
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    assert!(text.contains("a.ims") && text.contains("100.0 % cached"), "{text}");
    let (exit, _) = mount.stop();
    assert!(exit.success() && !socket.exists());
}

#[test]
fn errors_of_readers_are_counted_for_their_image() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    fs::write(source.path().join("a.zarr/0/c/0/0/0"), b"short").expect("a chunk");
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("s");
    let mount = Mount::of(source.path()).args(["--socket"]).args([&socket]).start();
    fs::read(mount.path().join("a.ims")).expect_err("a chunk is damaged");
    let status = status(&socket);
    let row = &status["mounts"][0];
    assert!(row["images"][0]["errors"].as_u64().expect("a number") > 0, "{status}");
    let error = row["errors"][0]["error"].as_str().expect("a line");
    assert!(error.contains("c/0/0/0"), "{error}");
    assert!(row["damaged"].as_u64().expect("a number") > 0);
}

#[test]
fn without_a_daemon_there_is_a_line_and_a_status() {
    let folder = TempDir::new().expect("a folder");
    let nothing = folder.path().join("none");
    let ask = |args: &[&str]| {
        let mut asked = command(&[]);
        asked.env("XDG_RUNTIME_DIR", folder.path()).env("RUNTIME_DIRECTORY", folder.path());
        let output = asked.args(args).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let path = nothing.to_str().expect("UTF-8");
    let (code, line) = ask(&["status", "--socket", path]);
    assert_eq!((code, line.lines().count()), (Some(3), 1), "{line}");
    assert!(line.contains("no daemon has this socket"), "{line}");
    let (code, line) = ask(&["status", path]);
    assert_eq!((code, line.lines().count()), (Some(3), 1), "{line}");
    assert!(line.contains("serves this mount"), "{line}");
    let (code, _) = ask(&["status", "--no-such-flag"]);
    assert_eq!(code, Some(2));
}

/// Found by its mount, by a path in the mount, and no more when it has ended; a socket of a daemon that was killed
/// goes with the next start.
#[test]
fn daemons_are_found_by_their_mounts() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let runtime = TempDir::new().expect("a folder");
    let variable = format!("XDG_RUNTIME_DIR={}", runtime.path().display());
    let wrapper = ["env", "-u", "RUNTIME_DIRECTORY", &variable];
    let mount = Mount::of(source.path()).wrapper(&wrapper).start();
    let ask = |path: &Path| {
        let output = command(&wrapper).args(["status", "--json"]).arg(path).output();
        let output = output.expect("it runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    for path in [mount.path().to_path_buf(), mount.path().join("a.ims")] {
        let (code, text) = ask(&path);
        assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
        let status: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(status["pid"], mount.pid());
    }
    let sockets = || fs::read_dir(runtime.path().join("zarrims")).expect("a folder").count();
    assert_eq!(sockets(), 1);
    mount.signal(rustix::process::Signal::KILL);
    let at = mount.path().to_path_buf();
    drop(mount);
    assert_eq!(ask(&at).0, Some(3));
    let next = Mount::of(source.path()).wrapper(&wrapper).start();
    assert_eq!(sockets(), 1, "the one of the dead daemon has gone");
    drop(next);
    assert_eq!(sockets(), 0);
}

#[test]
fn no_socket_where_none_is_wanted_and_none_is_no_hindrance() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let mount = Mount::of(source.path()).args(["--socket", "none"]).start();
    read_all(&mount.path().join("a.ims"));
    drop(mount);
    let mount = Mount::of(source.path()).args(["--socket", "/nowhere/at/all"]).start();
    read_all(&mount.path().join("a.ims"));
    let (status, lines) = mount.stop();
    assert!(status.success());
    let told = lines.iter().filter(|line| line.contains("cannot be asked")).count();
    assert_eq!(told, 1, "{lines:#?}");
}

/// What is no request gets a line, and the daemon serves on.
#[test]
fn hostile_clients_hold_up_nobody() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("s");
    let mount = Mount::of(source.path()).args(["--socket"]).args([&socket]).start();
    let connect = || UnixStream::connect(&socket).expect("it listens");
    let silent: Vec<_> = (0..10).map(|_| connect()).collect();
    for request in [&b"\xff\xfe\n"[..], b"{}\n", b"{\"v\":1,\"ask\":\"fly\"}\n", b"[[[[[\n"] {
        let mut stream = connect();
        stream.write_all(request).expect("it listens");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("a line");
        assert!(line.starts_with("{\"v\":1,\"error\":"), "{line}");
    }
    assert_eq!(status(&socket)["mounts"].as_array().map(Vec::len), Some(1));
    read_all(&mount.path().join("a.ims"));
    drop(silent);
}
