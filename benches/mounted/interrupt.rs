//! A signal ends the run as a failure does: it stops the daemons and deletes what they left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Exit status after a second signal.
const INTERRUPTED: i32 = 130;

/// Begins to notice signals.
pub(crate) fn watch() {
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal must not find the flag set by itself.
        flag::register_conditional_shutdown(signal, INTERRUPTED, ASKED.clone())
            .and_then(|_| flag::register(signal, ASKED.clone()))
            .expect("signals can be handled");
    }
}

/// Unwinds if a signal has come.
#[track_caller]
pub(crate) fn check() {
    assert!(!ASKED.load(Ordering::Relaxed), "interrupted");
}
