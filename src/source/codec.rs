//! Decoding one read unit of a Zarr array: a whole chunk, or a whole inner chunk of a shard.
//!
//! `zarrs` brings numbers into order and reads Blosc; everything else is decoded here or by the crates of
//! the compressors. The codec chain is walked here so that
//!
//! * every step is bounded by the size the chunk can have at that step, so a small file cannot
//!   inflate into gigabytes;
//! * every decoded length is compared with the declared one, every checksum is verified;
//! * an index of a shard is checked against the file before a byte of a chunk is read.
//!
//! Partial decoders of `zarrs` are never used: they skip checksums and lengths.
//!
//! Codec semantics: Zarr v3 core specification, "Codecs", and the registered codec specifications; those
//! of numcodecs, under the `id` of Zarr v2 and as `numcodecs.` in Zarr v3, are as numcodecs has them. What
//! Zarr v2 calls filters and compressor are all codecs from bytes to bytes, after `transpose` (for
//! order F) and `bytes`.

mod chain;
mod checksum;
mod compressor;
mod filter;
mod named;
mod number;
mod shard;
#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;

use thiserror::Error;

use super::Unsupported;
use super::source_type::SourceType;
use crate::headroom::NoMemory;
use chain::{BoundedChain, transpose_order};
use shard::Sharding;

pub(crate) use named::NamedCodec;
pub(crate) use number::NumpyType;

/// Largest decoded size of one read unit. Real ones are 32 KiB to 64 MiB.
pub(crate) const UNIT_LIMIT_BYTES: u64 = 1 << 30;

/// Nesting of `sharding_indexed` within itself; the specification sets no limit, writers use one.
const SHARD_DEPTH_LIMIT: usize = 4;

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
    /// The machine, or what this process may use of it, is too small for the chunk.
    #[error("{0}")]
    NoMemory(#[from] NoMemory),
    /// There is no file of the chunk, but there are files whose names do not tell which chunk they are.
    #[error("chunk files are there, but named in no known way: {0:?}")]
    Misnamed(String),
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
    /// Takes a list of codecs, in the order of encoding, apart.
    ///
    /// # Errors
    /// [`Unsupported`] when a codec is unknown or the shapes do not fit together.
    pub(crate) fn new(
        codecs: &[NamedCodec],
        shape: &[NonZeroU64],
        kind: SourceType,
    ) -> Result<Self, Unsupported> {
        Self::nested(codecs, shape, kind, 0)
    }

    fn nested(
        codecs: &[NamedCodec],
        shape: &[NonZeroU64],
        kind: SourceType,
        depth: usize,
    ) -> Result<Self, Unsupported> {
        let Some(at) = codecs.iter().position(|codec| codec.name == "sharding_indexed") else {
            return BoundedChain::new(codecs, shape, kind).map(Self::Whole);
        };
        if depth >= SHARD_DEPTH_LIMIT {
            return Err(Unsupported::TooDeep(SHARD_DEPTH_LIMIT));
        }
        if let Some(after) = codecs.get(at + 1) {
            return Err(Unsupported::Codec(format!("{} after sharding_indexed", after.name)));
        }
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        for codec in &codecs[..at] {
            if codec.name != "transpose" {
                return Err(Unsupported::Codec(format!("{} before sharding_indexed", codec.name)));
            }
            let order = transpose_order(codec, shape.len())?;
            axes = order.iter().map(|&axis| axes[axis]).collect();
        }
        let shard_shape: Vec<NonZeroU64> = axes.iter().map(|&axis| shape[axis]).collect();
        Sharding::new(&codecs[at], axes, &shard_shape, kind, depth)
            .map(|sharding| Self::Sharded(Box::new(sharding)))
    }

    /// Shape of the read unit, in the axis order of the chunk given to [`UnitCodec::new`].
    pub(crate) fn unit_shape(&self) -> Vec<u64> {
        match self {
            Self::Whole(chain) => chain.shape().collect(),
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
