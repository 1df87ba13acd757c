//! `reload [MOUNT]`: has a daemon read its configuration again.

use std::process::ExitCode;

use serde_json::Value;
use zarrims::cli::verbs::Reload;

use super::{Failure, of_daemon};
use crate::control::Ask;

pub(super) fn run(wanted: &Reload) -> Result<ExitCode, Failure> {
    let done = of_daemon::only(&wanted.of)?.ask(&Ask::Reload {}, |_| ())?;
    let line = done.get("told").and_then(Value::as_str).unwrap_or_default();
    of_daemon::print(wanted.as_json, &done, line)
}
