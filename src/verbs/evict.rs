//! `evict PATH`: drops what is cached of images.

use std::fmt::Write as _;
use std::process::ExitCode;

use bytesize::ByteSize;
use serde_json::Value;
use zarrims::cli::verbs::Evict;

use super::{Failure, of_daemon};
use crate::control::Ask;
use crate::logging;

pub(super) fn run(wanted: &Evict) -> Result<ExitCode, Failure> {
    let (mut daemon, at) = of_daemon::serving(&wanted.of)?;
    let done = daemon.ask(&Ask::Evict { at }, |_| ())?;
    let number = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or_default();
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut line = format!(
        "{}: {} freed on disk, {} in memory; {} files",
        text(&done, "place"),
        ByteSize(number("freed_bytes")),
        ByteSize(number("memory_bytes")),
        number("files"),
    );
    if number("pinned_bytes") > 0 {
        // Writing to a string does not fail.
        let _ =
            write!(line, "; {} more when their readers let go", ByteSize(number("pinned_bytes")));
    }
    of_daemon::print(wanted.as_json, &done, &line)?;
    let faults = done.get("faults").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !wanted.as_json {
        for fault in faults {
            logging::say(&format!("{}: {}", text(fault, "file"), text(fault, "error")));
        }
    }
    Ok(if number("failed") == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
