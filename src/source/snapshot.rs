//! What the chunk files of an array were like when its image was opened.
//!
//! Metadata says nothing of chunks that are rewritten in place, added or deleted. So the folder of
//! an array is looked through at each opening: a hash of the state of all its files tells whether
//! anything has changed since the last one. Within the opening, the snapshot tells for each chunk
//! whether it is still what it was then, so that a reader never sees two states of a store.
//!
//! Only the time of the look and four bytes for each file are kept: a file that has changed since
//! bears a later change time (`st_ctime`, which programs cannot set back), and whether it was there
//! is told by its name. Times are as fine as the clock of the file system, some milliseconds or whole
//! seconds; so a state that came about just before the look is not taken for the same as any other.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

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
    /// When it was begun, in nanoseconds since the epoch.
    taken_ns: i64,
    /// Hashes of the names of all files, sorted. Two names with one hash may turn an absent chunk into
    /// an error, never one chunk into another.
    files: Vec<u32>,
    hash: u128,
    /// Time after the look at which the newest change is told from later ones, if it was not then.
    settles_after_ns: i64,
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

    fn take(&mut self) -> Option<()> {
        self.entries = self.entries.checked_sub(1)?;
        (Instant::now() < self.deadline).then_some(())
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

fn since_epoch_ns(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos()).ok()
}

fn hash_of_name(path_in_array: &Path) -> u32 {
    let bytes = xxh3_64(path_in_array.as_os_str().as_bytes()).to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

impl Snapshot {
    /// Looks through the folder of an array. `None` where that takes too long, or where something in it
    /// cannot be looked at.
    pub(super) fn take(root: &SourceRoot, array: &Path, budget: &mut LookBudget) -> Option<Self> {
        let taken_ns = since_epoch_ns(SystemTime::now())?;
        let mut snapshot = Self { taken_ns, files: Vec::new(), hash: 0, settles_after_ns: 0 };
        let mut folders = vec![array.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let fd = root.open_beneath(&folder, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
            for entry in Dir::read_from(&fd).ok()? {
                let name = OsString::from_vec(entry.ok()?.file_name().to_bytes().to_vec());
                if name == "." || name == ".." {
                    continue;
                }
                budget.take()?;
                let path = folder.join(&name);
                let stat = rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
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
                    _ => return None,
                };
                snapshot.add(path.strip_prefix(array).ok()?, stamp);
            }
        }
        snapshot.files.sort_unstable();
        snapshot.files.shrink_to_fit();
        Some(snapshot)
    }

    fn add(&mut self, path_in_array: &Path, stamp: FileStamp) {
        let FileStamp { ino, size, mtime_s, mtime_ns, ctime_ns } = stamp;
        let state = format!("\0{ino} {size} {mtime_s} {mtime_ns} {ctime_ns}");
        let mut described = path_in_array.as_os_str().as_bytes().to_vec();
        described.extend(state.as_bytes());
        // A sum, because folders are read in no particular order.
        self.hash = self.hash.wrapping_add(xxh3_128(&described));
        let is_coarse = ctime_ns % 1_000_000_000 == 0;
        let settled_ns = if is_coarse { SETTLED_COARSE_NS } else { SETTLED_NS };
        let settles_after_ns = ctime_ns.saturating_add(settled_ns).saturating_sub(self.taken_ns);
        self.settles_after_ns = self.settles_after_ns.max(settles_after_ns);
        self.files.push(hash_of_name(path_in_array));
    }

    /// Whether there was a file of this name, relative to the array.
    pub(super) fn had(&self, path_in_array: &Path) -> bool {
        self.files.binary_search(&hash_of_name(path_in_array)).is_ok()
    }

    /// Whether a file in this state has changed since.
    pub(super) fn is_before(&self, stamp: &FileStamp) -> bool {
        stamp.ctime_ns > self.taken_ns
    }
}
