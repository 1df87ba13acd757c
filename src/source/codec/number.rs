//! Numbers as `NumPy` stores and converts them, for the filters of numcodecs.
//!
//! Source: `numpy.dtype` strings (array interface protocol, `typestr`), `ndarray.astype`.

use std::cmp::Ordering;

use half::f16;
use serde_json::Value as Json;

use crate::source::source_type::SourceType;

/// A `NumPy` data type with its byte order, such as `<u2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NumpyType {
    kind: SourceType,
    is_big_endian: bool,
}

/// Any number such a type holds, exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    Int(i128),
    Float(f64),
}

impl NumpyType {
    /// The type in the byte order of the machine.
    pub(crate) const fn native(kind: SourceType) -> Self {
        Self { kind, is_big_endian: false }
    }

    /// Reads `<u2`, `=i4`, `|u1`, `u2`, `H`, and names such as `uint16` and `np.uint16`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        use SourceType::{Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        let text = text.trim();
        let plain = text.trim_start_matches(['<', '>', '=', '|']);
        if text.len() > plain.len() + 1 {
            return None;
        }
        let is_of_numpy = |prefix: &&str| plain.starts_with(*prefix);
        let prefix = ["numpy.", "np."].into_iter().find(is_of_numpy).unwrap_or_default();
        let kind = match &plain[prefix.len()..] {
            "b1" | "?" => Bool,
            "i1" | "b" => I8,
            "i2" | "h" => I16,
            "i4" | "i" => I32,
            "i8" | "q" => I64,
            "u1" | "B" => U8,
            "u2" | "H" => U16,
            "u4" | "I" => U32,
            "u8" | "Q" => U64,
            "f2" | "e" => F16,
            "f4" | "f" => F32,
            "f8" | "d" => F64,
            name => SourceType::from_zarr_v3(&name.to_ascii_lowercase())?,
        };
        Some(Self { kind, is_big_endian: text.starts_with('>') && kind.bytes() > 1 })
    }

    pub(crate) fn kind(self) -> SourceType {
        self.kind
    }

    pub(crate) fn bytes(self) -> usize {
        self.kind.bytes()
    }

    pub(crate) fn is_big_endian(self) -> bool {
        self.is_big_endian
    }

    /// The string that Zarr v2 wants.
    pub(crate) fn zarr_v2(self) -> String {
        let bytes = self.bytes();
        let order = match (bytes, self.is_big_endian) {
            (1, _) => '|',
            (_, true) => '>',
            (_, false) => '<',
        };
        let kind = match self.kind {
            SourceType::Bool => 'b',
            SourceType::F16 | SourceType::F32 | SourceType::F64 => 'f',
            SourceType::I8 | SourceType::I16 | SourceType::I32 | SourceType::I64 => 'i',
            SourceType::U8 | SourceType::U16 | SourceType::U32 | SourceType::U64 => 'u',
        };
        format!("{order}{kind}{bytes}")
    }

    /// The number in `bytes`, which are as many as one takes.
    #[expect(clippy::cast_possible_truncation, reason = "the bits beyond are zero")]
    pub(super) fn load(self, bytes: &[u8]) -> Value {
        let mut raw = [0_u8; 8];
        let len = bytes.len().min(8);
        raw[..len].copy_from_slice(&bytes[..len]);
        if self.is_big_endian {
            raw[..len].reverse();
        }
        let bits = u64::from_le_bytes(raw);
        match self.kind {
            SourceType::Bool => Value::Int(i128::from(bits != 0)),
            SourceType::U8 | SourceType::U16 | SourceType::U32 | SourceType::U64 => {
                Value::Int(i128::from(bits))
            }
            SourceType::I8 => Value::Int(i128::from((bits as u8).cast_signed())),
            SourceType::I16 => Value::Int(i128::from((bits as u16).cast_signed())),
            SourceType::I32 => Value::Int(i128::from((bits as u32).cast_signed())),
            SourceType::I64 => Value::Int(i128::from(bits.cast_signed())),
            SourceType::F16 => Value::Float(f16::from_bits(bits as u16).to_f64()),
            SourceType::F32 => Value::Float(f64::from(f32::from_bits(bits as u32))),
            SourceType::F64 => Value::Float(f64::from_bits(bits)),
        }
    }

    /// Writes a number as `astype` converts it: integers wrap, fractions are cut off, floats are
    /// rounded.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "integers wrap")]
    pub(super) fn store(self, value: Value, out: &mut [u8]) {
        let bits = match self.kind {
            SourceType::Bool => match value {
                Value::Int(n) => u64::from(n != 0),
                Value::Float(n) => u64::from(n != 0.0),
            },
            SourceType::F16 => u64::from(f16_of(value).to_bits()),
            SourceType::F32 => u64::from(f32_of(value).to_bits()),
            SourceType::F64 => f64_of(value).to_bits(),
            _ => match value {
                Value::Int(n) => (n as i64).cast_unsigned(),
                // As x86-64 converts: what exceeds the type wraps. No writer means it.
                Value::Float(n) if n >= 9_223_372_036_854_775_808.0 => n as u64,
                Value::Float(n) => (n as i64).cast_unsigned(),
            },
        };
        let raw = bits.to_le_bytes();
        let len = out.len().min(8);
        out[..len].copy_from_slice(&raw[..len]);
        if self.is_big_endian {
            out[..len].reverse();
        }
    }

    /// A number as Zarr v3 writes fill values of this type; `None` where the type has no such number. Whole
    /// numbers may also be written `4.0`, and all of them as text.
    ///
    /// Source: Zarr v3 core specification, "Fill value list".
    pub(super) fn scalar(self, stated: &Json) -> Option<Value> {
        let text = stated.as_str().map(str::trim);
        let Some((least, most)) = self.limits() else {
            let bits = text.and_then(|text| text.strip_prefix("0x"));
            return match bits {
                Some(digits) if digits.len() == 2 * self.bytes() => {
                    let bits = u64::from_str_radix(digits, 16).ok()?;
                    Some(Self::native(self.kind).load(&bits.to_le_bytes()[..self.bytes()]))
                }
                Some(_) => None,
                None => {
                    let number = stated.as_f64().or_else(|| text?.parse().ok());
                    number.map(|n| self.rounded(n))
                }
            };
        };
        let whole = |n: f64| (n.fract() == 0.0 && n.abs() < f64::powi(2.0, 53)).then_some(n);
        #[expect(clippy::cast_possible_truncation, reason = "below 2^53")]
        let number = stated
            .as_u64()
            .map(i128::from)
            .or_else(|| stated.as_i64().map(i128::from))
            .or_else(|| stated.as_f64().and_then(whole).map(|n| n as i128))
            .or_else(|| text?.parse().ok());
        number.filter(|n| (least..=most).contains(n)).map(Value::Int)
    }

    /// The smallest and the largest number of an integer type.
    pub(super) fn limits(self) -> Option<(i128, i128)> {
        let bits = u32::try_from(self.bytes() * 8).unwrap_or(0);
        match self.kind {
            SourceType::F16 | SourceType::F32 | SourceType::F64 => None,
            SourceType::Bool => Some((0, 1)),
            SourceType::U8 | SourceType::U16 | SourceType::U32 | SourceType::U64 => {
                Some((0, (1 << bits) - 1))
            }
            SourceType::I8 | SourceType::I16 | SourceType::I32 | SourceType::I64 => {
                Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
            }
        }
    }

    /// The sum as this type holds it.
    pub(super) fn add(self, a: Value, b: Value) -> Value {
        match (a, b) {
            // 2^64 numbers of 64 bits do not overflow 128 bits; `store` wraps.
            (Value::Int(a), Value::Int(b)) => Value::Int(a.wrapping_add(b)),
            _ => self.rounded(f64_of(a) + f64_of(b)),
        }
    }

    /// A float as this type holds it. One operation on two numbers of a narrower type, rounded to
    /// f64 and then to that type, is rounded correctly: f64 has more than twice the digits.
    pub(super) fn rounded(self, n: f64) -> Value {
        Value::Float(match self.kind {
            SourceType::F16 => f16_of(Value::Float(n)).to_f64(),
            SourceType::F32 => f64::from(f32_of(Value::Float(n))),
            _ => n,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "rounds as NumPy does")]
pub(super) fn f64_of(value: Value) -> f64 {
    match value {
        Value::Int(n) => n as f64,
        Value::Float(n) => n,
    }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as NumPy does")]
fn f32_of(value: Value) -> f32 {
    match value {
        Value::Int(n) => n as f32,
        Value::Float(n) => n as f32,
    }
}

/// `NumPy` takes integers to float16 by way of float32, and float64 in one step.
fn f16_of(value: Value) -> f16 {
    let single = f32_of(value);
    match value {
        Value::Int(_) => f16::from_f32(single),
        Value::Float(n) => f16::from_f32(rounded_to_odd(n, single)),
    }
}

/// `nearest` or its neighbour with the last bit set, so that rounding it again gives what rounding
/// `n` once would (Boldo and Melquiond, "When double rounding is odd", 2005).
fn rounded_to_odd(n: f64, nearest: f32) -> f32 {
    let bits = nearest.to_bits();
    match f64::from(nearest).abs().partial_cmp(&n.abs()) {
        Some(Ordering::Greater) if nearest.is_finite() && bits & 1 == 0 => f32::from_bits(bits - 1),
        Some(Ordering::Less) if bits & 1 == 0 => f32::from_bits(bits + 1),
        _ => nearest,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cast(from: &str, to: &str, bytes: &[u8]) -> Vec<u8> {
        let (from, to) = (NumpyType::parse(from), NumpyType::parse(to));
        let (from, to) = (from.expect("a type"), to.expect("a type"));
        let mut out = vec![0; to.bytes()];
        to.store(from.load(bytes), &mut out);
        out
    }

    #[test]
    fn types_are_spelt_in_many_ways() {
        let wanted = [
            ("<u2", "<u2"),
            ("=u2", "<u2"),
            ("u2", "<u2"),
            ("|u2", "<u2"),
            (">u2", ">u2"),
            (">u1", "|u1"),
            ("uint16", "<u2"),
            (">uint16", ">u2"),
            ("Float32", "<f4"),
            ("|b1", "|b1"),
            ("bool", "|b1"),
            ("f2", "<f2"),
        ];
        for (given, wanted) in wanted {
            assert_eq!(NumpyType::parse(given).expect(given).zarr_v2(), wanted, "{given}");
        }
        for given in ["", "<", "<<u2", "<U2", "<c8", "O", "u3", "<M8[ns]", "datetime64"] {
            assert_eq!(NumpyType::parse(given), None, "{given}");
        }
    }

    #[test]
    fn scalars_are_spelt_as_fill_values() {
        let of = |kind: &str, stated: serde_json::Value| {
            NumpyType::parse(kind).expect("a type").scalar(&stated)
        };
        assert_eq!(of("u8", json!(u64::MAX)), Some(Value::Int(u64::MAX.into())));
        assert_eq!(of("i1", json!(-128)), Some(Value::Int(-128)));
        assert_eq!(of("u2", json!(4.0)), Some(Value::Int(4)));
        assert_eq!(of("u2", json!("4")), Some(Value::Int(4)));
        assert_eq!(of("f4", json!(0.1)), Some(Value::Float(f64::from(0.1_f32))));
        assert_eq!(of("f2", json!("0x7c00")), Some(Value::Float(f64::INFINITY)));
        assert_eq!(of("f8", json!("-Infinity")), Some(Value::Float(f64::NEG_INFINITY)));
        assert_eq!(of("f4", json!("+Infinity")), Some(Value::Float(f64::INFINITY)));
        assert!(matches!(of("f4", json!("NaN")), Some(Value::Float(n)) if n.is_nan()));
        for (kind, wrong) in [
            ("u1", json!(256)),
            ("u1", json!(-1)),
            ("u1", json!(0.5)),
            ("i1", json!(128)),
            ("i2", json!(true)),
            ("i2", json!("NaN")),
            ("f4", json!("0x7c00")),
            ("f4", json!("ten")),
            ("f8", json!(null)),
        ] {
            assert_eq!(of(kind, wrong.clone()), None, "{kind} {wrong}");
        }
    }

    #[test]
    fn numbers_are_converted_as_numpy_does() {
        assert_eq!(cast("<i4", "<u2", &(-2_i32).to_le_bytes()), [0xfe, 0xff]);
        assert_eq!(cast("<i4", ">u2", &0x1_1234_i32.to_le_bytes()), [0x12, 0x34]);
        assert_eq!(cast("<f4", "|u1", &300.9_f32.to_le_bytes()), [44]);
        assert_eq!(cast("<f8", "<i2", &(-3.9_f64).to_le_bytes()), (-3_i16).to_le_bytes());
        let large = 15_000_000_000_000_000_000_u64;
        assert_eq!(cast("<f8", "<u8", &1.5e19_f64.to_le_bytes()), large.to_le_bytes());
        assert_eq!(cast("<f4", "|b1", &0.1_f32.to_le_bytes()), [1]);
        assert_eq!(cast("|b1", ">f4", &[2]), 1_f32.to_be_bytes());
        assert_eq!(cast(">u8", "<f8", &u64::MAX.to_be_bytes()), 2_f64.powi(64).to_le_bytes());
        // Halfway between two float16 but for a bit that float32 does not have.
        let almost = 1.0 + f64::powi(2.0, -11) + f64::powi(2.0, -40);
        assert_eq!(cast("<f8", "<f2", &almost.to_le_bytes()), 0x3c01_u16.to_le_bytes());
        assert_eq!(cast("<f8", "<f2", &f64::INFINITY.to_le_bytes()), 0x7c00_u16.to_le_bytes());
    }
}
