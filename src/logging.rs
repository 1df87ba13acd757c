//! Log lines on standard error. Nothing here can fail or wait, whatever standard error is.

mod escape;
mod lines;

use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use bytesize::ByteSize;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::SystemTime;

use zarrims::config::LogFormat;

pub(crate) use escape::Escaped;
use lines::Lines;

/// How long the end waits for the last lines to be written.
const FLUSH_TIME: Duration = Duration::from_secs(1);

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

/// What moves bytes of other machines says nothing, whatever the filter: its lines hold addresses and headers,
/// and so credentials.
const SILENT: [&str; 7] = [
    "object_store=off",
    "reqwest=off",
    "hyper=off",
    "hyper_util=off",
    "h2=off",
    "rustls=off",
    "tower=off",
];

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
    let default = || EnvFilter::new(format!("{level},{fuser}"));
    let (filter, refused) = match std::env::var(FILTER) {
        Err(_) => (default(), None),
        Ok(given) => match EnvFilter::builder().parse(&given) {
            Ok(filter) => (filter, None),
            Err(error) => (default(), Some((given, error))),
        },
    };
    // Each is a valid directive.
    let silent = SILENT.into_iter().filter_map(|directive| directive.parse().ok());
    let filter = silent.fold(filter, EnvFilter::add_directive);
    // Its own word on a failure would go to standard error, and bring a thread down that cannot write.
    let lines = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_timer(SystemTime);
    match format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_writer(|| Line { is_json: true }).init();
        }
        LogFormat::Text => lines
            .with_ansi(io::stderr().is_terminal())
            .with_target(verbose > 0)
            .fmt_fields(debug_fn(write_field))
            .with_writer(|| Line { is_json: false })
            .init(),
    }
    std::panic::set_hook(Box::new(log_panic));
    if let Some((given, error)) = refused {
        tracing::warn!(given, %error, "{FILTER} is not a filter such as zarrims=debug; ignored");
    }
}

/// Lines that could not be written so far.
pub(crate) fn lost() -> u64 {
    LINES.0.lost()
}

/// Writes a line that is meant for people, whatever the form of the log.
pub(crate) fn say(text: &str) {
    let line = format!("zarrims-mount: {}\n", Escaped(text));
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
