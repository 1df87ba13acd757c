//! What the log says of a disk that comes and goes: a line when it begins, one when it is over, and the
//! same again only after a while. A disk that is nearly full fails and works by turns.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;

/// Time from a line to the next one on the same trouble.
const QUIET_TIME: Duration = Duration::from_mins(10);

/// One kind of trouble.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    /// The end is still to be told.
    is_open: bool,
}

impl Trouble {
    /// It is there; whether that is to be told.
    pub(super) fn begins(&self) -> bool {
        let mut told = lock(&self.0);
        if told.is_open || told.at.is_some_and(|at| at.elapsed() < QUIET_TIME) {
            return false;
        }
        *told = Told { at: Some(Instant::now()), is_open: true };
        true
    }

    /// It is not there; whether that is to be told.
    pub(super) fn is_over(&self) -> bool {
        std::mem::take(&mut lock(&self.0).is_open)
    }
}

/// What can be wrong with the disk of a cache, without a reader noticing.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// It does not take bricks.
    pub(super) fault: Trouble,
    /// It took bricks, and then it did not.
    pub(super) late: Trouble,
    /// Others have filled it.
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
