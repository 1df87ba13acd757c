//! `evict PATH`: drops what is cached of images.

use std::fmt::Write as _;
use std::process::ExitCode;

use zarrims::cli::verbs::Evict;

use super::status::Answer;
use super::{Failure, job, of_daemon};
use crate::control::Ask;

pub(super) fn run(wanted: &Evict) -> Result<ExitCode, Failure> {
    let (mut daemon, at) = of_daemon::serving(&wanted.of)?;
    job::follow(&mut daemon, &Ask::Evict { at }, wanted.as_json, line)
}

fn line(answer: &Answer<'_>) -> String {
    let mut line = format!(
        "{}: {} freed on disk, {} in memory; {} files",
        job::place(answer),
        answer.size("/freed_bytes"),
        answer.size("/memory_bytes"),
        answer.number("/files"),
    );
    if answer.number("/pinned_bytes") > 0 {
        let pinned = answer.size("/pinned_bytes");
        // Writing to a string does not fail.
        let _ = write!(line, "; {pinned} more when their readers let go");
    }
    line
}
