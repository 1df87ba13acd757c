//! The cache directory: one owner, private to its user, on a file system that can punch holes.
//!
//! ```text
//! <dir>/zarrims-v1/lock                                   flock, holds the owner's process id
//! <dir>/zarrims-v1/journal                                see the journal module
//! <dir>/zarrims-v1/images/<32 hex digits>/<space>-<segment>.bricks
//! ```

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::CacheError;
use super::segment::{PAGE_BYTES, options, punch_hole};

/// Everything of this layout lives in here; a later layout takes another name.
const PRIVATE: &str = "zarrims-v1";

/// An owned cache directory. Dropping it gives up the ownership.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    _lock: File,
}

impl Directory {
    pub(super) fn open(dir: &Path) -> Result<Self, CacheError> {
        let root = dir.join(PRIVATE);
        make_private(&root).map_err(at(&root))?;
        let path = root.join("lock");
        let lock = options().create(true).open(&path).map_err(at(&path))?;
        let lock = match take(lock).map_err(at(&path))? {
            Ok(lock) => lock,
            Err(pid) => {
                return Err(CacheError::InUse { dir: dir.into(), pid });
            }
        };
        let directory = Self { root, _lock: lock };
        let images = directory.images();
        make_private(&images).map_err(at(&images))?;
        let path = directory.root.join("probe");
        if !punches_holes(&path).map_err(at(&path))? {
            return Err(CacheError::NoHolePunching { dir: dir.into() });
        }
        Ok(directory)
    }

    pub(super) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Deletes every brick, for a journal that cannot be understood.
    pub(super) fn clear(&self) -> Result<(), CacheError> {
        let images = self.images();
        fs::remove_dir_all(&images).and_then(|()| make_private(&images)).map_err(at(&images))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    move |source| CacheError::Directory { path: path.into(), source }
}

/// Makes a directory with its parents, readable by nobody else even if it was there before.
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::symlink_metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Takes the lock for as long as the file stays open, or tells who has it.
fn take(mut lock: File) -> io::Result<Result<File, Option<u32>>> {
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())?;
            Ok(Ok(lock))
        }
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            lock.take(32).read_to_string(&mut text)?;
            Ok(Err(text.trim().parse().ok()))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Writes three pages, punches the middle one and looks whether that freed bytes. Synced before
/// each look, since some file systems count blocks late.
fn punches_holes(path: &Path) -> io::Result<bool> {
    let probe = || {
        let file = options().create(true).truncate(true).open(path)?;
        let disk_bytes = || -> io::Result<u64> {
            file.sync_data()?;
            Ok(file.metadata()?.blocks() * 512)
        };
        for page in 0..3 {
            file.write_all_at(&[0xa5; 4096], page * PAGE_BYTES)?;
        }
        let before = disk_bytes()?;
        match punch_hole(&file, PAGE_BYTES, PAGE_BYTES) {
            Ok(()) => Ok(disk_bytes()?.checked_add(PAGE_BYTES).is_some_and(|sum| sum <= before)),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
                _ => Err(error),
            },
        }
    };
    let found = probe();
    drop(fs::remove_file(path));
    found
}
