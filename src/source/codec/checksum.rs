//! Checksums that numcodecs puts before or behind the bytes.
//!
//! Source: `checksum32.py`, `fletcher32.pyx` and `jenkins.pyx` of numcodecs 0.17. All are 32 bits, little-endian.

use std::borrow::Cow;

use flate2::Crc;
use serde_json::Value;

use super::decode::{Decode, Decoder, Size};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::json::whole;
use crate::source::source_type::SourceType;

const CHECKSUM_BYTES: usize = 4;

/// How the checksum of bytes is computed.
#[derive(Debug, Clone, Copy)]
enum Compute {
    Of(fn(&[u8]) -> u32),
    /// From this start value.
    Lookup3(u32),
}

/// Verifies a checksum and takes it away.
#[derive(Debug)]
struct Checksum {
    compute: Compute,
    is_in_front: bool,
}

pub(super) fn adler32(codec: &NamedCodec, _kind: SourceType) -> Result<Decoder, Unsupported> {
    Checksum::read(codec, Compute::Of(adler32_of), true)
}

pub(super) fn crc32(codec: &NamedCodec, _kind: SourceType) -> Result<Decoder, Unsupported> {
    Checksum::read(codec, Compute::Of(crc32_of), true)
}

pub(super) fn crc32c(codec: &NamedCodec, _kind: SourceType) -> Result<Decoder, Unsupported> {
    Checksum::read(codec, Compute::Of(::crc32c::crc32c), false)
}

/// Always behind the bytes: its configuration says nothing.
pub(super) fn fletcher32() -> Decoder {
    Box::new(Checksum { compute: Compute::Of(fletcher32_of), is_in_front: false })
}

/// numcodecs puts it behind the bytes, whatever `location` says. A `prefix` cannot be written as JSON.
pub(super) fn jenkins_lookup3(
    codec: &NamedCodec,
    _kind: SourceType,
) -> Result<Decoder, Unsupported> {
    if !matches!(codec.members.get("prefix"), None | Some(Value::Null)) {
        return Err(Unsupported::Member("prefix"));
    }
    let start = match codec.members.get("initval") {
        None | Some(Value::Null) => Some(0),
        Some(stated) => whole(stated).and_then(|start| u32::try_from(start).ok()),
    };
    let compute = Compute::Lookup3(start.ok_or(Unsupported::Member("initval"))?);
    Ok(Box::new(Checksum { compute, is_in_front: false }))
}

impl Compute {
    fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Of(compute) => compute(bytes),
            Self::Lookup3(start) => lookup3_of(bytes, start),
        }
    }
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
        if u32::from_le_bytes(*stored) == self.compute.of(content) {
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

/// Bob Jenkins, `lookup3.c`, 2006, `hashlittle`: blocks of three words, the last one mixed in another way.
#[expect(clippy::cast_possible_truncation, reason = "the length is taken modulo 2^32")]
fn lookup3_of(bytes: &[u8], start: u32) -> u32 {
    const BLOCK_BYTES: usize = 12;
    /// Distances that the words are rotated by.
    const MIX: [u32; 6] = [4, 6, 8, 16, 19, 4];
    const LAST: [u32; 7] = [14, 11, 25, 16, 4, 14, 24];
    let mut words = [0xdead_beef_u32.wrapping_add(bytes.len() as u32).wrapping_add(start); 3];
    let add = |words: &mut [u32; 3], block: &[u8]| {
        for (word, bytes) in words.iter_mut().zip(block.chunks(4)) {
            let mut full = [0; 4];
            full[..bytes.len()].copy_from_slice(bytes);
            *word = word.wrapping_add(u32::from_le_bytes(full));
        }
    };
    let last = bytes.len().saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
    for block in bytes[..last].chunks_exact(BLOCK_BYTES) {
        add(&mut words, block);
        for (round, distance) in MIX.into_iter().enumerate() {
            let [a, b, c] = [round, round + 1, round + 2].map(|at| at % 3);
            words[a] = words[a].wrapping_sub(words[c]) ^ words[c].rotate_left(distance);
            words[c] = words[c].wrapping_add(words[b]);
        }
    }
    if !bytes.is_empty() {
        add(&mut words, &bytes[last..]);
        for (round, distance) in LAST.into_iter().enumerate() {
            let (target, from) = ((round + 2) % 3, (round + 1) % 3);
            let mixed = words[target] ^ words[from];
            words[target] = mixed.wrapping_sub(words[from].rotate_left(distance));
        }
    }
    words[2]
}
