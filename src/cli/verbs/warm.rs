//! `warm PATH`: has images cached before anybody reads them.

use std::ops::Range;

use clap::{Arg, ArgMatches, Command};

use super::OfPath;
use crate::image::Selection;

pub(super) const NAME: &str = "warm";

const AFTER: &str = "\
Readers go first. Ctrl-C ends the work; what is cached by then stays, and the same command goes on from there. A \
chunk that cannot be decoded is named, and the work goes on. The work stops when the cache is so full that it would \
drive out what it has brought in.

Exit status: 0 all that was asked for is cached, or the work was begun with --background; 1 it is not, for the \
reasons that are printed; 2 the command line is wrong; 3 no daemon serves PATH.";

/// The arguments of `warm`.
#[derive(Debug, Clone)]
pub struct Warm {
    /// Which images.
    pub of: OfPath,
    /// What of them.
    pub selection: Selection,
    /// The work goes on when the program has ended.
    pub in_background: bool,
    /// As JSON.
    pub as_json: bool,
}

pub(super) fn command() -> Command {
    let about = "Have a daemon cache images before anybody reads them";
    let range = |name: &'static str| Arg::new(name).long(name).allow_hyphen_values(true);
    super::with_path(super::verb(NAME, about))
        .arg(range("levels").value_name("N..").help(
            "Only these resolution levels, 0 = finest: 2, or 2.. for 2 and all coarser ones, or 1..3 for 1 and 2",
        ))
        .arg(range("timepoints").value_name("A-B").help(
            "Only these time points, from 0 on, B included: 0-9 for the first ten, or 5",
        ))
        .arg(super::switch("background").help("Return at once; status shows how far the work is"))
        .after_help(AFTER)
}

impl Warm {
    /// # Errors
    /// A range that is none, in one line.
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, String> {
        let text = |name: &str| matches.get_one::<String>(name);
        let all = Selection::default();
        let selection = Selection {
            levels: text("levels").map_or(Ok(all.levels), |text| levels(text))?,
            time_points: text("timepoints")
                .map_or(Ok(all.time_points), |text| time_points(text))?,
        };
        Ok(Self {
            of: OfPath::read(matches),
            selection,
            in_background: matches.get_flag("background"),
            as_json: matches.get_flag("json"),
        })
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    // No sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `2`, `2..`, `..2`, `1..3`: half-open.
fn levels(text: &str) -> Result<Range<usize>, String> {
    let parsed = || match text.split_once("..") {
        None => number(text).and_then(|level: usize| Some(level..level.checked_add(1)?)),
        Some((from, to)) => {
            let from = if from.is_empty() { Some(0) } else { number(from) };
            let to = if to.is_empty() { Some(usize::MAX) } else { number(to) };
            Some(from?..to?)
        }
    };
    let found = parsed().filter(|levels| !levels.is_empty());
    found.ok_or_else(|| {
        format!("--levels {text}: is no range of levels such as 2, 2.. or 1..3, whose end is not included")
    })
}

/// `5`, `0-9`: the end is included.
fn time_points(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let parsed = || Some(number::<u64>(from)?..number::<u64>(to)?.checked_add(1)?);
    let found = parsed().filter(|times| !times.is_empty());
    found.ok_or_else(|| {
        format!("--timepoints {text}: are no time points such as 5 or 0-9, whose end is included")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Selection, String> {
        let words = ["warm", "a.ims"].iter().chain(args);
        let matches = command().try_get_matches_from(words).map_err(|error| error.to_string())?;
        Warm::read(&matches).map(|warm| warm.selection)
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(read(&[]).expect("valid"), Selection::default());
        for (text, levels) in [("0", 0..1), ("2..", 2..usize::MAX), ("..2", 0..2), ("1..3", 1..3)] {
            assert_eq!(read(&["--levels", text]).expect("valid").levels, levels, "{text}");
        }
        for (text, times) in [("5", 5..6), ("0-9", 0..10), ("3-3", 3..4)] {
            assert_eq!(read(&["--timepoints", text]).expect("valid").time_points, times, "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_one_is() {
        for text in
            ["", "-1", "a", "3..1", "2..2", "1...3", "1..=3", "0,2", "+1", "99999999999999999999"]
        {
            let error = read(&["--levels", text]).expect_err(text);
            assert!(error.contains("such as 2, 2.. or 1..3"), "{text}: {error}");
        }
        for text in ["", "-", "5-", "-5", "9-0", "1..3", "1-2-3", "18446744073709551615"] {
            let error = read(&["--timepoints", text]).expect_err(text);
            assert!(error.contains("such as 5 or 0-9"), "{text}: {error}");
        }
    }
}
