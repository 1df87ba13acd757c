//! Other formats among the stores: the log names them, and they give no trees of empty folders.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SOON, below, eventually};
use crate::common::list_json;
use crate::common::mount::{Mount, can_mount};
use crate::common::tiny::{Tiny, group_json, write_json};

/// A chunk that a listing of the format's folders finds.
fn chunk(path: &Path) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    fs::write(path, b"chunk").expect("a chunk");
}

#[test]
fn foreign_formats_are_told_and_leave_no_empty_folders() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let at = |path: &str| source.path().join(path);
    let data = json!({"dimensions": [8, 8], "blockSize": [8, 8], "dataType": "uint16"});
    for path in ["nokey/c0/s0", "withkey/s0"] {
        write_json(&at(path).join("attributes.json"), &data);
        chunk(&at(path).join("0/0"));
    }
    write_json(&at("withkey/attributes.json"), &json!({"n5": "4.0.0"}));
    write_json(
        &at("volume/info"),
        &json!({"@type": "neuroglancer_multiscale_volume", "scales": []}),
    );
    chunk(&at("volume/8_8_8/0-64_0-64_0-64"));
    let metadata = json!({"metadata": {".zgroup": {"zarr_format": 2}}, "record_size": 9});
    write_json(&at("parquet/.zmetadata"), &metadata);
    chunk(&at("parquet/air/refs.0.parq"));
    write_json(&at("one.zarr.json"), &json!({"version": 1, "refs": {}}));
    write_json(&at("settings.json"), &json!({"refs": {}}));
    Tiny::default().write(&at("sub/a.zarr"));
    let hologram = json!({"version": "0.9", "hologram": {"waves": []}});
    Tiny::default().write_array(&at("c.zarr/a"));
    write_json(&at("c.zarr/zarr.json"), &group_json(&json!({"ome": hologram})));

    let rows = list_json(source.path(), &[]);
    let reason = |path: &str| -> String {
        let row = rows.iter().find(|row| row["skipped"] == path);
        let reason = row.and_then(|row| row["reason"].as_str()).map(str::to_lowercase);
        reason.unwrap_or_else(|| panic!("no word of {path}: {rows:#?}"))
    };
    for (path, word) in [
        ("nokey", "n5"),
        ("withkey", "n5"),
        ("volume", "precomputed"),
        ("parquet", "kerchunk"),
        ("one.zarr.json", "kerchunk"),
        ("c.zarr", "\"hologram\""),
    ] {
        assert!(reason(path).contains(word), "{path}: {}", reason(path));
    }
    assert_eq!(rows.iter().filter(|row| row.get("skipped").is_some()).count(), 6, "{rows:#?}");
    let mount = Mount::of(source.path()).start();
    let names: Vec<String> = below(mount.path()).into_keys().collect();
    assert_eq!(names, ["c.ims", "sub", "sub/a.ims"]);
    // A store that comes to lie beside N5 is shown.
    Tiny::default().write(&at("nokey/b.zarr"));
    eventually("the store appears", SOON, || mount.path().join("nokey/b.ims").is_file());
}

#[test]
fn an_image_inside_an_image_is_told_in_the_log_once() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    Tiny::default().write(&source.path().join("two.zarr"));
    Tiny::default().write(&source.path().join("two.zarr/deconvolved"));
    // Its target may come: the store is looked at again and again.
    std::os::unix::fs::symlink("later", source.path().join("two.zarr/link")).expect("a link");
    let rows = list_json(source.path(), &[]);
    let told: Vec<&Value> = rows.iter().filter_map(|row| row.get("skipped")).collect();
    assert_eq!(told, ["two.zarr/deconvolved", "two.zarr/link"]);
    let mount = Mount::of(source.path()).start();
    let lines = || {
        let lines = mount.stderr();
        let is_told = |line: &&String| {
            line.contains(" path=two.zarr ")
                && line.contains("deconvolved: an image inside an image")
        };
        lines.iter().filter(is_told).count()
    };
    eventually("the log tells of it", SOON, || {
        assert!(mount.path().join("two.ims").is_file());
        lines() == 1
    });
    let names: Vec<String> = below(mount.path()).into_keys().collect();
    assert_eq!(names, ["two.ims"]);
}
