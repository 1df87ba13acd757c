//! The thumbnail: which voxels it shows, and its bytes.
//!
//! It is made from the level that `ImarisWriter` would take, where that is read in a moment; else from the finest
//! stored level below it that is small enough; else from bricks in the middle of the coarsest stored level. Its size
//! does not depend on that choice, and it is the same whatever voxels the histograms are made from. What is absent or
//! damaged is black.

use std::sync::{Arc, Mutex};

use crate::engine::error::ImageError;
use crate::image::levels::most_open_bytes;
use crate::image::plan::ImagePlan;
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::resources::Aside;
use crate::sync::lock;

use super::count::{Findings, Reader, visit};
use super::projection::{self, Projection};
use super::ranges::Measured;
use super::rule::{self, Extent};

/// Voxels of a level that is read whole for the thumbnail, over all channels that it shows.
const THUMBNAIL_BUDGET: u64 = 4 << 20;

/// Channels that are shown. The maximum of more of them shows nothing, and opening a file must not depend on their
/// number.
const MOST_CHANNELS: u64 = 64;

/// Width and height in pixels, 1 to 256.
pub(crate) fn size(plan: &ImagePlan) -> (u32, u32) {
    projection::size(plan)
}

/// Memory that [`measure`] takes beside the bricks that are decoded.
pub(crate) fn memory_bytes(image: &Image) -> u64 {
    let (_, extent) = shown(image);
    let open_bytes = if extent == Extent::All { most_open_bytes(image) } else { 0 };
    let painted = projection::memory_bytes(channels(&image.plan));
    painted.saturating_add(open_bytes)
}

/// Reads voxels and paints the thumbnail: rows of red, green, blue, alpha, `4 * width * height` bytes, and whether they
/// may be kept on disk. `memory` is reserved for it; `displayed` are the ranges of [`channels`] or more.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
pub(crate) fn measure(
    image: &Arc<Image>,
    displayed: &[Measured],
    memory: &Arc<Aside>,
) -> Result<(Vec<u8>, bool), ImageError> {
    let channels = channels(&image.plan);
    let known = displayed.iter().flat_map(|found| found.ranges.iter().copied().flatten());
    let ranges: Vec<(f64, f64)> =
        known.take(usize::try_from(channels).unwrap_or(usize::MAX)).collect();
    let findings = Findings::new(memory);
    let projection = project(image, channels, &findings)?;
    let rgba = lock(&projection).render(&image.plan, &ranges);
    let is_lasting = displayed.iter().all(|found| found.is_lasting) && findings.are_lasting();
    Ok((rgba, is_lasting))
}

/// Channels that are shown.
pub(crate) fn channels(plan: &ImagePlan) -> u64 {
    (plan.ims.channels.len() as u64).min(MOST_CHANNELS)
}

/// The level that is shown, and the bricks that are read for it.
fn shown(image: &Image) -> (usize, Extent) {
    let plan = &image.plan;
    let wanted = projection::level_for(plan);
    if rule::is_small(image) {
        let is_stored = image.stored(wanted).is_some();
        return (wanted, if is_stored { Extent::whole(plan, wanted) } else { Extent::All });
    }
    let budget = THUMBNAIL_BUDGET / channels(plan);
    let is_cheap = |&level: &usize| level >= wanted && plan.levels[level].voxels() <= budget;
    if let Some(level) = rule::stored(plan).find(is_cheap) {
        return (level, Extent::whole(plan, level));
    }
    let level = rule::coarsest_stored(plan);
    let [depth, height, width] = plan.layout.levels()[level].bricks.bricks();
    let middle = depth / 2 * height * width..(depth / 2 + 1) * height * width;
    (level, Extent::sampled(plan, level, middle, rule::SAMPLE_BUDGET / channels(plan)))
}

/// Reads the first time point.
fn project(
    image: &Arc<Image>,
    channels: u64,
    findings: &Arc<Findings>,
) -> Result<Arc<Mutex<Projection>>, ImageError> {
    let (level, extent) = shown(image);
    let projection = Arc::new(Mutex::new(Projection::new(&image.plan, level, channels)));
    let painted = projection.clone();
    let see = move |brick: BrickId, frame: &BrickFrame, bytes: &[u8]| {
        // Of time point 0, the number of the dataset is that of the channel.
        let channel = usize::try_from(brick.dataset).unwrap_or(usize::MAX);
        if brick.level == level {
            let mut projection = lock(&painted);
            frame.each_row(bytes, &mut |start, row| projection.add(channel, start, row));
        }
    };
    let datasets: Vec<u64> = (0..channels).collect();
    visit(image, &datasets, &extent, Reader::new(see, findings))?;
    Ok(projection)
}
