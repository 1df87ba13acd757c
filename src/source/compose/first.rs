//! The first time points of an image.

use crate::source::image::ImageSource;

/// The first `times` time points of an image, and of its levels those that `levels` says true of: level 0 is one
/// of them. All else is as in the image.
#[must_use]
pub fn first_times(image: &ImageSource, times: u64, levels: &[bool]) -> ImageSource {
    let mut first = image.clone();
    let mut kept = levels.iter().copied().chain(std::iter::repeat(true));
    first.levels.retain(|_| kept.next().unwrap_or(true));
    let chosen: Vec<u64> = (0..times).collect();
    for level in &mut first.levels {
        if level.shape()[0] > times {
            level.choose(0, &chosen);
        }
    }
    if let Some(stamps) = &mut first.times_s {
        stamps.truncate(chosen.len());
    }
    first
}
