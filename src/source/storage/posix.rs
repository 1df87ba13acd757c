//! A folder of this machine as a source.
//!
//! Every open goes through `openat2(2)` with `RESOLVE_BENEATH`, so that no symbolic link, `..` or
//! rename race leads out of the folder the user named; the kernel, not a string comparison, is the
//! judge. Files are opened with `O_NONBLOCK` and must be regular, so a FIFO or a device is an error
//! instead of a hang. Nothing here opens for writing.

mod acl;
mod top;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::{dead_mount, descriptors};

use super::interface::{
    Access, FileKind, FolderName, Links, Meta, OpenFile, OpenFolder, Space, Storage,
};
use super::stamp::Stamp;
use top::Top;

/// `openat2` asks for another try when a rename happened while it resolved the path.
const OPEN_ATTEMPTS: usize = 16;

/// Bytes of names that are asked for at a time, as much as the C library asks for.
const NAMES_BYTES: usize = 32 << 10;

/// Age from which the time of a change differs from that of later ones: some ticks of the kernel's clock,
/// or, where times are whole seconds, the two that FAT has.
const SETTLED: Duration = Duration::from_millis(50);
const SETTLED_COARSE: Duration = Duration::from_millis(2_100);

/// See the module.
#[derive(Debug)]
pub(super) struct Posix {
    top: Top,
    /// For messages only.
    path: PathBuf,
    follow_links: bool,
}

impl Posix {
    /// Opens the folder. With `follow_links`, links may lead out of it; else nothing does.
    ///
    /// # Errors
    /// The operating system's reason, when it is not a folder.
    pub(super) fn open(path: &Path, follow_links: bool) -> io::Result<Self> {
        Ok(Self { top: Top::open(path)?, path: path.to_path_buf(), follow_links })
    }

    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let dir = self.top.dir()?;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // `openat2` refuses flags that have no meaning for `O_PATH`.
        let flags = if flags.contains(OFlags::PATH) {
            flags | OFlags::CLOEXEC
        } else {
            flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK
        };
        let mut resolve = ResolveFlags::NO_MAGICLINKS;
        if !self.follow_links {
            resolve |= ResolveFlags::BENEATH;
        }
        descriptors::with_retry(|| {
            let mut attempt = 0;
            loop {
                match rustix::fs::openat2(&dir, path, flags, Mode::empty(), resolve) {
                    Err(Errno::AGAIN) if attempt < OPEN_ATTEMPTS => attempt += 1,
                    other => return Ok(other?),
                }
            }
        })
    }

    /// Opens something and looks at what it is.
    fn look_beneath(&self, path: &Path, flags: OFlags) -> io::Result<(OwnedFd, Meta)> {
        let opened = self.open_beneath(path, flags).and_then(|fd| {
            let meta = meta_of(&rustix::fs::fstat(&fd)?);
            Ok((fd, meta))
        });
        opened.map_err(|error| self.explained(error, path))
    }

    fn explained(&self, error: io::Error, path: &Path) -> io::Error {
        dead_mount::explained(error, &self.path.join(path))
    }
}

impl Storage for Posix {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        let (fd, meta) = self.look_beneath(path, OFlags::RDONLY)?;
        match meta.kind {
            FileKind::File => Ok((Box::new(File::from(fd)), meta.stamp)),
            FileKind::Folder => Err(io::ErrorKind::IsADirectory.into()),
            FileKind::Link | FileKind::Other => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
            }
        }
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        let flags = match links {
            Links::Follow => OFlags::PATH,
            Links::Stay => OFlags::PATH | OFlags::NOFOLLOW,
        };
        Ok(self.look_beneath(path, flags)?.1)
    }

    fn access(&self, path: &Path) -> io::Result<Meta> {
        let (fd, meta) = self.look_beneath(path, OFlags::PATH)?;
        Ok(Meta { access: meta.access.map(|access| acl::narrowed(&fd, access)), ..meta })
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let fd = self.open_beneath(path, flags).map_err(|error| self.explained(error, path))?;
        let path = self.path.join(path);
        Ok(Box::new(PosixFolder { fd, path, buffer: Vec::new() }))
    }

    fn space(&self) -> io::Result<Space> {
        let found = rustix::fs::fstatvfs(self.top.dir()?)?;
        // Blocks are counted in fragments.
        Ok(Space {
            block_bytes: found.f_frsize,
            blocks: found.f_blocks,
            free: found.f_bfree,
            available: found.f_bavail,
            files: found.f_files,
            files_free: found.f_ffree,
        })
    }
}

impl OpenFile for File {
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(meta_of(&rustix::fs::fstat(self)?).stamp)
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, offset)
    }
}

/// An open folder, with room for the names that the kernel gives at a time.
#[derive(Debug)]
struct PosixFolder {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
    buffer: Vec<u8>,
}

impl OpenFolder for PosixFolder {
    fn meta(&self) -> io::Result<Meta> {
        let stat = rustix::fs::fstat(&self.fd).map_err(io::Error::from);
        Ok(meta_of(&stat.map_err(|error| dead_mount::explained(error, &self.path))?))
    }

    /// Not by `rustix::fs::Dir`, nor by the C library: both take `ENOENT`, the answer of a folder that
    /// was removed, for the end of the names.
    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        self.buffer.reserve(NAMES_BYTES);
        let mut found = Vec::new();
        let mut entries = RawDir::new(&self.fd, self.buffer.spare_capacity_mut());
        while found.is_empty() || !entries.is_buffer_empty() {
            let Some(entry) = entries.next() else { break };
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                found.push(FolderName { name, kind: kind_of(entry.file_type()) });
            }
        }
        Ok(found)
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let explained = |error: Errno| dead_mount::explained(error.into(), &self.path.join(name));
        Ok(meta_of(&stat.map_err(explained)?))
    }
}

fn meta_of(stat: &Stat) -> Meta {
    let ctime_ns = stat
        .st_ctime
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::try_from(stat.st_ctime_nsec).unwrap_or(0));
    let is_coarse = ctime_ns % 1_000_000_000 == 0;
    let stamp = Stamp::of_clock(
        stat.st_ino.into(),
        u64::try_from(stat.st_size).unwrap_or(0),
        (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        ctime_ns,
        if is_coarse { SETTLED_COARSE } else { SETTLED },
    );
    Meta {
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)).unwrap_or(FileKind::Other),
        stamp,
        node: Some(u128::from(stat.st_dev) << 64 | u128::from(stat.st_ino)),
        access: Some(Access { mode: stat.st_mode & 0o777, uid: stat.st_uid, gid: stat.st_gid }),
    }
}

fn kind_of(file_type: FileType) -> Option<FileKind> {
    match file_type {
        FileType::RegularFile => Some(FileKind::File),
        FileType::Directory => Some(FileKind::Folder),
        FileType::Symlink => Some(FileKind::Link),
        FileType::Unknown => None,
        _ => Some(FileKind::Other),
    }
}
