//! What is said by hand comes, changes and goes while the source is mounted, and is the same after a restart.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{SOON, Scene, open, pixels, small};
use crate::common::eventually;
use crate::common::mount::{Mount, can_mount};
use crate::common::rest::rest;

fn ino(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.ino())
}

fn length_um(path: &Path) -> f64 {
    let [x, ..] = open(path).extents().expect("extents");
    x.1 - x.0
}

#[test]
fn a_file_beside_a_store_comes_changes_and_goes() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    scene.store("a.zarr", &small("zyx", &[2, 20, 30], 0));
    let mount = scene.start().start();
    let (file, crop) = (mount.path().join("a.ims"), mount.path().join("crop.ims"));
    let plain = ino(&file).expect("a file");
    let held = open(&file);
    for micrometres in [2.0, 3.0] {
        let before = ino(&file);
        scene.beside("a.zarr", &format!("[[store]]\nvoxel_size = {{ x = {micrometres} }}\n"));
        eventually("another file", SOON, || ino(&file).is_some_and(|now| Some(now) != before));
        assert!((length_um(&file) - 30.0 * micrometres).abs() < 1e-6);
    }
    // Who has the file open reads on.
    held.pixels(0, 0, 0).expect("voxels");
    // A typing error: the store is not shown with metadata that a person has found wrong.
    scene.beside("a.zarr", "[[store]]\nvoxel_sise = { x = 3 }\n");
    eventually("a mistake hides the store", SOON, || !file.exists());
    mount.wait_for_lines(1, |line| line.contains("voxel_sise: no such key"));
    scene.beside("a.zarr", "[[view]]\nname = \"crop\"\nx = [0, 5]\n");
    eventually("a view comes", SOON, || file.exists() && crop.exists());
    assert_eq!(open(&crop).info_size().expect("a size"), [2, 20, 5]);
    fs::remove_file(scene.source("a.zarr.zarrims.toml")).expect("a file");
    eventually("all is as it was", SOON, || ino(&file) == Some(plain) && !crop.exists());
    assert!((length_um(&file) - 30.0).abs() < 1e-6);
}

#[test]
fn a_view_follows_the_stores_that_it_is_made_of() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    for number in 0..2 {
        scene.store(&format!("t{number}.zarr"), &small("zyx", &[2, 20, 30], number));
    }
    scene.configure("[[view]]\nname = \"all\"\nof = \"t*.zarr\"\nas = \"time points\"\n");
    let mount = scene.start().start();
    let all = mount.path().join("all.ims");
    assert_eq!(open(&all).time_points(0).expect("time points"), 2);
    // A store that comes.
    scene.store("away/t2.zarr", &small("zyx", &[2, 20, 30], 2));
    fs::rename(scene.source("away/t2.zarr"), scene.source("t2.zarr")).expect("a store");
    let points = || open(&all).time_points(0).expect("time points");
    eventually("a third time point", SOON, || all.exists() && points() == 3);
    let third = open(&all).pixels(0, 2, 0).expect("voxels");
    assert_eq!(third, pixels(&small("zyx", &[2, 20, 30], 2), 0, 0));
    // A store that is corrected.
    let before = ino(&all);
    scene.beside("t0.zarr", "[[store]]\nchannels = [\"GFP\"]\n");
    eventually("another file", SOON, || ino(&all).is_some_and(|now| Some(now) != before));
    assert_eq!(open(&all).text("DataSetInfo/Channel 0", "Name").expect("a name"), "GFP");
    // Chunks that are replaced.
    let other = small("zyx", &[2, 20, 30], 77);
    scene.store("away/t1.zarr", &other);
    fs::remove_dir_all(scene.source("t1.zarr/0/c")).expect("chunks");
    fs::rename(scene.source("away/t1.zarr/0/c"), scene.source("t1.zarr/0/c")).expect("chunks");
    eventually("other voxels", SOON, || {
        open(&all).pixels(0, 1, 0).is_ok_and(|found| found == pixels(&other, 0, 0))
    });
    // A store that does not fit, and one that goes.
    scene.store("away/t3.zarr", &small("zyx", &[2, 20, 31], 3));
    fs::rename(scene.source("away/t3.zarr"), scene.source("t3.zarr")).expect("a store");
    eventually("no file without a store that fits", SOON, || !all.exists());
    fs::remove_dir_all(scene.source("t3.zarr")).expect("a store");
    fs::remove_dir_all(scene.source("t0.zarr")).expect("a store");
    eventually("two are left", SOON, || all.exists() && points() == 2);
}

/// Names with their inodes and sizes.
fn names(mount: &Mount) -> BTreeMap<PathBuf, (u64, u64)> {
    let mut found = BTreeMap::new();
    let mut pending = vec![mount.path().to_path_buf()];
    while let Some(at) = pending.pop() {
        for entry in fs::read_dir(&at).expect("a folder") {
            let path = entry.expect("a name").path();
            let meta = fs::metadata(&path).expect("attributes");
            if meta.is_dir() {
                pending.push(path.clone());
            }
            let inside = path.strip_prefix(mount.path()).expect("below").to_path_buf();
            found.insert(inside, (meta.ino(), meta.len()));
        }
    }
    found
}

#[test]
fn a_restart_shows_the_same_without_reading_metadata_and_another_configuration_does_not() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    for number in 0..3 {
        scene.store(&format!("deep/t{number}.zarr"), &small("zyx", &[2, 20, 30], number));
    }
    scene
        .beside("deep/t0.zarr", "[[store]]\nname = \"n\"\n[[view]]\nname = \"crop\"\nx = [1, 9]\n");
    let configured = "[[view]]\nname = \"all\"\nof = \"deep/t*.zarr\"\nas = \"time points\"\n\
        [[store]]\npath = \"deep/t2.zarr\"\nhidden = true\n";
    scene.configure(configured);
    rest(&scene.source(""));
    let run = || {
        let mount = scene.start().args(["-v"]).start();
        let shown = names(&mount);
        let all = open(&mount.path().join("all.ims")).pixels(0, 2, 0).expect("voxels");
        assert_eq!(all, pixels(&small("zyx", &[2, 20, 30], 2), 0, 0));
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
        (shown, stderr.iter().filter(|line| line.contains("inspecting path=")).count())
    };
    let (first, inspected) = run();
    let paths: Vec<_> = first.keys().map(|path| path.display().to_string()).collect();
    assert_eq!(paths, ["all.ims", "deep", "deep/crop.ims", "deep/t0.ims", "deep/t1.ims"]);
    assert!(inspected > 0);
    let (again, inspected) = run();
    assert_eq!((again, inspected), (first.clone(), 0));
    scene.configure(&format!("{configured}[[store]]\npath = \"deep/t1.zarr\"\nname = \"other\"\n"));
    let (other, inspected) = run();
    assert!(inspected > 0);
    assert_ne!(other[Path::new("deep/t1.ims")], first[Path::new("deep/t1.ims")]);
    assert_eq!(other[Path::new("deep/t0.ims")], first[Path::new("deep/t0.ims")]);
}
