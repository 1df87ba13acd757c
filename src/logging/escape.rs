//! What comes from names and metadata is written so that it can neither begin a line nor steer a terminal.

use std::fmt::{self, Display, Write};

/// Text with its control characters escaped as Rust escapes them, such as `\n` and `\u{1b}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_harmful(character) {
                write!(f, "{}", character.escape_debug())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// A line of JSON with the characters that JSON itself lets through escaped as JSON escapes them. They
/// can only stand in its strings.
pub(super) fn json(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for character in line.chars() {
        if is_harmful(character) {
            // None lies beyond the characters of 16 bits.
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// Control characters (Unicode category Cc), ends of lines, and those that change the direction of text
/// (Unicode Standard Annex 9, section 2), by which a name can show as another one.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_begins_a_line_or_steers_a_terminal() {
        let name = "a\nb\r\t\x1b[31m\u{9b}2J\u{7f}\u{202e}c\u{2028}ä 数";
        let text = Escaped(name).to_string();
        assert_eq!(text, "a\\nb\\r\\t\\u{1b}[31m\\u{9b}2J\\u{7f}\\u{202e}c\\u{2028}ä 数");
        let line = serde_json::json!({ "path": name }).to_string();
        let escaped = json(&line);
        assert!(escaped.is_char_boundary(0) && !escaped.chars().any(is_harmful), "{escaped}");
        let read: serde_json::Value = serde_json::from_str(&escaped).expect("JSON");
        assert_eq!(read["path"], name);
    }
}
