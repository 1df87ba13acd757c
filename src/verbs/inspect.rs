//! `inspect STORE`: what a store becomes.

use std::process::ExitCode;

use zarrims::cli::Cli;
use zarrims::cli::verbs::Inspect;

use super::Failure;
use crate::{list, logging};

pub(super) fn run(wanted: &Inspect, cli: &Cli) -> Result<ExitCode, Failure> {
    let merged = cli.given.clone().merge()?;
    logging::start(merged.log_format(), cli.verbose, true);
    list::run(&merged, wanted.as_json, true)?;
    Ok(ExitCode::SUCCESS)
}
