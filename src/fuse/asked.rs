//! A request of the kernel in the log: at debug level a span with its number, and a line with its outcome and the time
//! that it took. Where that level is off, a request costs a look at a flag.

use std::fmt::{Debug, Display};
use std::sync::LazyLock;
use std::time::Instant;

use fuser::{Errno, INodeNo, Request};
use tracing::Span;

use crate::fs::view::FsError;
use crate::log_limit::LogLimit;

use super::errno;

/// A request that has no answer yet.
#[derive(Debug)]
pub(super) struct Asked {
    operation: &'static str,
    ino: INodeNo,
    span: Span,
    /// `None` where nobody wants to know.
    began: Option<Instant>,
}

impl Asked {
    pub(super) fn new(request: &Request, operation: &'static str, ino: INodeNo) -> Self {
        let id = request.unique().0;
        let span = tracing::debug_span!("request", id, operation, ino = ino.0);
        let began = (!span.is_disabled()).then(Instant::now);
        Self { operation, ino, span, began }
    }

    /// It has its answer.
    pub(super) fn answered(&self) {
        self.log(&"ok");
    }

    /// The errno of an error, which is logged where it is not everyday business.
    pub(super) fn refuse(&self, error: &FsError) -> Errno {
        /// Programs ask again and again, and for all files of a folder.
        static TOLD: LazyLock<LogLimit> = LazyLock::new(LogLimit::default);
        let (operation, ino) = (self.operation, self.ino.0);
        let due = if error.is_noteworthy() { TOLD.is_due(&format!("{ino} {error}")) } else { None };
        if let Some(suppressed) = due {
            tracing::warn!(operation, ino, %error, suppressed, "request failed");
        }
        let (errno, name) = errno::errno_of(error.kind());
        self.log(&format_args!("{name}: {error}"));
        errno
    }

    fn log(&self, outcome: &dyn Shown) {
        if let Some(began) = self.began {
            let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.span.in_scope(|| tracing::debug!(%outcome, us, "answered"));
        }
    }
}

/// What can be written to the log.
trait Shown: Display + Debug {}

impl<T: Display + Debug> Shown for T {}
