//! The source of a mount: where it lies, and which folder of this machine it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::dead_mount;
use crate::source::storage::Location;

use super::setting::{Mistake, Setting, plain};

/// A checked source.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it lies. A folder has the path that was given, made absolute: it is looked up again while it is
    /// served.
    pub location: Location,
    /// The canonical path of a folder of this machine: no mount and no cache may be inside it.
    pub folder: Option<PathBuf>,
}

impl Source {
    /// What the source is called in the table of mounts and in the name of its cache.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| self.location.to_string().into())
    }

    /// Whether a path is the folder of the source, or inside it.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        self.folder.as_ref().is_some_and(|folder| path.starts_with(folder))
    }
}

/// Compares a source with the machine.
///
/// # Errors
/// Why nothing can be read there.
pub(super) fn check(setting: &Setting) -> Result<Source, Mistake> {
    let given = setting.as_path();
    let looked_at = folder_at(given).and_then(|found| match found {
        Some(folder) => fs::read_dir(&folder).map(|_| Some(folder)),
        None => Ok(None),
    });
    let folder = match looked_at {
        Ok(Some(folder)) => folder,
        Ok(None) => return Err(setting.mistake("is not a folder")),
        Err(error) => {
            return Err(setting.mistake(&plain(&dead_mount::explained(error, given))));
        }
    };
    let absolute = std::path::absolute(given);
    let absolute = absolute.map_err(|error| setting.mistake(&plain(&error)))?;
    Ok(Source { location: Location::parse(absolute.as_os_str()), folder: Some(folder) })
}

/// The canonical path, if a folder is there. `Path::is_dir` would take every error for a no.
pub(super) fn folder_at(path: &Path) -> io::Result<Option<PathBuf>> {
    let canonical = fs::canonicalize(path)?;
    let is_folder = fs::metadata(&canonical)?.is_dir();
    Ok(is_folder.then_some(canonical))
}
