//! Metadata that changes, is half written, goes away and comes back.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use super::{SOON, Scene, assert_old, eventually};
use crate::common::planes::{Planes, Shown, write_in_place};
use crate::common::tiny::write_json;

const PLANES: Planes = Planes { times: 8 };

/// Replaces a document as a whole.
fn replace_json(path: &Path, document: &serde_json::Value) {
    let part = path.with_extension("part");
    write_json(&part, document);
    fs::rename(part, path).expect("a document");
}

/// Opens the file once its inode is another.
fn open_when_new(scene: &Scene, places: &[u64], old: u64) -> Shown {
    eventually("another inode", SOON, || {
        fs::metadata(scene.path()).is_ok_and(|now| now.ino() != old)
    });
    Shown::open(&scene.path(), places).expect("opens")
}

#[test]
fn another_scale_is_another_file_and_who_had_it_open_keeps_what_was_read() {
    let Some(scene) = Scene::new(PLANES) else { return };
    let first = scene.open();
    assert_eq!([first.version(0), first.version(1)], [Ok(1), Ok(1)]);
    let whole = fs::read(scene.path()).expect("readable");
    replace_json(&scene.store().join("zarr.json"), &Planes::group_json(0.125));
    let second = open_when_new(&scene, &scene.places, first.ino());
    assert!(second.versions().iter().all(|&version| version == Ok(1)));
    assert!(fs::read(scene.path()).expect("readable") != whole, "the scale is in the file");
    for time in 0..PLANES.times {
        assert_old(first.version(time), 1);
    }
}

#[test]
fn another_shape_is_another_size_and_what_was_not_read_is_stale() {
    let Some(scene) = Scene::new(PLANES) else { return };
    let first = scene.open();
    assert_eq!([first.version(0), first.version(1)], [Ok(1), Ok(1)]);
    let size = fs::metadata(scene.path()).expect("attributes").len();
    // A microscope goes on: one more time point.
    let grown = Planes { times: 9 };
    write_in_place(&scene.chunk(8), 8, 1);
    replace_json(&scene.store().join("0/zarr.json"), &grown.array_json());
    assert_eq!(first.version(5), Err(Errno::STALE), "its array is another");
    assert_eq!([first.version(0), first.version(1)], [Ok(1), Ok(1)], "what was read");
    let places = grown.places(scene.source.path(), "a.zarr");
    let second = open_when_new(&scene, &places, first.ino());
    assert!(fs::metadata(scene.path()).expect("attributes").len() > size);
    assert_eq!(second.versions(), vec![Ok(1); 9]);
    assert_eq!([first.version(0), first.version(1)], [Ok(1), Ok(1)], "what was read");
    assert_eq!(first.version(5), Err(Errno::STALE), "its array is another");
    assert_eq!(first.file().metadata().expect("attributes").len(), size);
}

/// An opening right after the change finds the new state, although the names were compared with the source
/// a moment ago.
#[test]
fn an_opening_right_after_a_change_of_metadata_shows_the_new_state() {
    let Some(scene) = Scene::new(PLANES) else { return };
    for times in [7, 6, 5, 4] {
        let shorter = Planes { times };
        drop(scene.open());
        replace_json(&scene.store().join("0/zarr.json"), &shorter.array_json());
        let places = shorter.places(scene.source.path(), "a.zarr");
        let shown = Shown::open(&scene.path(), &places).expect("opens");
        assert_eq!(shown.versions(), vec![Ok(1); usize::from(times)]);
    }
}

#[test]
fn a_half_written_document_means_not_there_yet() {
    let Some(scene) = Scene::new(PLANES) else { return };
    let (path, shown) = (scene.store().join("zarr.json"), scene.path());
    let whole = fs::read(&path).expect("metadata");
    let is_told = |line: &str| line.contains("skipped") && line.contains("a.zarr");
    for part in [whole.len() / 2, whole.len() - 1, 0] {
        let before = scene.mount.stderr().iter().filter(|line| is_told(line)).count();
        fs::write(&path, &whole[..part]).expect("metadata");
        eventually("half a document is no image", SOON, || !shown.exists());
        // It is looked at again and again.
        for _ in 0..50 {
            assert!(!shown.exists());
            fs::read_dir(scene.mount.path()).expect("a folder").for_each(drop);
        }
        scene.mount.wait_for_lines(before + 1, is_told);
        fs::write(&path, &whole).expect("metadata");
        eventually("the whole document is one", SOON, || shown.exists());
        assert!(scene.open().versions().iter().all(|&version| version == Ok(1)));
    }
}

#[test]
fn a_store_that_went_away_and_came_back_is_served_again() {
    let Some(scene) = Scene::new(PLANES) else { return };
    let first = scene.open();
    assert_eq!(first.version(0), Ok(1));
    let away = scene.source.path().join("away");
    let gone = || fs::metadata(scene.path()).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    fs::rename(scene.store(), &away).expect("a store");
    let missing = first.version(5);
    assert!(missing.is_err(), "a store that is gone reads as {missing:?}");
    eventually("the name goes", SOON, gone);
    fs::rename(&away, scene.store()).expect("a store");
    eventually("the name comes back", SOON, || scene.path().exists());
    assert_eq!(scene.open().versions(), vec![Ok(1); 8]);
    assert_eq!(first.versions(), vec![Ok(1); 8], "nothing in it has changed");

    // The same name with other pixels, at once and after a while.
    for (version, at_once) in [(2, true), (3, false)] {
        fs::remove_dir_all(scene.store()).expect("a store");
        if !at_once {
            eventually("the name goes", SOON, gone);
        }
        PLANES.write_metadata(&scene.store(), 1.0);
        (0..PLANES.times).for_each(|time| write_in_place(&scene.chunk(time), time, version));
        eventually("the new store is shown", SOON, || {
            Shown::open(&scene.path(), &scene.places)
                .is_ok_and(|shown| shown.versions() == vec![Ok(version); 8])
        });
        (0..PLANES.times).for_each(|time| assert_old(first.version(time), 1));
    }
}
