//! Passes that wait for their turn.
//!
//! Each pass holds some bricks in memory, so few run at a time, over the images of all mounts: they share
//! one memory budget. A pass that reads nothing, because its source does not answer, is not counted: it
//! must not delay passes over other stores.

use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::cache::BrickKey;
use crate::resources::{Aside, Resources};
use crate::sync::lock;

use super::brick::BrickTicket;

/// Large passes that run at a time, and small ones.
const PASSES: [usize; 2] = [2, 16];

/// The same, including passes that read nothing.
const MOST_PASSES: [usize; 2] = [32, 256];

/// A pass that has read nothing for this time is not counted.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time between two looks at waiting passes.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// The queue of passes.
#[derive(Debug)]
pub(crate) struct Turns {
    resources: Arc<Resources>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    running: Vec<Arc<Headway>>,
    waiting: Vec<Waiting>,
    /// The end has come: no pass may wait any more.
    is_closed: bool,
    /// A thread looks at the waiting passes.
    is_watched: bool,
}

/// A pass that waits for its turn.
pub(crate) struct Waiting {
    /// The brick it is to make.
    pub(crate) key: BrickKey,
    pub(crate) ticket: BrickTicket,
    pub(crate) lane: Lane,
    /// Upper bound of the memory of its open bricks.
    pub(crate) bytes: u64,
    pub(crate) start: Start,
}

/// Starts a pass, on a worker.
pub(crate) type Start = Box<dyn FnOnce(BrickTicket, Arc<Headway>) + Send>;

/// When a pass last read anything.
pub(crate) struct Headway {
    lane: Lane,
    last: Mutex<Instant>,
    /// For its open bricks, until its end.
    memory: Mutex<Option<Aside>>,
}

impl Headway {
    fn new(lane: Lane, memory: Aside) -> Arc<Self> {
        let (last, memory) = (Mutex::new(Instant::now()), Mutex::new(Some(memory)));
        Arc::new(Self { lane, last, memory })
    }

    /// The pass has read something.
    pub(crate) fn make(&self) {
        *lock(&self.last) = Instant::now();
        if let Some(memory) = &*lock(&self.memory) {
            memory.renew();
        }
    }

    fn is_made(&self) -> bool {
        lock(&self.last).elapsed() < PATIENCE
    }
}

impl Queue {
    /// The memory of a pass, if it may start: one in each lane always may, however much it takes.
    fn room(&self, resources: &Resources, lane: Lane, bytes: u64) -> Option<Aside> {
        let running = || self.running.iter().filter(|headway| headway.lane == lane);
        let made = running().filter(|headway| headway.is_made()).count();
        let may = made < PASSES[lane as usize] && running().count() < MOST_PASSES[lane as usize];
        if may { resources.try_aside(bytes, made == 0) } else { None }
    }

    /// Takes the first pass that may start.
    fn start_one(&mut self, resources: &Resources) -> Option<(Waiting, Arc<Headway>)> {
        let mut room = None;
        let at = self.waiting.iter().position(|next| {
            room = self.room(resources, next.lane, next.bytes);
            room.is_some()
        })?;
        let next = self.waiting.remove(at);
        tracing::debug!(space = next.key.space, bytes = next.bytes, "a pass begins");
        let headway = Headway::new(next.lane, room?);
        self.running.push(headway.clone());
        Some((next, headway))
    }
}

/// Which limit a pass is under.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Large = 0,
    Small = 1,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("running", &self.running.len())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Turns {
    pub(super) fn new(resources: Arc<Resources>) -> Arc<Self> {
        Arc::new(Self { resources, queue: Mutex::default() })
    }

    /// Takes the duty for a brick from a pass that has not begun.
    pub(crate) fn claim(&self, key: &BrickKey) -> Option<BrickTicket> {
        let mut queue = lock(&self.queue);
        let at = queue.waiting.iter().position(|waiting| waiting.key == *key)?;
        Some(queue.waiting.remove(at).ticket)
    }

    /// Gives up the waiting passes, and those to come: their readers get an error.
    pub(super) fn close(&self) {
        let waiting = {
            let mut queue = lock(&self.queue);
            queue.is_closed = true;
            std::mem::take(&mut queue.waiting)
        };
        drop(waiting);
    }

    /// Starts every pass that may start, after the end of `finished` if a pass has ended.
    pub(crate) fn advance(self: &Arc<Self>, finished: Option<&Arc<Headway>>) {
        let mut started = Vec::new();
        {
            let mut queue = lock(&self.queue);
            if let Some(finished) = finished {
                queue.running.retain(|headway| !Arc::ptr_eq(headway, finished));
                drop(lock(&finished.memory).take());
            }
            while let Some(next) = queue.start_one(&self.resources) {
                started.push(next);
            }
            if !queue.waiting.is_empty() && !queue.is_watched {
                queue.is_watched = watch(Arc::downgrade(self));
            }
        }
        for (Waiting { ticket, start, .. }, headway) in started {
            // Not here: the caller may hold memory, and a pass may wait for some.
            self.resources.workers.spawn(move || start(ticket, headway));
        }
    }

    /// Whether there is still something to watch.
    fn is_waited_for(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.is_watched = !queue.waiting.is_empty();
        queue.is_watched
    }

    /// Puts a pass in the queue, unless another thread has its brick under way. Locked over both steps: a caller
    /// that finds the brick under way finds it in the queue, too.
    pub(crate) fn enter(&self, lead: impl FnOnce() -> Option<Waiting>) {
        let mut queue = lock(&self.queue);
        let entered = lead();
        if !queue.is_closed {
            queue.waiting.extend(entered);
            return;
        }
        // Its readers are told without the lock.
        drop(queue);
        drop(entered);
    }
}

/// Starts a thread that starts passes when others stop reading; it ends when none waits.
fn watch(turns: Weak<Turns>) -> bool {
    let task = move || {
        loop {
            thread::sleep(WATCH_INTERVAL);
            let Some(turns) = turns.upgrade() else { return };
            turns.advance(None);
            if !turns.is_waited_for() {
                return;
            }
        }
    };
    let started = thread::Builder::new().name("pass-watch".to_owned()).spawn(task);
    if let Err(error) = &started {
        tracing::warn!(%error, "passes that hang may hold up others");
    }
    started.is_ok()
}
