//! What was measured of an image, and the display ranges that follow from it.

use crate::image::voxels::image::Image;
use crate::ims::{PixelMetadata, VoxelType};
use crate::source::image::ImageSource;

use super::histogram::Counts;

/// The result, and whether it may be kept on disk: chunks that were absent may come, chunks that
/// could not be decoded may be mended, and neither is to leave a mark.
pub(crate) struct Measured {
    pub(crate) metadata: PixelMetadata,
    pub(crate) keep: bool,
}

/// The display ranges, from what was measured of each channel.
pub(super) fn color_ranges(image: &Image, measured: &[Option<(f64, f64)>]) -> Vec<(f64, f64)> {
    let ranges = measured.iter().enumerate();
    ranges.map(|(channel, range)| display_range(image, channel, *range)).collect()
}

/// The window of the metadata, as far as it is kept (`source/display.rs`), else what was measured, else the
/// range of the type.
fn display_range(image: &Image, channel: usize, measured: Option<(f64, f64)>) -> (f64, f64) {
    let source: &ImageSource = &image.source;
    let window = source
        .channels
        .get(channel)
        .and_then(|channel| channel.window)
        .map(|(low, high)| (low + image.plan.shift, high + image.plan.shift));
    let (low, high) = window.or(measured).unwrap_or(match image.plan.target {
        VoxelType::U8 => (0.0, 255.0),
        VoxelType::U16 => (0.0, 65_535.0),
        VoxelType::I16 => (-32_768.0, 32_767.0),
        VoxelType::U32 => (0.0, f64::from(u32::MAX)),
        VoxelType::F32 => (0.0, 1.0),
    });
    if high > low { (low, high) } else { (low, low + 1.0) }
}

/// Widens the range of a channel by the range of one of its time points.
pub(super) fn widen(range: &mut Option<(f64, f64)>, counts: &Counts) {
    if let Some((low, high)) = counts.display_range() {
        let known = range.get_or_insert((low, high));
        *known = (known.0.min(low), known.1.max(high));
    }
}
