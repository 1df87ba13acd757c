//! The threads that produce bytes, and the memory they may use.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

type Task = Box<dyn FnOnce() + Send>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of threads that run tasks in the order they were given.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("queued", &lock(&self.queue).tasks.len())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    stopped: bool,
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system's reason when a thread cannot be started.
    pub(crate) fn start(name: &str, threads: usize) -> io::Result<Self> {
        let workers = Self { shared: Arc::default(), threads: Mutex::default() };
        for number in 0..threads.max(1) {
            let shared = workers.shared.clone();
            let thread = thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || shared.run())?;
            lock(&workers.threads).push(thread);
        }
        Ok(workers)
    }

    /// Queues a task. After [`Workers::stop`] it is dropped unrun, which its owner notices by the
    /// drop of what it holds.
    pub(crate) fn spawn(&self, task: impl FnOnce() + Send + 'static) {
        let mut queue = lock(&self.shared.queue);
        if !queue.stopped {
            queue.tasks.push_back(Box::new(task));
            self.shared.wake.notify_one();
        }
    }

    /// Drops what is queued, lets running tasks end, and joins the threads.
    pub(crate) fn stop(&self) {
        let dropped = {
            let mut queue = lock(&self.shared.queue);
            queue.stopped = true;
            std::mem::take(&mut queue.tasks)
        };
        // Outside the lock: dropping a task may answer readers.
        drop(dropped);
        self.shared.wake.notify_all();
        let own = thread::current().id();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // The last owner may be a worker itself.
            if thread.thread().id() != own && thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        while let Some(task) = self.next() {
            // A fault in one task costs its reader an error, not the daemon a worker.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)).is_err() {
                tracing::error!("a task panicked; its readers get an I/O error");
            }
        }
    }

    fn next(&self) -> Option<Task> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(task) = queue.tasks.pop_front() {
                return Some(task);
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Bytes that may be in use at once. A request larger than the whole budget waits until nothing
/// else is in use and then runs alone: late is better than never.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    state: Mutex<MemoryState>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct MemoryState {
    used: u64,
    peak: u64,
}

/// Bytes in use until dropped.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    budget: &'a MemoryBudget,
    bytes: u64,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Waits until `bytes` are free and takes them.
    pub(crate) fn reserve(&self, bytes: u64) -> Reserved<'_> {
        let mut state = lock(&self.state);
        while state.used > 0 && state.used.saturating_add(bytes) > self.limit {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.used = state.used.saturating_add(bytes);
        state.peak = state.peak.max(state.used);
        Reserved { budget: self, bytes }
    }

    /// Largest use so far.
    pub(crate) fn peak(&self) -> u64 {
        lock(&self.state).peak
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.budget.state);
        state.used = state.used.saturating_sub(self.bytes);
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    #[test]
    fn a_panic_costs_one_task() {
        let workers = Workers::start("test", 1).expect("threads");
        let (done, finished) = mpsc::channel();
        workers.spawn(|| panic!("on purpose"));
        workers.spawn(move || done.send(7).expect("receiver lives"));
        assert_eq!(finished.recv(), Ok(7));
    }

    #[test]
    fn memory_is_never_exceeded_by_requests_that_fit() {
        let budget = MemoryBudget::new(100);
        let in_use = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..8_u64 {
                let (budget, in_use) = (&budget, &in_use);
                scope.spawn(move || {
                    for round in 0..200 {
                        let bytes = (thread * 7 + round * 13) % 60 + 1;
                        let reserved = budget.reserve(bytes);
                        assert!(in_use.fetch_add(bytes, Ordering::SeqCst) + bytes <= 100);
                        in_use.fetch_sub(bytes, Ordering::SeqCst);
                        drop(reserved);
                    }
                });
            }
        });
        assert!(budget.peak() <= 100);
        drop(budget.reserve(1000));
        assert_eq!(budget.peak(), 1000);
    }
}
