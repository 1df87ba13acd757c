//! What clap finds wrong with a command line, as one line that begins with the argument.

use std::ffi::{OsStr, OsString};

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::config::options::variable;
use crate::objects::redacted;

/// Where to read on.
const SEE_HELP: &str = "see --help";

pub(super) const JSON_ALONE: &str =
    "--json: only with --list: zarrims-mount --list --json SOURCE; see --help";

pub(super) const BACKGROUND_ALONE: &str = "--background: only for a mount; see --help";

/// Why the program does not do what a command line says.
#[derive(Debug)]
pub enum Refused {
    /// Help or the version was asked for.
    Asked(clap::Error),
    /// It is wrong; one line that says how.
    Mistake(String),
}

impl Refused {
    pub(super) fn because(error: clap::Error, words: &[OsString], command: &Command) -> Self {
        if error.use_stderr() {
            Self::Mistake(Report { error: &error, words, command }.line())
        } else {
            Self::Asked(error)
        }
    }
}

/// An error and the words it is about.
struct Report<'a> {
    error: &'a clap::Error,
    words: &'a [OsString],
    command: &'a Command,
}

impl Report<'_> {
    fn line(&self) -> String {
        let line = match self.error.kind() {
            ErrorKind::UnknownArgument => self.unknown(),
            ErrorKind::InvalidValue => self.none_of(),
            ErrorKind::ValueValidation => self.invalid(),
            ErrorKind::TooManyValues => self.needless(),
            ErrorKind::ArgumentConflict => self.not_alone(),
            _ => None,
        };
        line.unwrap_or_else(|| format!("{}; {SEE_HELP}", first_paragraph(&self.error.to_string())))
    }

    /// An option that is not there, or a third argument.
    fn unknown(&self) -> Option<String> {
        let given = self.text(ContextKind::InvalidArg)?;
        if !given.starts_with('-') {
            return Some(one_too_many(&given));
        }
        let (given, similar) = match self.one_dash() {
            Some((word, long)) => (word, Some(long)),
            None => (given, self.text(ContextKind::SuggestedArg)),
        };
        let similar = similar.map(|similar| format!("; similar: {similar}")).unwrap_or_default();
        Some(format!("{given}: no such option{similar}; {SEE_HELP}"))
    }

    /// A third argument, which clap takes for a verb, or a verb behind options.
    fn not_alone(&self) -> Option<String> {
        let given = self.text(ContextKind::InvalidSubcommand)?;
        let mut words = self.words.iter().filter_map(|word| word.to_str());
        let verb = words.find(|word| self.command.find_subcommand(word).is_some());
        Some(verb.map_or_else(|| one_too_many(&given), verb_first))
    }

    /// A word such as `-list`, which clap takes for five options of one letter, and what was meant.
    fn one_dash(&self) -> Option<(String, String)> {
        let words = self.words.iter().filter_map(|word| word.to_str());
        let mut words = words.take_while(|word| *word != "--");
        words.find_map(|word| {
            let name = word.split('=').next().unwrap_or_default();
            let long = format!("-{name}");
            let is_meant = name.len() > 2 && !name.starts_with("--") && self.is_flag(&long);
            is_meant.then(|| (name.to_owned(), long))
        })
    }

    /// A value that is none of the choices, or is missing.
    fn none_of(&self) -> Option<String> {
        let argument = self.text(ContextKind::InvalidArg)?;
        let value = self.text(ContextKind::InvalidValue)?;
        if value.is_empty() {
            return Some(self.empty(&argument));
        }
        let name = argument.split(' ').next().unwrap_or_default();
        let ContextValue::Strings(choices) = self.error.get(ContextKind::ValidValue)? else {
            return None;
        };
        let similar = self.text(ContextKind::SuggestedValue);
        let similar = similar.map(|similar| format!("; similar: {similar}")).unwrap_or_default();
        Some(format!("{}: is none of {}{similar}", self.given(name, &value), choices.join(", ")))
    }

    /// An argument such as `--cache-dir <DIR>` or `[MOUNTPOINT]` without a value.
    fn empty(&self, argument: &str) -> String {
        let (name, form) = argument.split_once(' ').unwrap_or((argument, ""));
        let (name, form) = (bare(name), bare(form));
        let what = match self.variable(name) {
            Some(variable) => format!("{variable}: is set, but empty"),
            None if form.is_empty() => format!("{name}: is empty"),
            None => format!("{name}: a value is missing: {name} {form}"),
        };
        format!("{what}; {SEE_HELP}")
    }

    /// A value that its parser refuses.
    fn invalid(&self) -> Option<String> {
        let argument = self.text(ContextKind::InvalidArg)?;
        let value = self.text(ContextKind::InvalidValue)?;
        if value.is_empty() {
            return Some(self.empty(&argument));
        }
        let name = argument.split(' ').next().unwrap_or_default();
        let reason = std::error::Error::source(self.error)?;
        Some(format!("{}: {reason}", self.given(name, &value)))
    }

    /// A value of an option that takes none.
    fn needless(&self) -> Option<String> {
        let argument = self.text(ContextKind::InvalidArg)?;
        let value = self.text(ContextKind::InvalidValue)?;
        let name = bare(&argument);
        Some(format!("{name}={value}: {name} takes no value; {SEE_HELP}"))
    }

    /// An argument and its value, by the place where it was given.
    fn given(&self, name: &str, value: &str) -> String {
        let value = redacted(value);
        match self.variable(name) {
            Some(variable) => format!("{variable}={value}"),
            None => format!("{name} {value}"),
        }
    }

    /// The environment variable that gave the value, if no flag did.
    fn variable(&self, flag: &str) -> Option<String> {
        let is_given = self.words.iter().filter_map(|word| word.to_str()).any(|word| {
            word.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        });
        let variable = variable(flag.strip_prefix("--")?);
        (!is_given && std::env::var_os(OsStr::new(&variable)).is_some()).then_some(variable)
    }

    fn is_flag(&self, word: &str) -> bool {
        let mut flags = self.command.get_arguments().filter_map(clap::Arg::get_long);
        word.strip_prefix("--").is_some_and(|name| flags.any(|flag| flag == name))
    }

    fn text(&self, kind: ContextKind) -> Option<String> {
        match self.error.get(kind)? {
            ContextValue::String(text) => Some(text.clone()),
            ContextValue::Strings(texts) => texts.first().cloned(),
            _ => None,
        }
    }
}

/// Options before a verb are no options of the verb.
pub(super) fn verb_first(verb: &str) -> String {
    format!("{verb}: a verb comes first: zarrims-mount {verb} ...; {SEE_HELP}")
}

fn one_too_many(word: &str) -> String {
    format!("{word}: one argument too many; names with spaces need quotes; {SEE_HELP}")
}

/// A name without the brackets and dots of a usage line.
fn bare(name: &str) -> &str {
    name.trim_matches(['<', '>', '[', ']']).trim_end_matches("...")
}

/// What is wrong, in one line; clap adds usage and hints in further paragraphs.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let lines: Vec<&str> =
        text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    lines.join(" ")
}
