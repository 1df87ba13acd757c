//! Signals: which ask for the end or for something else, and which mean nothing here.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use anyhow::Context;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ,
};
use signal_hook::iterator::Signals;

use crate::process;

/// Signals whose default is to end the process, and that mean nothing here. `SIGXFSZ` comes with an
/// error of the write that was too long for `ulimit -f`; the runtime of Rust ignores `SIGPIPE` itself.
const MEANINGLESS: [i32; 7] = [SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGXFSZ];

/// From now on these signals do nothing, until [`watch`] takes some of them. Call it before there is a mount that would be left behind.
///
/// The signals are caught, not ignored: the programs that this one starts get their defaults back.
pub(crate) fn ignore_meaningless() {
    for signal in MEANINGLESS {
        if let Err(error) = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))) {
            tracing::debug!(signal, %error, "signal keeps its default");
        }
    }
}

/// Reads the configuration again.
pub(super) const RELOAD: i32 = SIGHUP;
/// Logs more, or as much as before.
pub(super) const LOG_MORE: i32 = SIGUSR1;

/// Calls `told` with each signal that asks for something, until it returns false.
///
/// # Errors
/// The operating system's reason.
pub(crate) fn watch(told: impl Fn(i32) -> bool + Send + 'static) -> anyhow::Result<()> {
    let mut wanted = vec![SIGINT, SIGTERM, LOG_MORE];
    if !is_ignored(RELOAD) {
        wanted.push(RELOAD);
    }
    let mut signals = Signals::new(wanted).context("cannot handle signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                if !told(signal) {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(())
}

/// Whether the program that started this one ignored a signal, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    process::status_mask("SigIgn").is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
