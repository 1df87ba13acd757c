//! Bricks on their way to a shared cache: few at a time, in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::resources::memory::{Held, MemoryBudget};
use crate::resources::workers::Workers;

/// Bricks that are put at a time: readers need the connection more.
const THREADS: usize = 2;

#[derive(Debug)]
pub(super) struct Queue {
    memory: Arc<MemoryBudget>,
    limit: u64,
    waiting_bytes: Arc<AtomicU64>,
    workers: Workers,
}

/// The bytes of a brick that waits.
struct Waiting {
    bytes: u64,
    /// Bytes of all bricks that wait.
    all: Arc<AtomicU64>,
    _held: Held,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Queue {
    /// `limit`: most bytes that wait, which are taken from `memory`.
    pub(super) fn new(memory: Arc<MemoryBudget>, limit: u64) -> Self {
        let workers = Workers::within("shared-put", THREADS, THREADS);
        Self { memory, limit, waiting_bytes: Arc::default(), workers }
    }

    /// Queues a brick of `bytes`; false where too much waits. A brick of any size may wait alone.
    pub(super) fn push(&self, bytes: u64, put: impl FnOnce() + Send + 'static) -> bool {
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > self.limit {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        let all = self.waiting_bytes.clone();
        let waiting = Waiting { bytes, all, _held: self.memory.hold(bytes) };
        self.workers.spawn(move || {
            put();
            drop(waiting);
        });
        true
    }

    /// Puts the bricks that wait, unless that takes long, and stops.
    pub(super) fn finish(&self) {
        self.workers.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_too_much_is_refused_and_nothing_is_held_at_the_end() {
        let memory = MemoryBudget::new(1000);
        let queue = Queue::new(memory.clone(), 100);
        let (begun, go) = (mpsc::channel(), mpsc::channel::<()>());
        let (tell, wait) = (begun.0, go.1);
        assert!(queue.push(500, move || {
            tell.send(()).expect("the test waits");
            let _ = wait.recv();
        }));
        begun.1.recv().expect("it has begun");
        assert_eq!(memory.stats().held_bytes, 500);
        assert!(!queue.push(1, || {}), "the large one is still there");
        drop(go.0);
        queue.finish();
        assert_eq!(memory.stats().held_bytes, 0);
    }
}
