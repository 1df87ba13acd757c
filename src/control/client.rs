//! The side of the verbs: finding daemons, and asking them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::place;
use super::protocol::{Ask, LONGEST_ANSWER, Line};

/// How long a daemon may be silent. Long work tells of its progress.
const SILENCE: Duration = Duration::from_mins(1);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Nobody listens.
    #[error("{0}")]
    NoDaemon(String),
    /// The daemon says why.
    #[error("{0}")]
    Refused(String),
}

/// The connection to a daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Daemon {
    /// Connects to the daemon of a socket.
    ///
    /// # Errors
    /// [`NoAnswer::NoDaemon`].
    pub(crate) fn at(socket: &Path) -> Result<Self, NoAnswer> {
        let failed = |error: io::Error| {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "no daemon has this socket".to_owned(),
                io::ErrorKind::ConnectionRefused => {
                    "the daemon of this socket has ended".to_owned()
                }
                io::ErrorKind::PermissionDenied => {
                    "only the user of the daemon, its --socket-group and root may ask".to_owned()
                }
                _ => error.to_string(),
            };
            NoAnswer::NoDaemon(format!("{}: {reason}", socket.display()))
        };
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(SILENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(SILENCE)).map_err(failed)?;
        Ok(Self { socket: socket.to_path_buf(), stream: BufReader::new(stream) })
    }

    /// The socket by which it was found.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Connects to all daemons whose sockets are in the usual places, and that let this user in.
    pub(crate) fn all() -> Vec<Self> {
        place::sockets().iter().filter_map(|socket| Self::at(socket).ok()).collect()
    }

    /// Asks, and waits for the answer; `progress` gets what comes before it.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) fn ask(
        &mut self,
        ask: &Ask,
        mut progress: impl FnMut(&Value),
    ) -> Result<Value, NoAnswer> {
        let socket = self.socket.display().to_string();
        let failed = |error: io::Error| NoAnswer::NoDaemon(format!("{socket}: {error}"));
        self.stream.get_mut().write_all(ask.to_line().as_bytes()).map_err(failed)?;
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut self.stream).take(LONGEST_ANSWER as u64);
            limited.read_until(b'\n', &mut line).map_err(failed)?;
            if line.is_empty() {
                return Err(NoAnswer::NoDaemon(format!("{socket}: the daemon has ended")));
            }
            match Line::parse(&line).map_err(NoAnswer::Refused)? {
                Line::Progress(value) => progress(&value),
                Line::Answer(value) => return Ok(value),
                Line::Error(reason) => return Err(NoAnswer::Refused(reason)),
            }
        }
    }
}
