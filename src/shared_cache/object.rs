//! The form of a brick as an object. Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`], which ends in the version of this form |
//! | 16, 2, 8 | the key: image, space, index |
//! | 8 | length of the brick in bytes |
//! | 1 | how the content is stored: [`RAW`] or [`ZSTD`] |
//! | to the end | the content |
//! | 16 | XXH3-128 of all that stands before it |
//!
//! The version of the bytes of files is part of the identity of an image, so it is part of the key.

use xxhash_rust::xxh3::xxh3_128;

use crate::cache::{BrickKey, ImageId};
use crate::resources::buffer::Buffer;

/// Begins each object.
const MAGIC: [u8; 8] = *b"zarrims1";

/// The folder of all objects of this form, so that old ones can be removed as a whole.
const FOLDER: &str = "zarrims-1";

const HEADER_BYTES: usize = 8 + 16 + 2 + 8 + 8 + 1;
const CHECKSUM_BYTES: usize = 16;

/// The content is stored as it is.
const RAW: u8 = 0;
/// The content is a frame of Zstandard.
const ZSTD: u8 = 1;

/// Level 1 packs as fast as a network of 10 Gbit/s carries.
const ZSTD_LEVEL: i32 = 1;

/// The name of the object that holds a brick.
pub(super) fn name(BrickKey { image, space, index }: BrickKey) -> String {
    let image = image.to_string();
    // No folder gets too many entries.
    format!("{FOLDER}/{}/{image}/{space}/{index}", &image[..2])
}

/// Largest object that holds a brick of at most `brick_bytes`: packed content is stored only where it is
/// smaller.
pub(super) fn most_bytes(brick_bytes: u64) -> u64 {
    brick_bytes + (HEADER_BYTES + CHECKSUM_BYTES) as u64
}

/// The object of a brick.
pub(super) fn encode(
    BrickKey { image: ImageId(image), space, index }: BrickKey,
    bytes: &[u8],
) -> Vec<u8> {
    let packed = zstd::bulk::compress(bytes, ZSTD_LEVEL).ok();
    let packed = packed.filter(|packed| packed.len() < bytes.len());
    let (form, content) = packed.as_deref().map_or((RAW, bytes), |packed| (ZSTD, packed));
    let mut object = Vec::with_capacity(HEADER_BYTES + content.len() + CHECKSUM_BYTES);
    object.extend(MAGIC);
    object.extend(image.to_le_bytes());
    object.extend(space.to_le_bytes());
    object.extend(index.to_le_bytes());
    object.extend((bytes.len() as u64).to_le_bytes());
    object.push(form);
    object.extend(content);
    let checksum = xxh3_128(&object);
    object.extend(checksum.to_le_bytes());
    object
}

/// The brick in an object; `None` where it is damaged, of another form, or another brick.
pub(super) fn decode(key: BrickKey, most_bytes: u64, object: &[u8]) -> Option<Buffer> {
    let (signed, checksum) = object.split_last_chunk::<CHECKSUM_BYTES>()?;
    let (header, content) = signed.split_first_chunk::<HEADER_BYTES>()?;
    if xxh3_128(signed) != u128::from_le_bytes(*checksum) {
        return None;
    }
    let (magic, rest) = header.split_first_chunk::<8>()?;
    let (image, rest) = rest.split_first_chunk::<16>()?;
    let (space, rest) = rest.split_first_chunk::<2>()?;
    let (index, rest) = rest.split_first_chunk::<8>()?;
    let (length, form) = rest.split_first_chunk::<8>()?;
    let found = BrickKey {
        image: ImageId(u128::from_le_bytes(*image)),
        space: u16::from_le_bytes(*space),
        index: u64::from_le_bytes(*index),
    };
    let length = u64::from_le_bytes(*length);
    if *magic != MAGIC || found != key || length > most_bytes {
        return None;
    }
    let mut bytes = Buffer::try_of(usize::try_from(length).ok()?).ok()?;
    match form {
        [RAW] if content.len() == bytes.len() => bytes.copy_from_slice(content),
        [ZSTD] => {
            let written = zstd::bulk::decompress_to_buffer(content, &mut bytes[..]).ok()?;
            if written != bytes.len() {
                return None;
            }
        }
        _ => return None,
    }
    Some(bytes)
}

/// For the fuzz target `shared_object`.
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::*;

    /// Decodes made-up bytes, once as they are and once with a right checksum, and compares what comes out
    /// with what would be stored for it.
    pub fn decode_object(data: &[u8]) {
        let key = BrickKey { image: ImageId(7), space: 1, index: 2 };
        let most = 1 << 16;
        let _ = decode(key, most, data);
        let mut signed = encode(key, b"")[..HEADER_BYTES].to_vec();
        let at = HEADER_BYTES - 9;
        let taken = data.len().min(9);
        signed[at..at + taken].copy_from_slice(&data[..taken]);
        signed.extend(&data[taken..]);
        let checksum = xxh3_128(&signed);
        signed.extend(checksum.to_le_bytes());
        if let Some(bytes) = decode(key, most, &signed) {
            assert!(bytes.len() <= most as usize);
            let again = decode(key, most, &encode(key, &bytes)).expect("its own object");
            assert_eq!(bytes[..], again[..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: BrickKey = BrickKey { image: ImageId(0xabc << 100), space: 3, index: 41 };

    fn noise(length: u32) -> Vec<u8> {
        (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[test]
    fn a_brick_comes_back() {
        for bytes in [Vec::new(), vec![0; 5000], noise(5000), noise(1)] {
            let object = encode(KEY, &bytes);
            assert!(object.len() as u64 <= most_bytes(bytes.len() as u64));
            let found = decode(KEY, bytes.len() as u64, &object).expect("a whole object");
            assert_eq!(found[..], bytes[..]);
        }
        assert!(encode(KEY, &[0; 5000]).len() < 200, "zeros are packed");
    }

    #[test]
    fn whatever_is_not_right_is_a_miss() {
        for bytes in [vec![7; 300], noise(300)] {
            let object = encode(KEY, &bytes);
            for at in 0..object.len() {
                for bit in 0..8 {
                    let mut damaged = object.clone();
                    damaged[at] ^= 1 << bit;
                    assert!(decode(KEY, 300, &damaged).is_none(), "byte {at}, bit {bit}");
                }
                assert!(decode(KEY, 300, &object[..at]).is_none(), "{at} bytes");
            }
            assert!(decode(KEY, 300, &[&object[..], b"x"].concat()).is_none());
            assert!(decode(KEY, 299, &object).is_none(), "larger than its place");
            for other in [
                BrickKey { index: 42, ..KEY },
                BrickKey { space: 2, ..KEY },
                BrickKey { image: ImageId(1), ..KEY },
            ] {
                assert!(decode(other, 300, &object).is_none(), "the brick of another name");
                assert_ne!(name(other), name(KEY));
            }
        }
    }

    /// A right checksum does not make wrong fields right.
    #[test]
    fn other_forms_are_a_miss() {
        let bytes = vec![7; 300];
        let signed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut object = encode(KEY, &bytes);
            object.truncate(object.len() - CHECKSUM_BYTES);
            change(&mut object);
            let checksum = xxh3_128(&object);
            object.extend(checksum.to_le_bytes());
            object
        };
        assert!(decode(KEY, 300, &signed(&|_| {})).is_some());
        let length = HEADER_BYTES - 9;
        for change in [
            &(|object: &mut Vec<u8>| object[7] = b'2') as &dyn Fn(&mut Vec<u8>),
            &|object| object[length] = object[length].wrapping_sub(1),
            &|object| object[length + 7] = 0xff,
            &|object| object[HEADER_BYTES - 1] = RAW,
            &|object| object[HEADER_BYTES - 1] = 2,
            &|object| object.push(0),
        ] {
            assert!(decode(KEY, 300, &signed(change)).is_none());
        }
    }
}
