//! Time stamps of time points.

use std::sync::Arc;

/// Time of the first time point where the store does not tell: 2000-01-01, in milliseconds since
/// 1970-01-01. Readers parse the stamps, so they cannot be left empty.
const DEFAULT_START_MS: i64 = 946_684_800_000;

/// Starting times taken at their word: the 20th to the 22nd century. The stamps of any series then
/// stay within the calendar, which ends in 9999.
const START_RANGE_MS: std::ops::Range<i64> = -2_208_988_800_000..7_258_118_400_000;

/// Longest series, in seconds, that stays within the calendar.
const LONGEST_SERIES_S: f64 = 200e9;

/// The stamps of all time points, strictly increasing at a resolution of a millisecond.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeStamps {
    /// Milliseconds since 1970-01-01.
    start_ms: i64,
    times: Times,
}

/// Seconds from the start to each time point.
#[derive(Debug, Clone, PartialEq)]
enum Times {
    /// Equal steps.
    Step(f64),
    Given(Arc<[f64]>),
}

impl TimeStamps {
    /// `start_ms` is the time of acquisition, in milliseconds since 1970-01-01. `times_s` are the seconds from then on
    /// to each time point, increasing by a millisecond at least and within a century; without them, the first time
    /// point is at the time of acquisition, and the others follow in steps of `step_s`.
    #[must_use]
    pub fn new(
        start_ms: Option<i64>,
        step_s: Option<f64>,
        times_s: Option<&[f64]>,
        time_points: u64,
    ) -> Self {
        let start_ms = clamp_start(start_ms);
        if let Some(times) = times_s.filter(|times| times.len() as u64 == time_points) {
            return Self { start_ms, times: Times::Given(times.into()) };
        }
        #[expect(clippy::cast_precision_loss, reason = "time points are far below 2^53")]
        let longest = LONGEST_SERIES_S / time_points.max(1) as f64;
        Self { start_ms, times: Times::Step(step_s.unwrap_or(1.0).clamp(0.001, longest)) }
    }

    /// The stamp of a time point, counted from 0.
    ///
    /// # Panics
    /// Behind the last one, where each has its own time.
    #[must_use]
    pub fn get(&self, t: u64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "time points are far below 2^53")]
        let seconds = match &self.times {
            Times::Step(step) => t as f64 * step,
            Times::Given(times) => times[usize::try_from(t).unwrap_or(usize::MAX)],
        };
        #[expect(clippy::cast_possible_truncation, reason = "within the calendar")]
        let after_ms = (seconds * 1000.0).round() as i64;
        time_stamp(self.start_ms + after_ms)
    }

    /// The stamp of the time of acquisition.
    #[must_use]
    pub fn start(start_ms: i64) -> String {
        time_stamp(clamp_start(Some(start_ms)))
    }

    /// What the stamps follow from: the start in milliseconds since 1970-01-01, and the seconds of one step or of
    /// each time point.
    #[must_use]
    pub fn parts(&self) -> (i64, &[f64]) {
        match &self.times {
            Times::Step(step) => (self.start_ms, std::slice::from_ref(step)),
            Times::Given(times) => (self.start_ms, times),
        }
    }
}

fn clamp_start(start_ms: Option<i64>) -> i64 {
    start_ms.filter(|ms| START_RANGE_MS.contains(ms)).unwrap_or(DEFAULT_START_MS)
}

/// `YYYY-MM-DD HH:MM:SS`, with `.mmm` behind where the milliseconds are not 0, as `ImarisWriter`
/// puts it (`ImarisWriter` `bpImsUtils.cxx`); `ms` after 1970-01-01.
fn time_stamp(ms: i64) -> String {
    let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    match ms % 1000 {
        0 => text,
        ms => format!("{text}.{ms:03}"),
    }
}

/// Gregorian date some days after 1970-01-01.
fn date(mut days: i64) -> (i64, u32, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let mut year = 1970 + days.div_euclid(DAYS_IN_400_YEARS) * 400;
    days = days.rem_euclid(DAYS_IN_400_YEARS);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(
        start_ms: Option<i64>,
        step_s: Option<f64>,
        times_s: Option<&[f64]>,
        time_points: u64,
    ) -> Vec<String> {
        let stamps = TimeStamps::new(start_ms, step_s, times_s, time_points);
        (0..time_points).map(|t| stamps.get(t)).collect()
    }

    #[test]
    fn stamps_increase_and_roll_over() {
        let at = |seconds: f64| stamps(None, Some(seconds), None, 2).remove(1);
        assert_eq!(stamps(None, None, None, 1), ["2000-01-01 00:00:00"]);
        assert_eq!(at(2.5), "2000-01-01 00:00:02.500");
        assert_eq!(at(86_400.0 * 59.0), "2000-02-29 00:00:00");
        assert_eq!(at(86_400.0 * 366.0), "2001-01-01 00:00:00");
        for step in [None, Some(1e-9), Some(0.0014), Some(30.0), Some(1e30)] {
            for start in [None, Some(0), Some(1_641_025_800_000), Some(i64::MAX)] {
                let stamps = stamps(start, step, None, 500);
                assert!(stamps.is_sorted_by(|a, b| a < b), "{step:?} {:?}", &stamps[498..]);
                assert!(stamps.iter().all(|stamp| [19, 23].contains(&stamp.len())));
            }
        }
    }

    #[test]
    fn stamps_of_the_makers_file() {
        // u16_c3_t4_1lev_gzip2.ims: from 2022-01-01 08:30:00 on, every 2.5 s.
        let of_file = stamps(Some(1_641_025_800_000), Some(2.5), None, 3);
        assert_eq!(
            of_file,
            ["2022-01-01 08:30:00", "2022-01-01 08:30:02.500", "2022-01-01 08:30:05"]
        );
    }

    #[test]
    fn each_time_point_may_have_its_own_time() {
        let times = [-0.5, 0.001, 35.0];
        let given = stamps(Some(0), Some(9.0), Some(&times), 3);
        assert_eq!(
            given,
            ["1969-12-31 23:59:59.500", "1970-01-01 00:00:00.001", "1970-01-01 00:00:35"]
        );
        assert_eq!(stamps(Some(0), Some(9.0), Some(&times), 2)[1], "1970-01-01 00:00:09");
        assert_eq!(TimeStamps::start(0), "1970-01-01 00:00:00");
    }
}
