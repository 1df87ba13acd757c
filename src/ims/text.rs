//! How numbers and names become the text of an Imaris file.

use std::borrow::Cow;

/// Longest text [`decimals_3`] and [`range`] give: a sign, the 39 digits of the largest binary32, a
/// point and three decimals.
pub(super) const LONGEST_DECIMALS_3: usize = 44;

/// Most decimals of any number.
const MOST_DECIMALS: usize = 18;

/// A number with three decimals, as histogram and colour ranges are written (`ImarisWriter`
/// `bpWriterHDF5.cxx`). Values outside binary32, of which every voxel type is a subset, are
/// clamped to it; what is not a number becomes zero. So the text has a longest length.
pub(super) fn decimals_3(value: f64) -> String {
    let limit = f64::from(f32::MAX);
    let value = if value.is_nan() { 0.0 } else { value.clamp(-limit, limit) };
    let text = format!("{value:.3}");
    if text == "-0.000" { "0.000".to_owned() } else { text }
}

/// The bounds of a range. `ImarisWriter` writes three decimals; where the range is so small that it would
/// vanish in them, as of floats between 0 and 0.001, there are as many as three digits of it take.
pub(super) fn range(min: f64, max: f64) -> [String; 2] {
    let width = (max - min).abs();
    let small = width > 0.0 && width < 1.0 && min.abs() < 1e15 && max.abs() < 1e15;
    if !small {
        return [decimals_3(min), decimals_3(max)];
    }
    let decimals = (3 + leading_zeros(width)).min(MOST_DECIMALS);
    [min, max].map(|value| format!("{:.decimals$}", value + 0.0))
}

/// The bounds of an axis of the image. `ImarisWriter` writes nine decimals (`ImarisWriter`
/// `bpWriterHDF5.cxx`); a very short axis gets more, for nine digits of its length.
pub(super) fn extent(min: f64, max: f64) -> [String; 2] {
    let length = (max - min).abs();
    let zeros = if length > 0.0 && length < 1.0 { leading_zeros(length) } else { 0 };
    let decimals = (9 + zeros).min(MOST_DECIMALS);
    [min, max].map(|value| format!("{value:.decimals$}"))
}

/// Zeros behind the point before the first digit of a number below 1.
fn leading_zeros(value: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a binary64 has at most 324"
    )]
    let zeros = (-value.log10()).floor().max(0.0) as usize;
    zeros
}

/// The name of a group or dataset that carries a free name: `%` becomes `%p`, then `/`, which
/// would separate path components, becomes `%s`. NUL bytes, which would end the name, are dropped.
///
/// Source: `ImarisWriter` `bpWriterHDF5.cxx`, `EncodeName`.
pub(super) fn encode_name(name: &str) -> String {
    name.replace('\0', "").replace('%', "%p").replace('/', "%s")
}

/// The bytes of a text as stored: NUL bytes would end it early in many readers, so they are
/// dropped.
pub(super) fn without_nul(text: Cow<str>) -> Cow<[u8]> {
    match text {
        text if text.contains('\0') => text.bytes().filter(|&byte| byte != 0).collect(),
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The bytes of an attribute value. A dataspace of no elements cannot hold a text, so an empty
/// one is stored as a single zero byte (`ImarisWriter` `bpWriterHDF5.cxx`, `WriteAttributeT`).
pub(super) fn value_bytes(text: Cow<str>) -> Cow<[u8]> {
    let bytes = without_nul(text);
    if bytes.is_empty() { Cow::Borrowed(&[0]) } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_the_maker_does() {
        assert_eq!(encode_name("Custom/Section 100%"), "Custom%sSection 100%p");
        assert_eq!(encode_name("a\0%s"), "a%ps");
    }

    #[test]
    fn ranges_have_three_decimals_and_a_longest_length() {
        assert_eq!(decimals_3(539.4729), "539.473");
        assert_eq!(decimals_3(65535.0), "65535.000");
        assert_eq!(decimals_3(-0.0001), "0.000");
        assert_eq!(decimals_3(f64::NAN), "0.000");
        for value in [f64::MIN, f64::NEG_INFINITY, f64::from(f32::MIN)] {
            assert_eq!(decimals_3(value).len(), LONGEST_DECIMALS_3);
        }
    }

    #[test]
    fn extents_have_nine_decimals_and_nine_digits() {
        assert_eq!(extent(0.0, 117.5), ["0.000000000", "117.500000000"]);
        assert_eq!(extent(-0.325, 1.0), ["-0.325000000", "1.000000000"]);
        assert_eq!(extent(0.0, 3.214_321_432_1e-6)[1], "0.00000321432143");
        assert_eq!(extent(-1e300, 1e300)[1].len(), 301 + 10);
    }

    #[test]
    fn small_ranges_keep_three_digits() {
        assert_eq!(range(0.0, 4095.0), ["0.000", "4095.000"]);
        assert_eq!(range(0.0, 0.25), ["0.000", "0.250"]);
        assert_eq!(range(0.0, 0.000_123), ["0.000000", "0.000123"]);
        assert_eq!(range(-0.0, 0.012), ["0.0000", "0.0120"]);
        for width in [1e-300, 1e-9, 0.5, 0.999] {
            for low in [0.0, -9.9e14, 9.9e14, f64::MIN] {
                assert!(range(low, low + width).iter().all(|t| t.len() <= LONGEST_DECIMALS_3));
            }
        }
    }

    #[test]
    fn an_empty_value_is_one_zero_byte() {
        for (text, bytes) in [("", &[0][..]), ("\0", &[0]), ("a\0b", b"ab"), ("ab", b"ab")] {
            assert_eq!(*value_bytes(text.into()), *bytes);
            assert_eq!(*value_bytes(text.to_owned().into()), *bytes);
        }
    }
}
