//! Long work over the bricks of files that somebody has asked for: how far it has come, what was wrong, and whether
//! it is to go on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::sync::lock;

use super::plan::ImagePlan;
use super::voxels::frame::BrickId;

/// Faults that are named; all are counted.
const MOST_NAMED: usize = 10;

/// Work under way: shared by who does it and who asks for it.
#[derive(Debug, Default)]
pub struct Work {
    is_stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: PathBuf,
    progress: WorkProgress,
}

/// How far work has come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WorkProgress {
    /// Bricks of the file that is worked on.
    pub bricks: u64,
    /// Those that are done.
    pub done: u64,
    /// Bricks of all files that were put into the cache.
    pub made: u64,
    /// Their bytes.
    pub made_bytes: u64,
    /// Bricks that were in the cache, or need no room there because all of their chunks are absent.
    pub there: u64,
    /// Bricks that were made, and that the cache did not take or may not keep.
    pub unkept: u64,
    /// Bricks whose checksum was right.
    pub checked: u64,
    /// Bricks that equal what the source gives.
    pub compared: u64,
    /// Bricks that were wrong, and are not served any more.
    pub wrong: u64,
    /// Bricks, or files, that could not be worked on.
    pub failed: u64,
    /// Going on would drive out what was put into the cache.
    pub is_full: bool,
    /// The first of the wrong and failed ones.
    pub faults: Vec<Fault>,
}

/// What is wrong with a brick or a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file, below the mount point.
    pub file: PathBuf,
    /// The brick, where it is about one of the levels.
    #[serde(flatten)]
    pub brick: Option<Place>,
    /// What is wrong, in one line.
    pub reason: String,
}

/// Where a brick is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The resolution level, 0 = finest.
    pub level: usize,
    /// From 0 on.
    pub time_point: u64,
    /// From 0 on.
    pub channel: u64,
    /// The number of the brick in its level, time point and channel, x fastest.
    pub brick: u64,
}

impl Place {
    pub(super) fn of(plan: &ImagePlan, brick: BrickId) -> Self {
        let (time_point, channel) = plan.time_and_channel(brick.dataset);
        Self { level: brick.level, time_point, channel, brick: brick.brick }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some(Place { level, time_point, channel, brick }) = self.brick {
            write!(
                f,
                "level {level}, time point {time_point}, channel {channel}, brick {brick}: "
            )?;
        }
        f.write_str(&self.reason)
    }
}

impl Work {
    /// Ends the work, as going on would drive out what was put into the cache.
    pub(super) fn stop_full(&self) {
        self.update(|progress| progress.is_full = true);
        self.stop();
    }

    /// Ends the work before the next brick.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> WorkProgress {
        lock(&self.state).progress.clone()
    }

    /// The next file, of which nothing is done.
    pub fn begin(&self, file: &Path) {
        let mut state = lock(&self.state);
        file.clone_into(&mut state.file);
        (state.progress.bricks, state.progress.done) = (0, 0);
    }

    /// Notes a file, or all of it that is left, as one that could not be worked on.
    pub fn fail_file(&self, file: &Path, reason: String) {
        let fault = Fault { file: file.to_path_buf(), brick: None, reason };
        self.note(fault, |progress| progress.failed += 1);
    }

    /// The bricks of the file, of which some are `done`.
    pub(super) fn expect(&self, bricks: u64, done: u64) {
        self.update(|progress| (progress.bricks, progress.done) = (bricks, done));
    }

    /// Changes the counts.
    pub(super) fn update(&self, change: impl FnOnce(&mut WorkProgress)) {
        change(&mut lock(&self.state).progress);
    }

    /// Notes a brick, or the metadata, that could not be worked on.
    pub(super) fn fail(&self, brick: Option<Place>, reason: String) {
        self.note_here(brick, reason, |progress| {
            progress.failed += 1;
            progress.done += 1;
        });
    }

    /// Notes a wrong brick, or wrong metadata.
    pub(super) fn reject(&self, brick: Option<Place>, reason: String) {
        self.note_here(brick, reason, |progress| {
            progress.wrong += 1;
            progress.done += 1;
        });
    }

    fn note_here(
        &self,
        brick: Option<Place>,
        reason: String,
        count: impl FnOnce(&mut WorkProgress),
    ) {
        let file = lock(&self.state).file.clone();
        self.note(Fault { file, brick, reason }, count);
    }

    fn note(&self, fault: Fault, count: impl FnOnce(&mut WorkProgress)) {
        let progress = &mut lock(&self.state).progress;
        count(progress);
        if progress.faults.len() < MOST_NAMED {
            tracing::warn!("{fault}");
            progress.faults.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_counted_and_the_first_are_named() {
        let work = Work::default();
        work.begin(Path::new("a.ims"));
        work.expect(100, 10);
        let place = |brick| Some(Place { level: 1, time_point: 2, channel: 3, brick });
        (0..50).for_each(|brick| work.fail(place(brick), "short".to_owned()));
        work.reject(None, "old".to_owned());
        let WorkProgress { done, failed, wrong, faults, .. } = work.progress();
        assert_eq!((done, failed, wrong, faults.len()), (61, 50, 1, MOST_NAMED));
        let text = "a.ims: level 1, time point 2, channel 3, brick 9: short";
        assert_eq!(faults[9].to_string(), text);
        let json = serde_json::to_value(&faults[9]).expect("JSON");
        assert_eq!((&json["level"], &json["reason"]), (&1.into(), &"short".into()));
        work.begin(Path::new("b.ims"));
        assert_eq!((work.progress().done, work.progress().failed), (0, 50));
    }
}
