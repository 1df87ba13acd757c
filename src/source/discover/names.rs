//! Names that promise a store, and the reasons why files and links with such names are not shown.

use std::path::Path;

use super::super::error::{SourceError, Unsupported};
use super::super::foreign;
use super::super::root::SourceRoot;
use super::super::storage::{is_archive_name, is_not_found};

fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_ascii_lowercase()
}

/// Whether a name promises a Zarr store.
#[must_use]
pub fn is_store_name(name: &Path) -> bool {
    matches!(extension(name).as_str(), "zarr" | "zr")
}

/// Whether a regular file promises a store by its name.
#[must_use]
pub fn is_notable_file(name: &Path) -> bool {
    is_archive_name(name) || is_store_name(name) || foreign::may_be_references(name.as_os_str())
}

/// What a regular file beside the stores is.
#[derive(Debug)]
pub enum File {
    /// An archive of Zarr metadata, which is inspected like a folder.
    Store,
    /// It promises a store, and is not shown for this reason.
    Skipped(SourceError),
    /// Any other file.
    Ordinary,
}

/// Looks at a regular file in a plain folder.
#[must_use]
pub fn look_at_file(root: &SourceRoot, path: &Path) -> File {
    // A file that promises nothing gets no line.
    let is_promised = is_archive_name(path) || is_store_name(path);
    match root.storage().holds_zarr(path) {
        Ok(true) => File::Store,
        Err(error) if is_promised && !is_not_found(&error) => {
            File::Skipped(SourceError::io(path, error))
        }
        // Most zip files have nothing to do with images.
        Ok(false) | Err(_) if extension(path) == "zip" => File::Ordinary,
        Ok(false) if is_archive_name(path) => {
            File::Skipped(SourceError::unsupported(path, Unsupported::NoMetadata))
        }
        Ok(false) | Err(_) if !is_notable_file(path) => File::Ordinary,
        Ok(false) | Err(_) => match foreign::format_of_file(root, path) {
            Ok(Some(reason)) => File::Skipped(SourceError::unsupported(path, reason)),
            // Any other JSON file has nothing to do with images.
            Ok(None) if !is_store_name(path) => File::Ordinary,
            Ok(None) => File::Skipped(SourceError::unsupported(path, Unsupported::NoMetadata)),
            Err(error) => File::Skipped(error),
        },
    }
}

/// The reason for a bad link, for links whose name promises a store.
#[must_use]
pub fn skipped_link(path: &Path) -> Option<SourceError> {
    let is_promised = is_store_name(path) || is_archive_name(path);
    is_promised.then(|| SourceError::unsupported(path, Unsupported::Link))
}
