//! How long a call may take, and when it is tried again.
//!
//! A client of Samba gives up after 30 to 60 seconds (`doc/DESIGN.md`, *Remote sources*), so a call that gets
//! nothing ends well before that. Each byte that comes extends the time of the call, by as much as it takes at the
//! [least rate](LEAST_RATE): a slow connection is no fault.

use std::time::Duration;

use tokio::time::Instant;

use super::fault::{Fault, ObjectError};

/// Bytes a second that extend the deadline.
const LEAST_RATE: u64 = 64 << 10;

/// Part of the time of a call without a byte after which another connection is tried.
const STALL_SHARE: u32 = 3;

/// Waits between tries: doubled each time, from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// The time of one call, all its tries included.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    deadline: Instant,
    next_wait: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, deadline: Instant::now() + limit, next_wait: FIRST_WAIT }
    }

    /// Bytes have come.
    pub(super) fn extend(&mut self, bytes: usize) {
        let micros = (bytes as u64).saturating_mul(1_000_000) / LEAST_RATE;
        self.deadline += Duration::from_micros(micros);
    }

    /// Waits for one step of a try: at most a part of the whole time, and not beyond its end.
    pub(super) async fn wait<T>(&self, what: impl Future<Output = T>) -> Result<T, ObjectError> {
        let until = self.deadline.min(Instant::now() + self.limit / STALL_SHARE);
        let waited = tokio::time::timeout_at(until, what).await;
        waited.map_err(|_| ObjectError::new(Fault::TooSlow, ""))
    }

    /// Waits for all of a try that shows no progress of its own.
    pub(super) async fn whole<T>(&self, what: impl Future<Output = T>) -> Result<T, ObjectError> {
        let waited = tokio::time::timeout_at(self.deadline, what).await;
        waited.map_err(|_| ObjectError::new(Fault::TooSlow, ""))
    }

    /// Waits for the next try.
    ///
    /// # Errors
    /// The error of the last one, where it will not pass, or not in time.
    pub(super) async fn next_try(&mut self, error: ObjectError) -> Result<(), ObjectError> {
        // Calls that failed together must not come back together.
        let wait = self.next_wait.mul_f64(0.5 + 0.5 * jitter());
        if !error.fault.may_pass() || Instant::now() + wait >= self.deadline {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
        Ok(())
    }
}

/// A number from 0 to 1 that differs from call to call.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let number = RandomState::new().hash_one(0) & 0xffff;
    u16::try_from(number).map_or(0.0, f64::from) / f64::from(u16::MAX)
}
