//! What a check has found, and how it is printed.

use std::fmt::Write as _;
use std::io;

use serde_json::json;

use crate::logging::Escaped;

/// How a part of the machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As it is needed.
    Ok,
    /// It works, but slower than it could, or not in all cases.
    Warning,
    /// It does not work.
    Fault,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// The name of the check; programs may rely on it.
    pub(super) check: &'static str,
    pub(super) state: State,
    /// What is there, in one line.
    pub(super) text: String,
    /// What to do about it.
    pub(super) fix: Option<String>,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

impl Finding {
    pub(super) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, state: State::Ok, text: text.into(), fix: None }
    }

    pub(super) fn warning(
        check: &'static str,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { check, state: State::Warning, text: text.into(), fix: Some(fix.into()) }
    }

    pub(super) fn fault(
        check: &'static str,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { check, state: State::Fault, text: text.into(), fix: Some(fix.into()) }
    }
}

/// An error without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// All findings for a program: an object a line.
pub(super) fn as_json(findings: &[Finding]) -> String {
    let row = |Finding { check, state, text, fix }: &Finding| {
        let row = json!({"check": check, "state": state.word(), "text": text, "fix": fix});
        format!("{row}\n")
    };
    findings.iter().map(row).collect()
}

/// All findings for people.
pub(super) fn as_text(findings: &[Finding]) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    for Finding { check, state, text, fix } in findings {
        let _ = writeln!(out, "{:8} {check}: {}", state.word(), Escaped(text));
        if let Some(fix) = fix {
            let _ = writeln!(out, "{:8} to mend it: {}", "", Escaped(fix));
        }
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let counted = |count: usize, word: &str| match count {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    let faults = counted(count(State::Fault), "fault");
    let _ = writeln!(out, "{faults}, {}", counted(count(State::Warning), "warning"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_each_fix_another() {
        let findings = [
            Finding::ok("fuse", "/dev/fuse can be opened"),
            Finding::fault("cache", "a\nb", "do this"),
        ];
        let text = as_text(&findings);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "ok       fuse: /dev/fuse can be opened",
                "fault    cache: a\\nb",
                "         to mend it: do this",
                "1 fault, no warnings",
            ]
        );
        let rows: Vec<serde_json::Value> = as_json(&findings)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(
            rows[1],
            json!({"check": "cache", "state": "fault", "text": "a\nb", "fix": "do this"})
        );
    }
}
