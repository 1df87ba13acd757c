//! Label images as channels of their image.

use std::borrow::Borrow;

use crate::source::halving::reached;
use crate::source::image::ImageSource;
use crate::source::parts::LevelSource;

use super::error::ComposeError;
use super::join::{add_channels, agreeing, one_behind_the_other, path_of, put_together};

/// Shows label images as further channels of their image. All voxels of a file have one type, that of the image:
/// it must hold those of the labels without loss. Computed levels of a label channel have the most frequent
/// number.
///
/// # Errors
/// [`ComposeError`] where size, voxel size, levels or type do not allow it.
pub fn labels_as_channels<I: Borrow<ImageSource>>(
    image: &ImageSource,
    labels: &[I],
) -> Result<ImageSource, ComposeError> {
    let mut all = vec![image.clone()];
    for label in labels {
        let mut label: ImageSource = label.borrow().clone();
        let path = path_of(&label);
        let (own, image_type) = (label.source_type(), image.source_type());
        if !image_type.holds(own) {
            let (own, image) = (own.name(), image_type.name());
            return Err(ComposeError::LabelType { path, own, image });
        }
        if !has_levels_of(&label, image) {
            return Err(ComposeError::LabelLevels { path });
        }
        label.levels.iter_mut().for_each(|level| level.widen(image_type));
        mark(&mut label);
        all.push(label);
    }
    let images = agreeing(&all, &[0, 2, 3, 4])?;
    let places = one_behind_the_other(&images, 1);
    let mut whole = put_together(&images, &places)?;
    let [_, own, ..] = image.levels[0].shape();
    whole.channels.resize_with(usize::try_from(own).unwrap_or(usize::MAX), Default::default);
    for label in &images[1..] {
        add_channels(&mut whole, label);
    }
    Ok(whole)
}

/// Whether labels have all levels that are shown of their image.
fn has_levels_of(label: &ImageSource, image: &ImageSource) -> bool {
    let steps = |image: &ImageSource| {
        let stored: Vec<_> = image.levels.iter().map(LevelSource::stored).collect();
        reached(&stored).into_iter().map(|(_, halvings)| halvings).collect::<Vec<_>>()
    };
    let own = steps(label);
    steps(image).iter().all(|step| own.contains(step))
}

/// Marks the channels as labels, and names them after the image if they have no names.
fn mark(label: &mut ImageSource) {
    let [_, count, ..] = label.levels[0].shape();
    label.channels.resize_with(usize::try_from(count).unwrap_or(usize::MAX), Default::default);
    let folder = label.folder();
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    for channel in &mut label.channels {
        channel.is_label = true;
        channel.name = channel.name.take().or_else(|| name.clone());
    }
}
