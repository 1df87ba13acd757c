//! What a daemon knows of its source from an earlier run: it costs no metadata, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::common::mount::{Mount, can_mount};
use crate::common::rest::rest;
use crate::common::tiny::{Tiny, group_json, write_json};
use crate::common::{files, list_json, row_of};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A source with what a source may have, and a cache folder that stays.
struct Scene {
    folder: TempDir,
}

/// What one daemon showed and said.
struct Shown {
    /// Inode, size, modification time, mode.
    names: BTreeMap<PathBuf, (u64, u64, i64, u32)>,
    /// Folders that were inspected.
    inspected: Vec<String>,
    /// The log lines about them.
    told: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-memo-").expect("a temporary folder");
        let scene = Self { folder };
        Tiny::default().write(&scene.source("a.ome.zarr"));
        Tiny { shape: [5, 33, 17], chunk: [5, 8, 17], seed: 2 }.write(&scene.source("deep/b.zarr"));
        for number in ["0", "1"] {
            Tiny::default().write(&scene.source("series.zarr").join(number));
        }
        write_json(&scene.source("series.zarr/zarr.json"), &group_json(&json!({})));
        // Skipped, each for another reason.
        write_json(&scene.source("half.zarr/zarr.json"), &json!([]));
        fs::create_dir_all(scene.source("empty.zarr")).expect("a folder");
        fs::write(scene.source("packed.ozx"), "").expect("a file");
        // With a line on what is assumed.
        let odd = scene.source("odd.zarr");
        Tiny::default().write(&odd);
        let text = fs::read_to_string(odd.join("zarr.json")).expect("a document");
        fs::write(odd.join("zarr.json"), text.replace("0.25", "-1.0")).expect("a file");
        fs::create_dir(scene.cache()).expect("a folder");
        rest(&scene.source(""));
        scene
    }

    fn source(&self, inside: &str) -> PathBuf {
        self.folder.path().join("source").join(inside)
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// The only note in the cache folder.
    fn memo(&self) -> PathBuf {
        let inside =
            fs::read_dir(self.cache().join(zarrims::cache::folder_name())).expect("a folder");
        let mut notes = inside
            .map(|entry| entry.expect("a name").path())
            .filter(|path| path.extension().is_some_and(|end| end == "note"));
        let note = notes.next().expect("a note");
        assert_eq!(notes.next(), None, "another note");
        note
    }

    /// Runs a daemon, looks at everything, and compares with `--list`, which knows no cache.
    fn run(&self, args: &[&str]) -> Shown {
        let source = self.source("");
        let mount = Mount::of(&source).cache(&self.cache()).args(["-v"]).args(args).start();
        let mut names = BTreeMap::new();
        let mut pending = vec![mount.path().to_path_buf()];
        while let Some(at) = pending.pop() {
            for entry in fs::read_dir(&at).expect("a folder") {
                let path = entry.expect("a name").path();
                let meta = fs::metadata(&path).expect("attributes");
                let inside = path.strip_prefix(mount.path()).expect("below").to_path_buf();
                names.insert(inside, (meta.ino(), meta.len(), meta.mtime(), meta.mode()));
                if meta.is_dir() {
                    pending.push(path);
                }
            }
        }
        let rows = list_json(&source, &[]);
        for name in files(&rows) {
            let size = row_of(&rows, &name)["size"].as_u64().expect("a size");
            if args.is_empty() {
                assert_eq!(names[Path::new(&name)].1, size, "{name}");
            }
            // What is opened is what is listed, or opening it fails.
            let bytes = fs::read(mount.path().join(&name)).expect("readable");
            assert_eq!(bytes.len() as u64, names[Path::new(&name)].1, "{name}");
        }
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
        for row in rows.iter().filter_map(|row| row.get("skipped").and_then(Value::as_str)) {
            let is_told = |line: &String| line.contains("skipped") && line.contains(row);
            assert!(stderr.iter().any(is_told), "{row} is not told: {stderr:#?}");
        }
        let field = |line: &String| {
            let (_, path) = line.split_once("inspecting path=")?;
            Some(path.to_owned())
        };
        // Without the time.
        let told = |line: &&String| line.contains("path=") && !line.contains("inspecting");
        let text = |line: &String| {
            line.split_once("zarrims").map_or_else(String::new, |(_, text)| text.to_owned())
        };
        let mut told: Vec<String> = stderr.iter().filter(told).map(text).collect();
        told.sort();
        let mut inspected: Vec<String> = stderr.iter().filter_map(field).collect();
        inspected.sort();
        Shown { names, inspected, told }
    }
}

const ALL: [&str; 7] =
    ["a.ome.zarr", "deep", "deep/b.zarr", "empty.zarr", "half.zarr", "odd.zarr", "series.zarr"];

#[test]
fn a_restart_lists_the_same_without_reading_metadata() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let first = scene.run(&[]);
    assert_eq!(first.inspected, ALL);
    assert!(first.told.iter().any(|line| line.contains("odd.zarr")), "{:#?}", first.told);
    for _ in 0..2 {
        let again = scene.run(&[]);
        assert_eq!(again.names, first.names);
        assert_eq!(again.told, first.told);
        assert_eq!(again.inspected, [""; 0]);
    }
    // Other options give other files, and have a memo of their own.
    let offset = scene.run(&["--pyramid", "imaris"]);
    assert_eq!(offset.inspected, ALL);
    let again = scene.run(&[]);
    assert_eq!(again.names, first.names);
    assert_eq!(again.inspected, [""; 0]);
}

#[test]
fn what_changed_while_no_daemon_ran_is_seen_and_only_that_is_read() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let first = scene.run(&[]);
    let grown = Tiny { shape: [90, 21, 35], ..Tiny::default() };
    write_json(&scene.source("a.ome.zarr/0/zarr.json"), &grown.array_json());
    fs::remove_dir_all(scene.source("series.zarr/1")).expect("a folder");
    fs::remove_dir_all(scene.source("odd.zarr")).expect("a folder");
    Tiny::default().write(&scene.source("deep/new.zarr"));
    rest(&scene.source(""));
    let second = scene.run(&[]);
    let a = Path::new("a.ims");
    assert_ne!(second.names[a].0, first.names[a].0, "the same inode");
    assert!(second.names[a].1 > first.names[a].1);
    assert!(second.names.contains_key(Path::new("deep/new.ims")));
    assert!(!second.names.contains_key(Path::new("odd.ims")));
    assert!(second.names.contains_key(Path::new("series.ims")), "one image is a file");
    assert_eq!(second.inspected, ["a.ome.zarr", "deep", "deep/new.zarr", "series.zarr"]);
    let third = scene.run(&[]);
    assert_eq!(third.names, second.names);
    assert_eq!(third.inspected, [""; 0]);
}

#[test]
fn a_memo_that_is_damaged_or_cannot_be_read_changes_nothing() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let first = scene.run(&[]);
    let good = fs::read(scene.memo()).expect("a memo");
    // One bit of the rows, which are packed.
    let mut lie = good.clone();
    lie[good.len() * 3 / 4] ^= 1;
    let junk: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let half = good[..good.len() / 2].to_vec();
    for (what, bytes) in [("junk", junk), ("half", half), ("a lie", lie), ("", vec![])] {
        fs::write(scene.memo(), bytes).expect("a file");
        let again = scene.run(&[]);
        assert_eq!(again.names, first.names, "{what}");
        assert_eq!(again.told, first.told, "{what}");
        assert!(!again.inspected.is_empty(), "{what}");
        assert_eq!(fs::read(scene.memo()).expect("a memo").len(), good.len(), "{what}");
    }
    let memo = scene.memo();
    fs::remove_file(&memo).expect("a memo");
    fs::create_dir(&memo).expect("a folder in its place");
    let again = scene.run(&[]);
    assert_eq!(again.names, first.names);
    assert_eq!(again.inspected, ALL);
}
