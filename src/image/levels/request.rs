//! Requests for bricks of computed levels, and passes over all of an image.

use std::sync::Arc;

use crate::cache::Role;
use crate::engine::brick::{Brick, BrickDone, BrickTicket};
use crate::engine::error::ImageError;
use crate::engine::turns::{Headway, Lane, Waiting};
use crate::image::progress::{PassKind, Progress};
use crate::image::voxels::frame::BrickId;
use crate::image::voxels::image::Image;

use super::cost::{bricks_under, open_bytes};
use super::pass::Pass;
use super::visitor::Visitor;
use super::walk::{PassDone, Root, Walk};

/// Passes that read more bricks of the store than this count as large.
const LARGE_PASS_BRICKS: u64 = 256;

/// Times that a reader asks again for a brick that was left unfinished.
const MOST_ABANDONED: usize = 3;

/// Requests a brick of a computed level.
pub(crate) fn request(requested: &Arc<Image>, brick: BrickId, done: BrickDone) {
    let image = requested.clone();
    let task = move || {
        let engine = image.engine().clone();
        let slot = image.slot(brick);
        // Before anything else: whoever produces it may take long.
        if let Some(found) = engine.kept().get(slot) {
            done(Ok(found));
            return;
        }
        let Some(shared) = image.shared_key(slot.key, false) else {
            return enter(image, brick, done, 0);
        };
        engine.find_shared(shared, slot, move |found| match found {
            Some(found) => done(Ok(found)),
            None => enter(image, brick, done, 0),
        });
    };
    // Away from the caller: a checksum may have to be compared.
    requested.engine().resources().workers.spawn(task);
}

/// Has a brick made, by a pass that waits for its turn; `abandoned`: how often the pass that had it under way was
/// called off.
fn enter(image: Arc<Image>, brick: BrickId, done: BrickDone, abandoned: usize) {
    let again = image.clone();
    let done: BrickDone = Box::new(move |result| match result {
        Err(ImageError::Abandoned) if abandoned < MOST_ABANDONED => {
            enter(again, brick, done, abandoned + 1);
        }
        result => done(result),
    });
    let (engine, key) = (image.engine().clone(), image.slot(brick).key);
    let is_large = bricks_under(&image, brick) > LARGE_PASS_BRICKS;
    let lane = if is_large { Lane::Large } else { Lane::Small };
    let bytes = open_bytes(&image, brick.level);
    let start = Box::new(move |ticket, turn| start(image, brick, ticket, turn));
    engine.turns().enter(|| match engine.join(key, done) {
        Role::Leader(ticket) => Some(Waiting { key, ticket, lane, bytes, start }),
        Role::Follower => None,
    });
    engine.turns().advance(None);
}

/// Starts a pass that makes a brick.
fn start(image: Arc<Image>, brick: BrickId, ticket: BrickTicket, headway: Arc<Headway>) {
    // Another pass may have made it between the look and the lead.
    // Read here: if the cache fails, it can still be built.
    let engine = image.engine();
    let found = engine.kept().get(image.slot(brick));
    if let Some((whole, reserved)) = found.and_then(|found| found.whole(engine.resources()).ok()) {
        ticket.complete(Ok(Brick::Memory(whole)));
        drop(reserved);
        engine.turns().advance(Some(&headway));
        return;
    }
    let levels = [image.plan.base(brick.level) + 1, brick.level];
    let total = bricks_under(&image, brick);
    let progress = image.begin_pass(PassKind::ComputeLevels, levels, total);
    let walk = Walk::new(Box::new(std::iter::once(Root { brick, ticket: Some(ticket) })), None);
    Pass::new(image, None, walk, progress, Some(headway), None).pump();
}

/// Shows every brick of some datasets to a visitor, and calls `done` at the end. The visitor also learns of
/// damaged bricks, which do not stop the pass.
pub(crate) fn visit_all(
    image: &Arc<Image>,
    datasets: &[u64],
    visitor: Arc<dyn Visitor>,
    done: PassDone,
) {
    let levels = &image.plan.levels;
    let is_last =
        |level: &usize| image.plan.coarsest() == *level || image.stored(level + 1).is_some();
    // Each chain of levels ends in one that no other is computed from.
    let last: Vec<usize> = (0..levels.len()).filter(is_last).collect();
    let bricks = |level: usize| image.plan.layout.levels()[level].bricks.count();
    let counts: Vec<(usize, u64)> = last.into_iter().map(|level| (level, bricks(level))).collect();
    let stored = (0..levels.len()).filter(|&level| image.stored(level).is_some());
    let total = stored.map(bricks).sum::<u64>() * datasets.len() as u64;
    let datasets = datasets.to_vec();
    let roots = datasets.into_iter().flat_map(move |dataset| {
        counts.clone().into_iter().flat_map(move |(level, count)| {
            (0..count).map(move |brick| BrickId { level, dataset, brick })
        })
    });
    let progress = image.begin_pass(PassKind::ReadAll, [0, image.plan.coarsest()], total);
    visit(image, roots, visitor, progress, done);
}

/// The same for some bricks of one stored level, by their linear numbers.
pub(crate) fn visit_some(
    image: &Arc<Image>,
    datasets: &[u64],
    level: usize,
    bricks: &Arc<[u64]>,
    visitor: Arc<dyn Visitor>,
    done: PassDone,
) {
    let total = (datasets.len() * bricks.len()) as u64;
    let bricks = bricks.clone();
    let datasets = datasets.to_vec();
    let roots = datasets.into_iter().flat_map(move |dataset| {
        let bricks = bricks.clone();
        (0..bricks.len()).map(move |at| BrickId { level, dataset, brick: bricks[at] })
    });
    let progress = image.begin_pass(PassKind::ReadSample, [level, level], total);
    visit(image, roots, visitor, progress, done);
}

fn visit(
    image: &Arc<Image>,
    bricks: impl Iterator<Item = BrickId> + Send + 'static,
    visitor: Arc<dyn Visitor>,
    progress: Arc<Progress>,
    done: PassDone,
) {
    Pass::new(image.clone(), Some(visitor), Walk::over(bricks, done), progress, None, None).pump();
}
