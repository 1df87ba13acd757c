//! `reload [MOUNT]`: reads the configuration again.

use clap::{ArgMatches, Command};

use super::OfDaemon;

pub(super) const NAME: &str = "reload";

/// The arguments of `reload`.
#[derive(Debug, Clone)]
pub struct Reload {
    /// Which daemon; the only one where none is named.
    pub of: OfDaemon,
    /// As JSON.
    pub as_json: bool,
}

pub(super) fn command() -> Command {
    super::with_daemon(super::verb(
        NAME,
        "Have a daemon read its configuration file again, and open its log file again",
    ))
}

impl Reload {
    pub(super) fn read(matches: &ArgMatches) -> Self {
        Self { of: OfDaemon::read(matches), as_json: matches.get_flag("json") }
    }
}
