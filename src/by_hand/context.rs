//! What a view is made with, and what has been looked at for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::image::ImageOptions;
use crate::source::image::ImageSource;
use crate::source::{Fingerprint, SourceRoot};

use super::tables::Tables;

/// Paths of an image below the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePath {
    /// The store.
    pub store: PathBuf,
    /// The group or array of the image.
    pub image: PathBuf,
}

/// What is needed to make an image.
pub(super) struct Context<'a> {
    pub(super) root: &'a Arc<SourceRoot>,
    /// The folder that paths are below.
    pub(super) base: &'a Path,
    /// The store beside the file, if it stands in one.
    pub(super) beside: Option<PathBuf>,
    pub(super) configured: &'a Tables,
    pub(super) options: &'a ImageOptions,
    /// Images may become longer, see [`crate::source::growing`].
    pub(super) is_live: bool,
    /// All that was looked at.
    pub(super) fingerprint: Fingerprint,
    /// The images that were opened.
    pub(super) images: Vec<ImagePath>,
    /// Names that were compared with patterns.
    pub(super) entries: usize,
}

impl Context<'_> {
    /// Notes an image of which a part is shown.
    pub(super) fn use_image(&mut self, source: &ImageSource) {
        self.fingerprint.absorb(&source.fingerprint);
        self.images.push(ImagePath { store: source.store.clone(), image: source.folder() });
    }
}
