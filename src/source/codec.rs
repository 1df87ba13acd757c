//! Decoding one read unit of a Zarr array: a whole chunk, or a whole inner chunk of a shard.
//!
//! `zarrs` brings numbers into order and decodes Blosc; the crates of the compressors and this module decode
//! everything else. The codec chain is walked here so that
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
//! order F) and `bytes`. [`registry`] lists all codecs; to add one, write its file and add its line there.

mod array;
mod blob;
mod blosc;
mod cast;
mod chain;
mod checksum;
mod compressor;
mod decode;
mod filter;
mod lzma;
mod named;
mod number;
mod packbits;
mod pcodec;
mod registry;
mod shuffle;
#[cfg(test)]
mod tests;
mod unit;
mod zfpy;

pub(crate) use blob::{Blob, IndexCache};
pub(crate) use named::NamedCodec;
pub(crate) use number::NumpyType;
pub(crate) use unit::UnitCodec;
