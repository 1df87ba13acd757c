//! The rules: which time points of an image that is being written are complete. Pure: no file is looked at here.

use std::time::Duration;

/// A time point with all its chunks counts after this time: a writer may just put them in place.
const SETTLES: Duration = Duration::from_secs(1);

/// A time point that lacks chunks counts after this time, if a later one was begun: the writer leaves out chunks
/// that hold the fill value only.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// After this time, the writer has given up: on the last time point, where it lacks chunks or shares its chunks with
/// later ones; and on chunks that cannot be decoded, where a later time point was begun.
const ABANDONED: Duration = Duration::from_mins(1);

/// Chunks of the last time point that cannot be decoded are damaged, not half-written, after this time.
const FORSAKEN: Duration = Duration::from_hours(1);

/// A coarser level may lag behind the finest by this time.
const LAG: Duration = Duration::from_millis(2500);

/// The time points of an array that lie in the same read units: one, where units are one time point long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Time points.
    pub(super) times: u64,
    /// Units that are stored.
    pub(super) present: u64,
    /// Units that there are.
    pub(super) expected: u64,
    /// Time since a file of it has last changed; `None` without one.
    pub(super) age: Option<Duration>,
    /// Its newest units were decoded, or are too old to be half-written.
    pub(super) is_sound: bool,
}

/// What the steps of an array say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Times {
    /// The time points from the first on that are complete.
    pub(super) complete: u64,
    /// Any chunk is there.
    pub(super) is_begun: bool,
    steps: Vec<Step>,
}

/// What is known of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LevelState {
    /// Time points that its metadata states.
    pub(super) count: u64,
    /// Time points from the first on that are complete.
    pub(super) complete: u64,
    /// For each of them, the time since its chunks have changed, where it has any.
    pub(super) ages: Vec<Option<Duration>>,
    /// Any chunk is there.
    pub(super) is_begun: bool,
}

/// Which part of an image is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complete {
    /// The time points from the first on.
    pub times: u64,
    /// Which levels have all of these.
    pub levels: Vec<bool>,
    /// All that the metadata states is there.
    pub is_all: bool,
}

impl Step {
    fn is_shared(&self) -> bool {
        self.times > 1
    }

    fn is_older_than(&self, time: Duration) -> bool {
        self.age.is_some_and(|age| age >= time)
    }
}

impl Times {
    /// By the rules. The first `shown` time points are shown already.
    pub(super) fn of(steps: &[Step], shown: u64) -> Self {
        let complete = complete_steps(steps, shown);
        let complete = steps[..complete].iter().map(|step| step.times).sum();
        let is_begun = steps.iter().any(|step| step.present > 0);
        Self { complete, is_begun, steps: steps.to_vec() }
    }

    /// Time since the chunks of a time point have changed, where it has any.
    pub(super) fn age(&self, time: u64) -> Option<Duration> {
        let mut ends = self.steps.iter().scan(0, |end, step| {
            *end += step.times;
            Some((*end, step.age))
        });
        ends.find(|(end, _)| time < *end).and_then(|(_, age)| age)
    }
}

/// How many steps from the first on are complete.
fn complete_steps(steps: &[Step], shown: u64) -> usize {
    let Some(last) = steps.iter().rposition(|step| step.present > 0) else { return 0 };
    let leaves_out = |step: &Step| step.present < step.expected && step.is_sound;
    // Where the last chunks that were shown are gone, the store is another one.
    let written: u64 = steps[..=last].iter().map(|step| step.times).sum();
    let shown = if written < shown { 0 } else { shown };
    let mut complete = 0;
    let mut times = 0;
    let mut has_left_out = false;
    for (at, step) in steps[..=last].iter().enumerate() {
        times += step.times;
        // What is shown is not taken back because a chunk is written again.
        let was_shown = times <= shown;
        let later = &steps[at + 1..=last];
        if !was_shown && !is_complete(step, later, has_left_out) {
            break;
        }
        has_left_out |= leaves_out(step);
        complete = at + 1;
    }
    complete
}

/// Whether a step is complete. `later`: the steps behind it, up to the last one that has chunks.
/// `has_left_out`: earlier ones lack chunks for good.
fn is_complete(step: &Step, later: &[Step], has_left_out: bool) -> bool {
    let is_full = step.present >= step.expected;
    let is_last = later.is_empty();
    let patience = match (is_full, is_last) {
        _ if !step.is_sound && is_last => FORSAKEN,
        _ if !step.is_sound => ABANDONED,
        (true, true) if step.is_shared() => ABANDONED,
        (true, _) => SETTLES,
        (false, false) => LEFT_BEHIND,
        (false, true) if has_left_out && !step.is_shared() => LEFT_BEHIND,
        (false, true) => ABANDONED,
    };
    match step.age {
        Some(age) => age >= patience,
        // No chunk of it was ever written: the age of a later one counts.
        None => later.iter().any(|later| later.is_older_than(patience)),
    }
}

/// Which part of an image is complete, by its levels, the finest first. The first `shown` time points are shown
/// already.
pub(super) fn complete(levels: &[LevelState], shown: u64) -> Complete {
    let Some(finest) = levels.first() else {
        return Complete { times: 0, levels: Vec::new(), is_all: false };
    };
    let mut times = finest.complete;
    for coarser in &levels[1..] {
        let lags = coarser.is_begun && coarser.complete < times;
        let waits_for = usize::try_from(coarser.complete).ok().filter(|_| lags);
        let age = waits_for.and_then(|at| finest.ages.get(at).copied().flatten());
        if age.is_some_and(|age| age < LAG) {
            times = coarser.complete;
        }
    }
    let times = times.max(shown.min(finest.complete));
    let has_all = |level: &LevelState| level.complete >= times;
    Complete {
        times,
        levels: levels.iter().map(has_all).collect(),
        is_all: levels.iter().all(|level| level.complete == level.count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of one time point with `present` of four units, of an age in tenths of seconds.
    fn step(present: u64, tenths: u64) -> Step {
        let age = (present > 0).then(|| Duration::from_millis(tenths * 100));
        Step { times: 1, present, expected: 4, age, is_sound: true }
    }

    fn broken(step: Step) -> Step {
        Step { is_sound: false, ..step }
    }

    fn shared(step: Step) -> Step {
        Step { times: 5, ..step }
    }

    #[test]
    fn how_many_time_points_are_complete() {
        let none = step(0, 0);
        let cases: &[(&str, &[Step], u64, u64)] = &[
            ("nothing is declared", &[], 0, 0),
            ("nothing is written", &[none, none], 0, 0),
            ("the first is being written", &[step(3, 5), none], 0, 0),
            ("all chunks are there, just now", &[step(4, 9), none], 0, 0),
            ("all chunks are there and at rest", &[step(4, 10), none], 0, 1),
            ("the second is being written", &[step(4, 30), step(1, 0), none], 0, 1),
            ("two are written", &[step(4, 30), step(4, 10), none], 0, 2),
            ("the last pauses for long", &[step(4, 600), step(3, 500), none], 0, 1),
            ("the last was abandoned", &[step(4, 900), step(3, 600), none], 0, 2),
            ("chunks are left out, the next was begun", &[step(3, 19), step(1, 0)], 0, 0),
            ("chunks are left out for good", &[step(3, 20), step(1, 0)], 0, 1),
            ("the writer leaves out chunks", &[step(3, 50), step(4, 40), step(2, 20)], 0, 3),
            ("the same, a moment before", &[step(3, 50), step(4, 40), step(2, 19)], 0, 2),
            ("one has no chunk at all", &[step(4, 50), none, step(4, 20)], 0, 3),
            ("the same, a moment before", &[step(4, 50), none, step(4, 19)], 0, 1),
            ("none is known to be empty at the end", &[step(4, 9000), none, none], 0, 1),
            ("written from the end", &[none, none, step(4, 10)], 0, 0),
            ("half-written", &[step(4, 50), broken(step(4, 500)), none], 0, 1),
            ("half-written for long", &[step(4, 50), broken(step(4, 35_999)), none], 0, 1),
            ("damaged", &[step(4, 50), broken(step(4, 36_000)), none], 0, 2),
            ("half-written, the next is there", &[broken(step(4, 599)), step(4, 50)], 0, 0),
            ("damaged, and left behind", &[broken(step(4, 600)), step(4, 50)], 0, 2),
            ("chunks of several time points", &[shared(step(4, 599)), none], 0, 0),
            ("the same, at the end", &[shared(step(4, 600)), none], 0, 5),
            ("the same, with later ones", &[shared(step(4, 10)), shared(step(4, 10))], 0, 5),
            ("shown, and written again", &[step(4, 0), broken(step(4, 0)), step(1, 0)], 2, 2),
            ("shown, and deleted", &[step(4, 50), none, none], 2, 1),
        ];
        for (case, steps, shown, expected) in cases {
            assert_eq!(Times::of(steps, *shown).complete, *expected, "{case}");
        }
    }

    fn level(complete: u64, is_begun: bool, tenths: u64) -> LevelState {
        let ages = (0..complete)
            .map(|at| Some(Duration::from_millis(100 * (tenths + 10 * (complete - 1 - at)))));
        LevelState { count: 9, complete, ages: ages.collect(), is_begun }
    }

    #[test]
    fn levels_are_shown_where_they_have_all_time_points() {
        let check = |case: &str, levels: &[LevelState], shown: u64, times: u64, kept: &[bool]| {
            let found = complete(levels, shown);
            assert_eq!((found.times, &*found.levels), (times, kept), "{case}");
            assert!(!found.is_all, "{case}");
        };
        let finest = || level(3, true, 10);
        check("one level", &[finest()], 0, 3, &[true]);
        check("both have all", &[finest(), level(3, true, 10)], 0, 3, &[true, true]);
        check("the coarser one is further", &[finest(), level(4, true, 0)], 0, 3, &[true, true]);
        check("it comes a moment later", &[finest(), level(2, true, 10)], 0, 2, &[true, true]);
        check("it lags", &[level(3, true, 25), level(2, true, 10)], 0, 3, &[true, false]);
        check("it is not begun", &[finest(), level(0, false, 0)], 0, 3, &[true, false]);
        check("what is shown stays", &[finest(), level(2, true, 10)], 3, 3, &[true, false]);
        check("no level", &[], 0, 0, &[]);
        let all = complete(&[level(9, true, 10), level(9, true, 10)], 0);
        assert_eq!(all, Complete { times: 9, levels: vec![true; 2], is_all: true });
    }
}
