//! Zip files as folders, in front of any other storage.
//!
//! A path that leads on below a regular file leads into it, if it is a zip file: there its members are files,
//! and the folders are those that their names imply. The path of the zip file itself keeps its kind, owner and
//! mode; its members have none of their own, and a new state whenever the file has one. Listings of the
//! storage behind are passed on as they are: a caller asks with [`Storage::holds_zarr`] which files to enter.
//!
//! No file of this machine is kept open. Each call opens or looks at the file, and the directory that was read of
//! that very state of it counts. Directories are remembered within a share of memory, and read again when forgotten.

mod directory;
mod inflate;
mod member;
mod opened;
mod state;
#[cfg(test)]
pub(super) mod zip;

use std::collections::HashSet;
use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use lru::LruCache;

use super::interface::{
    Budget, FileKind, Index, Links, Meta, OpenFile, OpenFolder, Space, Storage, Unfollowed,
    is_not_found,
};
use super::stamp::{Stamp, now_ns};
use crate::resources::shares::{DEFAULT_BUDGET_BYTES, Shares};
use crate::source::remembered::Remembered;
use crate::sync::lock;
use directory::{Directory, Found, SEARCHED_BYTES};
use member::{OpenMember, stamp_of};
use opened::{Fetched, Opened};
use state::{Archive, ArchiveFolder, meta_in, not_there};

/// Names that promise a zip file with a store (RFC-9 of OME-NGFF for `.ozx`), in any case.
const EXTENSIONS: [&str; 2] = ["ozx", "zip"];

/// Most archives that are found by their paths at once, and most files whose content is remembered. Others are
/// looked at again.
const MOST_KNOWN: usize = 16 << 10;

/// Attempts at a file that changes while its directory is read.
const ATTEMPTS: usize = 4;

/// The directories that were read lately, by the number of the storage and the path of the archive.
static DIRECTORIES: Remembered<(u64, PathBuf), (Stamp, Arc<Directory>)> =
    Remembered::new(Shares::of(DEFAULT_BUDGET_BYTES).zip_directories());

/// Numbers of storages.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Sets how much is remembered of archives.
pub(in crate::source) fn remember_at_most(shares: Shares) {
    DIRECTORIES.set_limit(shares.zip_directories());
    member::remember_at_most(shares);
}

/// Forgets what is remembered of archives.
pub(in crate::source) fn forget_remembered() {
    DIRECTORIES.clear();
    member::forget_remembered();
}

/// Whether a name promises a zip file with a store.
pub(in crate::source) fn is_archive_name(name: &Path) -> bool {
    let extension = name.extension().unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// See the module.
#[derive(Debug)]
pub(super) struct Archives {
    number: u64,
    /// Paths of archives into which calls led.
    known: Mutex<HashSet<PathBuf>>,
    /// What was found in regular files, in which state.
    found: Mutex<LruCache<PathBuf, (Stamp, Content)>>,
    /// Those of another machine.
    opened: Opened,
    inner: Arc<dyn Storage>,
}

/// What is in a regular file.
#[derive(Debug, Clone)]
enum Content {
    Zarr,
    Other,
    /// A zip file that cannot be read, for this reason.
    Damaged(String),
}

/// A path that leads into a regular file.
struct Inside {
    archive: PathBuf,
    path: Vec<u8>,
}

impl Inside {
    fn new(archive: &Path, path: &Path) -> Self {
        let inside = path.strip_prefix(archive).unwrap_or(Path::new(""));
        Self { archive: archive.to_path_buf(), path: inside.as_os_str().as_bytes().to_vec() }
    }
}

/// A folder stands at the path of an archive.
#[derive(Debug)]
struct IsFolder;

impl IsFolder {
    fn error() -> io::Error {
        io::Error::new(io::ErrorKind::IsADirectory, Self)
    }

    fn is_reason_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<Self>)
    }
}

impl fmt::Display for IsFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is a folder")
    }
}

impl Error for IsFolder {}

impl Archives {
    pub(super) fn over(inner: Arc<dyn Storage>) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let found = Mutex::new(LruCache::unbounded());
        Self { number, known: Mutex::default(), found, opened: Opened::new(), inner }
    }

    /// Lets the archive that a path leads into answer, or the storage behind. `is_itself`: the path of an
    /// archive counts as a path into it.
    fn answer<T>(
        &self,
        path: &Path,
        is_itself: bool,
        outside: impl FnOnce() -> io::Result<T>,
        within: impl Fn(&Inside) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(inside) = self.known_above(path, is_itself) {
            match within(&inside) {
                Err(error) if IsFolder::is_reason_of(&error) => {
                    lock(&self.known).remove(&inside.archive);
                }
                answer => return answer,
            }
        }
        match outside() {
            Err(error) if is_not_found(&error) => match self.file_above(path, is_itself, &error)? {
                Some(inside) => within(&inside),
                None => Err(error),
            },
            answer => answer,
        }
    }

    /// The known archive that a path leads into.
    fn known_above(&self, path: &Path, is_itself: bool) -> Option<Inside> {
        let known = lock(&self.known);
        if known.is_empty() {
            return None;
        }
        let mut above = path.ancestors().skip(usize::from(!is_itself));
        above.find(|above| known.contains(*above)).map(|archive| Inside::new(archive, path))
    }

    fn remember(&self, archive: &Path) {
        let mut known = lock(&self.known);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(archive.to_path_buf());
    }

    /// The archive that a path leads into, where the storage behind does not find the path. If that storage says only
    /// that the path is not there, it is asked for files that are called like archives.
    fn file_above(
        &self,
        path: &Path,
        is_itself: bool,
        error: &io::Error,
    ) -> io::Result<Option<Inside>> {
        let is_below_file = error.kind() == io::ErrorKind::NotADirectory;
        for above in path.ancestors().skip(usize::from(!is_itself)) {
            if above.as_os_str().is_empty() || !(is_below_file || is_archive_name(above)) {
                continue;
            }
            match self.inner.stat(above, Links::Follow) {
                Ok(meta) if meta.kind == FileKind::File => {
                    let is_archive = match self.look(above) {
                        Ok(archive) => archive.is_some(),
                        // Calls on what is in it give the reason.
                        Err(_) => is_archive_name(above),
                    };
                    if !is_archive {
                        return Ok(None);
                    }
                    self.remember(above);
                    return Ok(Some(Inside::new(above, path)));
                }
                Ok(_) => return Ok(None),
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Looks at an archive; `None` if the file is no zip file.
    fn look(&self, path: &Path) -> io::Result<Option<Archive<Meta>>> {
        let begun_ns = now_ns();
        let meta = self.inner.stat(path, Links::Follow)?;
        if meta.kind == FileKind::Folder {
            return Err(IsFolder::error());
        }
        if let Some(directory) = self.remembered(path, &meta.stamp) {
            let is_settled = meta.stamp.settles_after_ns(begun_ns) <= 0;
            return Ok(Some(Archive { file: meta, stamp: meta.stamp, directory, is_settled }));
        }
        let opened = self.open_archive(path)?;
        Ok(opened.map(|Archive { stamp, directory, is_settled, .. }| {
            let file = Meta { stamp, ..meta };
            Archive { file, stamp, directory, is_settled }
        }))
    }

    /// Opens an archive; `None` if the file is no zip file.
    fn open_archive(&self, path: &Path) -> io::Result<Option<Archive<Arc<dyn OpenFile>>>> {
        if let Some(archive) = self.still_open(path) {
            return Ok(Some(archive));
        }
        for _ in 0..ATTEMPTS {
            let begun_ns = now_ns();
            let end = Index::AtEnd(SEARCHED_BYTES);
            let (file, stamp) =
                self.inner.open_parts(path, end).map_err(|error| match error.kind() {
                    io::ErrorKind::IsADirectory => IsFolder::error(),
                    _ => error,
                })?;
            let file: Arc<dyn OpenFile> = file.into();
            let is_settled = stamp.settles_after_ns(begun_ns) <= 0;
            let directory = if let Some(directory) = self.remembered(path, &stamp) {
                directory
            } else {
                let read = self.read_directory(path, &file, stamp.size());
                if file.stamp()? != stamp {
                    continue;
                }
                let Some(directory) = read? else { return Ok(None) };
                if is_settled {
                    let bytes = directory.memory_bytes() + path.as_os_str().len() as u64;
                    let key = (self.number, path.to_path_buf());
                    DIRECTORIES.put(key, (stamp, directory.clone()), bytes);
                }
                directory
            };
            if is_settled && self.inner.is_remote() {
                self.opened.put(path, stamp, file.clone());
            }
            return Ok(Some(Archive { file, stamp, directory, is_settled }));
        }
        Err(io::Error::other("the zip file changes all the time"))
    }

    /// An archive of another machine that is open, and was in this state a moment ago. Reads of it fail if it has
    /// changed since.
    fn still_open(&self, path: &Path) -> Option<Archive<Arc<dyn OpenFile>>> {
        if !self.inner.is_remote() {
            return None;
        }
        let stamp = self.inner.stat(path, Links::Follow).ok()?.stamp;
        let directory = self.remembered(path, &stamp)?;
        let file = self.opened.get(path, &stamp)?.file.clone();
        Some(Archive { file, stamp, directory, is_settled: true })
    }

    fn read_directory(
        &self,
        path: &Path,
        file: &Arc<dyn OpenFile>,
        size: u64,
    ) -> io::Result<Option<Arc<Directory>>> {
        let is_promised = is_archive_name(path);
        let directory = if self.inner.is_remote() {
            // They came with the opening.
            let end = Fetched::new(file.clone(), size.saturating_sub(SEARCHED_BYTES)..size)?;
            Directory::read(&end, size, is_promised)?
        } else {
            Directory::read(&**file, size, is_promised)?
        };
        Ok(directory.map(Arc::new))
    }

    fn remembered(&self, path: &Path, stamp: &Stamp) -> Option<Arc<Directory>> {
        let (known, directory) = DIRECTORIES.get(&(self.number, path.to_path_buf()))?;
        (known == *stamp).then_some(directory)
    }

    /// Looks at the archive that a path leads into.
    fn looked_at(&self, inside: &Inside) -> io::Result<Archive<Meta>> {
        self.look(&inside.archive)?.ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    /// Opens a member; `is_whole`: all of it will be read.
    fn open_member(
        &self,
        inside: &Inside,
        is_whole: bool,
    ) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        let Inside { archive: path, path: name } = inside;
        let archive = self.open_archive(path)?.ok_or(io::ErrorKind::NotADirectory)?;
        let Archive { file, stamp, directory, is_settled } = archive;
        match directory.find(name) {
            Some(Found::File(member)) => {
                let own = stamp_of(&stamp, &member);
                let key = (self.number, path.clone(), stamp);
                let file: Arc<dyn OpenFile> = match self.opened.get(path, &stamp) {
                    Some(remote) => Arc::new(remote.for_member(&member, is_whole)?),
                    None => file,
                };
                Ok((Box::new(OpenMember::open(file, member, key, is_settled)?), own))
            }
            Some(Found::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_there(&directory, name)),
        }
    }

    fn stat_member(&self, inside: &Inside) -> io::Result<Meta> {
        let archive = self.looked_at(inside)?;
        meta_in(&archive, &inside.path).ok_or_else(|| not_there(&archive.directory, &inside.path))
    }

    fn open_folder_within(&self, inside: &Inside) -> io::Result<Box<dyn OpenFolder>> {
        let archive = self.looked_at(inside)?;
        match archive.directory.find(&inside.path) {
            Some(Found::Folder) => Ok(Box::new(ArchiveFolder::new(archive, inside.path.clone()))),
            Some(Found::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(not_there(&archive.directory, &inside.path)),
        }
    }

    /// What is in a regular file in its state now, looking into it only if that is not known. What is not
    /// settled has to be looked into again.
    fn content(&self, path: &Path) -> io::Result<Content> {
        let stamp = self.inner.stat(path, Links::Follow)?.stamp;
        if let Some((known, content)) = lock(&self.found).get(path)
            && *known == stamp
        {
            return Ok(content.clone());
        }
        let begun_ns = now_ns();
        let content = match self.look(path) {
            Ok(Some(archive)) if archive.directory.has_zarr() => Content::Zarr,
            Ok(_) => Content::Other,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Content::Damaged(error.to_string())
            }
            Err(error) => return Err(error),
        };
        // If the file has changed since its state was looked at, that state is not found again.
        if stamp.settles_after_ns(begun_ns) <= 0 {
            let mut found = lock(&self.found);
            found.put(path.to_path_buf(), (stamp, content.clone()));
            if found.len() > MOST_KNOWN {
                found.pop_lru();
            }
        }
        Ok(content)
    }
}

impl Storage for Archives {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        self.answer(path, false, || self.inner.open(path), |inside| self.open_member(inside, true))
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn open_parts(&self, path: &Path, index: Index) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        let outside = || self.inner.open_parts(path, index);
        self.answer(path, false, outside, |inside| self.open_member(inside, false))
    }

    fn open_soon(&self, paths: &[PathBuf]) {
        // They are of one store. What is in an archive is at hand.
        if paths.first().is_some_and(|path| self.known_above(path, false).is_none()) {
            self.inner.open_soon(paths);
        }
    }

    fn stat_since(&self, path: &Path, since: Instant) -> io::Result<Meta> {
        let outside = || self.inner.stat_since(path, since);
        self.answer(path, false, outside, |inside| self.stat_member(inside))
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        let outside = || self.inner.stat(path, links);
        self.answer(path, false, outside, |inside| self.stat_member(inside))
    }

    fn access(&self, path: &Path) -> io::Result<Meta> {
        let outside = || self.inner.access(path);
        self.answer(path, false, outside, |inside| self.stat_member(inside))
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        let outside = || self.inner.open_folder(path);
        self.answer(path, true, outside, |inside| self.open_folder_within(inside))
    }

    fn survey(
        &self,
        folder: &Path,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&Path, &Meta),
    ) -> Option<Result<(), Unfollowed>> {
        let stat = || {
            self.inner.stat(folder, Links::Follow).and_then(|meta| match meta.kind {
                FileKind::File => Err(io::ErrorKind::NotADirectory.into()),
                _ => Ok(None),
            })
        };
        let within = |inside: &Inside| {
            self.looked_at(inside).map(|archive| Some((archive, inside.path.clone())))
        };
        let (archive, folder) = match self.answer(folder, true, stat, within) {
            Ok(Some(found)) => found,
            // An object store has no folder where nothing lies.
            Ok(None) => return self.inner.survey(folder, budget, visit),
            Err(error) if is_not_found(&error) => return self.inner.survey(folder, budget, visit),
            Err(_) => return Some(Err(Unfollowed::Unreadable)),
        };
        for (path, member) in archive.directory.below(&folder) {
            if let Err(reason) = budget.take() {
                return Some(Err(reason));
            }
            let meta = Meta::plain(FileKind::File, stamp_of(&archive.stamp, &member));
            visit(Path::new(OsStr::from_bytes(path)), &meta);
        }
        Some(Ok(()))
    }

    /// Opening a member reads its header; no byte of it is decoded for this. Calls on another machine end in time.
    fn answers(&self, path: &Path) -> bool {
        match self.known_above(path, false) {
            Some(inside) => self.inner.is_remote() || self.open_member(&inside, false).is_ok(),
            None => self.inner.answers(path) || self.open(path).is_ok(),
        }
    }

    fn holds_zarr(&self, path: &Path) -> io::Result<bool> {
        // A request for each object of a bucket would take minutes.
        if self.inner.is_remote() && !is_archive_name(path) {
            return Ok(false);
        }
        match self.content(path)? {
            Content::Zarr => {
                self.remember(path);
                Ok(true)
            }
            Content::Other => Ok(false),
            Content::Damaged(reason) => Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
        }
    }

    fn left_out(&self, path: &Path) -> Option<String> {
        self.look(path).ok()??.directory.left_out()
    }

    fn space(&self) -> io::Result<Space> {
        self.inner.space()
    }
}

#[cfg(test)]
mod tests;
