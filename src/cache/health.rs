//! Whether the cache takes bricks and, if not, when it is tried again.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::error::CacheError;
use super::stats::CacheStats;

/// Time from a fault to the first try, and the longest time between two tries.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Whether the cache takes bricks. In every other state than [`Health::Works`] reads are served
/// uncached, and the cache is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Health {
    /// It takes bricks.
    Works,
    /// Its disk fails.
    Failing(Outage),
    /// Its folder was removed.
    Gone(Outage),
    /// Its file system cannot punch holes into files.
    Unsuitable(Outage),
}

/// A time in which the cache takes no bricks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// The last error.
    pub reason: String,
    /// When it began.
    pub since: SystemTime,
    /// When the cache is tried again, at the earliest.
    pub next_try: SystemTime,
}

/// Health and use of a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CacheStatus {
    /// Whether it takes bricks.
    pub health: Health,
    /// What it holds and what happened.
    #[serde(flatten)]
    pub stats: CacheStats,
}

/// What is wrong with the disk, with a schedule of tries.
#[derive(Debug)]
pub(super) struct Fault {
    kind: fn(Outage) -> Health,
    reason: String,
    since: SystemTime,
    next_try: Instant,
    pause: Duration,
}

impl Fault {
    /// `is_gone`: the folder was removed.
    pub(super) fn new(error: &CacheError, is_gone: bool) -> Self {
        Self {
            kind: kind_of(error, is_gone),
            reason: error.to_string(),
            since: SystemTime::now(),
            next_try: Instant::now() + FIRST_RETRY,
            pause: FIRST_RETRY,
        }
    }

    /// It has failed again.
    pub(super) fn again(&mut self, error: &CacheError, is_gone: bool) {
        self.kind = kind_of(error, is_gone);
        self.reason = error.to_string();
    }

    /// Whether the next try is due. If so, it is put off for others.
    pub(super) fn take_try(&mut self) -> bool {
        let is_due = Instant::now() >= self.next_try;
        if is_due {
            self.pause = (self.pause * 2).min(LONGEST_RETRY);
            self.next_try = Instant::now() + self.pause;
        }
        is_due
    }

    /// The try showed nothing about the disk: the next brick is another try.
    pub(super) fn try_at_once(&mut self) {
        self.pause = (self.pause / 2).max(FIRST_RETRY);
        self.next_try = Instant::now();
    }

    pub(super) fn health(&self) -> Health {
        let next_try = self.next_try.saturating_duration_since(Instant::now());
        (self.kind)(Outage {
            reason: self.reason.clone(),
            since: self.since,
            next_try: SystemTime::now() + next_try,
        })
    }
}

fn kind_of(error: &CacheError, is_gone: bool) -> fn(Outage) -> Health {
    match error {
        CacheError::NoHolePunching { .. } => Health::Unsuitable,
        _ if is_gone => Health::Gone,
        _ => Health::Failing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> CacheError {
        CacheError::Journal { source: rustix::io::Errno::NOSPC.into() }
    }

    #[test]
    fn tries_become_rarer_and_one_that_says_nothing_is_repeated_at_once() {
        let mut fault = Fault::new(&full(), false);
        assert!(!fault.take_try(), "too early");
        for pause in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            fault.next_try = Instant::now();
            assert!(fault.take_try() && !fault.take_try());
            assert_eq!(fault.pause, Duration::from_millis(pause));
        }
        fault.try_at_once();
        assert!(fault.take_try());
        assert_eq!(fault.pause, LONGEST_RETRY);
    }

    #[test]
    fn health_names_state_reason_and_next_try() {
        let mut fault = Fault::new(&full(), false);
        let Health::Failing(outage) = fault.health() else { panic!("{:?}", fault.health()) };
        assert!(outage.reason.contains("space"), "{outage:?}");
        assert!(outage.next_try > outage.since);
        fault.again(&full(), true);
        assert!(matches!(fault.health(), Health::Gone(_)));
        fault.again(&CacheError::NoHolePunching { dir: "/a".into() }, false);
        let Health::Unsuitable(later) = fault.health() else { panic!("{:?}", fault.health()) };
        assert_eq!(later.since, outage.since);
    }
}
