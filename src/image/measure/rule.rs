//! Which voxels of a dataset are counted: a pure function of the plan and of where the store lies.
//!
//! Three cases, the same for every time point and channel:
//!
//! * Small images, and all images with `--statistics exact`: every voxel of every level.
//! * The finest stored level within a budget of voxels for each dataset, counted whole.
//! * Where even the coarsest stored level is too large: bricks of it, evenly spaced, up to a second budget.

use std::ops::Range;

use crate::image::options::Statistics;
use crate::image::plan::ImagePlan;
use crate::image::plan::pyramid::LevelOrigin;
use crate::image::voxels::image::Image;

use super::histogram::Counts;

/// Voxels of level 0, over all time points and channels, up to which an image counts as small: all of it is
/// read in a tenth of a second.
const SMALL_IMAGE_VOXELS: u64 = 16 << 20;

/// The same for images on another machine: what the fast way would read.
const SMALL_REMOTE_IMAGE_VOXELS: u64 = LEVEL_BUDGET;

/// Voxels counted per image where a level is counted whole. The level found has between an eighth of
/// these and all of them, so they must be few beside the fixed cost of opening: at 200 MB/s of
/// decoding this is 20 ms.
const LEVEL_BUDGET: u64 = 2 << 20;

/// Voxels sampled per image where no level is small enough. Always all of them: 80 ms.
pub(super) const SAMPLE_BUDGET: u64 = 8 << 20;

/// Bricks sampled of a dataset. Small ones have fewer voxels then: each costs a look at a file, or a request.
const MOST_SAMPLED: u64 = 1024;

/// Voxels counted per time point and channel even if there are very many of them.
const VOXEL_FLOOR: u64 = 64 << 10;

/// Which bricks of a dataset are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of every level.
    All,
    /// Some of one stored level: `count` of those `among`, which are linear numbers, evenly spaced.
    Some { level: usize, among: Range<u64>, count: u64 },
}

impl Extent {
    /// All bricks of a stored level.
    pub(super) fn whole(plan: &ImagePlan, level: usize) -> Self {
        let bricks = bricks(plan, level);
        Self::Some { level, among: 0..bricks, count: bricks }
    }

    /// As many bricks of a stored level, of those `among`, as have about `budget` voxels; one at least, and not very
    /// many.
    pub(super) fn sampled(plan: &ImagePlan, level: usize, among: Range<u64>, budget: u64) -> Self {
        let per_brick = (plan.levels[level].voxels() / bricks(plan, level)).max(1);
        let count = (budget / per_brick).min(MOST_SAMPLED).clamp(1, among.end - among.start);
        Self::Some { level, among, count }
    }

    pub(super) fn levels(&self, plan: &ImagePlan) -> Range<usize> {
        match self {
            Self::All => 0..plan.levels.len(),
            Self::Some { level, .. } => *level..*level + 1,
        }
    }

    /// Most voxels of a dataset that are read of one of its levels.
    pub(super) fn voxels(&self, plan: &ImagePlan, level: usize) -> u64 {
        let planned = &plan.levels[level];
        match self {
            Self::All => planned.voxels(),
            Self::Some { count, .. } => {
                let per_brick = planned.brick.into_iter().fold(1, u64::saturating_mul);
                per_brick.saturating_mul(*count).min(planned.voxels())
            }
        }
    }

    /// Bytes of the counts of one dataset: one to count in and one to add up for each level.
    pub(super) fn counts_bytes(&self, plan: &ImagePlan) -> u64 {
        Counts::bytes(plan.target).saturating_mul(2 * self.levels(plan).len() as u64)
    }
}

/// Linear numbers of `count` bricks of those `among`: the middle one of each of `count` equal runs.
pub(super) fn evenly(among: Range<u64>, count: u64) -> impl Iterator<Item = u64> {
    let bricks = u128::from(among.end - among.start);
    let at = move |i: u64| u128::from(2 * i + 1) * bricks / u128::from(2 * count);
    (0..count).filter_map(move |i| Some(among.start + u64::try_from(at(i)).ok()?))
}

/// What is counted of each dataset.
pub(super) fn extent(image: &Image, rule: Statistics) -> Extent {
    let plan = &image.plan;
    if rule == Statistics::Exact || is_small(image) {
        return Extent::All;
    }
    let share = |budget: u64| (budget / plan.datasets()).max(VOXEL_FLOOR);
    let within = stored(plan).find(|&level| plan.levels[level].voxels() <= share(LEVEL_BUDGET));
    if let Some(level) = within {
        return Extent::whole(plan, level);
    }
    let level = coarsest_stored(plan);
    Extent::sampled(plan, level, 0..bricks(plan, level), share(SAMPLE_BUDGET))
}

/// The time points that displayed ranges are measured of, in ascending order.
pub(super) fn times_of_ranges(plan: &ImagePlan) -> Vec<u64> {
    let last = plan.ims.time_points - 1;
    let mut times = vec![0, plan.ims.time_points / 2, last];
    times.dedup();
    times
}

/// Whether all of an image is read in a moment.
pub(crate) fn is_small(image: &Image) -> bool {
    let plan = &image.plan;
    let voxels = plan.levels[0].voxels().saturating_mul(plan.datasets());
    let most = if image.is_remote() { SMALL_REMOTE_IMAGE_VOXELS } else { SMALL_IMAGE_VOXELS };
    voxels <= most
}

/// The stored levels, finest first.
pub(super) fn stored(plan: &ImagePlan) -> impl DoubleEndedIterator<Item = usize> {
    (0..plan.levels.len()).filter(|&level| plan.levels[level].origin != LevelOrigin::Computed)
}

pub(super) fn coarsest_stored(plan: &ImagePlan) -> usize {
    // Level 0 is always stored.
    stored(plan).next_back().unwrap_or(0)
}

fn bricks(plan: &ImagePlan, level: usize) -> u64 {
    plan.layout.levels()[level].bricks.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bricks_are_evenly_spaced() {
        assert_eq!(evenly(0..7, 7).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(evenly(0..9, 3).collect::<Vec<_>>(), [1, 4, 7]);
        assert_eq!(evenly(100..200, 1).collect::<Vec<_>>(), [150]);
        let far = u64::MAX - 10..u64::MAX;
        assert_eq!(evenly(far, 2).collect::<Vec<_>>(), [u64::MAX - 8, u64::MAX - 3]);
    }
}
