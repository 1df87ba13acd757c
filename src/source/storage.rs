//! The one door to the files of a source.
//!
//! Everything this program reads of a source goes through a [`Storage`]: opening, reading, `stat`,
//! listing, free space. [`Posix`] is the one that reads a folder of this machine; tests put another
//! one in front of it that fails, stalls or panics at a chosen call. A call answers, or it fails:
//! no implementation turns an error into "there is nothing".

mod posix;
mod top;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

pub use posix::Posix;
pub(crate) use top::SourceGone;

/// Age from which the time of a change tells it from later ones: some ticks of the kernel's clock,
/// or, where times are whole seconds, the two that FAT has.
pub(super) const SETTLED_NS: i64 = 50_000_000;
const SETTLED_COARSE_NS: i64 = 2_100_000_000;

/// The calls on the files of a source. Paths are relative to its top folder; the empty path is that
/// folder itself.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// `NotFound` when there is no such name; any other error when there is one and it is not a
    /// regular file below the source folder that may be read.
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, FileStamp)>;

    /// What stands at a path.
    ///
    /// # Errors
    /// `NotFound` when there is no such name, else the operating system's reason.
    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta>;

    /// The same, following links, with an access control list counted in its
    /// [narrowest reading](Access::narrowed_by).
    ///
    /// # Errors
    /// As for [`Storage::stat`].
    fn access(&self, path: &Path) -> io::Result<Meta>;

    /// Opens a folder for listing.
    ///
    /// # Errors
    /// `NotFound` when there is no such name, `NotADirectory` when it is no folder, else the
    /// operating system's reason.
    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>>;

    /// The size of the file system that holds the source.
    ///
    /// # Errors
    /// The operating system's reason.
    fn space(&self) -> io::Result<Space>;
}

/// An open file.
pub trait OpenFile: fmt::Debug + Send + Sync {
    /// The state it is in now.
    ///
    /// # Errors
    /// The operating system's reason.
    fn stamp(&self) -> io::Result<FileStamp>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// The operating system's reason; `UnexpectedEof` beyond the end.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
}

/// An open folder.
pub trait OpenFolder: fmt::Debug + Send {
    /// The state of the folder now.
    ///
    /// # Errors
    /// The operating system's reason.
    fn meta(&self) -> io::Result<Meta>;

    /// The next names, without `.` and `..`, in no particular order; none at the end.
    ///
    /// # Errors
    /// The operating system's reason; `NotFound` when the folder was removed meanwhile.
    fn next_names(&mut self) -> io::Result<Vec<FolderName>>;

    /// What a name in the folder stands for; a link is not followed.
    ///
    /// # Errors
    /// `NotFound` when the name has gone, else the operating system's reason.
    fn stat(&self, name: &OsStr) -> io::Result<Meta>;
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderName {
    /// Any bytes but `/` and NUL.
    pub name: OsString,
    /// What it stands for, where the file system tells that with the name.
    pub kind: Option<FileKind>,
}

/// Whether a symbolic link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// The target counts.
    Follow,
    /// The link itself counts.
    Stay,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A socket, device or FIFO.
    Other,
}

/// What `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: FileKind,
    /// The state it is in.
    pub stamp: FileStamp,
    /// Number of the file system.
    pub device: u64,
    /// Owner and mode. An access control list is not counted: its mask stands for the group's bits.
    pub access: Access,
}

impl Meta {
    /// Whether both are the same file or folder, in whatever state.
    #[must_use]
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.device == other.device && self.stamp.ino == other.stamp.ino && self.kind == other.kind
    }
}

/// What a look at a path has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// There is no such name.
    Absent,
    /// A file or folder in this state.
    Present(FileStamp),
    /// It could not be looked at.
    Unreadable,
}

impl Seen {
    /// The state, if there is one.
    #[must_use]
    pub fn stamp(self) -> Option<FileStamp> {
        match self {
            Self::Present(stamp) => Some(stamp),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

impl From<Option<FileStamp>> for Seen {
    fn from(stamp: Option<FileStamp>) -> Self {
        stamp.map_or(Self::Absent, Self::Present)
    }
}

/// Size of a file system and what of it is free, as `statvfs` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of a block in bytes.
    pub block_bytes: u64,
    /// Number of blocks.
    pub blocks: u64,
    /// Blocks that are free, those for root included.
    pub free: u64,
    /// Blocks that are free for everybody.
    pub available: u64,
    /// Number of files it can hold.
    pub files: u64,
    /// Number of files that can be added.
    pub files_free: u64,
}

/// What identifies the state of one file: enough to notice a rewrite, a replacement, a growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification, seconds since the epoch.
    pub mtime_s: i64,
    /// Nanoseconds of the modification time.
    pub mtime_ns: u32,
    /// Time of last status change in nanoseconds since the epoch: also moves when the mode changes,
    /// and when a rewrite restores the modification time.
    pub ctime_ns: i64,
}

impl FileStamp {
    /// Time of last modification.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        let whole = Duration::from_secs(self.mtime_s.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let base =
            if self.mtime_s < 0 { epoch.checked_sub(whole) } else { epoch.checked_add(whole) };
        base.unwrap_or(epoch) + Duration::from_nanos(u64::from(self.mtime_ns))
    }

    /// Time after `now_ns` at which the last change of the file is told from later ones; not positive if
    /// it was before.
    pub(super) fn settles_after_ns(&self, now_ns: i64) -> i64 {
        let is_coarse = self.ctime_ns % 1_000_000_000 == 0;
        let settled_ns = if is_coarse { SETTLED_COARSE_NS } else { SETTLED_NS };
        self.ctime_ns.saturating_add(settled_ns).saturating_sub(now_ns)
    }

    /// Whether the last change of the file is told from later ones by now.
    pub(super) fn is_settled(&self) -> bool {
        self.settles_after_ns(now_ns()) <= 0
    }
}

pub(super) fn now_ns() -> i64 {
    since_epoch_ns(SystemTime::now())
}

/// Nanoseconds since 1970-01-01, as far as they can be told.
pub(super) fn since_epoch_ns(time: SystemTime) -> i64 {
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Who may do what with a file or folder, by the traditional three classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Access {
    /// Permission bits, such as `0o640`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Tags of the entries of a POSIX access control list, in its form as an extended attribute
/// (`linux/posix_acl_xattr.h`).
mod acl_tag {
    pub(super) const USER: u16 = 0x02;
    pub(super) const GROUP_OBJ: u16 = 0x04;
    pub(super) const GROUP: u16 = 0x08;
    pub(super) const MASK: u16 = 0x10;
}

impl Access {
    /// Access with an access control list in its narrowest reading: a class has a right only if the
    /// list grants it to the class and denies it to no user or group that is named. (Named users and groups
    /// have no place in a mode; whoever gains rights by the list alone does not gain them here.)
    ///
    /// `acl` is the value of `system.posix_acl_access`: a version, then entries of tag, rights and
    /// number, little-endian. A list that cannot be parsed leaves the owner's rights only.
    #[must_use]
    pub fn narrowed_by(self, acl: &[u8]) -> Self {
        let owner = self.mode & 0o700;
        let Some((version, entries)) = acl.split_first_chunk::<4>() else {
            return Self { mode: owner, ..self };
        };
        let (entries, rest) = entries.as_chunks::<8>();
        if u32::from_le_bytes(*version) != 2 || !rest.is_empty() {
            return Self { mode: owner, ..self };
        }
        let (mut group, mut mask, mut named) = (0o7, 0o7, 0o7);
        for [tag_low, tag_high, rights, _, _, _, _, _] in entries {
            let rights = u32::from(*rights) & 0o7;
            match u16::from_le_bytes([*tag_low, *tag_high]) {
                acl_tag::USER | acl_tag::GROUP => named &= rights,
                acl_tag::GROUP_OBJ => group = rights,
                acl_tag::MASK => mask = rights,
                _ => {}
            }
        }
        // A mask limits whoever is named, so it limits everybody in this reading.
        let named = if named == 0o7 { 0o7 } else { named & mask };
        let group = group & mask & named;
        let other = self.mode & named & 0o7;
        Self { mode: owner | group << 3 | other, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn an_access_control_list_counts_in_its_narrowest_reading() {
        let narrowed = |mode, entries: &[(u16, u16, u32)]| {
            Access { mode, uid: 1, gid: 2 }.narrowed_by(&acl(entries)).mode
        };
        // `stat` shows the mask for the group: here rw-, while the group itself has nothing.
        let granted = [(1, 6, 0), (2, 4, 1000), (4, 0, 0), (0x10, 6, 0), (0x20, 0, 0)];
        assert_eq!(narrowed(0o660, &granted), 0o600, "who is named gains nothing for a class");
        let denied = [(1, 6, 0), (2, 0, 1000), (4, 4, 0), (0x10, 4, 0), (0x20, 4, 0)];
        assert_eq!(narrowed(0o644, &denied), 0o600, "who is denied may be in any class");
        let group_denied = [(1, 6, 0), (4, 4, 0), (8, 0, 50), (0x10, 4, 0), (0x20, 4, 0)];
        assert_eq!(narrowed(0o644, &group_denied), 0o600);
        let masked = [(1, 7, 0), (2, 5, 1000), (4, 7, 0), (0x10, 0, 0), (0x20, 5, 0)];
        assert_eq!(narrowed(0o705, &masked), 0o700, "the mask takes the rights of who is named");
        let plain = [(1, 6, 0), (2, 4, 9), (4, 4, 0), (0x10, 4, 0), (0x20, 4, 0)];
        assert_eq!(narrowed(0o644, &plain), 0o644);
    }

    #[test]
    fn a_list_that_cannot_be_parsed_leaves_the_owner() {
        let access = Access { mode: 0o755, uid: 1, gid: 2 };
        for bad in [&b""[..], b"\x02\0\0", b"\x03\0\0\0", b"\x02\0\0\0\x01\0\x07"] {
            assert_eq!(access.narrowed_by(bad).mode, 0o700, "{bad:?}");
        }
    }
}
