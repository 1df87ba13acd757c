//! The files at a place of a mount.

use std::path::{Path, PathBuf};

use zarrims::fs::tree::FileSpec;
use zarrims::fs::{FsError, Seen};

use super::mount_state::MountState;

/// Files at a path below the mount point, and below it.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Each with its path below the mount point.
    pub(super) found: Vec<(PathBuf, FileSpec)>,
    /// Folders that cannot be listed, and why.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

impl Files {
    pub(super) fn at(mount: &MountState, path: &Path) -> Self {
        let Self { mut found, mut unreadable } = Self::default();
        let walked = mount.fs.walk_at(path, &mut |seen| match seen {
            Seen::Image(path, spec) => found.push((path.to_path_buf(), spec.clone())),
            Seen::Skipped(..) => {}
            Seen::Unreadable(path, error) => {
                unreadable.push((path.to_path_buf(), error.to_string()));
            }
        });
        if let Err(error) = walked {
            let reason = match error {
                FsError::NotFound | FsError::NotADirectory => {
                    "no such file or folder in the mount".to_owned()
                }
                other => other.to_string(),
            };
            unreadable.push((path.to_path_buf(), reason));
        }
        Self { found, unreadable }
    }

    /// The only thing that is wrong, if there is no file.
    pub(super) fn nothing(&self) -> Option<&str> {
        match (self.found.as_slice(), self.unreadable.as_slice()) {
            ([], []) => Some("there are no files"),
            ([], [(_, reason), ..]) => Some(reason),
            _ => None,
        }
    }
}
