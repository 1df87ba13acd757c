//! How often the log tells of faults that come in crowds: each once a minute, and not too many at a time.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lru::LruCache;
use xxhash_rust::xxh3::xxh3_64;

use crate::sync::lock;

/// Time after which the same fault is logged again.
const AGAIN: Duration = Duration::from_mins(1);

/// Lines within a window; a whole disk of damaged chunks must not fill another one with its log.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Faults remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Remembers what was logged lately.
#[derive(Debug)]
pub(crate) struct LogLimit(Mutex<Told>);

#[derive(Debug)]
struct Told {
    faults: LruCache<u64, Instant>,
    window: Instant,
    lines: u32,
    suppressed: u64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self(Mutex::new(Told {
            faults: LruCache::new(REMEMBERED),
            window: Instant::now(),
            lines: 0,
            suppressed: 0,
        }))
    }
}

impl LogLimit {
    fn lock(&self) -> MutexGuard<'_, Told> {
        lock(&self.0)
    }

    /// Whether a line on a fault may be written now, and how many on others were not.
    pub(crate) fn is_due(&self, fault: &str) -> Option<u64> {
        let mut told = self.lock();
        let now = Instant::now();
        let key = xxh3_64(fault.as_bytes());
        if told.faults.get(&key).is_some_and(|at| now - *at < AGAIN) {
            return None;
        }
        if now - told.window >= WINDOW {
            told.window = now;
            told.lines = 0;
        }
        if told.lines >= LINES {
            told.suppressed += 1;
            return None;
        }
        told.lines += 1;
        told.faults.put(key, now);
        Some(std::mem::take(&mut told.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_of_once_and_many_not_all() {
        let log = LogLimit::default();
        assert_eq!(log.is_due("a"), Some(0));
        assert_eq!(log.is_due("a"), None);
        let lines = (0..100).filter(|fault| log.is_due(&fault.to_string()).is_some()).count();
        assert_eq!(lines, 19);
        log.lock().window = Instant::now().checked_sub(WINDOW).expect("some uptime");
        assert_eq!(log.is_due("99"), Some(81));
    }
}
