//! Compression of chunks, as HDF5 filters store them.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Registered number of the LZ4 filter, and what the maker's writer states for it: the block size
/// (`ImarisWriter` `writer/bpH5LZ4.cxx`).
const LZ4: i32 = 32_004;
const LZ4_BLOCK_BYTES: u32 = 1 << 30;

/// The filter of HDF5 for deflate.
const DEFLATE: i32 = 1;

/// How chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Deflate, at a level from 1 to 9.
    Gzip(u8),
    /// LZ4, as the filter 32004.
    Lz4,
}

/// A filter as the header of a dataset names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter {
    pub(super) id: i32,
    /// Its only parameter.
    pub(super) value: u32,
}

impl Packing {
    /// A chunk as the filter stores it. Equal chunks give equal bytes.
    ///
    /// # Errors
    /// When it is longer than the filter can say.
    pub fn pack(self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(level) => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level.into()));
                encoder.write_all(chunk)?;
                encoder.finish()
            }
            Self::Lz4 => lz4(chunk),
        }
    }

    pub(super) fn filter(self) -> Filter {
        match self {
            Self::Gzip(level) => Filter { id: DEFLATE, value: level.into() },
            Self::Lz4 => Filter { id: LZ4, value: LZ4_BLOCK_BYTES },
        }
    }
}

/// The payload of the LZ4 filter with one block: length, length of a block, length of the compressed block, all
/// big-endian, and the block. A block that does not become shorter is stored as it is, and its length says so.
fn lz4(chunk: &[u8]) -> io::Result<Vec<u8>> {
    let too_long = |_| io::Error::other("a chunk is too long for LZ4");
    let len = u32::try_from(chunk.len()).map_err(too_long)?;
    let packed = lz4_flex::block::compress(chunk);
    let block = if packed.len() < chunk.len() { &packed } else { chunk };
    let mut bytes = Vec::with_capacity(16 + block.len());
    bytes.extend(u64::from(len).to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes.extend(u32::try_from(block.len()).map_err(too_long)?.to_be_bytes());
    bytes.extend(block);
    Ok(bytes)
}
