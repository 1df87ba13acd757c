//! The version of the cache folder.

/// Version of everything in the cache folder: names, journal records, places of bricks in segment
/// files, notes, and the rules by which bytes are charged.
///
/// **Bump it** when a program of the last version would misread, miscount or leave behind what this
/// one writes, or the other way round. A start then removes the folder of the other version, so the
/// bump costs users their cached bricks and needs no code for a transition.
///
/// Do not bump it when the *content* of bricks changes: that is another image, and
/// `FORMAT_VERSION` of [`crate::image`] is part of its [`ImageId`](super::ImageId). Nor when the
/// content of a note changes: its owner has a version of its own.
pub const FORMAT_VERSION: u32 = 3;

/// What the names of the folders of all versions begin with.
pub(super) const FOLDER_PREFIX: &str = "zarrims-v";

/// Name of the folder, below the one that the user named, that holds everything of this version.
#[must_use]
pub fn folder_name() -> String {
    format!("{FOLDER_PREFIX}{FORMAT_VERSION}")
}
