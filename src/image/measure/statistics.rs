//! All that depends on voxels at once, from what is measured of each dataset.

use std::sync::Arc;

use crate::engine::error::ImageError;
use crate::image::voxels::image::Image;
use crate::ims::{PixelMetadata, Thumbnail};
use crate::resources::Aside;

use super::datasets::Datasets;
use super::ranges::DisplayRanges;
use super::thumbnail;

/// The result, and whether it may be kept on disk.
pub(crate) struct Measured {
    pub(crate) metadata: PixelMetadata,
    pub(crate) keep: bool,
}

/// Memory that [`measure`] takes beside the bricks that are decoded.
pub(crate) fn memory_bytes(image: &Image) -> u64 {
    let datasets = Datasets::new(image, image.images.options().statistics).memory_bytes();
    let ranges = DisplayRanges::new(image).memory_bytes();
    datasets.max(ranges).max(thumbnail::memory_bytes(image))
}

/// Reads voxels and computes the metadata that depends on them; `memory` is reserved for it.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
pub(crate) fn measure(image: &Arc<Image>, memory: &Arc<Aside>) -> Result<Measured, ImageError> {
    let plan = &image.plan;
    let mut metadata = PixelMetadata::default();
    let mut keep = true;
    let datasets = Datasets::new(image, image.images.options().statistics);
    for run in 0..=datasets.run_of(plan.datasets() - 1) {
        let (record, is_lasting) = datasets.measure(image, run, memory)?;
        keep &= is_lasting;
        for dataset in datasets.datasets(run) {
            let (time, channel) = plan.time_and_channel(dataset);
            let channel = usize::try_from(channel).unwrap_or(usize::MAX);
            for level in 0..plan.levels.len() {
                let found = datasets.histograms(&record, dataset, level);
                if let Some(found) = found.expect("a record just made") {
                    metadata.histograms.insert((level, time, channel), Arc::new(found));
                }
            }
        }
    }
    let display = DisplayRanges::new(image);
    for run in 0..=display.run_of(plan.ims.channels.len() as u64 - 1) {
        let (record, is_lasting) = display.measure(image, run, memory)?;
        keep &= is_lasting;
        for channel in display.channels(run) {
            let range = display.range(&record, channel).expect("a record just made");
            metadata.color_ranges.push(range);
        }
    }
    let (rgba, is_lasting) = thumbnail::measure(image, memory)?;
    let (width, height) = thumbnail::size(plan);
    metadata.thumbnail = Some(Thumbnail { width, height, rgba });
    Ok(Measured { metadata, keep: keep && is_lasting })
}
