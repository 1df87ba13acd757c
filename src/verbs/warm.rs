//! `warm PATH`: has images cached before anybody reads them.

use std::fmt::Write as _;
use std::process::ExitCode;

use zarrims::cli::verbs::Warm;

use super::status::Answer;
use super::{Failure, job, of_daemon};
use crate::control::Ask;

pub(super) fn run(wanted: &Warm) -> Result<ExitCode, Failure> {
    let (mut daemon, at) = of_daemon::serving(&wanted.of)?;
    let Warm { selection, in_background, as_json, .. } = wanted.clone();
    let ask = Ask::Warm { at, selection, in_background };
    if in_background {
        let begun = daemon.ask(&ask, |_| ())?;
        let line = format!("{}: begun; status shows how far it is", job::place(&Answer(&begun)));
        return of_daemon::print(as_json, &begun, &line);
    }
    job::follow(&mut daemon, &ask, as_json, line)
}

fn line(answer: &Answer<'_>) -> String {
    let number = |name| answer.number(name);
    let mut line = format!(
        "{}: {} bricks cached ({}), {} were there or are empty; {} of {} files",
        job::place(answer),
        number("/made"),
        answer.size("/made_bytes"),
        number("/there"),
        number("/files_done"),
        number("/files"),
    );
    for (name, words) in
        [("/failed", "could not be made"), ("/unkept", "were made, and are not in the cache")]
    {
        if number(name) > 0 {
            // Writing to a string does not fail.
            let _ = write!(line, "; {} {words}", number(name));
        }
    }
    if answer.0.get("is_full").is_some_and(|is_full| is_full == true) {
        line += "; stopped: the cache is full, and what was cached began to be driven out; a larger --cache-size, \
                 fewer --levels or evict PATH make room";
    }
    line
}
