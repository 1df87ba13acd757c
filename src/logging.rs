//! Log lines on standard error.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use zarrims::cli::LogFormat;

/// Starts logging. `verbose` counts `-v`; `ZARRIMS_LOG` (a filter such as `zarrims::source=trace`)
/// wins over it.
pub(crate) fn start(format: LogFormat, verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, 0) => "error",
        (false, 0) => "info",
        (_, 1) => "debug",
        _ => "trace",
    };
    // `fuser` warns of every operation that is rightly not there, and reports an error for each answer
    // that came when the one who asked had gone.
    let fuser = if verbose > 1 { "fuser=debug" } else { "fuser=error,fuser::reply=off" };
    let default = format!("{level},{fuser}");
    let filter = EnvFilter::try_from_env("ZARRIMS_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_target(verbose > 0)
            .init(),
    }
}
