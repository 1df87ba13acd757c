//! The source of a mount: where it lies, and which folder of this machine it is.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::dead_mount;
use crate::objects::Options;
use crate::source::discover::{self, File};
use crate::source::storage::Location;
use crate::source::{SourceError, SourceRoot};

use super::setting::{Mistake, Setting, Settings, plain};
use super::value::{ADDRESSING, parse_choice, parse_switch, parse_timeout};

/// Why a path of this machine is no source.
const NO_SOURCE: &str = "is neither a folder nor a zip file with Zarr metadata";

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
    /// What the source is called in the table of mounts.
    #[must_use]
    pub fn name(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| self.location.to_string().into())
    }

    /// What tells it from any other source, as a path.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| OsStr::from_bytes(&self.location.as_bytes()).into())
    }

    /// Whether a path is the folder of the source, or inside it.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        self.folder.as_ref().is_some_and(|folder| path.starts_with(folder))
    }
}

/// Compares a source with the machine. A remote one is asked for only when it is opened.
///
/// # Errors
/// Why nothing can be read there.
pub(super) fn check(setting: &Setting, settings: &Settings) -> Result<Source, Mistake> {
    if let Some(address) = setting.as_address() {
        let location = Location::objects(address, options_of(settings)?);
        return Ok(Source { location, folder: None });
    }
    let given = setting.as_path();
    let failed = |error: io::Error| setting.mistake(&plain(&dead_mount::explained(error, given)));
    let canonical = fs::canonicalize(given).map_err(failed)?;
    let kind = fs::metadata(&canonical).map_err(failed)?;
    let absolute = std::path::absolute(given).map_err(failed)?;
    let location = if kind.is_dir() {
        fs::read_dir(&canonical).map_err(failed)?;
        location_of_folder(&absolute).map_err(failed)?
    } else if kind.is_file() {
        location_of_file(&absolute).map_err(failed)?.map_err(|reason| setting.mistake(&reason))?
    } else {
        return Err(setting.mistake(NO_SOURCE));
    };
    Ok(Source { location, folder: Some(canonical) })
}

/// A folder is one store, or holds stores. The user has named it: its metadata may be links.
fn location_of_folder(path: &Path) -> io::Result<Location> {
    let folder = Location::Folder(path.into());
    let is_store = discover::is_one_store(&SourceRoot::at(&folder, true)?, path);
    Ok(if is_store { Location::Store(path.into()) } else { folder })
}

/// A regular file must be an archive. The inner error is a reason in words.
fn location_of_file(path: &Path) -> io::Result<Result<Location, String>> {
    let store = Location::Store(path.into());
    let root = SourceRoot::at(&store, true)?;
    let name = Path::new(path.file_name().unwrap_or_default());
    Ok(match discover::look_at_file(&root, name) {
        File::Store => Ok(store),
        File::Skipped(SourceError::Io { source, .. }) => return Err(source),
        File::Skipped(_) | File::Ordinary => Err(NO_SOURCE.to_owned()),
    })
}

/// How to get to objects.
fn options_of(settings: &Settings) -> Result<Options, Mistake> {
    let text = |name| settings.value(name, |text| Ok(text.to_owned()));
    let default = Options::default();
    let addressing = settings.value("addressing", |text| parse_choice(&ADDRESSING, text))?;
    let timeout = settings.value("request-timeout", parse_timeout)?;
    Ok(Options {
        endpoint: text("endpoint")?,
        region: text("region")?,
        addressing: addressing.unwrap_or_default(),
        anonymous: settings.value("anonymous", parse_switch)?.unwrap_or_default(),
        timeout: timeout.unwrap_or(default.timeout),
    })
}

/// The canonical path, if a folder is there. `Path::is_dir` would take every error for a no.
pub(super) fn folder_at(path: &Path) -> io::Result<Option<PathBuf>> {
    let canonical = fs::canonicalize(path)?;
    let is_folder = fs::metadata(&canonical)?.is_dir();
    Ok(is_folder.then_some(canonical))
}
