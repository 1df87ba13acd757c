//! What the log says of a disk that fails now and then: a line when it begins, one when it is over,
//! and the same again only after a while. A disk that is nearly full fails and works in turn.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Time from a line to the next one on the same trouble.
const QUIET_TIME: Duration = Duration::from_mins(10);

/// One kind of trouble.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Logged>);

#[derive(Debug, Default)]
struct Logged {
    at: Option<Instant>,
    /// Its end has not been logged yet.
    is_open: bool,
}

impl Trouble {
    /// The trouble is there; returns whether to log that.
    pub(super) fn begins(&self) -> bool {
        let mut logged = lock(&self.0);
        if logged.is_open || logged.at.is_some_and(|at| at.elapsed() < QUIET_TIME) {
            return false;
        }
        *logged = Logged { at: Some(Instant::now()), is_open: true };
        true
    }

    /// The trouble is not there; returns whether to log its end.
    pub(super) fn is_over(&self) -> bool {
        std::mem::take(&mut lock(&self.0).is_open)
    }
}

/// What can be wrong with the disk of a cache while no reader notices.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// It does not take bricks.
    pub(super) fault: Trouble,
    /// It took bricks, but syncing them failed.
    pub(super) late: Trouble,
    /// Other programs have filled it.
    pub(super) squeeze: Trouble,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let trouble = Trouble::default();
        assert!(!trouble.is_over());
        assert!(trouble.begins() && !trouble.begins());
        assert!(trouble.is_over() && !trouble.is_over());
        let lines = (0..100).filter(|_| trouble.begins() || trouble.is_over()).count();
        assert_eq!(lines, 0);
        lock(&trouble.0).at = Instant::now().checked_sub(QUIET_TIME);
        assert!(trouble.begins());
    }
}
