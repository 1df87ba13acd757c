//! `log [FILTER]`: what a daemon logs.

use std::process::ExitCode;

use serde_json::Value;
use zarrims::cli::verbs::Log;

use super::{Failure, of_daemon};
use crate::control::Ask;

pub(super) fn run(wanted: &Log) -> Result<ExitCode, Failure> {
    let ask = Ask::Log { filter: wanted.filter.clone() };
    let done = of_daemon::only(&wanted.of)?.ask(&ask, |_| ())?;
    let filter = done.get("filter").and_then(Value::as_str).unwrap_or_default();
    of_daemon::print(wanted.as_json, &done, filter)
}
