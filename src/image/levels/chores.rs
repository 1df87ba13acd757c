//! Passes that no reader waits for: their bricks are to be in the cache, or are compared with it.

use std::ops::Range;
use std::sync::Arc;

use crate::image::plan::pyramid::LevelOrigin;
use crate::image::progress::PassKind;
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::image::work::Work;

use super::cost::{most_open_bytes, open_bytes};
use super::errand::Errand;
use super::pass::Pass;
use super::visitor::Visitor;
use super::walk::{PassDone, Walk};

/// All bricks of some levels and datasets, both half-open: coarsest level first.
pub(crate) fn bricks_of(
    image: &Image,
    levels: Range<usize>,
    datasets: Range<u64>,
) -> impl Iterator<Item = BrickId> + Send + use<> {
    let grids = image.plan.layout.levels();
    let counts: Vec<(usize, u64)> =
        levels.rev().map(|level| (level, grids[level].bricks.count())).collect();
    counts.into_iter().flat_map(move |(level, count)| {
        datasets
            .clone()
            .flat_map(move |dataset| (0..count).map(move |brick| BrickId { level, dataset, brick }))
    })
}

/// Has all bricks of some levels and datasets made that are not in the cache, of which there are about `missing`, and
/// keeps them there. Each brick of the store is read once. A damaged chunk costs its bricks, and does not end the pass.
pub(crate) fn keep_all(
    image: &Arc<Image>,
    levels: Range<usize>,
    datasets: Range<u64>,
    missing: u64,
    work: &Arc<Work>,
    done: PassDone,
) {
    let (walked, stopped) = (image.clone(), work.clone());
    // Looked at when their turn comes: those under a coarser one are there by then.
    let roots = bricks_of(image, levels.clone(), datasets)
        .take_while(move |_| !stopped.is_stopped())
        .filter(move |brick| !walked.engine().kept().is_cached(walked.slot(*brick)));
    let computed =
        levels.clone().filter(|level| image.plan.levels[*level].origin == LevelOrigin::Computed);
    let open = computed.map(|level| open_bytes(image, level)).max().unwrap_or(0);
    let held = image.engine().resources().memory.hold(open);
    let done: PassDone = Box::new(move |result| {
        drop(held);
        done(result);
    });
    let progress =
        image.begin_pass(PassKind::Warm, [levels.start, levels.end.saturating_sub(1)], missing);
    let walk = Walk::over(roots, done);
    let errand = Errand { work: work.clone(), kept: levels };
    Pass::new(image.clone(), None, walk, progress, None, Some(errand)).pump();
}

/// Shows bricks to a visitor as the store gives them, whatever the cache has: those `wanted`, and all that they are
/// made from. Nothing is kept.
pub(crate) fn show_from_store(
    image: &Arc<Image>,
    wanted: impl Fn(BrickId) -> bool + Send + 'static,
    visitor: Arc<dyn Visitor>,
    work: &Arc<Work>,
    done: PassDone,
) {
    let levels = 0..image.plan.levels.len();
    let all = bricks_of(image, levels.clone(), 0..image.plan.datasets());
    let (walked, stopped) = (image.clone(), work.clone());
    let roots = all.take_while(move |_| !stopped.is_stopped()).filter(move |&brick| {
        let mut above = std::iter::successors(parent(&walked, brick), |at| parent(&walked, *at));
        wanted(brick) && !above.any(&wanted)
    });
    let held = image.engine().resources().memory.hold(most_open_bytes(image));
    let done: PassDone = Box::new(move |result| {
        drop(held);
        done(result);
    });
    let stored = levels.filter(|&level| image.stored(level).is_some());
    let total = stored.map(|level| image.plan.layout.levels()[level].bricks.count()).sum::<u64>();
    let total = total * image.plan.datasets();
    let progress = image.begin_pass(PassKind::Compare, [0, image.plan.coarsest()], total);
    let errand = Errand { work: work.clone(), kept: 0..0 };
    let walk = Walk::over(roots, done);
    Pass::new(image.clone(), Some(visitor), walk, progress, None, Some(errand)).pump();
}

/// The brick of the computed level below that a brick is shown with: the one that holds its first voxel, or the
/// last one if that voxel is dropped.
fn parent(image: &Image, brick: BrickId) -> Option<BrickId> {
    let level = brick.level + 1;
    let own = image.plan.levels.get(level).filter(|own| own.origin == LevelOrigin::Computed)?;
    let halved = own.halved(&image.plan.levels[brick.level]);
    let frame = BrickFrame::new(&image.plan, brick);
    let at: [u64; 3] = std::array::from_fn(|axis| {
        let step = if halved[axis] { 2 } else { 1 };
        (frame.voxels[axis].start / step).min(own.size[axis] - 1) / own.brick[axis]
    });
    let [_, height, width] = image.plan.layout.levels()[level].bricks.bricks();
    let number = (at[0] * height + at[1]) * width + at[2];
    Some(BrickId { level, dataset: brick.dataset, brick: number })
}
