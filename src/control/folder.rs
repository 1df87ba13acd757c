//! The control folder: `.zarrims` at the root of a mount, whose files tell how the daemon is. No listing shows it, and
//! reading it never asks the source.
//!
//! A file keeps for a moment what it says, so that its size is true for who looks first and reads then; each handle
//! keeps the text with which it was opened.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{getegid, geteuid};
use zarrims::fs::{
    Attributes, DirectoryEntry, FsError, Ino, NodeKind, OpenedHandle, Paging, ReadDone, Space, View,
};

/// The name of the folder.
const FOLDER: &str = ".zarrims";

/// Its files.
const FILES: [&str; 3] = ["status.json", "images.json", "errors.jsonl"];

/// How long a text is kept: longer than the kernel remembers its size.
const KEPT: Duration = Duration::from_secs(2);

/// Inode of the folder; those of its files follow.
const FIRST_INO: u64 = Ino::MOST.0 + 1;

/// Handles of this folder have this bit, which a count of openings does not reach.
const HANDLE: u64 = 1 << 63;

/// The texts of the files, in the order of [`FILES`].
pub(crate) type Texts = [String; 3];

/// Who may read the folder, beside root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    uid: u32,
    gid: u32,
    umask: u16,
}

impl Owner {
    /// What is configured; else the user of the daemon.
    pub(crate) fn new(uid: Option<u32>, gid: Option<u32>, umask: u16) -> Self {
        let own = (geteuid().as_raw(), getegid().as_raw());
        Self { uid: uid.unwrap_or(own.0), gid: gid.unwrap_or(own.1), umask }
    }
}

/// A view with the control folder in it.
pub(crate) struct ControlFolder<V> {
    view: Arc<V>,
    owner: Owner,
    tell: Box<dyn Fn() -> Texts + Send + Sync>,
    told: Mutex<Option<Told>>,
    open: Mutex<HashMap<u64, Arc<str>>>,
    next_handle: AtomicU64,
}

/// What the files say, and since when.
#[derive(Debug, Clone)]
struct Told {
    at: Instant,
    modified: SystemTime,
    texts: [Arc<str>; 3],
}

/// What an inode of the folder stands for.
#[derive(Debug, Clone, Copy)]
enum Place {
    Folder,
    File(usize),
}

impl Place {
    fn of(ino: Ino) -> Option<Self> {
        match ino.0.checked_sub(FIRST_INO)? {
            0 => Some(Self::Folder),
            number => {
                let file = usize::try_from(number - 1).ok()?;
                (file < FILES.len()).then_some(Self::File(file))
            }
        }
    }

    fn ino(self) -> Ino {
        match self {
            Self::Folder => Ino(FIRST_INO),
            Self::File(file) => Ino(FIRST_INO + 1 + file as u64),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V: View> ControlFolder<V> {
    /// `tell` makes the texts, without a look at the source.
    pub(crate) fn new(
        view: Arc<V>,
        owner: Owner,
        tell: impl Fn() -> Texts + Send + Sync + 'static,
    ) -> Self {
        let (told, open, next_handle) = Default::default();
        Self { view, owner, tell: Box::new(tell), told, open, next_handle }
    }

    /// What was told a moment ago.
    fn recent(&self) -> Option<Told> {
        lock(&self.told).as_ref().filter(|told| told.at.elapsed() < KEPT).cloned()
    }

    fn told(&self) -> Told {
        self.recent().unwrap_or_else(|| {
            let (at, modified) = (Instant::now(), SystemTime::now());
            let told = Told { at, modified, texts: (self.tell)().map(Arc::from) };
            *lock(&self.told) = Some(told.clone());
            told
        })
    }

    fn attributes_of(&self, place: Place, told: &Told) -> Attributes {
        let Owner { uid, gid, umask } = self.owner;
        let (kind, size, mode) = match place {
            Place::Folder => (NodeKind::Directory, 0, 0o550),
            Place::File(file) => (NodeKind::File, told.texts[file].len() as u64, 0o440),
        };
        let (ino, modified) = (place.ino(), told.modified);
        Attributes { ino, kind, size, modified, mode: mode & !umask, uid, gid }
    }

    fn lookup_within(&self, place: Place, name: &OsStr) -> Result<Attributes, FsError> {
        if name == "." {
            return Ok(self.attributes_of(place, &self.told()));
        }
        let Place::Folder = place else { return Err(FsError::NotADirectory) };
        if name == ".." {
            return self.view.lookup(Ino::ROOT, OsStr::new("."));
        }
        let file = FILES.iter().position(|file| name == *file).map(Place::File);
        Ok(self.attributes_of(file.ok_or(FsError::NotFound)?, &self.told()))
    }

    fn entries_within(&self, place: Place) -> Result<Vec<DirectoryEntry>, FsError> {
        let Place::Folder = place else { return Err(FsError::NotADirectory) };
        let names = [".", ".."].into_iter().chain(FILES);
        let entry = |name: &str| {
            let attributes = self.lookup_within(place, OsStr::new(name))?;
            Ok(DirectoryEntry { name: OsString::from(name), attributes })
        };
        names.map(entry).collect()
    }

    fn open_within(&self, place: Place) -> Result<OpenedHandle, FsError> {
        let Place::File(file) = place else { return Err(FsError::IsADirectory) };
        let is_another = self.recent().is_none();
        let text = self.told().texts[file].clone();
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed) | HANDLE;
        lock(&self.open).insert(handle, text);
        Ok(OpenedHandle { handle, paging: Paging::Bypass, is_another })
    }
}

impl<V: View> View for ControlFolder<V> {
    fn lookup(&self, parent: Ino, name: &OsStr) -> Result<Attributes, FsError> {
        match Place::of(parent) {
            Some(place) => self.lookup_within(place, name),
            None if parent == Ino::ROOT && name == FOLDER => {
                Ok(self.attributes_of(Place::Folder, &self.told()))
            }
            None => self.view.lookup(parent, name),
        }
    }

    fn attributes(&self, ino: Ino) -> Result<Attributes, FsError> {
        match Place::of(ino) {
            Some(place) => Ok(self.attributes_of(place, &self.told())),
            None => self.view.attributes(ino),
        }
    }

    fn attributes_at_hand(&self, ino: Ino) -> Option<Attributes> {
        match Place::of(ino) {
            Some(place) => Some(self.attributes_of(place, &self.recent()?)),
            None => self.view.attributes_at_hand(ino),
        }
    }

    fn compare(&self, folder: Ino) {
        if Place::of(folder).is_none() {
            self.view.compare(folder);
        }
    }

    fn entries(&self, folder: Ino) -> Result<Vec<DirectoryEntry>, FsError> {
        match Place::of(folder) {
            Some(place) => self.entries_within(place),
            None => self.view.entries(folder),
        }
    }

    fn open(&self, ino: Ino) -> Result<OpenedHandle, FsError> {
        match Place::of(ino) {
            Some(place) => self.open_within(place),
            None => self.view.open(ino),
        }
    }

    fn read(&self, handle: u64, offset: u64, len: usize, done: ReadDone) {
        if handle & HANDLE == 0 {
            return self.view.read(handle, offset, len, done);
        }
        let Some(text) = lock(&self.open).get(&handle).cloned() else {
            return done(Err(FsError::BadHandle));
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let end = start.saturating_add(len).min(text.len());
        done(Ok(&text.as_bytes()[start..end]));
    }

    fn close(&self, handle: u64) {
        if handle & HANDLE == 0 {
            return self.view.close(handle);
        }
        lock(&self.open).remove(&handle);
    }

    fn statfs(&self) -> Result<Space, FsError> {
        self.view.statfs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mount with nothing in it, that answers nothing.
    struct Silent;

    impl View for Silent {
        fn lookup(&self, _: Ino, _: &OsStr) -> Result<Attributes, FsError> {
            Err(FsError::NotFound)
        }
        fn attributes(&self, _: Ino) -> Result<Attributes, FsError> {
            Err(FsError::Stale)
        }
        fn attributes_at_hand(&self, _: Ino) -> Option<Attributes> {
            None
        }
        fn entries(&self, _: Ino) -> Result<Vec<DirectoryEntry>, FsError> {
            Ok(Vec::new())
        }
        fn open(&self, _: Ino) -> Result<OpenedHandle, FsError> {
            Err(FsError::Stale)
        }
        fn read(&self, _: u64, _: u64, _: usize, done: ReadDone) {
            done(Err(FsError::BadHandle));
        }
        fn close(&self, _: u64) {}
        fn statfs(&self) -> Result<Space, FsError> {
            Err(FsError::Stale)
        }
    }

    fn folder() -> ControlFolder<Silent> {
        let calls = AtomicU64::new(0);
        let owner = Owner { uid: 1, gid: 2, umask: 0o007 };
        ControlFolder::new(Arc::new(Silent), owner, move || {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            ["first", "second", "third"].map(|text| format!("{text} {call}"))
        })
    }

    fn read(folder: &ControlFolder<Silent>, handle: u64, offset: u64, len: usize) -> String {
        let (sender, receiver) = std::sync::mpsc::channel();
        let done = move |read: Result<&[u8], FsError>| {
            let text = read.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            sender.send(text.map_err(|error| error.to_string())).expect("it is awaited");
        };
        folder.read(handle, offset, len, Box::new(done));
        receiver.recv().expect("an answer").unwrap_or_else(|error| error)
    }

    #[test]
    fn its_inodes_are_found_without_their_names() {
        let folder = folder();
        for number in 0..=FILES.len() as u64 {
            let ino = Ino(FIRST_INO + number);
            assert_eq!(folder.lookup(ino, OsStr::new(".")).expect("it is there").ino, ino);
        }
        assert!(folder.lookup(Ino(FIRST_INO - 1), OsStr::new(".")).is_err());
    }

    #[test]
    fn a_file_says_what_its_size_says_as_long_as_it_is_open() {
        let folder = folder();
        let top = folder.lookup(Ino::ROOT, OsStr::new(FOLDER)).expect("it is there");
        assert_eq!((top.kind, top.mode, top.uid, top.gid), (NodeKind::Directory, 0o550, 1, 2));
        let file = folder.lookup(top.ino, OsStr::new(FILES[1])).expect("it is there");
        assert_eq!((file.size, file.mode), ("second 0".len() as u64, 0o440));
        let OpenedHandle { handle, is_another, .. } = folder.open(file.ino).expect("a file");
        assert!(!is_another);
        lock(&folder.told).as_mut().expect("told").at =
            Instant::now().checked_sub(KEPT).expect("time");
        let again = folder.open(file.ino).expect("a file");
        assert!(again.is_another);
        assert_eq!(read(&folder, handle, 0, 100), "second 0");
        assert_eq!(read(&folder, handle, 7, 1), "0");
        assert_eq!(read(&folder, handle, 8, 9), "");
        assert_eq!(read(&folder, again.handle, 0, 100), "second 1");
        folder.close(handle);
        assert_eq!(read(&folder, handle, 0, 1), "handle is not open");
    }

    #[test]
    fn the_folder_is_found_and_not_listed() {
        let folder = folder();
        assert!(folder.entries(Ino::ROOT).expect("a folder").is_empty());
        let names = folder.entries(Place::Folder.ino()).map(|entries| entries.len());
        // Its "..", which is the mount's, is not there in this one.
        assert!(matches!(names, Err(FsError::NotFound)));
        let within = folder.lookup(Place::Folder.ino(), OsStr::new("other"));
        assert!(matches!(within, Err(FsError::NotFound)));
        assert!(matches!(folder.open(Place::Folder.ino()), Err(FsError::IsADirectory)));
        assert!(folder.lookup(Ino(5), OsStr::new(FOLDER)).is_err(), "at the root only");
    }
}
