//! The codec `pcodec`: one `.pco` file of numbers.
//!
//! Source: `pcodec.py` of numcodecs 0.17; the standalone format of `pco` 1.1 ("pco!", version, type of all
//! chunks, length; then chunks, each with its type and length; then a byte 0). The frame is read here, and the
//! chunks by the wrapped format of that crate, so that neither lengths nor windows can ask for more memory
//! than the numbers can need.

use std::borrow::Cow;

use half::f16;
use pco::data_types::Number;
use pco::metadata::DeltaEncoding;
use pco::wrapped::FileDecompressor;

use super::decode::{Decode, Decoder, Size};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::source_type::SourceType;

/// Numbers decoded at a time; a multiple of `pco::FULL_BATCH_N`, as the crate wants.
const BATCH: usize = pco::FULL_BATCH_N * 16;

/// Smallest window that an encoder may choose, whatever the number of numbers (`pco`, constants).
const LEAST_WINDOW_LOG: u32 = 15;

/// Numbers of this type, or of that which the file states.
#[derive(Debug)]
struct Pcodec(Option<SourceType>);

/// Decoding needs nothing of the configuration. In Zarr v2, the metadata does not state the type of the numbers
/// behind the filters.
pub(super) fn read(codec: &NamedCodec, array: Option<SourceType>) -> Result<Decoder, Unsupported> {
    match array {
        Some(SourceType::Bool) => {
            Err(Unsupported::Codec(format!("{} of another data type", codec.name)))
        }
        array => Ok(Box::new(Pcodec(array))),
    }
}

/// The type of a byte in the file (`pco`, `NumberType`).
fn kind_of(byte: u8) -> Option<SourceType> {
    use SourceType::{F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    let kinds = [U32, U64, I32, I64, F32, F64, U16, I16, F16, U8, I8];
    kinds.get(usize::from(byte).checked_sub(1)?).copied()
}

impl Decode for Pcodec {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        Some(decoded.compressed())
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, limit: u64) -> Result<Cow<'a, [u8]>, String> {
        let (decompressor, mut rest) = header(&encoded)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut out = Vec::new();
        loop {
            let (&kind, chunk) = rest.split_first().ok_or(CUT)?;
            if kind == 0 {
                return if chunk.is_empty() { Ok(Cow::Owned(out)) } else { Err(BEHIND.to_owned()) };
            }
            let kind = kind_of(kind).ok_or("numbers of an unknown type")?;
            if self.0.is_some_and(|wanted| wanted != kind) {
                return Err(format!("numbers of type {}", kind.name()));
            }
            let (&[a, b, c], chunk) = chunk.split_first_chunk().ok_or(CUT)?;
            let numbers = u32::from_le_bytes([a, b, c, 0]) as usize + 1;
            if numbers > (limit - out.len()) / kind.bytes() {
                return Err("more numbers than the chunk has".to_owned());
            }
            if out.is_empty() {
                out.reserve_exact(limit);
            }
            rest = of_kind(kind, &decompressor, chunk, numbers, &mut out)
                .map_err(|error| error.to_string())?;
        }
    }
}

const CUT: &str = "the file ends too early";
const BEHIND: &str = "bytes behind the end";

/// Reads the header; gives the chunks.
fn header(file: &[u8]) -> Result<(FileDecompressor, &[u8]), String> {
    let rest = file.strip_prefix(b"pco!").ok_or("no pco file")?;
    let &version = rest.first().ok_or(CUT)?;
    let rest = match version {
        // These have no header of their own.
        0 | 1 => rest,
        2 | 3 => {
            // The type of all chunks is repeated in each.
            let rest = rest.get(if version == 3 { 2.. } else { 1.. }).ok_or(CUT)?;
            // Six bits have the number of bits of the length, less one.
            let bits = rest.first().ok_or(CUT)? & 0x3f;
            rest.get((6 + usize::from(bits) + 1).div_ceil(8)..).ok_or(CUT)?
        }
        other => return Err(format!("version {other} of the format is not known")),
    };
    FileDecompressor::new(rest).map_err(|error| error.to_string())
}

/// Decodes one chunk; gives what follows it.
fn of_kind<'a>(
    kind: SourceType,
    file: &FileDecompressor,
    chunk: &'a [u8],
    numbers: usize,
    out: &mut Vec<u8>,
) -> Result<&'a [u8], Box<dyn std::error::Error>> {
    macro_rules! numbers {
        ($type:ty) => {
            decoded::<$type, _>(file, chunk, numbers, |numbers| {
                out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
            })
        };
    }
    match kind {
        SourceType::Bool | SourceType::U8 => numbers!(u8),
        SourceType::I8 => numbers!(i8),
        SourceType::U16 => numbers!(u16),
        SourceType::I16 => numbers!(i16),
        SourceType::F16 => numbers!(f16),
        SourceType::U32 => numbers!(u32),
        SourceType::I32 => numbers!(i32),
        SourceType::F32 => numbers!(f32),
        SourceType::U64 => numbers!(u64),
        SourceType::I64 => numbers!(i64),
        SourceType::F64 => numbers!(f64),
    }
}

fn decoded<'a, N: Number + Default, O: FnMut(&[N])>(
    file: &FileDecompressor,
    chunk: &'a [u8],
    numbers: usize,
    mut out: O,
) -> Result<&'a [u8], Box<dyn std::error::Error>> {
    check_dictionary(chunk, size_of::<N>())?;
    let (mut decompressor, rest) = file.chunk_decompressor::<N, _>(chunk)?;
    if let DeltaEncoding::Lookback { config, .. } = &decompressor.meta().delta_encoding
        && config.window_n_log > LEAST_WINDOW_LOG.max(usize::BITS - numbers.leading_zeros())
    {
        return Err("a window larger than the chunk".into());
    }
    let mut page = decompressor.page_decompressor(rest, numbers)?;
    let mut batch = vec![N::default(); BATCH];
    let mut left = numbers;
    while left > 0 {
        let read = page.read(&mut batch)?.n_processed;
        if read == 0 {
            return Err(CUT.into());
        }
        out(&batch[..read]);
        left = left.checked_sub(read).ok_or("more numbers than stated")?;
    }
    Ok(page.into_src())
}

/// `pco` makes room for a dictionary before it looks whether the file is as long. A chunk begins with four
/// bits for its mode, where 4 is a dictionary, and 25 for the length of that (`pco`, `Mode::read_from`).
fn check_dictionary(chunk: &[u8], number_bytes: usize) -> Result<(), &'static str> {
    let Some(head) = chunk.first_chunk::<4>() else { return Ok(()) };
    let head = u32::from_le_bytes(*head);
    let entries = (head >> 4 & ((1 << 25) - 1)) as usize;
    if head & 15 == 4 && entries * number_bytes > chunk.len() { Err(CUT) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pco::ChunkConfig;
    use pco::standalone::simple_compress;

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = simple_compress(&vec![7_u16; 8 << 20], &ChunkConfig::default()).expect("fits");
        assert!(bomb.len() < 10_000);
        let error = Pcodec(None).decode(Cow::Owned(bomb), 1000).expect_err("too long");
        assert!(error.contains("more numbers"), "{error}");
    }

    #[test]
    fn a_dictionary_must_fit_into_the_file() {
        let head = (4 | ((1_u32 << 24) - 1) << 4).to_le_bytes();
        assert!(check_dictionary(&head, 2).is_err());
        assert!(check_dictionary(&(4 | 1_u32 << 4).to_le_bytes(), 2).is_ok());
        assert!(check_dictionary(&u32::MAX.to_le_bytes(), 2).is_ok());
    }

    #[test]
    fn only_numbers_of_the_type_of_the_array_are_taken() {
        let file = simple_compress(&[1_i16, 2, 3], &ChunkConfig::default()).expect("fits");
        assert!(Pcodec(Some(SourceType::U16)).decode(Cow::Borrowed(&file), 6).is_err());
        let decoded = Pcodec(Some(SourceType::I16)).decode(Cow::Borrowed(&file), 6);
        assert_eq!(decoded.expect("decodes")[..], [1, 0, 2, 0, 3, 0]);
    }
}
