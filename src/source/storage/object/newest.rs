//! Answers that callers share. A caller says since when an answer counts for it; callers that ask at the same time
//! send one request.

use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use lru::LruCache;

use crate::sync::lock;

/// Questions whose answers are kept.
const KEPT: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// See the module.
#[derive(Debug)]
pub(super) struct Newest<V>(Mutex<LruCache<String, Arc<Slot<V>>>>);

#[derive(Debug)]
struct Slot<V> {
    state: Mutex<State<V>>,
    answered: Condvar,
}

#[derive(Debug)]
struct State<V> {
    is_asking: bool,
    /// With the time at which it was asked for.
    last: Option<(Instant, V)>,
}

/// A caller that asks. However that ends, others may ask again.
struct Asking<'a, V>(&'a Slot<V>);

impl<V> Drop for Asking<'_, V> {
    fn drop(&mut self) {
        lock(&self.0.state).is_asking = false;
        self.0.answered.notify_all();
    }
}

impl<V: Clone> Newest<V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }

    /// The answer to a question, as of `since` or later.
    pub(super) fn get(&self, question: &str, since: Instant, ask: impl FnOnce() -> V) -> V {
        let slot = self.slot(question);
        let mut state = lock(&slot.state);
        loop {
            match &state.last {
                Some((asked_at, answer)) if *asked_at >= since => return answer.clone(),
                _ if state.is_asking => {
                    let woken = slot.answered.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
                _ => break,
            }
        }
        state.is_asking = true;
        drop(state);
        let asking = Asking(&*slot);
        let asked_at = Instant::now();
        let answer = ask();
        lock(&slot.state).last = Some((asked_at, answer.clone()));
        drop(asking);
        answer
    }

    /// Keeps an answer that came in another way.
    pub(super) fn put(&self, question: &str, asked_at: Instant, answer: V) {
        let slot = self.slot(question);
        let mut state = lock(&slot.state);
        if state.last.as_ref().is_none_or(|(known_at, _)| *known_at <= asked_at) {
            state.last = Some((asked_at, answer));
        }
    }

    /// The answer, if it is known as of `since` or later.
    pub(super) fn known(&self, question: &str, since: Instant) -> Option<V> {
        let slot = lock(&self.0).get(question)?.clone();
        let state = lock(&slot.state);
        let (asked_at, answer) = state.last.as_ref()?;
        (*asked_at >= since).then(|| answer.clone())
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        lock(&self.0).clear();
    }

    fn slot(&self, question: &str) -> Arc<Slot<V>> {
        let mut slots = lock(&self.0);
        if let Some(slot) = slots.get(question) {
            return slot.clone();
        }
        let state = Mutex::new(State { is_asking: false, last: None });
        let slot = Arc::new(Slot { state, answered: Condvar::new() });
        slots.put(question.to_owned(), slot.clone());
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn an_answer_is_shared_by_all_that_wanted_it_before_it_was_asked_for() {
        let newest = Newest::new();
        let asked = AtomicUsize::new(0);
        let ask = || asked.fetch_add(1, Ordering::Relaxed) + 1;
        let before = Instant::now();
        assert_eq!(newest.get("a", before, ask), 1);
        assert_eq!(newest.get("a", before, ask), 1);
        assert_eq!(newest.known("a", before), Some(1));
        assert_eq!(newest.get("b", before, ask), 2);
        let after = Instant::now();
        assert_eq!(newest.known("a", after), None);
        assert_eq!(newest.get("a", after, ask), 3);
    }

    #[test]
    fn callers_that_want_the_same_ask_once() {
        let newest = Newest::new();
        let (asked, since) = (AtomicUsize::new(0), Instant::now());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| newest.get("a", since, || asked.fetch_add(1, Ordering::Relaxed)));
            }
        });
        assert_eq!(asked.into_inner(), 1);
    }

    #[test]
    fn a_caller_that_panics_leaves_the_question_open() {
        let newest = Newest::new();
        let since = Instant::now();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            newest.get("a", since, || -> usize { panic!("on purpose") })
        }));
        assert!(panicked.is_err());
        assert_eq!(newest.get("a", since, || 7), 7);
    }
}
