//! The codec `blosc`, decoded by `zarrs` once its header has been checked.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::json;
use zarrs::array::{BytesRepresentation, BytesToBytesCodecTraits, Codec, CodecOptions};

use super::decode::{Decode, Decoder, Size};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::source_type::SourceType;

#[derive(Debug)]
struct Blosc(Arc<dyn BytesToBytesCodecTraits>);

/// The header of the compressed bytes holds all that decoding needs.
pub(super) fn read(codec: &NamedCodec, _kind: SourceType) -> Result<Decoder, Unsupported> {
    // `zarrs` demands a configuration, although only encoding uses it.
    let configuration =
        json!({"cname": "lz4", "clevel": 1, "shuffle": "noshuffle", "blocksize": 0});
    let metadata = NamedCodec::new("blosc", configuration).metadata()?;
    match Codec::from_metadata(&metadata) {
        Ok(Codec::BytesToBytes(blosc)) => Ok(Box::new(Blosc(blosc))),
        _ => Err(codec.refused()),
    }
}

impl Decode for Blosc {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        Some(decoded.compressed())
    }

    /// Blosc takes two of its blocks, whose size is in the header (c-blosc `README_CHUNK_FORMAT`, at 8;
    /// `blosc.c`, `serial_blosc`).
    fn working_bytes(&self, encoded: &[u8]) -> u64 {
        let block = encoded.get(8..).and_then(|rest| rest.first_chunk::<4>());
        block.map_or(0, |block| u64::from(u32::from_le_bytes(*block)) * 2)
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, limit: u64) -> Result<Cow<'a, [u8]>, String> {
        let declared = decoded_len(&encoded).map(u64::from).filter(|&len| len <= limit);
        let declared = declared.ok_or("blosc header is invalid")?;
        let options = CodecOptions::default().with_concurrent_target(1);
        self.0
            .decode(encoded, &BytesRepresentation::FixedSize(declared), &options)
            .map_err(|error| error.to_string())
    }
}

/// `nbytes` of a Blosc header (c-blosc `README_CHUNK_FORMAT`: 16 bytes, `nbytes` at 4, `cbytes` at 12).
fn decoded_len(bytes: &[u8]) -> Option<u32> {
    let header = bytes.first_chunk::<16>()?;
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    (usize::try_from(word(12)).ok()? == bytes.len()).then(|| word(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_must_agree_with_the_file() {
        let mut header = [0_u8; 20];
        header[4..8].copy_from_slice(&1000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&20_u32.to_le_bytes());
        assert_eq!(decoded_len(&header), Some(1000));
        assert_eq!(decoded_len(&header[..19]), None);
        let codec = NamedCodec::new("blosc", json!(null));
        let blosc = read(&codec, SourceType::U8).expect("a compressor");
        assert!(blosc.decode(Cow::Borrowed(&header), 999).is_err());
    }
}
