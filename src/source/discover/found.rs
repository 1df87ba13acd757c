//! What a store holds.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::above::Said;
use super::super::error::{SourceError, Unsupported};
use super::super::fingerprint::Fingerprint;
use super::super::image::ImageSource;
use super::super::ome;
use super::super::place::Role;
use super::super::plate::Membership;
use super::super::root::SourceRoot;
use super::super::title::Title;
use super::super::webknossos;

/// The images of a store.
#[derive(Debug, Default)]
pub struct Store {
    /// Images, in the order of their paths.
    pub images: Vec<ImageSource>,
    /// What is not shown, with paths below the source folder.
    pub skipped: Vec<(PathBuf, SourceError)>,
    /// The files all this was read from.
    pub fingerprint: Fingerprint,
}

pub(super) fn skip(path: &Path, reason: Unsupported) -> (PathBuf, SourceError) {
    (path.to_path_buf(), SourceError::unsupported(path, reason))
}

/// An image as it is shown: the part that its dataset publishes, under the name that its plate gives it.
pub(super) fn shown(root: &SourceRoot, image: ImageSource, membership: Membership) -> ImageSource {
    entitled(webknossos::published(root, image), membership)
}

/// An image with the name that its plate gives it. Labels are called as ever: their image is the field.
fn entitled(image: ImageSource, membership: Membership) -> ImageSource {
    match (membership, image.role) {
        (Membership::Listed(field), Role::Image) => {
            ImageSource { title: Some(Title::Field(field)), ..image }
        }
        _ => image,
    }
}

/// What an image is for: labels say so, or lie below a folder of that name (OME-NGFF 0.4, "labels"), or
/// their collection says so.
pub(super) fn role_of(inside: &Path, attributes: &Map<String, Value>, said: &Said) -> Role {
    let mut above = inside.ancestors().skip(1).filter_map(Path::file_name);
    if ome::is_label(attributes) || said.is_label || above.any(|name| name == "labels") {
        Role::Label
    } else {
        Role::Image
    }
}
