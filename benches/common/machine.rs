//! Where and when figures were taken.

use std::fs;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// Date, kernel and processors, as the first words above a table.
pub fn describe() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    format!(
        "{}, Linux {}, {} cores ({}), load {load}",
        date(),
        kernel.trim(),
        cores(),
        model().trim()
    )
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
    // The second field, the name of the program, may hold spaces; it ends with the last parenthesis.
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |at| fields.split_whitespace().nth(at).and_then(|n| n.parse::<f64>().ok());
    // The 14th and 15th field; Linux counts 100 ticks a second on every machine it shows them on.
    (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / 100.0
}

/// The same of this process.
pub fn own_cpu_seconds() -> f64 {
    cpu_seconds(std::process::id())
}
