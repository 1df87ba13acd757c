//! The file system through its [`View`], without a kernel.

use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};

use serde_json::json;
use tempfile::TempDir;

use super::view::ErrorKind;
use super::*;
use crate::image::{Engine, EngineConfig, ImageOptions, Images};
use crate::source::SourceRoot;

/// Voxels of the image: one chunk, little-endian.
const VOXELS: [u16; 8] = [1, 2, 3, 4, 5, 6, 7, 40_000];

/// A store with one image of 2 x 2 x 2 voxels, and a folder.
struct Scene {
    source: TempDir,
    view: FileSystem,
}

fn write_store(store: &Path) {
    let array = json!({
        "zarr_format": 3, "node_type": "array", "shape": [2, 2, 2], "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2, 2]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    });
    fs::create_dir_all(store.join("c/0/0")).expect("a folder");
    fs::write(store.join("zarr.json"), array.to_string()).expect("a file");
    let bytes: Vec<u8> = VOXELS.iter().flat_map(|voxel| voxel.to_le_bytes()).collect();
    fs::write(store.join("c/0/0/0"), bytes).expect("a file");
}

impl Scene {
    fn new() -> Self {
        let source = tempfile::tempdir().expect("a temporary folder");
        write_store(&source.path().join("a.zarr"));
        fs::create_dir(source.path().join("folder")).expect("a folder");
        let root = Arc::new(SourceRoot::open(source.path(), false).expect("a folder"));
        let engine = Engine::start(&EngineConfig {
            cache: None,
            shared: None,
            memory_bytes: 1 << 24,
            threads: 1,
        });
        let images = Images::new(engine.expect("an engine"), ImageOptions::default());
        let config = TreeConfig { revalidate: Revalidate::AT_ONCE, ..TreeConfig::default() };
        let tree = Tree::new(root, images, config).expect("threads");
        Self { source, view: FileSystem::new(tree) }
    }

    /// Looks the image up and opens it.
    fn open(&self) -> (Attributes, OpenedHandle) {
        let found = self.view.lookup(Ino::ROOT, OsStr::new("a.ims")).expect("it is there");
        (found, self.view.open(found.ino).expect("it can be opened"))
    }

    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, FsError> {
        let (sender, receiver) = mpsc::channel();
        let done = move |result: Result<&[u8], FsError>| {
            sender.send(result.map(<[u8]>::to_vec)).expect("somebody waits");
        };
        self.view.read(handle, offset, len, Box::new(done));
        receiver.recv().expect("an answer")
    }
}

#[test]
fn names_attributes_and_entries_agree() {
    let scene = Scene::new();
    let view: &dyn View = &scene.view;
    let entries = view.entries(Ino::ROOT).expect("a folder");
    let names: Vec<_> = entries.iter().map(|entry| entry.name.to_str()).collect();
    assert_eq!(names, [Some("."), Some(".."), Some("a.ims"), Some("folder")]);
    let found = view.lookup(Ino::ROOT, OsStr::new("a.ims")).expect("it is there");
    assert_eq!(found, entries[2].attributes);
    assert_eq!((found.kind, entries[3].attributes.kind), (NodeKind::File, NodeKind::Directory));
    assert_eq!(view.attributes(found.ino).expect("it is known"), found);
    assert_eq!(view.attributes_at_hand(found.ino), Some(found));
    assert!(view.statfs().expect("a disk").blocks > 0);
}

#[test]
fn a_handle_reads_the_file_until_it_is_closed() {
    let scene = Scene::new();
    let (found, opened) = scene.open();
    assert_eq!((opened.paging, opened.is_another), (Paging::Drop, false));
    assert_eq!(scene.view.open_handles(), 1);
    let len = usize::try_from(found.size).expect("a small file");
    let bytes = scene.read(opened.handle, 0, len + 10).expect("bytes");
    assert_eq!(bytes.len(), len, "a read ends with the file");
    assert_eq!(&bytes[..8], b"\x89HDF\r\n\x1a\n");
    let voxels: Vec<u8> = VOXELS[..2].iter().flat_map(|voxel| voxel.to_le_bytes()).collect();
    assert!(bytes.windows(4).any(|window| window == voxels), "the voxels are not there");
    assert_eq!(scene.read(opened.handle, found.size, 10).expect("no bytes"), b"");
    assert_eq!(scene.view.open(found.ino).expect("again").paging, Paging::Keep);
    scene.view.close(opened.handle);
    assert_eq!(scene.view.open_handles(), 1);
    let error = scene.read(opened.handle, 0, 1).expect_err("it is closed");
    assert_eq!(error.kind(), ErrorKind::BadHandle);
}

#[test]
fn a_changed_chunk_is_another_state_of_the_same_inode() {
    let scene = Scene::new();
    let (found, before) = scene.open();
    let old = scene.read(before.handle, 0, 1 << 20).expect("bytes");
    fs::write(scene.source.path().join("a.zarr/c/0/0/0"), [7; 16]).expect("a file");
    let after = scene.view.open(found.ino).expect("the new state");
    assert_eq!((after.paging, after.is_another), (Paging::Bypass, false));
    assert_ne!(scene.read(after.handle, 0, 1 << 20).expect("bytes"), old);
    scene.view.close(before.handle);
    scene.view.close(after.handle);
    assert_eq!(scene.view.open(found.ino).expect("the new state").paging, Paging::Drop);
}

#[test]
fn errors_have_a_kind() {
    let scene = Scene::new();
    let view: &dyn View = &scene.view;
    let (file, _) = scene.open();
    let folder = view.lookup(Ino::ROOT, OsStr::new("folder")).expect("it is there");
    let kind = |error: FsError| error.kind();
    let none = view.lookup(Ino::ROOT, OsStr::new("none.ims"));
    assert_eq!(none.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(view.lookup(file.ino, OsStr::new("x")).map_err(kind), Err(ErrorKind::NotADirectory));
    assert_eq!(view.attributes(Ino(12_345)).map_err(kind), Err(ErrorKind::Stale));
    assert_eq!(view.entries(file.ino).map(drop).map_err(kind), Err(ErrorKind::NotADirectory));
    assert_eq!(view.open(folder.ino).map(drop).map_err(kind), Err(ErrorKind::IsADirectory));
    assert_eq!(scene.read(99, 0, 1).map_err(kind), Err(ErrorKind::BadHandle));
}

#[test]
fn a_store_that_goes_is_stale_and_then_not_found() {
    let scene = Scene::new();
    let (file, opened) = scene.open();
    scene.view.close(opened.handle);
    fs::remove_dir_all(scene.source.path().join("a.zarr")).expect("a folder");
    let error = scene.view.open(file.ino).expect_err("it is gone");
    assert!(matches!(error, FsError::Stale) && error.is_noteworthy(), "{error}");
    let error = scene.view.lookup(Ino::ROOT, OsStr::new("a.ims")).expect_err("it is gone");
    assert!(matches!(error, FsError::NotFound) && !error.is_noteworthy(), "{error}");
}
