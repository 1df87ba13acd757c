//! `verify PATH`: compares what is cached of images.

use std::process::ExitCode;

use zarrims::cli::verbs::Verify;

use super::status::Answer;
use super::{Failure, job, of_daemon};
use crate::control::Ask;

pub(super) fn run(wanted: &Verify) -> Result<ExitCode, Failure> {
    let (mut daemon, at) = of_daemon::serving(&wanted.of)?;
    let ask = Ask::Verify { at, with_source: !wanted.only_checksums };
    job::follow(&mut daemon, &ask, wanted.as_json, line)
}

fn line(answer: &Answer<'_>) -> String {
    let number = |name| answer.number(name);
    format!(
        "{}: {} checksums are right, {} bricks equal the source; {} wrong, {} not compared; {} of {} files",
        job::place(answer),
        number("/checked"),
        number("/compared"),
        number("/wrong"),
        number("/failed"),
        number("/files_done"),
        number("/files"),
    )
}
