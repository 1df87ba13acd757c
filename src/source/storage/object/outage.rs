//! The log of outages: when a service stops answering, and when it answers again.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::log_limit::LogLimit;
use crate::objects::{Address, ObjectError};

/// Whether a service is known to fail, and what the log says of it.
#[derive(Debug, Default)]
pub(super) struct Outage {
    is_out: AtomicBool,
    /// A call was answered. Until then the program does not start, and says why itself.
    has_answered: AtomicBool,
    told: LogLimit,
}

impl Outage {
    /// Notes how a call ended. An outage has a line at its beginning and one at its end; calls that fail and succeed
    /// in turn have at most one line a minute.
    pub(super) fn note(&self, source: &Address, failed: Option<&ObjectError>) {
        match failed {
            Some(error) if error.fault.is_outage() => {
                let was_out = self.is_out.swap(true, Ordering::Relaxed);
                let is_news = !was_out && self.has_answered.load(Ordering::Relaxed);
                if is_news && self.told.is_due(error.fault.to_string().as_str()).is_some() {
                    tracing::warn!(%source, reason = %error, "SOURCE does not answer; until it does, reads fail");
                }
            }
            // It answers, whatever the answer is.
            _ => {
                self.has_answered.store(true, Ordering::Relaxed);
                let was_out = self.is_out.load(Ordering::Relaxed)
                    && self.is_out.swap(false, Ordering::Relaxed);
                if was_out && self.told.is_due("back").is_some() {
                    tracing::info!(%source, "SOURCE answers again");
                }
            }
        }
    }
}
