//! Paths: where the metadata of an image lies, and what the image is for.

use std::path::{Path, PathBuf};

/// The files that make a folder a Zarr node.
pub(crate) const METADATA_FILES: [&str; 4] = ["zarr.json", ".zarray", ".zattrs", ".zgroup"];

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Measured intensities.
    Image,
    /// Object numbers.
    Label,
}

/// What a person says of the dimensions of an array, instead of what its metadata says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AxesByHand {
    /// A letter out of t, c, z, y, x for each dimension, in stored order; `_` for one of length one that is
    /// not shown.
    pub letters: String,
    /// Which line says so, for messages.
    pub origin: String,
}

/// What a person says of the dimensions of an image of a store, by its path within the store.
pub type SaysAxes<'a> = &'a dyn Fn(&str, Role) -> Option<AxesByHand>;

/// Where the metadata of an image lies, and what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Path of the store below the source folder.
    pub(crate) store: &'a Path,
    /// Path of the multiscales group within the store.
    pub(crate) image: &'a str,
    /// Which entry of `multiscales`.
    pub(crate) multiscale: usize,
    pub(crate) role: Role,
    /// What a person says of its dimensions.
    pub(crate) axes: Option<&'a AxesByHand>,
}

/// `folder/inside`, without the slash that [`Path::join`] puts behind `folder` where `inside` is empty.
#[must_use]
pub fn join(folder: &Path, inside: &Path) -> PathBuf {
    if inside.as_os_str().is_empty() { folder.to_path_buf() } else { folder.join(inside) }
}
