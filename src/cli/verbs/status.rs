//! `status [MOUNT]`: what a daemon does.

use clap::{ArgMatches, Command};

use super::OfDaemon;

pub(super) const NAME: &str = "status";

/// The arguments of `status`.
#[derive(Debug, Clone)]
pub struct Status {
    /// Which daemon; all where none is named.
    pub of: OfDaemon,
    /// As JSON.
    pub as_json: bool,
    /// Again and again.
    pub watch: bool,
}

pub(super) fn command() -> Command {
    let about = "Tell what daemons do: images, how much of each is cached, passes, errors";
    let watch = super::switch("watch").help("Print again every two seconds, until interrupted");
    super::with_daemon(super::verb(NAME, about)).arg(watch)
}

impl Status {
    pub(super) fn read(matches: &ArgMatches) -> Self {
        let flag = |name| matches.get_flag(name);
        Self { of: OfDaemon::read(matches), as_json: flag("json"), watch: flag("watch") }
    }
}
