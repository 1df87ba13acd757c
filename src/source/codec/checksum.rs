//! Checksums that numcodecs puts before or behind the bytes.
//!
//! Source: `checksum32.py` and `fletcher32.pyx` of numcodecs 0.16. All are 32 bits, little-endian.

use std::borrow::Cow;

use flate2::Crc;
use serde_json::Value;

use super::decode::{Decode, Decoder, Size};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::source_type::SourceType;

const CHECKSUM_BYTES: usize = 4;

/// A checksum of the bytes it is given.
type Compute = fn(&[u8]) -> u32;

/// Verifies a checksum and takes it away.
#[derive(Debug)]
struct Checksum {
    compute: Compute,
    is_in_front: bool,
}

pub(super) fn adler32(codec: &NamedCodec, _kind: SourceType) -> Result<Decoder, Unsupported> {
    Checksum::read(codec, adler32_of, true)
}

pub(super) fn crc32(codec: &NamedCodec, _kind: SourceType) -> Result<Decoder, Unsupported> {
    Checksum::read(codec, crc32_of, true)
}

pub(super) fn crc32c(codec: &NamedCodec, _kind: SourceType) -> Result<Decoder, Unsupported> {
    Checksum::read(codec, ::crc32c::crc32c, false)
}

/// Always behind the bytes: its configuration says nothing.
pub(super) fn fletcher32() -> Decoder {
    Box::new(Checksum { compute: fletcher32_of, is_in_front: false })
}

impl Checksum {
    /// # Errors
    /// [`Unsupported`] when the stated place is neither `start` nor `end`.
    fn read(
        codec: &NamedCodec,
        compute: Compute,
        is_usually_in_front: bool,
    ) -> Result<Decoder, Unsupported> {
        let is_in_front = match codec.members.get("location") {
            None | Some(Value::Null) => is_usually_in_front,
            Some(Value::String(place)) if place == "start" => true,
            Some(Value::String(place)) if place == "end" => false,
            Some(_) => return Err(Unsupported::Member("location")),
        };
        Ok(Box::new(Self { compute, is_in_front }))
    }

    /// The bytes without the checksum, if that is right.
    fn verified<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let parts = if self.is_in_front {
            bytes.split_first_chunk::<CHECKSUM_BYTES>()
        } else {
            let parts = bytes.split_last_chunk::<CHECKSUM_BYTES>();
            parts.map(|(content, checksum)| (checksum, content))
        };
        let (stored, content) = parts.ok_or("no checksum")?;
        if u32::from_le_bytes(*stored) == (self.compute)(content) {
            Ok(content)
        } else {
            Err("the checksum is not that of the bytes")
        }
    }
}

impl Decode for Checksum {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        decoded.map(|len| len.checked_add(CHECKSUM_BYTES as u64))
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, _limit: u64) -> Result<Cow<'a, [u8]>, String> {
        Ok(match encoded {
            Cow::Borrowed(bytes) => Cow::Borrowed(self.verified(bytes)?),
            Cow::Owned(bytes) => Cow::Owned(self.verified(&bytes)?.to_vec()),
        })
    }
}

fn crc32_of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// RFC 1950, section 8.2.
fn adler32_of(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    /// Most bytes whose sums fit into 32 bits.
    const BLOCK: usize = 5552;
    let (mut a, mut b) = (1, 0);
    for block in bytes.chunks(BLOCK) {
        for &byte in block {
            a += u32::from(byte);
            b += a;
        }
        a %= MODULUS;
        b %= MODULUS;
    }
    b << 16 | a
}

/// As HDF5 computes it (`H5_checksum_fletcher32`), over big-endian words.
fn fletcher32_of(bytes: &[u8]) -> u32 {
    /// Most words whose sums fit into 32 bits.
    const BLOCK_BYTES: usize = 720;
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut a, mut b) = (0_u32, 0_u32);
    for block in bytes.chunks(BLOCK_BYTES) {
        for word in block.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            a += u32::from(u16::from_be_bytes([word[0], low]));
            b += a;
        }
        a = fold(a);
        b = fold(b);
    }
    fold(b) << 16 | fold(a)
}
