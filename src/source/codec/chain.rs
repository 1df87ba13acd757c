//! A codec chain without sharding, with the size the data can have between any two codecs.

use std::borrow::Cow;
use std::num::NonZeroU64;

use serde_json::Value;
use zarrs::metadata::v3::MetadataV3;

use super::array::{self, ArrayCodec, ArrayDecoder, Encodes};
use super::blob::Blob;
use super::decode::{Decoder, Size, UNIT_LIMIT_BYTES};
use super::filter::Filter;
use super::named::NamedCodec;
use super::number::NumpyType;
use super::registry::{self, Reader};
use crate::resources::buffer::with_buffer;
use crate::resources::headroom;
use crate::resources::shares::KEPT_BUFFER_BYTES;
use crate::source::decode_error::DecodeError;
use crate::source::error::Unsupported;
use crate::source::source_type::SourceType;

/// Decodes one chunk.
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

impl BoundedChain {
    /// Turns a list of codecs into steps.
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
        let mut builder = Builder::new(shape, kind, decoded_len);
        for codec in codecs {
            builder.add(codec)?;
        }
        if !matches!(builder.stage, Stage::Bytes) {
            return Err(Unsupported::Codec("none from array to bytes".to_owned()));
        }
        let (steps, encoded) = (builder.steps, builder.size);
        Ok(Self { steps, encoded, shape: shape.to_vec(), decoded_len })
    }

    /// Codecs that encode an array number by number, for a part of that array.
    ///
    /// # Errors
    /// [`Unsupported`] for codecs that do not, and for parts over the limit.
    pub(super) fn of_numbers(
        codecs: &[NamedCodec],
        shape: &[NonZeroU64],
        kind: SourceType,
    ) -> Result<Self, Unsupported> {
        let bytes = NamedCodec::new("bytes", Value::Null);
        Self::new(&[codecs, &[bytes]].concat(), shape, kind)
    }

    /// Decodes bytes that are there already.
    pub(super) fn decode_bytes(&self, bytes: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
        let _claim = headroom::claim(self.peak_bytes(bytes.len() as u64))?;
        self.decode(Cow::Owned(bytes))
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
        if self.steps.len() == 1 || len > KEPT_BUFFER_BYTES {
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

/// A list of codecs, of which the first ones have become steps.
struct Builder {
    steps: Vec<Step>,
    size: Size,
    stage: Stage,
    /// Type of the numbers that are, or became, bytes.
    kind: SourceType,
}

/// What the next codec encodes.
enum Stage {
    Array(Numbers),
    Bytes,
}

/// Numbers, and the codecs that `zarrs` will apply to them.
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

/// The type that codecs, all of which encode number by number, leave.
///
/// # Errors
/// [`Unsupported`] where one does not.
pub(super) fn encoded_kind(
    codecs: &[NamedCodec],
    kind: SourceType,
) -> Result<SourceType, Unsupported> {
    let mut builder = Builder::new(&[NonZeroU64::MIN], kind, kind.bytes() as u64);
    for codec in codecs {
        let is_by_number = match registry::reader(codec) {
            Some(Reader::Recode(_) | Reader::Nothing) => true,
            Some(Reader::Filter(read)) => {
                read(codec, Some(NumpyType::native(builder.kind)))?.is_by_number()
            }
            _ => false,
        };
        if !is_by_number {
            return Err(Unsupported::Codec(format!("{} before sharding_indexed", codec.name)));
        }
        builder.add(codec)?;
    }
    Ok(builder.kind)
}

impl Builder {
    fn new(shape: &[NonZeroU64], kind: SourceType, decoded_len: u64) -> Self {
        Self {
            steps: Vec::new(),
            size: Size::Exactly(decoded_len),
            stage: Stage::Array(Numbers::new(shape.to_vec(), kind)),
            kind,
        }
    }

    fn add(&mut self, codec: &NamedCodec) -> Result<(), Unsupported> {
        let reader = registry::reader(codec);
        if matches!(reader, Some(Reader::Nothing)) {
            return Ok(());
        }
        match (std::mem::replace(&mut self.stage, Stage::Bytes), reader) {
            (Stage::Array(numbers), Some(Reader::Filter(read))) => {
                let filter = read(codec, Some(NumpyType::native(numbers.kind)))?;
                self.add_array_filter(codec, filter, numbers)
            }
            (Stage::Array(numbers), Some(Reader::Recode(read))) => {
                let recoded = read(codec, numbers.kind)?;
                self.add_numbers(codec, recoded.decoder, recoded.encoded, numbers)
            }
            (Stage::Array(mut numbers), Some(Reader::Pack(read))) => {
                self.finish_array(&mut numbers)?;
                self.push(codec, read(codec, Some(numbers.kind))?)
            }
            (Stage::Array(numbers), reader) => {
                let read = if let Some(Reader::Array(read)) = reader { read } else { array::other };
                let zarrs = read(codec, numbers.shape.len())?;
                self.add_array_codec(codec, zarrs, numbers)
            }
            (Stage::Bytes, Some(Reader::Filter(read))) => {
                self.push(codec, Box::new(read(codec, None)?))
            }
            (Stage::Bytes, Some(Reader::Bytes(read))) => self.push(codec, read(codec, self.kind)?),
            (Stage::Bytes, Some(Reader::Plain(decoder))) => self.push(codec, decoder()),
            (Stage::Bytes, Some(Reader::Pack(read))) => self.push(codec, read(codec, None)?),
            (Stage::Bytes, Some(Reader::Array(_) | Reader::Recode(_) | Reader::Nothing) | None) => {
                Err(codec.refused())
            }
        }
    }

    fn push(&mut self, codec: &NamedCodec, decoder: Decoder) -> Result<(), Unsupported> {
        let encoded = decoder
            .encoded(self.size)
            .filter(|size| size.limit() <= UNIT_LIMIT_BYTES * 8)
            .ok_or_else(|| Unsupported::Codec(format!("{} of another data type", codec.name)))?;
        let decoded = std::mem::replace(&mut self.size, encoded);
        self.steps.push(Step { name: codec.name.clone(), decoder, decoded });
        Ok(())
    }

    fn push_array(&mut self, numbers: &Numbers) -> Result<(), Unsupported> {
        let decoder = ArrayDecoder::new(&numbers.codecs, &numbers.shape, numbers.kind)?;
        self.push(&NamedCodec::new("chunk", Value::Null), Box::new(decoder))
    }

    /// Lets `zarrs` apply the codecs so far, to numbers in the byte order of the machine.
    fn finish_array(&mut self, numbers: &mut Numbers) -> Result<(), Unsupported> {
        if numbers.codecs.is_empty() {
            return Ok(());
        }
        numbers.codecs.push(array::little_endian()?.metadata);
        self.push_array(numbers)
    }

    /// A filter of numcodecs within Zarr v3, which encodes numbers to numbers.
    fn add_array_filter(
        &mut self,
        codec: &NamedCodec,
        filter: Filter,
        numbers: Numbers,
    ) -> Result<(), Unsupported> {
        let filter = filter
            .on_native_numbers()
            .filter(|filter| filter.decoded_type().bytes() == numbers.kind.bytes())
            .ok_or_else(|| Unsupported::Codec(format!("{} of another data type", codec.name)))?;
        self.add_numbers(codec, Box::new(filter), filter.encoded_type(), numbers)
    }

    /// A codec from numbers to numbers of the type `encoded`.
    fn add_numbers(
        &mut self,
        codec: &NamedCodec,
        decoder: Decoder,
        encoded: SourceType,
        mut numbers: Numbers,
    ) -> Result<(), Unsupported> {
        let shape = numbers.encoded_shape.take().ok_or_else(|| codec.refused())?;
        self.finish_array(&mut numbers)?;
        let elements = self.size.limit() / numbers.kind.bytes() as u64;
        self.push(codec, decoder)?;
        let encoded_elements = self.size.limit() / encoded.bytes() as u64;
        // Packed bits are a list.
        let is_list = encoded_elements != elements;
        let list = || NonZeroU64::new(encoded_elements).into_iter().collect();
        let shape = if is_list { list() } else { shape };
        self.kind = encoded;
        self.stage = Stage::Array(Numbers::new(shape, encoded));
        Ok(())
    }

    fn add_array_codec(
        &mut self,
        codec: &NamedCodec,
        zarrs: ArrayCodec,
        mut numbers: Numbers,
    ) -> Result<(), Unsupported> {
        let encodes_to = zarrs.encodes_to().ok_or_else(|| codec.refused())?;
        numbers.codecs.push(zarrs.metadata);
        match encodes_to {
            Encodes::Bytes => self.push_array(&numbers),
            Encodes::Array => {
                let before = numbers.encoded_shape.zip(zarrs.order);
                numbers.encoded_shape =
                    before.map(|(shape, order)| order.iter().map(|&axis| shape[axis]).collect());
                self.stage = Stage::Array(numbers);
                Ok(())
            }
        }
    }
}
