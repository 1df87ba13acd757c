//! The verb `verify`.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;

use tempfile::TempDir;
use zarrims::image::ImageOptions;

use crate::common::ims::Ims;
use crate::common::library::Library;
use crate::common::mount::can_mount;
use crate::common::rest::rest;
use crate::common::tiny::Tiny;

use super::kept::{World, last_line, number, read_past_pages, right, series, stderr, stdout};

/// Flips a byte of the first brick in a segment file.
fn flip(segment: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(segment).expect("a file");
    let at = rustix::fs::seek(&file, SeekFrom::Data(0)).expect("a brick") + 1000;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[!byte[0]], at).expect("a byte");
}

/// Records of the metadata.
fn records(world: &World) -> u64 {
    Library::of(world.source.path(), ImageOptions::default()).file("a.zarr").records()
}

#[test]
fn what_is_right_is_said_to_be() {
    if !can_mount() {
        return;
    }
    let world = World::of_series();
    let made = number(&world.told("warm", "a.ims", &[]), "/made");
    let told = world.told("verify", "a.ims", &["--checksums-only"]);
    assert_eq!(number(&told, "/checked"), made + records(&world), "{told}");
    assert_eq!((number(&told, "/compared"), number(&told, "/wrong")), (0, 0), "{told}");
    let decoded = world.decoded();
    let told = world.told("verify", "", &[]);
    assert_eq!(number(&told, "/compared"), made, "{told}");
    assert!(world.decoded() > decoded, "the source was read");
    assert_eq!(world.cached(), [100.0, 100.0], "nothing was dropped");
}

/// A byte on the disk of the cache changes while it is mounted, in a stored and in a computed level.
#[test]
fn a_wrong_byte_is_found_and_never_served_again() {
    if !can_mount() {
        return;
    }
    for (level, args) in [(0, &["--checksums-only"][..]), (1, &[]), (0, &[])] {
        let world = World::of_series();
        let right = right(world.source.path(), "a");
        let made = number(&world.told("warm", "a.ims", &[]), "/made");
        let [segment] = world.segments(level).try_into().expect("one file");
        flip(&segment);
        let output = world.run("verify", "a.ims", args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = stderr(&output);
        let named = format!("a.ims: level {level}, time point 0, channel 0, brick 0: ");
        assert!(text.contains(&named) && text.contains("does not match its checksum"), "{text}");
        assert!(stdout(&output).contains(" 1 wrong, "), "{output:?}");
        assert!(world.cached()[level] < 100.0, "it is set aside");
        assert!(read_past_pages(&world.path("a.ims")) == right, "right bytes");
        let told = world.told("verify", "a.ims", args);
        assert_eq!(number(&told, "/checked"), made + records(&world), "{told}");
    }
}

/// The source changes in a way that the daemon does not look for.
#[test]
fn a_brick_that_the_source_does_not_give_any_more_is_wrong() {
    if !can_mount() {
        return;
    }
    let tiny = Tiny::default();
    let source = TempDir::new().expect("a folder");
    tiny.write(&source.path().join("a.zarr"));
    rest(source.path());
    let world = World::over(source, &["--revalidate", "never"]);
    let made = number(&world.told("warm", "a.ims", &[]), "/made");
    let other = Tiny { seed: 2, ..tiny };
    let chunks = other.chunk_paths();
    for path in &chunks {
        let at: Vec<usize> = path.split('/').filter_map(|part| part.parse().ok()).collect();
        let bytes = other.chunk_bytes([at[0], at[1], at[2]]);
        fs::write(world.source.path().join("a.zarr/0").join(path), bytes).expect("a chunk");
    }
    assert_eq!(number(&world.told("verify", "a.ims", &["--checksums-only"]), "/wrong"), 0);
    rest(world.source.path());
    let output = world.run("verify", "a.ims", &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = last_line(&output);
    assert_eq!((number(&told, "/wrong"), number(&told, "/compared")), (made, 0), "{told}");
    assert_eq!(told["faults"][0]["level"], 0, "{told}");
    let read = Ims::open(&world.path("a.ims")).and_then(|ims| ims.pixels(0, 0, 0));
    assert!(read.expect("readable") == other.pixels(), "the new voxels");
}

#[test]
fn a_source_that_cannot_be_read_is_named_and_costs_no_brick() {
    if !can_mount() {
        return;
    }
    let builder = series(2);
    let source = TempDir::new().expect("a folder");
    builder.write(&source.path().join("a.zarr"));
    rest(source.path());
    let world = World::over(source, &["--revalidate", "never"]);
    world.told("warm", "a.ims", &[]);
    let chunk = |at: &[u64]| world.source.path().join("a.zarr").join(builder.chunk_path(0, at));
    fs::write(chunk(&[2, 1, 1, 1]), b"short").expect("a chunk");
    fs::remove_file(chunk(&[0, 0, 0, 0])).expect("a chunk");
    let output = world.run("verify", "a.ims", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stderr(&output);
    let named = "a.ims: level 0, time point 2, channel 0, brick 7: cannot be compared";
    assert!(text.contains(named) && text.contains("0/c/2/1/1/1"), "{text}");
    assert!(text.contains("brick 0: cannot be compared with the source: the store"), "{text}");
    assert_eq!(world.cached(), [100.0, 100.0], "{text}");
}
