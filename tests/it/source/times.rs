//! The time of last modification that the mount shows.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::stores::{Version, shows_image};
use crate::common::eventually;
use crate::common::mount::{Mount, can_mount};
use crate::common::rest::rest;

const SOON: Duration = Duration::from_secs(30);

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).expect("attributes").modified().expect("a time")
}

/// Programs that copy what has changed (`rsync -a`, backups, HTTP caches) compare size and time.
#[test]
fn a_changed_chunk_changes_the_time_of_the_file() {
    if !can_mount() {
        return;
    }
    for version in Version::ALL {
        let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
        let store = source.path().join("a.zarr");
        version.write(&store);
        let [_, chunk] = version.chunks().map(|chunk| store.join(chunk));
        let bytes = fs::read(&chunk).expect("a chunk");
        rest(source.path());
        let cache = TempDir::with_prefix("zarrims-cache-").expect("a temporary folder");
        let mount =
            Mount::of(source.path()).cache(cache.path()).args(["--revalidate", "open"]).start();
        let file = mount.path().join("a.ims");
        assert!(shows_image(&file));
        let before = modified(&file);
        let size = fs::metadata(&file).expect("attributes").size();

        // The same bytes, so that the image stays right, at a later time.
        fs::write(&chunk, &bytes).expect("a chunk");
        let later = before + Duration::from_secs(1000);
        File::options()
            .append(true)
            .open(&chunk)
            .expect("a chunk")
            .set_modified(later)
            .expect("ours");
        rest(source.path());
        assert!(shows_image(&file));
        eventually("the time of the chunk", SOON, || modified(&file) == later);
        assert_eq!(fs::metadata(&file).expect("attributes").size(), size);

        // A chunk that goes is a change as well.
        fs::remove_file(&chunk).expect("a chunk");
        let folder = chunk.parent().expect("a folder");
        let folder_time = later + Duration::from_secs(1000);
        File::open(folder).expect("a folder").set_modified(folder_time).expect("ours");
        rest(source.path());
        drop(File::open(&file).expect("a file"));
        eventually("the time of the folder", SOON, || modified(&file) == folder_time);

        // What was seen once is known after a restart.
        assert!(mount.stop().0.success());
        let mount = Mount::of(source.path()).cache(cache.path()).start();
        assert_eq!(modified(&mount.path().join("a.ims")), folder_time);
    }
}
