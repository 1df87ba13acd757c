//! The codec `lzma`: streams of `.xz` and of `.lzma`, and raw ones, whose filters are in the configuration.
//!
//! Source: `lzma.py` of numcodecs 0.17, which hands its configuration to the module `lzma` of Python; there,
//! "Specifying custom filter chains". The `.xz` file format, version 1.2.1, and `lzma-file-format.txt` of XZ
//! Utils.

use std::borrow::Cow;
use std::io::{self, Read};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{Filters, LzmaOptions, Stream};
use serde_json::{Map, Value};

use super::decode::{Decode, Decoder, Size, UNIT_LIMIT_BYTES};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::json::whole;
use crate::source::source_type::SourceType;

/// Most filters of one stream (liblzma, `LZMA_FILTERS_MAX`).
const MOST_FILTERS: usize = 4;

/// What a decoder of liblzma takes beside its dictionary: 55 KiB in 5.8.
const DECODER_BYTES: u64 = 1 << 20;

/// Identities of filters in a configuration (module `lzma` of Python).
mod id {
    pub(super) const LZMA1: u64 = 0x4000_0000_0000_0001;
    pub(super) const LZMA2: u64 = 0x21;
    pub(super) const DELTA: u64 = 3;
    pub(super) const X86: u64 = 4;
    pub(super) const POWERPC: u64 = 5;
    pub(super) const IA64: u64 = 6;
    pub(super) const ARM: u64 = 7;
    pub(super) const ARM_THUMB: u64 = 8;
    pub(super) const SPARC: u64 = 9;
    pub(super) const ARM64: u64 = 10;
    pub(super) const RISCV: u64 = 11;
}

/// Base 2 logarithms of the dictionaries of the presets 0 to 9, which all have the same lc, lp and pb
/// (xz(1), "Compression preset level options").
const PRESETS: [u32; 10] = [18, 20, 21, 22, 22, 23, 23, 24, 25, 26];

#[derive(Debug)]
enum Lzma {
    Xz,
    Alone,
    /// Whichever of these two the bytes begin with.
    Either,
    Raw(Vec<Filter>),
}

/// A filter of a raw stream.
#[derive(Debug)]
enum Filter {
    Lzma { id: u64, dictionary: u32, literal: [u32; 2], position: u32 },
    Delta { distance: u8 },
    Branch { id: u64, start: u32 },
}

/// Without `format`, the stream is one of `.xz`. Streams that state their filters themselves need none here.
pub(super) fn read(codec: &NamedCodec, _kind: SourceType) -> Result<Decoder, Unsupported> {
    let format = match codec.members.get("format") {
        None | Some(Value::Null) => Some(1),
        Some(stated) => whole(stated),
    };
    Ok(Box::new(match format {
        Some(0) => Lzma::Either,
        Some(1) => Lzma::Xz,
        Some(2) => Lzma::Alone,
        Some(3) => Lzma::Raw(filters(codec).ok_or(Unsupported::Member("filters"))?),
        _ => return Err(Unsupported::Member("format")),
    }))
}

fn filters(codec: &NamedCodec) -> Option<Vec<Filter>> {
    let filters = codec.members.get("filters")?.as_array()?;
    let known: Option<Vec<_>> =
        filters.iter().map(|filter| Filter::read(filter.as_object()?)).collect();
    known.filter(|filters| (1..=MOST_FILTERS).contains(&filters.len()))
}

impl Filter {
    fn read(members: &Map<String, Value>) -> Option<Self> {
        let number = |name| match members.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(stated) => whole(stated).and_then(|n| u32::try_from(n).ok()).map(Some),
        };
        Some(match whole(members.get("id")?)? {
            id @ (id::LZMA1 | id::LZMA2) => {
                let level = usize::try_from(number("preset")?.unwrap_or(6) & 0x1f).ok()?;
                let exponent = PRESETS.get(level)?;
                Self::Lzma {
                    id,
                    dictionary: number("dict_size")?.unwrap_or(1 << exponent),
                    literal: [number("lc")?.unwrap_or(3), number("lp")?.unwrap_or(0)],
                    position: number("pb")?.unwrap_or(2),
                }
            }
            id::DELTA => {
                let distance = number("dist")?.unwrap_or(1).checked_sub(1)?;
                Self::Delta { distance: u8::try_from(distance).ok()? }
            }
            id @ id::X86..=id::RISCV => {
                Self::Branch { id, start: number("start_offset")?.unwrap_or(0) }
            }
            _ => return None,
        })
    }

    /// Adds the filter to those of a stream of at most `limit` decoded bytes.
    fn add_to(&self, filters: &mut Filters, limit: u64) -> Result<(), liblzma::stream::Error> {
        match *self {
            Self::Lzma { id, dictionary, literal: [lc, lp], position } => {
                let mut options = LzmaOptions::new_preset(6)?;
                // No match reaches back beyond the first byte.
                let needed = u32::try_from(limit).unwrap_or(u32::MAX).max(4096);
                options.dict_size(dictionary.min(needed));
                options.literal_context_bits(lc).literal_position_bits(lp).position_bits(position);
                if id == id::LZMA1 {
                    filters.lzma1(&options)
                } else {
                    filters.lzma2(&options)
                };
            }
            Self::Delta { distance } => {
                filters.delta_properties(&[distance])?;
            }
            Self::Branch { id, start } => {
                let properties = &start.to_le_bytes();
                match id {
                    id::X86 => filters.x86_properties(properties)?,
                    id::POWERPC => filters.powerpc_properties(properties)?,
                    id::IA64 => filters.ia64_properties(properties)?,
                    id::ARM => filters.arm_properties(properties)?,
                    id::ARM_THUMB => filters.arm_thumb_properties(properties)?,
                    id::SPARC => filters.sparc_properties(properties)?,
                    id::ARM64 => filters.arm64_properties(properties)?,
                    _ => filters.riscv_properties(properties)?,
                };
            }
        }
        Ok(())
    }
}

impl Lzma {
    /// Bytes of the dictionary of the (first) stream; 0 where its header makes no sense.
    fn dictionary(&self, encoded: &[u8]) -> u64 {
        match self {
            Self::Xz => xz_dictionary(encoded).unwrap_or(0),
            Self::Alone => {
                let stated = encoded.get(1..).and_then(|rest| rest.first_chunk::<4>());
                stated.map_or(0, |stated| u64::from(u32::from_le_bytes(*stated)))
            }
            Self::Either if encoded.starts_with(&[0xfd]) => Self::Xz.dictionary(encoded),
            Self::Either => Self::Alone.dictionary(encoded),
            Self::Raw(filters) => {
                let dictionaries = filters.iter().map(|filter| match filter {
                    Filter::Lzma { dictionary, .. } => u64::from(*dictionary),
                    Filter::Delta { .. } | Filter::Branch { .. } => 0,
                });
                dictionaries.sum()
            }
        }
    }

    /// A decoder that takes at most `memory` bytes.
    fn stream(&self, memory: u64, limit: u64) -> Result<Stream, liblzma::stream::Error> {
        match self {
            Self::Xz => Stream::new_stream_decoder(memory, 0),
            Self::Alone => Stream::new_lzma_decoder(memory),
            Self::Either => Stream::new_auto_decoder(memory, 0),
            Self::Raw(filters) => {
                let mut all = Filters::new();
                for filter in filters {
                    filter.add_to(&mut all, limit)?;
                }
                Stream::new_raw_decoder(&all)
            }
        }
    }

    /// All streams, one after the other. As in Python, what follows the first one may be no stream.
    fn decompress(&self, encoded: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let most = usize::try_from(limit.saturating_add(1)).unwrap_or(usize::MAX);
        let mut out = Vec::with_capacity(most);
        let mut rest = encoded;
        let memory = self.working_bytes(encoded);
        loop {
            let before = out.len();
            let stream = self.stream(memory, limit)?;
            let mut reader = XzDecoder::new_stream(rest, stream).take((most - before) as u64);
            match reader.read_to_end(&mut out) {
                Err(_) if rest.len() < encoded.len() => {
                    out.truncate(before);
                    return Ok(out);
                }
                read => read?,
            };
            rest = reader.into_inner().into_inner();
            if rest.is_empty() || out.len() == most {
                return Ok(out);
            }
        }
    }
}

impl Decode for Lzma {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        Some(decoded.compressed())
    }

    /// A dictionary larger than any unit is of no use.
    fn working_bytes(&self, encoded: &[u8]) -> u64 {
        self.dictionary(encoded).min(UNIT_LIMIT_BYTES) + DECODER_BYTES
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, limit: u64) -> Result<Cow<'a, [u8]>, String> {
        self.decompress(&encoded, limit).map(Cow::Owned).map_err(|error| error.to_string())
    }
}

/// The dictionary of the LZMA2 filter, which is the last one, of the first block of a `.xz` stream (sections
/// 2.1.1, 3.1 and 5.3.1).
fn xz_dictionary(encoded: &[u8]) -> Option<u64> {
    let header = encoded.get(12..)?;
    let (&flags, mut rest) = header.get(1..)?.split_first()?;
    for _ in 0..(flags >> 6).count_ones() {
        variable_length(&mut rest)?;
    }
    for _ in 0..=flags & 3 {
        let id = variable_length(&mut rest)?;
        let len = usize::try_from(variable_length(&mut rest)?).ok()?;
        let (properties, next) = rest.split_at_checked(len)?;
        if id == id::LZMA2 {
            let bits = properties.first()? & 0x3f;
            return Some(u64::from(2 | bits & 1) << (bits / 2 + 11));
        }
        rest = next;
    }
    None
}

/// An integer of seven bits a byte, the lowest ones first (section 1.2).
fn variable_length(bytes: &mut &[u8]) -> Option<u64> {
    let len = bytes.iter().take(9).position(|byte| byte & 0x80 == 0)? + 1;
    let (integer, rest) = bytes.split_at(len);
    *bytes = rest;
    Some(integer.iter().rev().fold(0, |n, byte| n << 7 | u64::from(byte & 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn encoder(dictionary: u32) -> Stream {
        let mut options = LzmaOptions::new_preset(6).expect("a preset");
        options.dict_size(dictionary);
        let mut filters = Filters::new();
        filters.delta_properties(&[1]).expect("a filter").lzma2(&options);
        Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32).expect("an encoder")
    }

    fn encoded(bytes: &[u8], dictionary: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let mut reader = liblzma::bufread::XzEncoder::new_stream(bytes, encoder(dictionary));
        reader.read_to_end(&mut out).expect("in memory");
        out
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = encoded(&vec![0; 8 << 20], 1 << 20);
        assert!(bomb.len() < 10_000);
        let out = Lzma::Xz.decode(Cow::Owned(bomb), 1000).expect("inflates");
        assert_eq!(out.len(), 1001);
    }

    #[test]
    fn the_dictionary_is_that_of_the_header() {
        for dictionary in [4096, 3 << 20, 64 << 20] {
            let file = encoded(b"abc", dictionary);
            assert_eq!(Lzma::Xz.dictionary(&file), u64::from(dictionary));
            assert_eq!(Lzma::Either.dictionary(&file), u64::from(dictionary));
            for len in 0..file.len() {
                Lzma::Xz.dictionary(&file[..len]);
            }
        }
    }

    #[test]
    fn streams_follow_each_other_and_what_is_none_is_left_out() {
        let mut file = [encoded(b"ab", 4096), encoded(b"cd", 4096)].concat();
        assert_eq!(Lzma::Xz.decompress(&file, 4).expect("decodes"), b"abcd");
        file.extend([0, 1, 2]);
        assert_eq!(Lzma::Xz.decompress(&file, 4).expect("decodes"), b"abcd");
    }

    #[test]
    fn configurations_that_make_no_sense_are_refused() {
        let read = |configuration| read(&NamedCodec::new("lzma", configuration), SourceType::U8);
        assert!(read(json!({"format": 1, "filters": null})).is_ok());
        for wrong in [
            json!({"format": 4}),
            json!({"format": 3}),
            json!({"format": 3, "filters": []}),
            json!({"format": 3, "filters": [{"id": 3, "dist": 0}]}),
            json!({"format": 3, "filters": [{"id": 3, "dist": 257}]}),
            json!({"format": 3, "filters": [{"id": 2}]}),
            json!({"format": 3, "filters": [{"id": 33, "preset": 10}]}),
            json!({"format": 3, "filters": [{"id": 33}, {"id": 33}, {"id": 33}, {"id": 33},
                {"id": 33}]}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
