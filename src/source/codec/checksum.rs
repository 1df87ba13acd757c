//! Checksums that numcodecs puts before or behind the bytes.
//!
//! Source: `checksum32.py` and `fletcher32.pyx` of numcodecs 0.16. All are 32 bits, little-endian.

use flate2::Crc;
use serde_json::{Map, Value};

use crate::source::Unsupported;

/// A checksum codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksum {
    algorithm: Algorithm,
    is_in_front: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Adler32,
    Crc32,
    Crc32c,
    Fletcher32,
}

impl Checksum {
    /// Bytes that it adds.
    pub(super) const BYTES: u64 = 4;

    /// The codec of a name without prefix; `None` if it is none of these.
    ///
    /// # Errors
    /// [`Unsupported`] when its place is neither `start` nor `end`.
    pub(super) fn new(
        name: &str,
        members: &Map<String, Value>,
    ) -> Result<Option<Self>, Unsupported> {
        let (algorithm, usual) = match name {
            "adler32" => (Algorithm::Adler32, true),
            "crc32" => (Algorithm::Crc32, true),
            "crc32c" => (Algorithm::Crc32c, false),
            "fletcher32" => return Ok(Some(Self::behind(Algorithm::Fletcher32))),
            _ => return Ok(None),
        };
        let is_in_front = match members.get("location") {
            None | Some(Value::Null) => usual,
            Some(Value::String(place)) if place == "start" => true,
            Some(Value::String(place)) if place == "end" => false,
            Some(_) => return Err(Unsupported::Member("location")),
        };
        Ok(Some(Self { algorithm, is_in_front }))
    }

    const fn behind(algorithm: Algorithm) -> Self {
        Self { algorithm, is_in_front: false }
    }

    /// The bytes without the checksum, if that is right.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn verified(self, bytes: &[u8]) -> Result<&[u8], &'static str> {
        let parts = if self.is_in_front {
            bytes.split_first_chunk::<4>()
        } else {
            bytes.split_last_chunk::<4>().map(|(content, checksum)| (checksum, content))
        };
        let (stored, content) = parts.ok_or("no checksum")?;
        let computed = match self.algorithm {
            Algorithm::Adler32 => adler32(content),
            Algorithm::Crc32 => {
                let mut crc = Crc::new();
                crc.update(content);
                crc.sum()
            }
            Algorithm::Crc32c => crc32c::crc32c(content),
            Algorithm::Fletcher32 => fletcher32(content),
        };
        if u32::from_le_bytes(*stored) == computed {
            Ok(content)
        } else {
            Err("the checksum is not that of the bytes")
        }
    }
}

/// RFC 1950, section 8.2.
fn adler32(bytes: &[u8]) -> u32 {
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
fn fletcher32(bytes: &[u8]) -> u32 {
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
