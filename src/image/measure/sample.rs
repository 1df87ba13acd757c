//! The fast way: a level is counted, or a part of one.

use std::sync::{Arc, Mutex};

use crate::engine::error::ImageError;
use crate::image::plan::{ImagePlan, PlannedLevel};
use crate::image::voxels::image::Image;
use crate::ims::{ChannelHistograms, PixelMetadata};
use crate::resources::Aside;
use crate::resources::shares::COUNTS_BYTES;
use crate::sync::lock;

use super::count::{Extent, Findings, count, paint};
use super::histogram::Counts;
use super::measured::{Measured, color_ranges, widen};
use super::thumbnail::{self, Projection};

/// Voxels counted per image where a level is counted whole. The level found has between an eighth of
/// these and all of them, so they must be few beside the fixed cost of opening: at 200 MB/s of
/// decoding this is 20 ms.
pub(super) const LEVEL_BUDGET: u64 = 2 << 20;

/// Voxels sampled per image where no level is small enough. Always all of them: 80 ms.
const SAMPLE_BUDGET: u64 = 8 << 20;

/// Voxels counted per time point and channel even if there are very many of them.
const VOXEL_FLOOR: u64 = 64 << 10;

/// Voxels decoded per image at most. Long series whose bricks are large beside the budgets above
/// are measured at evenly spaced time points, and those between take over the last one's counts.
const SERIES_BUDGET: u64 = 64 << 20;

/// Voxels read for the thumbnail alone.
const THUMBNAIL_BUDGET: u64 = 4 << 20;

/// What is read of an image.
pub(super) struct Sample<'a> {
    image: &'a Arc<Image>,
    level: usize,
    /// Linear numbers of the bricks.
    bricks: Arc<[u64]>,
    /// The level is counted whole.
    is_complete: bool,
}

impl<'a> Sample<'a> {
    pub(super) fn new(image: &'a Arc<Image>) -> Self {
        let plan = &image.plan;
        let share = |budget: u64| (budget / plan.datasets()).max(VOXEL_FLOOR);
        let stored = || (0..plan.levels.len()).filter(|&level| image.stored(level).is_some());
        let within = stored().find(|&level| plan.levels[level].voxels() <= share(LEVEL_BUDGET));
        // Level 0 is always stored.
        let level = within.or(stored().next_back()).unwrap_or(0);
        let bricks = plan.layout.levels()[level].bricks.count();
        let is_complete = within.is_some();
        let bricks = if is_complete {
            (0..bricks).collect()
        } else {
            let per_brick = (plan.levels[level].voxels() / bricks).max(1);
            let wanted = (share(SAMPLE_BUDGET) / per_brick).clamp(1, bricks);
            // The middle of each of `wanted` equal runs of bricks.
            let at = |i: u64| u128::from(2 * i + 1) * u128::from(bricks) / u128::from(2 * wanted);
            (0..wanted).filter_map(|i| u64::try_from(at(i)).ok()).collect()
        };
        Self { image, level, bricks, is_complete }
    }

    fn extent(&self) -> Extent {
        Extent::Some { level: self.level, bricks: self.bricks.clone() }
    }

    /// Memory for the counts.
    pub(super) fn memory_bytes(&self) -> u64 {
        let plan = &self.image.plan;
        self.extent().bytes_per_dataset(plan).saturating_mul(plan.datasets()).min(COUNTS_BYTES)
    }

    /// Measures the image; `memory` is reserved for it.
    ///
    /// # Errors
    /// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
    pub(super) fn measure(&self, memory: &Arc<Aside>) -> Result<Measured, ImageError> {
        let plan = &self.image.plan;
        let channels = plan.ims.channels.len() as u64;
        let findings = Findings::new(memory);
        let mut metadata = PixelMetadata::default();
        let mut ranges = vec![None; plan.ims.channels.len()];
        let level = self.thumbnail_level();
        let projection = level.map(|level| Arc::new(Mutex::new(Projection::new(plan, level))));
        let is_in_passing = self.is_complete && level == Some(self.level);
        let in_passing = projection.as_ref().filter(|_| is_in_passing);
        let stride = self.time_stride();
        let times = (0..plan.ims.time_points).step_by(usize::try_from(stride).unwrap_or(1));
        let measured: Vec<u64> =
            times.flat_map(|time| time * channels..(time + 1) * channels).collect();
        let batch = (COUNTS_BYTES / self.extent().bytes_per_dataset(plan)).max(1);
        for datasets in measured.chunks(usize::try_from(batch).unwrap_or(usize::MAX)) {
            let counts = count(self.image, datasets, &self.extent(), in_passing, &findings)?;
            for (&dataset, counts) in datasets.iter().zip(&counts) {
                let (time, channel) = plan.time_and_channel(dataset);
                let channel = usize::try_from(channel).unwrap_or(usize::MAX);
                widen(&mut ranges[channel], counts);
                let until = (time + stride).min(plan.ims.time_points);
                for (level, histograms) in histograms(plan, counts).into_iter().enumerate() {
                    let Some(histograms) = histograms else { continue };
                    for time in time..until {
                        metadata.histograms.insert((level, time, channel), histograms.clone());
                    }
                }
            }
        }
        metadata.color_ranges = color_ranges(self.image, &ranges);
        if let Some(projection) = projection {
            if !is_in_passing {
                paint(self.image, &projection, &findings)?;
            }
            if !findings.is_damaged() {
                let thumbnail = lock(&projection).render(plan, &metadata.color_ranges);
                metadata.thumbnail = Some(thumbnail);
            }
        }
        Ok(Measured { metadata, keep: findings.are_lasting() })
    }

    /// The level of the thumbnail: the one that `ImarisWriter` would take, else the finest that is small
    /// enough; `None` where none is.
    fn thumbnail_level(&self) -> Option<usize> {
        let plan = &self.image.plan;
        let channels = plan.ims.channels.len() as u64;
        let wanted = thumbnail::level_for(plan);
        (wanted..plan.levels.len()).find(|&level| {
            let is_read = level == self.level && self.is_complete;
            let is_small = plan.levels[level].voxels().saturating_mul(channels) <= THUMBNAIL_BUDGET;
            self.image.stored(level).is_some() && (is_read || is_small)
        })
    }

    /// Distance between the time points that are measured.
    fn time_stride(&self) -> u64 {
        let plan = &self.image.plan;
        let bricks = plan.layout.levels()[self.level].bricks.count();
        let per_brick = (plan.levels[self.level].voxels() / bricks).max(1);
        let per_dataset = per_brick.saturating_mul(self.bricks.len() as u64);
        let affordable = (SERIES_BUDGET / per_dataset).max(1);
        plan.datasets().div_ceil(affordable).min(plan.ims.time_points)
    }
}

/// The histograms of each level, from the counts of one.
fn histograms(plan: &ImagePlan, counts: &Counts) -> Vec<Option<Arc<ChannelHistograms>>> {
    let of_level = |level: &PlannedLevel| counts.histograms(Some(level.voxels())).map(Arc::new);
    plan.levels.iter().map(of_level).collect()
}
