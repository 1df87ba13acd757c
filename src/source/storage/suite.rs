//! What every storage must do. To test one more, give it a [`Fixture`] and a line in `storages!`.

mod remote;
#[allow(dead_code, missing_docs, unreachable_pub, reason = "a file of the integration tests")]
#[path = "../../../tests/it/common/server.rs"]
mod server;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use super::archive::Archives;
use super::archive::zip::zip;
use super::interface::{
    Budget, FileKind, FolderName, Links, Meta, OpenFile, OpenFolder, Storage, Unfollowed,
};
use super::memory::Memory;
use super::posix::Posix;
use super::stamp::Stamp;
use super::survey::{Surveyor, UpTo, survey};
use crate::source::place::join;

/// A storage to test, and the way to change what it holds.
trait Fixture {
    fn new() -> Self;
    fn storage(&self) -> &dyn Storage;
    /// Writes a file, or puts another one in its place. Folders come with it.
    fn put(&self, path: &str, bytes: &[u8]);
    fn remove(&self, path: &str);
}

impl Fixture for Memory {
    fn new() -> Self {
        Self::default()
    }

    fn storage(&self) -> &dyn Storage {
        self
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        Memory::put(self, path, bytes);
    }

    fn remove(&self, path: &str) {
        Memory::remove(self, path);
    }
}

/// A folder of this machine.
struct OnDisk {
    top: TempDir,
    storage: Posix,
}

impl Fixture for OnDisk {
    fn new() -> Self {
        let top = TempDir::with_prefix("zarrims-storage-").expect("a temporary folder");
        let storage = Posix::open(top.path(), false).expect("a folder");
        Self { top, storage }
    }

    fn storage(&self) -> &dyn Storage {
        &self.storage
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.top.path().join(path);
        fs::create_dir_all(path.parent().expect("below the top")).expect("a folder");
        // The new file exists beside the old one, so that its inode is another one.
        let new = self.top.path().join("being written");
        fs::write(&new, bytes).expect("a file");
        fs::rename(new, path).expect("renamed");
    }

    fn remove(&self, path: &str) {
        fs::remove_file(self.top.path().join(path)).expect("removed");
    }
}

/// A folder in a zip file, which lies in memory, or on the disk.
struct Zipped<const DEFLATED: bool, const ON_DISK: bool> {
    in_memory: Arc<Memory>,
    on_disk: OnDisk,
    members: RefCell<BTreeMap<String, Vec<u8>>>,
    storage: Below,
}

impl<const DEFLATED: bool, const ON_DISK: bool> Zipped<DEFLATED, ON_DISK> {
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Vec<u8>>)) {
        change(&mut self.members.borrow_mut());
        let bytes = zip(&*self.members.borrow(), DEFLATED);
        if ON_DISK {
            self.on_disk.put("x.zip", &bytes);
        } else {
            self.in_memory.put("x.zip", &bytes);
        }
    }
}

impl<const DEFLATED: bool, const ON_DISK: bool> Fixture for Zipped<DEFLATED, ON_DISK> {
    fn new() -> Self {
        let (in_memory, on_disk) = (Arc::new(Memory::default()), OnDisk::new());
        let behind: Arc<dyn Storage> = if ON_DISK {
            Arc::new(Posix::open(on_disk.top.path(), false).expect("a folder"))
        } else {
            in_memory.clone()
        };
        let storage = Below(Archives::over(behind), "x.zip/top");
        Self { in_memory, on_disk, members: RefCell::default(), storage }
    }

    fn storage(&self) -> &dyn Storage {
        &self.storage
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        self.change(|members| {
            members.insert(format!("top/{path}"), bytes.to_vec());
        });
    }

    fn remove(&self, path: &str) {
        self.change(|members| {
            members.remove(&format!("top/{path}"));
        });
    }
}

/// A folder of a storage as one of its own.
#[derive(Debug)]
struct Below(Archives, &'static str);

impl Below {
    fn path(&self, path: &Path) -> PathBuf {
        join(Path::new(self.1), path)
    }
}

impl Storage for Below {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        self.0.open(&self.path(path))
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        self.0.stat(&self.path(path), links)
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        self.0.open_folder(&self.path(path))
    }

    fn survey(
        &self,
        folder: &Path,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&Path, &Meta),
    ) -> Option<Result<(), Unfollowed>> {
        self.0.survey(&self.path(folder), budget, visit)
    }

    fn answers(&self, path: &Path) -> bool {
        self.0.answers(&self.path(path))
    }

    fn access(&self, path: &Path) -> io::Result<Meta> {
        self.0.access(&self.path(path))
    }
}

/// Runs every test below with each storage.
macro_rules! storages {
    ($($name:ident),* $(,)?) => {
        mod memory { $( #[test] fn $name() { super::$name::<super::Memory>(); } )* }
        mod posix { $( #[test] fn $name() { super::$name::<super::OnDisk>(); } )* }
        mod stored { $( #[test] fn $name() { super::$name::<super::Zipped<false, false>>(); } )* }
        mod deflated { $( #[test] fn $name() { super::$name::<super::Zipped<true, false>>(); } )* }
        mod zip_on_disk { $( #[test] fn $name() { super::$name::<super::Zipped<true, true>>(); } )* }
        mod s3 { $( #[test] fn $name() { super::$name::<super::remote::S3>(); } )* }
        mod s3s_fs { $( #[test] fn $name() { super::$name::<super::remote::S3sFs>(); } )* }
    };
}

storages! {
    ranges_are_read_as_they_were_written,
    absent_is_not_found_and_a_folder_is_no_file,
    a_new_state_has_a_new_stamp,
    an_open_file_is_in_one_state,
    a_listing_has_every_name_once,
    a_survey_finds_every_file_within_its_budget,
    what_a_storage_lacks_has_a_default,
}

fn kind_of(result: io::Result<impl Sized>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn ranges_are_read_as_they_were_written<F: Fixture>() {
    let fixture = F::new();
    let bytes: Vec<u8> = (0..=255).collect();
    fixture.put("a/b", &bytes);
    let (file, stamp) = fixture.storage().open(Path::new("a/b")).expect("a file");
    assert_eq!(stamp.size(), 256);
    for range in [0..256, 0..0, 7..9, 255..256, 256..256] {
        let mut out = vec![0; range.len()];
        file.read_exact_at(&mut out, range.start as u64).expect("in the file");
        assert_eq!(out, bytes[range]);
    }
    for (offset, len) in [(0, 257), (256, 1), (1 << 40, 1)] {
        let read = file.read_exact_at(&mut vec![0; len], offset);
        assert_eq!(kind_of(read), Some(ErrorKind::UnexpectedEof), "{offset} {len}");
    }
    assert!(fixture.storage().answers(Path::new("a/b")));
}

fn absent_is_not_found_and_a_folder_is_no_file<F: Fixture>() {
    let fixture = F::new();
    fixture.put("a/b", b"1");
    let storage = fixture.storage();
    for path in ["x", "a/x", "x/a/b"].map(Path::new) {
        assert_eq!(kind_of(storage.open(path)), Some(ErrorKind::NotFound));
        assert_eq!(kind_of(storage.stat(path, Links::Follow)), Some(ErrorKind::NotFound));
        assert_eq!(kind_of(storage.access(path)), Some(ErrorKind::NotFound));
        assert_eq!(kind_of(storage.open_folder(path)), Some(ErrorKind::NotFound));
        // Where calls end in time, no caller asks first.
        assert!(storage.is_remote() || !storage.answers(path));
    }
    let opened = kind_of(storage.open(Path::new("a")));
    assert!(opened.is_some_and(|kind| kind != ErrorKind::NotFound), "{opened:?}");
    let listed = kind_of(storage.open_folder(Path::new("a/b")));
    assert_eq!(listed, Some(ErrorKind::NotADirectory));
    let kind = |path: &str| storage.stat(Path::new(path), Links::Stay).expect("there").kind;
    assert_eq!(
        [kind(""), kind("a"), kind("a/b")],
        [FileKind::Folder, FileKind::Folder, FileKind::File]
    );
    fixture.remove("a/b");
    assert_eq!(kind_of(fixture.storage().open(Path::new("a/b"))), Some(ErrorKind::NotFound));
}

fn a_new_state_has_a_new_stamp<F: Fixture>() {
    let fixture = F::new();
    fixture.put("a", b"1");
    let stat = || fixture.storage().stat(Path::new("a"), Links::Follow).expect("a file").stamp;
    let first = stat();
    assert_eq!(stat(), first);
    assert_eq!(fixture.storage().open(Path::new("a")).expect("a file").1, first);
    fixture.put("a", b"2");
    let second = stat();
    assert_ne!(second, first);
    assert_ne!(second.to_string(), first.to_string());
    assert_eq!(Stamp::parse(&second.to_string()), Some(second));
}

fn an_open_file_is_in_one_state<F: Fixture>() {
    let fixture = F::new();
    fixture.put("a", b"old");
    let (file, stamp) = fixture.storage().open(Path::new("a")).expect("a file");
    fixture.put("a", b"new");
    let mut out = [0; 3];
    let read = file.read_exact_at(&mut out, 0);
    // If the bytes are others, or none, the stamp must show it.
    let is_same = file.stamp().is_ok_and(|now| now == stamp);
    assert!(!is_same || (read.is_ok() && &out == b"old"));
}

fn names_of(storage: &dyn Storage, path: &str) -> Vec<FolderName> {
    let mut folder = storage.open_folder(Path::new(path)).expect("a folder");
    let mut all = Vec::new();
    loop {
        let mut names = folder.next_names().expect("names");
        if names.is_empty() {
            return all;
        }
        for entry in &mut names {
            let meta = folder.stat(&entry.name).expect("there");
            assert!(entry.kind.is_none_or(|kind| kind == meta.kind));
            entry.kind = Some(meta.kind);
        }
        all.extend(names);
    }
}

fn a_listing_has_every_name_once<F: Fixture>() {
    let fixture = F::new();
    for number in 0..300 {
        fixture.put(&format!("a/{number}"), b"");
    }
    fixture.put("a/folder/file", b"");
    let names = names_of(fixture.storage(), "a");
    assert_eq!(names.len(), 301);
    let found: BTreeSet<&OsStr> = names.iter().map(|entry| entry.name.as_os_str()).collect();
    assert_eq!(found.len(), 301);
    let folders = names.iter().filter(|entry| entry.kind == Some(FileKind::Folder));
    assert_eq!(folders.map(|entry| entry.name.as_os_str()).collect::<Vec<_>>(), ["folder"]);
    let folder = fixture.storage().open_folder(Path::new("a")).expect("a folder");
    let now = fixture.storage().stat(Path::new("a"), Links::Follow).expect("a folder");
    assert_eq!(folder.meta().expect("a folder"), now, "nothing has changed");
    assert_eq!(kind_of(folder.stat(OsStr::new("x"))), Some(ErrorKind::NotFound));
}

/// What a survey has found.
#[derive(Default)]
struct Found(BTreeMap<PathBuf, Stamp>);

impl Surveyor for Found {
    fn begin(&mut self) {
        self.0.clear();
    }

    fn file(&mut self, inside: &Path, meta: &Meta) {
        assert_eq!(meta.kind, FileKind::File);
        assert!(self.0.insert(inside.to_path_buf(), meta.stamp).is_none(), "{}", inside.display());
    }

    fn folder(&mut self, _inside: &Path, meta: &Meta, may_lack: Option<UpTo>) {
        assert_eq!((meta.kind, may_lack), (FileKind::Folder, None));
    }
}

fn a_survey_finds_every_file_within_its_budget<F: Fixture>() {
    let fixture = F::new();
    let paths = ["c/0/0/0", "c/0/0/1", "c/1/0/0", "meta", "c/meta"];
    for path in paths {
        fixture.put(&format!("a/{path}"), path.as_bytes());
    }
    fixture.put("ab/0", b"of another folder");
    let look = |entries| {
        let mut found = Found::default();
        let mut budget = Budget::of_entries(entries);
        let top = Path::new("a");
        survey(fixture.storage(), top, &["meta"], &mut budget, &mut found).map(|()| found.0)
    };
    let found = look(100).expect("all can be looked at");
    let stamp = |path: &str| {
        let path = Path::new("a").join(path);
        fixture.storage().stat(&path, Links::Follow).expect("a file").stamp
    };
    let wanted = paths.into_iter().filter(|path| *path != "meta");
    let wanted: BTreeMap<PathBuf, Stamp> = wanted.map(|path| (path.into(), stamp(path))).collect();
    assert_eq!(found, wanted);
    assert_eq!(look(2), Err(Unfollowed::TooMany));
}

fn what_a_storage_lacks_has_a_default<F: Fixture>() {
    let fixture = F::new();
    fixture.put("a", b"1");
    let meta = fixture.storage().access(Path::new("a")).expect("a file");
    assert_eq!(
        meta.stamp,
        fixture.storage().stat(Path::new("a"), Links::Follow).expect("a file").stamp
    );
    assert!(meta.is_same_file(&meta));
    let space = fixture.storage().space().expect("a size");
    assert!(space.block_bytes > 0 && space.available <= space.blocks);
}
