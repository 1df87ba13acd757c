//! What the log says of a long pass.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::lock;

/// Time between two lines of progress in the log.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Tells how far a long pass has come.
pub(super) struct Progress {
    what: &'static str,
    image: String,
    total: u64,
    read: AtomicU64,
    started: Instant,
    told: Mutex<Instant>,
    ended: AtomicBool,
}

impl Progress {
    pub(super) fn new(what: &'static str, image: String, total: u64) -> Self {
        let started = Instant::now();
        let told = Mutex::new(started);
        let read = AtomicU64::new(0);
        Self { what, image, total, read, started, told, ended: AtomicBool::new(false) }
    }

    pub(super) fn advance(&self) {
        let read = self.read.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = lock(&self.told);
        if told.elapsed() >= PROGRESS_INTERVAL {
            *told = Instant::now();
            let percent = read.min(self.total) * 100 / self.total.max(1);
            let (image, total) = (&self.image, self.total);
            tracing::info!(image, read, total, percent, "{}", self.what);
        }
    }

    /// Tells the end of a pass that took long; whether this is the first call.
    pub(super) fn end(&self, failed: bool) -> bool {
        if self.ended.swap(true, Ordering::Relaxed) {
            return false;
        }
        let seconds = self.started.elapsed().as_secs();
        if self.started.elapsed() >= PROGRESS_INTERVAL {
            let read = self.read.load(Ordering::Relaxed);
            let how = if failed { "stopped" } else { "done" };
            tracing::info!(image = self.image, read, seconds, "{}: {how}", self.what);
        }
        true
    }
}
