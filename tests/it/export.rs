//! `export` writes what the mount shows, whatever happens meanwhile.

mod declared;
mod packed;
mod parts;
mod resumed;
mod views;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common::command;
use crate::common::mount::{Mount, can_mount};
use crate::common::picks::Picks;
use crate::common::store::{Codec, Dtype, Fill, Format, Step, StoreBuilder};
use crate::common::tiny::Tiny;

/// A folder of stores, and a folder for what is exported.
struct Bench {
    source: PathBuf,
    out: PathBuf,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-export-").expect("a temporary folder");
        let own = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).expect("a temporary folder takes folders");
            path
        };
        let (source, out) = (own("source"), own("out"));
        Self { source, out, _folder: folder }
    }

    fn store(&self, name: &str) -> PathBuf {
        self.source.join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.out.join(name)
    }

    /// Names in the folder for what is exported.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.out).expect("readable");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("readable").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn exporter(args: &[&dyn AsRef<OsStr>]) -> Command {
    let args: Vec<OsString> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
    let mut command = command(&[]);
    command.arg("export").args(args);
    command
}

fn export(args: &[&dyn AsRef<OsStr>]) -> Output {
    exporter(args).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn must_export(args: &[&dyn AsRef<OsStr>]) -> String {
    let output = export(args);
    assert!(output.status.success(), "{}: {}", output.status, stderr(&output));
    stderr(&output)
}

#[track_caller]
fn assert_equal(path: &Path, expected: &[u8], what: &str) {
    let read = fs::read(path).expect("readable");
    assert_eq!(read.len(), expected.len(), "{what}: bytes");
    let differs = read.iter().zip(expected).position(|(one, other)| one != other);
    assert_eq!(differs, None, "{what}: the first byte that differs");
}

/// Stores of several kinds: with shards, time points and channels, levels, another type, fill value and order.
fn random_store(picks: &mut Picks) -> StoreBuilder {
    let dtypes = [Dtype::U8, Dtype::U16, Dtype::I16, Dtype::F32];
    let dtype = dtypes[picks.index(dtypes.len())];
    let mut side = |most: u64| 1 + picks.below(most);
    let mut store = match side(3) {
        1 => StoreBuilder::new(dtype, "zyx", &[side(40), side(300), side(300)]),
        2 => StoreBuilder::new(dtype, "tczyx", &[side(2), side(3), side(12), side(200), side(200)]),
        _ => StoreBuilder::new(dtype, "cyx", &[side(3), side(700), side(700)]),
    };
    store.unit = store.shape.iter().map(|&length| 1 + picks.below(length.min(64))).collect();
    for (axis, unit) in store.axes.chars().zip(&mut store.unit) {
        if "tc".contains(axis) {
            *unit = 1;
        }
    }
    if picks.below(2) == 0 {
        store.shard = Some(vec![2; store.unit.len()]);
    }
    let codecs = [Codec::None, Codec::Gzip, Codec::Zstd, Codec::BloscLz4];
    store.codec = codecs[picks.index(codecs.len())];
    if picks.below(3) == 0 && store.shard.is_none() {
        store.format = Format::V2('.');
    }
    store.left_out = picks.below(3);
    if picks.below(2) == 0 {
        let steps = store.axes.chars();
        let step = |axis| if "yx".contains(axis) { Step::FloorHalf } else { Step::Keep };
        store.steps = vec![steps.map(step).collect()];
    }
    store.fill = Fill::Zero;
    store
}

/// Issue: "`export` equals `cp` from the mount byte by byte".
#[test]
fn an_export_is_what_the_mount_shows() {
    if !can_mount() {
        return;
    }
    let mut picks = Picks::of_test("an_export_is_what_the_mount_shows");
    let bench = Bench::new();
    let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    for name in &names {
        let store = random_store(&mut picks);
        println!("{name}: {store:?}");
        store.write(&bench.store(&format!("{name}.zarr")));
    }
    let mount = Mount::of(&bench.source).start();
    for (number, name) in names.iter().enumerate() {
        let expected = fs::read(mount.path().join(format!("{name}.ims"))).expect("readable");
        let out = bench.out(&format!("{name}.ims"));
        // By its store, by its path in the mount, and by its name in the folder.
        match number % 3 {
            0 => must_export(&[&bench.store(&format!("{name}.zarr")), &out, &"--verify"]),
            1 => must_export(&[&bench.store(&format!("{name}.ims")), &out]),
            _ => must_export(&[&bench.source, &out, &"--image", name]),
        };
        assert_equal(&out, &expected, name);
    }
    let mut expected: Vec<String> = names.iter().map(|name| format!("{name}.ims")).collect();
    expected.sort();
    assert_eq!(bench.left(), expected, "nothing is left beside the files");

    let all = bench.out("all");
    must_export(&[&bench.source, &"--all", &all]);
    for name in &names {
        let file = format!("{name}.ims");
        let expected = fs::read(mount.path().join(&file)).expect("readable");
        assert_equal(&all.join(&file), &expected, name);
    }
    let again = must_export(&[&bench.source, &"--all", &all]);
    assert_eq!(again.matches("is there already").count(), names.len(), "{again}");
}

#[test]
fn what_is_there_is_kept_unless_it_is_forced() {
    let bench = Bench::new();
    Tiny::default().write(&bench.store("a.zarr"));
    let out = bench.out("a.ims");
    fs::write(&out, "precious").expect("writable");
    let output = export(&[&bench.store("a.zarr"), &out]);
    let line = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(line.trim_end().ends_with("a.ims: is there already; --force replaces it"), "{line}");
    assert_eq!(fs::read(&out).expect("there"), b"precious");
    must_export(&[&bench.store("a.zarr"), &out, &"--force"]);
    assert!(fs::read(&out).expect("there").starts_with(b"\x89HDF"));
    assert_eq!(bench.left(), ["a.ims"]);
}

/// Each mistake has one line, which names what is wrong, and leaves nothing behind.
#[test]
fn mistakes_have_one_line() {
    let bench = Bench::new();
    Tiny::default().write(&bench.store("a.zarr"));
    Tiny { seed: 2, ..Tiny::default() }.write(&bench.store("b.zarr"));
    let out = bench.out("o.ims");
    let cases: [(&[&dyn AsRef<OsStr>], i32, &str); 8] = [
        (&[&bench.source, &out], 1, "it has 2 images: a.ims, b.ims; choose one with --image NAME"),
        (&[&bench.source, &out, &"--image", &"c"], 1, "--image c: there is no such image"),
        (&[&bench.store("c.zarr"), &out], 2, "c.zarr: no such file or directory"),
        (&[&bench.store("a.zarr")], 2, "OUT.ims is missing"),
        (&[&bench.store("a.zarr"), &out, &"--crop", &"0:900,:,:"], 1, "x 0..900"),
        (&[&bench.store("a.zarr"), &out, &"--channels", &"3"], 1, "channel 3"),
        (
            &[&bench.store("a.zarr"), &bench.out("no/o.ims")],
            1,
            "no/o.ims.part: No such file or directory (os error 2)\n",
        ),
        (&[&"--join", &out], 1, "has no parts beside it"),
    ];
    for (args, status, words) in cases {
        let output = export(args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{words}: {text}");
        assert!(text.contains(words) && text.lines().count() == 1, "{words}: {text}");
    }
    assert_eq!(bench.left(), Vec::<String>::new());
}

/// A chunk that cannot be decoded ends the export; it is never taken for the fill value.
#[test]
fn a_damaged_chunk_is_no_file() {
    let bench = Bench::new();
    let tiny = Tiny::default();
    tiny.write(&bench.store("a.zarr"));
    let chunk = bench.store("a.zarr").join("0").join(&tiny.chunk_paths()[3]);
    fs::write(&chunk, "short").expect("writable");
    let out = bench.out("a.ims");
    let output = export(&[&bench.store("a.zarr"), &out]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!out.exists());
    assert!(stderr(&output).contains(&tiny.chunk_paths()[3]), "{}", stderr(&output));
    // Mended, the same command makes the whole file.
    tiny.write(&bench.store("a.zarr"));
    must_export(&[&bench.store("a.zarr"), &out, &"--verify"]);
    assert_eq!(bench.left(), ["a.ims"]);
}

#[test]
fn events_are_json() {
    let bench = Bench::new();
    Tiny::default().write(&bench.store("a.zarr"));
    let out = bench.out("a.ims");
    let output = export(&[&bench.store("a.zarr"), &out, &"--json", &"--verify"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).expect("JSON");
    let rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows[0]["event"], "start");
    let last = &rows[rows.len() - 1];
    assert_eq!(last["event"], "complete");
    assert_eq!(last["bytes"], fs::metadata(&out).expect("there").len());
}
