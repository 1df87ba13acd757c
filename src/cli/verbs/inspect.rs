//! `inspect STORE`: what a store becomes.

use clap::{ArgMatches, Command};

pub(super) const NAME: &str = "inspect";

/// The arguments of `inspect`.
#[derive(Debug, Clone)]
pub struct Inspect {
    /// As JSON.
    pub as_json: bool,
}

pub(super) fn command() -> Command {
    let command = super::verb(NAME, "Tell what a store becomes, and what of its metadata is used");
    super::with_source(command, "A Zarr store, or a folder or address with some")
}

impl Inspect {
    pub(super) fn read(matches: &ArgMatches) -> Self {
        Self { as_json: matches.get_flag("json") }
    }
}
