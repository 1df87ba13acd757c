//! The verb `verify`.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::SeekFrom;

use crate::common::mount::can_mount;

use super::kept::{World, last_line, number, read_past_pages, right, series, stderr};

/// Flips a byte of the first brick in a segment file.
fn flip(segment: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(segment).expect("a file");
    let at = rustix::fs::seek(&file, SeekFrom::Data(0)).expect("a brick") + 1000;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[!byte[0]], at).expect("a byte");
}

#[test]
fn what_is_right_is_said_to_be() {
    if !can_mount() {
        return;
    }
    let world = World::of_series();
    let made = number(&world.told("warm", "a.ims", &[]), "/made");
    let told = world.told("verify", "a.ims", &["--checksums-only"]);
    // And the metadata.
    assert_eq!(number(&told, "/checked"), made + 1, "{told}");
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
        // What is still in memory would be read, and hide the byte.
        flip(&segment);
        let output = world.run("verify", "a.ims", args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = stderr(&output);
        let named = format!("a.ims: level {level}, time point 0, channel 0, brick 0: ");
        assert!(text.contains(&named) && text.contains("does not match its checksum"), "{text}");
        assert!(text.contains("1 wrong"), "{text}");
        assert!(world.cached()[level] < 100.0, "it is set aside");
        assert!(read_past_pages(&world.path("a.ims")) == right, "right bytes");
        let told = world.told("verify", "a.ims", args);
        assert_eq!(number(&told, "/checked"), made + 1, "{told}");
    }
}

/// The source changes in a way that the daemon does not see: same size and time.
#[test]
fn a_brick_that_the_source_does_not_give_any_more_is_wrong() {
    if !can_mount() {
        return;
    }
    let tiny = crate::common::tiny::Tiny::default();
    let world = World::new(|folder| tiny.write(&folder.join("a.zarr")), &[]);
    world.told("warm", "a.ims", &[]);
    let chunk = world.source.path().join("a.zarr/0/c/0/0/0");
    let time = fs::metadata(&chunk).expect("a chunk").modified().expect("a time");
    let mut bytes = fs::read(&chunk).expect("a chunk");
    bytes[10] ^= 1;
    let file = fs::OpenOptions::new().write(true).open(&chunk).expect("a chunk");
    file.write_all_at(&bytes, 0).expect("a chunk");
    file.set_modified(time).expect("a time");
    let output = world.run("verify", "a.ims", &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = last_line(&output);
    assert!(number(&told, "/wrong") + number(&told, "/failed") > 0, "{told}");
}

#[test]
fn a_source_that_cannot_be_read_is_named_and_costs_no_brick() {
    if !can_mount() {
        return;
    }
    let builder = series(2);
    let world = World::new(|folder| builder.write(&folder.join("a.zarr")), &["--revalidate", "1h"]);
    world.told("warm", "a.ims", &[]);
    let chunk = world.source.path().join("a.zarr").join(builder.chunk_path(0, &[2, 1, 1, 1]));
    fs::remove_file(&chunk).expect("a chunk");
    let output = world.run("verify", "a.ims", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stderr(&output);
    assert!(text.contains("a.ims: "), "{text}");
    assert_eq!(world.cached(), [100.0, 100.0], "{text}");
}
