//! What the cache holds after a restart, whether or not the store has changed.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::chunk;
use crate::common::mount::{Mount, can_mount, summary};
use crate::common::planes::{Planes, Shown, overwrite_unnoticed};
use crate::common::rest::rest;

const PLANES: Planes = Planes { times: 4 };

#[test]
fn a_chunk_rewritten_while_no_daemon_ran_is_seen_and_the_rest_is_not_made_again() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let (source, cache) = (folder.path().join("source"), folder.path().join("cache"));
    for name in ["a.zarr", "b.zarr"] {
        PLANES.write(&source.join(name));
    }
    fs::create_dir(&cache).expect("a folder");
    let places = PLANES.places(&source, "a.zarr");
    rest(&source);
    // The versions of both stores, the metadata of their files, and what was made for it.
    let look = |mount: &Mount| {
        let whole = |name: &str| fs::read(mount.path().join(name)).expect("readable");
        let shown =
            |name: &str| Shown::open(&mount.path().join(name), &places).expect("opens").versions();
        (whole("a.ims"), whole("b.ims"), shown("a.ims"), shown("b.ims"))
    };
    let daemon = |change: &dyn Fn(&Path)| {
        change(&source);
        rest(&source);
        let mount = Mount::of(&source).cache(&cache).start();
        let found = look(&mount);
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
        (found, summary(&stderr, "filled"))
    };
    let (first, filled) = daemon(&|_| {});
    assert_eq!((&first.2, &first.3), (&vec![Ok(1); 4], &vec![Ok(1); 4]));
    assert!(filled > 0);
    let (second, filled_again) = daemon(&|_| {});
    assert!(second == first, "other bytes after a restart");
    assert_eq!(filled_again, 0, "nothing has changed");

    let (third, filled_third) =
        daemon(&|source| overwrite_unnoticed(&chunk(&source.join("a.zarr"), 2), 2, 7));
    assert_eq!(third.2, [Ok(1), Ok(1), Ok(7), Ok(1)]);
    assert_eq!(third.3, first.3);
    assert!(third.1 == first.1, "a store that did not change");
    assert!(filled_third > 0 && filled_third <= filled / 2, "{filled_third} of {filled}");
}
