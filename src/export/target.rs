//! Where an export writes, and what it calls the file until it is complete.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{RenameFlags, renameat_with};
use rustix::io::Errno;

use super::error::ExportError;
use super::part::Part;
use super::with_suffix;

/// Where a file, or a part of one, is written.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name at the end.
    pub path: PathBuf,
    /// A file of that name is replaced.
    pub force: bool,
    /// Which part of it is written; `None`: the whole.
    pub part: Option<Part>,
}

impl Target {
    /// The file while it is written.
    #[must_use]
    pub fn unfinished(&self) -> PathBuf {
        match self.part {
            None => with_suffix(&self.path, ".part"),
            Some(part) => part.path(&self.path),
        }
    }

    /// The journal of a file that is being written, or of a part.
    pub(super) fn journal_of(unfinished: &Path) -> PathBuf {
        with_suffix(unfinished, ".journal")
    }

    /// A folder for what is worth keeping until the end.
    #[must_use]
    pub fn kept(&self) -> PathBuf {
        with_suffix(&self.unfinished(), ".levels")
    }

    /// # Errors
    /// [`ExportError::Exists`].
    pub fn check(&self) -> Result<(), ExportError> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.is_dir() => {
                let cause = io::Error::from(io::ErrorKind::IsADirectory);
                Err(ExportError::File { path: self.path.clone(), cause })
            }
            Ok(_) if !self.force => Err(ExportError::Exists(self.path.clone())),
            _ => Ok(()),
        }
    }
}

pub(super) fn rename(path: &Path, target: &Target) -> Result<(), ExportError> {
    let failed = |error: io::Error| ExportError::file(&target.path, error);
    if !target.force {
        let cwd = rustix::fs::CWD;
        match renameat_with(cwd, path, cwd, &target.path, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => return Err(ExportError::Exists(target.path.clone())),
            // Some file systems cannot do both at once.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => target.check()?,
            Err(error) => return Err(failed(error.into())),
        }
    }
    fs::rename(path, &target.path).map_err(failed)
}

/// The name is on the disk, too.
pub(super) fn sync_folder_of(path: &Path) -> Result<(), ExportError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .or_else(|error| {
            // Some file systems have no folders that can be synchronised.
            let refused = Errno::from_io_error(&error) == Some(Errno::INVAL);
            if refused { Ok(()) } else { Err(error) }
        })
        .map_err(|error| ExportError::file(folder, error))
}
