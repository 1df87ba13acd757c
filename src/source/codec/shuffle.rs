//! The codec `shuffle`: it puts bytes of one significance side by side.
//!
//! Source: `shuffle.py` of numcodecs 0.16.

use std::borrow::Cow;

use serde_json::Value;

use super::decode::{Decode, Decoder, Size};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::source_type::SourceType;

/// Undoes a shuffle of elements of this size.
#[derive(Debug)]
struct Shuffle {
    element_bytes: usize,
}

/// numcodecs takes elements of 4 bytes where no size is stated, and zarr-python, in Zarr v3, those of the
/// array's type.
pub(super) fn read(codec: &NamedCodec, kind: SourceType) -> Result<Decoder, Unsupported> {
    let element_bytes = match codec.members.get("elementsize") {
        None | Some(Value::Null) if codec.is_of_numcodecs() => kind.bytes(),
        None => 4,
        Some(stated) => stated
            .as_u64()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| (0..=256).contains(bytes))
            .ok_or(Unsupported::Member("elementsize"))?,
    };
    Ok(Box::new(Shuffle { element_bytes }))
}

impl Decode for Shuffle {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        Some(decoded)
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, _limit: u64) -> Result<Cow<'a, [u8]>, String> {
        let element_bytes = self.element_bytes;
        if element_bytes <= 1 {
            return Ok(encoded);
        }
        if !encoded.len().is_multiple_of(element_bytes) {
            return Err("not a whole number of elements".to_owned());
        }
        let mut out = vec![0; encoded.len()];
        let elements = encoded.len() / element_bytes;
        if elements > 0 {
            for (at, plane) in encoded.chunks_exact(elements).enumerate() {
                for (out, &byte) in out[at..].iter_mut().step_by(element_bytes).zip(plane) {
                    *out = byte;
                }
            }
        }
        Ok(Cow::Owned(out))
    }
}
