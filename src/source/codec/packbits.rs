//! The codec `packbits` of Zarr v3, from numbers to bytes.
//!
//! Source: `packbits` in `zarr-developers/zarr-extensions`, state of 2026-08. The specification does not say
//! in which order bits lie in a byte: as in `zarrs` 0.23, the lowest one comes first. The filter of
//! numcodecs of the same name has the highest one first, and is in [`filter`](super::filter).

use std::borrow::Cow;

use serde_json::Value as Json;

use super::decode::{Decode, Decoder, Size};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::json::whole;
use crate::source::source_type::SourceType;

/// Some bits of each number, in numbers of zeros, or of the sign.
#[derive(Debug)]
struct PackBits {
    kind: SourceType,
    first_bit: u32,
    /// Bits of each number.
    bits: u32,
    padding: Padding,
}

/// Where the number of padding bits is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Padding {
    Nowhere,
    First,
    Last,
}

pub(super) fn read(codec: &NamedCodec, kind: SourceType) -> Result<Decoder, Unsupported> {
    codec.has_only(&["padding_encoding", "first_bit", "last_bit"])?;
    let all = if kind == SourceType::Bool { 1 } else { bits_of(kind) };
    let bit = |name, default| match codec.members.get(name) {
        None | Some(Json::Null) => Ok(default),
        Some(stated) => {
            let bit = whole(stated).and_then(|bit| u32::try_from(bit).ok());
            bit.filter(|&bit| bit < all).ok_or(Unsupported::Member(name))
        }
    };
    let (first_bit, last_bit) = (bit("first_bit", 0)?, bit("last_bit", all - 1)?);
    let bits = last_bit.checked_sub(first_bit).ok_or(Unsupported::Member("last_bit"))? + 1;
    let padding = match codec.words("padding_encoding")? {
        None | Some("none") => Padding::Nowhere,
        Some("first_byte") => Padding::First,
        Some("last_byte") => Padding::Last,
        Some(_) => return Err(Unsupported::Member("padding_encoding")),
    };
    Ok(Box::new(PackBits { kind, first_bit, bits, padding }))
}

fn bits_of(kind: SourceType) -> u32 {
    u32::try_from(kind.bytes() * 8).unwrap_or(0)
}

impl Decode for PackBits {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        let numbers = decoded.map(|len| Some(len / self.kind.bytes() as u64))?;
        let extra = u64::from(self.padding != Padding::Nowhere);
        numbers.map(|n| n.checked_mul(u64::from(self.bits))?.div_ceil(8).checked_add(extra))
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, limit: u64) -> Result<Cow<'a, [u8]>, String> {
        let bytes = self.kind.bytes();
        let numbers = usize::try_from(limit).unwrap_or(usize::MAX) / bytes;
        let (padding, packed) = match self.padding {
            Padding::Nowhere => (None, Some(&encoded[..])),
            Padding::First => (encoded.first(), encoded.get(1..)),
            Padding::Last => (encoded.last(), encoded.split_last().map(|(_, packed)| packed)),
        };
        let packed = packed.ok_or("no bytes")?;
        let used = numbers.saturating_mul(self.bits as usize);
        if used.div_ceil(8) != packed.len() {
            return Err("bits of another number of elements".to_owned());
        }
        if padding.is_some_and(|&padding| usize::from(padding) != packed.len() * 8 - used) {
            return Err("another number of padding bits".to_owned());
        }
        Ok(Cow::Owned(self.unpacked(packed, numbers)))
    }
}

impl PackBits {
    fn unpacked(&self, packed: &[u8], numbers: usize) -> Vec<u8> {
        let bytes = self.kind.bytes();
        let is_signed = matches!(
            self.kind,
            SourceType::I8 | SourceType::I16 | SourceType::I32 | SourceType::I64
        );
        let mut packed = packed.iter();
        let (mut waiting, mut waiting_bits) = (0_u128, 0);
        let mut out = Vec::with_capacity(numbers * bytes);
        for _ in 0..numbers {
            while waiting_bits < self.bits {
                waiting |= u128::from(packed.next().copied().unwrap_or(0)) << waiting_bits;
                waiting_bits += 8;
            }
            let mut number = waiting & ((1 << self.bits) - 1);
            waiting >>= self.bits;
            waiting_bits -= self.bits;
            if is_signed && number >> (self.bits - 1) == 1 {
                number |= u128::MAX << self.bits;
            }
            out.extend_from_slice(&(number << self.first_bit).to_le_bytes()[..bytes]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn packbits(kind: SourceType, configuration: Json) -> Result<Decoder, Unsupported> {
        read(&NamedCodec::new("packbits", configuration), kind)
    }

    /// Packs as the specification says, bit by bit, and unpacks.
    #[test]
    fn what_is_packed_bit_by_bit_comes_back() {
        for (kind, numbers) in [
            (SourceType::Bool, vec![1, 0, 0, 1, 1, 1, 0, 1, 1_i64]),
            (SourceType::U8, vec![0, 255, 3, 77, 128]),
            (SourceType::I8, vec![0, -1, 127, -128, 5]),
            (SourceType::I16, vec![-32768, 32767, -2, 1, 300, -300, 9]),
            (SourceType::U64, vec![-1, 1, i64::MAX, 0x1234_5678_9abc]),
            (SourceType::F32, vec![i64::from(1.5_f32.to_bits()), 0x7fff_ffff, 0]),
        ] {
            let all = if kind == SourceType::Bool { 1 } else { bits_of(kind) };
            for (first, last) in (0..all).flat_map(|first| (first..all).map(move |it| (first, it)))
            {
                for padding in ["none", "first_byte", "last_byte"] {
                    check(kind, &numbers, (first, last), padding);
                }
            }
        }
    }

    fn check(kind: SourceType, numbers: &[i64], (first, last): (u32, u32), padding: &str) {
        let bits: Vec<bool> = numbers
            .iter()
            .flat_map(|number| (first..=last).map(move |bit| number >> bit & 1 == 1))
            .collect();
        let mut packed: Vec<u8> = bits
            .chunks(8)
            .map(|byte| byte.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit)))
            .collect();
        let spare = u8::try_from(packed.len() * 8 - bits.len()).expect("below 8");
        match padding {
            "first_byte" => packed.insert(0, spare),
            "last_byte" => packed.push(spare),
            _ => {}
        }
        let is_signed = kind.name().starts_with("int");
        let wanted: Vec<u8> = numbers
            .iter()
            .flat_map(|&number| {
                let kept = number << (63 - last);
                let kept = if is_signed {
                    kept >> (63 - last + first)
                } else {
                    (kept.cast_unsigned() >> (63 - last + first)).cast_signed()
                };
                (kept << first).to_le_bytes()[..kind.bytes()].to_vec()
            })
            .collect();
        let configuration =
            json!({"first_bit": first, "last_bit": last, "padding_encoding": padding});
        let codec = packbits(kind, configuration).expect("a configuration");
        let size = codec.encoded(Size::Exactly(wanted.len() as u64)).expect("a size");
        assert_eq!(size.limit(), packed.len() as u64);
        let limit = wanted.len() as u64;
        let decoded = codec.decode(Cow::Borrowed(&packed), limit).expect("decodes");
        assert_eq!(decoded[..], wanted, "{kind:?} {first}..={last} {padding}");
        assert!(codec.decode(Cow::Borrowed(&packed[1..]), limit).is_err());
    }

    #[test]
    fn configurations_that_make_no_sense_are_refused() {
        for wrong in [
            json!({"first_bit": 16}),
            json!({"first_bit": 3, "last_bit": 2}),
            json!({"last_bit": -1}),
            json!({"padding_encoding": "middle"}),
            json!({"end_bit": 3}),
        ] {
            assert!(packbits(SourceType::U16, wrong.clone()).is_err(), "{wrong}");
        }
        let codec = packbits(SourceType::Bool, json!({"padding_encoding": "first_byte"}));
        let codec = codec.expect("a configuration");
        assert!(codec.decode(Cow::Borrowed(&[3, 0]), 4).is_err());
        assert!(codec.decode(Cow::Borrowed(&[4, 0b1010]), 4).is_ok());
    }
}
