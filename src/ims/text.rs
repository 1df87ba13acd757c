//! How numbers and names become the text of an Imaris file.

/// Longest text [`decimals_3`] gives: a sign, the 39 digits of the largest binary32, a point and
/// three decimals.
pub(super) const LONGEST_DECIMALS_3: usize = 44;

/// A number with three decimals, as histogram and colour ranges are written (`ImarisWriter`
/// `bpWriterHDF5.cxx`). Values outside binary32, of which every voxel type is a subset, are
/// clamped to it; what is not a number becomes zero. So the text has a longest length.
pub(super) fn decimals_3(value: f64) -> String {
    let limit = f64::from(f32::MAX);
    let value = if value.is_nan() { 0.0 } else { value.clamp(-limit, limit) };
    let text = format!("{value:.3}");
    if text == "-0.000" { "0.000".to_owned() } else { text }
}

/// A number with nine decimals, as image extents are written (`ImarisWriter` `bpWriterHDF5.cxx`).
pub(super) fn decimals_9(value: f64) -> String {
    format!("{value:.9}")
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
pub(super) fn without_nul(text: &str) -> Vec<u8> {
    text.bytes().filter(|&byte| byte != 0).collect()
}

/// The bytes of an attribute value. A dataspace of no elements cannot hold a text, so an empty
/// one is stored as a single zero byte (`ImarisWriter` `bpWriterHDF5.cxx`, `WriteAttributeT`).
pub(super) fn value_bytes(text: &str) -> Vec<u8> {
    let bytes = without_nul(text);
    if bytes.is_empty() { vec![0] } else { bytes }
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
    fn extents_have_nine_decimals() {
        assert_eq!(decimals_9(117.5), "117.500000000");
        assert_eq!(decimals_9(-0.325), "-0.325000000");
    }

    #[test]
    fn an_empty_value_is_one_zero_byte() {
        assert_eq!(value_bytes(""), [0]);
        assert_eq!(value_bytes("\0"), [0]);
        assert_eq!(value_bytes("a\0b"), b"ab");
    }
}
