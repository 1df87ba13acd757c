//! The disk under the cache: the few things the cache asks of a file system.
//!
//! A trait, so that tests can put a disk there that fills up, fails, or loses power. [`LocalDisk`] is
//! the real one. It works relative to a descriptor of the folder it entered: if that folder is
//! removed or replaced, calls fail, and nothing is ever done to what took its place.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// Where cache folders can be.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Enters a folder, which is created with its parents if need be. Afterwards only its owner may
    /// enter it, even if it existed before.
    ///
    /// # Errors
    /// The operating system's reason.
    fn enter(&self, path: &Path) -> io::Result<Arc<dyn Folder>>;
}

/// A folder of the cache. Paths are relative to it.
pub trait Folder: fmt::Debug + Send + Sync {
    /// Opens a file for reading and writing, never through a link.
    ///
    /// # Errors
    /// The operating system's reason.
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn DiskFile>>;

    /// Creates a folder in an existing one.
    ///
    /// # Errors
    /// The operating system's reason; `AlreadyExists` if there is one.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, in no particular order, and whether each is a folder.
    ///
    /// # Errors
    /// The operating system's reason.
    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, bool)>>;

    /// Removes a file.
    ///
    /// # Errors
    /// The operating system's reason.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder that is empty.
    ///
    /// # Errors
    /// The operating system's reason.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or folder, in place of what has the new name.
    ///
    /// # Errors
    /// The operating system's reason.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Bytes on disk of a file or folder itself.
    ///
    /// # Errors
    /// The operating system's reason.
    fn disk_bytes(&self, path: &Path) -> io::Result<u64>;

    /// How much room the disk has.
    ///
    /// # Errors
    /// The operating system's reason.
    fn space(&self) -> io::Result<Space>;

    /// Whether [`Folder::space`] shows only some time later what was written and what was freed.
    fn tells_space_late(&self) -> bool {
        false
    }

    /// Waits until [`Folder::space`] shows the effect of all earlier calls.
    ///
    /// # Errors
    /// The operating system's reason.
    fn settle_space(&self) -> io::Result<()> {
        Ok(())
    }

    /// Takes a lock, for as long as the answer lives, by means of a file that holds the owner's
    /// process id; or returns the owner.
    ///
    /// # Errors
    /// The operating system's reason.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// Whether the folder is no longer at its path: removed, moved, or hidden by a mount.
    fn is_gone(&self) -> bool;
}

/// An open file of the cache.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// The operating system's reason; `UnexpectedEof` beyond the end.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` from `offset` on.
    ///
    /// # Errors
    /// The operating system's reason. Any part of `data` may be written then.
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Frees the bytes of a range; it reads as zeros afterwards.
    ///
    /// # Errors
    /// The operating system's reason; `Unsupported` where the file system cannot do that.
    fn punch_hole(&self, offset: u64, bytes: u64) -> io::Result<()>;

    /// Sets the length.
    ///
    /// # Errors
    /// The operating system's reason.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Waits until what was written is on disk.
    ///
    /// # Errors
    /// The operating system's reason.
    fn sync(&self) -> io::Result<()>;

    /// The state of the file.
    ///
    /// # Errors
    /// The operating system's reason.
    fn state(&self) -> io::Result<FileState>;
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It must exist.
    Existing,
    /// It must not exist.
    New,
    /// It is created if need be, and emptied.
    Empty,
}

/// What is known of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    /// Length in bytes.
    pub length: u64,
    /// Bytes on disk, the file system's own metadata included where it counts it.
    pub disk_bytes: u64,
    /// It has no name any longer.
    pub is_removed: bool,
}

/// Room on a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that may still be written.
    pub free: u64,
    /// Size of the disk.
    pub total: u64,
}

/// The answer to [`Folder::lock`].
#[derive(Debug)]
pub enum Lock {
    /// Held until this is dropped.
    Taken(Box<dyn fmt::Debug + Send + Sync>),
    /// Another owner has it: the process, if it has written its id yet.
    Held(Option<u32>),
}

/// The file systems of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

/// File systems that allocate blocks when they write them back, and have those of holes available after the
/// next transaction (`linux/magic.h`; `OpenZFS`, `zfs_vfsops`): Btrfs, bcachefs, ZFS.
const LATE: [u64; 3] = [0x9123_683e, 0xca45_1a4e, 0x2fc1_2fc1];

#[derive(Debug)]
struct LocalFolder {
    folder: OwnedFd,
    path: PathBuf,
    is_late: bool,
}

#[derive(Debug)]
struct LocalFile(File);

impl Disk for LocalDisk {
    fn enter(&self, path: &Path) -> io::Result<Arc<dyn Folder>> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if fs::symlink_metadata(path)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, Permissions::from_mode(0o700))?;
        }
        Ok(Arc::new(LocalFolder::open(path)?))
    }
}

impl LocalDisk {
    /// A folder as it is: it must exist, and its mode stays.
    pub(super) fn visit(path: &Path) -> io::Result<impl Folder> {
        LocalFolder::open(path)
    }
}

impl LocalFolder {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        let kind = u64::try_from(rustix::fs::fstatfs(&folder)?.f_type).unwrap_or(0);
        let is_late = LATE.contains(&(kind & u64::from(u32::MAX)));
        Ok(Self { folder, path: path.to_path_buf(), is_late })
    }

    fn open_file(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(File::from(rustix::fs::openat(&self.folder, path, flags, mode)?))
    }
}

impl Folder for LocalFolder {
    fn open(&self, path: &Path, how: Opening) -> io::Result<Box<dyn DiskFile>> {
        let flags = match how {
            Opening::Existing => OFlags::empty(),
            Opening::New => OFlags::CREATE | OFlags::EXCL,
            Opening::Empty => OFlags::CREATE | OFlags::TRUNC,
        };
        Ok(Box::new(LocalFile(self.open_file(path, flags)?)))
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.folder, path, Mode::RWXU)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, bool)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let folder = rustix::fs::openat(&self.folder, path, flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            let stat = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            names.push((name, FileType::from_raw_mode(stat.st_mode) == FileType::Directory));
        }
        Ok(names)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, path, AtFlags::empty())?)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, path, AtFlags::REMOVEDIR)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.folder, from, &self.folder, to)?)
    }

    fn disk_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statat(&self.folder, path, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512))
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { free: bytes(stat.f_bavail), total: bytes(stat.f_blocks) })
    }

    fn tells_space_late(&self) -> bool {
        self.is_late
    }

    fn settle_space(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.folder)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut file = self.open_file(path, OFlags::CREATE)?;
        // The folder, too: a second owner must not get in when the file is deleted.
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let taken = rustix::fs::flock(&self.folder, exclusive);
        match taken.and_then(|()| rustix::fs::flock(&file, exclusive)) {
            Ok(()) => {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Lock::Taken(Box::new(file)))
            }
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.take(32).read_to_string(&mut text)?;
                Ok(Lock::Held(text.trim().parse().ok()))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn is_gone(&self) -> bool {
        let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let held = rustix::fs::fstat(&self.folder).map(identity);
        held.ok() != rustix::fs::stat(&self.path).map(identity).ok()
    }
}

impl DiskFile for LocalFile {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn punch_hole(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        loop {
            match rustix::fs::fallocate(&self.0, flags, offset, bytes) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn state(&self) -> io::Result<FileState> {
        let meta = self.0.metadata()?;
        Ok(FileState {
            length: meta.len(),
            disk_bytes: meta.blocks().saturating_mul(512),
            is_removed: meta.nlink() == 0,
        })
    }
}
