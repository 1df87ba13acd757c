//! What the chunk files of an array were like when its image was opened.
//!
//! Metadata says nothing of chunks that are rewritten in place, added or deleted. So the folder of
//! an array is looked through at each opening: a hash of the state of all its files tells whether
//! anything has changed since the last one. Within the opening, the snapshot tells for each chunk
//! whether it is still what it was then, so that a reader never sees two states of a store.
//!
//! Twelve bytes for each file are kept: hashes of its name, and of its name and state together. The
//! state includes the change time (`st_ctime`), which programs cannot set back. It is compared for
//! equality only, so it does not matter what the clock of a file server says. But times are no finer
//! than that clock, some milliseconds or whole seconds; so a state that came about just before the
//! look is not taken for the same as any other.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::metadata::METADATA_FILES;
use super::permissions::{AccessKinds, Need};
use super::root::{SourceRoot, is_bad_link, is_not_found, join};
use super::storage::{FileKind, FileStamp, Links, Meta, OpenFolder, SETTLED_NS, now_ns};

/// Most files and folders of an image that are looked at: half a second on a local disk.
const MOST_ENTRIES: usize = 200_000;

/// Longest time for it. The reader who opens the file waits.
const LONGEST_TIME: Duration = Duration::from_secs(1);

/// How often a folder that changes while it is looked at is looked at.
const LOOKS: usize = 4;

/// Folders whose states are kept.
const MOST_FOLDERS: usize = 4096;

/// Deepest folder of an array: chunk keys have a part for each of at most 32 dimensions.
const DEEPEST_FOLDER: usize = 40;

/// The state of an array's folder at one time.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Hashes of the names of all files, sorted. Two names with one hash may turn an absent chunk into
    /// an error, never one chunk into another.
    names: Vec<u32>,
    /// Hashes of the names with the states, sorted.
    states: Vec<u64>,
    /// The folders with their states; fewer than there are beyond [`MOST_FOLDERS`].
    folders: Vec<(Box<Path>, FileStamp)>,
    /// Folders that changed during each look: names may have been missed there, of files that had not
    /// changed after a time.
    unsure: Vec<(Box<Path>, i64)>,
    hash: u128,
    /// Time after the look at which the newest change is told from later ones, if it was not then.
    settles_after_ns: i64,
    /// Of the files and folders.
    modified: Option<SystemTime>,
    access: AccessKinds,
}

/// Why the chunk files of an image cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unfollowed {
    /// There are more than are looked at.
    #[error("more than {MOST_ENTRIES} files")]
    TooMany,
    /// It took too long.
    #[error("looking at its files took more than {LONGEST_TIME:?}")]
    TooSlow,
    /// A folder could not be read, or something in it is neither a file nor a folder.
    #[error("not all its files can be looked at")]
    Unreadable,
    /// Its folders came and went during each look.
    #[error("its folders come and go")]
    Unsteady,
}

/// How much may still be looked at.
#[derive(Debug)]
pub(super) struct LookBudget {
    entries: usize,
    deadline: Instant,
}

impl LookBudget {
    pub(super) fn new() -> Self {
        Self { entries: MOST_ENTRIES, deadline: Instant::now() + LONGEST_TIME }
    }

    fn take(&mut self) -> Result<(), Unfollowed> {
        self.entries = self.entries.checked_sub(1).ok_or(Unfollowed::TooMany)?;
        if Instant::now() < self.deadline { Ok(()) } else { Err(Unfollowed::TooSlow) }
    }
}

/// A hash of the states of all arrays of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkState {
    hash: u128,
    settles_after_ns: i64,
    modified: Option<SystemTime>,
    access: Arc<AccessKinds>,
}

impl ChunkState {
    pub(super) fn of<'a>(snapshots: impl Iterator<Item = &'a Snapshot>) -> Self {
        let mut all = Vec::new();
        let (mut settles_after_ns, mut modified) = (0, None);
        let mut access = AccessKinds::default();
        for snapshot in snapshots {
            all.extend(snapshot.hash.to_le_bytes());
            settles_after_ns = settles_after_ns.max(snapshot.settles_after_ns);
            modified = modified.max(snapshot.modified);
            access.absorb(&snapshot.access);
        }
        Self { hash: xxh3_128(&all), settles_after_ns, modified, access: Arc::new(access) }
    }

    /// The newest modification time of the chunk files and their folders.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// What readers of the chunk files and folders need.
    #[must_use]
    pub fn access(&self) -> &AccessKinds {
        &self.access
    }

    /// How long to wait for a state that is settled, where that is not long.
    pub(super) fn settles_soon(&self) -> Option<Duration> {
        let is_soon = (1..=SETTLED_NS).contains(&self.settles_after_ns);
        is_soon.then(|| Duration::from_nanos(self.settles_after_ns.unsigned_abs()))
    }

    fn is_settled(&self) -> bool {
        self.settles_after_ns <= 0
    }

    /// Whether nothing has changed between the two.
    #[must_use]
    pub fn is_same(&self, later: &Self) -> bool {
        self.hash == later.hash && self.is_settled()
    }

    /// A number that no other state of the image has. A state that is not settled has another one
    /// each time it is asked.
    #[must_use]
    pub fn identity(&self) -> u128 {
        static ASKED: AtomicU64 = AtomicU64::new(0);
        if self.is_settled() {
            return self.hash;
        }
        let asked = ASKED.fetch_add(1, Ordering::Relaxed);
        let unique = (std::process::id(), SystemTime::now(), asked);
        xxh3_128(format!("{:x} {unique:?}", self.hash).as_bytes())
    }
}

fn hash_of_name(path_in_array: &Path) -> u32 {
    let bytes = xxh3_64(path_in_array.as_os_str().as_bytes()).to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// A file with its state, for hashing.
fn describe(path_in_array: &Path, stamp: &FileStamp) -> Vec<u8> {
    let FileStamp { ino, size, mtime_s, mtime_ns, ctime_ns } = stamp;
    let state = format!("\0{ino} {size} {mtime_s} {mtime_ns} {ctime_ns}");
    [path_in_array.as_os_str().as_bytes(), state.as_bytes()].concat()
}

/// A file compared with what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Same,
    /// There was none of this name.
    Added,
    /// It was rewritten or deleted.
    Changed,
}

/// Why a look is to be repeated, or cannot be done.
enum Failed {
    /// A name or a folder has gone since it was listed, or the folder is another one.
    Moved,
    No(Unfollowed),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        if is_not_found(&error) { Self::Moved } else { Self::No(Unfollowed::Unreadable) }
    }
}

impl From<Unfollowed> for Failed {
    fn from(reason: Unfollowed) -> Self {
        Self::No(reason)
    }
}

impl Snapshot {
    /// Looks through the folder of an array. Whatever changes meanwhile is looked at again.
    ///
    /// # Errors
    /// [`Unfollowed`] where that cannot be done, or takes too long.
    pub(super) fn take(
        root: &SourceRoot,
        array: &Path,
        budget: &mut LookBudget,
    ) -> Result<Self, Unfollowed> {
        let entries = budget.entries;
        for _ in 0..LOOKS {
            budget.entries = entries;
            match Self::look(root, array, budget) {
                Ok(snapshot) => return Ok(snapshot),
                Err(Failed::Moved) => {}
                Err(Failed::No(reason)) => return Err(reason),
            }
        }
        Err(Unfollowed::Unsteady)
    }

    fn look(root: &SourceRoot, array: &Path, budget: &mut LookBudget) -> Result<Self, Failed> {
        let mut snapshot = Self {
            names: Vec::new(),
            states: Vec::new(),
            folders: Vec::new(),
            unsure: Vec::new(),
            hash: 0,
            settles_after_ns: 0,
            modified: None,
            access: AccessKinds::default(),
        };
        let begun_ns = now_ns();
        let state = || root.storage().stat(array, Links::Follow);
        let before = state()?;
        let mut walk = Walk { root, array, budget, begun_ns, snapshot: &mut snapshot };
        walk.folder(Path::new(""), before, &state, 0)?;
        snapshot.names.sort_unstable();
        snapshot.names.shrink_to_fit();
        snapshot.states.sort_unstable();
        snapshot.states.shrink_to_fit();
        Ok(snapshot)
    }

    /// Notes what goes for files and folders alike. A folder is no part of the hash: what changes in it
    /// shows in its files. But a change just before the look, such as a folder on its way to another
    /// place, is looked at again.
    fn note(&mut self, need: Need, meta: &Meta, begun_ns: i64) {
        self.access.add(need, meta.access);
        self.modified = self.modified.max(Some(meta.stamp.modified()));
        let settles_after_ns = meta.stamp.settles_after_ns(begun_ns);
        self.settles_after_ns = self.settles_after_ns.max(settles_after_ns);
    }

    /// Adds a file, in a look that was begun at a time in nanoseconds since the epoch.
    fn add(&mut self, path_in_array: &Path, meta: &Meta, begun_ns: i64) {
        self.note(Need::Read, meta, begun_ns);
        let described = describe(path_in_array, &meta.stamp);
        // A sum, because folders are read in no particular order.
        self.hash = self.hash.wrapping_add(xxh3_128(&described));
        self.names.push(hash_of_name(path_in_array));
        self.states.push(xxh3_64(&described));
    }

    /// Whether the folders are as they were, which takes a fraction of a look: files that were added, deleted
    /// or replaced show there, but not those that were written in place.
    pub(super) fn has_same_folders(&self, root: &SourceRoot, array: &Path) -> bool {
        self.folders.iter().all(|(inside, stamp)| {
            root.stamp(&join(array, inside)).is_ok_and(|now| now == Some(*stamp))
        })
    }

    /// Compares a file, by its path relative to the array and its state now, `None` if there is none.
    pub(super) fn compare(&self, path_in_array: &Path, now: Option<&FileStamp>) -> Since {
        let had = || self.names.binary_search(&hash_of_name(path_in_array)).is_ok();
        match now {
            Some(stamp) => {
                let state = xxh3_64(&describe(path_in_array, stamp));
                match self.states.binary_search(&state) {
                    Ok(_) => Since::Same,
                    Err(_) if had() || self.may_have_missed(path_in_array, stamp) => Since::Changed,
                    Err(_) => Since::Added,
                }
            }
            None if had() => Since::Changed,
            None => Since::Same,
        }
    }

    /// Whether a file may have been there during the look, in a folder whose list may lack it.
    fn may_have_missed(&self, path_in_array: &Path, stamp: &FileStamp) -> bool {
        let folder = path_in_array.parent();
        self.unsure
            .iter()
            .any(|(unsure, until_ns)| folder == Some(&**unsure) && stamp.ctime_ns <= *until_ns)
    }
}

/// What was found in one folder.
#[derive(Default)]
struct Found {
    files: Vec<(OsString, Meta)>,
    folders: Vec<(OsString, Meta)>,
    /// Names that have gone since they were listed were left out.
    has_skipped: bool,
}

/// A look under way.
struct Walk<'a> {
    root: &'a SourceRoot,
    array: &'a Path,
    budget: &'a mut LookBudget,
    begun_ns: i64,
    snapshot: &'a mut Snapshot,
}

impl Walk<'_> {
    /// Adds what is in a folder and below. `before` is the state in which the folder was found, and
    /// `state` tells that of what stands at its path now: if it changes meanwhile, it is looked at
    /// again; if it is another one, so is everything.
    fn folder(
        &mut self,
        inside: &Path,
        before: Meta,
        state: &dyn Fn() -> io::Result<Meta>,
        depth: usize,
    ) -> Result<(), Failed> {
        if depth > DEEPEST_FOLDER {
            return Err(Unfollowed::Unreadable.into());
        }
        let folder = join(self.array, inside);
        let entries = self.budget.entries;
        let mut before = before;
        for look in 1..=LOOKS {
            let is_last = look == LOOKS;
            self.budget.entries = entries;
            let mut open = self.root.storage().open_folder(&folder)?;
            let found = self.names(&folder, &mut *open, is_last);
            let after = state()?;
            if !after.is_same_file(&before) {
                return Err(Failed::Moved);
            }
            match found {
                Ok(found) if is_last || after == before => {
                    self.snapshot.note(Need::Enter, &after, self.begun_ns);
                    if self.snapshot.folders.len() < MOST_FOLDERS {
                        self.snapshot.folders.push((inside.into(), after.stamp));
                    }
                    let unsure_until_ns = match after == before {
                        false => Some(after.stamp.ctime_ns),
                        // Names went, and the folder says that none did.
                        true if found.has_skipped => Some(i64::MAX),
                        true => None,
                    };
                    let unsure = unsure_until_ns.map(|until_ns| (inside.into(), until_ns));
                    self.snapshot.unsure.extend(unsure);
                    return self.add(inside, &*open, found, depth);
                }
                Ok(_) | Err(Failed::Moved) => before = after,
                Err(Failed::No(reason)) => return Err(reason.into()),
            }
        }
        Err(Failed::Moved)
    }

    fn add(
        &mut self,
        inside: &Path,
        open: &dyn OpenFolder,
        found: Found,
        depth: usize,
    ) -> Result<(), Failed> {
        for (name, meta) in found.files {
            self.snapshot.add(&inside.join(name), &meta, self.begun_ns);
        }
        for (name, meta) in found.folders {
            let state = || open.stat(&name);
            self.folder(&inside.join(&name), meta, &state, depth + 1)?;
        }
        Ok(())
    }

    /// The names in a folder and what they stand for. `skips_gone`: names that have gone since they
    /// were listed are left out.
    fn names(
        &mut self,
        folder: &Path,
        open: &mut dyn OpenFolder,
        skips_gone: bool,
    ) -> Result<Found, Failed> {
        let mut found = Found::default();
        loop {
            let names = open.next_names()?;
            if names.is_empty() {
                return Ok(found);
            }
            for name in names.into_iter().map(|entry| entry.name) {
                // Metadata is another matter: a change of it is another image.
                if folder == self.array && METADATA_FILES.iter().any(|known| name == *known) {
                    continue;
                }
                self.budget.take()?;
                let meta = match open.stat(&name) {
                    Ok(meta) => meta,
                    Err(error) if skips_gone && is_not_found(&error) => {
                        found.has_skipped = true;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                match meta.kind {
                    FileKind::Folder => found.folders.push((name, meta)),
                    FileKind::File => found.files.push((name, meta)),
                    FileKind::Link => {
                        let target = target_of(self.root, &folder.join(&name), meta)?;
                        found.files.push((name, target));
                    }
                    FileKind::Other => return Err(Unfollowed::Unreadable.into()),
                }
            }
        }
    }
}

/// What a link points at counts, and may be anywhere, even nowhere for now.
fn target_of(root: &SourceRoot, link: &Path, own: Meta) -> Result<Meta, Unfollowed> {
    match root.storage().stat(link, Links::Follow) {
        Ok(target) if target.kind == FileKind::File => Ok(target),
        Err(error) if is_bad_link(&error) => Ok(own),
        Ok(_) | Err(_) => Err(Unfollowed::Unreadable),
    }
}
