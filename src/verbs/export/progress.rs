//! How far an export is: a bar on a terminal, a line now and then elsewhere, or events as JSON.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use zarrims::export::Watcher;
use zarrims::image::PassProgress;

/// Time between two lines, and between two events, of work that goes on.
const LINE_TIME: Duration = Duration::from_secs(10);
const EVENT_TIME: Duration = Duration::from_secs(1);

/// Tells how far an export is.
pub(super) struct Progress<'a> {
    as_json: bool,
    bar: ProgressBar,
    total: u64,
    /// What is being done.
    what: &'static str,
    said: Mutex<Instant>,
    stopped: &'a AtomicBool,
    /// Levels being computed, on which the writing may wait.
    passes: &'a (dyn Fn() -> Vec<PassProgress> + Sync),
}

impl<'a> Progress<'a> {
    /// `total` bytes are to be written, or read.
    pub(super) fn new(
        as_json: bool,
        what: &'static str,
        total: u64,
        stopped: &'a AtomicBool,
        passes: &'a (dyn Fn() -> Vec<PassProgress> + Sync),
    ) -> Self {
        let bar = if as_json { ProgressBar::hidden() } else { ProgressBar::new(total) };
        let style = "{wide_bar} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { as_json, bar, total, what, said: Mutex::new(Instant::now()), stopped, passes }
    }

    /// Whether it is time for another line.
    fn is_due(&self, interval: Duration) -> bool {
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_due = said.elapsed() >= interval;
        if is_due {
            *said = Instant::now();
        }
        is_due
    }

    fn computing(&self) -> Option<String> {
        let passes = (self.passes)();
        let [read, total] = passes.iter().fold([0, 0], |[read, total], pass| {
            [read + pass.bricks_read, total + pass.bricks_total]
        });
        (total > 0).then(|| format!("levels are computed: {} %", read.min(total) * 100 / total))
    }
}

impl Watcher for Progress<'_> {
    fn written(&self, done: u64) {
        if self.as_json {
            if self.is_due(EVENT_TIME) {
                event(
                    &json!({"event": "progress", "what": self.what, "bytes": done, "of": self.total,
                    "computing": self.computing()}),
                );
            }
        } else if self.bar.is_hidden() {
            if self.is_due(LINE_TIME) {
                let percent = done * 100 / self.total.max(1);
                let computing =
                    self.computing().map(|text| format!("; {text}")).unwrap_or_default();
                say(&format!("{}: {percent} % of {}{computing}", self.what, ByteSize(self.total)));
            }
        } else {
            self.bar.set_position(done);
            self.bar.set_message(self.computing().unwrap_or_default());
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What has happened, as JSON or as a line.
pub(super) fn tell(as_json: bool, kind: &str, out: &Path, line: &str, more: Value) {
    if as_json {
        let mut row = json!({"event": kind, "out": out.to_string_lossy()});
        if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
        }
        event(&row);
    } else {
        say(&format!("{}: {line}", out.display()));
    }
}

/// Nobody needs to listen: the work goes on.
fn event(row: &Value) {
    let _ = writeln!(io::stdout().lock(), "{row}");
}

fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
