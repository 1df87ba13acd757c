//! The source folder: the only place where files of a store are opened.
//!
//! Every open goes through `openat2(2)` with `RESOLVE_BENEATH`, so that no symbolic link, `..` or
//! rename race leads out of the folder the user named; the kernel, not a string comparison, is the
//! judge. Files are opened with `O_NONBLOCK` and must be regular, so a FIFO or a device is an error
//! instead of a hang. Nothing here opens for writing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use super::SourceError;
use super::snapshot::{settles_after_ns, since_epoch_ns};

/// Largest metadata file read: consolidated metadata of a plate with 10^5 arrays stays below it.
const METADATA_LIMIT_BYTES: u64 = 64 << 20;

/// `openat2` asks for another try when a rename happened while it resolved the path.
const OPEN_ATTEMPTS: usize = 16;

/// Names of a folder that are read at once where no list of them is wanted.
const NAMES_BYTES: usize = 2048;

/// The folder that holds the stores, opened once.
#[derive(Debug)]
pub struct SourceRoot {
    folder: Arc<Beneath>,
    chunk_files: Arc<dyn ChunkFiles>,
    path: PathBuf,
}

/// Opens what lies below a folder.
#[derive(Debug)]
struct Beneath {
    dir: OwnedFd,
    /// Links may lead out of the folder.
    follow_links: bool,
}

/// Where the files of chunks are opened: a trait, so that tests can put a source there that is slow or
/// fails.
pub trait ChunkFiles: fmt::Debug + Send + Sync {
    /// Opens a regular file for reading, with its state.
    ///
    /// # Errors
    /// As for [`SourceRoot::open_file`].
    fn open(&self, path: &Path) -> io::Result<(Box<dyn ChunkFile>, FileStamp)>;
}

/// An open file of a chunk.
pub trait ChunkFile: fmt::Debug + Send + Sync {
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

impl ChunkFile for File {
    fn stamp(&self) -> io::Result<FileStamp> {
        Ok(FileStamp::of(&rustix::fs::fstat(self)?))
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, out, offset)
    }
}

impl ChunkFiles for Beneath {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn ChunkFile>, FileStamp)> {
        let (file, stamp) = self.open_file(path)?;
        Ok((Box::new(file), stamp))
    }
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
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_s: stat.st_mtime,
            mtime_ns: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ctime_ns: stat
                .st_ctime
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }

    /// Time of last modification.
    #[must_use]
    pub fn modified(&self) -> SystemTime {
        let whole = Duration::from_secs(self.mtime_s.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        let base =
            if self.mtime_s < 0 { epoch.checked_sub(whole) } else { epoch.checked_add(whole) };
        base.unwrap_or(epoch) + Duration::from_nanos(u64::from(self.mtime_ns))
    }
}

/// The files and folders an answer was computed from, with the state they were in (`None`: absent).
/// While it [is current](Fingerprint::is_current), the answer need not be computed again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    entries: BTreeMap<PathBuf, Option<FileStamp>>,
    /// Something could not be read, and may be readable the next time, whatever its state.
    is_doubtful: bool,
}

impl Fingerprint {
    /// Adds a path in the state it is in now.
    pub(crate) fn record(&mut self, root: &SourceRoot, path: &Path) -> Option<FileStamp> {
        let stamp = root.stamp(path);
        self.record_stamp(path, stamp);
        stamp
    }

    /// Adds a path in the state given.
    pub(crate) fn record_stamp(&mut self, path: &Path, stamp: Option<FileStamp>) {
        self.entries.entry(path.to_path_buf()).or_insert(stamp);
    }

    /// Takes over the recorded state of one path.
    pub(crate) fn copy_from(&mut self, other: &Self, path: &Path) {
        if let Some(stamp) = other.entries.get(path) {
            self.record_stamp(path, *stamp);
        }
    }

    /// Takes over all that another one has.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (path, stamp) in &other.entries {
            self.record_stamp(path, *stamp);
        }
        self.is_doubtful |= other.is_doubtful;
    }

    /// Notes that something could not be read for a reason that its state does not tell.
    pub(crate) fn doubt(&mut self) {
        self.is_doubtful = true;
    }

    /// Whether the states tell at any later time if the answer, whose computation was begun at a time,
    /// is still true: all that was looked at could be read, and had been at rest for so long that a
    /// later change bears another time.
    #[must_use]
    pub fn is_lasting(&self, begun: SystemTime) -> bool {
        let begun_ns = since_epoch_ns(begun);
        let is_settled = |stamp: &FileStamp| settles_after_ns(stamp, begun_ns) <= 0;
        !self.is_doubtful
            && !self.entries.is_empty()
            && self.entries.values().flatten().all(is_settled)
    }

    /// Whether every file is still in the recorded state.
    #[must_use]
    pub fn is_current(&self, root: &SourceRoot) -> bool {
        self.entries.iter().all(|(path, stamp)| root.stamp(path) == *stamp)
    }

    /// The newest modification time of the files.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        self.entries.values().flatten().map(FileStamp::modified).max()
    }

    /// Paths and states, in the order of the paths.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, Option<FileStamp>)> {
        self.entries.iter().map(|(path, stamp)| (path.as_path(), *stamp))
    }
}

impl FromIterator<(PathBuf, Option<FileStamp>)> for Fingerprint {
    fn from_iter<I: IntoIterator<Item = (PathBuf, Option<FileStamp>)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect(), is_doubtful: false }
    }
}

/// `folder/inside`, without the slash that [`Path::join`] puts behind `folder` where `inside` is empty.
#[must_use]
pub fn join(folder: &Path, inside: &Path) -> PathBuf {
    if inside.as_os_str().is_empty() { folder.to_path_buf() } else { folder.join(inside) }
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Name, any bytes but `/` and NUL.
    pub name: OsString,
    /// What the name is.
    pub kind: EntryKind,
}

/// What a folder entry is, after following a symbolic link within the source folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A folder.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link to a folder that is not one of its own ancestors.
    LinkedDirectory,
    /// A symbolic link that is broken, circular, or leads out of the source folder.
    BadLink,
    /// Socket, device, FIFO.
    Other,
}

impl Beneath {
    fn open(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
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
        let mut attempt = 0;
        loop {
            match rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if attempt < OPEN_ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    fn open_file(&self, path: &Path) -> io::Result<(File, FileStamp)> {
        let fd = self.open(path, OFlags::RDONLY)?;
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok((File::from(fd), FileStamp::of(&stat))),
            FileType::Directory => Err(io::ErrorKind::IsADirectory.into()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }
}

impl DirEntry {
    /// Whether it is a folder, or stands for one.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        matches!(self.kind, EntryKind::Directory | EntryKind::LinkedDirectory)
    }
}

impl SourceRoot {
    /// Opens the folder. With `follow_links`, links may lead out of it; else nothing does.
    ///
    /// # Errors
    /// The operating system's reason, when it is not a folder that can be read.
    pub fn open(path: &Path, follow_links: bool) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        let folder = Arc::new(Beneath { dir, follow_links });
        Ok(Self { chunk_files: folder.clone(), folder, path: path.to_path_buf() })
    }

    /// Puts something between the arrays and the files of their chunks.
    #[must_use]
    pub fn with_chunk_files(
        mut self,
        wrap: impl FnOnce(Arc<dyn ChunkFiles>) -> Arc<dyn ChunkFiles>,
    ) -> Self {
        self.chunk_files = wrap(self.chunk_files);
        self
    }

    pub(super) fn chunk_files(&self) -> &dyn ChunkFiles {
        &*self.chunk_files
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether links may lead out of it.
    #[must_use]
    pub fn follows_links(&self) -> bool {
        self.folder.follow_links
    }

    /// The descriptor of the folder, for `statfs`.
    #[must_use]
    pub fn as_fd(&self) -> impl AsFd + '_ {
        &self.folder.dir
    }

    pub(super) fn open_beneath(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.folder.open(path, flags)
    }

    /// Opens a regular file for reading, with its state.
    ///
    /// # Errors
    /// `NotFound` when there is no such name; any other error when there is one and it is not a
    /// regular file below the source folder that may be read.
    pub fn open_file(&self, path: &Path) -> io::Result<(File, FileStamp)> {
        self.folder.open_file(path)
    }

    /// Whether a path that was not found leads through a link below `folder`: its content then exists
    /// elsewhere (an annex, slower storage) and is not absent.
    #[must_use]
    pub fn is_dangling(&self, folder: &Path, path: &Path) -> bool {
        let below = path.ancestors().take_while(|ancestor| *ancestor != folder);
        below.into_iter().any(|ancestor| {
            let found = self.open_beneath(ancestor, OFlags::PATH | OFlags::NOFOLLOW);
            found
                .and_then(rustix::fs::fstat)
                .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
        })
    }

    /// The state of a file or folder, `None` when it cannot be reached.
    #[must_use]
    pub fn stamp(&self, path: &Path) -> Option<FileStamp> {
        let fd = self.open_beneath(path, OFlags::PATH).ok()?;
        rustix::fs::fstat(&fd).ok().map(|stat| FileStamp::of(&stat))
    }

    /// Visits the names of what is in a folder but regular files. Cheaper than [`SourceRoot::list`], as it
    /// does not look where links lead.
    pub(super) fn each_name(&self, path: &Path, mut visit: impl FnMut(&OsStr)) -> io::Result<()> {
        let fd = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
        let mut entries = RawDir::new(&fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if entry.file_type() != FileType::RegularFile && !matches!(name, b"." | b"..") {
                visit(OsStr::from_bytes(name));
            }
        }
        Ok(())
    }

    /// Whether the path is a folder below the source folder.
    #[must_use]
    pub fn is_dir(&self, path: &Path) -> bool {
        self.open_beneath(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// Permission bits, owner and group of a file or folder.
    #[must_use]
    pub fn owner(&self, path: &Path) -> Option<(u32, u32, u32)> {
        let fd = self.open_beneath(path, OFlags::PATH).ok()?;
        let stat = rustix::fs::fstat(&fd).ok()?;
        Some((stat.st_mode & 0o777, stat.st_uid, stat.st_gid))
    }

    /// Reads a metadata file whole; `None` when there is none.
    ///
    /// # Errors
    /// [`SourceError::Io`] and [`SourceError::MetadataTooLarge`].
    pub fn read_metadata(&self, path: &Path) -> Result<Option<(Vec<u8>, FileStamp)>, SourceError> {
        let (file, stamp) = match self.open_file(path) {
            Ok(opened) => opened,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) && !self.is_dangling(path.parent().unwrap_or(path), path) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(SourceError::io(path, error)),
        };
        if stamp.size > METADATA_LIMIT_BYTES {
            return Err(SourceError::MetadataTooLarge {
                path: path.to_path_buf(),
                bytes: stamp.size,
                limit: METADATA_LIMIT_BYTES,
            });
        }
        let mut bytes = vec![0; usize::try_from(stamp.size).unwrap_or(usize::MAX)];
        FileExt::read_exact_at(&file, &mut bytes, 0)
            .map_err(|error| SourceError::io(path, error))?;
        Ok(Some((bytes, stamp)))
    }

    /// The entries of a folder that are wanted, sorted by name. The others are not held in memory:
    /// there may be a million of them.
    ///
    /// # Errors
    /// [`SourceError::Io`] when the folder cannot be read.
    pub fn list(
        &self,
        path: &Path,
        is_wanted: impl Fn(&DirEntry) -> bool,
    ) -> Result<Vec<DirEntry>, SourceError> {
        let mut entries = Vec::new();
        self.each_entry(path, &mut |entry| {
            if is_wanted(&entry) {
                entries.push(entry);
            }
            ControlFlow::Continue(())
        })?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Visits the entries of a folder, in no particular order, until it is told to stop.
    ///
    /// # Errors
    /// [`SourceError::Io`] when the folder cannot be read.
    pub fn each_entry(
        &self,
        path: &Path,
        visit: &mut dyn FnMut(DirEntry) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let fail = |errno: Errno| SourceError::io(path, errno.into());
        let fd = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
        for entry in Dir::read_from(&fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            let mut file_type = entry.file_type();
            if file_type == FileType::Unknown {
                file_type = rustix::fs::statat(&fd, &name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode));
            }
            let kind = match file_type {
                FileType::Directory => EntryKind::Directory,
                FileType::RegularFile => EntryKind::File,
                FileType::Symlink => self.link_kind(path, &path.join(&name)),
                _ => EntryKind::Other,
            };
            if visit(DirEntry { name, kind }).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Follows a link; a link to the folder it stands in, or to one above, is a circle.
    fn link_kind(&self, folder: &Path, link: &Path) -> EntryKind {
        let identity = |path: &Path| {
            let fd = self.open_beneath(path, OFlags::PATH).ok()?;
            let stat = rustix::fs::fstat(&fd).ok()?;
            Some((stat.st_dev, stat.st_ino, FileType::from_raw_mode(stat.st_mode)))
        };
        match identity(link) {
            Some((_, _, FileType::RegularFile)) => EntryKind::File,
            Some(target @ (_, _, FileType::Directory)) => {
                let circle = folder.ancestors().any(|above| identity(above) == Some(target));
                if circle { EntryKind::BadLink } else { EntryKind::LinkedDirectory }
            }
            Some(_) => EntryKind::Other,
            None => EntryKind::BadLink,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(ctime_ns: i64) -> Fingerprint {
        let stamp = FileStamp { ino: 1, size: 2, mtime_s: 3, mtime_ns: 4, ctime_ns };
        let absent = (PathBuf::from("b"), None);
        [(PathBuf::from("a"), Some(stamp)), absent].into_iter().collect()
    }

    #[test]
    fn a_fingerprint_lasts_if_all_had_been_at_rest() {
        let at = |ns: u64| SystemTime::UNIX_EPOCH + Duration::from_nanos(ns);
        let (second, milli) = (1_000_000_000, 1_000_000);
        let fine = fingerprint(second + 1);
        assert!(fine.is_lasting(at(1_000_000_001 + 50 * milli)));
        assert!(!fine.is_lasting(at(1_000_000_001 + 49 * milli)));
        assert!(!fine.is_lasting(at(0)), "a clock that is ahead");
        // Whole seconds: a coarse clock.
        let coarse = fingerprint(second);
        assert!(!coarse.is_lasting(at(1_000_000_000 + 2_000 * milli)));
        assert!(coarse.is_lasting(at(1_000_000_000 + 2_100 * milli)));
        let mut doubtful = fine.clone();
        doubtful.doubt();
        assert!(!doubtful.is_lasting(at(1 << 60)));
        let mut all = fine;
        all.absorb(&doubtful);
        assert!(!all.is_lasting(at(1 << 60)));
        assert!(!Fingerprint::default().is_lasting(at(1 << 60)), "nothing was looked at");
    }
}
