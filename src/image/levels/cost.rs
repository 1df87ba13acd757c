//! What passes cost: threads, memory while bricks of computed levels are made, and bricks of the store.

use std::thread;

use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::resources::shares::FETCH_THREADS;

/// Most memory that the bricks take which a pass up to a level has open: two of each level below it, as
/// the last children of one are still under way when the next one is begun.
pub(super) fn open_bytes(image: &Image, level: usize) -> u64 {
    let levels = image.plan.layout.levels();
    let bytes = |level: usize| levels[level].bricks.full_brick_bytes();
    let below = (image.plan.base(level) + 1..level).map(|level| bytes(level).saturating_mul(2));
    below.fold(bytes(level), u64::saturating_add)
}

/// The same for a pass that shows everything.
pub(crate) fn most_open_bytes(image: &Image) -> u64 {
    let computed = (0..image.plan.levels.len()).filter(|&level| image.stored(level).is_none());
    computed.map(|level| open_bytes(image, level)).max().unwrap_or(0)
}

/// Number of bricks of the store that a brick of a computed level is made from.
pub(super) fn bricks_under(image: &Image, brick: BrickId) -> u64 {
    let plan = &image.plan;
    let base = plan.base(brick.level);
    let frame = BrickFrame::new(plan, brick);
    let bricks = (0..3).map(|axis| {
        // Sizes are halved or kept, so the ratio is right but for what is dropped.
        let factor = plan.levels[base].size[axis] / plan.levels[brick.level].size[axis];
        let voxels = frame.voxels[axis].end - frame.voxels[axis].start;
        voxels.saturating_mul(factor).div_ceil(plan.levels[base].brick[axis])
    });
    bricks.fold(1, u64::saturating_mul)
}

/// Tasks of a pass that are under way at a time.
pub(super) fn tasks_at_a_time(image: &Image) -> usize {
    // Threads that wait for another machine need no processor.
    if image.is_remote() {
        FETCH_THREADS
    } else {
        thread::available_parallelism().map_or(2, |cores| cores.get() + 2)
    }
}
