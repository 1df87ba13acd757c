//! Whether a shared cache works, and when it is asked again.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::objects::ObjectError;
use crate::sync::lock;

#[derive(Debug)]
pub(super) struct Health {
    /// How log lines call the cache.
    name: String,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last call failed; nothing is asked before this time.
    again: Option<Instant>,
}

impl Health {
    pub(super) fn new(name: String, pause: Duration) -> Self {
        Self { name, pause, state: Mutex::default() }
    }

    /// Whether the cache may be asked now.
    pub(super) fn may_ask(&self) -> bool {
        lock(&self.state).again.is_none_or(|again| Instant::now() >= again)
    }

    /// A call was answered.
    pub(super) fn works(&self) {
        if lock(&self.state).again.take().is_some() {
            tracing::info!(cache = %self.name, "the shared cache works again");
        }
    }

    /// A call failed. The log names the first failure.
    pub(super) fn failed(&self, error: &ObjectError) {
        let again = Some(Instant::now() + self.pause);
        if std::mem::replace(&mut lock(&self.state).again, again).is_none() {
            let pause_s = self.pause.as_secs();
            tracing::warn!(
                cache = %self.name, %error, pause_s,
                "the shared cache fails; bricks are made here meanwhile"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Fault;

    #[test]
    fn nothing_is_asked_for_some_time_after_a_failure() {
        let error = ObjectError { fault: Fault::Busy, detail: String::new() };
        let health = Health::new("s3://b".to_owned(), Duration::from_hours(1));
        assert!(health.may_ask());
        health.failed(&error);
        assert!(!health.may_ask());
        health.works();
        assert!(health.may_ask());
        let health = Health::new("s3://b".to_owned(), Duration::ZERO);
        health.failed(&error);
        assert!(health.may_ask(), "the pause is over");
    }
}
