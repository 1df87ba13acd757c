//! Files with compressed chunks: the same objects and attributes, and chunks where the library puts them.

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::describe::{ImsFile, PixelMetadata};
use super::hdf5::{Filter, NewFile};
use super::{ImsError, schema, skeleton};

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

/// A file under way.
pub struct PackedFile {
    file: NewFile,
}

impl Packing {
    /// A chunk as the filter stores it.
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

impl PackedFile {
    /// Creates a file without chunks, in place of one that is there.
    ///
    /// # Errors
    /// As for [`build_skeleton`](super::build_skeleton).
    pub fn create(
        path: &Path,
        file: &ImsFile,
        pixels: &PixelMetadata,
        packing: Packing,
    ) -> Result<Self, ImsError> {
        file.validate()?;
        file.validate_names()?;
        pixels.validate(file)?;
        let new = NewFile::create_on_disk(path)?;
        let filter = match packing {
            Packing::Gzip(level) => Filter { id: DEFLATE, values: &[u32::from(level)] },
            Packing::Lz4 => Filter { id: LZ4, values: &[LZ4_BLOCK_BYTES] },
        };
        skeleton::write_into(&new, file, pixels, Some(filter))?;
        Ok(Self { file: new })
    }

    /// Writes chunks of one dataset, each at the voxel (z, y, x) at which it begins.
    ///
    /// # Errors
    /// [`ImsError::Hdf5`].
    pub fn write_chunks(
        &self,
        (level, t, c): (usize, u64, usize),
        chunks: &[([u64; 3], Vec<u8>)],
    ) -> Result<(), ImsError> {
        let path = format!(
            "{}/{}/{}/{}/{}",
            schema::DATA_SET,
            schema::level_name(level),
            schema::time_point_name(t),
            schema::channel_name(c),
            schema::DATA
        );
        let dataset = self.file.dataset(&path)?;
        chunks.iter().try_for_each(|(origin, bytes)| dataset.write_chunk(*origin, bytes))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`ImsError::Hdf5`].
    pub fn finish(self) -> Result<(), ImsError> {
        self.file.close()
    }
}
