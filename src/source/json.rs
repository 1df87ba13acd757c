//! JSON as Python writes it.
//!
//! `json.dumps` of Python writes bare `NaN`, `Infinity` and `-Infinity`, which are not JSON and which
//! `serde_json` refuses, and with them the whole file. They are turned into strings before parsing:
//! Zarr spells a non-finite fill value that way, and everywhere else a string where a number belongs
//! is "not usable", which is what they are. Depth is bounded by `serde_json` (128 levels), and so is the
//! memory that a document takes, which may be a hundred times its length.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Most memory of a parsed document. That of an image is a few kilobytes; descriptions of each plane of
/// a long recording may be some tens of megabytes.
const MEMORY_LIMIT_BYTES: usize = 96 << 20;

/// Memory of a value within a list or an object, and of an object beside its members.
const VALUE_BYTES: usize = 80;
const OBJECT_BYTES: usize = 256;

/// A member of a document that repeats those of everything below it, and is not needed.
const REPETITION: &str = "consolidated_metadata";

/// Parses JSON that may hold bare `NaN`, `Infinity` and `-Infinity`.
///
/// # Errors
/// The parser's error, for the text after the repair.
pub(crate) fn parse_lenient(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // A file that was made longer than its text ends in zeros.
    let text = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let bytes = &bytes[..text];
    match parse_bounded(bytes, MEMORY_LIMIT_BYTES) {
        Ok(value) => Ok(value),
        Err(first) => {
            let repaired = quote_non_finite(bytes);
            if repaired == bytes {
                Err(first)
            } else {
                parse_bounded(&repaired, MEMORY_LIMIT_BYTES)
            }
        }
    }
}

fn parse_bounded(bytes: &[u8], limit: usize) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(limit);
    let value = Bounded { left: &left, is_root: true }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Makes a value, for as long as the memory for it lasts.
#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<usize>,
    is_root: bool,
}

impl Bounded<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or_else(|| E::custom("more values than any real metadata has"))?);
        Ok(())
    }

    fn text<E: Error>(self, text: String) -> Result<Value, E> {
        self.take(text.len())?;
        Ok(Value::String(text))
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.take(VALUE_BYTES)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.text(value.to_owned())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.text(value)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Self { is_root: false, ..self })? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        self.take(OBJECT_BYTES)?;
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if self.is_root && name == REPETITION {
                object.next_value::<IgnoredAny>()?;
                continue;
            }
            self.take(name.len())?;
            let value = object.next_value_seed(Self { is_root: false, ..self })?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// Puts quotes around the bare words, outside strings only.
fn quote_non_finite(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut at = 0;
    let mut in_string = false;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if in_string {
            let taken = if rest[0] == b'\\' { rest.len().min(2) } else { 1 };
            in_string = rest[0] != b'"';
            out.extend_from_slice(&rest[..taken]);
            at += taken;
            continue;
        }
        let word = ["-Infinity", "Infinity", "NaN"].iter().find(|w| rest.starts_with(w.as_bytes()));
        if let Some(word) = word {
            out.push(b'"');
            out.extend_from_slice(word.as_bytes());
            out.push(b'"');
            at += word.len();
        } else {
            in_string = rest[0] == b'"';
            out.push(rest[0]);
            at += 1;
        }
    }
    out
}

/// A finite number, or `None` for anything else.
pub(crate) fn finite(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

/// A whole number, also where a writer wrote it as `4.0`, `"4"` or `"4.0"`.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    /// From here on, floats skip numbers.
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::String(text) => {
            let text = text.trim();
            let digits = text.split_once('.').map_or(text, |(digits, zeros)| {
                if zeros.bytes().all(|b| b == b'0') { digits } else { "" }
            });
            let is_plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| is_plain)
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        _ => value.as_u64().or_else(|| {
            let number = value.as_f64()?;
            (number.fract() == 0.0 && (0.0..LIMIT).contains(&number)).then_some(number as u64)
        }),
    }
}

/// A list of whole numbers.
pub(crate) fn whole_numbers(value: &Value) -> Option<Vec<u64>> {
    value.as_array()?.iter().map(whole).collect()
}

/// A finite number, also one that a writer put as text.
pub(crate) fn number(value: &Value) -> Option<f64> {
    let text = || value.as_str()?.trim().parse().ok();
    value.as_f64().or_else(text).filter(|number: &f64| number.is_finite())
}

/// A string, or a number spelt out (early writers put numbers where names belong).
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_become_strings_outside_strings_only() {
        let value = parse_lenient(br#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \" NaN"}"#);
        let expected = serde_json::json!(
            {"a": "NaN", "b": ["-Infinity", "Infinity"], "c": "NaN \" NaN"});
        assert_eq!(value.expect("repaired"), expected);
    }

    #[test]
    fn values_are_those_of_the_library_but_for_repetitions() {
        let text = br#" {"a": [1, -2, 2.5, 1e300, 18446744073709551615, true, null, "x\n"], "a": {"b": []},
            "consolidated_metadata": {"c": [[]]}, "d": {"consolidated_metadata": 3}} "#;
        let mut expected: Value = serde_json::from_slice(text).expect("JSON");
        expected.as_object_mut().expect("an object").remove(REPETITION);
        assert_eq!(parse_lenient(text).expect("JSON"), expected);
        assert!(parse_lenient(b"{} {}").is_err());
    }

    #[test]
    fn a_document_is_refused_before_it_takes_too_much_memory() {
        let many = |value: &str| format!("[{}0]", format!("{value},").repeat(10_000));
        for value in ["0", "{}", "[]", "\"\"", "{\"a\":{\"a\":0}}"] {
            assert!(parse_bounded(many(value).as_bytes(), 700_000).is_err(), "{value}");
            assert!(parse_bounded(many(value).as_bytes(), 8_000_000).is_ok(), "{value}");
        }
        let long = format!("\"{}\"", "x".repeat(10_000));
        assert!(parse_bounded(long.as_bytes(), 10_000).is_err());
        assert!(parse_bounded(long.as_bytes(), 10_100).is_ok());
        let skipped = format!("{{\"{REPETITION}\": {}}}", many("{}"));
        assert!(parse_bounded(skipped.as_bytes(), 1000).is_ok());
    }

    #[test]
    fn whole_numbers_are_spelt_in_many_ways() {
        let value = serde_json::json!([4, 4.0, "4", 0, u64::MAX, "4.0", " 4 "]);
        assert_eq!(whole_numbers(&value), Some(vec![4, 4, 4, 0, u64::MAX, 4, 4]));
        for other in
            [r#""""#, r#""+4""#, r#""4.5""#, r#"".0""#, "4.5", "-1", "1e300", "null", "true"]
        {
            let value = serde_json::from_str(other).expect("JSON");
            assert_eq!(whole(&value), None, "{other}");
        }
    }

    #[test]
    fn broken_json_stays_broken() {
        assert!(parse_lenient(br#"{"a": Na"#).is_err());
        assert!(parse_lenient(b"").is_err());
        assert!(parse_lenient("[".repeat(200_000).as_bytes()).is_err());
    }
}
