//! Codecs between arrays and bytes, left to `zarrs`: it brings numbers into the byte order of the
//! machine and into the order of the axes.

use std::borrow::Cow;
use std::fmt::Display;
use std::num::NonZeroU64;

use serde_json::json;
use zarrs::array::{
    ArrayBytes, ArrayToBytesCodecTraits, BytesRepresentation, Codec, CodecChain, CodecOptions,
    DataType, FillValue,
};
use zarrs::metadata::v3::MetadataV3;

use super::decode::{Decode, Size, UNIT_LIMIT_BYTES};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::json::whole;
use crate::source::source_type::SourceType;

/// A codec as `zarrs` reads it.
#[derive(Debug)]
pub(super) struct ArrayCodec {
    pub(super) metadata: MetadataV3,
    /// Encoded axis `i` is decoded axis `order[i]`; `None` where only `zarrs` knows.
    pub(super) order: Option<Vec<usize>>,
}

/// The codec `bytes`. zarr-python takes one without an order for little-endian.
pub(super) fn bytes(codec: &NamedCodec, dimensions: usize) -> Result<ArrayCodec, Unsupported> {
    if codec.members.contains_key("endian") { other(codec, dimensions) } else { little_endian() }
}

/// Numbers to bytes in little-endian order.
pub(super) fn little_endian() -> Result<ArrayCodec, Unsupported> {
    let metadata = NamedCodec::new("bytes", json!({"endian": "little"})).metadata()?;
    Ok(ArrayCodec { metadata, order: None })
}

/// The codec `transpose`.
pub(super) fn transpose(codec: &NamedCodec, dimensions: usize) -> Result<ArrayCodec, Unsupported> {
    let order = transpose_order(codec, dimensions)?;
    let metadata = NamedCodec::new("transpose", json!({"order": order})).metadata()?;
    Ok(ArrayCodec { metadata, order: Some(order) })
}

/// Any other codec that `zarrs` may know.
pub(super) fn other(codec: &NamedCodec, _dimensions: usize) -> Result<ArrayCodec, Unsupported> {
    Ok(ArrayCodec { metadata: codec.metadata()?, order: None })
}

/// The `order` of a `transpose` codec: encoded axis `i` is decoded axis `order[i]`. Early writers spelt it
/// `"C"` or `"F"`.
pub(super) fn transpose_order(
    codec: &NamedCodec,
    dimensions: usize,
) -> Result<Vec<usize>, Unsupported> {
    let order: Vec<usize> = match codec.members.get("order") {
        Some(serde_json::Value::String(order)) if order == "C" => (0..dimensions).collect(),
        Some(serde_json::Value::String(order)) if order == "F" => (0..dimensions).rev().collect(),
        Some(serde_json::Value::Array(order)) => {
            order.iter().filter_map(whole).filter_map(|axis| usize::try_from(axis).ok()).collect()
        }
        _ => return Err(Unsupported::Member("order")),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..dimensions) {
        Ok(order)
    } else {
        Err(Unsupported::Member("order"))
    }
}

/// What a codec of `zarrs` encodes an array to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encodes {
    Array,
    Bytes,
}

impl ArrayCodec {
    /// What the codec encodes to; `None` if `zarrs` does not know it, or it encodes no arrays.
    pub(super) fn encodes_to(&self) -> Option<Encodes> {
        match Codec::from_metadata(&self.metadata).ok()? {
            Codec::ArrayToArray(_) => Some(Encodes::Array),
            Codec::ArrayToBytes(_) => Some(Encodes::Bytes),
            Codec::BytesToBytes(_) => None,
        }
    }
}

/// Decodes bytes to numbers in the byte order of the machine and the order of the axes.
#[derive(Debug)]
pub(super) struct ArrayDecoder {
    codecs: CodecChain,
    shape: Vec<NonZeroU64>,
    data_type: DataType,
    fill_value: FillValue,
    encoded_len: u64,
}

impl ArrayDecoder {
    /// Of codecs from an array of `shape` to bytes, in the order of encoding.
    ///
    /// # Errors
    /// [`Unsupported`] if `zarrs` refuses them, or the length of the bytes depends on the numbers.
    pub(super) fn new(
        codecs: &[MetadataV3],
        shape: &[NonZeroU64],
        kind: SourceType,
    ) -> Result<Self, Unsupported> {
        let refuse = |error: &dyn Display| Unsupported::Array(error.to_string());
        let codecs = CodecChain::from_metadata(codecs).map_err(|error| refuse(&error))?;
        let data_type = DataType::from_metadata(&MetadataV3::new(kind.name()))
            .map_err(|error| refuse(&error))?;
        let fill_value = FillValue::new(vec![0; kind.bytes()]);
        let encoded_len = match codecs.encoded_representation(shape, &data_type, &fill_value) {
            Ok(BytesRepresentation::FixedSize(len)) if len <= UNIT_LIMIT_BYTES * 2 => len,
            Ok(_) => {
                let reason = "array-to-bytes codec of variable length".to_owned();
                return Err(Unsupported::Array(reason));
            }
            Err(error) => return Err(refuse(&error)),
        };
        Ok(Self { codecs, shape: shape.to_vec(), data_type, fill_value, encoded_len })
    }
}

impl Decode for ArrayDecoder {
    fn encoded(&self, _decoded: Size) -> Option<Size> {
        Some(Size::Exactly(self.encoded_len))
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, _limit: u64) -> Result<Cow<'a, [u8]>, String> {
        // `zarrs` trusts the length here.
        if u64::try_from(encoded.len()) != Ok(self.encoded_len) {
            return Err(format!("{} bytes do not make a chunk", encoded.len()));
        }
        let options = CodecOptions::default().with_concurrent_target(1);
        self.codecs
            .decode(encoded, &self.shape, &self.data_type, &self.fill_value, &options)
            .and_then(|decoded: ArrayBytes<'_>| Ok(decoded.into_fixed()?))
            .map_err(|error| error.to_string())
    }
}
