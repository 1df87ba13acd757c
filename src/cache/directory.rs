//! The cache directory: one owner, private to its user, on a file system that can punch holes.
//!
//! ```text
//! <dir>/zarrims-v<N>/lock                                 flock, holds the owner's process id
//! <dir>/zarrims-v<N>/journal                              see the journal module
//! <dir>/zarrims-v<N>/<name>.note                          see the notes module
//! <dir>/zarrims-v<N>/images/<32 hex digits>/<space>-<segment>.bricks
//! ```

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, Folder, Lock, Opening};
use super::error::CacheError;
use super::segment::{IMAGES, PAGE_BYTES};
use super::version::{FOLDER_PREFIX, folder_name};

pub(super) const LOCK: &str = "lock";

/// The folder that the user named.
const PARENT: &str = "..";

/// Written at the start to test whether holes can be punched.
const PROBE: &str = "probe";
const PROBE_PAGES: u64 = 3;

/// An owned cache directory. Dropping it gives up the ownership.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    folder: Arc<dyn Folder>,
    _lock: Box<dyn std::fmt::Debug + Send + Sync>,
}

impl Directory {
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, CacheError> {
        let path = dir.join(folder_name());
        let folder = disk.enter(&path).map_err(at(&path))?;
        let lock = take(&*folder, Path::new(LOCK), dir, &path)?;
        let directory = Self { path, folder, _lock: lock };
        let fail = at(&directory.path);
        match directory.folder.make_folder(Path::new(IMAGES)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(fail(error)),
            _ => {}
        }
        if !punches_holes(&*directory.folder, Path::new(PROBE), Opening::Empty).map_err(fail)? {
            return Err(CacheError::NoHolePunching { dir: dir.into() });
        }
        directory.remove_other_versions(dir)?;
        Ok(directory)
    }

    pub(super) fn folder(&self) -> Arc<dyn Folder> {
        Arc::clone(&self.folder)
    }

    /// The path of something in the directory, for messages.
    pub(super) fn path(&self, inside: &Path) -> PathBuf {
        self.path.join(inside)
    }

    /// Bytes on disk of what is always there: the folders, the lock, and the probe at the start.
    pub(super) fn fixed_bytes(&self) -> io::Result<u64> {
        let folder = self.folder.disk_bytes(Path::new("."))?.max(PAGE_BYTES);
        let parent = self.folder.disk_bytes(Path::new(PARENT))?.max(PAGE_BYTES);
        Ok(parent + folder + (1 + PROBE_PAGES) * PAGE_BYTES)
    }

    /// Whether the directory was removed.
    pub(super) fn is_gone(&self) -> bool {
        self.folder.is_gone()
    }

    /// Folders of other format versions take room on the disk and are of no use.
    fn remove_other_versions(&self, dir: &Path) -> Result<(), CacheError> {
        let own = folder_name();
        let names = self.folder.list(Path::new(PARENT)).map_err(at(dir))?;
        for (name, is_folder) in names {
            let version = name.to_str().and_then(|name| name.strip_prefix(FOLDER_PREFIX));
            let is_version = version.is_some_and(|number| number.parse::<u32>().is_ok());
            if !is_folder || !is_version || name == own.as_str() {
                continue;
            }
            let path = dir.join(&name);
            let other = Path::new(PARENT).join(&name);
            let _lock = take(&*self.folder, &other.join(LOCK), dir, &path)?;
            remove_all(&*self.folder, &other).map_err(at(&path))?;
            tracing::warn!(path = %path.display(), "cache of another format version, removed");
        }
        Ok(())
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> CacheError {
    move |source| CacheError::Directory { path: path.into(), source }
}

/// Takes the lock of a version's folder, which is at `path`.
fn take(
    folder: &dyn Folder,
    lock: &Path,
    dir: &Path,
    path: &Path,
) -> Result<Box<dyn std::fmt::Debug + Send + Sync>, CacheError> {
    match folder.lock(lock).map_err(at(path))? {
        Lock::Taken(lock) => Ok(lock),
        Lock::Held(pid) => Err(CacheError::InUse { dir: dir.into(), pid }),
    }
}

fn remove_all(folder: &dyn Folder, path: &Path) -> io::Result<()> {
    for (name, is_folder) in folder.list(path)? {
        let inside = path.join(name);
        if is_folder {
            remove_all(folder, &inside)?;
        } else {
            folder.remove_file(&inside)?;
        }
    }
    folder.remove_folder(path)
}

/// Writes three pages to a file of this name, punches the middle one and compares the bytes on disk. Syncs before
/// each measurement, since some file systems count blocks late.
pub(super) fn punches_holes(folder: &dyn Folder, path: &Path, how: Opening) -> io::Result<bool> {
    let file = folder.open(path, how)?;
    let probe = || {
        let disk_bytes = || -> io::Result<u64> {
            file.sync()?;
            Ok(file.state()?.disk_bytes)
        };
        for page in 0..PROBE_PAGES {
            file.write_all_at(&[0xa5; 4096], page * PAGE_BYTES)?;
        }
        let before = disk_bytes()?;
        match file.punch_hole(PAGE_BYTES, PAGE_BYTES) {
            Ok(()) => Ok(disk_bytes()?.checked_add(PAGE_BYTES).is_some_and(|sum| sum <= before)),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(error),
        }
    };
    let found = probe();
    drop(folder.remove_file(path));
    found
}

#[cfg(test)]
mod tests;
