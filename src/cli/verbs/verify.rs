//! `verify PATH`: compares what is cached of images.

use clap::{ArgMatches, Command};

use super::OfPath;

pub(super) const NAME: &str = "verify";

const AFTER: &str = "\
A wrong brick is named, and is not served any more: whoever reads it next gets it made again. Without \
--checksums-only, each brick is decoded once more from the source.

Exit status: 0 all that is cached is right; 1 a brick was wrong or could not be compared, or the daemon refuses; 2 the \
command line is wrong; 3 no daemon serves PATH. Ctrl-C ends the work.";

/// The arguments of `verify`.
#[derive(Debug, Clone)]
pub struct Verify {
    /// Which images.
    pub of: OfPath,
    /// The source is not read.
    pub only_checksums: bool,
    /// As JSON.
    pub as_json: bool,
}

pub(super) fn command() -> Command {
    let about = "Compare what a daemon has cached of images with its checksums and with the source";
    let only = super::switch("checksums-only")
        .help("Compare with the checksums only, and leave the source alone");
    super::with_path(super::verb(NAME, about)).arg(only).after_help(AFTER)
}

impl Verify {
    pub(super) fn read(matches: &ArgMatches) -> Self {
        Self {
            of: OfPath::read(matches),
            only_checksums: matches.get_flag("checksums-only"),
            as_json: matches.get_flag("json"),
        }
    }
}
