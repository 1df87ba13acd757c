//! Stores whose metadata never arrives: their neighbours are still listed, opened and read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use zarrims::image::ImageOptions;

use super::SOON;
use super::gate::{GatedFolder, OpenAtEnd};
use super::stalled::{read_exactly, without_hanging};
use crate::common::eventually;
use crate::common::library::Library;
use crate::common::mount::{Mount, can_mount};
use crate::common::rest::rest;
use crate::common::tiny::Tiny;

/// More than the daemon has threads that look into stores.
const SLOW: usize = 12;

fn slow(number: usize) -> String {
    format!("slow{number}")
}

/// The metadata files of the stores that are held up.
fn metadata() -> Vec<PathBuf> {
    (0..SLOW).map(|number| PathBuf::from(slow(number) + ".zarr/zarr.json")).collect()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect()
}

fn expected(with_slow: bool) -> BTreeSet<String> {
    let slow = (0..SLOW).filter(|_| with_slow).map(|number| slow(number) + ".ims");
    slow.chain(["quick.ims".to_owned(), "folder".to_owned()]).collect()
}

/// Issue: "no folder waits for another's store"; a name that is known stays while its store is looked into
/// again.
#[test]
fn a_store_that_takes_long_holds_up_no_neighbour_and_keeps_its_name() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::with_prefix("zarrims-slow-").expect("a temporary folder");
    Tiny::default().write(&folder.path().join("quick.zarr"));
    Tiny::default().write(&folder.path().join("folder/inner.zarr"));
    for number in 0..SLOW {
        Tiny::default().write(&folder.path().join(slow(number)).with_extension("zarr"));
    }
    rest(folder.path());
    let source = GatedFolder::over(folder.path());
    let library = Library::of(source.path(), ImageOptions::default());
    let quick = Arc::new(library.bytes("quick.zarr"));
    let inner = Arc::new(library.bytes("folder/inner.zarr"));
    let gate = source.gate();
    let _open = OpenAtEnd(gate);
    gate.shut(metadata());
    let mount = Mount::of(source.path()).start();
    let at = mount.path().to_path_buf();

    let read = |what: &str, name: &'static str, bytes: &Arc<Vec<u8>>| {
        let (at, bytes) = (at.clone(), bytes.clone());
        without_hanging(what, move || {
            let read = read_exactly(&at.join(name), 0, bytes.len()).expect("readable");
            assert!(read == *bytes, "wrong bytes of {name}");
        });
    };
    read("a neighbour, before anything is listed", "quick.ims", &quick);
    read("a folder beside them", "folder/inner.ims", &inner);
    let folder_of_all = at.clone();
    without_hanging("a list of the others", move || {
        assert_eq!(names(&folder_of_all), expected(false));
        let missing = fs::metadata(folder_of_all.join("desktop.ini"));
        assert_eq!(missing.expect_err("no such file").kind(), std::io::ErrorKind::NotFound);
    });

    thread::scope(|scope| {
        let waiting = scope.spawn(|| fs::metadata(at.join("slow3.ims")).map(|file| file.len()));
        assert_eq!(gate.held_up(SLOW, SOON), SLOW, "they are not looked into side by side");
        assert!(!waiting.is_finished(), "a size from nowhere");
        gate.open();
        let size = waiting.join().expect("no panic").expect("found");
        assert_eq!(size, quick.len() as u64);
    });
    eventually("all are listed", SOON, || names(&at) == expected(true));

    // Rewritten with the same content.
    gate.shut(metadata());
    for file in metadata() {
        let file = folder.path().join(file);
        let text = fs::read_to_string(&file).expect("metadata");
        fs::write(&file, format!("{text}\n")).expect("metadata");
    }
    eventually("they are looked into again", SOON, || {
        assert_eq!(names(&at), expected(true));
        gate.held_up(SLOW, Duration::from_millis(100)) == SLOW
    });
    let folder_of_all = at.clone();
    without_hanging("a list while they are looked into", move || {
        assert_eq!(names(&folder_of_all), expected(true));
    });
    read("a neighbour, while they are looked into", "quick.ims", &quick);
    gate.open();
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
}
