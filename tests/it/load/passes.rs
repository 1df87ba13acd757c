//! Passes over whole images that wait for a chunk.

use std::path::PathBuf;
use std::thread;

use tempfile::TempDir;
use zarrims::image::ImageOptions;

use super::SOON;
use super::gate::{GatedFolder, OpenAtEnd};
use super::stalled::{WORKERS, read_exactly, without_hanging};
use crate::common::library::{BrickBytes, Library, brick_at};
use crate::common::mount::{Mount, can_mount};
use crate::common::rest::rest;
use crate::common::tiny::Tiny;

/// Images whose coarsest level waits for a chunk: more than the passes that run side by side.
const STALLED: usize = 20;

/// Large enough for a computed level.
const IMAGE: Tiny = Tiny { shape: [64, 160, 160], chunk: [32, 160, 160], seed: 1 };

fn name(number: usize, extension: &str) -> PathBuf {
    PathBuf::from(format!("image{number}.{extension}"))
}

/// Levels of many images wait for chunks; those of another one are computed all the same.
#[test]
fn many_stalled_passes_hold_up_no_other() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::with_prefix("zarrims-passes-").expect("a temporary folder");
    for number in 0..=STALLED {
        IMAGE.write(&folder.path().join(name(number, "zarr")));
    }
    rest(folder.path());
    let source = GatedFolder::over(folder.path());
    let library = Library::of(source.path(), ImageOptions::default());
    let truth: Vec<(BrickBytes, Vec<u8>)> = (0..=STALLED)
        .map(|number| {
            let file = library.file(&name(number, "zarr").to_string_lossy());
            let coarsest = file.plan().levels.len() - 1;
            assert!(coarsest > 0, "no computed levels");
            let brick = brick_at(&file, coarsest, [0; 3]);
            let len = usize::try_from(brick.len).expect("64 bits");
            (brick, file.read_blocking(brick.offset, len).expect("readable"))
        })
        .collect();
    let mount = Mount::of(source.path()).args(["--threads", &WORKERS.to_string()]).start();
    let at = mount.path().to_path_buf();
    let read = |number: usize| {
        let (brick, bytes) = truth[number].clone();
        let path = at.join(name(number, "ims"));
        move || {
            let read = read_exactly(&path, brick.offset, bytes.len()).expect("readable");
            assert!(read == bytes, "wrong bytes of {}", path.display());
        }
    };
    let gate = source.gate();
    gate.shut((0..STALLED).map(|number| name(number, "zarr").join("0/c/0/0/0")));
    thread::scope(|scope| {
        let _open = OpenAtEnd(gate);
        let waiting: Vec<_> = (0..STALLED).map(|number| scope.spawn(read(number))).collect();
        let asked = gate.held_up(STALLED.min(WORKERS), SOON);
        assert!(asked >= STALLED.min(WORKERS), "only {asked} chunks are asked for");
        without_hanging("computing the levels of another file", read(STALLED));
        assert!(waiting.iter().all(|reader| !reader.is_finished()), "a chunk came from nowhere");
        gate.open();
        for reader in waiting {
            reader.join().expect("right bytes");
        }
    });
}
