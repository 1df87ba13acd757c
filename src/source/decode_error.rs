//! What can be wrong with a chunk.

use std::io;

use thiserror::Error;

use crate::resources::headroom::NoMemory;

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
        /// What the codec says.
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
