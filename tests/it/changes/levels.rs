//! Shards and computed levels follow their chunks, too.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use tempfile::TempDir;
use zarrims::image::{ImageOptions, LevelOrigin};

use crate::common::library::Library;
use crate::common::mount::{Mount, can_mount};
use crate::common::rest::rest;
use crate::common::store::{Codec, Dtype, StoreBuilder};

/// What is compared at once.
const BLOCK: usize = 64 << 10;

/// Two megabytes and more, so that there is a computed level.
fn image(shard: Option<Vec<u64>>) -> StoreBuilder {
    let mut store = StoreBuilder::new(Dtype::U16, "zyx", &[8, 256, 600]);
    store.unit = vec![4, 64, 64];
    store.shard = shard;
    store.codec = Codec::Zstd;
    store
}

/// Two chunks change places; both can be decoded there.
fn swap(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    for (from, to) in [(one, &*aside), (other, one), (&*aside, other)] {
        fs::rename(from, to).expect("a chunk");
    }
}

/// Whether a read gives what the old image had there, or says that it cannot.
fn is_old(file: &fs::File, old: &[u8], at: usize) -> bool {
    let len = BLOCK.min(old.len() - at);
    let mut bytes = vec![0; len];
    fadvise(file, 0, None, Advice::DontNeed).expect("a hint");
    match file.read_exact_at(&mut bytes, at as u64) {
        Ok(()) => bytes == old[at..at + len],
        Err(error) => Errno::from_io_error(&error) == Some(Errno::STALE),
    }
}

fn follows_its_chunks(store: &StoreBuilder) {
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let folder = source.path().join("a.zarr");
    store.write(&folder);
    rest(source.path());
    let library = Library::of(source.path(), ImageOptions::default());
    let old = library.bytes("a.zarr");
    let planned = library.file("a.zarr");
    let plan = planned.plan();
    let coarsest = plan.levels.len() - 1;
    assert_eq!(plan.levels[coarsest].origin, LevelOrigin::Computed);
    let coarse_at = usize::try_from(plan.layout.chunk_address(coarsest, 0, [0; 3]));
    let coarse_at = coarse_at.expect("64 bits");

    let mount = Mount::of(source.path()).start();
    let path = mount.path().join("a.ims");
    let first = fs::File::open(&path).expect("opens");
    let metadata_bytes = usize::try_from(plan.layout.metadata_bytes()).expect("64 bits");
    let mut metadata = vec![0; metadata_bytes];
    first.read_exact_at(&mut metadata, 0).expect("the metadata");
    assert!(metadata == old[..metadata_bytes], "statistics of the first state");

    swap(
        &folder.join(store.chunk_path(0, &[0, 0, 0])),
        &folder.join(store.chunk_path(0, &[0, 1, 1])),
    );
    // Another engine: this one may remember what it has computed.
    let new = Library::of(source.path(), ImageOptions::default()).bytes("a.zarr");
    assert!(new[coarse_at..] != old[coarse_at..], "the coarsest level is another");
    let blocks = || (0..old.len()).step_by(BLOCK);
    assert!(blocks().all(|at| is_old(&first, &old, at)), "the open file, after the change");
    let second = fs::File::open(&path).expect("opens");
    assert_eq!(
        second.metadata().expect("attributes").ino(),
        first.metadata().expect("attributes").ino()
    );
    assert!(fs::read(&path).expect("readable") == new, "the next opening");
    assert!(blocks().all(|at| is_old(&first, &old, at)), "the open file, while another is open");
    drop((first, second));
    assert!(fs::read(&path).expect("readable") == new, "the last opening");
}

#[test]
fn a_computed_level_follows_the_chunks_of_the_level_above() {
    if can_mount() {
        follows_its_chunks(&image(None));
    }
}

#[test]
fn shards_and_levels_computed_from_them_follow_their_files() {
    if can_mount() {
        follows_its_chunks(&image(Some(vec![1, 2, 2])));
    }
}
