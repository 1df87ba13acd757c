//! A source in memory, as an object store has it: files by their paths, each with a version; folders are
//! what the paths imply. It has neither links nor owners, and lists all files below a prefix at once.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use super::interface::{
    Budget, FileKind, FolderName, Links, Meta, OpenFile, OpenFolder, Storage, Unfollowed,
};
use super::stamp::Stamp;
use crate::sync::lock;

/// Names that a listing gives at a time.
const NAMES: usize = 3;

#[derive(Debug, Default)]
pub(in crate::source) struct Memory {
    files: Mutex<BTreeMap<PathBuf, Object>>,
    versions: AtomicU64,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Arc<[u8]>,
    stamp: Stamp,
}

impl Memory {
    pub(in crate::source) fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let version = self.versions.fetch_add(1, Ordering::Relaxed);
        let stamp = Stamp::of_version(version.into(), bytes.len() as u64, SystemTime::UNIX_EPOCH);
        let object = Object { bytes: bytes.into(), stamp };
        self.lock().insert(path.as_ref().to_path_buf(), object);
    }

    pub(in crate::source) fn remove(&self, path: impl AsRef<Path>) {
        self.lock().remove(path.as_ref());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Object>> {
        lock(&self.files)
    }

    /// The names right below a folder; `NotFound` where no file lies below it.
    fn names(&self, folder: &Path) -> io::Result<Vec<FolderName>> {
        let mut names = BTreeMap::new();
        for path in self.lock().keys() {
            let Ok(inside) = path.strip_prefix(folder) else { continue };
            let mut parts = inside.iter();
            let Some(name) = parts.next() else { return Err(io::ErrorKind::NotADirectory.into()) };
            let kind = if parts.next().is_some() { FileKind::Folder } else { FileKind::File };
            names.insert(OsString::from(name), kind);
        }
        if names.is_empty() && !folder.as_os_str().is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(names.into_iter().map(|(name, kind)| FolderName { name, kind: Some(kind) }).collect())
    }
}

fn folder_meta() -> Meta {
    Meta::plain(FileKind::Folder, Stamp::of_version(0, 0, SystemTime::UNIX_EPOCH))
}

impl Storage for Memory {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        let found = self.lock().get(path).cloned();
        if let Some(object) = found {
            let stamp = object.stamp;
            return Ok((Box::new(object), stamp));
        }
        self.names(path)?;
        Err(io::ErrorKind::IsADirectory.into())
    }

    fn stat(&self, path: &Path, _links: Links) -> io::Result<Meta> {
        if let Some(object) = self.lock().get(path) {
            return Ok(Meta::plain(FileKind::File, object.stamp));
        }
        self.names(path).map(|_| folder_meta())
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        let names = self.names(path)?;
        let metas = names.iter().map(|entry| {
            let meta = self.stat(&path.join(&entry.name), Links::Stay)?;
            Ok((entry.name.clone(), meta))
        });
        let metas = metas.collect::<io::Result<_>>()?;
        Ok(Box::new(Listing { names, metas }))
    }

    fn survey(
        &self,
        folder: &Path,
        budget: &mut Budget,
        visit: &mut dyn FnMut(&Path, &Meta),
    ) -> Option<Result<(), Unfollowed>> {
        for (path, object) in &*self.lock() {
            if let Ok(inside) = path.strip_prefix(folder) {
                if let Err(reason) = budget.take() {
                    return Some(Err(reason));
                }
                visit(inside, &Meta::plain(FileKind::File, object.stamp));
            }
        }
        Some(Ok(()))
    }
}

impl OpenFile for Object {
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(self.stamp)
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.bytes.get(start..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A listing, which does not change once it was made.
#[derive(Debug)]
struct Listing {
    names: Vec<FolderName>,
    metas: BTreeMap<OsString, Meta>,
}

impl OpenFolder for Listing {
    fn meta(&self) -> io::Result<Meta> {
        Ok(folder_meta())
    }

    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        let rest = self.names.split_off(self.names.len().min(NAMES));
        Ok(std::mem::replace(&mut self.names, rest))
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        self.metas.get(name).copied().ok_or(io::ErrorKind::NotFound.into())
    }
}
