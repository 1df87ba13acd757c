//! One piece of work for all callers that want its result at the same time.
//!
//! The first caller for a key leads: it gets a [`Ticket`] and does the work, in any thread. Callers
//! that come while the ticket is out only leave a waiter. Completing the ticket, or losing it, calls
//! every waiter once, the leader's own first, in the order in which they came.
//!
//! A result may become available elsewhere (a cache) before it is announced here, so whoever
//! becomes leader after a miss should look there once more before working.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Receives the result. Called without a lock held, in the thread that completes the work, so it
/// should be short.
pub type Waiter<V> = Box<dyn FnOnce(V) + Send>;

/// Work in progress by key.
pub struct SingleFlight<K, V> {
    waiting: Mutex<HashMap<K, Vec<Waiter<V>>>>,
}

/// What a caller of [`SingleFlight::join`] has to do.
#[must_use = "dropping the ticket of a leader abandons the work"]
#[derive(Debug)]
pub enum Role<K: Eq + Hash, V: Clone> {
    /// Do the work, then complete the ticket.
    Leader(Ticket<K, V>),
    /// Nothing: the waiter will be called.
    Follower,
}

/// The leader's duty. Dropped without a result (by an error return, or a panic), it completes with
/// the value given to `join`.
pub struct Ticket<K: Eq + Hash, V: Clone> {
    flights: Arc<SingleFlight<K, V>>,
    open: Option<(K, Box<dyn FnOnce() -> V + Send>)>,
}

impl<K: Eq + Hash + Clone, V: Clone> SingleFlight<K, V> {
    /// No work in progress.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::new(HashMap::new()) })
    }

    /// Takes the lead for `key`, with the leader's own waiter, unless another caller has it; then
    /// returns the waiter.
    ///
    /// # Errors
    ///
    /// The waiter, if another caller has the lead.
    pub fn lead(
        self: &Arc<Self>,
        key: K,
        waiter: Waiter<V>,
        abandoned: impl FnOnce() -> V + Send + 'static,
    ) -> Result<Ticket<K, V>, Waiter<V>> {
        let mut waiting = lock(&self.waiting);
        if waiting.contains_key(&key) {
            return Err(waiter);
        }
        waiting.insert(key.clone(), vec![waiter]);
        Ok(self.ticket(key, abandoned))
    }

    /// Leaves a waiter for the result of `key`. The first caller leads; `abandoned` makes the value
    /// that all waiters get if its ticket is lost.
    pub fn join(
        self: &Arc<Self>,
        key: K,
        waiter: Waiter<V>,
        abandoned: impl FnOnce() -> V + Send + 'static,
    ) -> Role<K, V> {
        let mut waiting = lock(&self.waiting);
        if let Some(waiters) = waiting.get_mut(&key) {
            waiters.push(waiter);
            return Role::Follower;
        }
        waiting.insert(key.clone(), vec![waiter]);
        Role::Leader(self.ticket(key, abandoned))
    }

    fn ticket(
        self: &Arc<Self>,
        key: K,
        abandoned: impl FnOnce() -> V + Send + 'static,
    ) -> Ticket<K, V> {
        Ticket { flights: Arc::clone(self), open: Some((key, Box::new(abandoned))) }
    }
}

impl<K: Eq + Hash, V: Clone> SingleFlight<K, V> {
    /// Keys being worked on.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        lock(&self.waiting).len()
    }

    /// The keys themselves.
    #[must_use]
    pub fn keys(&self) -> Vec<K>
    where
        K: Clone,
    {
        lock(&self.waiting).keys().cloned().collect()
    }

    /// Whether a key is being worked on.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        lock(&self.waiting).contains_key(key)
    }

    fn complete(&self, key: &K, value: V) -> usize {
        let waiters = lock(&self.waiting).remove(key).unwrap_or_default();
        let count = waiters.len();
        for waiter in waiters {
            let value = value.clone();
            // One waiter's panic must not leave the others waiting for ever.
            if catch_unwind(AssertUnwindSafe(|| waiter(value))).is_err() {
                tracing::error!("a waiter panicked on its result");
            }
        }
        count
    }
}

impl<K: Eq + Hash, V: Clone> Ticket<K, V> {
    /// How many wait for the result by now, the leader included.
    #[must_use]
    pub fn waiters(&self) -> usize {
        let waiting = lock(&self.flights.waiting);
        self.open.as_ref().and_then(|(key, _)| waiting.get(key)).map_or(0, Vec::len)
    }

    /// Hands the result to every waiter, and tells how many there were.
    pub fn complete(mut self, value: V) -> usize {
        self.open.take().map_or(0, |(key, _)| self.flights.complete(&key, value))
    }
}

impl<K: Eq + Hash, V: Clone> Drop for Ticket<K, V> {
    fn drop(&mut self) {
        if let Some((key, abandoned)) = self.open.take() {
            self.flights.complete(&key, abandoned());
        }
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V: Clone> fmt::Debug for Ticket<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Barrier, mpsc};
    use std::thread;

    use super::*;

    type Flights = Arc<SingleFlight<u32, Result<u32, &'static str>>>;

    fn waiter(
        results: &mpsc::Sender<Result<u32, &'static str>>,
    ) -> Waiter<Result<u32, &'static str>> {
        let results = results.clone();
        Box::new(move |value| results.send(value).unwrap())
    }

    fn lead(
        flights: &Flights,
        key: u32,
        waiter: Waiter<Result<u32, &'static str>>,
    ) -> Ticket<u32, Result<u32, &'static str>> {
        match flights.join(key, waiter, || Err("abandoned")) {
            Role::Leader(ticket) => ticket,
            Role::Follower => panic!("somebody else leads"),
        }
    }

    #[test]
    fn one_leads_and_all_get_the_result() {
        let flights = Flights::new(SingleFlight { waiting: Mutex::new(HashMap::new()) });
        let (sender, results) = mpsc::channel();
        let ticket = lead(&flights, 1, waiter(&sender));
        for _ in 0..3 {
            assert!(matches!(flights.join(1, waiter(&sender), || Ok(0)), Role::Follower));
        }
        let other = lead(&flights, 2, waiter(&sender));
        assert_eq!(flights.in_flight(), 2);
        ticket.complete(Ok(7));
        assert_eq!(results.try_iter().collect::<Vec<_>>(), [Ok(7); 4]);
        assert_eq!(flights.in_flight(), 1);
        drop(lead(&flights, 1, waiter(&sender)));
        other.complete(Err("disk"));
        assert_eq!(results.try_iter().collect::<Vec<_>>(), [Err("abandoned"), Err("disk")]);
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let flights: Flights = SingleFlight::new();
        let (sender, results) = mpsc::channel();
        let ticket = lead(&flights, 1, waiter(&sender));
        let _ = flights.join(1, waiter(&sender), || Ok(0));
        let worker = thread::spawn(move || {
            let _ticket = ticket;
            panic!("expected by the test");
        });
        assert!(worker.join().is_err());
        assert_eq!(results.try_iter().collect::<Vec<_>>(), [Err("abandoned"); 2]);
        assert_eq!(flights.in_flight(), 0);
    }

    #[test]
    fn a_waiter_that_panics_or_joins_again_does_not_disturb_the_others() {
        let flights: Flights = SingleFlight::new();
        let (sender, results) = mpsc::channel();
        let ticket = lead(&flights, 1, Box::new(|_| panic!("expected by the test")));
        let (again, inner) = (Arc::clone(&flights), waiter(&sender));
        let _ = flights.join(1, Box::new(move |_| drop(lead(&again, 1, inner))), || Ok(0));
        let _ = flights.join(1, waiter(&sender), || Ok(0));
        ticket.complete(Ok(1));
        assert_eq!(results.try_iter().collect::<Vec<_>>(), [Err("abandoned"), Ok(1)]);
    }

    #[test]
    fn many_threads_one_flight_at_a_time() {
        let flights: Flights = SingleFlight::new();
        let (working, led) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (sender, results) = mpsc::channel();
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..500 {
                        if let Role::Leader(ticket) =
                            flights.join(1, waiter(&sender.clone()), || Err("abandoned"))
                        {
                            assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0);
                            led.fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                            working.fetch_sub(1, Ordering::SeqCst);
                            ticket.complete(Ok(3));
                        }
                    }
                });
            }
        });
        assert!(led.load(Ordering::SeqCst) >= 1);
        assert_eq!(results.try_iter().filter(|value| *value == Ok(3)).count(), 4000);
    }
}
