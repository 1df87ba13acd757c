//! Compressors, with an upper bound on what they may give.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;

use serde_json::json;
use zarrs::array::{BytesRepresentation, BytesToBytesCodecTraits, Codec, CodecOptions};
use zarrs::metadata::v3::MetadataV3;

/// A compressor. Decoding needs nothing of its configuration: all are told by the compressed bytes
/// themselves how they were made.
#[derive(Debug, Clone)]
pub(super) enum Compressor {
    Gzip,
    Zlib,
    Bz2,
    Zstd,
    Blosc(Arc<dyn BytesToBytesCodecTraits>),
}

impl Compressor {
    /// The compressor of a name without prefix; `None` if it is none of these.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "gzip" => Some(Self::Gzip),
            "zlib" => Some(Self::Zlib),
            "bz2" => Some(Self::Bz2),
            "zstd" => Some(Self::Zstd),
            "blosc" => blosc().map(Self::Blosc),
            _ => None,
        }
    }

    /// Memory for the work itself, where that depends on the bytes: Blosc takes two of its blocks, whose
    /// size is in the header (c-blosc `README_CHUNK_FORMAT`, at 8; `blosc.c`, `serial_blosc`).
    pub(super) fn working_bytes(&self, bytes: &[u8]) -> u64 {
        match (self, bytes.get(8..).and_then(|rest| rest.first_chunk::<4>())) {
            (Self::Blosc(_), Some(block)) => u64::from(u32::from_le_bytes(*block)) * 2,
            _ => 0,
        }
    }

    /// Decompresses to `limit` bytes at most, or to one more: the caller compares the length.
    ///
    /// # Errors
    /// The decompressor's reason.
    pub(super) fn decode(&self, bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
        let capacity = usize::try_from(limit).unwrap_or(usize::MAX);
        let decoded = match self {
            Self::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(bytes), limit),
            Self::Zlib => read_bounded(flate2::read::ZlibDecoder::new(bytes), limit),
            Self::Bz2 => read_bounded(bzip2::read::MultiBzDecoder::new(bytes), limit),
            Self::Zstd => zstd::bulk::decompress(bytes, capacity),
            Self::Blosc(codec) => return blosc_bounded(&**codec, bytes, limit),
        };
        decoded.map_err(|error| error.to_string())
    }
}

/// What Blosc of `zarrs` wants to be told, although only encoding uses it.
fn blosc() -> Option<Arc<dyn BytesToBytesCodecTraits>> {
    let configuration =
        json!({"cname": "lz4", "clevel": 1, "shuffle": "noshuffle", "blocksize": 0});
    let metadata = json!({"name": "blosc", "configuration": configuration});
    let metadata: MetadataV3 = serde_json::from_value(metadata).ok()?;
    match Codec::from_metadata(&metadata).ok()? {
        Codec::BytesToBytes(codec) => Some(codec),
        Codec::ArrayToArray(_) | Codec::ArrayToBytes(_) => None,
    }
}

fn blosc_bounded(
    codec: &dyn BytesToBytesCodecTraits,
    bytes: &[u8],
    limit: u64,
) -> Result<Vec<u8>, String> {
    let declared = blosc_decoded_len(bytes).map(u64::from).filter(|&len| len <= limit);
    let declared = declared.ok_or("blosc header is invalid")?;
    let options = CodecOptions::default().with_concurrent_target(1);
    codec
        .decode(Cow::Borrowed(bytes), &BytesRepresentation::FixedSize(declared), &options)
        .map(Cow::into_owned)
        .map_err(|error| error.to_string())
}

/// Reads at most one byte more than `limit`: the caller's length check then fails.
fn read_bounded(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let most = limit.saturating_add(1);
    // With room for that byte, it never grows.
    let mut out = Vec::with_capacity(usize::try_from(most).unwrap_or(0));
    reader.take(most).read_to_end(&mut out)?;
    Ok(out)
}

/// `nbytes` of a Blosc header (c-blosc `README_CHUNK_FORMAT`: 16 bytes, `nbytes` at 4, `cbytes` at 12).
fn blosc_decoded_len(bytes: &[u8]) -> Option<u32> {
    let header = bytes.first_chunk::<16>()?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    (usize::try_from(word(12)).ok()? == bytes.len()).then(|| word(4))
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
        let out = Compressor::Gzip.decode(&bomb, 1000).expect("inflates");
        assert_eq!(out.len(), 1001);
        let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 1).expect("in memory");
        assert!(Compressor::Zstd.decode(&bomb, 1000).is_err());
    }

    #[test]
    fn blosc_header_must_agree_with_the_file() {
        let mut header = [0_u8; 20];
        header[4..8].copy_from_slice(&1000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&20_u32.to_le_bytes());
        assert_eq!(blosc_decoded_len(&header), Some(1000));
        assert_eq!(blosc_decoded_len(&header[..19]), None);
        let blosc = Compressor::named("blosc").expect("a compressor");
        assert!(blosc.decode(&header, 999).is_err());
    }
}
