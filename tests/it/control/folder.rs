//! The control folder of a mount.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::common::mount::{Mount, can_mount};
use crate::process::daemon::{read_all, source_of_one};

#[test]
fn the_folder_is_hidden_and_tells_how_the_daemon_is() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    fs::write(source.path().join("a.zarr/0/c/0/0/0"), b"short").expect("a chunk");
    let mount = Mount::of(source.path()).start();
    let listed: Vec<_> = fs::read_dir(mount.path()).expect("a folder").flatten().collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let folder = mount.path().join(".zarrims");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|name| name.expect("a name").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["errors.jsonl", "images.json", "status.json"]);
    fs::read(mount.path().join("a.ims")).expect_err("a chunk is damaged");
    // What a file says is kept for a moment.
    crate::common::eventually("news", crate::process::daemon::SOON, || {
        let text = fs::read_to_string(folder.join("errors.jsonl")).expect("a file");
        text.lines().any(|line| line.contains("c/0/0/0"))
    });
    let status = fs::read_to_string(folder.join("status.json")).expect("a file");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["mounts"].as_array().map(Vec::len), Some(1));
    let images = fs::read_to_string(folder.join("images.json")).expect("a file");
    let images: Value = serde_json::from_str(&images).expect("JSON");
    assert_eq!(images[0]["path"], "a.ims");
    let mode =
        |name: &str| fs::metadata(folder.join(name)).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("status.json")), (0o550, 0o440));
    fs::write(folder.join("status.json"), "x").expect_err("nothing can be written");
}

#[test]
fn the_folder_can_be_switched_off() {
    if !can_mount() {
        return;
    }
    let (source, _) = source_of_one();
    let mount = Mount::of(source.path()).args(["--control-folder", "off"]).start();
    read_all(&mount.path().join("a.ims"));
    fs::metadata(mount.path().join(".zarrims")).expect_err("it is not there");
}
