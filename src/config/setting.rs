//! Settings: values as text, each with its origin, by which errors name it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::by_hand;

use super::options::{Form, OPTIONS, Opt, variable};
use crate::objects::{Address, redacted};

/// What is wrong with a setting, in one line that names it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Mistake(pub String);

impl From<by_hand::Mistake> for Mistake {
    fn from(mistake: by_hand::Mistake) -> Self {
        Self(mistake.to_string())
    }
}

/// Where a value came from. The later ones win over the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The program.
    Default,
    /// A line of the configuration file.
    File {
        /// Its path.
        file: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable,
    /// A flag.
    Flag,
    /// An argument by its position.
    Argument,
}

/// A value that the user gave, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The flag without its dashes, or `source` or `mountpoint`.
    pub name: &'static str,
    /// The key in the file.
    pub key: &'static str,
    /// `None`: a default that depends on the machine or the source.
    pub text: Option<OsString>,
    /// Who gave it.
    pub origin: Origin,
}

impl Setting {
    /// A value of an option.
    #[must_use]
    pub fn of(option: &Opt, text: Option<OsString>, origin: Origin) -> Self {
        Self { name: option.name, key: option.key(), text, origin }
    }

    /// A path that is given by its position, or in a file.
    #[must_use]
    pub fn path(name: &'static str, text: OsString, origin: Origin) -> Self {
        Self { name, key: name, text: Some(text), origin }
    }

    /// The path; empty where nobody gave one.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(self.text.as_deref().unwrap_or(OsStr::new("")))
    }

    /// Makes a path whole that begins at the current folder, for a program that leaves this folder.
    pub(super) fn leave_folder(&mut self) {
        let is_address =
            |text: &OsString| text.to_str().is_some_and(|text| Address::parse(text).is_some());
        if let Some(text) = self.text.take_if(|text| !text.is_empty() && !is_address(text)) {
            let path = std::path::absolute(&text).map_or(text, OsString::from);
            self.text = Some(path);
        }
    }

    /// How errors call it: by the flag, the variable, or the file, line and key.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.origin {
            Origin::Default | Origin::Flag => format!("--{}", self.name),
            Origin::Variable => variable(self.name),
            Origin::Argument => self.name.to_uppercase(),
            Origin::File { file, line } => format!("{}:{line}: {}", file.display(), self.key),
        }
    }

    /// How errors call it with a value.
    #[must_use]
    pub fn label_with(&self, value: &str) -> String {
        let label = self.label();
        match self.origin {
            Origin::Default | Origin::Flag | Origin::Argument => format!("{label} {value}"),
            Origin::Variable => format!("{label}={value}"),
            Origin::File { .. } => format!("{label} = {value}"),
        }
    }

    /// The address that it is, where it is a good one.
    #[must_use]
    pub fn as_address(&self) -> Option<Address> {
        Address::parse(self.text.as_ref()?.to_str()?)?.ok()
    }

    /// How errors call it with its own value, but for the secrets of an address.
    #[must_use]
    pub fn named(&self) -> String {
        match &self.text {
            Some(text) => self.label_with(&redacted(&text.to_string_lossy())),
            None => self.label(),
        }
    }

    /// What is wrong with its value.
    #[must_use]
    pub fn mistake(&self, reason: &str) -> Mistake {
        Mistake(format!("{}: {reason}", self.named()))
    }
}

/// The message without "(os error N)".
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let mut text = text[..end].to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    text
}

/// A setting for each option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// The settings that `given` finds; the defaults for all others.
    #[must_use]
    pub fn new(given: impl Fn(&Opt) -> Option<(OsString, Origin)>) -> Self {
        let setting = |option: &Opt| match given(option) {
            Some((text, origin)) => Setting::of(option, Some(text), origin),
            None => Setting::of(option, option.default.map(OsString::from), Origin::Default),
        };
        Self(OPTIONS.iter().map(|option| (option.name, setting(option))).collect())
    }

    /// The setting of an option, by its flag without the dashes.
    ///
    /// # Panics
    /// If there is no such option.
    #[must_use]
    pub fn get(&self, name: &str) -> &Setting {
        &self.0[name]
    }

    /// Makes all paths whole.
    pub(super) fn leave_folder(&mut self) {
        let is_path = |setting: &&mut Setting| {
            let option = OPTIONS.iter().find(|option| option.name == setting.name);
            option.is_some_and(|option| matches!(option.form, Form::Folder | Form::Place(_)))
        };
        self.0.values_mut().filter(is_path).for_each(Setting::leave_folder);
    }

    /// The options whose values differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let differs = |(name, setting): (&&'static str, &Setting)| {
            (other.get(name).text != setting.text).then_some(*name)
        };
        self.0.iter().filter_map(differs).collect()
    }

    /// Fills in what nobody gave so far.
    #[must_use]
    pub fn or(mut self, others: &[Setting]) -> Self {
        for other in others {
            match self.0.get_mut(other.name) {
                Some(known) if known.origin == Origin::Default => known.clone_from(other),
                _ => {}
            }
        }
        self
    }

    /// The value of an option; `None` where nobody gave one and it has no default.
    ///
    /// # Errors
    /// That of the parser, with the name of the setting.
    pub fn value<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Mistake> {
        let setting = self.get(name);
        let Some(text) = &setting.text else { return Ok(None) };
        let parsed = text.to_str().ok_or_else(|| "is not UTF-8".to_owned()).and_then(parse);
        parsed.map(Some).map_err(|reason| setting.mistake(&reason))
    }
}
