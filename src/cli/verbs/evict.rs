//! `evict PATH`: drops what is cached of images.

use clap::{ArgMatches, Command};

use super::OfPath;

pub(super) const NAME: &str = "evict";

const AFTER: &str = "\
Files that are open are read on: what is missing is decoded again.

Exit status: 0 all of it is dropped; 1 some images could not be looked at, or the daemon refuses; 2 the command line is \
wrong; 3 no daemon serves PATH.";

/// The arguments of `evict`.
#[derive(Debug, Clone)]
pub struct Evict {
    /// Which images.
    pub of: OfPath,
    /// As JSON.
    pub as_json: bool,
}

pub(super) fn command() -> Command {
    let about = "Drop what a daemon has cached of images, on disk and in memory";
    super::with_path(super::verb(NAME, about)).after_help(AFTER)
}

impl Evict {
    pub(super) fn read(matches: &ArgMatches) -> Self {
        Self { of: OfPath::read(matches), as_json: matches.get_flag("json") }
    }
}
