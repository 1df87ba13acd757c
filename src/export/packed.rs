//! Files with compressed chunks.

/// How chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Deflate, at a level from 1 to 9.
    Gzip(u8),
    /// LZ4, as the filter 32004.
    Lz4,
}
