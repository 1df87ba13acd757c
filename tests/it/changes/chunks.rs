//! Chunks that are rewritten, added or deleted.

use std::fs;

use rustix::io::Errno;

use super::{Scene, assert_old};
use crate::common::mount::summary;
use crate::common::planes::{ABSENT, Planes, overwrite_unnoticed, replace, write_in_place};

const PLANES: Planes = Planes { times: 8 };

/// All planes in one version but for some.
fn versions(all: u16, others: &[(usize, u16)]) -> Vec<Result<u16, Errno>> {
    let mut versions = vec![Ok(all); usize::from(PLANES.times)];
    for &(time, version) in others {
        versions[time] = Ok(version);
    }
    versions
}

#[test]
fn a_rewritten_chunk_is_not_seen_by_who_had_the_file_open_and_by_the_next() {
    for rewrite in [overwrite_unnoticed, write_in_place, replace] {
        let Some(scene) = Scene::new(PLANES) else { return };
        let first = scene.open();
        assert_eq!([first.version(0), first.version(1)], [Ok(1), Ok(1)]);
        // One that was read and one that was not.
        rewrite(&scene.chunk(1), 1, 2);
        rewrite(&scene.chunk(5), 5, 2);
        assert_old(first.version(1), 1);
        assert_eq!(first.version(5), Err(Errno::STALE), "was never read");
        assert_eq!(first.version(3), Ok(1), "is as it was");

        let second = scene.open();
        assert_eq!(second.ino(), first.ino(), "clients hold on to the inode");
        for _ in 0..3 {
            for time in 0..PLANES.times {
                let new = if [1, 5].contains(&time) { 2 } else { 1 };
                assert_eq!(second.version(time), Ok(new), "plane {time}");
                assert_old(first.version(time), 1);
            }
        }
        assert_eq!(scene.open().ino(), second.ino(), "nothing has changed since");
        drop((first, second));
        assert_eq!(scene.open().versions(), versions(1, &[(1, 2), (5, 2)]));
    }
}

/// The clock of a file system is coarser than the one that dates the opening.
#[test]
fn a_chunk_replaced_at_once_after_an_opening_is_not_seen_in_it() {
    let Some(scene) = Scene::new(PLANES) else { return };
    let part = scene.store().join("part");
    for version in 2..42 {
        write_in_place(&part, 4, version);
        let file = scene.open();
        fs::rename(&part, scene.chunk(4)).expect("a chunk");
        assert_old(file.version(4), version - 1);
        assert_eq!(scene.open().version(4), Ok(version));
    }
}

/// A folder that is exchanged leaves the times of its files as they are.
#[test]
fn a_chunk_that_is_older_than_the_opening_and_was_moved_there_is_not_seen_in_it() {
    let Some(scene) = Scene::with(
        PLANES,
        |store| {
            let nested = PLANES.array_json().to_string().replace("\".\"", "\"/\"");
            fs::write(store.join("0/zarr.json"), nested).expect("metadata");
            for (folder, version) in [("0/c", 1), ("c.new", 2)] {
                for time in 0..PLANES.times {
                    let folder = store.join(folder).join(format!("{time}/0/0"));
                    fs::create_dir_all(&folder).expect("a folder");
                    write_in_place(&folder.join("0"), time, version);
                }
            }
        },
        |starter| starter,
    ) else {
        return;
    };
    let first = scene.open();
    assert_eq!(first.version(0), Ok(1));
    let (here, there) = (scene.store().join("0/c"), scene.store().join("c.new"));
    fs::rename(&here, scene.store().join("c.old")).expect("a folder");
    fs::rename(&there, &here).expect("a folder");
    for time in 0..PLANES.times {
        assert_old(first.version(time), 1);
    }
    assert_eq!(scene.open().versions(), versions(2, &[]));
    for time in 0..PLANES.times {
        assert_old(first.version(time), 1);
    }
}

#[test]
fn an_added_chunk_is_absent_for_who_had_the_file_open_and_there_for_the_next() {
    let remove = |store: &std::path::Path| {
        for time in [4, 6] {
            fs::remove_file(super::chunk(store, time)).expect("a chunk");
        }
    };
    let Some(scene) = Scene::with(PLANES, remove, |starter| starter) else { return };
    let first = scene.open();
    assert_eq!([first.version(0), first.version(4)], [Ok(1), Ok(ABSENT)]);
    write_in_place(&scene.chunk(4), 4, 3);
    write_in_place(&scene.chunk(6), 6, 3);
    assert_eq!([first.version(4), first.version(6)], [Ok(ABSENT), Ok(ABSENT)]);
    let second = scene.open();
    assert_eq!(second.ino(), first.ino());
    assert_eq!(second.versions(), versions(1, &[(4, 3), (6, 3)]));
    assert_eq!([first.version(4), first.version(6)], [Ok(ABSENT), Ok(ABSENT)]);

    drop((first, second));
    fs::remove_file(scene.chunk(6)).expect("a chunk");
    assert_eq!(scene.open().versions(), versions(1, &[(4, 3), (6, ABSENT)]));
    write_in_place(&scene.chunk(6), 6, 4);
    assert_eq!(scene.open().versions(), versions(1, &[(4, 3), (6, 4)]));
}

#[test]
fn a_deleted_chunk_is_never_fill_for_who_had_the_file_open_and_fill_for_the_next() {
    let Some(scene) = Scene::new(PLANES) else { return };
    let first = scene.open();
    assert_eq!([first.version(0), first.version(1)], [Ok(1), Ok(1)]);
    for time in [1, 5] {
        fs::remove_file(scene.chunk(time)).expect("a chunk");
    }
    assert_old(first.version(1), 1);
    assert_eq!(first.version(5), Err(Errno::STALE));
    let second = scene.open();
    assert_eq!(second.versions(), versions(1, &[(1, ABSENT), (5, ABSENT)]));
    assert_old(first.version(1), 1);
    assert_eq!(first.version(5), Err(Errno::STALE));
    drop((first, second));
    assert_eq!(scene.open().versions(), versions(1, &[(1, ABSENT), (5, ABSENT)]));
}

/// What the option says: chunks are taken to be what they were when they were read.
#[test]
fn without_revalidation_a_chunk_that_was_read_stays_as_it_was() {
    let start = |starter: super::Starter| starter.args(["--revalidate", "never"]);
    let Some(scene) = Scene::with(PLANES, |_| {}, start) else { return };
    let first = scene.open();
    let ino = first.ino();
    assert_eq!([first.version(0), first.version(1)], [Ok(1), Ok(1)]);
    overwrite_unnoticed(&scene.chunk(1), 1, 2);
    replace(&scene.chunk(5), 5, 2);
    fs::remove_file(scene.chunk(0)).expect("a chunk");
    assert_eq!([first.version(0), first.version(1)], [Ok(1), Ok(1)]);
    drop(first);
    let second = scene.open();
    assert_eq!(second.ino(), ino, "nothing was looked at");
    assert_eq!(second.versions(), versions(1, &[(5, 2)]), "plane 5 was not read before");
    drop(second);
    let (status, stderr) = scene.mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert_eq!(summary(&stderr, "failed"), 0);
}
