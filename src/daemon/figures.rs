//! Numbers as people and programs are told them.

use std::time::{SystemTime, UNIX_EPOCH};

/// With one digit behind the point, and 100 for all only.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
}

/// Since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Seconds until the end of work that goes on as it did for `elapsed_s`; nothing while it is too early for a guess.
pub(super) fn seconds_left(elapsed_s: u64, done: u64, whole: u64) -> Option<u64> {
    if done == 0 || elapsed_s == 0 {
        return None;
    }
    let left = u128::from(elapsed_s) * u128::from(whole.saturating_sub(done)) / u128::from(done);
    left.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_is_a_hundred_percent() {
        let shown = [(0, 0), (0, 5), (1, 3), (999_999, 1_000_000), (7, 7)];
        let shown = shown.map(|(part, whole)| format!("{:.1}", percent(part, whole)));
        assert_eq!(shown, ["0.0", "0.0", "33.3", "99.9", "100.0"]);
    }
}
