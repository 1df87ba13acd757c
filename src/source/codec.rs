//! Decoding one read unit of a Zarr array: a whole chunk, or a whole inner chunk of a shard.
//!
//! `zarrs` does the decoding of each codec; this module decides what may be decoded. It walks the
//! codec chain itself so that
//!
//! * every step is bounded by the size the chunk can have at that step, so a small file cannot
//!   inflate into gigabytes;
//! * every decoded length is compared with the declared one, every checksum is verified;
//! * an index of a shard is checked against the file before a byte of a chunk is read.
//!
//! Partial decoders of `zarrs` are never used: they skip checksums and lengths.
//!
//! Codec semantics: Zarr v3 core specification, "Codecs", and the registered codec specifications.

use std::borrow::Cow;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::sync::Arc;

use ndarray::{ArrayViewD, IxDyn};
use thiserror::Error;
use zarrs::array::{
    ArrayBytes, ArrayToBytesCodecTraits, BytesRepresentation, BytesToBytesCodecTraits, CodecChain,
    CodecOptions, DataType, FillValue,
};
use zarrs::metadata::v3::MetadataV3;
use zarrs::plugin::ExtensionName;

use super::Unsupported;
use crate::buffer::with_buffer;

/// Largest decoded size of one read unit. Real ones are 32 KiB to 64 MiB.
pub(crate) const UNIT_LIMIT_BYTES: u64 = 1 << 30;

/// Nesting of `sharding_indexed` within itself; the specification sets no limit, writers use one.
const SHARD_DEPTH_LIMIT: usize = 4;

/// An entry of a shard index without a chunk: offset and length are both 2^64 - 1.
const ABSENT: u64 = u64::MAX;

/// Why the bytes of a chunk are not what the metadata says.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The file could not be read, or is shorter than it was.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A decompressor or checksum refused the bytes.
    #[error("{codec}: {reason}")]
    Codec {
        /// Name of the codec.
        codec: String,
        /// Its own words.
        reason: String,
    },
    /// The bytes decode to more or fewer than declared.
    #[error("{codec} gives {got} bytes, {expected} expected")]
    Length {
        /// Name of the codec, or "file" for stored bytes.
        codec: String,
        /// Decoded length, or a lower bound of it.
        got: u64,
        /// Declared length.
        expected: u64,
    },
    /// The encoded chunk is larger than any encoding of it can be.
    #[error("file of {0} bytes is larger than any encoding of the chunk")]
    Oversized(u64),
    /// A shard is shorter than its own index.
    #[error("shard of {len} bytes is shorter than its index of {index}")]
    ShardTooShort {
        /// Length of the shard.
        len: u64,
        /// Length of the encoded index.
        index: u64,
    },
    /// An index entry points outside the shard.
    #[error("shard index points to {offset}+{length} in a shard of {len} bytes")]
    ShardRange {
        /// Offset in the entry.
        offset: u64,
        /// Length in the entry.
        length: u64,
        /// Length of the shard.
        len: u64,
    },
}

/// Bytes that can be read by position: a chunk file, or a range of it.
pub(crate) trait Blob {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Fills `out` from `offset`; the caller has checked the range against [`Blob::len`].
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A part of a [`Blob`].
struct SubBlob<'a> {
    outer: &'a dyn Blob,
    offset: u64,
    len: u64,
}

impl Blob for SubBlob<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.outer.read_exact_at(out, self.offset + offset)
    }
}

/// Keeps decoded shard indices between reads.
pub(crate) trait IndexCache {
    /// The index of the shard at `(offset, length)` of the chunk file, decoded by `decode` when it
    /// is not kept. Nested shards are told apart by their length where the offset is the same.
    fn index(
        &self,
        shard: (u64, u64),
        decode: &mut dyn FnMut() -> Result<Vec<u64>, DecodeError>,
    ) -> Result<Arc<Vec<u64>>, DecodeError>;
}

/// How to get a read unit out of a chunk file.
#[derive(Debug)]
pub(crate) enum UnitCodec {
    /// The chunk itself is the unit.
    Whole(BoundedChain),
    /// The chunk is a shard; the unit is inside.
    Sharded(Box<Sharding>),
}

impl UnitCodec {
    /// Reads a chain from v3 codec metadata.
    ///
    /// # Errors
    /// [`Unsupported`] when a codec is unknown or the shapes do not fit together.
    pub(crate) fn from_v3(
        codecs: &[MetadataV3],
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
    ) -> Result<Self, Unsupported> {
        Self::nested(codecs, shape, data_type, fill_value, 0)
    }

    fn nested(
        codecs: &[MetadataV3],
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
        depth: usize,
    ) -> Result<Self, Unsupported> {
        let Some(at) = codecs.iter().position(|codec| codec.name() == "sharding_indexed") else {
            let chain = CodecChain::from_metadata(codecs)
                .map_err(|error| Unsupported::Codec(error.to_string()))?;
            return BoundedChain::new(&chain, shape, data_type, fill_value).map(Self::Whole);
        };
        if depth >= SHARD_DEPTH_LIMIT {
            return Err(Unsupported::TooDeep(SHARD_DEPTH_LIMIT));
        }
        if let Some(after) = codecs.get(at + 1) {
            return Err(Unsupported::Codec(format!("{} after sharding_indexed", after.name())));
        }
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        for codec in &codecs[..at] {
            let order = transpose_order(codec, shape.len())?;
            axes = order.iter().map(|&axis| axes[axis]).collect();
        }
        let shard_shape: Vec<NonZeroU64> = axes.iter().map(|&axis| shape[axis]).collect();
        Sharding::new(&codecs[at], axes, &shard_shape, data_type, fill_value, depth)
            .map(|sharding| Self::Sharded(Box::new(sharding)))
    }

    /// Shape of the read unit, in the axis order of the chunk given to [`UnitCodec::from_v3`].
    pub(crate) fn unit_shape(&self) -> Vec<u64> {
        match self {
            Self::Whole(chain) => chain.shape.iter().map(|n| n.get()).collect(),
            Self::Sharded(sharding) => {
                let inner = sharding.inner.unit_shape();
                let mut shape = vec![0; inner.len()];
                for (encoded, &axis) in sharding.axes.iter().enumerate() {
                    shape[axis] = inner[encoded];
                }
                shape
            }
        }
    }

    /// Decodes the unit at `position` (in units, within the chunk, chunk axis order) to C-order
    /// bytes in native byte order; `None` where the shard has no such chunk.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not what the metadata says.
    pub(crate) fn read_unit(
        &self,
        blob: &dyn Blob,
        shard_offset: u64,
        position: &[u64],
        indices: &dyn IndexCache,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        match self {
            Self::Whole(chain) => chain.decode_blob(blob).map(Some),
            Self::Sharded(sharding) => sharding.read_unit(blob, shard_offset, position, indices),
        }
    }
}

/// The `order` of a `transpose` codec: encoded axis `i` is decoded axis `order[i]`.
fn transpose_order(codec: &MetadataV3, dimensions: usize) -> Result<Vec<usize>, Unsupported> {
    let refuse = || Unsupported::Codec(format!("{} before sharding_indexed", codec.name()));
    if codec.name() != "transpose" {
        return Err(refuse());
    }
    let order = codec.configuration().and_then(|members| members.get("order"));
    let order: Vec<usize> = order
        .and_then(serde_json::Value::as_array)
        .ok_or_else(refuse)?
        .iter()
        .filter_map(|axis| axis.as_u64().and_then(|axis| usize::try_from(axis).ok()))
        .collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..dimensions) { Ok(order) } else { Err(refuse()) }
}

/// A shard: where its index is, how it is decoded, and what the chunks inside are made of.
#[derive(Debug)]
pub(crate) struct Sharding {
    /// Encoded axis `i` is axis `axes[i]` of the chunk.
    axes: Vec<usize>,
    /// Inner chunks per shard, encoded axis order.
    grid: Vec<u64>,
    index: BoundedChain,
    index_len: u64,
    index_at_start: bool,
    inner: UnitCodec,
    /// Units of `inner` per inner chunk, encoded axis order; all 1 unless shards are nested.
    units_per_chunk: Vec<u64>,
    voxel_bytes: usize,
}

impl Sharding {
    fn new(
        codec: &MetadataV3,
        axes: Vec<usize>,
        shard_shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
        depth: usize,
    ) -> Result<Self, Unsupported> {
        let member = |name: &'static str| {
            codec
                .configuration()
                .and_then(|members| members.get(name))
                .cloned()
                .ok_or(Unsupported::Member(name))
        };
        let parse_codecs = |name: &'static str| -> Result<Vec<MetadataV3>, Unsupported> {
            serde_json::from_value(member(name)?).map_err(|_| Unsupported::Member(name))
        };
        let chunk_shape: Vec<NonZeroU64> = serde_json::from_value(member("chunk_shape")?)
            .map_err(|_| Unsupported::Member("chunk_shape"))?;
        let fits = chunk_shape.len() == shard_shape.len()
            && std::iter::zip(shard_shape, &chunk_shape).all(|(s, c)| s.get() % c.get() == 0);
        if !fits {
            return Err(Unsupported::ChunkShape(chunk_shape.iter().map(|n| n.get()).collect()));
        }
        let grid: Vec<u64> =
            std::iter::zip(shard_shape, &chunk_shape).map(|(s, c)| s.get() / c.get()).collect();
        let index_at_start = match member("index_location") {
            Ok(location) => match location.as_str() {
                Some("start") => true,
                Some("end") => false,
                _ => return Err(Unsupported::Member("index_location")),
            },
            Err(_) => false,
        };

        let mut index_shape: Vec<NonZeroU64> =
            grid.iter().filter_map(|&n| NonZeroU64::new(n)).collect();
        index_shape.extend(NonZeroU64::new(2));
        let index_chain = CodecChain::from_metadata(&parse_codecs("index_codecs")?)
            .map_err(|error| Unsupported::Codec(error.to_string()))?;
        let index = BoundedChain::new(
            &index_chain,
            &index_shape,
            &zarrs::array::data_type::uint64(),
            &FillValue::from(ABSENT),
        )?;
        let index_len = index
            .encoded_len()
            .ok_or_else(|| Unsupported::Codec("index codec of variable length".to_owned()))?;

        let inner = UnitCodec::nested(
            &parse_codecs("codecs")?,
            &chunk_shape,
            data_type,
            fill_value,
            depth + 1,
        )?;
        let units_per_chunk = std::iter::zip(&chunk_shape, inner.unit_shape())
            .map(|(chunk, unit)| chunk.get() / unit)
            .collect();
        let voxel_bytes = data_type
            .fixed_size()
            .ok_or_else(|| Unsupported::DataType("of variable size".to_owned()))?;
        Ok(Self {
            axes,
            grid,
            index,
            index_len,
            index_at_start,
            inner,
            units_per_chunk,
            voxel_bytes,
        })
    }

    fn read_unit(
        &self,
        shard: &dyn Blob,
        shard_offset: u64,
        position: &[u64],
        indices: &dyn IndexCache,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        let index = indices.index((shard_offset, shard.len()), &mut || self.read_index(shard))?;
        let encoded: Vec<u64> = self.axes.iter().map(|&axis| position[axis]).collect();
        let mut entry = 0;
        let mut within = Vec::with_capacity(encoded.len());
        for ((&at, &units), &chunks) in encoded.iter().zip(&self.units_per_chunk).zip(&self.grid) {
            entry = entry * chunks + at / units;
            within.push(at % units);
        }
        let entry = usize::try_from(entry).unwrap_or(usize::MAX).saturating_mul(2);
        let (Some(&offset), Some(&length)) = (index.get(entry), index.get(entry.saturating_add(1)))
        else {
            return Err(DecodeError::ShardTooShort { len: shard.len(), index: self.index_len });
        };
        if offset == ABSENT && length == ABSENT {
            return Ok(None);
        }
        if offset.checked_add(length).is_none_or(|end| end > shard.len()) {
            return Err(DecodeError::ShardRange { offset, length, len: shard.len() });
        }
        let chunk = SubBlob { outer: shard, offset, len: length };
        let bytes = self.inner.read_unit(&chunk, shard_offset + offset, &within, indices)?;
        Ok(bytes.map(|bytes| self.to_chunk_axes(bytes)))
    }

    fn read_index(&self, shard: &dyn Blob) -> Result<Vec<u64>, DecodeError> {
        let Some(last) = shard.len().checked_sub(self.index_len) else {
            return Err(DecodeError::ShardTooShort { len: shard.len(), index: self.index_len });
        };
        let offset = if self.index_at_start { 0 } else { last };
        let bytes =
            self.index.decode_blob(&SubBlob { outer: shard, offset, len: self.index_len })?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|entry| native_u64(*entry)).collect())
    }

    /// Undoes the transposes in front of the shard for the one unit.
    fn to_chunk_axes(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.axes.is_sorted() {
            return bytes;
        }
        let mut shape: Vec<usize> = self
            .inner
            .unit_shape()
            .iter()
            .map(|&n| usize::try_from(n).unwrap_or(usize::MAX))
            .collect();
        shape.push(self.voxel_bytes);
        let mut order: Vec<usize> = vec![0; self.axes.len()];
        for (encoded, &axis) in self.axes.iter().enumerate() {
            order[axis] = encoded;
        }
        order.push(self.axes.len());
        match ArrayViewD::from_shape(IxDyn(&shape), &bytes) {
            Ok(view) => view.permuted_axes(IxDyn(&order)).iter().copied().collect(),
            // The chain has compared the length with the shape already.
            Err(_) => bytes,
        }
    }
}

/// `zarrs` decodes to the byte order of the machine.
fn native_u64(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

#[cfg(target_endian = "big")]
compile_error!("zarrims is written for little-endian machines, as Imaris files are little-endian");

/// A codec chain without sharding, with the size the data can have between any two codecs.
#[derive(Debug)]
pub(crate) struct BoundedChain {
    /// Array-to-array codecs and the one array-to-bytes codec.
    array: CodecChain,
    /// Bytes-to-bytes codecs, in encoding order, with the representation each decodes to.
    bytes: Vec<(String, Arc<dyn BytesToBytesCodecTraits>, BytesRepresentation)>,
    /// What the file holds.
    encoded: BytesRepresentation,
    shape: Vec<NonZeroU64>,
    data_type: DataType,
    fill_value: FillValue,
    /// Decoded size of the chunk in bytes.
    decoded_len: u64,
}

impl BoundedChain {
    /// Takes a chain apart.
    ///
    /// # Errors
    /// [`Unsupported`] for codecs whose output cannot be bounded and for chunks over the limit.
    pub(crate) fn new(
        chain: &CodecChain,
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
    ) -> Result<Self, Unsupported> {
        let voxel_bytes = data_type
            .fixed_size()
            .and_then(|bytes| u64::try_from(bytes).ok())
            .ok_or_else(|| Unsupported::DataType("of variable size".to_owned()))?;
        let decoded_len = shape
            .iter()
            .try_fold(voxel_bytes, |product, n| product.checked_mul(n.get()))
            .unwrap_or(u64::MAX);
        if decoded_len > UNIT_LIMIT_BYTES {
            return Err(Unsupported::ChunkTooLarge { bytes: decoded_len, limit: UNIT_LIMIT_BYTES });
        }
        let array = CodecChain::new(
            chain.array_to_array_codecs().to_vec(),
            chain.array_to_bytes_codec().clone(),
            Vec::new(),
        );
        let mut representation = array
            .encoded_representation(shape, data_type, fill_value)
            .map_err(|error| Unsupported::Codec(error.to_string()))?;
        if !matches!(representation, BytesRepresentation::FixedSize(_)) {
            return Err(Unsupported::Codec("array-to-bytes codec of variable length".to_owned()));
        }
        let mut bytes = Vec::new();
        for codec in chain.bytes_to_bytes_codecs() {
            let name = codec.name_v3().map(Cow::into_owned).unwrap_or_default();
            if !KNOWN_BYTES_CODECS.contains(&name.as_str()) {
                return Err(Unsupported::Codec(name));
            }
            let encoded = codec.encoded_representation(&representation);
            bytes.push((name, codec.clone(), representation));
            representation = encoded;
        }
        Ok(Self {
            array,
            bytes,
            encoded: representation,
            shape: shape.to_vec(),
            data_type: data_type.clone(),
            fill_value: fill_value.clone(),
            decoded_len,
        })
    }

    /// Length of the encoded bytes where it does not depend on the data.
    fn encoded_len(&self) -> Option<u64> {
        match self.encoded {
            BytesRepresentation::FixedSize(len) => Some(len),
            BytesRepresentation::BoundedSize(_) | BytesRepresentation::UnboundedSize => None,
        }
    }

    fn decode_blob(&self, blob: &dyn Blob) -> Result<Vec<u8>, DecodeError> {
        let len = blob.len();
        if let Some(expected) = self.encoded_len()
            && len != expected
        {
            return Err(DecodeError::Length { codec: "file".to_owned(), got: len, expected });
        }
        if len > limit_of(&self.encoded, self.decoded_len).saturating_mul(2) {
            return Err(DecodeError::Oversized(len));
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if self.bytes.is_empty() {
            // What is read is, for most, what it decodes to.
            let mut bytes = vec![0; len];
            blob.read_exact_at(&mut bytes, 0)?;
            return self.decode(Cow::Owned(bytes));
        }
        with_buffer(len, |bytes| {
            blob.read_exact_at(bytes, 0)?;
            self.decode(Cow::Borrowed(bytes))
        })
    }

    fn decode(&self, mut bytes: Cow<'_, [u8]>) -> Result<Vec<u8>, DecodeError> {
        let options = CodecOptions::default().with_concurrent_target(1);
        let failed = |codec: &str, error: &dyn std::fmt::Display| DecodeError::Codec {
            codec: codec.to_owned(),
            reason: error.to_string(),
        };
        for (name, codec, decoded) in self.bytes.iter().rev() {
            let limit = limit_of(decoded, self.decoded_len);
            bytes = match inflate(name, &bytes, limit) {
                Some(result) => Cow::Owned(result.map_err(|error| failed(name, &error))?),
                None => {
                    codec.decode(bytes, decoded, &options).map_err(|error| failed(name, &error))?
                }
            };
            let got = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let expected = decoded.size().unwrap_or(limit);
            let exact = matches!(decoded, BytesRepresentation::FixedSize(_));
            if got > expected || (exact && got != expected) {
                return Err(DecodeError::Length { codec: name.clone(), got, expected });
            }
        }
        if let Ok(BytesRepresentation::FixedSize(expected)) =
            self.array.encoded_representation(&self.shape, &self.data_type, &self.fill_value)
        {
            let got = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if got != expected {
                return Err(DecodeError::Length { codec: "chunk".to_owned(), got, expected });
            }
        }
        let decoded = self
            .array
            .decode(bytes, &self.shape, &self.data_type, &self.fill_value, &options)
            .and_then(|decoded: ArrayBytes<'_>| Ok(decoded.into_fixed()?))
            .map_err(|error| failed("array", &error))?
            .into_owned();
        let got = u64::try_from(decoded.len()).unwrap_or(u64::MAX);
        if got != self.decoded_len {
            let expected = self.decoded_len;
            return Err(DecodeError::Length { codec: "array".to_owned(), got, expected });
        }
        Ok(decoded)
    }
}

/// Bytes-to-bytes codecs whose output is bounded, here or by their nature.
const KNOWN_BYTES_CODECS: &[&str] = &[
    "blosc",
    "crc32c",
    "gzip",
    "numcodecs.adler32",
    "numcodecs.bz2",
    "numcodecs.fletcher32",
    "numcodecs.shuffle",
    "numcodecs.zlib",
    "zstd",
];

/// Upper bound in bytes of data in a representation.
fn limit_of(representation: &BytesRepresentation, decoded_len: u64) -> u64 {
    representation.size().unwrap_or_else(|| decoded_len.saturating_mul(2).saturating_add(1 << 20))
}

/// Decompresses with an upper bound on the output, for codecs that `zarrs` would let inflate freely.
/// `None` for all others.
fn inflate(codec: &str, bytes: &[u8], limit: u64) -> Option<io::Result<Vec<u8>>> {
    match codec {
        "gzip" => Some(read_bounded(flate2::read::MultiGzDecoder::new(bytes), limit)),
        "numcodecs.zlib" => Some(read_bounded(flate2::read::ZlibDecoder::new(bytes), limit)),
        "numcodecs.bz2" => Some(read_bounded(bzip2::read::MultiBzDecoder::new(bytes), limit)),
        "zstd" => {
            let capacity = usize::try_from(limit).unwrap_or(usize::MAX);
            Some(zstd::bulk::decompress(bytes, capacity))
        }
        "blosc" => match blosc_decoded_len(bytes) {
            Some(len) if u64::from(len) <= limit => None,
            _ => Some(Err(io::Error::new(io::ErrorKind::InvalidData, "blosc header is invalid"))),
        },
        _ => None,
    }
}

/// Reads at most one byte more than `limit`: the caller's length check then fails.
fn read_bounded(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(usize::try_from(limit).unwrap_or(0));
    reader.take(limit.saturating_add(1)).read_to_end(&mut out)?;
    Ok(out)
}

/// `nbytes` of a Blosc header (c-blosc `README_CHUNK_FORMAT`: 16 bytes, `nbytes` at 4, `cbytes` at 12).
fn blosc_decoded_len(bytes: &[u8]) -> Option<u32> {
    let header = bytes.first_chunk::<16>()?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    (usize::try_from(word(12)).ok()? == bytes.len()).then(|| word(4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![0; 8 << 20]).expect("in memory");
        let bomb = encoder.finish().expect("in memory");
        let out = inflate("gzip", &bomb, 1000).expect("handled").expect("inflates");
        assert_eq!(out.len(), 1001);
        let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 1).expect("in memory");
        assert!(inflate("zstd", &bomb, 1000).expect("handled").is_err());
    }

    #[test]
    fn blosc_header_must_agree_with_the_file() {
        let mut header = [0_u8; 20];
        header[4..8].copy_from_slice(&1000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&20_u32.to_le_bytes());
        assert_eq!(blosc_decoded_len(&header), Some(1000));
        assert_eq!(blosc_decoded_len(&header[..19]), None);
        assert!(inflate("blosc", &header, 999).expect("refused").is_err());
    }
}
