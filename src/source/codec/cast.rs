//! Codecs of Zarr v3 from numbers to numbers: `cast_value` and `scale_offset`.
//!
//! Source: the specifications of these names in `zarr-developers/zarr-extensions`, state of 2026-08, and where
//! they leave something open, zarr-python 3.4.2 with cast-value-rs 0.5.1. A number that the specification
//! calls an error damages its chunk.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value as Json;

use super::decode::{Decode, Decoder, Size};
use super::named::NamedCodec;
use super::number::{NumpyType, Value, f64_of};
use crate::source::error::Unsupported;
use crate::source::source_type::SourceType;

/// A codec from numbers to numbers of another type, one by one.
pub(super) struct Recoded {
    /// Type of the encoded numbers, which are in the byte order of the machine.
    pub(super) encoded: SourceType,
    pub(super) decoder: Decoder,
}

/// Decodes one number; else says what is wrong with it.
trait DecodeNumber: std::fmt::Debug + Send + Sync {
    fn number(&self, encoded: Value) -> Result<Value, &'static str>;
}

/// Number by number, both in the byte order of the machine.
#[derive(Debug)]
struct Numbers<D> {
    encoded: NumpyType,
    decoded: NumpyType,
    each: D,
}

impl<D: DecodeNumber> Decode for Numbers<D> {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        let [encoded, decoded_bytes] = [self.encoded, self.decoded].map(|of| of.bytes() as u64);
        decoded.map(|len| {
            let is_whole = len.is_multiple_of(decoded_bytes);
            (len / decoded_bytes).checked_mul(encoded).filter(|_| is_whole)
        })
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, _limit: u64) -> Result<Cow<'a, [u8]>, String> {
        let numbers = encoded.chunks_exact(self.encoded.bytes());
        if !numbers.remainder().is_empty() {
            return Err("not a whole number of elements".to_owned());
        }
        let mut out = vec![0; numbers.len() * self.decoded.bytes()];
        for (number, out) in numbers.zip(out.chunks_exact_mut(self.decoded.bytes())) {
            self.decoded.store(self.each.number(self.encoded.load(number))?, out);
        }
        Ok(Cow::Owned(out))
    }
}

/// Decoding casts from `data_type` of the configuration to the type of the array.
#[derive(Debug)]
struct Cast {
    to: NumpyType,
    rounding: Rounding,
    out_of_range: OutOfRange,
    /// By [`key`] of the encoded number.
    map: HashMap<u64, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rounding {
    NearestEven,
    NearestAway,
    TowardsZero,
    TowardsPositive,
    TowardsNegative,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum OutOfRange {
    Error,
    Clamp,
    Wrap,
}

pub(super) fn cast_value(codec: &NamedCodec, array: SourceType) -> Result<Recoded, Unsupported> {
    codec.has_only(&["data_type", "rounding", "out_of_range", "scalar_map"])?;
    let stated = codec.members.get("data_type").ok_or(Unsupported::Member("data_type"))?;
    let name = stated.get("name").unwrap_or(stated).as_str();
    let known = name.and_then(SourceType::from_zarr_v3).filter(|&kind| kind != SourceType::Bool);
    let encoded = known.ok_or_else(|| Unsupported::DataType(stated.to_string()))?;
    let rounding = match codec.words("rounding")? {
        None | Some("nearest-even") => Rounding::NearestEven,
        Some("nearest-away") => Rounding::NearestAway,
        Some("towards-zero") => Rounding::TowardsZero,
        Some("towards-positive") => Rounding::TowardsPositive,
        Some("towards-negative") => Rounding::TowardsNegative,
        Some(_) => return Err(Unsupported::Member("rounding")),
    };
    let out_of_range = match codec.words("out_of_range")? {
        None => OutOfRange::Error,
        Some("clamp") => OutOfRange::Clamp,
        Some("wrap") if encoded.is_integer() => OutOfRange::Wrap,
        Some(_) => return Err(Unsupported::Member("out_of_range")),
    };
    let (from, to) = (NumpyType::native(encoded), NumpyType::native(real(array)?));
    let map = scalar_map(codec, from, to).ok_or(Unsupported::Member("scalar_map"))?;
    let each = Cast { to, rounding, out_of_range, map };
    Ok(Recoded { encoded, decoder: Box::new(Numbers { encoded: from, decoded: to, each }) })
}

/// A type of real numbers.
fn real(array: SourceType) -> Result<SourceType, Unsupported> {
    match array {
        SourceType::Bool => Err(Unsupported::DataType(array.name().to_owned())),
        real => Ok(real),
    }
}

/// The part of `scalar_map` for decoding. The first of several entries of a number counts.
fn scalar_map(codec: &NamedCodec, from: NumpyType, to: NumpyType) -> Option<HashMap<u64, Value>> {
    let stated = match codec.members.get("scalar_map") {
        None | Some(Json::Null) => return Some(HashMap::new()),
        Some(stated) => stated.as_object()?.get("decode"),
    };
    let mut map = HashMap::new();
    let Some(stated) = stated else { return Some(map) };
    for entry in stated.as_array()? {
        let [encoded, decoded] = entry.as_array()?.as_slice() else { return None };
        map.entry(key(from.scalar(encoded)?)).or_insert(to.scalar(decoded)?);
    }
    Some(map)
}

/// The same for equal numbers of one type; all NaN are one number here.
fn key(number: Value) -> u64 {
    match number {
        #[expect(clippy::cast_possible_truncation, reason = "64 bits tell all numbers of a type")]
        Value::Int(n) => (n as i64).cast_unsigned(),
        Value::Float(n) if n.is_nan() => f64::NAN.to_bits(),
        // Makes -0 to 0.
        Value::Float(n) => (n + 0.0).to_bits(),
    }
}

impl DecodeNumber for Cast {
    fn number(&self, encoded: Value) -> Result<Value, &'static str> {
        if !self.map.is_empty()
            && let Some(mapped) = self.map.get(&key(encoded))
        {
            return Ok(*mapped);
        }
        match encoded {
            Value::Float(n) if !n.is_finite() => match self.to.limits() {
                None => Ok(encoded),
                Some(_) => Err("NaN or an infinity among whole numbers"),
            },
            number => match self.to.limits() {
                None => self.to_float(number),
                Some((least, most)) => self.to_integer(number, least, most),
            },
        }
    }
}

impl Cast {
    fn to_integer(&self, number: Value, least: i128, most: i128) -> Result<Value, &'static str> {
        #[expect(clippy::cast_possible_truncation, reason = "wraps to 0 below")]
        let whole = match number {
            Value::Int(n) => n,
            Value::Float(n) => match self.rounding.to_whole(n) {
                n if n.abs() < f64::powi(2.0, 126) => n as i128,
                // Far out of range, and a multiple of 2^64.
                n if n > 0.0 => 1 << 126,
                _ => -(1 << 126),
            },
        };
        match self.out_of_range {
            _ if (least..=most).contains(&whole) => Ok(Value::Int(whole)),
            OutOfRange::Error => Err(BEYOND),
            OutOfRange::Clamp => Ok(Value::Int(whole.clamp(least, most))),
            // Storing it wraps.
            OutOfRange::Wrap => Ok(Value::Int(whole)),
        }
    }

    fn to_float(&self, number: Value) -> Result<Value, &'static str> {
        // Digits, exponent of the smallest normal number, the largest number.
        let (digits, least_exponent, most) = match self.to.kind() {
            SourceType::F16 => (11, -14, 65_504.0),
            SourceType::F32 => (24, -126, f64::from(f32::MAX)),
            _ => match number {
                Value::Float(_) => return Ok(number),
                Value::Int(_) => (53, -1022, f64::MAX),
            },
        };
        let rounded = self.rounding.to_digits(number, digits, least_exponent - digits + 1);
        match self.out_of_range {
            _ if rounded.abs() <= most => Ok(Value::Float(rounded)),
            OutOfRange::Clamp => Ok(Value::Float(f64::INFINITY.copysign(rounded))),
            OutOfRange::Error | OutOfRange::Wrap => Err(BEYOND),
        }
    }
}

const BEYOND: &str = "a number beyond those of the type";

impl Rounding {
    fn to_whole(self, n: f64) -> f64 {
        match self {
            Self::NearestEven => n.round_ties_even(),
            Self::NearestAway => n.round(),
            Self::TowardsZero => n.trunc(),
            Self::TowardsPositive => n.ceil(),
            Self::TowardsNegative => n.floor(),
        }
    }

    /// A finite number, rounded to so many binary digits, the last one not below 2^`least`. The exponent
    /// may be larger than the type has.
    #[expect(clippy::cast_possible_wrap, reason = "numbers of bits")]
    #[expect(clippy::cast_precision_loss, reason = "at most 53 digits are left")]
    fn to_digits(self, number: Value, digits: i32, least: i32) -> f64 {
        let (is_negative, magnitude, exponent) = parts(number);
        let bits = (u128::BITS - magnitude.leading_zeros()) as i32;
        let last = (bits + exponent - digits).max(least);
        let (kept, last) = match u32::try_from(last - exponent) {
            Err(_) | Ok(0) => (magnitude, exponent),
            Ok(dropped) => (self.without(is_negative, magnitude, dropped), last),
        };
        let rounded = kept as f64 * f64::powi(2.0, last);
        if is_negative { -rounded } else { rounded }
    }

    /// The magnitude without its last bits, of which there is at least one.
    fn without(self, is_negative: bool, magnitude: u128, bits: u32) -> u128 {
        // Of real magnitudes, 64 bits, nothing is left long before.
        let bits = bits.min(120);
        let kept = magnitude >> bits;
        let (rest, half) = (magnitude - (kept << bits), 1 << (bits - 1));
        let is_up = match self {
            Self::NearestEven => rest > half || rest == half && kept % 2 == 1,
            Self::NearestAway => rest >= half,
            Self::TowardsZero => false,
            Self::TowardsPositive => rest > 0 && !is_negative,
            Self::TowardsNegative => rest > 0 && is_negative,
        };
        kept + u128::from(is_up)
    }
}

/// Whether the sign of a finite number is negative, and its magnitude as a whole number times a power of 2
/// (IEEE 754, binary64).
fn parts(number: Value) -> (bool, u128, i32) {
    let n = match number {
        Value::Int(n) => return (n < 0, n.unsigned_abs(), 0),
        Value::Float(n) => n,
    };
    let fraction = n.to_bits() & ((1 << 52) - 1);
    let exponent = i32::try_from(n.to_bits() >> 52 & 0x7ff).unwrap_or(0);
    let magnitude = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    (n.is_sign_negative(), u128::from(magnitude), exponent.max(1) - 1075)
}

/// Decoding divides by the scale and adds the offset, in the type of the array.
#[derive(Debug)]
struct ScaleOffset {
    kind: NumpyType,
    scale: Value,
    offset: Value,
}

pub(super) fn scale_offset(codec: &NamedCodec, array: SourceType) -> Result<Recoded, Unsupported> {
    codec.has_only(&["scale", "offset"])?;
    let kind = NumpyType::native(real(array)?);
    let scalar = |name, default: i128| match codec.members.get(name) {
        None | Some(Json::Null) => kind.scalar(&Json::from(i64::try_from(default).ok())),
        Some(stated) => kind.scalar(stated),
    };
    let scale = scalar("scale", 1).filter(|&scale| f64_of(scale) != 0.0);
    let scale = scale.ok_or(Unsupported::Member("scale"))?;
    let offset = scalar("offset", 0).ok_or(Unsupported::Member("offset"))?;
    let each = ScaleOffset { kind, scale, offset };
    Ok(Recoded {
        encoded: array,
        decoder: Box::new(Numbers { encoded: kind, decoded: kind, each }),
    })
}

impl DecodeNumber for ScaleOffset {
    fn number(&self, encoded: Value) -> Result<Value, &'static str> {
        let (Value::Int(n), Value::Int(scale), Value::Int(offset)) =
            (encoded, self.scale, self.offset)
        else {
            let quotient = self.kind.rounded(f64_of(encoded) / f64_of(self.scale));
            return Ok(self.kind.rounded(f64_of(quotient) + f64_of(self.offset)));
        };
        if n % scale != 0 {
            return Err("a number that the scale does not divide");
        }
        let (least, most) = self.kind.limits().unwrap_or((0, 0));
        let in_range = |n: &i128| (least..=most).contains(n);
        let quotient = Some(n / scale).filter(in_range);
        quotient.map(|n| n + offset).filter(in_range).map(Value::Int).ok_or(BEYOND)
    }
}
