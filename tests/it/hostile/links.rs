//! Links that leave the source, and circles of them, with and without `--follow-links`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::find;
use super::source::{PLANES, Source};
use crate::common::mount::{Mount, can_mount};
use crate::common::planes::{Planes, Shown, chunk};
use crate::common::rest::rest;

/// Other pixels than those of the store in the source.
const OUTSIDE: Planes = Planes { times: 3 };

/// Links of all kinds, in a source and beside it.
fn write(source: &Source, outside: &Path) {
    OUTSIDE.write(&outside.join("outside.zarr"));
    let secret = outside.join("outside.zarr");
    let out = outside.file_name().expect("a name").to_string_lossy().into_owned();
    symlink(&secret, source.at("absolute.zarr")).expect("a link");
    symlink(format!("../{out}/outside.zarr"), source.at("relative.zarr")).expect("a link");
    symlink(outside, source.at("folder")).expect("a link");
    symlink(source.at("good.zarr"), source.at("inside.zarr")).expect("a link");
    PLANES.write(&source.at("chunk.zarr"));
    fs::remove_file(chunk(&source.at("chunk.zarr"), 1)).expect("a chunk");
    symlink(chunk(&secret, 1), chunk(&source.at("chunk.zarr"), 1)).expect("a link");
    // Circles: in the source, and from the outside back into it.
    symlink(".", source.at("circle")).expect("a link");
    symlink(source.path(), source.at("all")).expect("a link");
    symlink(source.path(), outside.join("back")).expect("a link");
    symlink(outside, outside.join("round")).expect("a link");
}

#[test]
fn links_out_of_the_source_are_followed_on_request_and_circles_never() {
    if !can_mount() {
        return;
    }
    let (source, outside) = (Source::new(), TempDir::with_prefix("zarrims-outside-"));
    let outside = outside.expect("a temporary folder");
    write(&source, outside.path());
    let places = PLANES.places(source.path(), "good.zarr");
    rest(source.path());
    let text = |names: Vec<Vec<u8>>| {
        let mut names: Vec<String> =
            names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort();
        names
    };

    let mount = Mount::of(source.path()).start();
    assert_eq!(text(find(mount.path(), "f")), ["chunk.ims", "good.ims"]);
    let shown = Shown::open(&mount.path().join("chunk.ims"), &places).expect("opens");
    assert_eq!(shown.version(1), Err(rustix::io::Errno::IO), "a chunk outside");
    assert_eq!(shown.version(0), Ok(1));
    for name in ["absolute.zarr", "relative.zarr", "inside.zarr"] {
        mount.wait_for_line(Duration::from_secs(20), |line| line.contains(name));
    }
    drop(mount);

    let mount = Mount::of(source.path()).args(["--follow-links"]).start();
    let found = text(find(mount.path(), "f"));
    for name in ["absolute.ims", "relative.ims", "inside.ims", "folder/outside.ims", "chunk.ims"] {
        assert!(found.iter().any(|found| found == name), "no {name}: {found:#?}");
        let shown = Shown::open(&mount.path().join(name), &places).expect("opens");
        assert_eq!(shown.versions(), [Ok(1), Ok(1), Ok(1)], "{name}");
    }
    assert!(found.len() < 30, "circles are walked: {found:#?}");
    assert!(!mount.path().join("circle").exists() && !mount.path().join("all").exists());
}
