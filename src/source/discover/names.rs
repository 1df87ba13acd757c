//! Names that promise a store, and the reasons why files and links with such names are not shown.

use std::path::Path;

use super::super::error::{SourceError, Unsupported};
use super::super::foreign;
use super::super::root::SourceRoot;

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
    let is_archive = matches!(extension(name).as_str(), "ozx" | "zip");
    is_archive || is_store_name(name) || foreign::may_be_references(name.as_os_str())
}

/// The reason why a regular file is not shown, for files that promise a store. Reads a few kilobytes at
/// most.
#[must_use]
pub fn skipped_file(root: &SourceRoot, path: &Path) -> Option<SourceError> {
    if !is_notable_file(path) {
        return None;
    }
    if matches!(extension(path).as_str(), "ozx" | "zip") {
        return Some(SourceError::unsupported(path, Unsupported::Zip));
    }
    match foreign::format_of_file(root, path) {
        Ok(Some(reason)) => Some(SourceError::unsupported(path, reason)),
        // Any other JSON file has nothing to do with images.
        Ok(None) if !is_store_name(path) => None,
        Ok(None) => Some(SourceError::unsupported(path, Unsupported::NoMetadata)),
        Err(error) => Some(error),
    }
}

/// The reason for a bad link, for links whose name promises a store.
#[must_use]
pub fn skipped_link(path: &Path) -> Option<SourceError> {
    is_store_name(path).then(|| SourceError::unsupported(path, Unsupported::Link))
}
