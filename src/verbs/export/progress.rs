//! How far an export is.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytesize::ByteSize;
use serde_json::{Value, json};

use zarrims::export::Watcher;
use zarrims::image::PassProgress;

use crate::verbs::progress::{Shown, say, tell_event};

/// Tells how far an export is.
pub(super) struct Progress<'a> {
    shown: Shown,
    total: u64,
    /// What is being done.
    what: &'static str,
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
        let style = "{wide_bar} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left {msg}";
        Self { shown: Shown::new(as_json, total, style), total, what, stopped, passes }
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
        let line = || {
            let percent = done * 100 / self.total.max(1);
            let computing = self.computing().map(|text| format!("; {text}")).unwrap_or_default();
            format!("{}: {percent} % of {}{computing}", self.what, ByteSize(self.total))
        };
        let event = || {
            json!({"event": "progress", "what": self.what, "bytes": done, "of": self.total,
            "computing": self.computing()})
        };
        self.shown.show(done, || self.computing().unwrap_or_default(), line, event);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

/// What has happened, as JSON or as a line.
pub(super) fn tell(as_json: bool, kind: &str, out: &Path, line: &str, more: Value) {
    if as_json {
        let mut row = json!({"event": kind, "out": out.to_string_lossy()});
        if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
        }
        tell_event(&row);
    } else {
        say(&format!("{}: {line}", out.display()));
    }
}
