//! Finding the daemon that a verb means.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use zarrims::cli::verbs::OfDaemon;

use super::Failure;
use crate::control::Ask;
use crate::control::client::{Daemon, NoAnswer};
use crate::logging::Escaped;

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::NoDaemon(line) => Self::NoDaemon(line),
            NoAnswer::Refused(line) => Self::Other(anyhow::anyhow!(line)),
        }
    }
}

/// The daemons that are meant: that of a socket, that of a mount, or all.
///
/// # Errors
/// [`Failure::NoDaemon`] where there is none.
pub(super) fn find(wanted: &OfDaemon) -> Result<Vec<Daemon>, Failure> {
    if let Some(socket) = &wanted.socket {
        return Ok(vec![Daemon::at(socket)?]);
    }
    let mut all = Daemon::all();
    if let Some(mount) = &wanted.mount {
        let paths = spellings(mount);
        all.retain_mut(|daemon| serves(daemon, &paths));
    }
    if all.is_empty() {
        let line = match &wanted.mount {
            Some(mount) => format!(
                "{}: no daemon that this user may ask serves this mount; is it mounted, with a control socket?",
                mount.display()
            ),
            None => "no daemon runs that this user may ask".to_owned(),
        };
        return Err(Failure::NoDaemon(line));
    }
    Ok(all)
}

/// The one daemon that is meant.
///
/// # Errors
/// [`Failure::NoDaemon`] where there is none, or where it is not known which one.
pub(super) fn only(wanted: &OfDaemon) -> Result<Daemon, Failure> {
    let mut found = find(wanted)?;
    match (found.pop(), found.len()) {
        (Some(daemon), 0) => Ok(daemon),
        (_, others) => {
            let count = others + 1;
            Err(Failure::NoDaemon(format!(
                "{count} daemons run; name one by --socket, or by its MOUNT"
            )))
        }
    }
}

/// Prints what a daemon has said, as JSON or as a line.
///
/// # Errors
/// Why it cannot be printed.
pub(super) fn print(as_json: bool, value: &Value, line: &str) -> Result<ExitCode, Failure> {
    let text = if as_json { format!("{value}\n") } else { format!("{}\n", Escaped(line)) };
    match io::stdout().write_all(text.as_bytes()) {
        // Nobody reads on.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(anyhow::Error::from)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A path as it is, and with the links on the way to its folder resolved. The mount itself is not asked: its daemon
/// may hang.
pub(super) fn spellings(path: &Path) -> Vec<PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = absolute.parent().and_then(|folder| folder.canonicalize().ok());
    let resolved = folder.zip(absolute.file_name()).map(|(folder, name)| folder.join(name));
    [Some(absolute), resolved].into_iter().flatten().collect()
}

/// Whether a daemon serves a mount at or above a path.
fn serves(daemon: &mut Daemon, paths: &[PathBuf]) -> bool {
    let Ok(mounts) = daemon.ask(&Ask::Mounts {}, |_| ()) else { return false };
    let mounts = mounts.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut points =
        mounts.iter().filter_map(|mount| mount.get("mountpoint").and_then(Value::as_str));
    points.any(|point| paths.iter().any(|path| path.starts_with(point)))
}
