//! The memory budget: how many bytes may be in use at once, and by what.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::sync::lock;

/// Memory that has been in use so long is with a task that hangs, and no longer counted.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two looks of a waiting request for holders that hang.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes that may be in use at once. A request larger than the whole budget waits until nothing
/// else is in use and then runs alone: late is better than never. Bytes in the hands of a task that
/// hangs are not waited for.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    limit: u64,
    state: Mutex<MemoryState>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct MemoryState {
    /// When and how many bytes were taken, by number.
    taken: HashMap<u64, (Instant, u64)>,
    number: u64,
    used: u64,
    peak: u64,
    /// Bytes that leave less for the others, and are not waited for.
    held: u64,
    /// Requests that wait for bytes.
    waiting: usize,
}

impl MemoryState {
    /// Bytes in use, but for those of tasks that hang.
    fn counted(&self) -> u64 {
        let lately = self.taken.values().filter(|(at, _)| at.elapsed() < PATIENCE);
        lately.map(|(_, bytes)| bytes).sum()
    }
}

/// A memory budget and its use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryStats {
    /// Bytes that may be in use at once.
    pub budget_bytes: u64,
    /// Bytes in use now, for bricks that are decoded or wait for the disk.
    pub used_bytes: u64,
    /// Bytes that leave less for them: open files, passes, metadata in production.
    pub held_bytes: u64,
    /// Largest use so far.
    pub peak_bytes: u64,
}

/// Bytes in use until dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    budget: Arc<MemoryBudget>,
    number: u64,
}

/// Bytes held until dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl MemoryBudget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default(), freed: Condvar::new() })
    }

    /// Waits until `bytes` are free and takes them.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Reserved {
        let mut state = lock(&self.state);
        let is_free = |used: u64, held: u64| {
            used == 0 || used.saturating_add(held).saturating_add(bytes) <= self.limit
        };
        while !is_free(state.used, state.held) && !is_free(state.counted(), state.held) {
            state.waiting += 1;
            let waited = self.freed.wait_timeout(state, LOOK_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        self.take(&mut state, bytes)
    }

    /// Whether a request waits for bytes.
    pub(crate) fn is_short(&self) -> bool {
        lock(&self.state).waiting > 0
    }

    /// Takes `bytes` if they are free now and no request waits for bytes.
    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reserved> {
        let mut state = lock(&self.state);
        let fits =
            |used: u64, held: u64| used.saturating_add(held).saturating_add(bytes) <= self.limit;
        let is_free = state.waiting == 0
            && (fits(state.used, state.held) || fits(state.counted(), state.held));
        is_free.then(|| self.take(&mut state, bytes))
    }

    /// Takes `bytes`, whether they are free or not.
    pub(crate) fn overdraw(self: &Arc<Self>, bytes: u64) -> Reserved {
        self.take(&mut lock(&self.state), bytes)
    }

    /// Leaves `bytes` less to requests. Never waits: for what is there for long, such as open files. However
    /// much is held, one request at a time is granted.
    pub(crate) fn hold(self: &Arc<Self>, bytes: u64) -> Held {
        let mut state = lock(&self.state);
        state.held = state.held.saturating_add(bytes);
        Held { budget: self.clone(), bytes }
    }

    /// What is there for long took `old` bytes, and takes `new` ones now; see [`MemoryBudget::hold`].
    pub(crate) fn change_held(&self, old: u64, new: u64) {
        let mut state = lock(&self.state);
        state.held = state.held.saturating_add(new).saturating_sub(old);
        if new < old {
            self.freed.notify_all();
        }
    }

    fn take(self: &Arc<Self>, state: &mut MemoryState, bytes: u64) -> Reserved {
        state.used = state.used.saturating_add(bytes);
        state.peak = state.peak.max(state.used);
        state.number += 1;
        let number = state.number;
        state.taken.insert(number, (Instant::now(), bytes));
        Reserved { budget: self.clone(), number }
    }

    pub(crate) fn stats(&self) -> MemoryStats {
        let state = lock(&self.state);
        MemoryStats {
            budget_bytes: self.limit,
            used_bytes: state.used,
            held_bytes: state.held,
            peak_bytes: state.peak,
        }
    }
}

impl Reserved {
    /// Gives back all but `bytes`.
    pub(crate) fn shrink_to(&self, bytes: u64) {
        let mut state = lock(&self.budget.state);
        if let Some((_, taken)) = state.taken.get_mut(&self.number) {
            let freed = taken.saturating_sub(bytes);
            *taken -= freed;
            state.used -= freed;
        }
        self.budget.freed.notify_all();
    }

    /// The task that holds the bytes does not hang.
    pub(crate) fn renew(&self) {
        if let Some((at, _)) = lock(&self.budget.state).taken.get_mut(&self.number) {
            *at = Instant::now();
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut state = lock(&self.budget.state);
        if let Some((_, bytes)) = state.taken.remove(&self.number) {
            state.used -= bytes;
        }
        self.budget.freed.notify_all();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = lock(&self.budget.state);
        state.held = state.held.saturating_sub(self.bytes);
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn what_is_held_leaves_less_to_others_and_never_nothing() {
        let budget = MemoryBudget::new(100);
        let held = budget.hold(70);
        let one = budget.try_reserve(30).expect("fits");
        assert!(budget.try_reserve(1).is_none());
        drop(one);
        assert!(budget.try_reserve(31).is_none());
        let more = budget.hold(1000);
        // Alone, however much is held.
        drop(budget.reserve(50));
        drop((held, more));
        assert!(budget.try_reserve(100).is_some());
    }

    #[test]
    fn memory_of_a_task_that_hangs_is_not_waited_for() {
        let budget = MemoryBudget::new(100);
        let (hangs, works) = (budget.reserve(60), budget.reserve(40));
        let long_ago = Instant::now().checked_sub(PATIENCE).expect("not at the start of time");
        for (at, _) in lock(&budget.state).taken.values_mut() {
            *at = long_ago;
        }
        works.renew();
        assert_eq!(lock(&budget.state).counted(), 40);
        drop(budget.reserve(60));
        drop(hangs);
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
        assert!(budget.stats().peak_bytes <= 100);
        drop(budget.reserve(1000));
        assert_eq!(budget.stats().peak_bytes, 1000);
    }
}
