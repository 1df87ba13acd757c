//! Where and when figures were taken.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// When the last table was printed, or the program began, and what had been done until then.
static SINCE: Mutex<Option<(Instant, Work)>> = Mutex::new(None);

/// Seconds of processor time.
#[derive(Debug, Clone, Copy)]
struct Work {
    /// Of all programs.
    all: f64,
    /// Of this program and of those that it started, as far as they have ended.
    own: f64,
}

/// Begins to watch what other programs do.
pub fn watch() {
    let now = (Instant::now(), Work::now());
    *SINCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
}

/// Date, kernel and processors, as the first words above a table, and how much other programs have
/// done since the last one.
pub fn describe() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let since = *SINCE.lock().unwrap_or_else(PoisonError::into_inner);
    let others = since.map(|(start, before)| {
        let (now, seconds) = (Work::now(), start.elapsed().as_secs_f64());
        let work = (now.all - before.all) - (now.own - before.own);
        let part = work / seconds / cores() as f64;
        // Right after another table there is nothing to tell.
        let is_known = seconds > 0.5;
        let part = is_known.then_some(part.max(0.0) * 100.0);
        part.map_or_else(String::new, |p| format!(", of which other programs took {p:.0} %"))
    });
    watch();
    format!(
        "{}, Linux {}, {} cores ({}){}",
        date(),
        kernel.trim(),
        cores(),
        model().trim(),
        others.unwrap_or_default()
    )
}

impl Work {
    fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<f64> =
            text.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        // User, nice, system, idle, waiting for a disk, interrupts twice, taken by other machines.
        let busy = |(at, ticks): (usize, &f64)| if at == 3 || at == 4 { 0.0 } else { *ticks };
        let all = fields.iter().enumerate().map(busy).sum::<f64>() / 100.0;
        Self { all, own: ticks(std::process::id(), 11..15) / 100.0 }
    }
}

/// Number of processors that this program may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
}

/// Today in UTC.
fn date() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Days since 0000-03-01 in the calendar that has always been Gregorian: years there end with
    // February, so that leap days come last.
    let days = since.as_secs() / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

/// Processor time that a process and its threads have had, in seconds; to 10 ms.
pub fn cpu_seconds(pid: u32) -> f64 {
    // The 14th and 15th field; Linux counts 100 ticks a second on every machine it shows them on.
    ticks(pid, 11..13) / 100.0
}

/// The same of this process.
pub fn own_cpu_seconds() -> f64 {
    cpu_seconds(std::process::id())
}

/// The sum of some fields of `/proc/PID/stat`, the first after the name being 0.
fn ticks(pid: u32, fields: std::ops::Range<usize>) -> f64 {
    // The name of the program may hold spaces; it ends with the last parenthesis.
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let wanted = rest.skip(fields.start).take(fields.len());
    wanted.filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
}
