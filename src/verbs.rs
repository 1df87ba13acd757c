//! What the program does beside mounting, a file each; the arguments are read in `zarrims::cli::verbs`.

mod doctor;
mod evict;
mod export;
mod inspect;
mod job;
mod log;
mod of_daemon;
mod progress;
mod reload;
mod session;
mod status;
mod verify;
mod warm;

use std::process::ExitCode;

use zarrims::cli::{Cli, Verb};
use zarrims::config::Mistake;

/// Why a verb ends without having done its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the command line, the environment or the configuration file shows to be wrong by itself.
    Mistake(Mistake),
    /// No daemon can be asked, in one line.
    NoDaemon(String),
    /// Whatever else, in one line.
    Other(anyhow::Error),
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Self {
        Self::Mistake(mistake)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Does the work of a verb; the result is the status of the program.
///
/// # Errors
/// [`Failure`].
pub(crate) fn run(verb: &Verb, cli: &Cli) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Doctor(wanted) => doctor::run(wanted, cli),
        Verb::Evict(wanted) => evict::run(wanted),
        Verb::Export(wanted) => export::run(wanted, cli),
        Verb::Inspect(wanted) => inspect::run(wanted, cli),
        Verb::Log(wanted) => log::run(wanted),
        Verb::Reload(wanted) => reload::run(wanted),
        Verb::Status(wanted) => status::run(wanted),
        Verb::Verify(wanted) => verify::run(wanted),
        Verb::Warm(wanted) => warm::run(wanted),
    }
}
