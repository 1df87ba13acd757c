//! Label images as channels of the files of their images (`--labels channels`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::by_hand::Shown;
use crate::source::compose::{ComposeError, labels_as_channels};
use crate::source::image::{ImageSource, Role};
use crate::source::{SourceError, Unsupported};

/// Where a label image lies in its store: its path, and its number among the entries of `multiscales`.
pub(super) type LabelAt = (String, usize);

/// An image, and the labels that are channels of its file.
#[derive(Debug)]
pub(super) struct WithLabels {
    pub(super) shown: Shown,
    pub(super) labels: Vec<LabelAt>,
}

impl WithLabels {
    pub(super) fn without(shown: Shown) -> Self {
        Self { shown, labels: Vec::new() }
    }

    /// Adds a label as a channel.
    fn add(&mut self, label: &ImageSource) -> Result<(), ComposeError> {
        self.shown.source = labels_as_channels(&self.shown.source, &[label])?;
        self.labels.push((label.image.clone(), label.multiscale));
        Ok(())
    }
}

/// The images of a store with their labels as channels, and the labels that are not shown. A store that is a
/// label image and nothing else is shown as an image.
pub(super) fn in_their_images(all: Vec<Shown>) -> (Vec<WithLabels>, Vec<(PathBuf, SourceError)>) {
    let is_image =
        |shown: &Shown| shown.source.role == Role::Image || path_of(&shown.source.image).is_empty();
    let (images, labels): (Vec<Shown>, Vec<Shown>) = all.into_iter().partition(is_image);
    let mut images: Vec<_> = images.into_iter().map(WithLabels::without).collect();
    let mut by_path = BTreeMap::new();
    for (number, image) in images.iter().enumerate() {
        by_path.entry(path_of(&image.shown.source.image)).or_insert(number);
    }
    let mut skipped = Vec::new();
    for label in labels {
        let path = path_of(&label.source.image);
        let mut groups = (0..path.len()).rev().filter(|at| path[*at] == "labels");
        let added = match groups.find_map(|at| by_path.get(&path[..at])) {
            Some(owner) => images[*owner].add(&label.source).map_err(|error| error.to_string()),
            None => Err("it is the label of no image that is shown".to_owned()),
        };
        if let Err(reason) = added {
            let path = label.source.folder();
            let error = SourceError::unsupported(&path, Unsupported::LabelChannel(reason));
            skipped.push((path, error));
        }
    }
    (images, skipped)
}

/// An image with the labels that were found to be channels of it.
///
/// # Errors
/// [`SourceError`] where one of them does not fit any more.
pub(super) fn with_channels(image: Shown, labels: &[Shown]) -> Result<Shown, SourceError> {
    let mut whole = WithLabels::without(image);
    for label in labels {
        whole.add(&label.source).map_err(|error| {
            let reason = Unsupported::LabelChannel(error.to_string());
            SourceError::unsupported(label.source.folder(), reason)
        })?;
    }
    Ok(whole.shown)
}

/// The parts of a path within a store.
fn path_of(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
