//! The file system through its [`View`], without a kernel.

mod forgetting;

use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

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
        Self::of(source)
    }

    fn of(source: TempDir) -> Self {
        let root = Arc::new(SourceRoot::open(source.path(), false).expect("a folder"));
        Self { source, view: Self::view(root, 1 << 24) }
    }

    fn view(root: Arc<SourceRoot>, memory_bytes: u64) -> FileSystem {
        let engine =
            Engine::start(&EngineConfig { cache: None, shared: None, memory_bytes, threads: 1 });
        let images = Images::new(engine.expect("an engine"), ImageOptions::default());
        let config = TreeConfig { revalidate: Revalidate::AT_ONCE, ..TreeConfig::default() };
        FileSystem::new(Tree::new(root, images, config).expect("threads"))
    }

    /// Looks the image up and opens it.
    fn open(&self) -> (Attributes, OpenedHandle) {
        let found = self.view.lookup(Ino::ROOT, OsStr::new("a.ims")).expect("it is there");
        (found, self.view.open(found.ino).expect("it can be opened"))
    }

    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, FsError> {
        read(&self.view, handle, offset, len)
    }
}

fn read(view: &FileSystem, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, FsError> {
    let (sender, receiver) = mpsc::channel();
    let done = move |result: Result<&[u8], FsError>| {
        sender.send(result.map(<[u8]>::to_vec)).expect("somebody waits");
    };
    view.read(handle, offset, len, Box::new(done));
    receiver.recv().expect("an answer")
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
fn the_time_of_a_folder_tells_of_a_store_that_comes_without_a_change_of_the_folder() {
    let scene = Scene::new();
    let place = scene.source.path().join("b.zarr");
    fs::create_dir(&place).expect("a folder");
    let names = |entries: Vec<DirectoryEntry>| -> Vec<_> {
        entries.into_iter().map(|entry| entry.name).collect()
    };
    let before = names(scene.view.entries(Ino::ROOT).expect("a folder"));
    let time = scene.view.attributes(Ino::ROOT).expect("it is known").modified;
    write_store(&place);
    let began = Instant::now();
    while scene.view.attributes(Ino::ROOT).expect("it is known").modified == time {
        scene.view.compare(Ino::ROOT);
        assert!(began.elapsed() < Duration::from_mins(1), "the time stays");
        thread::yield_now();
    }
    let after = names(scene.view.entries(Ino::ROOT).expect("a folder"));
    assert_ne!(before, after);
    assert!(after.iter().any(|name| name == "b.ims"), "{after:?}");
}

/// As a file server asks that comes back with what an earlier run has given out.
#[test]
fn an_inode_of_an_earlier_run_is_found_before_its_name_was_looked_up() {
    let scene = Scene::new();
    let within = scene.source.path().join("folder/deep");
    write_store(&within.join("b.zarr"));
    let find = |view: &FileSystem, path: &str| {
        let names = Path::new(path).iter();
        names.fold(Ino::ROOT, |ino, name| view.lookup(ino, name).expect("it is there").ino)
    };
    let paths = ["folder/deep/b.ims", "a.ims", "folder/deep", "folder"];
    let inos = paths.map(|path| find(&scene.view, path));
    let Scene { mut source, .. } = scene;
    for ino in inos {
        let scene = Scene::of(source);
        let found = scene.view.lookup(ino, OsStr::new(".")).expect("it is found");
        assert_eq!(found.ino, ino);
        if found.kind == NodeKind::File {
            let opened = scene.view.open(ino).expect("it can be opened");
            assert_eq!(scene.read(opened.handle, 0, 8).expect("bytes"), b"\x89HDF\r\n\x1a\n");
        } else {
            let above = scene.view.lookup(ino, OsStr::new("..")).expect("it is somewhere");
            assert!(above.ino == Ino::ROOT || inos.contains(&above.ino));
        }
        let none = scene.view.lookup(Ino(12_345), OsStr::new("."));
        assert_eq!(none.map_err(|error| error.kind()), Err(ErrorKind::Stale));
        source = scene.source;
    }
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
