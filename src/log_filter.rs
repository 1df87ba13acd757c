//! Filters of log lines: `ZARRIMS_LOG`, the option, and what a daemon is told while it runs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

const VARIABLE: &str = "ZARRIMS_LOG";

/// Where log lines come from: this program and the libraries that log.
const TARGETS: [&str; 3] = ["zarrims", "fuser", "zarrs"];

/// What is wrong with a text that is no filter.
pub const WRONG: &str = "is not a log filter such as debug or info,zarrims::source=trace";

/// What is wrong with the filter in the environment.
pub(crate) fn mistake() -> Option<String> {
    let text = std::env::var_os(VARIABLE)?;
    let text = text.to_string_lossy();
    (!is_filter(&text)).then(|| format!("{VARIABLE}={text}: {WRONG}"))
}

/// Whether a text is a filter that shows something. `tracing-subscriber` takes a misspelled level for the name of a
/// module, and then shows nothing else.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    // An empty one would show nothing.
    if text.trim().is_empty() || EnvFilter::builder().parse(text).is_err() {
        return false;
    }
    // Fields of spans may hold commas; who knows these knows the rest.
    text.contains('[') || text.split(',').all(is_directive)
}

fn is_directive(directive: &str) -> bool {
    let target = directive.split('=').next().unwrap_or_default().trim();
    let is_level = !directive.contains('=') && target.parse::<LevelFilter>().is_ok();
    target.is_empty() || is_level || TARGETS.iter().any(|known| target.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_others() {
        for good in [
            "debug",
            "INFO",
            "off",
            "info,zarrims::source=trace",
            "zarrims",
            "fuser=debug,",
            "zarrims[open{path=a}]=trace",
        ] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", "loud", "debugg", "zarrims=loud", "info;zarrims=debug", "zarims=debug"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }
}
