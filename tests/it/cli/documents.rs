//! The documents and the program say the same.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::common::run;

#[test]
fn help_and_version() {
    let help = run(&[OsStr::new("--help")]);
    assert!(help.status.success(), "{}", help.status);
    let text = String::from_utf8(help.stdout).expect("UTF-8");
    for word in [
        "SOURCE",
        "MOUNTPOINT",
        "--list",
        "--json",
        "--cache-dir",
        "--cache-size",
        "--allow-other",
        "--uid",
        "--gid",
        "--umask",
        "--threads",
        "--memory",
        "--verbose",
        "--log-format",
    ] {
        assert!(text.contains(word), "{word} is not in the help");
    }
    let version = run(&[OsStr::new("--version")]);
    assert!(version.status.success(), "{}", version.status);
    let text = String::from_utf8(version.stdout).expect("UTF-8");
    assert_eq!(text.trim(), format!("zarrims-mount {}", env!("CARGO_PKG_VERSION")));
}

const README: &str = include_str!("../../../README.md");
const CONFIGURATION: &str = include_str!("../../../doc/CONFIGURATION.md");
const TROUBLESHOOTING: &str = include_str!("../../../doc/TROUBLESHOOTING.md");
const LOGGING: &str = include_str!("../../../doc/LOGGING.md");
const ADMIN: &str = include_str!("../../../doc/ADMIN.md");
const SEMANTICS: &str = include_str!("../../../doc/SEMANTICS.md");
const DESIGN: &str = include_str!("../../../doc/DESIGN.md");
const TESTING: &str = include_str!("../../../doc/TESTING.md");

/// Quoted, and said by others than the program.
const SAID_BY_OTHERS: [&str; 6] = [
    "Input/output error",
    "Stale file handle",
    "stale file handle",
    "Transport endpoint is not connected",
    "Who may read what",
    "offline",
];

/// What is in double quotes outside of code.
fn quoted(document: &str) -> Vec<String> {
    let blocks = document.split("\n```");
    let text = blocks.step_by(2).collect::<Vec<_>>().join("\n");
    let text = text.lines().filter(|line| !line.starts_with("    ")).collect::<Vec<_>>().join(" ");
    let prose: String = text.split('`').step_by(2).collect();
    prose.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The root of the repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Appends the text of every Rust file below a folder.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a name").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension() == Some(OsStr::new("rs")) {
            all.push_str(&fs::read_to_string(&path).expect("UTF-8"));
        }
    }
}

#[test]
fn the_documents_quote_what_the_program_says() {
    let mut program = String::new();
    sources(&Path::new(ROOT).join("src"), &mut program);
    // Lines that are made of parts: these tests compare them with what comes out.
    program.push_str(include_str!("mistakes.rs"));
    program.push_str(include_str!("mounted.rs"));
    // A string goes on in the next line behind a backslash.
    let lines: Vec<&str> = program.split("\\\n").map(str::trim_start).collect();
    let program = lines.concat().replace("\\\"", "\"");
    let mut wrong = Vec::new();
    let mut parts = 0;
    for document in [README, CONFIGURATION, TROUBLESHOOTING, LOGGING] {
        for quote in quoted(document) {
            if SAID_BY_OTHERS.contains(&quote.as_str()) {
                continue;
            }
            // Dots stand for what differs.
            for part in quote.split("...") {
                let part = part.trim_matches([' ', ':', ';']);
                parts += 1;
                if !program.contains(part) {
                    wrong.push(format!("{part:?} of {quote:?}"));
                }
            }
        }
    }
    assert!(parts > 20, "{parts}");
    assert!(wrong.is_empty(), "the program does not say:\n{}", wrong.join("\n"));
}

#[test]
fn alert_rules_ask_for_metrics_that_there_are() {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = ADMIN.split(|letter| !is_of_word(letter));
    let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("zarrims_")).collect();
    assert!(asked.len() > 5, "{asked:?}");
    for metric in asked {
        assert!(CONFIGURATION.contains(&format!("| `{metric}` |")), "{metric}");
    }
}

/// The flags of `--help`, each with its default where that is one word.
fn flags() -> Vec<(String, Option<String>)> {
    let help = run(&[OsStr::new("--help")]);
    let text = String::from_utf8(help.stdout).expect("UTF-8");
    let mut flags: Vec<(String, Option<String>)> = Vec::new();
    for line in text.lines().map(str::trim_start) {
        let long = match line.split_once(", --") {
            Some((short, long)) if short.len() == 2 => Some(long),
            _ => line.strip_prefix("--"),
        };
        if let Some(long) = long {
            let end = long.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            flags.push((format!("--{}", &long[..end.unwrap_or(long.len())]), None));
        }
        let default = line.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
        if let (Some((default, _)), Some(last)) = (default, flags.last_mut()) {
            last.1 = (!default.contains(' ')).then(|| default.to_owned());
        }
    }
    flags.retain(|(flag, _)| flag != "--help" && flag != "--version");
    flags
}

/// Rows of tables whose first cell names an option, with the flags in it.
pub(super) fn rows(text: &str) -> Vec<(Vec<String>, String)> {
    let rows = text.lines().filter(|line| line.starts_with("| `-"));
    rows.map(|row| {
        // A bar within a cell has a backslash in front.
        let first = row.replace("\\|", " ");
        let first = first.split('|').nth(1).unwrap_or_default().to_owned();
        let words = first.split(['`', ' ', ',']).filter(|word| word.starts_with('-'));
        let word = |word: &str| if word == "-v" { "--verbose".to_owned() } else { word.to_owned() };
        (words.filter(|word| *word != "-vv").map(word).collect(), row.to_owned())
    })
    .collect()
}

/// The sections of a document; those of a verb have its name in backquotes as their heading.
pub(super) fn sections(document: &str) -> (Vec<&str>, Vec<&str>) {
    document.split("\n## ").partition(|section| !section.starts_with('`'))
}

#[test]
fn the_documents_have_the_options_of_the_program() {
    let flags = flags();
    assert!(flags.len() > 20, "{flags:#?}");
    for (name, document) in [("README", README), ("CONFIGURATION", CONFIGURATION)] {
        let rows = rows(&sections(document).0.join("\n"));
        let named: BTreeSet<&String> = rows.iter().flat_map(|(flags, _)| flags).collect();
        let wanted: BTreeSet<&String> = flags.iter().map(|(flag, _)| flag).collect();
        assert_eq!(named, wanted, "{name}");
        for (flag, default) in &flags {
            let Some(default) = default else { continue };
            let row = rows.iter().find(|(flags, _)| flags.contains(flag)).expect("a row");
            assert!(row.1.contains(&format!("`{default}`")), "{name}: {default}: {}", row.1);
        }
    }
}

/// Whether a function is a test: the attribute stands at most three lines above its name.
fn is_test(code: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    let mut found = code.match_indices(&head).map(|(at, _)| &code[..at]);
    found.any(|before| before.lines().rev().take(4).any(|line| line.trim() == "#[test]"))
}

/// Names in backquotes in the last cell of each row; commands, which have spaces, are left out.
fn named_tests(document: &str) -> Vec<&str> {
    let rows = document.lines().filter(|line| line.starts_with("| "));
    let last = rows.filter_map(|row| row.trim_end_matches([' ', '|']).rsplit('|').next());
    let names = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.filter(|name| !name.contains(' ')).collect()
}

#[test]
fn every_promise_names_tests_that_exist() {
    let mut code = String::new();
    for folder in ["src", "tests/it"] {
        sources(&Path::new(ROOT).join(folder), &mut code);
    }
    let names = named_tests(SEMANTICS);
    assert!(names.len() > 100, "{}", names.len());
    let missing: Vec<_> = names.into_iter().filter(|name| !is_test(&code, name)).collect();
    assert!(missing.is_empty(), "doc/SEMANTICS.md names tests that do not exist: {missing:#?}");
}

#[test]
fn the_documents_name_test_files_that_exist() {
    let mut names = 0;
    for (document, text) in [("DESIGN", DESIGN), ("TESTING", TESTING)] {
        for name in text.split('`').skip(1).step_by(2).filter(|name| name.starts_with("tests/")) {
            names += 1;
            assert!(Path::new(ROOT).join(name).exists(), "{document} names {name}");
        }
    }
    assert!(names > 20, "{names}");
}
