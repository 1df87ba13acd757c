//! Following the long work of a daemon.

use std::cell::Cell;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::progress::{Shown, say, tell_event};
use super::status::{Answer, time};
use super::{Failure, of_daemon};
use crate::control::Ask;
use crate::control::client::Daemon;
use crate::logging::Escaped;

/// Bars have this many steps.
const STEPS: u64 = 1000;

/// Asks for long work, shows how far it is, and tells what has come of it: `line` makes a line for people of the
/// last answer. The status of the program says whether all was well.
///
/// # Errors
/// As for [`Daemon::ask`].
pub(super) fn follow(
    daemon: &mut Daemon,
    ask: &Ask,
    as_json: bool,
    line: impl FnOnce(&Answer<'_>) -> String,
) -> Result<ExitCode, Failure> {
    let shown = Shown::new(as_json, STEPS, "{wide_bar} {msg}");
    let is_warned = Cell::new(false);
    let warn = |answer: &Answer<'_>| {
        let warning = answer.text("/warning").to_string();
        if !warning.is_empty() && !is_warned.replace(true) {
            if as_json {
                tell_event(&json!({ "event": "warning", "reason": warning }));
            } else {
                shown.say(&warning);
            }
        }
    };
    let done = daemon.ask(ask, |value| {
        let answer = Answer(value);
        warn(&answer);
        // Percent with one digit behind the point.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
        let steps = (answer.real("/percent") * 10.0).round() as u64;
        let message = || message(&answer);
        shown.show(steps, message, message, || with_event("progress", value));
    });
    let done = done?;
    let answer = Answer(&done);
    warn(&answer);
    drop(shown);
    if as_json {
        tell_event(&with_event("complete", &done));
    } else {
        for fault in answer.list("/faults") {
            say(&fault_line(&fault));
        }
        let named = answer.list("/faults").count() as u64;
        let more = (answer.number("/failed") + answer.number("/wrong")).saturating_sub(named);
        if more > 0 {
            say(&format!("and {more} more"));
        }
        of_daemon::print(false, &done, &line(&answer))?;
    }
    let bad = ["/failed", "/wrong", "/unkept"].iter().map(|name| answer.number(name)).sum::<u64>();
    let is_full = answer.0.get("is_full").and_then(Value::as_bool).unwrap_or_default();
    Ok(if bad == 0 && !is_full { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn with_event(name: &str, value: &Value) -> Value {
    let mut row = json!({ "event": name });
    if let (Some(row), Value::Object(more)) = (row.as_object_mut(), value) {
        row.extend(more.clone());
    }
    row
}

/// How far work is.
fn message(answer: &Answer<'_>) -> String {
    let left = answer.0.get("left_s").and_then(Value::as_u64);
    let left = left.map_or(String::new(), |left| format!(", {} left", time(left)));
    let (done, files) = (answer.number("/files_done"), answer.number("/files"));
    format!("{:.1} %, {done} of {files} files{left}", answer.real("/percent"))
}

fn fault_line(fault: &Answer<'_>) -> String {
    let mut place = fault.text("/file").to_string();
    if fault.0.get("level").is_some() {
        let at = |name| fault.number(name);
        let (level, time, channel) = (at("/level"), at("/time_point"), at("/channel"));
        let brick = at("/brick");
        place =
            format!("{place}: level {level}, time point {time}, channel {channel}, brick {brick}");
    }
    format!("{place}: {}", fault.text("/reason"))
}

/// The place of an answer, for its line.
pub(super) fn place(answer: &Answer<'_>) -> String {
    Escaped(answer.0.get("place").and_then(Value::as_str).unwrap_or_default()).to_string()
}
