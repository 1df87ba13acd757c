//! The pages of the manual, the completions, `--help` and `doc/CONFIGURATION.md` have the same flags, verbs and keys.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use zarrims::cli::command;
use zarrims::config::OPTIONS;

#[path = "../../../examples/pages/pages.rs"]
pub(super) mod made;

use super::documents::{rows, sections};
use crate::common::skipped;

const CONFIGURATION: &str = include_str!("../../../doc/CONFIGURATION.md");

/// A page as its readers see the letters.
fn page(name: &str) -> String {
    let pages = made::all().expect("pages");
    let found = pages.into_iter().find(|(path, _)| path == name);
    let (_, text) = found.unwrap_or_else(|| panic!("no page {name}"));
    let mut text = String::from_utf8(text).expect("UTF-8").replace("\\-", "-");
    for font in ["\\fB", "\\fI", "\\fR"] {
        text = text.replace(font, "");
    }
    text
}

/// The words of a text that are long flags.
fn flags(text: &str) -> BTreeSet<String> {
    let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let words = text.split(|letter: char| !is_of_word(letter));
    let flags = words.filter(|word| word.strip_prefix("--").is_some_and(|name| !name.is_empty()));
    flags.map(str::to_owned).collect()
}

/// The flags that a definition has, with those that every program has.
fn flags_of(command: &clap::Command) -> BTreeSet<String> {
    let mut command = command.clone();
    command.build();
    let longs = command.get_arguments().filter_map(|arg| arg.get_long());
    longs.map(|long| format!("--{long}")).collect()
}

fn named(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("--{name}")).collect()
}

#[test]
fn the_manual_has_the_flags_of_the_help() {
    let known = flags_of(&command());
    let help = flags(&command().render_long_help().to_string());
    assert_eq!(help, known, "--help");
    assert_eq!(flags(&page("man/zarrims-mount.1")), known, "zarrims-mount(1)");
    for shell in ["bash/zarrims-mount", "zsh/_zarrims-mount", "fish/zarrims-mount.fish"] {
        let text = page(&format!("completions/{shell}"));
        for flag in &known {
            // The completions of fish name the flags behind -l.
            let name = flag.trim_start_matches('-');
            assert!(text.contains(flag) || text.contains(&format!("-l {name}")), "{shell}: {flag}");
        }
    }
    let helper = flags(&page("man/mount.zarrims.8"));
    assert!(helper.is_subset(&known), "{helper:?}");
}

#[test]
fn the_manual_has_the_keys_of_the_configuration_file() {
    let text = page("man/zarrims.toml.5");
    let names: Vec<&str> = OPTIONS.iter().map(|option| option.name).collect();
    let known: BTreeSet<_> =
        named(&names).union(&named(&["config", "print-config"])).cloned().collect();
    assert_eq!(flags(&text), known);
    let lines: BTreeSet<&str> = text.lines().collect();
    for option in &OPTIONS {
        let key = option.key();
        let is_named = |line: &&&str| **line == key || line.starts_with(&format!("{key} = "));
        assert!(lines.iter().find(is_named).is_some(), "{key}: {text}");
    }
}

/// Rows of the table of verbs: the verb, and the row.
fn verbs_of_the_document() -> Vec<(&'static str, &'static str)> {
    let section = CONFIGURATION.split("\n## Verbs\n").nth(1).expect("a section on verbs");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|row| Some((row.strip_prefix("| `")?, row)));
    rows.map(|(rest, row)| (rest.split([' ', '`']).next().unwrap_or_default(), row)).collect()
}

#[test]
fn the_documents_have_the_verbs_of_the_help() {
    let command = command();
    let verbs: Vec<_> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).collect();
    assert!(!verbs.is_empty());
    let rows_of_verbs = verbs_of_the_document();
    let documented: BTreeSet<&str> = rows_of_verbs.iter().map(|(verb, _)| *verb).collect();
    assert_eq!(documented, verbs.iter().map(|verb| verb.get_name()).collect(), "CONFIGURATION");
    let of_all = named(&OPTIONS.iter().map(|option| option.name).collect::<Vec<_>>());
    let of_all: BTreeSet<_> =
        of_all.union(&named(&["help", "json", "verbose", "config"])).cloned().collect();
    for verb in verbs {
        let name = verb.get_name();
        let known = flags_of(verb);
        assert_eq!(flags(&page(&format!("man/zarrims-mount-{name}.1"))), known, "{name}");
        let (_, row) =
            rows_of_verbs.iter().find(|(verb, _)| *verb == name).expect("compared above");
        let heading = format!("`{name}`");
        let section = sections(CONFIGURATION).1.into_iter().find(|text| text.starts_with(&heading));
        let mut documented = flags(row);
        documented
            .extend(rows(section.unwrap_or_default()).into_iter().flat_map(|(flags, _)| flags));
        let own: BTreeSet<_> = known.difference(&of_all).cloned().collect();
        let missing: Vec<_> = own.difference(&documented).collect();
        let unknown: Vec<_> = documented.difference(&known).collect();
        assert!(missing.is_empty() && unknown.is_empty(), "{name}: {missing:?} {unknown:?}");
    }
}

#[test]
fn the_manual_is_sound_roff() {
    if Command::new("groff").arg("--version").output().is_err() {
        skipped("no groff");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in made::all().expect("pages") {
        let Some(name) = name.strip_prefix("man/") else { continue };
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        if name.starts_with("mount.fuse") {
            continue;
        }
        let output =
            Command::new("groff").args(["-man", "-ww", "-z"]).arg(&path).output().expect("groff");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
}
