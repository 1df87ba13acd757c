//! Filters of numcodecs: astype, delta, fixedscaleoffset, packbits, quantize.
//!
//! Source: the classes of these names in numcodecs 0.16. Each reads its input as an array of its
//! encoded type, whatever it was before, and gives an array of its decoded type.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::decode::{Decode, Size};
use super::named::NamedCodec;
use super::number::{NumpyType, Value, f64_of};
use crate::source::error::Unsupported;
use crate::source::json::finite;
use crate::source::source_type::SourceType;

/// How to undo a filter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Filter {
    encoded: NumpyType,
    decoded: NumpyType,
    operation: Operation,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    /// Only the type changes.
    Cast,
    /// Running sum.
    Sum,
    /// `x / scale + offset`
    Scale { scale: f64, offset: f64 },
    /// Eight to a byte, most significant bit first, after a byte with the number of bits to spare.
    Unpack,
}

// Each reads the configuration of one filter. `array` is the type of the array, for configurations
// that leave theirs out.

pub(super) fn astype(codec: &NamedCodec, array: Option<NumpyType>) -> Result<Filter, Unsupported> {
    let decoded = type_of(codec, "decode_dtype", array)?;
    let encoded = type_of(codec, "encode_dtype", None)?;
    Ok(Filter { encoded, decoded, operation: Operation::Cast })
}

pub(super) fn quantize(
    codec: &NamedCodec,
    array: Option<NumpyType>,
) -> Result<Filter, Unsupported> {
    Filter::with_dtype(codec, array, Operation::Cast)
}

pub(super) fn delta(codec: &NamedCodec, array: Option<NumpyType>) -> Result<Filter, Unsupported> {
    let filter = Filter::with_dtype(codec, array, Operation::Sum)?;
    if [filter.encoded, filter.decoded].iter().any(|found| found.kind() == SourceType::Bool) {
        return Err(Unsupported::DataType("bool with delta".to_owned()));
    }
    Ok(filter)
}

pub(super) fn fixed_scale_offset(
    codec: &NamedCodec,
    array: Option<NumpyType>,
) -> Result<Filter, Unsupported> {
    let number = |name| codec.members.get(name).and_then(finite).ok_or(Unsupported::Member(name));
    let (scale, offset) = (number("scale")?, number("offset")?);
    if scale == 0.0 {
        return Err(Unsupported::Member("scale"));
    }
    Filter::with_dtype(codec, array, Operation::Scale { scale, offset })
}

fn type_of(
    codec: &NamedCodec,
    member: &'static str,
    default: Option<NumpyType>,
) -> Result<NumpyType, Unsupported> {
    match codec.members.get(member) {
        None | Some(Json::Null) => default.ok_or(Unsupported::Member(member)),
        Some(stated) => {
            let found = stated.as_str().and_then(NumpyType::parse);
            found.ok_or_else(|| Unsupported::DataType(stated.to_string()))
        }
    }
}

impl Filter {
    /// The filter `packbits`.
    pub(super) const PACKBITS: Self = Self {
        encoded: NumpyType::native(SourceType::U8),
        decoded: NumpyType::native(SourceType::Bool),
        operation: Operation::Unpack,
    };

    /// A filter whose members `dtype` and `astype` are its decoded and its encoded type. Without
    /// `astype`, both are the same.
    fn with_dtype(
        codec: &NamedCodec,
        array: Option<NumpyType>,
        operation: Operation,
    ) -> Result<Self, Unsupported> {
        let decoded = type_of(codec, "dtype", array)?;
        let encoded = type_of(codec, "astype", Some(decoded))?;
        Ok(Self { encoded, decoded, operation })
    }

    /// The same for arrays whose numbers are in the byte order of the machine, as those of Zarr v3 are
    /// before the codec `bytes`. The order of the encoded type has no meaning there. `None` where the
    /// decoded type is of the other order: zarr-python itself does not get back what it wrote.
    pub(super) fn on_native_numbers(mut self) -> Option<Self> {
        self.encoded = NumpyType::native(self.encoded.kind());
        (!self.decoded.is_big_endian()).then_some(self)
    }

    /// Whether each number is encoded independently of the others.
    pub(super) fn is_by_number(&self) -> bool {
        !matches!(self.operation, Operation::Sum | Operation::Unpack)
    }

    pub(super) fn encoded_type(&self) -> SourceType {
        self.encoded.kind()
    }

    pub(super) fn decoded_type(&self) -> SourceType {
        self.decoded.kind()
    }

    /// Length of the encoded bytes; `None` where the decoded ones are no whole number of elements.
    fn encoded_len(&self, decoded_len: u64) -> Option<u64> {
        if self.operation == Operation::Unpack {
            return decoded_len.div_ceil(8).checked_add(1);
        }
        let elements = decoded_len / self.decoded.bytes() as u64;
        let is_whole = decoded_len.is_multiple_of(self.decoded.bytes() as u64);
        elements.checked_mul(self.encoded.bytes() as u64).filter(|_| is_whole)
    }

    fn decoded(&self, bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
        if self.operation == Operation::Unpack {
            return unpack(bytes);
        }
        if !bytes.len().is_multiple_of(self.encoded.bytes()) {
            return Err("not a whole number of elements");
        }
        if self.operation == Operation::Cast && self.encoded == self.decoded {
            return Ok(bytes.to_vec());
        }
        let elements = bytes.len() / self.encoded.bytes();
        let mut out = vec![0; elements * self.decoded.bytes()];
        let encoded = bytes.chunks_exact(self.encoded.bytes()).map(|one| self.encoded.load(one));
        let decoded = out.chunks_exact_mut(self.decoded.bytes());
        let mut sum = None;
        for (value, out) in encoded.zip(decoded) {
            let value = match self.operation {
                Operation::Cast | Operation::Unpack => value,
                Operation::Scale { scale, offset } => self.scaled(value, scale, offset),
                Operation::Sum => {
                    // Summed in the decoded type; that of float16 and float32 rounds at each step.
                    self.decoded.store(value, out);
                    let term = self.decoded.load(out);
                    let next = sum.map_or(term, |sum| self.decoded.add(sum, term));
                    sum = Some(next);
                    next
                }
            };
            self.decoded.store(value, out);
        }
        Ok(out)
    }

    /// Floats are computed in their own type, whole numbers in float64.
    fn scaled(&self, value: Value, scale: f64, offset: f64) -> Value {
        let round = |n: f64| f64_of(self.encoded.rounded(n));
        self.encoded.rounded(round(f64_of(value) / round(scale)) + round(offset))
    }
}

impl Decode for Filter {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        decoded.map(|len| self.encoded_len(len))
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, _limit: u64) -> Result<Cow<'a, [u8]>, String> {
        Ok(Cow::Owned(self.decoded(&encoded)?))
    }
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (&spare, packed) = bytes.split_first().ok_or("no bytes")?;
    let bits = (packed.len() * 8).checked_sub(usize::from(spare)).ok_or("more bits to spare")?;
    let mut out = Vec::with_capacity(packed.len() * 8);
    for byte in packed {
        out.extend((0..8).rev().map(|bit| byte >> bit & 1));
    }
    out.truncate(bits);
    Ok(out)
}
