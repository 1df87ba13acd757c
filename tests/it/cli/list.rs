//! `--list`: what an admin sees first.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::rig::tree;
use crate::common::tiny::{Tiny, group_json, write_json};
use crate::common::{command, files, list_json, row_of, run};

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
    assert_eq!(row["pyramid"], json!([{"size": [3, 21, 35], "origin": "stored"}]));
    assert_eq!(row["needs_pass"], false);
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
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].starts_with("x.ims ") && lines[0].ends_with("; from x.zarr/im"), "{lines:#?}");
    assert!(lines[1].starts_with("x.zarr: 1 node cannot be shown: half: "), "{lines:#?}");
    let summary = "5 nodes are no images: 3 labels, 1 table, 1 matrix (--list -v names them)";
    assert!(lines[1].ends_with(&format!("; {summary}")), "{lines:#?}");
    assert!(lines[2].starts_with("1 file, ") && lines[2].ends_with("; 6 skipped"), "{lines:#?}");

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
fn list_has_one_line_for_the_faults_of_a_store() {
    let source = TempDir::with_prefix("zarrims-list-").expect("a temporary folder");
    let store = source.path().join("x.zarr");
    write_json(&store.join("zarr.json"), &group_json(&json!({})));
    for number in 10..40 {
        fs::create_dir(store.join(number.to_string())).expect("a folder");
        fs::write(store.join(format!("{number}/zarr.json")), b"{").expect("a file");
    }
    let lines = list_text(source.path(), &[]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let start = "x.zarr: 30 nodes cannot be shown: 10 and 29 more: zarr.json: EOF ";
    assert!(lines[0].starts_with(start), "{lines:#?}");
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

/// Writes a store with `stored` levels, of which its file has three.
fn write_levels(store: &Path, stored: usize) {
    let mut multiscales = Tiny::image_json("levels");
    let datasets: Vec<_> = (0..stored).map(|level| json!({"path": level.to_string()})).collect();
    multiscales["attributes"]["ome"]["multiscales"][0]["datasets"] = json!(datasets);
    for level in 0..stored {
        let shape = [16, 512 >> level, 512 >> level];
        let array = Tiny { shape, chunk: [16, 256, 256], seed: 3 };
        array.write_array(&store.join(level.to_string()));
    }
    write_json(&store.join("zarr.json"), &multiscales);
}

#[test]
fn list_tells_stored_levels_from_computed_ones() {
    let source = TempDir::with_prefix("zarrims-list-").expect("a temporary folder");
    write_levels(&source.path().join("none.ome.zarr"), 1);
    write_levels(&source.path().join("two.ome.zarr"), 2);
    Tiny::default().write(&source.path().join("small.ome.zarr"));

    let rows = list_json(source.path(), &[]);
    let level = |size: [u64; 3], origin: &str| json!({"size": size, "origin": origin});
    for (file, half, needs_pass) in [("none.ims", "computed", true), ("two.ims", "stored", false)] {
        let row = row_of(&rows, file);
        assert_eq!(row["levels"], 3, "{row}");
        let levels = [
            level([16, 512, 512], "stored"),
            level([16, 256, 256], half),
            level([16, 128, 128], "computed"),
        ];
        assert_eq!(row["pyramid"], json!(levels));
        assert_eq!(row["needs_pass"], needs_pass, "{row}");
    }
    let lines = list_text(source.path(), &[]);
    for (start, end) in [
        ("none.ims ", ", 3 levels: 1 stored, 2 computed; from none.ome.zarr"),
        ("two.ims ", ", 3 levels: 2 stored, 1 computed; from two.ome.zarr"),
        ("small.ims ", ", 1 level: 1 stored; from small.ome.zarr"),
    ] {
        let is_it = |line: &String| line.starts_with(start) && line.ends_with(end);
        assert!(lines.iter().any(is_it), "{start}: {lines:#?}");
    }
    let sum = |args: &[&str]| list_text(source.path(), args).pop().expect("a line");
    assert!(sum(&[]).ends_with("; 1 needs a pass over all its voxels; 0 skipped"), "{}", sum(&[]));
    let exact = sum(&["--statistics=exact"]);
    assert!(exact.ends_with("; 3 need a pass over all their voxels; 0 skipped"), "{exact}");
    let stored = sum(&["--pyramid=source"]);
    assert!(stored.starts_with("3 files, ") && !stored.contains("pass"), "{stored}");
}
