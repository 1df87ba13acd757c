//! Log lines on standard error, or in a file. Nothing here can fail or wait, whatever standard error is.

mod escape;
pub(crate) mod filter;
mod journal;
mod lines;

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use bytesize::ByteSize;
use tracing::Level;
use tracing::field::Field;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use zarrims::config::LogFormat;

pub(crate) use escape::Escaped;
use journal::Prefixed;
use lines::Lines;

/// How long the end waits for the last lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Mode of a new log file: it names files that not everybody may see.
const LOG_MODE: u32 = 0o640;

/// The variable that may hold a filter.
const FILTER: &str = "ZARRIMS_LOG";

/// What is to be written, and whether there is a thread that does it.
static LINES: LazyLock<(Arc<Lines>, bool)> = LazyLock::new(|| {
    let lines: Arc<Lines> = Arc::default();
    let writer = lines.clone();
    let tell = |lost| tracing::warn!(lost, "log lines lost");
    let started =
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_all(&tell));
    (lines, started.is_ok())
});

/// Starts logging. `verbose` counts `-v`; `ZARRIMS_LOG` (a filter such as `zarrims::source=trace`)
/// wins over it.
pub(crate) fn start(format: LogFormat, verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, 0) => "error",
        (false, 0) => "info",
        (_, 1) => "debug",
        _ => "trace",
    };
    let default = if verbose > 1 { format!("{level},fuser=debug") } else { level.to_owned() };
    let (text, refused) = match std::env::var(FILTER) {
        Err(_) => (default, None),
        Ok(given) => match filter::parse(&given) {
            Ok(_) => (given, None),
            Err(error) => (default, Some((given, error))),
        },
    };
    // Its own word on a failure would go to standard error, and bring a thread down that cannot write.
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false).with_timer(SystemTime);
    let registry = tracing_subscriber::registry().with(filter::layer(&text));
    match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_writer(|| Line { is_json: true });
            registry.with(lines.map_event_format(Prefixed)).init();
        }
        LogFormat::Text => {
            let lines = lines
                .with_ansi(io::stderr().is_terminal())
                .with_target(verbose > 0)
                .fmt_fields(debug_fn(write_field))
                .with_writer(|| Line { is_json: false });
            registry.with(lines.map_event_format(Prefixed)).init();
        }
    }
    std::panic::set_hook(Box::new(log_panic));
    if let Some((given, error)) = refused {
        tracing::warn!(given, %error, "{FILTER} is not a filter such as zarrims=debug; ignored");
    }
}

/// Whether the environment has chosen the filter: it wins over the configuration.
pub(crate) fn is_filter_given() -> bool {
    std::env::var_os(FILTER).is_some()
}

/// Writes to a file from now on, which is opened again if it was open: another program may have moved it away.
///
/// # Errors
/// The operating system's reason; lines go where they went before.
pub(crate) fn write_to(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(LOG_MODE).open(path)?;
    LINES.0.write_to(file);
    Ok(())
}

/// Lines that could not be written so far.
pub(crate) fn lost() -> u64 {
    LINES.0.lost()
}

/// Writes a line that is meant for people, whatever the form of the log.
pub(crate) fn say(text: &str) {
    let prefix = journal::prefix(Level::ERROR);
    let line = format!("{prefix}zarrims-mount: {}\n", Escaped(text));
    let (lines, has_writer) = &*LINES;
    if *has_writer {
        lines.push_anyway(line.as_bytes());
    } else {
        // There is nobody to tell that it failed.
        let _ = rustix::io::write(io::stderr(), line.as_bytes());
    }
}

/// Waits for the last lines, but not for long. To be called before the end.
pub(crate) fn finish() {
    let (lines, has_writer) = &*LINES;
    if *has_writer {
        lines.flush(FLUSH_TIME);
    }
}

/// Takes a line of the log. It is written as a whole by one call.
struct Line {
    is_json: bool,
}

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.is_json {
            let text = String::from_utf8_lossy(line);
            let text = text.strip_suffix('\n').unwrap_or(&text);
            LINES.0.push(format!("{}\n", escape::json(text)).as_bytes());
        } else {
            LINES.0.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A field of a line of text; the message comes first. Sizes are numbers whose names end in `_bytes`;
/// people get them with a unit.
fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let size = field.name().ends_with("_bytes").then(|| value.parse().ok()).flatten();
    match (field.name(), size) {
        ("message", _) => write!(out, "{}", Escaped(&value)),
        // Where a line of the crate `log` came from.
        (name, _) if name.starts_with("log.") => Ok(()),
        (name, Some(bytes)) => write!(out, " {name}={}", ByteSize(bytes)),
        (name, None) => write!(out, " {name}={}", Escaped(&value)),
    }
}

/// A panic is a line as any other. The default is to write to standard error, which may hang.
fn log_panic(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    let reason = info.payload_as_str().unwrap_or("no reason given");
    tracing::error!(thread, place, reason, "panicked");
}
