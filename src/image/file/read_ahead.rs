//! Which bricks the readers of a file will request next.
//!
//! A reader who wants a third brick in the same direction, at the pace of the first two, is followed: the
//! bricks beyond are made while workers have nothing else to do. Directions are the order of the file
//! (a copy, an export) to the end of a level, each axis of the image (stepping through z, panning) and
//! time. There is no read-ahead across levels: which of the finer bricks under a coarse one a viewer will
//! request is not known.
//!
//! Wrong guesses are paid for: besides the first few, only an eighth of what proved right may be in
//! advance. A wrong guess takes memory for a while, but no room in the cache on disk.

use std::sync::Mutex;

use lru::LruCache;

use crate::image::plan::ImagePlan;
use crate::image::voxels::frame::BrickId;
use crate::sync::lock;

/// Bricks of which the readers' way is remembered.
const WAY: usize = 2048;

/// Bricks that may be made in advance for each one that has proved right.
const PROVED_SHARE: u64 = 8;

/// Bricks that may be in advance at all.
const MOST_AHEAD: u64 = 64;

/// After this many runs that were not followed, for want of credit, the past is forgotten.
const FORGIVEN_AFTER: u32 = 16;

/// Bricks between two of a run through the file: several readers may run at a time.
const FILE_PACE: u64 = 16;

/// The way of the readers of one file.
#[derive(Debug)]
pub(super) struct ReadAhead {
    bricks: Bricks,
    state: Mutex<State>,
    /// Bricks that may be made on trust.
    first: u64,
}

#[derive(Debug)]
struct State {
    /// Requested bricks, each with its sequence number.
    way: LruCache<BrickId, u64>,
    wanted: u64,
    /// Bricks made in advance, or in production, that no reader has requested yet.
    ahead: LruCache<BrickId, Heading>,
    /// By number of heading.
    trust: [Trust; HEADINGS],
}

/// What came of following a heading.
#[derive(Debug, Clone, Copy, Default)]
struct Trust {
    /// Bricks made that no reader has requested.
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

const HEADINGS: usize = 9;

/// What is tried, in this order, and how many bricks before must fit. Bricks in a row of a view look like
/// a run through the file, until it ends.
const TRIED: [(Heading, usize); HEADINGS + 1] = [
    (Heading::File, 4),
    (Heading::Axis(0, Step::Forth), 2),
    (Heading::Axis(0, Step::Back), 2),
    (Heading::Time(Step::Forth), 2),
    (Heading::Time(Step::Back), 2),
    (Heading::File, 2),
    (Heading::Axis(1, Step::Forth), 2),
    (Heading::Axis(1, Step::Back), 2),
    (Heading::Axis(2, Step::Forth), 2),
    (Heading::Axis(2, Step::Back), 2),
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
    fn number(self) -> usize {
        let back = |step| usize::from(step == Step::Back);
        match self {
            Self::File => 0,
            Self::Time(step) => 1 + back(step),
            Self::Axis(axis, step) => 3 + 2 * axis + back(step),
        }
    }

    fn turned(self) -> Option<Self> {
        match self {
            Self::File => None,
            Self::Axis(axis, step) => Some(Self::Axis(axis, step.turned())),
            Self::Time(step) => Some(Self::Time(step.turned())),
        }
    }
}

/// The bricks of a file: what lies beside what.
#[derive(Debug)]
struct Bricks {
    /// Bricks along (z, y, x) of a dataset of each level, finest first.
    grids: Vec<[u64; 3]>,
    datasets: u64,
    channels: u64,
}

impl Bricks {
    fn count(&self, level: usize) -> u64 {
        self.grids[level].iter().product()
    }

    fn next(&self, at: BrickId, heading: Heading) -> Option<BrickId> {
        match heading {
            Heading::File => self.next_in_file(at),
            Heading::Axis(axis, step) => self.along_axis(at, axis, step),
            Heading::Time(step) => {
                let dataset = step.from(at.dataset, self.channels, self.datasets)?;
                Some(BrickId { dataset, ..at })
            }
        }
    }

    fn previous(&self, at: BrickId, heading: Heading) -> Option<BrickId> {
        match heading.turned() {
            Some(turned) => self.next(at, turned),
            None => self.previous_in_file(at),
        }
    }

    fn next_in_file(&self, BrickId { level, dataset, brick }: BrickId) -> Option<BrickId> {
        if brick + 1 < self.count(level) {
            Some(BrickId { level, dataset, brick: brick + 1 })
        } else if dataset + 1 < self.datasets {
            Some(BrickId { level, dataset: dataset + 1, brick: 0 })
        } else {
            Some(BrickId { level: level.checked_sub(1)?, dataset: 0, brick: 0 })
        }
    }

    fn previous_in_file(&self, BrickId { level, dataset, brick }: BrickId) -> Option<BrickId> {
        if brick > 0 {
            return Some(BrickId { level, dataset, brick: brick - 1 });
        }
        let (level, dataset) = match dataset {
            0 => (level + 1, self.datasets - 1),
            _ => (level, dataset - 1),
        };
        let is_there = level < self.grids.len();
        is_there.then(|| BrickId { level, dataset, brick: self.count(level) - 1 })
    }

    fn along_axis(&self, at: BrickId, axis: usize, step: Step) -> Option<BrickId> {
        let [depth, height, width] = self.grids[at.level];
        let mut position = [at.brick / width / height, at.brick / width % height, at.brick % width];
        position[axis] = step.from(position[axis], 1, [depth, height, width][axis])?;
        let [z, y, x] = position;
        Some(BrickId { brick: (z * height + y) * width + x, ..at })
    }
}

impl ReadAhead {
    /// For one file; `first`: bricks that may be made on trust.
    pub(super) fn new(plan: &ImagePlan, first: usize) -> Self {
        let grids = plan.layout.levels().iter().map(|level| level.bricks.bricks()).collect();
        let channels = plan.ims.channels.len() as u64;
        Self::with(Bricks { grids, datasets: plan.datasets(), channels }, first)
    }

    fn with(bricks: Bricks, first: usize) -> Self {
        let state = State {
            // Not made for as many at once: thousands of files may be open.
            way: LruCache::unbounded(),
            wanted: 0,
            ahead: LruCache::unbounded(),
            trust: [Trust::default(); HEADINGS],
        };
        Self { bricks, state: Mutex::new(state), first: first as u64 }
    }

    /// A reader requests a brick that is in memory. If it was made in advance, that has proved right: returns
    /// what to make next, at most `most` bricks in advance.
    pub(super) fn found(&self, brick: BrickId, most: u64) -> Option<Vec<BrickId>> {
        let mut state = lock(&self.state);
        let heading = state.prove(brick)?;
        state.note(brick);
        Some(self.extend(&mut state, brick, heading, most))
    }

    /// A reader requests a brick that is not at hand, but may be in production. Returns what to make next, at
    /// most `most` bricks in advance.
    pub(super) fn missed(&self, brick: BrickId, is_under_way: bool, most: u64) -> Vec<BrickId> {
        let mut state = lock(&self.state);
        let heading = if is_under_way {
            state.prove(brick)
        } else {
            // The reader was faster, or memory too small to keep it: neither right nor wrong.
            state.unmake(brick);
            None
        };
        let heading = heading.or_else(|| self.find(&mut state, brick));
        state.note(brick);
        heading.map_or(Vec::new(), |heading| self.extend(&mut state, brick, heading, most))
    }

    /// A brick is not made after all, or was there.
    pub(super) fn not_made(&self, brick: BrickId) {
        lock(&self.state).unmake(brick);
    }

    /// Bricks that may be made on trust. Steps through z and time keep an even pace over a whole view,
    /// which is no accident.
    fn first(&self, heading: Heading) -> u64 {
        match heading {
            Heading::Axis(0, _) | Heading::Time(_) => 4 * self.first,
            Heading::File | Heading::Axis(..) => self.first,
        }
    }

    /// The heading of a reader that requests a brick, if it is worth following.
    fn find(&self, state: &mut State, brick: BrickId) -> Option<Heading> {
        for (heading, length) in TRIED {
            if !state.is_run(&self.bricks, brick, heading, length) {
                continue;
            }
            let trust = &mut state.trust[heading.number()];
            if trust.unproved < trust.credit(self.first(heading)) {
                return Some(heading);
            }
            trust.refused += 1;
            if trust.refused >= FORGIVEN_AFTER {
                (trust.refused, trust.unproved) = (0, 0);
            }
        }
        None
    }

    fn extend(
        &self,
        state: &mut State,
        brick: BrickId,
        heading: Heading,
        most: u64,
    ) -> Vec<BrickId> {
        let mut next = Vec::new();
        let mut trust = state.trust[heading.number()];
        let credit = trust.credit(self.first(heading)).min(most);
        // Steps take a view of many bricks along: rather the next one of each than many of one.
        let depth = if heading == Heading::File { most } else { most.min(1) };
        let mut at = brick;
        for _ in 0..credit.min(depth) {
            let Some(beyond) = self.bricks.next(at, heading) else { break };
            at = beyond;
            // Many readers read one level whole; a copy of the file reaches the next one soon.
            if trust.unproved >= credit || at.level != brick.level {
                break;
            }
            if !state.ahead.contains(&at) {
                state.ahead.put(at, heading);
                if state.ahead.len() > WAY {
                    state.ahead.pop_lru();
                }
                trust.unproved += 1;
                next.push(at);
            }
        }
        state.trust[heading.number()] = trust;
        next
    }
}

impl State {
    fn note(&mut self, brick: BrickId) {
        self.wanted += 1;
        self.way.put(brick, self.wanted);
        if self.way.len() > WAY {
            self.way.pop_lru();
        }
    }

    /// A brick counts as not made.
    fn unmake(&mut self, brick: BrickId) -> Option<Heading> {
        let heading = self.ahead.pop(&brick)?;
        let trust = &mut self.trust[heading.number()];
        trust.unproved = trust.unproved.saturating_sub(1);
        Some(heading)
    }

    /// A brick made in advance is wanted: its heading was right.
    fn prove(&mut self, brick: BrickId) -> Option<Heading> {
        let heading = self.unmake(brick)?;
        self.trust[heading.number()].proved += 1;
        Some(heading)
    }

    /// Whether the `length` bricks before this one were requested at an even pace.
    fn is_run(&self, bricks: &Bricks, brick: BrickId, heading: Heading, length: usize) -> bool {
        let (mut at, mut when) = (brick, self.wanted + 1);
        let mut pace = None;
        for _ in 0..length {
            let Some(before) = bricks.previous(at, heading) else { return false };
            let Some(&then) = self.way.peek(&before) else { return false };
            let Some(lag) = when.checked_sub(then) else { return false };
            let is_even = match heading {
                Heading::File => lag <= FILE_PACE,
                _ => pace.is_none_or(|pace: u64| pace.abs_diff(lag) <= pace.min(lag) / 4),
            };
            if !is_even {
                return false;
            }
            (at, when, pace) = (before, then, Some(lag));
        }
        true
    }
}

impl Trust {
    /// Bricks that may be in advance.
    fn credit(self, first: u64) -> u64 {
        (first + self.proved / PROVED_SHARE).min(MOST_AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: usize = 4;

    fn file(grids: &[[u64; 3]], datasets: u64, channels: u64) -> ReadAhead {
        ReadAhead::with(Bricks { grids: grids.to_vec(), datasets, channels }, FIRST)
    }

    fn brick(level: usize, dataset: u64, brick: u64) -> BrickId {
        BrickId { level, dataset, brick }
    }

    /// Wants bricks one after the other; those made in advance are in memory by then. Tells how many
    /// were made in advance and how many of them were wanted.
    fn read(ahead: &ReadAhead, bricks: impl IntoIterator<Item = BrickId>) -> (usize, usize) {
        let mut made = std::collections::HashSet::new();
        let (mut total, mut right) = (0, 0);
        for brick in bricks {
            let next = if made.remove(&brick) {
                right += 1;
                ahead.found(brick, 8).expect("made in advance")
            } else {
                assert_eq!(ahead.found(brick, 8), None);
                ahead.missed(brick, false, 8)
            };
            total += next.len();
            made.extend(next);
        }
        (total, right)
    }

    #[test]
    fn a_copy_is_followed_through_datasets_and_levels() {
        let ahead = file(&[[4, 4, 4], [2, 2, 2], [1, 1, 1]], 3, 3);
        let counts = [64, 8, 1];
        let all = (0..3).rev().flat_map(|level| {
            (0..3).flat_map(move |dataset| {
                (0..counts[level]).map(move |number| brick(level, dataset, number))
            })
        });
        let (total, right) = read(&ahead, all);
        // All but the first three, and but the first of each level; and nothing beyond.
        assert_eq!((total, right), (3 * 72 - 2, 3 * 72 - 2));
    }

    #[test]
    fn steps_through_z_and_time_are_followed() {
        // A view of 3 x 2 bricks, from the front to the back and again to the front.
        let ahead = file(&[[20, 10, 10]], 1, 1);
        let view = |z: u64| (2..4).flat_map(move |y| (5..8).map(move |x| (z * 10 + y) * 10 + x));
        let bricks = (0..20).flat_map(view).map(|number| brick(0, 0, number));
        let (total, right) = read(&ahead, bricks);
        assert!(right >= 17 * 6 - 20, "{right} of {total}");
        let (total, right) =
            read(&file(&[[1, 2, 2]], 60, 3), (0..20).map(|t| brick(0, 3 * t + 1, 2)));
        assert_eq!((total, right), (17, 17));
        let (total, right) =
            read(&file(&[[9, 2, 2]], 1, 1), (0..9).rev().map(|z| brick(0, 0, 4 * z)));
        assert_eq!((total, right), (6, 6));
    }

    #[test]
    fn random_reads_are_not_followed() {
        let ahead = file(&[[16, 16, 16]], 1, 1);
        let mut state = 7_u64;
        let random = (0..200).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            brick(0, 0, (state >> 33) % 4096)
        });
        let (total, _) = read(&ahead, random);
        assert!(total <= 4, "{total} bricks for nothing");
    }

    /// Blocks around a point, row by row: each row looks like a run that ends.
    #[test]
    fn wrong_guesses_are_few() {
        let ahead = file(&[[40, 40, 40]], 1, 1);
        let mut bricks = Vec::new();
        for (z, y) in (5..35).step_by(6).flat_map(|z| (5..35).step_by(2).map(move |y| (z, y))) {
            bricks.extend((10..14).map(|x| brick(0, 0, (z * 40 + y) * 40 + x)));
        }
        let wanted = bricks.len();
        let (total, right) = read(&ahead, bricks);
        let wrong = total - right;
        assert!(wrong * 4 <= wanted, "{wrong} for nothing, of {wanted} wanted");
    }
}
