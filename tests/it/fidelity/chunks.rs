//! `--chunk`: the shape of the HDF5 chunks is the one that a person asks for, and every voxel stays.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::{Join, Shown, assert_chain, assert_voxels, source};
use crate::common::command;
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::store::{Codec, Dtype, Step, StoreBuilder};

/// A stored level below the finest one; the others are computed.
fn write(store: &Path) {
    let mut image = StoreBuilder::new(Dtype::U16, "czyx", &[2, 30, 300, 250]);
    image.unit = vec![1, 10, 60, 90];
    image.codec = Codec::Zstd;
    image.steps = vec![vec![Step::Keep, Step::Keep, Step::FloorHalf, Step::FloorHalf]];
    image.write(store);
}

fn chunks(shown: &Shown) -> Vec<[usize; 3]> {
    let chunk = |level: usize| {
        let path = format!("{}/Data", Ims::channel_path(level, 0, 1));
        let data = shown.file.dataset(&path).expect("a dataset");
        data.chunk().expect("chunks").try_into().expect("three lengths")
    };
    (0..shown.sizes().len()).map(chunk).collect()
}

/// A program that must succeed.
#[track_caller]
fn run(args: &[&str], path: &Path) -> Vec<u8> {
    let Output { status, stdout, stderr } =
        command(&[]).args(args).arg(path).output().expect("the program starts");
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    stdout
}

#[test]
fn chunks_have_the_shape_that_is_asked_for_and_every_voxel_stays() {
    if !can_mount() {
        return;
    }
    let source = source();
    write(&source.path().join("a.zarr"));
    let auto = Mount::of(source.path()).start();
    let auto = (Shown::open(&auto, "a.ims"), auto);
    for (text, wanted) in [
        ("8,64,64", [8, 64, 64]),
        ("1,300,300", [1, 300, 300]),
        ("7, 33, 129", [7, 33, 129]),
        ("64,64,64", [64, 64, 64]),
    ] {
        let mount = Mount::of(source.path()).args(["--chunk", text]).start();
        let shown = Shown::open(&mount, "a.ims");
        let sizes = shown.sizes();
        assert_eq!(sizes, auto.0.sizes(), "{text}");
        let cut = |size: &[usize; 3]| std::array::from_fn(|axis| wanted[axis].min(size[axis]));
        assert_eq!(chunks(&shown), sizes.iter().map(cut).collect::<Vec<_>>(), "{text}");
        for level in 0..sizes.len() {
            for c in 0..2 {
                let expected = auto.0.values(level, 0, c);
                assert_voxels(&shown.values(level, 0, c), &expected, &format!("{text} {level}"));
            }
        }
        if sizes.len() > 2 {
            assert_chain(&shown, 2, Join::Whole);
        }
    }
    let same = Mount::of(source.path()).args(["--chunk", "auto"]).start();
    let bytes = |mount: &Mount| std::fs::read(mount.path().join("a.ims")).expect("readable");
    assert!(bytes(&same) == bytes(&auto.1), "auto is the default");
}

/// The option may differ per mount, per store and per view; `inspect` and `export` have it as well.
#[test]
fn a_mount_a_store_and_a_view_may_have_chunks_of_their_own() {
    if !can_mount() {
        return;
    }
    let source = source();
    let at = |name: &str| source.path().join(name);
    for name in ["a.zarr", "b.zarr"] {
        write(&at(name));
    }
    let beside = "[[store]]\nchunk = \"4,50,50\"\n[[view]]\nname = \"v\"\nz = [0, 20]\nchunk = \"2,40,40\"\n";
    std::fs::write(at("b.zarr.zarrims.toml"), beside).expect("a file");
    let mount = Mount::of(source.path()).args(["--chunk", "16,16,64"]).start();
    for (file, expected) in
        [("a.ims", [16, 16, 64]), ("b.ims", [4, 50, 50]), ("v.ims", [2, 40, 40])]
    {
        assert_eq!(chunks(&Shown::open(&mount, file))[0], expected, "{file}");
    }
    let row = run(&["inspect", "--json", "--chunk", "16,16,64"], &at("a.zarr"));
    let row: Value = serde_json::from_slice(&row).expect("JSON");
    assert_eq!(row["levels"][0]["chunk"], serde_json::json!([16, 16, 64]));
    let out = at("out.ims");
    let store = at("a.zarr").display().to_string();
    run(&["export", "--chunk", "16,16,64", &store], &out);
    let read = |path: &Path| std::fs::read(path).expect("readable");
    assert!(read(&out) == read(&mount.path().join("a.ims")), "the bytes of the mount");
}
