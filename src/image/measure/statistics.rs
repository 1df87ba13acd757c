//! What the metadata says about voxels: histograms, display ranges, thumbnail.
//!
//! Two ways. **Exact**: every voxel of every level is read, in one pass (two where ranges of floats have to
//! be known first), and the result is what the formula gives over whole arrays. Small images are always
//! measured so. **Fast**: one stored level is counted, the finest within a budget of voxels, so that
//! large images open at once; where even the coarsest is too large, bricks are sampled evenly up to a
//! second budget. The counts are scaled so that the bins of each level sum to its voxel count.
//!
//! Voxels that cannot be decoded are left out, and the result is then not kept; padding is never
//! counted.

use std::sync::{Arc, Mutex};

use crate::engine::error::ImageError;
use crate::image::levels::most_open_bytes;
use crate::image::options::Statistics;
use crate::image::voxels::image::Image;
use crate::ims::PixelMetadata;
use crate::resources::Aside;
use crate::resources::shares::COUNTS_BYTES;
use crate::sync::lock;

use super::count::{Extent, Findings, count};
use super::measured::{Measured, color_ranges, widen};
use super::sample::{LEVEL_BUDGET, Sample};
use super::thumbnail::{self, Projection};

/// Voxels of level 0, over all time points and channels, up to which an image is measured exactly: a
/// tenth of a second.
const SMALL_IMAGE_VOXELS: u64 = 16 << 20;

/// The same for images on another machine: what the fast way would read.
const SMALL_REMOTE_IMAGE_VOXELS: u64 = LEVEL_BUDGET;

/// Whether every voxel of an image is counted.
fn is_exact(image: &Image) -> bool {
    let plan = &image.plan;
    let voxels = plan.levels[0].voxels().saturating_mul(plan.datasets());
    let small = if image.is_remote() { SMALL_REMOTE_IMAGE_VOXELS } else { SMALL_IMAGE_VOXELS };
    image.images.options().statistics == Statistics::Exact || voxels <= small
}

/// Memory that [`measure`] takes beside the bricks that are decoded.
pub(crate) fn memory_bytes(image: &Arc<Image>) -> u64 {
    let thumbnail = thumbnail::memory_bytes(&image.plan);
    if !is_exact(image) {
        return Sample::new(image).memory_bytes().saturating_add(thumbnail);
    }
    let counts = Extent::All.bytes_per_dataset(&image.plan).saturating_mul(image.plan.datasets());
    let counted = counts.min(COUNTS_BYTES).saturating_add(most_open_bytes(image));
    counted.saturating_add(thumbnail)
}

/// Reads voxels and computes the metadata that depends on them; `memory` is reserved for it.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
pub(crate) fn measure(image: &Arc<Image>, memory: &Arc<Aside>) -> Result<Measured, ImageError> {
    if is_exact(image) {
        measure_exactly(image, memory)
    } else {
        Sample::new(image).measure(memory)
    }
}

fn measure_exactly(image: &Arc<Image>, memory: &Arc<Aside>) -> Result<Measured, ImageError> {
    let plan = &image.plan;
    let level = thumbnail::level_for(plan);
    let projection = Arc::new(Mutex::new(Projection::new(plan, level)));
    let findings = Findings::new(memory);
    let mut metadata = PixelMetadata::default();
    let mut ranges = vec![None; plan.ims.channels.len()];
    let batch = (COUNTS_BYTES / Extent::All.bytes_per_dataset(plan)).max(1);
    let mut first = 0;
    while first < plan.datasets() {
        let datasets: Vec<u64> = (first..plan.datasets().min(first + batch)).collect();
        first += batch;
        let counts = count(image, &datasets, &Extent::All, Some(&projection), &findings)?;
        for (dataset, counts) in datasets.into_iter().zip(counts.chunks(plan.levels.len())) {
            let (time, channel) = plan.time_and_channel(dataset);
            let channel = usize::try_from(channel).unwrap_or(usize::MAX);
            widen(&mut ranges[channel], &counts[0]);
            for (level, counts) in counts.iter().enumerate() {
                if let Some(histograms) = counts.histograms(None) {
                    metadata.histograms.insert((level, time, channel), Arc::new(histograms));
                }
            }
        }
    }
    metadata.color_ranges = color_ranges(image, &ranges);
    if !findings.is_damaged() {
        metadata.thumbnail = Some(lock(&projection).render(plan, &metadata.color_ranges));
    }
    Ok(Measured { metadata, keep: findings.are_lasting() })
}
