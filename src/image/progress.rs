//! How far passes over images have come: as values, and as log lines of those that take long.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::sync::lock;

/// Time between two log lines on the progress of a pass.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassKind {
    /// It computes bricks of levels that the store lacks.
    ComputeLevels,
    /// It reads all voxels, for exact statistics.
    ReadAll,
    /// It reads some of the voxels, for fast statistics.
    ReadSample,
    /// It puts bricks into the cache, which it counts instead of bricks of the store.
    Warm,
    /// It compares bricks in the cache with the store; the total is that of all bricks.
    Compare,
}

impl PassKind {
    fn text(self) -> &'static str {
        match self {
            Self::ComputeLevels => "computing levels",
            Self::ReadAll => "reading all voxels",
            Self::ReadSample => "reading some of the voxels",
            Self::Warm => "warming",
            Self::Compare => "comparing the cache with the store",
        }
    }
}

/// A pass over an image, and how far it has come.
#[derive(Debug, Clone, Serialize)]
pub struct PassProgress {
    /// What the pass is for.
    pub kind: PassKind,
    /// The folder of the image, relative to the source.
    pub image: PathBuf,
    /// The finest and the coarsest level that it produces or reads.
    pub levels: [usize; 2],
    /// Bricks of the store that were read.
    pub bricks_read: u64,
    /// Bricks of the store to be read; an estimate, and fewer are read where computed ones are in the cache.
    pub bricks_total: u64,
    /// When it began.
    pub started: SystemTime,
}

/// The passes under way over the images of a mount.
#[derive(Debug, Default)]
pub(super) struct Passes(Mutex<Vec<Weak<Progress>>>);

impl Passes {
    /// Registers a pass until it ends.
    pub(super) fn begin(
        &self,
        kind: PassKind,
        image: PathBuf,
        levels: [usize; 2],
        total: u64,
    ) -> Arc<Progress> {
        let pass = PassProgress {
            kind,
            image,
            levels,
            bricks_read: 0,
            bricks_total: total,
            started: SystemTime::now(),
        };
        let (read, started) = (AtomicU64::new(0), Instant::now());
        let (logged, ended) = (Mutex::new(started), AtomicBool::new(false));
        let progress = Arc::new(Progress { pass, read, started, logged, ended });
        let mut passes = lock(&self.0);
        passes.retain(|pass| pass.upgrade().is_some_and(|pass| !pass.is_ended()));
        passes.push(Arc::downgrade(&progress));
        progress
    }

    /// The passes that have not ended, oldest first.
    pub(super) fn now(&self) -> Vec<PassProgress> {
        let passes: Vec<Arc<Progress>> = lock(&self.0).iter().filter_map(Weak::upgrade).collect();
        let under_way = passes.iter().filter(|pass| !pass.is_ended());
        let of = |progress: &Arc<Progress>| PassProgress {
            bricks_read: progress.read.load(Ordering::Relaxed),
            ..progress.pass.clone()
        };
        under_way.map(of).collect()
    }
}

/// Counts what a pass has read.
#[derive(Debug)]
pub(super) struct Progress {
    pass: PassProgress,
    read: AtomicU64,
    started: Instant,
    logged: Mutex<Instant>,
    ended: AtomicBool,
}

impl Progress {
    /// The pass has read one more brick.
    pub(super) fn advance(&self) {
        let read = self.read.fetch_add(1, Ordering::Relaxed) + 1;
        let mut logged = lock(&self.logged);
        if logged.elapsed() >= PROGRESS_INTERVAL {
            *logged = Instant::now();
            let PassProgress { kind, image, bricks_total: total, .. } = &self.pass;
            let percent = read.min(*total) * 100 / (*total).max(1);
            tracing::info!(image = %image.display(), read, total, percent, "{}", kind.text());
        }
    }

    /// Ends the pass, and logs it if it took long. Whether this is the first call.
    pub(super) fn end(&self, failed: bool) -> bool {
        if self.ended.swap(true, Ordering::Relaxed) {
            return false;
        }
        let seconds = self.started.elapsed().as_secs();
        if self.started.elapsed() >= PROGRESS_INTERVAL {
            let (read, image) = (self.read.load(Ordering::Relaxed), self.pass.image.display());
            let how = if failed { "stopped" } else { "done" };
            tracing::info!(%image, read, seconds, "{}: {how}", self.pass.kind.text());
        }
        true
    }

    fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_listed_until_it_ends_or_goes() {
        let passes = Passes::default();
        let begin =
            |name: &str| passes.begin(PassKind::ComputeLevels, PathBuf::from(name), [1, 3], 10);
        let (first, second) = (begin("a.zarr"), begin("b.zarr"));
        first.advance();
        first.advance();
        let listed = passes.now();
        let rows: Vec<_> = listed.iter().map(|pass| (&pass.image, pass.bricks_read)).collect();
        assert_eq!(rows, [(&PathBuf::from("a.zarr"), 2), (&PathBuf::from("b.zarr"), 0)]);
        assert!(first.end(false) && !first.end(true));
        assert_eq!(passes.now().len(), 1);
        drop(second);
        assert!(passes.now().is_empty());
        drop(begin("c.zarr"));
        assert_eq!(lock(&passes.0).len(), 1, "passes that have gone are forgotten");
    }
}
