//! JSON as Python writes it.
//!
//! `json.dumps` of Python writes bare `NaN`, `Infinity` and `-Infinity`, which are not JSON and which
//! `serde_json` refuses, and with them the whole file. They are turned into strings before parsing:
//! Zarr spells a non-finite fill value that way, and everywhere else a string where a number belongs
//! is "not usable", which is what they are. Depth is bounded by `serde_json` (128 levels).

use serde_json::Value;

/// Parses JSON that may hold bare `NaN`, `Infinity` and `-Infinity`.
///
/// # Errors
/// The parser's error, for the text after the repair.
pub(crate) fn parse_lenient(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(first) => {
            let repaired = quote_non_finite(bytes);
            if repaired == bytes { Err(first) } else { serde_json::from_slice(&repaired) }
        }
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
    fn broken_json_stays_broken() {
        assert!(parse_lenient(br#"{"a": Na"#).is_err());
        assert!(parse_lenient(b"").is_err());
        assert!(parse_lenient("[".repeat(200_000).as_bytes()).is_err());
    }
}
