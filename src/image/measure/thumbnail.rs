//! The thumbnail: its bytes; `sketch.rs` has the voxels that it shows.
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
use super::rule::Extent;
use super::sketch::{Sketch, add, channels, shown};

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

/// Paints the thumbnail, of a sketch or of voxels that are read: rows of red, green, blue, alpha, `4 * width * height`
/// bytes, and whether they may be kept on disk. `displayed` has the ranges of all channels that are shown, or more;
/// `memory` is reserved for it.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
pub(crate) fn measure(
    image: &Arc<Image>,
    displayed: &[Measured],
    sketch: &Sketch,
    memory: &Arc<Aside>,
) -> Result<(Vec<u8>, bool), ImageError> {
    let channels = channels(&image.plan);
    let known = displayed.iter().flat_map(|found| found.ranges.iter().copied().flatten());
    let ranges: Vec<(f64, f64)> =
        known.take(usize::try_from(channels).unwrap_or(usize::MAX)).collect();
    let findings = Findings::new(memory);
    let rgba = match sketch.take(&image.plan) {
        Some(projection) => projection.render(&image.plan, &ranges),
        None => lock(&*project(image, channels, &findings)?).render(&image.plan, &ranges),
    };
    let is_lasting = displayed.iter().all(|found| found.is_lasting) && findings.are_lasting();
    Ok((rgba, is_lasting))
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
        if brick.level == level {
            add(&mut lock(&painted), brick, frame, bytes);
        }
    };
    let datasets: Vec<u64> = (0..channels).collect();
    visit(image, &datasets, &extent, Reader::new(see, findings))?;
    Ok(projection)
}
