//! A TOML text whose parts know their lines, and readers of the keys of one table.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::words::similar;

pub(crate) type Table<'a> = DeTable<'a>;
pub(crate) type Key<'a> = Spanned<Cow<'a, str>>;
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// Characters of a value that a message quotes.
const QUOTED_CHARS: usize = 60;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What messages call the file.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What is wrong with a file, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{origin}: {words}")]
pub struct Mistake {
    /// Where it stands.
    pub origin: Origin,
    /// The key, what is wrong with it, and what is expected.
    pub words: String,
}

impl Mistake {
    pub(super) fn at(origin: &Origin, words: impl Into<String>) -> Self {
        Self { origin: origin.clone(), words: words.into() }
    }
}

/// A value, and where it was given.
#[derive(Debug, Clone, PartialEq)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// Its line.
    pub origin: Origin,
}

/// The text of a file.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    pub(crate) file: Arc<str>,
    pub(crate) text: &'t str,
}

impl<'t> Document<'t> {
    pub(crate) fn new(file: &str, text: &'t str) -> Self {
        Self { file: file.into(), text }
    }

    /// The tables of the text.
    ///
    /// # Errors
    /// Where it is no TOML.
    pub(crate) fn parse(&self) -> Result<Spanned<Table<'t>>, Mistake> {
        DeTable::parse(self.text).map_err(|error| {
            let words = error.message().lines().collect::<Vec<_>>().join(", ");
            self.mistake(error.span().unwrap_or_default(), words)
        })
    }

    pub(crate) fn origin(&self, span: &Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Origin { file: self.file.clone(), line }
    }

    pub(crate) fn mistake(&self, span: Range<usize>, words: impl Into<String>) -> Mistake {
        Mistake { origin: self.origin(&span), words: words.into() }
    }
}

/// The entries of a table as they stand in the file.
pub(crate) fn in_order<'a, 'i>(table: &'a Table<'i>) -> Vec<(&'a Key<'i>, &'a Value<'i>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A key with its value, as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

/// A value as TOML, in one line.
fn written(value: &Value<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(is_on) => is_on.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(list) => {
            format!("[{}]", list.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        DeValue::Table(table) => {
            let entries = in_order(table).into_iter();
            let entries = entries
                .map(|(key, value)| format!("{} = {}", quoted(key.get_ref()), written(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What is wrong with a value, or with a part of it.
#[derive(Debug)]
pub(super) struct Wrong {
    span: Range<usize>,
    /// The part is shown in front of the words.
    is_shown: bool,
    words: String,
}

impl Wrong {
    pub(super) fn value(value: &Value<'_>, words: impl Into<String>) -> Self {
        let is_shown = !value.get_ref().is_table() && !value.get_ref().is_array();
        Self { span: value.span(), is_shown, words: words.into() }
    }
}

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Fields<'a, 't> {
    document: &'a Document<'t>,
    table: &'a Table<'t>,
    span: Range<usize>,
}

impl<'a, 't> Fields<'a, 't> {
    /// A table that may have these keys and no others; `name` is what messages call it, such as
    /// `[[store]]`.
    pub(super) fn new(
        document: &'a Document<'t>,
        name: &str,
        value: &'a Value<'t>,
        known: &[&str],
    ) -> Result<Self, Mistake> {
        let DeValue::Table(table) = value.get_ref() else {
            return Err(document.mistake(value.span(), format!("{name}: is no table of keys")));
        };
        for (key, _) in in_order(table) {
            let word = key.get_ref().as_ref();
            if !known.contains(&word) {
                let similar = similar(word, known.iter().copied());
                let hint = match similar {
                    Some(similar) => format!("; similar: {similar}"),
                    None => format!("; there are {}", known.join(", ")),
                };
                let words = format!("{word}: no such key in {name}{hint}");
                return Err(document.mistake(key.span(), words));
            }
        }
        Ok(Self { document, table, span: value.span() })
    }

    /// All its lines.
    pub(super) fn lines(&self) -> Vec<Line> {
        let line = |(key, value): (&Key<'_>, &Value<'_>)| Line {
            key: key.get_ref().to_string(),
            value: written(value),
            origin: self.document.origin(&key.span()),
        };
        in_order(self.table).into_iter().map(line).collect()
    }

    /// Where the table stands.
    pub(super) fn origin(&self) -> Origin {
        self.document.origin(&self.span)
    }

    /// Where a part of a value stands.
    pub(super) fn origin_of(&self, value: &Value<'_>) -> Origin {
        self.document.origin(&value.span())
    }

    /// A table in the list of a key.
    pub(super) fn entry(
        &self,
        key: &str,
        value: &'a Value<'t>,
        known: &[&str],
    ) -> Result<Self, Mistake> {
        Self::new(self.document, &format!("an entry of {key}"), value, known)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key, read by `read`.
    pub(super) fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Value<'t>) -> Result<T, Wrong>,
    ) -> Result<Option<T>, Mistake> {
        Ok(self.said(key, read)?.map(|said| said.value))
    }

    /// The same, with its line.
    pub(super) fn said<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Value<'t>) -> Result<T, Wrong>,
    ) -> Result<Option<Said<T>>, Mistake> {
        let Some((name, value)) = self.table.get_key_value(key) else { return Ok(None) };
        let origin = self.document.origin(&name.span());
        Ok(Some(Said { value: self.read(key, value, read)?, origin }))
    }

    /// Reads a value, or a part of one, that messages name by a key.
    pub(super) fn read<'v, 'w, T>(
        &self,
        key: &str,
        value: &'v Value<'w>,
        read: impl FnOnce(&'v Value<'w>) -> Result<T, Wrong>,
    ) -> Result<T, Mistake> {
        read(value).map_err(|Wrong { span, is_shown, words }| {
            let shown = self.document.text.get(span.clone()).filter(|_| is_shown);
            let shown = shown.map(|text| {
                let line = text.lines().next().unwrap_or_default();
                format!(" = {}", line.chars().take(QUOTED_CHARS).collect::<String>())
            });
            let words = format!("{key}{}: {words}", shown.unwrap_or_default());
            self.document.mistake(span, words)
        })
    }

    /// What is wrong with a key as a whole.
    pub(super) fn mistake(&self, key: &str, words: &str) -> Mistake {
        let span = self.table.get_key_value(key).map(|(name, _)| name.span());
        self.document.mistake(span.unwrap_or(self.span.clone()), format!("{key}: {words}"))
    }
}

// Readers of values.

pub(super) fn text(value: &Value<'_>) -> Result<String, Wrong> {
    match value.get_ref() {
        DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
        DeValue::String(_) => Err(Wrong::value(value, "is empty")),
        _ => Err(Wrong::value(value, "is not a text in quotes")),
    }
}

pub(super) fn switch(value: &Value<'_>) -> Result<bool, Wrong> {
    value.get_ref().as_bool().ok_or_else(|| Wrong::value(value, "is neither true nor false"))
}

/// Any finite number.
pub(super) fn number(value: &Value<'_>) -> Result<f64, Wrong> {
    let found = match value.get_ref() {
        #[expect(clippy::cast_precision_loss, reason = "a length or a range")]
        DeValue::Integer(_) => whole_of(value).map(|whole| whole as f64),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    };
    found
        .filter(|found| found.is_finite())
        .ok_or_else(|| Wrong::value(value, "is not a number such as 0.25"))
}

fn whole_of(value: &Value<'_>) -> Option<i64> {
    let integer = value.get_ref().as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A number of a thing: a voxel, a channel, a level.
pub(super) fn count(value: &Value<'_>) -> Result<u64, Wrong> {
    let found = whole_of(value).and_then(|whole| u64::try_from(whole).ok());
    found.ok_or_else(|| Wrong::value(value, "is not a whole number from 0 on"))
}

/// The first number and the one behind the last.
pub(super) fn range(value: &Value<'_>) -> Result<Range<u64>, Wrong> {
    let expected = "is not a range such as [0, 512]: the first, and the one behind the last";
    let [first, end] = &list(value, expected)?[..] else {
        return Err(Wrong::value(value, expected));
    };
    let (first, end) = (count(first)?, count(end)?);
    if first >= end {
        let words = format!("is empty: {first} to {end}, where the last number is not included");
        return Err(Wrong::value(value, words));
    }
    Ok(first..end)
}

pub(super) fn list<'a, 't>(value: &'a Value<'t>, expected: &str) -> Result<&'a [Value<'t>], Wrong> {
    match value.get_ref() {
        DeValue::Array(list) => Ok(list),
        _ => Err(Wrong::value(value, expected)),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(value: &Value<'_>, choices: &[(&str, T)]) -> Result<T, Wrong> {
    let word = text(value)?;
    if let Some((_, found)) = choices.iter().find(|(name, _)| *name == word) {
        return Ok(*found);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let words = crate::words::check_choice(&word, &names).err().unwrap_or_default();
    Err(Wrong::value(value, words))
}

/// Numbers along x, y and z, each of which may be left out.
pub(super) fn xyz(
    value: &Value<'_>,
    read: fn(&Value<'_>) -> Result<f64, Wrong>,
) -> Result<[Option<f64>; 3], Wrong> {
    const EXPECTED: &str = "write { x = 0.1, y = 0.1, z = 0.5 }";
    let DeValue::Table(table) = value.get_ref() else { return Err(Wrong::value(value, EXPECTED)) };
    let mut found = [None; 3];
    for (key, value) in in_order(table) {
        let axis = ["x", "y", "z"].iter().position(|name| *name == key.get_ref().as_ref());
        let Some(axis) = axis else {
            let words = format!("{} is none of x, y, z; {EXPECTED}", key.get_ref());
            return Err(Wrong { span: key.span(), is_shown: false, words });
        };
        found[axis] = Some(read(value)?);
    }
    if found == [None; 3] { Err(Wrong::value(value, EXPECTED)) } else { Ok(found) }
}
