//! How far a long run is, on standard error: a bar on a terminal, one line for each part elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// What is under way.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = "[{elapsed_precise}] {bar:30} {pos}/{len} {msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Begins a part of `steps` steps.
    pub(crate) fn begin(&self, what: &str, steps: u64) {
        if self.bar.is_hidden() {
            eprintln!("{what}");
        }
        self.bar.set_length(steps);
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
    }

    /// One step further.
    pub(crate) fn step(&self) {
        self.bar.inc(1);
    }

    /// A line above the bar.
    pub(crate) fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
