//! Groups of threads that produce bytes. Threads start when there are tasks for them, and end when there have
//! been none for some seconds.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::descriptors;
use crate::sync::lock;

use super::shares::{DESCRIPTORS_SHARE, MOST_IDLE_TASKS, MOST_THREADS};

type Task = Box<dyn FnOnce() + Send>;

/// A task that has run for this time may hang; its thread is replaced if other tasks wait for one.
const PATIENCE: Duration = Duration::from_millis(500);

/// Time without a task after which a thread ends.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Time that running tasks are given to end.
const STOP_TIME: Duration = Duration::from_secs(3);

/// Threads that run tasks in the order they were given, and idle tasks when there are none.
///
/// If tasks hang, because a file system does not answer, and others wait for a thread, the hanging threads are
/// replaced: a task that needs nothing of what hangs is delayed by about a second at most.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    /// Most threads, but for those that replace hanging ones.
    threads: usize,
    /// Most threads in all.
    most_threads: usize,
    /// Idle tasks that run at a time, so that other tasks find a thread.
    idle_limit: usize,
    queue: Mutex<Queue>,
    /// For the threads: there is a task, or the end has come.
    wake: Condvar,
    /// A thread or the last task has ended.
    ended: Condvar,
    /// For the thread that watches: there is a task and no thread without one, or the end has come.
    busy: Condvar,
    /// For the thread that watches: the end has come. To wake it for each task that ends would cost more
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
    /// Tasks that no caller waits for.
    idle_tasks: VecDeque<Task>,
    /// Idle tasks that run.
    idle_running: usize,
    stopped: bool,
    threads: usize,
    /// Threads that wait for a task.
    idle: usize,
    /// A thread watches for hanging tasks.
    is_watched: bool,
    /// When each running task began, by its number.
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
    /// Tasks that a thread could take now.
    fn ready(&self, idle_limit: usize) -> usize {
        let idle = idle_limit.saturating_sub(self.idle_running).min(self.idle_tasks.len());
        self.tasks.len() + idle
    }

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
    /// A group of at most `threads` threads, but for those that replace hanging ones.
    pub(crate) fn new(name: &'static str, threads: usize) -> Self {
        Self::within(name, threads, MOST_THREADS)
    }

    /// A group for tasks that wait for other machines: as many run at a time as there are threads, also of
    /// those that no caller waits for.
    pub(crate) fn waiting(name: &'static str, threads: usize) -> Self {
        Self::with(name, threads, threads, MOST_THREADS)
    }

    /// As [`Workers::new`], with at most `most` threads even where many hang.
    pub(crate) fn within(name: &'static str, threads: usize, most: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with(name, threads, cores.min(threads.saturating_sub(1)).max(1), most)
    }

    fn with(name: &'static str, threads: usize, idle_limit: usize, most: usize) -> Self {
        let threads = threads.max(1);
        let shared = Shared {
            name,
            threads,
            most_threads: most.min(descriptors::limit() / DESCRIPTORS_SHARE),
            idle_limit,
            queue: Mutex::default(),
            wake: Condvar::new(),
            ended: Condvar::new(),
            busy: Condvar::new(),
            stopping: Condvar::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Threads that run now.
    pub(crate) fn threads(&self) -> usize {
        lock(&self.shared.queue).threads
    }

    /// Tasks that work without a reader may have under way now: no more than leave a thread to others, and
    /// one where others wait.
    pub(crate) fn spare(&self) -> usize {
        let queue = lock(&self.shared.queue);
        let free = queue.idle + self.shared.threads.saturating_sub(queue.threads);
        if free > queue.tasks.len() + 1 { self.shared.idle_limit } else { 1 }
    }

    /// Queues a task. After [`Workers::stop`], or where the system lets no thread start, it is dropped
    /// unrun; its owner notices that by the drop of what the task holds.
    pub(crate) fn spawn(&self, task: impl FnOnce() + Send + 'static) {
        let mut queue = lock(&self.shared.queue);
        if !queue.stopped {
            queue.tasks.push_back(Box::new(task));
            self.shared.staff(queue);
        }
    }

    /// Queues a task that no caller waits for: it runs when no other is queued, or never.
    pub(crate) fn spawn_when_idle(&self, task: impl FnOnce() + Send + 'static) {
        let mut queue = lock(&self.shared.queue);
        if queue.stopped {
            return;
        }
        queue.idle_tasks.push_back(Box::new(task));
        let is_too_many = queue.idle_tasks.len() > MOST_IDLE_TASKS;
        let oldest = if is_too_many { queue.idle_tasks.pop_front() } else { None };
        self.shared.staff(queue);
        // Outside the lock: what it holds may be the last of its kind.
        drop(oldest);
    }

    /// Runs a task that is of use only at once, if a thread has nothing to do.
    pub(crate) fn spawn_if_idle(&self, task: impl FnOnce() + Send + 'static) {
        let mut queue = lock(&self.shared.queue);
        let may_run = queue.idle_running < self.shared.idle_limit && queue.tasks.is_empty();
        let free = queue.idle + self.shared.threads.saturating_sub(queue.threads);
        if !queue.stopped && may_run && free > queue.idle_tasks.len() {
            queue.idle_tasks.push_front(Box::new(task));
            self.shared.staff(queue);
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

    /// Drops what is queued and waits for running tasks, but not for long: a task that hangs in a file system
    /// ends when that answers, or with the process.
    pub(crate) fn stop(&self) {
        self.stop_within(STOP_TIME);
    }

    /// Drops what is queued and does not wait for running tasks.
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
    /// Wakes a thread for what was just queued, or starts one, or has hanging threads looked for.
    fn staff(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        self.wake.notify_one();
        if queue.ready(self.idle_limit) <= queue.idle {
            return;
        }
        if queue.threads < self.threads {
            queue.threads += 1;
            drop(queue);
            if let Err(error) = self.start_thread() {
                self.do_without(&error);
            }
        } else if !queue.tasks.is_empty() {
            let is_watched = std::mem::replace(&mut queue.is_watched, true);
            drop(queue);
            if is_watched {
                self.busy.notify_one();
            } else if let Err(error) = self.start_watch() {
                lock(&self.queue).is_watched = false;
                tracing::debug!(%error, "threads that hang are not replaced");
            }
        }
    }

    /// The system lets no more threads start. The others do the work; where there is none, it is not done.
    fn do_without(&self, error: &io::Error) {
        let mut queue = lock(&self.queue);
        if queue.threads > 0 {
            tracing::debug!(%error, "no more threads");
            return;
        }
        let dropped = (std::mem::take(&mut queue.tasks), std::mem::take(&mut queue.idle_tasks));
        drop(queue);
        tracing::error!(%error, name = self.name, tasks = dropped.0.len(), "cannot start a thread");
    }

    /// Starts a thread that the caller has counted.
    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
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

    fn start_watch(self: &Arc<Self>) -> io::Result<()> {
        let shared = self.clone();
        thread::Builder::new()
            .name(format!("{}-watch", self.name))
            .spawn(move || shared.watch())
            .map(drop)
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
            if timeout.timed_out() && queue.ready(self.idle_limit) == 0 {
                break;
            }
        }
        queue.threads -= 1;
        None
    }

    /// Starts threads while tasks wait and others hang; ends when no task has waited for some time.
    fn watch(self: &Arc<Self>) {
        let mut queue = lock(&self.queue);
        loop {
            let has_none = |queue: &mut Queue| !queue.stopped && queue.tasks.is_empty();
            let waited = self.busy.wait_timeout_while(queue, IDLE_TIME, has_none);
            let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if queue.stopped || timeout.timed_out() {
                queue.is_watched = false;
                return;
            }
            let waited = self.stopping.wait_timeout_while(queue, PATIENCE, |queue| !queue.stopped);
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            for _ in 0..queue.missing(self.threads, self.most_threads) {
                tracing::debug!(name = self.name, "a task hangs; starting another thread");
                queue.threads += 1;
                drop(queue);
                let started = self.start_thread();
                queue = lock(&self.queue);
                if let Err(error) = started {
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
        let workers = Workers::new("test", 1);
        let (done, finished) = mpsc::channel();
        workers.spawn(|| panic!("on purpose"));
        workers.spawn(move || done.send(7).expect("receiver lives"));
        assert_eq!(finished.recv(), Ok(7));
    }

    #[test]
    fn tasks_that_hang_hold_up_no_others() {
        let workers = Workers::new("test", 2);
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

    #[test]
    fn threads_start_with_tasks_and_no_more_than_there_may_be() {
        let workers = Workers::new("test", 3);
        assert_eq!(workers.threads(), 0);
        let (done, finished) = mpsc::channel();
        for number in 0..50 {
            let done = done.clone();
            workers.spawn(move || done.send(number).expect("receiver lives"));
            assert!((1..=3).contains(&workers.threads()));
        }
        let mut numbers: Vec<i32> = finished.iter().take(50).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
        let done = done.clone();
        workers.spawn_when_idle(move || done.send(50).expect("receiver lives"));
        assert_eq!(finished.recv(), Ok(50));
        workers.stop();
        assert_eq!(workers.threads(), 0);
    }

    #[test]
    fn an_idle_task_alone_finds_a_thread() {
        for spawn in [Workers::spawn_when_idle, Workers::spawn_if_idle] {
            let workers = Workers::new("test", 2);
            let (done, finished) = mpsc::channel();
            let task: Task = Box::new(move || done.send(7).expect("receiver lives"));
            spawn(&workers, task);
            assert_eq!(finished.recv(), Ok(7));
        }
    }
}
