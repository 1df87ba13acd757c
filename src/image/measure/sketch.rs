//! What the thumbnail shows: of the first time point, a level, bricks of it, and the largest values along z.
//!
//! Where these bricks are counted for histograms, a sketch takes them in, so that they are not read again for the
//! thumbnail.

use std::ops::Range;
use std::sync::Mutex;

use crate::image::plan::ImagePlan;
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::resources::memory::{Held, MemoryStats};
use crate::sync::lock;

use super::projection::{self, Projection};
use super::rule::{self, Extent};

/// Voxels of a level that is read whole for the thumbnail, over all channels that it shows.
const THUMBNAIL_BUDGET: u64 = 4 << 20;

/// Channels that are shown. The maximum of more of them shows nothing, and opening a file must not depend on their
/// number.
const MOST_CHANNELS: u64 = 64;

/// The number of channels that are shown, from the first one on.
pub(crate) fn channels(plan: &ImagePlan) -> u64 {
    (plan.ims.channels.len() as u64).min(MOST_CHANNELS)
}

/// The level that is shown, and the bricks that are read for it.
pub(super) fn shown(image: &Image) -> (usize, Extent) {
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

/// Channels up to which a sketch is drawn: it waits for a reader of the thumbnail, 256 KiB for each.
const MOST_SKETCHED: u64 = 8;

/// Part of the memory budget that may be held, by whatever it is, when a sketch is begun.
const HELD_SHARE: u64 = 4;

/// What readers of histograms have seen so far of the channels that are shown.
#[derive(Debug, Default)]
pub(crate) struct Sketch(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Blank,
    Begun {
        projection: Projection,
        level: usize,
        /// A bit for each channel of which all was seen.
        complete: u64,
        _held: Held,
    },
    /// It was painted from, or shows what may be otherwise by now.
    Over,
}

impl Sketch {
    /// Begins with some datasets of which an extent is counted, if it is to take in their bricks: the extent has all
    /// that is shown.
    pub(super) fn begin(&self, image: &Image, datasets: &Range<u64>, extent: &Extent) -> bool {
        let channels = channels(&image.plan);
        let (level, shown) = shown(image);
        if channels > MOST_SKETCHED
            || datasets.start >= channels
            || !(rule::is_small(image) || shown == *extent)
        {
            return false;
        }
        let memory = &image.engine().resources().memory;
        let MemoryStats { budget_bytes, held_bytes, .. } = memory.stats();
        let mut state = lock(&self.0);
        if matches!(*state, State::Blank) && held_bytes < budget_bytes / HELD_SHARE {
            let projection = Projection::new(&image.plan, level, channels);
            let bytes = projection::memory_bytes(channels);
            *state = State::Begun { projection, level, complete: 0, _held: memory.hold(bytes) };
        }
        matches!(*state, State::Begun { .. })
    }

    /// Takes a brick in.
    pub(super) fn see(&self, brick: BrickId, frame: &BrickFrame, bytes: &[u8]) {
        if let State::Begun { projection, level, .. } = &mut *lock(&self.0)
            && *level == brick.level
        {
            add(projection, brick, frame, bytes);
        }
    }

    /// All of some datasets was seen. What may be otherwise when the thumbnail is read is not shown.
    pub(super) fn end(&self, datasets: Range<u64>, is_lasting: bool) {
        let mut state = lock(&self.0);
        match &mut *state {
            State::Begun { complete, .. } if is_lasting => {
                datasets.filter(|&at| at < MOST_SKETCHED).for_each(|at| *complete |= 1 << at);
            }
            _ => *state = State::Over,
        }
    }

    /// What was seen, if it is all; it is not kept any longer.
    pub(super) fn take(&self, plan: &ImagePlan) -> Option<Projection> {
        match std::mem::replace(&mut *lock(&self.0), State::Over) {
            State::Begun { projection, complete, .. } => {
                (u64::from(complete.trailing_ones()) >= channels(plan)).then_some(projection)
            }
            State::Blank | State::Over => None,
        }
    }
}

/// Adds a brick of the level that is shown. Of the first time point, the number of a dataset is that of its channel.
pub(super) fn add(projection: &mut Projection, brick: BrickId, frame: &BrickFrame, bytes: &[u8]) {
    let channel = usize::try_from(brick.dataset).unwrap_or(usize::MAX);
    frame.each_row(bytes, &mut |start, row| projection.add(channel, start, row));
}
