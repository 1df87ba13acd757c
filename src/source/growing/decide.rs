//! The rules: which time points of an image that is being written are complete. Pure: no file is looked at here.

use std::time::Duration;

/// A time point with all its chunks counts after this time: a writer may just put them in place.
const SETTLES: Duration = Duration::from_secs(1);

/// A time point that lacks chunks counts after this time, or twice the longest pause of its writer, if the writer
/// has moved on to a later one: it leaves out chunks that hold the fill value only.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// After this time, the writer has given up: on the last time point, where it lacks chunks or shares its chunks with
/// later ones; and on chunks that cannot be decoded, where a later time point was begun.
const ABANDONED: Duration = Duration::from_mins(1);

/// Chunks of the last time point that cannot be decoded are damaged, not half-written, after this time.
const FORSAKEN: Duration = Duration::from_hours(1);

/// A coarser level may lag behind the finest by this time.
const LAG: Duration = Duration::from_millis(2500);

/// The time points of an array that lie in the same read units: one, where units are one time point long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Time points.
    pub(super) times: u64,
    /// What is stored of each channel, or of those that lie in the same units.
    pub(super) channels: Vec<Channel>,
    /// Time since a file of it has last changed; `None` without one.
    pub(super) age: Option<Duration>,
    /// Time since the first change of a file of it that is known.
    pub(super) oldest: Option<Duration>,
    /// The longest time between changes of its files.
    pub(super) pause: Duration,
    /// Its newest units were decoded, or are too old to be half-written.
    pub(super) is_sound: bool,
}

/// A channel of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channel {
    /// Units that are stored.
    pub(super) present: u64,
    /// Units that there are.
    pub(super) expected: u64,
    /// Time since a file of it has last changed; `None` without one, or if it was not looked at.
    pub(super) age: Option<Duration>,
}

/// What the steps of an array say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Times {
    /// The time points from the first on that are complete.
    pub(super) complete: u64,
    /// Any chunk is there.
    pub(super) is_begun: bool,
    /// The longest time between changes of the files of a complete time point.
    pub(super) pause: Duration,
    /// How many time points end with each step, and its age.
    ages: Vec<(u64, Option<Duration>)>,
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
    /// The longest time between changes of the files of a complete time point.
    pub(super) pause: Duration,
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
    /// The longest time that its writer has taken between two chunks of a complete time point.
    pub pause: Duration,
}

impl Step {
    fn is_shared(&self) -> bool {
        self.times > 1
    }

    pub(super) fn is_begun(&self) -> bool {
        self.channels.iter().any(|channel| channel.present > 0)
    }

    fn is_older_than(&self, time: Duration) -> bool {
        self.age.is_some_and(|age| age >= time)
    }
}

impl Channel {
    pub(super) fn is_full(&self) -> bool {
        self.present >= self.expected
    }
}

impl Times {
    /// By the rules. The first `shown` time points are shown already; `pause` is the longest one known so far.
    pub(super) fn of(steps: &[Step], shown: u64, pause: Duration) -> Self {
        let mut series = Series::of(steps, pause);
        let count = series.complete(shown);
        let complete = steps[..count].iter().map(|step| step.times).sum();
        let ages = steps.iter().scan(0, |end, step| {
            *end += step.times;
            Some((*end, step.age))
        });
        let is_begun = steps.iter().any(Step::is_begun);
        Self { complete, is_begun, pause: series.pause, ages: ages.collect() }
    }

    /// Time since the chunks of a time point have changed, where it has any.
    pub(super) fn age(&self, time: u64) -> Option<Duration> {
        self.ages.iter().find(|(end, _)| time < *end).and_then(|(_, age)| *age)
    }
}

/// The steps of an array up to the last that is begun, and what they say of the order in which they are written.
struct Series<'a> {
    steps: &'a [Step],
    channels: Vec<Progress>,
    pause: Duration,
    /// Steps that are complete lack chunks for good.
    has_left_out: bool,
}

/// How far a channel is written.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The last step that has chunks of it.
    last: Option<usize>,
    /// These were written before any of a later step: the writer goes from time point to time point, not from channel
    /// to channel.
    keeps_up: bool,
    /// Steps that are complete lack chunks of it for good.
    has_left_out: bool,
}

impl<'a> Series<'a> {
    fn of(steps: &'a [Step], pause: Duration) -> Self {
        let end = steps.iter().rposition(Step::is_begun).map_or(0, |last| last + 1);
        let steps = &steps[..end];
        let count = steps.iter().map(|step| step.channels.len()).max().unwrap_or(0);
        let progress = |c: usize| {
            let channel = |step: &Step| step.channels.get(c).copied();
            let is_begun = |step: &Step| channel(step).is_some_and(|own| own.present > 0);
            let Some(last) = steps.iter().rposition(is_begun) else { return Progress::default() };
            let age = channel(&steps[last]).and_then(|own| own.age);
            let others = steps[last + 1..].iter().filter_map(|step| step.oldest).max();
            let keeps_up = age.zip(others).is_none_or(|(age, others)| age >= others);
            Progress { last: Some(last), keeps_up, has_left_out: false }
        };
        Self { steps, channels: (0..count).map(progress).collect(), pause, has_left_out: false }
    }

    /// How many steps from the first on are complete.
    fn complete(&mut self, shown: u64) -> usize {
        let steps = self.steps;
        // Where the last chunks that were shown are gone, the store is another one.
        let written: u64 = steps.iter().map(|step| step.times).sum();
        let shown = if written < shown { 0 } else { shown };
        let mut times = 0;
        for (at, step) in steps.iter().enumerate() {
            times += step.times;
            // What is shown is not taken back because a chunk is written again.
            if times > shown && !self.is_complete(at) {
                return at;
            }
            self.pause = self.pause.max(step.pause);
            if step.is_sound {
                for (channel, progress) in step.channels.iter().zip(&mut self.channels) {
                    progress.has_left_out |= !channel.is_full();
                    self.has_left_out |= !channel.is_full();
                }
            }
        }
        steps.len()
    }

    fn is_complete(&self, at: usize) -> bool {
        let (step, later) = (&self.steps[at], &self.steps[at + 1..]);
        let channels = step.channels.iter().zip(&self.channels);
        let patience = channels.map(|(channel, progress)| self.patience(at, *channel, *progress));
        let patience = patience.max().unwrap_or(ABANDONED);
        match step.age {
            Some(age) => age >= patience,
            // Nothing of it was ever written: a later one tells since when that is so.
            None => later.iter().any(|later| later.is_older_than(patience)),
        }
    }

    /// The time without a change after which a channel of a step is complete.
    fn patience(&self, at: usize, channel: Channel, progress: Progress) -> Duration {
        let step = &self.steps[at];
        let is_last = at + 1 == self.steps.len();
        let has_moved_on =
            !is_last && (progress.last.is_some_and(|last| last > at) || progress.keeps_up);
        let left_behind = LEFT_BEHIND.max(2 * self.pause).min(ABANDONED);
        // The last one may lack chunks for good as others do.
        let has_left_out = match progress.last {
            Some(_) => self.has_left_out,
            None => progress.has_left_out,
        };
        match channel.is_full() {
            _ if !step.is_sound && is_last => FORSAKEN,
            _ if !step.is_sound => ABANDONED,
            true if step.is_shared() && !has_moved_on => ABANDONED,
            true => SETTLES,
            false if has_moved_on => left_behind,
            false if progress.last.is_none() && progress.has_left_out => left_behind,
            false if is_last && has_left_out && !step.is_shared() => left_behind,
            false => ABANDONED,
        }
    }
}

/// Which part of an image is complete, by its levels, the finest first. The first `shown` time points are shown
/// already.
pub(super) fn complete(levels: &[LevelState], shown: u64) -> Complete {
    let Some(finest) = levels.first() else {
        let (levels, pause) = (Vec::new(), Duration::ZERO);
        return Complete { times: 0, levels, is_all: false, pause };
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
        pause: levels.iter().map(|level| level.pause).max().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of one time point with `present` of four units, of an age in tenths of seconds.
    fn step(present: u64, tenths: u64) -> Step {
        channels(&[(present, tenths)])
    }

    /// The same with the channels one by one, written one after the other, the oldest first.
    fn channels(of: &[(u64, u64)]) -> Step {
        let age = |(present, tenths): (u64, u64)| {
            (present > 0).then(|| Duration::from_millis(tenths * 100))
        };
        let channel = |own: &(u64, u64)| Channel { present: own.0, expected: 4, age: age(*own) };
        let ages: Vec<Duration> = of.iter().filter_map(|own| age(*own)).collect();
        Step {
            times: 1,
            channels: of.iter().map(channel).collect(),
            age: ages.iter().min().copied(),
            oldest: ages.iter().max().copied(),
            pause: ages
                .windows(2)
                .map(|pair| pair[0].saturating_sub(pair[1]))
                .max()
                .unwrap_or_default(),
            is_sound: true,
        }
    }

    fn broken(step: Step) -> Step {
        Step { is_sound: false, ..step }
    }

    fn shared(step: Step) -> Step {
        Step { times: 5, ..step }
    }

    #[test]
    fn how_many_time_points_are_complete() {
        let none = || step(0, 0);
        let cases: Vec<(&str, Vec<Step>, u64, u64)> = vec![
            ("nothing is declared", vec![], 0, 0),
            ("nothing is written", vec![none(), none()], 0, 0),
            ("the first is being written", vec![step(3, 5), none()], 0, 0),
            ("all chunks are there, just now", vec![step(4, 9), none()], 0, 0),
            ("all chunks are there and at rest", vec![step(4, 10), none()], 0, 1),
            ("the second is being written", vec![step(4, 30), step(1, 0), none()], 0, 1),
            ("two are written", vec![step(4, 30), step(4, 10), none()], 0, 2),
            ("the last pauses for long", vec![step(4, 600), step(3, 500), none()], 0, 1),
            ("the last was abandoned", vec![step(4, 900), step(3, 600), none()], 0, 2),
            ("chunks are left out, the next was begun", vec![step(3, 19), step(1, 0)], 0, 0),
            ("chunks are left out for good", vec![step(3, 20), step(1, 0)], 0, 1),
            ("the writer leaves out chunks", vec![step(3, 50), step(4, 40), step(2, 20)], 0, 3),
            ("the same, a moment before", vec![step(3, 50), step(4, 40), step(2, 19)], 0, 2),
            ("one has no chunk at all", vec![step(4, 50), none(), step(4, 20)], 0, 3),
            ("the same, a moment before", vec![step(4, 50), none(), step(4, 19)], 0, 1),
            ("none is known to be empty at the end", vec![step(4, 9000), none(), none()], 0, 1),
            ("written from the end", vec![none(), none(), step(4, 10)], 0, 0),
            ("half-written", vec![step(4, 50), broken(step(4, 500)), none()], 0, 1),
            ("half-written for long", vec![step(4, 50), broken(step(4, 35_999)), none()], 0, 1),
            ("damaged", vec![step(4, 50), broken(step(4, 36_000)), none()], 0, 2),
            ("half-written, the next is there", vec![broken(step(4, 599)), step(4, 50)], 0, 0),
            ("damaged, and left behind", vec![broken(step(4, 600)), step(4, 50)], 0, 2),
            ("chunks of several time points", vec![shared(step(4, 599)), none()], 0, 0),
            ("the same, at the end", vec![shared(step(4, 600)), none()], 0, 5),
            ("the same, with later ones", vec![shared(step(4, 10)), shared(step(4, 10))], 0, 5),
            ("shown, and written again", vec![step(4, 0), broken(step(4, 0)), step(1, 0)], 2, 2),
            ("shown, and deleted", vec![step(4, 50), none(), none()], 2, 1),
        ];
        for (case, steps, shown, expected) in cases {
            let found = Times::of(&steps, shown, Duration::ZERO);
            assert_eq!(found.complete, expected, "{case}");
        }
    }

    #[test]
    fn a_channel_that_is_written_after_the_others_is_waited_for() {
        let dark = (0, 0);
        let both = |first, second| channels(&[(4, first), (4, second)]);
        let one = |first| channels(&[(4, first), dark]);
        let all = |step: fn(Step) -> Step, steps: Vec<Step>| steps.into_iter().map(step).collect();
        let cases: Vec<(&str, Vec<Step>, u64)> = vec![
            ("the second has not come so far", vec![one(599), one(500), one(10)], 0),
            ("it is dark", vec![one(600), one(30), one(20)], 3),
            ("the same, a moment before", vec![one(600), one(30), one(19)], 2),
            ("it follows behind", vec![both(500, 20), both(490, 15), one(480), one(470)], 2),
            (
                "it is in the midst",
                vec![both(500, 30), channels(&[(4, 490), (3, 21)]), one(480)],
                1,
            ),
            ("it has left out chunks", vec![both(700, 30), one(600), both(480, 20)], 3),
            ("it is dark in the midst", vec![both(50, 49), one(40), both(30, 29)], 3),
            ("it is dark in what was left behind", vec![both(50, 49), one(40), one(20)], 3),
            ("in shared units", all(shared, vec![both(500, 30), both(480, 20), one(470)]), 5),
            ("the same, abandoned", all(shared, vec![both(990, 610), both(980, 600)]), 10),
        ];
        for (case, steps, expected) in cases {
            let found = Times::of(&steps, 0, Duration::ZERO);
            assert_eq!(found.complete, expected, "{case}");
        }
    }

    #[test]
    fn a_slow_writer_is_waited_for() {
        let both = |second| channels(&[(4, second + 30), (4, second)]);
        let one = |first| channels(&[(4, first), (0, 0)]);
        let steps = |last| [both(300), one(200), both(100), one(last)];
        for (last, known, expected) in [(59, 0, 3), (60, 0, 4), (79, 4, 3), (80, 4, 4)] {
            let found = Times::of(&steps(last), 0, Duration::from_secs(known));
            assert_eq!(found.complete, expected, "{last}, {known}");
            assert_eq!(found.pause, Duration::from_secs(known.max(3)));
        }
    }

    fn level(complete: u64, is_begun: bool, tenths: u64) -> LevelState {
        let ages = (0..complete)
            .map(|at| Some(Duration::from_millis(100 * (tenths + 10 * (complete - 1 - at)))));
        let pause = Duration::ZERO;
        LevelState { count: 9, complete, ages: ages.collect(), is_begun, pause }
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
        let pause = Duration::ZERO;
        assert_eq!(all, Complete { times: 9, levels: vec![true; 2], is_all: true, pause });
    }
}
