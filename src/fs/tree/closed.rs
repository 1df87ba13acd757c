//! Files that were closed just now, kept for who opens them again: programs open a file many times in
//! a row, and each opening would look at all chunk files.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::image::VirtualFile;
use crate::sync::lock;

/// Most files that are kept.
const MOST_FILES: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Closed {
    shared: Arc<Mutex<Shared>>,
    /// How long a file is kept.
    time: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    /// In the order in which they were closed.
    files: VecDeque<(Instant, Arc<VirtualFile>)>,
    /// A thread lets go of them when their time is over.
    is_watched: bool,
}

impl Closed {
    pub(super) fn new(time: Duration) -> Self {
        Self { shared: Arc::default(), time }
    }

    /// Keeps a file for its time.
    pub(super) fn keep(&self, file: Arc<VirtualFile>) {
        if self.time.is_zero() {
            return;
        }
        let mut shared = lock(&self.shared);
        shared.files.push_back((Instant::now(), file));
        let surplus = shared.files.len().saturating_sub(MOST_FILES);
        let dropped: Vec<_> = shared.files.drain(..surplus).collect();
        let is_watched = std::mem::replace(&mut shared.is_watched, true);
        drop(shared);
        drop(dropped);
        if !is_watched {
            let (shared, time) = (self.shared.clone(), self.time);
            let watch = move || let_go(&shared, time);
            if thread::Builder::new().name("closed".to_owned()).spawn(watch).is_err() {
                // Without a thread nothing is kept.
                let mut shared = lock(&self.shared);
                shared.is_watched = false;
                let dropped = std::mem::take(&mut shared.files);
                drop(shared);
                drop(dropped);
            }
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        let dropped = std::mem::take(&mut lock(&self.shared).files);
        drop(dropped);
    }
}

/// Lets go of files whose time is over, until there are none.
fn let_go(shared: &Mutex<Shared>, time: Duration) {
    loop {
        let mut locked = lock(shared);
        let Some((closed, _)) = locked.files.front() else {
            locked.is_watched = false;
            return;
        };
        let left = time.saturating_sub(closed.elapsed());
        let over = if left.is_zero() { locked.files.pop_front() } else { None };
        drop(locked);
        drop(over);
        thread::sleep(left);
    }
}
