//! Many stores: what is known of them stays within its share of the memory, and what was forgotten comes back as it
//! was.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::common::mount::{Mount, can_mount};
use crate::common::process::status_kib;
use crate::common::rest::rest;
use crate::common::tiny::{Tiny, write_json};

/// Folders, and stores in each.
const FOLDERS: usize = 200;
const STORES: usize = 100;

/// The smallest budget.
const MEMORY: &str = "16MiB";

/// Before listings were forgotten, a store took 3.9 KiB.
const MOST_BYTES_PER_STORE: u64 = 1400;

/// Stores whose documents are names of one file in each folder: they declare an image of which no chunk is there.
fn write_stores(source: &Path) {
    let tiny = Tiny::default();
    for folder in 0..FOLDERS {
        let folder = source.join(format!("folder{folder:03}"));
        let document = folder.join("document");
        fs::create_dir_all(&folder).expect("a folder");
        write_json(&document, &tiny.array_json());
        for store in 0..STORES {
            let store = folder.join(format!("image{store:03}.zarr"));
            fs::create_dir(&store).expect("a folder");
            fs::hard_link(&document, store.join("zarr.json")).expect("a link");
        }
        fs::remove_file(&document).expect("a file");
    }
    // One with voxels.
    tiny.write(&source.join("folder000/voxels.zarr"));
    rest(source);
}

/// Inode, size and time of every file.
fn list(mount: &Path) -> BTreeMap<PathBuf, (u64, u64, i64)> {
    let mut all = BTreeMap::new();
    for folder in fs::read_dir(mount).expect("the mount") {
        for file in fs::read_dir(folder.expect("a name").path()).expect("a folder") {
            let path = file.expect("a name").path();
            let meta = fs::metadata(&path).expect("attributes");
            all.insert(path, (meta.ino(), meta.len(), meta.mtime()));
        }
    }
    all
}

/// Issue: "the tree of names is bounded too (100 000 stores take 312 MiB today): what is not in use is forgotten and
/// inspected again from the memo".
#[test]
fn many_stores_take_little_memory_and_come_back_as_they_were() {
    if !can_mount() {
        return;
    }
    let folder = TempDir::with_prefix("zarrims-names-").expect("a temporary folder");
    write_stores(folder.path());
    let mount = Mount::of(folder.path()).args(["--memory", MEMORY]).start();
    let resident = || status_kib(mount.pid(), "VmRSS") * 1024;
    let path = mount.path().join("folder000/voxels.ims");
    let bytes = fs::read(&path).expect("readable");
    let mut open = File::open(&path).expect("opens");
    let inode = open.metadata().expect("open").ino();
    let before = resident();
    let first = list(mount.path());
    assert_eq!(first.len(), FOLDERS * STORES + 1);
    let second = list(mount.path());
    let grown = resident().saturating_sub(before) / first.len() as u64;
    println!("{grown} bytes for each of {} stores", first.len());
    assert!(grown < MOST_BYTES_PER_STORE, "{grown} bytes for each of {} stores", first.len());
    assert_eq!(second, first);
    let mut again = Vec::new();
    open.read_to_end(&mut again).expect("readable");
    assert!(again == bytes, "the file that is open");
    assert_eq!(open.metadata().expect("open").ino(), inode);
    drop(open);
    assert_eq!(list(mount.path()), first);
    assert!(fs::read(&path).expect("readable") == bytes, "the file that was forgotten");
    let last = first.keys().next_back().expect("a file");
    assert_eq!(fs::read(last).expect("readable").len() as u64, first[last].1);
}
