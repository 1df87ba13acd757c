//! The source: states of files, metadata files, listings.
//!
//! Absence and a failed read are different everywhere: the answer "there is none" is asked for twice,
//! and any other fault is an error, never absence.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::SourceError;
use super::storage::{
    FileKind, FolderName, Links, Location, Meta, OpenFile, OpenFolder, Seen, Stamp, Storage,
    is_bad_link, is_not_found,
};

pub use super::place::join;

/// Largest metadata file read: consolidated metadata of a plate with 10^5 arrays stays below it.
const METADATA_LIMIT_BYTES: u64 = 64 << 20;

/// Attempts at a file or folder that changes meanwhile.
const LOOKS: usize = 4;

/// The source that holds the stores.
#[derive(Debug)]
pub struct SourceRoot {
    storage: Arc<dyn Storage>,
    location: Location,
    follows_links: bool,
    metadata_limit_bytes: u64,
    has_refused: AtomicBool,
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
    /// A folder, or something that `stat` fails on: listing it gives the reason.
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

impl DirEntry {
    /// Whether it is a folder, or stands for one.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        matches!(self.kind, EntryKind::Directory | EntryKind::LinkedDirectory)
    }
}

/// The result of a second look at a path that was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    /// There is no such name.
    Absent,
    /// It leads through a link: the content exists elsewhere (an annex, slower storage).
    Dangling,
    /// It has come meanwhile.
    Present,
}

impl SourceRoot {
    /// Opens a source by its location as a user writes it. With `follow_links`, links may lead out of it;
    /// else nothing does.
    ///
    /// # Errors
    /// The reason of the storage when nothing can be read there.
    pub fn open(location: impl AsRef<OsStr>, follow_links: bool) -> io::Result<Self> {
        Self::at(&Location::parse(location.as_ref()), follow_links)
    }

    /// The same, by a location.
    ///
    /// # Errors
    /// The reason of the storage when nothing can be read there.
    pub fn at(location: &Location, follow_links: bool) -> io::Result<Self> {
        let storage = location.open(follow_links)?;
        Ok(Self { follows_links: follow_links, ..Self::of(location.clone(), storage) })
    }

    #[cfg(test)]
    pub(super) fn in_memory(files: impl Into<Arc<super::storage::Memory>>) -> Arc<Self> {
        Arc::new(Self::of(Location::Folder("memory".into()), files.into()))
    }

    /// A source in a storage.
    fn of(location: Location, storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            location,
            follows_links: false,
            metadata_limit_bytes: METADATA_LIMIT_BYTES,
            has_refused: AtomicBool::new(false),
        }
    }

    /// The same source, with another limit for the size of a metadata file.
    #[must_use]
    pub fn with_metadata_limit(&self, bytes: u64) -> Self {
        Self {
            storage: self.storage.clone(),
            location: self.location.clone(),
            follows_links: self.follows_links,
            metadata_limit_bytes: bytes,
            has_refused: AtomicBool::new(false),
        }
    }

    /// Whether a metadata file was larger than the limit.
    #[must_use]
    pub fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed)
    }

    /// Whether there is nothing in the source. Opens it as every later call will.
    ///
    /// # Errors
    /// The reason of the storage when it cannot be read; for a folder of this machine, `ENOSYS` or `EPERM`
    /// where a filter of system calls refuses a call that is needed.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.storage.open_folder(Path::new(""))?.next_names()?.is_empty())
    }

    /// Puts another storage in front of the source's.
    #[must_use]
    pub fn with_storage(mut self, wrap: impl FnOnce(Arc<dyn Storage>) -> Arc<dyn Storage>) -> Self {
        self.storage = wrap(self.storage);
        self
    }

    /// The calls on the source.
    #[must_use]
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// Where the source lies.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Whether links may lead out of it.
    #[must_use]
    pub fn follows_links(&self) -> bool {
        self.follows_links
    }

    /// A second look at a path that was not found below `folder`.
    ///
    /// # Errors
    /// The reason of the storage, unless it is that there is no such name.
    pub(super) fn absence(&self, folder: &Path, path: &Path) -> io::Result<Absence> {
        if self.storage.is_remote() {
            return Ok(Absence::Absent);
        }
        let mut absence = Absence::Absent;
        for at in path.ancestors().take_while(|ancestor| *ancestor != folder) {
            match self.storage.stat(at, Links::Stay) {
                Ok(Meta { kind: FileKind::Link, .. }) => return Ok(Absence::Dangling),
                Ok(_) if at == path => absence = Absence::Present,
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(absence)
    }

    /// The state of a file or folder, `None` when there is none of the name.
    ///
    /// # Errors
    /// The reason of the storage when it cannot be looked at.
    pub fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        match self.storage.stat(path, Links::Follow) {
            Ok(meta) => Ok(Some(meta.stamp)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same, with a fault as a state of its own.
    #[must_use]
    pub fn look(&self, path: &Path) -> Seen {
        self.look_at(path).0
    }

    /// The same, with what stands there.
    pub(super) fn look_at(&self, path: &Path) -> (Seen, Option<FileKind>) {
        match self.storage.stat(path, Links::Follow) {
            Ok(meta) => (Seen::Present(meta.stamp), Some(meta.kind)),
            Err(error) if is_not_found(&error) => (Seen::Absent, None),
            Err(_) => (Seen::Unreadable, None),
        }
    }

    /// Reads a metadata file whole; `None` when there is none.
    ///
    /// # Errors
    /// [`SourceError::Io`] and [`SourceError::MetadataTooLarge`].
    pub fn read_metadata(&self, path: &Path) -> Result<Option<(Vec<u8>, Stamp)>, SourceError> {
        let fail = |error: io::Error| SourceError::io(path, error);
        for _ in 0..LOOKS {
            let missing = match self.storage.open(path) {
                Ok((file, stamp)) => return self.read_whole(path, &*file, stamp).map(Some),
                Err(error) if is_not_found(&error) => error,
                Err(error) => return Err(fail(error)),
            };
            match self.absence(path.parent().unwrap_or(path), path).map_err(fail)? {
                Absence::Absent => return Ok(None),
                Absence::Dangling => return Err(fail(missing)),
                Absence::Present => {}
            }
        }
        Err(fail(io::Error::other("it comes and goes")))
    }

    fn read_whole(
        &self,
        path: &Path,
        file: &dyn OpenFile,
        stamp: Stamp,
    ) -> Result<(Vec<u8>, Stamp), SourceError> {
        let limit = self.metadata_limit_bytes;
        if stamp.size() > limit {
            self.has_refused.store(true, Ordering::Relaxed);
            let (path, bytes) = (path.to_path_buf(), stamp.size());
            return Err(SourceError::MetadataTooLarge { path, bytes, limit });
        }
        let mut bytes = vec![0; usize::try_from(stamp.size()).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0).map_err(|error| SourceError::io(path, error))?;
        Ok((bytes, stamp))
    }

    /// The entries of a folder that `is_wanted` accepts, sorted by name. The others are not held in memory:
    /// there may be a million of them. A folder that changes meanwhile is listed again.
    ///
    /// # Errors
    /// [`SourceError::Io`] when the folder cannot be read, or is another one at each attempt.
    pub fn list(
        &self,
        path: &Path,
        is_wanted: impl Fn(&DirEntry) -> bool,
    ) -> Result<Vec<DirEntry>, SourceError> {
        let fail = |error: io::Error| SourceError::io(path, error);
        for look in 1..=LOOKS {
            let mut folder = self.storage.open_folder(path).map_err(fail)?;
            let before = folder.meta().map_err(fail)?;
            let mut entries = Vec::new();
            let visited = self.visit(path, &mut *folder, &mut |entry| {
                if is_wanted(&entry) {
                    entries.push(entry);
                }
                ControlFlow::Continue(())
            });
            let after = self.storage.stat(path, Links::Follow);
            let is_last = look == LOOKS;
            match (visited, after) {
                // Where a folder changes all the time, the names that neither come nor go are there.
                (Ok(()), Ok(after))
                    if after == before || (is_last && after.is_same_file(&before)) =>
                {
                    entries.sort_by(|a, b| a.name.cmp(&b.name));
                    return Ok(entries);
                }
                (Err(error), _) | (_, Err(error)) if is_last || !is_not_found(&error) => {
                    return Err(fail(error));
                }
                _ => {}
            }
        }
        Err(fail(io::Error::other("it is another folder each time")))
    }

    /// Visits the entries of a folder, in no particular order, until `visit` breaks.
    ///
    /// # Errors
    /// [`SourceError::Io`] when the folder cannot be read.
    pub fn each_entry(
        &self,
        path: &Path,
        visit: &mut dyn FnMut(DirEntry) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let opened = self.storage.open_folder(path);
        opened
            .and_then(|mut folder| self.visit(path, &mut *folder, visit))
            .map_err(|error| SourceError::io(path, error))
    }

    /// Visits the names in a folder that are not regular files. Cheaper than [`SourceRoot::list`], as it
    /// does not look where links lead.
    ///
    /// # Errors
    /// The reason of the storage.
    pub(super) fn each_name(&self, path: &Path, mut visit: impl FnMut(&OsStr)) -> io::Result<()> {
        let mut folder = self.storage.open_folder(path)?;
        loop {
            let names = folder.next_names()?;
            if names.is_empty() {
                return Ok(());
            }
            for entry in names.iter().filter(|entry| entry.kind != Some(FileKind::File)) {
                visit(&entry.name);
            }
        }
    }

    fn visit(
        &self,
        path: &Path,
        folder: &mut dyn OpenFolder,
        visit: &mut dyn FnMut(DirEntry) -> ControlFlow<()>,
    ) -> io::Result<()> {
        loop {
            let names = folder.next_names()?;
            if names.is_empty() {
                return Ok(());
            }
            for FolderName { name, kind } in names {
                let kind = match kind {
                    Some(kind) => Some(kind),
                    None => match folder.stat(&name) {
                        Ok(meta) => Some(meta.kind),
                        Err(error) if is_not_found(&error) => return Err(error),
                        Err(_) => None,
                    },
                };
                let kind = match kind {
                    Some(FileKind::Folder) | None => EntryKind::Directory,
                    Some(FileKind::File) => EntryKind::File,
                    Some(FileKind::Link) => self.link_kind(path, &path.join(&name))?,
                    Some(FileKind::Other) => EntryKind::Other,
                };
                if visit(DirEntry { name, kind }).is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// Follows a link; a link to its own folder, or to one above, is a circle.
    fn link_kind(&self, folder: &Path, link: &Path) -> io::Result<EntryKind> {
        let target = match self.storage.stat(link, Links::Follow) {
            Ok(target) => target,
            Err(error) if is_bad_link(&error) => return Ok(EntryKind::BadLink),
            // Listing it gives the reason.
            Err(_) => return Ok(EntryKind::LinkedDirectory),
        };
        match target.kind {
            FileKind::File => return Ok(EntryKind::File),
            FileKind::Link | FileKind::Other => return Ok(EntryKind::Other),
            FileKind::Folder => {}
        }
        for above in folder.ancestors() {
            if self.storage.stat(above, Links::Follow)?.is_same_file(&target) {
                return Ok(EntryKind::BadLink);
            }
        }
        Ok(EntryKind::LinkedDirectory)
    }
}
