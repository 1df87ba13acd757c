//! Finding the daemon that a verb means.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;
use zarrims::cli::verbs::{OfDaemon, OfPath};

use super::Failure;
use crate::control::Ask;
use crate::control::client::{Daemon, NoAnswer};
use crate::control::protocol::Place;
use crate::logging::Escaped;

/// Why a daemon may not be found.
const HINT: &str = "a socket that is not in the usual place is named with --socket";

impl From<NoAnswer> for Failure {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::NoDaemon(line) => Self::NoDaemon(line),
            NoAnswer::Refused(line) => Self::Other(anyhow::anyhow!(line)),
        }
    }
}

/// The daemon of a socket, or all that this user may ask.
fn candidates(socket: Option<&Path>) -> Result<Vec<Daemon>, Failure> {
    Ok(match socket {
        Some(socket) => vec![Daemon::at(socket)?],
        None => Daemon::all(),
    })
}

/// The daemons that are meant: that of a socket, that of a mount, or all.
///
/// # Errors
/// [`Failure::NoDaemon`] where there is none.
pub(super) fn find(wanted: &OfDaemon) -> Result<Vec<Daemon>, Failure> {
    let mut all = candidates(wanted.socket.as_deref())?;
    if let Some(mount) = &wanted.mount {
        let paths = spellings(mount);
        all.retain_mut(|daemon| serves(daemon, &paths));
    }
    if all.is_empty() {
        let line = match &wanted.mount {
            Some(mount) => format!(
                "{}: no daemon that this user may ask serves this mount; {HINT}",
                mount.display()
            ),
            None => format!("no daemon runs that this user may ask; {HINT}"),
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
        (last, _) => {
            let sockets = found.iter().chain(&last).map(|daemon| daemon.socket().display());
            let sockets = sockets.map(|socket| socket.to_string()).collect::<Vec<_>>().join(", ");
            Err(Failure::NoDaemon(format!("several daemons run; name one by --socket: {sockets}")))
        }
    }
}

/// The daemon that serves a path, and the place in its mount.
///
/// # Errors
/// [`Failure::NoDaemon`] where there is none.
pub(super) fn serving(wanted: &OfPath) -> Result<(Daemon, Place), Failure> {
    let OfPath { path, socket } = wanted;
    let mut paths = spellings(path);
    // A link to a mount, or to a file of it. Whoever names it wants its daemon to answer.
    paths.extend(path.canonicalize());
    let named = path.display();
    for mut daemon in candidates(socket.as_deref())? {
        let points = mountpoints(&mut daemon);
        let place_at = |point: &String| {
            let below = paths.iter().find_map(|path| path.strip_prefix(point).ok())?;
            Some((point.clone(), below.to_path_buf()))
        };
        // Mounts may lie in mounts.
        let places = points.iter().filter_map(place_at);
        if let Some((mountpoint, below)) = places.max_by_key(|(point, _)| point.len()) {
            let below = below.into_os_string().into_string();
            let path = below.map_err(|_| {
                anyhow::anyhow!("{named}: is no UTF-8; name the folder that it is in")
            })?;
            return Ok((daemon, Place { mountpoint, path }));
        }
    }
    Err(Failure::NoDaemon(format!(
        "{named}: no daemon that this user may ask serves this path; {HINT}"
    )))
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
    let points = mountpoints(daemon);
    points.iter().any(|point| paths.iter().any(|path| path.starts_with(point)))
}

/// The mount points of a daemon; none where it does not answer.
fn mountpoints(daemon: &mut Daemon) -> Vec<String> {
    let mounts = daemon.ask(&Ask::Mounts {}, |_| ()).unwrap_or_default();
    let mounts = mounts.as_array().map(Vec::as_slice).unwrap_or_default();
    let points = mounts.iter().filter_map(|mount| mount.get("mountpoint").and_then(Value::as_str));
    points.map(str::to_owned).collect()
}
