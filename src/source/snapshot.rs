//! The state of the chunk files of an array when its image was opened.
//!
//! Metadata does not change when chunks are rewritten in place, added or deleted. So each opening surveys the
//! folder of an array: a hash of the stamps of all its files shows whether anything has changed since the
//! last opening. While the image is open, the snapshot shows for each chunk whether it is still in the same
//! state, so that a reader never sees two states of a store.
//!
//! The snapshot keeps twelve bytes for each file: a hash of its name, and a hash of its name and stamp
//! together. Stamps are compared for equality only, so the clock of a file server may be wrong. But its times
//! are no finer than some milliseconds, or whole seconds; so a state that began just before the look counts
//! as different from any other.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::metadata::METADATA_FILES;
use super::permissions::{AccessKinds, Need};
use super::place::join;
use super::root::SourceRoot;
use super::storage::{Budget, Meta, Stamp, Surveyor, Unfollowed, UpTo, now_ns, survey};

/// Most folders whose states are kept.
const MOST_FOLDERS: usize = 4096;

/// Time within which a state counts as one that settles soon.
const SOON: Duration = Duration::from_millis(50);

/// The state of an array's folder at one time.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// Hashes of the names of all files, sorted. Two names with one hash may turn an absent chunk into
    /// an error, never one chunk into another.
    names: Vec<u32>,
    /// Hashes of the names with the states, sorted.
    states: Vec<u64>,
    /// The folders with their states; fewer than there are beyond [`MOST_FOLDERS`].
    folders: Vec<(Box<Path>, Stamp)>,
    /// Folders that changed while they were listed: the names of older files may be missing.
    unsure: Vec<(Box<Path>, UpTo)>,
    hash: u128,
    /// Nanoseconds from the look until a later change is guaranteed a different stamp.
    settles_after_ns: i64,
    /// Of the files and folders.
    modified: Option<SystemTime>,
    access: AccessKinds,
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

    /// The access that readers of the chunk files and folders need.
    #[must_use]
    pub fn access(&self) -> &AccessKinds {
        &self.access
    }

    /// The time until the state settles, if that is short.
    pub(super) fn settles_soon(&self) -> Option<Duration> {
        let is_later = self.settles_after_ns > 0;
        let time = Duration::from_nanos(self.settles_after_ns.unsigned_abs());
        (is_later && time <= SOON).then_some(time)
    }

    fn is_settled(&self) -> bool {
        self.settles_after_ns <= 0
    }

    /// Whether nothing has changed between the two.
    #[must_use]
    pub fn is_same(&self, later: &Self) -> bool {
        self.hash == later.hash && self.is_settled()
    }

    /// A number that no other state of the image has. For a state that has not settled, each call returns
    /// another number.
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
fn describe(path_in_array: &Path, stamp: &Stamp) -> Vec<u8> {
    let state = format!("\0{stamp}");
    [path_in_array.as_os_str().as_bytes(), state.as_bytes()].concat()
}

/// A file compared with its state in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Same,
    /// There was none of this name.
    Added,
    /// It was rewritten or deleted.
    Changed,
}

impl Snapshot {
    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        let folders = self.folders.iter().map(|(path, _)| path.as_os_str().len());
        let bytes = size_of_val(&*self.names)
            + size_of_val(&*self.states)
            + size_of_val(&*self.folders)
            + folders.sum::<usize>();
        bytes as u64
    }

    /// Surveys the folder of an array. Where not all files are wanted, the others are left out, and folders need not
    /// be at rest.
    ///
    /// # Errors
    /// [`Unfollowed`] where that is impossible, or takes too long.
    pub(super) fn take(
        root: &SourceRoot,
        array: &Path,
        budget: &mut Budget,
        is_wanted: Option<&dyn Fn(&Path) -> bool>,
    ) -> Result<Self, Unfollowed> {
        let mut look = Look { snapshot: Self::default(), begun_ns: now_ns(), is_wanted };
        // Metadata files do not count here: a change of one makes another image.
        survey(root.storage(), array, &METADATA_FILES, budget, &mut look)?;
        let mut snapshot = look.snapshot;
        snapshot.names.sort_unstable();
        snapshot.names.shrink_to_fit();
        snapshot.states.sort_unstable();
        snapshot.states.shrink_to_fit();
        Ok(snapshot)
    }

    /// Whether the folders are unchanged. This is much cheaper than a survey: it notices files that were added,
    /// deleted or replaced, but not those that were written in place.
    pub(super) fn has_same_folders(&self, root: &SourceRoot, array: &Path) -> bool {
        self.folders.iter().all(|(inside, stamp)| {
            root.stamp(&join(array, inside)).is_ok_and(|now| now == Some(*stamp))
        })
    }

    /// Whether there was certainly no file at a path.
    pub(super) fn lacks(&self, path_in_array: &Path) -> bool {
        self.unsure.is_empty() && self.names.binary_search(&hash_of_name(path_in_array)).is_err()
    }

    /// Compares a file, by its path relative to the array and its state now, `None` if there is none.
    pub(super) fn compare(&self, path_in_array: &Path, now: Option<&Stamp>) -> Since {
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
    fn may_have_missed(&self, path_in_array: &Path, stamp: &Stamp) -> bool {
        let folder = path_in_array.parent();
        self.unsure.iter().any(|(unsure, up_to)| {
            let was_there = match up_to {
                UpTo::State(state) => !stamp.is_newer_than(state),
                UpTo::Now => true,
            };
            folder == Some(&**unsure) && was_there
        })
    }
}

/// A snapshot in the making, and when its look was begun, in nanoseconds since the epoch.
struct Look<'a> {
    snapshot: Snapshot,
    begun_ns: i64,
    is_wanted: Option<&'a dyn Fn(&Path) -> bool>,
}

impl Look<'_> {
    /// Notes what files and folders have in common. A folder is no part of the hash: its changes show in its
    /// files. But its stamp must settle, as it may be on its way to another place.
    fn note(&mut self, need: Need, meta: &Meta) {
        let snapshot = &mut self.snapshot;
        snapshot.access.add(need, meta.access);
        snapshot.modified = snapshot.modified.max(Some(meta.stamp.modified()));
        let settles_after_ns = meta.stamp.settles_after_ns(self.begun_ns);
        snapshot.settles_after_ns = snapshot.settles_after_ns.max(settles_after_ns);
    }
}

impl Surveyor for Look<'_> {
    fn begin(&mut self) {
        (self.snapshot, self.begun_ns) = (Snapshot::default(), now_ns());
    }

    fn file(&mut self, inside: &Path, meta: &Meta) {
        if self.is_wanted.is_some_and(|is_wanted| !is_wanted(inside)) {
            return;
        }
        self.note(Need::Read, meta);
        let described = describe(inside, &meta.stamp);
        // A sum, because folders are read in no particular order.
        self.snapshot.hash = self.snapshot.hash.wrapping_add(xxh3_128(&described));
        self.snapshot.names.push(hash_of_name(inside));
        self.snapshot.states.push(xxh3_64(&described));
    }

    fn folder(&mut self, inside: &Path, meta: &Meta, may_lack: Option<UpTo>) {
        if self.is_wanted.is_none() {
            self.note(Need::Enter, meta);
        } else {
            // The files that are left out come all the time, and change it.
            self.snapshot.access.add(Need::Enter, meta.access);
        }
        if self.snapshot.folders.len() < MOST_FOLDERS {
            self.snapshot.folders.push((inside.into(), meta.stamp));
        }
        self.snapshot.unsure.extend(may_lack.map(|up_to| (inside.into(), up_to)));
    }
}
