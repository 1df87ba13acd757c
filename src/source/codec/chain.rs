//! A codec chain without sharding, with the size the data can have between any two codecs.

use std::borrow::Cow;
use std::num::NonZeroU64;

use serde_json::json;
use zarrs::array::{
    ArrayBytes, ArrayToBytesCodecTraits, BytesRepresentation, Codec, CodecChain, CodecOptions,
    DataType, FillValue,
};
use zarrs::metadata::v3::MetadataV3;

use super::checksum::Checksum;
use super::compressor::Compressor;
use super::filter::Filter;
use super::named::NamedCodec;
use super::number::NumpyType;
use super::{Blob, DecodeError, UNIT_LIMIT_BYTES};
use crate::buffer::{KEPT_BYTES, with_buffer};
use crate::headroom;
use crate::source::Unsupported;
use crate::source::source_type::SourceType;

/// What one chunk is decoded by.
#[derive(Debug)]
pub(crate) struct BoundedChain {
    /// In the order of encoding.
    steps: Vec<Step>,
    /// Size of the file.
    encoded: Size,
    shape: Vec<NonZeroU64>,
    decoded_len: u64,
}

/// A codec, and the size of what it decodes to.
#[derive(Debug)]
struct Step {
    name: String,
    decoder: Decoder,
    decoded: Size,
}

#[derive(Debug)]
enum Decoder {
    /// From bytes to numbers in the byte order of the machine and the order of the axes, by `zarrs`.
    Array(Box<ArrayDecoder>),
    Filter(Filter),
    Compressor(Compressor),
    /// Bytes of one significance side by side, for elements of so many bytes.
    Shuffle(usize),
    Checksum(Checksum),
}

#[derive(Debug)]
struct ArrayDecoder {
    codecs: CodecChain,
    shape: Vec<NonZeroU64>,
    data_type: DataType,
    fill_value: FillValue,
}

/// A size in bytes.
#[derive(Debug, Clone, Copy)]
enum Size {
    Exactly(u64),
    AtMost(u64),
}

impl Size {
    fn limit(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::AtMost(bytes) => bytes,
        }
    }

    fn map(self, change: impl Fn(u64) -> Option<u64>) -> Option<Self> {
        match self {
            Self::Exactly(bytes) => change(bytes).map(Self::Exactly),
            Self::AtMost(bytes) => change(bytes).map(Self::AtMost),
        }
    }

    /// What a compressor makes of it at the worst, with room to spare.
    fn compressed(self) -> Self {
        Self::AtMost((self.limit().saturating_mul(2) + (1 << 20)).min(UNIT_LIMIT_BYTES * 4))
    }
}

impl BoundedChain {
    /// Takes a list of codecs apart.
    ///
    /// # Errors
    /// [`Unsupported`] for codecs that are not decoded here and for chunks over the limit.
    pub(crate) fn new(
        codecs: &[NamedCodec],
        shape: &[NonZeroU64],
        kind: SourceType,
    ) -> Result<Self, Unsupported> {
        let decoded_len = shape
            .iter()
            .try_fold(kind.bytes() as u64, |product, n| product.checked_mul(n.get()))
            .unwrap_or(u64::MAX);
        if decoded_len > UNIT_LIMIT_BYTES {
            return Err(Unsupported::ChunkTooLarge { bytes: decoded_len, limit: UNIT_LIMIT_BYTES });
        }
        let mut builder = Builder {
            steps: Vec::new(),
            size: Size::Exactly(decoded_len),
            stage: Stage::Array(Numbers::new(shape.to_vec(), kind)),
        };
        for codec in codecs {
            builder.add(codec, kind)?;
        }
        if !matches!(builder.stage, Stage::Bytes) {
            return Err(Unsupported::Codec("none from array to bytes".to_owned()));
        }
        let (steps, encoded) = (builder.steps, builder.size);
        Ok(Self { steps, encoded, shape: shape.to_vec(), decoded_len })
    }

    /// Shape of the chunk.
    pub(super) fn shape(&self) -> impl Iterator<Item = u64> + '_ {
        self.shape.iter().map(|n| n.get())
    }

    /// Length of the encoded bytes where it does not depend on the data.
    pub(super) fn encoded_len(&self) -> Option<u64> {
        match self.encoded {
            Size::Exactly(len) => Some(len),
            Size::AtMost(_) => None,
        }
    }

    pub(super) fn decode_blob(&self, blob: &dyn Blob) -> Result<Vec<u8>, DecodeError> {
        let len = blob.len();
        if let Some(expected) = self.encoded_len()
            && len != expected
        {
            return Err(DecodeError::Length { codec: "file".to_owned(), got: len, expected });
        }
        if len > self.encoded.limit() {
            return Err(DecodeError::Oversized(len));
        }
        let _claim = headroom::claim(self.peak_bytes(len))?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if self.steps.len() == 1 || len > KEPT_BYTES {
            // What is read is, for many, what it decodes to; of large ones, each form goes as soon as
            // the next one is there.
            let mut bytes = vec![0; len];
            blob.read_exact_at(&mut bytes, 0)?;
            return self.decode(Cow::Owned(bytes));
        }
        with_buffer(len, |bytes| {
            blob.read_exact_at(bytes, 0)?;
            self.decode(Cow::Borrowed(bytes))
        })
    }

    /// Most bytes of two successive forms of the chunk, from a file of `len` bytes to the numbers.
    fn peak_bytes(&self, len: u64) -> u64 {
        let (mut peak, mut encoded) = (len, len);
        for step in self.steps.iter().rev() {
            let decoded = step.decoded.limit();
            peak = peak.max(encoded.saturating_add(decoded));
            encoded = decoded;
        }
        peak
    }

    fn decode(&self, mut bytes: Cow<'_, [u8]>) -> Result<Vec<u8>, DecodeError> {
        for step in self.steps.iter().rev() {
            let failed = |reason| DecodeError::Codec { codec: step.name.clone(), reason };
            let _claim = headroom::claim(step.decoder.working_bytes(&bytes))?;
            bytes = step.decoder.decode(bytes, step.decoded.limit()).map_err(failed)?;
            let got = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let expected = step.decoded.limit();
            if got > expected || (matches!(step.decoded, Size::Exactly(_)) && got != expected) {
                return Err(DecodeError::Length { codec: step.name.clone(), got, expected });
            }
        }
        let got = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if got != self.decoded_len {
            let expected = self.decoded_len;
            return Err(DecodeError::Length { codec: "array".to_owned(), got, expected });
        }
        Ok(bytes.into_owned())
    }
}

impl Decoder {
    /// Bytes that are needed besides what goes in and comes out.
    fn working_bytes(&self, bytes: &[u8]) -> u64 {
        match self {
            Self::Compressor(compressor) => compressor.working_bytes(bytes),
            _ => 0,
        }
    }

    fn decode<'a>(&self, bytes: Cow<'a, [u8]>, limit: u64) -> Result<Cow<'a, [u8]>, String> {
        match self {
            Self::Array(array) => array.decode(bytes),
            Self::Filter(filter) => Ok(Cow::Owned(filter.decode(&bytes)?)),
            Self::Compressor(compressor) => compressor.decode(&bytes, limit).map(Cow::Owned),
            Self::Shuffle(element) => Ok(Cow::Owned(unshuffle(&bytes, *element)?)),
            Self::Checksum(checksum) => match bytes {
                Cow::Borrowed(bytes) => Ok(Cow::Borrowed(checksum.verified(bytes)?)),
                Cow::Owned(bytes) => Ok(Cow::Owned(checksum.verified(&bytes)?.to_vec())),
            },
        }
    }
}

impl ArrayDecoder {
    fn new(
        codecs: &[MetadataV3],
        shape: &[NonZeroU64],
        kind: SourceType,
    ) -> Result<Self, Unsupported> {
        let refuse = |error: &dyn std::fmt::Display| Unsupported::Array(error.to_string());
        let codecs = CodecChain::from_metadata(codecs).map_err(|error| refuse(&error))?;
        let data_type = DataType::from_metadata(&MetadataV3::new(kind.name()))
            .map_err(|error| refuse(&error))?;
        let fill_value = FillValue::new(vec![0; kind.bytes()]);
        Ok(Self { codecs, shape: shape.to_vec(), data_type, fill_value })
    }

    fn encoded_len(&self) -> Result<u64, Unsupported> {
        let size =
            self.codecs.encoded_representation(&self.shape, &self.data_type, &self.fill_value);
        match size {
            Ok(BytesRepresentation::FixedSize(len)) if len <= UNIT_LIMIT_BYTES * 2 => Ok(len),
            Ok(_) => Err(Unsupported::Array("array-to-bytes codec of variable length".to_owned())),
            Err(error) => Err(Unsupported::Array(error.to_string())),
        }
    }

    fn decode<'a>(&self, bytes: Cow<'a, [u8]>) -> Result<Cow<'a, [u8]>, String> {
        // `zarrs` trusts the length here.
        if self.encoded_len().ok() != u64::try_from(bytes.len()).ok() {
            return Err(format!("{} bytes do not make a chunk", bytes.len()));
        }
        let options = CodecOptions::default().with_concurrent_target(1);
        self.codecs
            .decode(bytes, &self.shape, &self.data_type, &self.fill_value, &options)
            .and_then(|decoded: ArrayBytes<'_>| Ok(decoded.into_fixed()?))
            .map_err(|error| error.to_string())
    }
}

/// How far a list of codecs has been taken apart.
struct Builder {
    steps: Vec<Step>,
    size: Size,
    stage: Stage,
}

/// What the next codec encodes.
enum Stage {
    Array(Numbers),
    Bytes,
}

/// Numbers, and what is left to `zarrs` to make of them.
struct Numbers {
    shape: Vec<NonZeroU64>,
    kind: SourceType,
    codecs: Vec<MetadataV3>,
    /// Shape after the codecs, of the same kind; `None` where that is not known here.
    encoded_shape: Option<Vec<NonZeroU64>>,
}

impl Numbers {
    fn new(shape: Vec<NonZeroU64>, kind: SourceType) -> Self {
        Self { encoded_shape: Some(shape.clone()), shape, kind, codecs: Vec::new() }
    }
}

impl Builder {
    fn add(&mut self, codec: &NamedCodec, kind: SourceType) -> Result<(), Unsupported> {
        let name = codec.plain_name();
        if name == "bitround" {
            return Ok(());
        }
        match std::mem::replace(&mut self.stage, Stage::Bytes) {
            Stage::Array(numbers) => {
                // Zarr v3 has a codec `packbits` of its own.
                let filter = match name {
                    "packbits" if !codec.is_of_numcodecs() => None,
                    _ => Filter::new(name, &codec.members, Some(NumpyType::native(numbers.kind)))?,
                };
                match filter {
                    Some(filter) => self.add_array_filter(codec, filter, numbers),
                    None => self.add_array_codec(codec, numbers),
                }
            }
            Stage::Bytes => self.add_bytes_codec(codec, kind),
        }
    }

    fn push(&mut self, name: &str, decoder: Decoder, encoded: Size) {
        let decoded = std::mem::replace(&mut self.size, encoded);
        self.steps.push(Step { name: name.to_owned(), decoder, decoded });
    }

    fn push_array(&mut self, numbers: &Numbers) -> Result<(), Unsupported> {
        let decoder = ArrayDecoder::new(&numbers.codecs, &numbers.shape, numbers.kind)?;
        let encoded = Size::Exactly(decoder.encoded_len()?);
        self.push("chunk", Decoder::Array(Box::new(decoder)), encoded);
        Ok(())
    }

    /// A filter of numcodecs within Zarr v3, which encodes numbers to numbers.
    fn add_array_filter(
        &mut self,
        codec: &NamedCodec,
        filter: Filter,
        mut numbers: Numbers,
    ) -> Result<(), Unsupported> {
        let filter = filter
            .on_native_numbers()
            .filter(|filter| filter.decoded_type().bytes() == numbers.kind.bytes())
            .ok_or_else(|| Unsupported::Codec(format!("{} of another data type", codec.name)))?;
        let shape = numbers.encoded_shape.take().ok_or_else(|| codec.refused())?;
        if !numbers.codecs.is_empty() {
            numbers.codecs.push(little_endian()?);
            self.push_array(&numbers)?;
        }
        let elements = self.size.limit() / numbers.kind.bytes() as u64;
        self.push_filter(codec, filter)?;
        let encoded = self.size.limit() / filter.encoded_type().bytes() as u64;
        // Packed bits are a list.
        let is_list = encoded != elements;
        let shape = if is_list { NonZeroU64::new(encoded).into_iter().collect() } else { shape };
        self.stage = Stage::Array(Numbers::new(shape, filter.encoded_type()));
        Ok(())
    }

    fn add_array_codec(
        &mut self,
        codec: &NamedCodec,
        mut numbers: Numbers,
    ) -> Result<(), Unsupported> {
        let mut order = None;
        let metadata = match codec.name.as_str() {
            "transpose" => {
                let order = order.insert(transpose_order(codec, numbers.shape.len())?);
                NamedCodec::new("transpose", json!({"order": order})).metadata()?
            }
            // zarr-python takes bytes without an order for little-endian.
            "bytes" if !codec.members.contains_key("endian") => little_endian()?,
            _ => codec.metadata()?,
        };
        numbers.codecs.push(metadata);
        match Codec::from_metadata(&numbers.codecs[numbers.codecs.len() - 1]) {
            Ok(Codec::ArrayToArray(_)) => {
                let before = numbers.encoded_shape.zip(order);
                numbers.encoded_shape =
                    before.map(|(shape, order)| order.iter().map(|&axis| shape[axis]).collect());
                self.stage = Stage::Array(numbers);
                Ok(())
            }
            Ok(Codec::ArrayToBytes(_)) => self.push_array(&numbers),
            Ok(Codec::BytesToBytes(_)) | Err(_) => Err(codec.refused()),
        }
    }

    fn add_bytes_codec(&mut self, codec: &NamedCodec, kind: SourceType) -> Result<(), Unsupported> {
        let name = codec.plain_name();
        if let Some(compressor) = Compressor::named(name) {
            self.push(&codec.name, Decoder::Compressor(compressor), self.size.compressed());
        } else if let Some(checksum) = Checksum::new(name, &codec.members)? {
            let encoded = self.size.map(|len| len.checked_add(Checksum::BYTES));
            let encoded = encoded.ok_or_else(|| codec.refused())?;
            self.push(&codec.name, Decoder::Checksum(checksum), encoded);
        } else if name == "shuffle" {
            let element = shuffled_element(codec, kind)?;
            self.push(&codec.name, Decoder::Shuffle(element), self.size);
        } else if let Some(filter) = Filter::new(name, &codec.members, None)? {
            self.push_filter(codec, filter)?;
        } else {
            return Err(codec.refused());
        }
        Ok(())
    }

    fn push_filter(&mut self, codec: &NamedCodec, filter: Filter) -> Result<(), Unsupported> {
        let encoded = self.size.map(|len| filter.encoded_len(len));
        let encoded = encoded
            .filter(|size| size.limit() <= UNIT_LIMIT_BYTES * 8)
            .ok_or_else(|| Unsupported::Codec(format!("{} of another data type", codec.name)))?;
        self.push(&codec.name, Decoder::Filter(filter), encoded);
        Ok(())
    }
}

/// Size of the elements; numcodecs takes 4 where none is stated, and zarr-python that of the
/// array's type in Zarr v3.
fn shuffled_element(codec: &NamedCodec, kind: SourceType) -> Result<usize, Unsupported> {
    match codec.members.get("elementsize") {
        None | Some(serde_json::Value::Null) if codec.is_of_numcodecs() => Ok(kind.bytes()),
        None => Ok(4),
        Some(stated) => stated
            .as_u64()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| (0..=256).contains(bytes))
            .ok_or(Unsupported::Member("elementsize")),
    }
}

/// Undoes a shuffle of whole elements.
fn unshuffle(bytes: &[u8], element: usize) -> Result<Vec<u8>, String> {
    if element <= 1 {
        return Ok(bytes.to_vec());
    }
    if !bytes.len().is_multiple_of(element) {
        return Err("not a whole number of elements".to_owned());
    }
    let mut out = vec![0; bytes.len()];
    let elements = bytes.len() / element;
    if elements > 0 {
        for (at, plane) in bytes.chunks_exact(elements).enumerate() {
            for (out, &byte) in out[at..].iter_mut().step_by(element).zip(plane) {
                *out = byte;
            }
        }
    }
    Ok(out)
}

fn little_endian() -> Result<MetadataV3, Unsupported> {
    NamedCodec::new("bytes", json!({"endian": "little"})).metadata()
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
        Some(serde_json::Value::Array(order)) => order
            .iter()
            .filter_map(crate::source::json::whole)
            .filter_map(|axis| usize::try_from(axis).ok())
            .collect(),
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
