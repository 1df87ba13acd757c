//! Which bricks the readers of a file will want next.
//!
//! A reader who wants a third brick in the same direction, at the pace of the first two, is followed: the
//! bricks beyond are made while workers have nothing else to do. Directions are the order of the file
//! (a copy, an export), each axis of the image (stepping through z, panning) and time. Nothing is
//! foretold across levels: which of the finer bricks under a coarse one a viewer will want is not known.
//!
//! Wrong guesses are paid for: besides the first few, only an eighth of what proved right may be in
//! advance. A guess that nobody reads takes memory for a while, but no room in the cache on disk.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;

use lru::LruCache;

use super::frame::BrickId;
use super::lock;
use super::plan::ImagePlan;

/// Bricks of which the readers' way is remembered.
const WAY: NonZeroUsize = NonZeroUsize::new(2048).unwrap();

/// Bricks that may be made in advance for each one that has proved right.
const PROVED_SHARE: u64 = 8;

/// Bricks that may be in advance at all.
const MOST_AHEAD: u64 = 64;

/// After so many runs that were not followed, for want of credit, the past is forgotten.
const FORGIVEN_AFTER: u32 = 16;

/// Bricks between two of a run through the file: several readers may run at a time.
const FILE_PACE: u64 = 16;

/// The way of the readers of one file.
#[derive(Debug)]
pub(super) struct ReadAhead {
    state: Mutex<State>,
    /// Bricks that may be made on trust.
    first: u64,
}

#[derive(Debug)]
struct State {
    /// Bricks that were wanted, and when: the how manieth.
    way: LruCache<BrickId, u64>,
    wanted: u64,
    /// Bricks made, or being made, that nobody has wanted yet.
    ahead: HashMap<BrickId, Heading>,
    /// Of these and of earlier ones, how many nobody has wanted.
    unproved: u64,
    proved: u64,
    refused: u32,
}

/// Where a reader is heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heading {
    /// Through the file, coarsest level first.
    File,
    /// Along an axis (z, y, x).
    Axis(usize, Step),
    /// Through time.
    Time(Step),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Forth,
    Back,
}

const HEADINGS: [Heading; 9] = [
    Heading::File,
    Heading::Axis(0, Step::Forth),
    Heading::Axis(0, Step::Back),
    Heading::Time(Step::Forth),
    Heading::Time(Step::Back),
    Heading::Axis(1, Step::Forth),
    Heading::Axis(1, Step::Back),
    Heading::Axis(2, Step::Forth),
    Heading::Axis(2, Step::Back),
];

impl Step {
    /// `at` one step further, half-open within `0..end`.
    fn from(self, at: u64, by: u64, end: u64) -> Option<u64> {
        let next = match self {
            Self::Forth => at.checked_add(by)?,
            Self::Back => at.checked_sub(by)?,
        };
        (next < end).then_some(next)
    }

    fn turned(self) -> Self {
        match self {
            Self::Forth => Self::Back,
            Self::Back => Self::Forth,
        }
    }
}

impl Heading {
    fn next(self, plan: &ImagePlan, brick: BrickId) -> Option<BrickId> {
        match self {
            Self::File => next_in_file(plan, brick),
            Self::Axis(axis, step) => along_axis(plan, brick, axis, step),
            Self::Time(step) => along_time(plan, brick, step),
        }
    }

    fn previous(self, plan: &ImagePlan, brick: BrickId) -> Option<BrickId> {
        match self {
            Self::File => previous_in_file(plan, brick),
            Self::Axis(axis, step) => along_axis(plan, brick, axis, step.turned()),
            Self::Time(step) => along_time(plan, brick, step.turned()),
        }
    }
}

fn bricks_of(plan: &ImagePlan, level: usize) -> [u64; 3] {
    plan.layout.levels()[level].bricks.bricks()
}

fn next_in_file(plan: &ImagePlan, BrickId { level, dataset, brick }: BrickId) -> Option<BrickId> {
    if brick + 1 < bricks_of(plan, level).iter().product() {
        Some(BrickId { level, dataset, brick: brick + 1 })
    } else if dataset + 1 < plan.datasets() {
        Some(BrickId { level, dataset: dataset + 1, brick: 0 })
    } else {
        Some(BrickId { level: level.checked_sub(1)?, dataset: 0, brick: 0 })
    }
}

fn previous_in_file(
    plan: &ImagePlan,
    BrickId { level, dataset, brick }: BrickId,
) -> Option<BrickId> {
    let last_of = |level: usize| bricks_of(plan, level).iter().product::<u64>() - 1;
    if brick > 0 {
        Some(BrickId { level, dataset, brick: brick - 1 })
    } else if dataset > 0 {
        Some(BrickId { level, dataset: dataset - 1, brick: last_of(level) })
    } else if level + 1 < plan.levels.len() {
        let (level, dataset) = (level + 1, plan.datasets() - 1);
        Some(BrickId { level, dataset, brick: last_of(level) })
    } else {
        None
    }
}

fn along_axis(plan: &ImagePlan, at: BrickId, axis: usize, step: Step) -> Option<BrickId> {
    let grid = bricks_of(plan, at.level);
    let mut position = plan.layout.levels()[at.level].bricks.brick_position(at.brick);
    position[axis] = step.from(position[axis], 1, grid[axis])?;
    let brick = (position[0] * grid[1] + position[1]) * grid[2] + position[2];
    Some(BrickId { brick, ..at })
}

fn along_time(plan: &ImagePlan, at: BrickId, step: Step) -> Option<BrickId> {
    let channels = plan.ims.channels.len() as u64;
    let dataset = step.from(at.dataset, channels, plan.datasets())?;
    Some(BrickId { dataset, ..at })
}

impl ReadAhead {
    /// `first`: bricks that may be made on trust.
    pub(super) fn new(first: usize) -> Self {
        let state = State {
            way: LruCache::new(WAY),
            wanted: 0,
            ahead: HashMap::new(),
            unproved: 0,
            proved: 0,
            refused: 0,
        };
        Self { state: Mutex::new(state), first: first as u64 }
    }

    /// A reader wants a brick that is in memory. If it was made in advance, that has proved right:
    /// tells what to make next, at most `most` bricks in advance.
    pub(super) fn found(&self, plan: &ImagePlan, brick: BrickId, most: u64) -> Option<Vec<BrickId>> {
        let mut state = lock(&self.state);
        let heading = state.ahead.remove(&brick)?;
        state.proved += 1;
        state.unproved = state.unproved.saturating_sub(1);
        state.note(brick);
        Some(self.extend(&mut state, plan, brick, heading, most))
    }

    /// A reader wants a brick that is not at hand; tells what to make next, at most `most` bricks in
    /// advance.
    pub(super) fn missed(&self, plan: &ImagePlan, brick: BrickId, most: u64) -> Vec<BrickId> {
        let mut state = lock(&self.state);
        let heading = match state.ahead.remove(&brick) {
            // It is being made.
            Some(heading) => {
                state.proved += 1;
                state.unproved = state.unproved.saturating_sub(1);
                Some(heading)
            }
            None => HEADINGS.into_iter().find(|heading| state.is_run(plan, brick, *heading)),
        };
        state.note(brick);
        let Some(heading) = heading else { return Vec::new() };
        if state.unproved >= self.credit(&state) {
            state.refused += 1;
            if state.refused >= FORGIVEN_AFTER {
                (state.refused, state.unproved) = (0, 0);
                state.ahead.clear();
            }
        }
        self.extend(&mut state, plan, brick, heading, most)
    }

    /// A brick is not made after all, or was there.
    pub(super) fn not_made(&self, brick: BrickId) {
        let mut state = lock(&self.state);
        if state.ahead.remove(&brick).is_some() {
            state.unproved = state.unproved.saturating_sub(1);
        }
    }

    /// Bricks that may be in advance.
    fn credit(&self, state: &State) -> u64 {
        (self.first + state.proved / PROVED_SHARE).min(MOST_AHEAD)
    }

    fn extend(
        &self,
        state: &mut State,
        plan: &ImagePlan,
        brick: BrickId,
        heading: Heading,
        most: u64,
    ) -> Vec<BrickId> {
        let mut next = Vec::new();
        let credit = self.credit(state);
        let mut at = brick;
        for _ in 0..credit.min(most) {
            let Some(beyond) = heading.next(plan, at) else { break };
            at = beyond;
            if state.unproved >= credit {
                break;
            }
            if !state.ahead.contains_key(&at) {
                state.ahead.insert(at, heading);
                state.unproved += 1;
                next.push(at);
            }
        }
        next
    }
}

impl State {
    fn note(&mut self, brick: BrickId) {
        self.wanted += 1;
        self.way.put(brick, self.wanted);
    }

    /// Whether two bricks before this one were wanted at an even pace.
    fn is_run(&self, plan: &ImagePlan, brick: BrickId, heading: Heading) -> bool {
        let when = |brick: BrickId| self.way.peek(&brick).copied();
        let Some(one) = heading.previous(plan, brick) else { return false };
        let Some(two) = heading.previous(plan, one) else { return false };
        let (Some(one), Some(two)) = (when(one), when(two)) else { return false };
        let Some(first_pace) = one.checked_sub(two) else { return false };
        let pace = self.wanted + 1 - one;
        if heading == Heading::File {
            return pace.max(first_pace) <= FILE_PACE;
        }
        pace.abs_diff(first_pace) <= pace.min(first_pace) / 4
    }
}
