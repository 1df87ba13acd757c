//! How far long work is: a bar on a terminal, a line now and then elsewhere, or events as JSON.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Time between two lines, and between two events, of work that goes on.
const LINE_TIME: Duration = Duration::from_secs(10);
const EVENT_TIME: Duration = Duration::from_secs(1);

/// Shows how far work is.
pub(super) struct Shown {
    as_json: bool,
    bar: ProgressBar,
    said: Mutex<Instant>,
}

impl Shown {
    /// `style`: what the bar looks like, as a template of `indicatif`.
    pub(super) fn new(as_json: bool, total: u64, style: &str) -> Self {
        let bar = if as_json { ProgressBar::hidden() } else { ProgressBar::new(total) };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { as_json, bar, said: Mutex::new(Instant::now()) }
    }

    /// Whether it is time for another line.
    fn is_due(&self, interval: Duration) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.elapsed() >= interval;
        if is_due {
            *said = Instant::now();
        }
        is_due
    }

    /// `done` of the total; a message beside the bar, or a line, or an event.
    pub(super) fn show(
        &self,
        done: u64,
        message: impl FnOnce() -> String,
        line: impl FnOnce() -> String,
        event: impl FnOnce() -> Value,
    ) {
        if self.as_json {
            if self.is_due(EVENT_TIME) {
                tell_event(&event());
            }
        } else if self.bar.is_hidden() {
            if self.is_due(LINE_TIME) {
                say(&line());
            }
        } else {
            self.bar.set_position(done);
            self.bar.set_message(message());
        }
    }

    /// Says something above the bar.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Nobody needs to listen: the work goes on.
pub(super) fn tell_event(row: &Value) {
    let _ = writeln!(io::stdout().lock(), "{row}");
}

pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
