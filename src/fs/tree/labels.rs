//! Label images as channels of the files of their images (`--labels channels`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::by_hand::Shown;
use crate::source::compose::labels_as_channels;
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
}

/// The images of a store with their labels as channels, and the labels that are not shown. A store that is a
/// label image and nothing else is shown as an image.
pub(super) fn in_their_images(all: Vec<Shown>) -> (Vec<WithLabels>, Vec<(PathBuf, SourceError)>) {
    let is_image =
        |shown: &Shown| shown.source.role == Role::Image || path_of(&shown.source.image).is_empty();
    let (images, labels): (Vec<Shown>, Vec<Shown>) = all.into_iter().partition(is_image);
    let mut by_path = BTreeMap::new();
    for (number, image) in images.iter().enumerate() {
        by_path.entry(path_of(&image.source.image)).or_insert(number);
    }
    let (mut owned, mut skipped) = (BTreeMap::<usize, Vec<ImageSource>>::new(), Vec::new());
    for label in labels {
        let mut skip = |reason: String| {
            let path = label.source.folder();
            let error = SourceError::unsupported(&path, Unsupported::LabelChannel(reason));
            skipped.push((path, error));
        };
        let path = path_of(&label.source.image);
        let mut groups = (0..path.len()).rev().filter(|at| path[*at] == "labels");
        match groups.find_map(|at| by_path.get(&path[..at])) {
            None => skip("it is the label of no image that is shown".to_owned()),
            Some(owner) => match labels_as_channels(&images[*owner].source, &[&label.source]) {
                Ok(_) => owned.entry(*owner).or_default().push(label.source),
                Err(error) => skip(error.to_string()),
            },
        }
    }
    let join = |(number, image): (usize, Shown)| match owned.remove(&number) {
        None => WithLabels::without(image),
        Some(labels) => {
            let at = labels.iter().map(|label| (label.image.clone(), label.multiscale)).collect();
            match labels_as_channels(&image.source, &labels) {
                Ok(source) => WithLabels { shown: Shown { source, ..image }, labels: at },
                // Together they have more parts, or voxels, than a file can have.
                Err(_) => WithLabels::without(image),
            }
        }
    };
    drop(by_path);
    (images.into_iter().enumerate().map(join).collect(), skipped)
}

/// An image with the labels that were found to be channels of it.
///
/// # Errors
/// [`SourceError`] where one of them does not fit any more.
pub(super) fn with_channels(image: &Shown, labels: &[Shown]) -> Result<Shown, SourceError> {
    let labels: Vec<&ImageSource> = labels.iter().map(|label| &label.source).collect();
    let source = labels_as_channels(&image.source, &labels).map_err(|error| {
        let reason = Unsupported::LabelChannel(error.to_string());
        SourceError::unsupported(image.source.folder(), reason)
    })?;
    Ok(Shown { source, options: image.options })
}

/// The parts of a path within a store.
fn path_of(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
