//! One name as every client takes it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use icu_normalizer::ComposingNormalizerBorrowed;

use crate::source::store_name::{stem, suffix_of};

/// Longest name a Linux file system can show.
pub(super) const NAME_LIMIT_BYTES: usize = 255;

/// Names that stand for devices in every folder of Windows; `COM` and `LPT` with a digit do, too.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];

/// Puts name, number and ending together as Windows takes them, cutting the name where the whole would
/// be too long.
pub(super) fn shown(name: &OsStr, number: &str, ending: &str) -> OsString {
    let mut bytes = without_forbidden(name);
    let base = bytes.split(|byte| *byte == b'.').next().unwrap_or_default().trim_ascii_end();
    if is_device(base) {
        bytes.insert(base.len(), b'_');
    }
    cut(&mut bytes, NAME_LIMIT_BYTES - number.len() - ending.len());
    bytes.extend_from_slice(number.as_bytes());
    bytes.extend_from_slice(ending.as_bytes());
    for byte in bytes.iter_mut().rev().take_while(|byte| matches!(byte, b' ' | b'.')) {
        *byte = b'_';
    }
    OsString::from_vec(bytes)
}

/// A name as a client compares it that ignores case, and how accents are put together.
pub(super) fn folded(name: &OsStr) -> OsString {
    // Upper case first: some letters have two lower cases.
    map_text(name, |text| composed(&composed(text).to_uppercase().to_lowercase()))
}

/// What the names have in common that may fall together.
#[must_use]
pub fn key(name: &OsStr) -> String {
    let stem = stem(name);
    let stem = match suffix_of(stem, ".ims") {
        Some(length) => OsStr::from_bytes(&stem.as_bytes()[..stem.len() - length]),
        None => stem,
    };
    folded(&shown(stem, "", "")).to_string_lossy().into_owned()
}

/// Cuts a name, where it is text between two characters.
pub(super) fn cut(bytes: &mut Vec<u8>, room: usize) {
    if bytes.len() <= room {
        return;
    }
    let is_boundary = |at: &usize| bytes[*at] & 0xC0 != 0x80;
    // A character has at most four bytes.
    let end = (room.saturating_sub(3)..=room).rev().find(is_boundary).unwrap_or(room);
    bytes.truncate(end);
}

fn without_forbidden(name: &OsStr) -> Vec<u8> {
    let is_forbidden = |c: char| {
        c.is_control() || matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*')
    };
    // Composed first: `<` with a stroke is one character, and allowed.
    let name = map_text(name, |text| composed(text).replace(is_forbidden, "_"));
    name.into_vec()
}

/// In Unicode's composed form (UAX #15, NFC): a client of SMB on a Mac asks for no other, whatever it has
/// listed.
fn composed(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

/// Changes the parts of a name that are UTF-8.
fn map_text(name: &OsStr, map: impl Fn(&str) -> String) -> OsString {
    let mut bytes = Vec::with_capacity(name.len() + 8);
    for chunk in name.as_bytes().utf8_chunks() {
        bytes.extend_from_slice(map(chunk.valid()).as_bytes());
        bytes.extend_from_slice(chunk.invalid());
    }
    OsString::from_vec(bytes)
}

/// Whether Windows takes a name for a device, whatever extension follows.
fn is_device(base: &[u8]) -> bool {
    let Ok(base) = str::from_utf8(base) else { return false };
    let base = base.to_ascii_uppercase();
    let port = base.strip_prefix("COM").or_else(|| base.strip_prefix("LPT"));
    let is_digit = |port: &str| {
        let mut chars = port.chars();
        let is_digit = |c: char| matches!(c, '1'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}');
        chars.next().is_some_and(is_digit) && chars.next().is_none()
    };
    DEVICES.contains(&base.as_str()) || port.is_some_and(is_digit)
}
