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
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;
use thiserror::Error;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::metadata::METADATA_FILES;
use super::root::{FileStamp, SourceRoot};

/// Most files and folders of an image that are looked at: half a second on a local disk.
const MOST_ENTRIES: usize = 200_000;

/// Longest time for it. The reader who opens the file waits.
const LONGEST_TIME: Duration = Duration::from_secs(1);

/// Age from which the time of a change tells it from later ones: some ticks of the kernel's clock,
/// or, where times are whole seconds, the two that FAT has.
const SETTLED_NS: i64 = 50_000_000;
const SETTLED_COARSE_NS: i64 = 2_100_000_000;

/// The state of an array's folder at one time.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Hashes of the names of all files, sorted. Two names with one hash may turn an absent chunk into
    /// an error, never one chunk into another.
    names: Vec<u32>,
    /// Hashes of the names with the states, sorted.
    states: Vec<u64>,
    hash: u128,
    /// Time after the look at which the newest change is told from later ones, if it was not then.
    settles_after_ns: i64,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkState {
    hash: u128,
    settles_after_ns: i64,
}

impl ChunkState {
    pub(super) fn of<'a>(snapshots: impl Iterator<Item = &'a Snapshot>) -> Self {
        let mut all = Vec::new();
        let mut settles_after_ns = 0;
        for snapshot in snapshots {
            all.extend(snapshot.hash.to_le_bytes());
            settles_after_ns = settles_after_ns.max(snapshot.settles_after_ns);
        }
        Self { hash: xxh3_128(&all), settles_after_ns }
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

fn now_ns() -> i64 {
    since_epoch_ns(SystemTime::now())
}

pub(super) fn since_epoch_ns(time: SystemTime) -> i64 {
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Time after `now_ns` at which the last change of a file is told from later ones; not positive if it
/// was before.
pub(super) fn settles_after_ns(stamp: &FileStamp, now_ns: i64) -> i64 {
    let is_coarse = stamp.ctime_ns % 1_000_000_000 == 0;
    let settled_ns = if is_coarse { SETTLED_COARSE_NS } else { SETTLED_NS };
    stamp.ctime_ns.saturating_add(settled_ns).saturating_sub(now_ns)
}

/// Whether the last change of a file is told from later ones by now.
pub(super) fn is_settled(stamp: &FileStamp) -> bool {
    settles_after_ns(stamp, now_ns()) <= 0
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

impl Snapshot {
    /// Looks through the folder of an array.
    ///
    /// # Errors
    /// [`Unfollowed`] where that cannot be done, or takes too long.
    pub(super) fn take(
        root: &SourceRoot,
        array: &Path,
        budget: &mut LookBudget,
    ) -> Result<Self, Unfollowed> {
        let begun_ns = now_ns();
        let mut snapshot =
            Self { names: Vec::new(), states: Vec::new(), hash: 0, settles_after_ns: 0 };
        let unreadable = |_| Unfollowed::Unreadable;
        let mut folders = vec![array.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let fd = match root.open_beneath(&folder, flags) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if folder != array => continue,
                Err(error) => return Err(unreadable(error)),
            };
            for entry in Dir::read_from(&fd).map_err(unreadable)? {
                let name = entry.map_err(unreadable)?.file_name().to_bytes().to_vec();
                let name = OsString::from_vec(name);
                if name == "." || name == ".." {
                    continue;
                }
                // Metadata is another matter: a change of it is another image.
                if folder == array && METADATA_FILES.iter().any(|metadata| name == *metadata) {
                    continue;
                }
                budget.take()?;
                let path = folder.join(&name);
                let stat = match rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    // It went since its name was read: writers rename what they have completed.
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(unreadable(error)),
                };
                let stamp = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => {
                        folders.push(path);
                        continue;
                    }
                    FileType::RegularFile => FileStamp::of(&stat),
                    // What a link points at counts, and may be anywhere, even nowhere for now.
                    FileType::Symlink if !root.is_dir(&path) => {
                        root.stamp(&path).unwrap_or(FileStamp::of(&stat))
                    }
                    _ => return Err(Unfollowed::Unreadable),
                };
                let inside = path.strip_prefix(array).map_err(|_| Unfollowed::Unreadable)?;
                snapshot.add(inside, stamp, begun_ns);
            }
        }
        snapshot.names.sort_unstable();
        snapshot.names.shrink_to_fit();
        snapshot.states.sort_unstable();
        snapshot.states.shrink_to_fit();
        Ok(snapshot)
    }

    /// Adds a file, in a look that was begun at a time in nanoseconds since the epoch.
    fn add(&mut self, path_in_array: &Path, stamp: FileStamp, begun_ns: i64) {
        let described = describe(path_in_array, &stamp);
        // A sum, because folders are read in no particular order.
        self.hash = self.hash.wrapping_add(xxh3_128(&described));
        let settles_after_ns = settles_after_ns(&stamp, begun_ns);
        self.settles_after_ns = self.settles_after_ns.max(settles_after_ns);
        self.names.push(hash_of_name(path_in_array));
        self.states.push(xxh3_64(&described));
    }

    /// Compares a file, by its path relative to the array and its state now, `None` if there is none.
    pub(super) fn compare(&self, path_in_array: &Path, now: Option<&FileStamp>) -> Since {
        let had = || self.names.binary_search(&hash_of_name(path_in_array)).is_ok();
        match now {
            Some(stamp) => {
                let state = xxh3_64(&describe(path_in_array, stamp));
                match self.states.binary_search(&state) {
                    Ok(_) => Since::Same,
                    Err(_) if had() => Since::Changed,
                    Err(_) => Since::Added,
                }
            }
            None if had() => Since::Changed,
            None => Since::Same,
        }
    }
}
