//! The threads that produce bytes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::descriptors;
use crate::sync::lock;

type Task = Box<dyn FnOnce() + Send>;

/// A task that has run so long may hang; its thread is replaced if others wait for one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Most threads of one group, however many of them hang, and the part of all descriptors that they may
/// need if each has a file open.
const MOST_THREADS: usize = 1024;
const THREADS_SHARE: usize = 8;

/// Tasks that wait for a thread with nothing else to do; beyond these the oldest are dropped.
const MOST_IDLE_TASKS: usize = 256;

/// Time without a task after which a thread beyond the first ones ends.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// Time that running tasks are given to end.
const STOP_TIME: Duration = Duration::from_secs(3);

/// Threads that run tasks in the order they were given, and others when there are none.
///
/// If tasks hang, because a file system does not answer, and others wait for a thread, the threads that
/// hang are replaced: who needs none of what hangs is held up for about a second at most.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    /// Threads that are always there.
    threads: usize,
    /// Most there may ever be.
    most_threads: usize,
    /// Tasks that nobody waits for and that run at a time: those that somebody waits for find a thread.
    idle_limit: usize,
    queue: Mutex<Queue>,
    /// There is a task, or the end has come.
    wake: Condvar,
    /// A thread or the last task has ended.
    ended: Condvar,
    /// For the thread that watches: there is a task and no thread without one, or the end has come.
    busy: Condvar,
    /// The end has come. For the thread that watches: to be woken by each task that ends would cost more
    /// than many a task.
    stopping: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let queue = lock(&self.queue);
        f.debug_struct("Shared")
            .field("name", &self.name)
            .field("threads", &queue.threads)
            .field("queued", &queue.tasks.len())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// Nobody waits for these.
    idle_tasks: VecDeque<Task>,
    /// Of them, how many run.
    idle_running: usize,
    stopped: bool,
    threads: usize,
    idle: usize,
    /// When each task that runs was begun, by its number.
    running: HashMap<u64, Instant>,
    begun: u64,
}

/// A task that a thread has taken.
struct Begun {
    number: u64,
    task: Task,
    is_idle: bool,
}

impl Queue {
    /// Threads to start so that as many as usual do not hang.
    fn missing(&self, usual: usize, most: usize) -> usize {
        if self.tasks.is_empty() || self.stopped {
            return 0;
        }
        let hang = self.running.values().filter(|begun| begun.elapsed() >= PATIENCE).count();
        (usual + hang).saturating_sub(self.threads).min(most.saturating_sub(self.threads))
    }
}

impl Workers {
    /// Starts the threads.
    ///
    /// # Errors
    /// The operating system's reason when a thread cannot be started.
    pub(crate) fn start(name: &'static str, threads: usize) -> io::Result<Self> {
        Self::start_within(name, threads, MOST_THREADS)
    }

    /// As [`Workers::start`]; `most`: threads, also where many hang.
    ///
    /// # Errors
    /// As for [`Workers::start`].
    pub(crate) fn start_within(
        name: &'static str,
        threads: usize,
        most: usize,
    ) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            name,
            threads,
            most_threads: most.min(descriptors::limit() / THREADS_SHARE),
            idle_limit: cores.min(threads.saturating_sub(1)).max(1),
            queue: Mutex::default(),
            wake: Condvar::new(),
            ended: Condvar::new(),
            busy: Condvar::new(),
            stopping: Condvar::new(),
        });
        let workers = Self { shared };
        for _ in 0..workers.shared.threads {
            workers.shared.add_thread()?;
        }
        let shared = workers.shared.clone();
        thread::Builder::new().name(format!("{name}-watch")).spawn(move || shared.watch())?;
        Ok(workers)
    }

    /// Threads that run now.
    pub(crate) fn threads(&self) -> usize {
        lock(&self.shared.queue).threads
    }

    /// Queues a task. After [`Workers::stop`] it is dropped unrun, which its owner notices by the
    /// drop of what it holds.
    pub(crate) fn spawn(&self, task: impl FnOnce() + Send + 'static) {
        let mut queue = lock(&self.shared.queue);
        if !queue.stopped {
            queue.tasks.push_back(Box::new(task));
            self.shared.wake.notify_one();
            if queue.tasks.len() > queue.idle {
                self.shared.busy.notify_one();
            }
        }
    }

    /// Queues a task that nobody waits for: it runs when no other is queued, or never.
    pub(crate) fn spawn_when_idle(&self, task: impl FnOnce() + Send + 'static) {
        let mut queue = lock(&self.shared.queue);
        if queue.stopped {
            return;
        }
        queue.idle_tasks.push_back(Box::new(task));
        let is_too_many = queue.idle_tasks.len() > MOST_IDLE_TASKS;
        let oldest = if is_too_many { queue.idle_tasks.pop_front() } else { None };
        drop(queue);
        self.shared.wake.notify_one();
        // What it holds may be the last of its kind.
        drop(oldest);
    }

    /// Runs a task that is of use only at once, if a thread has nothing to do.
    pub(crate) fn spawn_if_idle(&self, task: impl FnOnce() + Send + 'static) {
        let mut queue = lock(&self.shared.queue);
        let may_run = queue.idle_running < self.shared.idle_limit && queue.tasks.is_empty();
        if !queue.stopped && may_run && queue.idle > queue.idle_tasks.len() {
            queue.idle_tasks.push_front(Box::new(task));
            drop(queue);
            self.shared.wake.notify_one();
        }
    }

    /// Waits until nothing is queued and nothing runs, but not for long, and stops.
    pub(crate) fn finish(&self) {
        let queue = lock(&self.shared.queue);
        let is_busy = |queue: &mut Queue| !queue.tasks.is_empty() || !queue.running.is_empty();
        let waited = self.shared.ended.wait_timeout_while(queue, STOP_TIME, is_busy);
        let (queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(queue);
        self.stop_within(if timeout.timed_out() { Duration::ZERO } else { STOP_TIME });
    }

    /// Drops what is queued and waits for running tasks, but not for long: one that hangs in a file
    /// system ends when that answers, or with the process.
    pub(crate) fn stop(&self) {
        self.stop_within(STOP_TIME);
    }

    /// Drops what is queued, and leaves what runs behind: it is of no use to anybody.
    pub(crate) fn leave(&self) {
        self.stop_within(Duration::ZERO);
    }

    fn stop_within(&self, time: Duration) {
        let dropped = {
            let mut queue = lock(&self.shared.queue);
            if std::mem::replace(&mut queue.stopped, true) && time.is_zero() {
                return;
            }
            (std::mem::take(&mut queue.tasks), std::mem::take(&mut queue.idle_tasks))
        };
        // Outside the lock: dropping a task may answer readers.
        drop(dropped);
        self.shared.wake.notify_all();
        self.shared.busy.notify_all();
        self.shared.stopping.notify_all();
        self.shared.ended.notify_all();
        // The last owner may be a worker itself.
        let own = usize::from(thread::current().name() == Some(self.shared.name));
        let queue = lock(&self.shared.queue);
        let waited = self.shared.ended.wait_timeout_while(queue, time, |queue| queue.threads > own);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.running.len() > own {
            let (name, tasks) = (self.shared.name, queue.running.len() - own);
            tracing::warn!(name, tasks, "tasks still under way are left behind");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let is_stopped = lock(&self.shared.queue).stopped;
        if !is_stopped {
            self.stop();
        }
    }
}

impl Shared {
    fn add_thread(self: &Arc<Self>) -> io::Result<()> {
        lock(&self.queue).threads += 1;
        let shared = self.clone();
        let started = thread::Builder::new().name(self.name.to_owned()).spawn(move || {
            shared.run();
            shared.ended.notify_all();
        });
        if started.is_err() {
            lock(&self.queue).threads -= 1;
        }
        started.map(drop)
    }

    fn run(&self) {
        while let Some(Begun { number, task, is_idle }) = self.next() {
            // A fault in one task costs its reader an error, not the daemon a worker.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(task)).is_err() {
                tracing::error!("a task panicked; its readers get an I/O error");
            }
            let mut queue = lock(&self.queue);
            queue.running.remove(&number);
            if is_idle {
                queue.idle_running -= 1;
                if !queue.idle_tasks.is_empty() {
                    // This thread may take another task now.
                    self.wake.notify_one();
                }
            }
            if queue.running.is_empty() && queue.tasks.is_empty() {
                self.ended.notify_all();
            }
        }
    }

    /// The next task; without one, this thread is no longer counted.
    fn next(&self) -> Option<Begun> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.stopped {
                break;
            }
            let mut next = queue.tasks.pop_front();
            let is_idle = next.is_none() && queue.idle_running < self.idle_limit;
            if is_idle {
                next = queue.idle_tasks.pop_front();
                queue.idle_running += usize::from(next.is_some());
            }
            if let Some(task) = next {
                queue.begun += 1;
                let number = queue.begun;
                queue.running.insert(number, Instant::now());
                return Some(Begun { number, task, is_idle });
            }
            queue.idle += 1;
            let waited = self.wake.wait_timeout(queue, IDLE_TIME);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if timeout.timed_out() && queue.tasks.is_empty() && queue.threads > self.threads {
                break;
            }
        }
        queue.threads -= 1;
        None
    }

    /// Starts threads while tasks wait and others hang.
    fn watch(self: &Arc<Self>) {
        loop {
            let queue = lock(&self.queue);
            let has_none = |queue: &mut Queue| !queue.stopped && queue.tasks.is_empty();
            let waited = self.busy.wait_while(queue, has_none);
            let queue = waited.unwrap_or_else(PoisonError::into_inner);
            if queue.stopped {
                return;
            }
            let waited = self.stopping.wait_timeout_while(queue, PATIENCE, |queue| !queue.stopped);
            let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let missing = queue.missing(self.threads, self.most_threads);
            drop(queue);
            for _ in 0..missing {
                tracing::debug!(name = self.name, "a task hangs; starting another thread");
                if let Err(error) = self.add_thread() {
                    tracing::debug!(%error, "no more threads");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn tasks_that_hang_hold_up_no_others() {
        let workers = Workers::start("test", 2).expect("threads");
        let (gates, mut opened) = (Arc::new((Mutex::new(false), Condvar::new())), Vec::new());
        for _ in 0..20 {
            let (gate, (done, finished)) = (gates.clone(), mpsc::channel());
            workers.spawn(move || {
                let open = gate.1.wait_while(lock(&gate.0), |open| !*open);
                drop(open);
                done.send(()).expect("receiver lives");
            });
            opened.push(finished);
        }
        let (done, finished) = mpsc::channel();
        workers.spawn(move || done.send(7).expect("receiver lives"));
        assert_eq!(finished.recv(), Ok(7));
        assert!(opened.iter().all(|finished| finished.try_recv().is_err()));
        *lock(&gates.0) = true;
        gates.1.notify_all();
        assert!(opened.iter().all(|finished| finished.recv().is_ok()));
    }
}
