//! Compressors, each from a crate, with an upper bound on what they may give.

use std::borrow::Cow;
use std::io::{self, Read};

use super::decode::{Decode, Decoder, Size};

/// Decompresses to at most the given number of bytes, or to one more.
type Decompress = fn(&[u8], u64) -> io::Result<Vec<u8>>;

#[derive(Debug)]
struct Compressor(Decompress);

impl Decode for Compressor {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        Some(decoded.compressed())
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, limit: u64) -> Result<Cow<'a, [u8]>, String> {
        (self.0)(&encoded, limit).map(Cow::Owned).map_err(|error| error.to_string())
    }
}

pub(super) fn gzip() -> Decoder {
    Box::new(Compressor(|bytes, limit| {
        read_bounded(flate2::read::MultiGzDecoder::new(bytes), limit)
    }))
}

pub(super) fn zlib() -> Decoder {
    Box::new(Compressor(|bytes, limit| read_bounded(flate2::read::ZlibDecoder::new(bytes), limit)))
}

pub(super) fn bz2() -> Decoder {
    Box::new(Compressor(|bytes, limit| {
        read_bounded(bzip2::read::MultiBzDecoder::new(bytes), limit)
    }))
}

pub(super) fn zstd() -> Decoder {
    Box::new(Compressor(|bytes, limit| {
        ::zstd::bulk::decompress(bytes, usize::try_from(limit).unwrap_or(usize::MAX))
    }))
}

/// A block of LZ4 behind its decoded length.
///
/// Source: `lz4.pyx` of numcodecs 0.17: the length has 32 bits, is little-endian, and never 0.
pub(super) fn lz4() -> Decoder {
    Box::new(Compressor(|bytes, limit| {
        let parts = bytes.split_first_chunk().filter(|(length, _)| **length != [0; 4]);
        let (length, block) = parts.ok_or_else(|| io::Error::other("no decoded length"))?;
        let length = u32::from_le_bytes(*length);
        if u64::from(length) > limit {
            return Err(io::Error::other("states a longer decoded length"));
        }
        let mut out = vec![0; length as usize];
        let decoded = lz4_flex::block::decompress_into(block, &mut out);
        match decoded.map_err(io::Error::other)? {
            all if all == out.len() => Ok(out),
            _ => Err(io::Error::other("not of the length that it states")),
        }
    }))
}

/// Reads at most one byte more than `limit`: the caller's length check then fails.
fn read_bounded(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let most = limit.saturating_add(1);
    // With room for that byte, it never grows.
    let mut out = Vec::with_capacity(usize::try_from(most).unwrap_or(0));
    reader.take(most).read_to_end(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&vec![0; 8 << 20]).expect("in memory");
        let bomb = encoder.finish().expect("in memory");
        let out = gzip().decode(Cow::Owned(bomb), 1000).expect("inflates");
        assert_eq!(out.len(), 1001);
        let bomb = ::zstd::bulk::compress(&vec![0; 8 << 20], 1).expect("in memory");
        assert!(zstd().decode(Cow::Owned(bomb), 1000).is_err());
        // 8 MiB of zeros: a literal of one byte, and a match of what is left but five bytes.
        let mut bomb = (8_u32 << 20).to_le_bytes().to_vec();
        bomb.extend([0x1f, 0, 1, 0]);
        bomb.extend(vec![255; (8 << 20) / 255]);
        let error = lz4().decode(Cow::Owned(bomb), 1000).expect_err("too long");
        assert!(error.contains("longer"), "{error}");
    }
}
