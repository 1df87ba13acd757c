//! Priorities for the journal: `<6>` in front of a line (`sd-daemon(3)`), where standard error leads there.

use std::fmt;
use std::io;
use std::sync::LazyLock;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Device and inode of the journal's stream (`systemd.exec(5)`).
const VARIABLE: &str = "JOURNAL_STREAM";

/// Whether standard error leads to the journal.
static IS_JOURNAL: LazyLock<bool> = LazyLock::new(|| {
    let Ok(stream) = std::env::var(VARIABLE) else { return false };
    let Ok(found) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", found.st_dev, found.st_ino)
});

/// The prefix of a line of a level, or nothing.
pub(super) fn prefix(level: Level) -> &'static str {
    if !*IS_JOURNAL || super::LINES.0.file().is_some() {
        return "";
    }
    priority(level)
}

fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Writes lines as another form does, with a prefix.
pub(super) struct Prefixed<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for Prefixed<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        out.write_str(prefix(*event.metadata().level()))?;
        self.0.format_event(context, out, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_lines_have_lower_numbers() {
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
        assert_eq!(levels.map(priority), ["<3>", "<4>", "<6>", "<7>", "<7>"]);
    }
}
