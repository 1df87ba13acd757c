//! Errors of the cache. Except for those of `open`, none of them may reach a reader: the caller
//! serves the bytes it has, uncached.

use std::io;
use std::path::PathBuf;

use super::key::BrickKey;
use crate::resources::headroom::NoMemory;

/// A fault of the brick cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Another process (or another cache of this one) owns the directory.
    #[error("cache directory {} is in use{}", dir.display(), owner(*pid))]
    InUse {
        /// The directory given to `open`.
        dir: PathBuf,
        /// The owner, if it has written its process id into the lock file yet.
        pid: Option<u32>,
    },
    /// The file system cannot free the bytes of one brick inside a file.
    #[error(
        "the file system of cache directory {} cannot punch 4 KiB holes into files; \
         use ext4, xfs, btrfs or tmpfs",
        dir.display()
    )]
    NoHolePunching {
        /// The directory given to `open`.
        dir: PathBuf,
    },
    /// The cache directory could not be prepared.
    #[error("{} could not be prepared: {source}", path.display())]
    Directory {
        /// The file or directory concerned.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The journal could not be read or written.
    #[error("cache journal could not be read or written: {source}")]
    Journal {
        /// The operating system's reason.
        source: io::Error,
    },
    /// A note could not be read or written.
    #[error("note {name} in the cache directory could not be read or written: {source}")]
    Note {
        /// Its name.
        name: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A segment file could not be opened, read, written or punched.
    #[error("cache segment {} failed: {source}", path.display())]
    Segment {
        /// The segment file, below the cache directory.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A segment file was removed, truncated or extended from outside.
    #[error("cache segment {} was changed from outside", path.display())]
    SegmentDamaged {
        /// The segment file, below the cache directory.
        path: PathBuf,
    },
    /// The brick does not fit, even after evicting every brick that is not in use.
    #[error("no room for {needed_bytes} bytes under a limit of {limit_bytes} bytes")]
    NoRoom {
        /// Allocated bytes the brick needs, file system metadata included.
        needed_bytes: u64,
        /// What may be used now: the cap, or less where the disk is short of room.
        limit_bytes: u64,
    },
    /// The machine, or what this process may use of it, is too small for the brick.
    #[error("{0}")]
    NoMemory(#[from] NoMemory),
    /// The slot is being written or released, or holds a pinned brick.
    #[error("brick {key} is busy")]
    Busy {
        /// The brick.
        key: BrickKey,
    },
    /// A slot size of zero or beyond one segment file.
    #[error("brick {key}: slot size of {slot_bytes} bytes is not supported")]
    SlotSize {
        /// The brick.
        key: BrickKey,
        /// The refused slot size.
        slot_bytes: u64,
    },
    /// Bricks of the same space are stored with another slot size.
    #[error("brick {key}: slot size {slot_bytes}, but the space has slots of {stored_bytes} bytes")]
    SlotMismatch {
        /// The brick.
        key: BrickKey,
        /// The slot size asked for.
        slot_bytes: u64,
        /// The slot size of the bricks that are there.
        stored_bytes: u64,
    },
    /// A brick of no bytes, or of more bytes than its slot.
    #[error("brick {key}: length {length} does not fit a slot of {slot_bytes} bytes")]
    BadLength {
        /// The brick.
        key: BrickKey,
        /// The refused length in bytes.
        length: u64,
        /// The slot size in bytes.
        slot_bytes: u64,
    },
    /// A writer was given more or fewer bytes than announced.
    #[error("brick {key}: {written} bytes written, {length} announced")]
    WrongLength {
        /// The brick.
        key: BrickKey,
        /// Bytes written, the refused ones included.
        written: u64,
        /// Bytes announced to `begin`.
        length: u64,
    },
    /// A read beyond the end of a brick.
    #[error("brick {key}: read of {bytes} bytes at {offset} ends beyond its {length} bytes")]
    OutOfRange {
        /// The brick.
        key: BrickKey,
        /// Offset in the brick.
        offset: u64,
        /// Bytes asked for.
        bytes: usize,
        /// Length of the brick.
        length: u64,
    },
}

impl CacheError {
    /// Whether the disk is to blame, so that the next brick would fail as well. All other errors are
    /// about one brick.
    #[must_use]
    pub fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Directory { .. }
                | Self::NoHolePunching { .. }
                | Self::Journal { .. }
                | Self::Segment { .. }
                | Self::SegmentDamaged { .. }
        )
    }
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}
