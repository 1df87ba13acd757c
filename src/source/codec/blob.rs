//! What codecs read from, and where they keep what they need again.

use std::io;
use std::sync::Arc;

use crate::source::decode_error::DecodeError;

/// Bytes that can be read by position: a chunk file, or a range of it.
pub(crate) trait Blob {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Fills `out` from `offset`; the caller has checked the range against [`Blob::len`].
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A part of a [`Blob`].
pub(super) struct SubBlob<'a> {
    pub(super) outer: &'a dyn Blob,
    pub(super) offset: u64,
    pub(super) len: u64,
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
