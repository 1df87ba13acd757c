//! The graft: writing addresses the library does not know into the skeleton it wrote.
//!
//! Two fields change. The superblock's end-of-file address becomes the length of the whole
//! virtual file; and each `Data` header's chunk index address, which the library leaves undefined
//! until a chunk is written, becomes the address of a computed root node.
//!
//! The skeleton was written moments ago by a library that can be trusted, but versions differ, so
//! every step is checked and a surprise is an error, never a wrong file.

use super::ImsError;

/// The address that means "none".
const UNDEFINED_ADDRESS: u64 = u64::MAX;

/// Superblock version 0 (HDF5 specification, section II.A).
mod superblock {
    pub(super) const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
    pub(super) const VERSION_AT: usize = 8;
    pub(super) const OFFSET_SIZE_AT: usize = 13;
    pub(super) const LENGTH_SIZE_AT: usize = 14;
    pub(super) const BASE_ADDRESS_AT: usize = 24;
    pub(super) const END_OF_FILE_AT: usize = 40;
}

/// Object header version 1 and its messages (HDF5 specification, section IV.A.1.a).
mod header {
    /// Version, reserved, message count (2), reference count (4), size (4), padding (4).
    pub(super) const PREFIX_BYTES: u64 = 16;
    pub(super) const VERSION: u8 = 1;
    pub(super) const MESSAGE_COUNT_AT: u64 = 2;
    pub(super) const SIZE_AT: u64 = 8;
    /// Type (2), size (2), flags (1), reserved (3).
    pub(super) const MESSAGE_PREFIX_BYTES: u64 = 8;
    pub(super) const LAYOUT: u16 = 0x0008;
    pub(super) const CONTINUATION: u16 = 0x0010;
    pub(super) const CONTINUATION_BYTES: u64 = 16;
}

/// Data layout message, version 3, class chunked (HDF5 specification, section IV.A.2.i).
mod layout {
    /// Version, class, dimensionality (rank 3 and the element size).
    pub(super) const CHUNKED_RANK_3: [u8; 3] = [3, 2, 4];
    pub(super) const ADDRESS_AT: u64 = 3;
    /// The fields above, the address, and four 4-byte dimensions.
    pub(super) const BYTES: u64 = 3 + 8 + 4 * 4;
}

/// Sets the end-of-file address in the superblock.
pub(super) fn set_end_of_file(image: &mut [u8], eof: u64) -> Result<(), ImsError> {
    let fail = |problem| Err(ImsError::Graft { address: 0, problem });
    if !image.starts_with(superblock::SIGNATURE) {
        return fail("no superblock signature");
    }
    if bytes_at::<1>(image, superblock::VERSION_AT as u64)? != [0] {
        return fail("superblock is not version 0");
    }
    if bytes_at::<1>(image, superblock::OFFSET_SIZE_AT as u64)? != [8]
        || bytes_at::<1>(image, superblock::LENGTH_SIZE_AT as u64)? != [8]
    {
        return fail("addresses or lengths are not of 8 bytes");
    }
    if u64_at(image, superblock::BASE_ADDRESS_AT as u64)? != 0 {
        return fail("base address is not 0");
    }
    put_u64(image, superblock::END_OF_FILE_AT as u64, eof)
}

/// Sets the chunk index address of the chunked dataset whose object header is at `header`.
pub(super) fn set_chunk_index(image: &mut [u8], header: u64, root: u64) -> Result<(), ImsError> {
    let message = find_layout(image, header)?;
    let fail = |problem| Err(ImsError::Graft { address: message, problem });
    if bytes_at::<3>(image, message)? != layout::CHUNKED_RANK_3 {
        return fail("layout is not version 3, chunked, of rank 3");
    }
    let field = message + layout::ADDRESS_AT;
    if u64_at(image, field)? != UNDEFINED_ADDRESS {
        return fail("chunk index address is already set");
    }
    put_u64(image, field, root)
}

/// Address of the body of the layout message of the object header at `header`.
///
/// Every message looked at is counted against the number the header declares, so the walk ends
/// even if continuations form a loop.
fn find_layout(image: &[u8], header: u64) -> Result<u64, ImsError> {
    let fail = |address, problem| Err(ImsError::Graft { address, problem });
    if bytes_at::<1>(image, header)? != [header::VERSION] {
        return fail(header, "object header is not version 1");
    }
    let mut messages_left =
        u16::from_le_bytes(bytes_at(image, offset(header, header::MESSAGE_COUNT_AT)?)?);
    let size = u32::from_le_bytes(bytes_at(image, offset(header, header::SIZE_AT)?)?);
    let mut blocks = vec![(offset(header, header::PREFIX_BYTES)?, u64::from(size))];
    while let Some((start, len)) = blocks.pop() {
        let end = offset(start, len)?;
        let mut at = start;
        while offset(at, header::MESSAGE_PREFIX_BYTES)? <= end {
            let Some(left) = messages_left.checked_sub(1) else {
                return fail(header, "object header has no layout message");
            };
            messages_left = left;
            let kind = u16::from_le_bytes(bytes_at(image, at)?);
            let body_len = u64::from(u16::from_le_bytes(bytes_at(image, offset(at, 2)?)?));
            let body = offset(at, header::MESSAGE_PREFIX_BYTES)?;
            let next = offset(body, body_len)?;
            if next > end {
                return fail(at, "message runs past its header block");
            }
            match kind {
                header::LAYOUT if body_len >= layout::BYTES => return Ok(body),
                header::LAYOUT => return fail(body, "layout message is too short"),
                header::CONTINUATION if body_len >= header::CONTINUATION_BYTES => {
                    blocks.push((u64_at(image, body)?, u64_at(image, offset(body, 8)?)?));
                }
                header::CONTINUATION => return fail(body, "continuation message is too short"),
                _ => {}
            }
            at = next;
        }
    }
    fail(header, "object header has no layout message")
}

fn offset(address: u64, distance: u64) -> Result<u64, ImsError> {
    address
        .checked_add(distance)
        .ok_or(ImsError::Graft { address, problem: "address beyond 64 bits" })
}

fn bytes_at<const N: usize>(image: &[u8], address: u64) -> Result<[u8; N], ImsError> {
    usize::try_from(address)
        .ok()
        .and_then(|at| image.get(at..)?.first_chunk::<N>())
        .copied()
        .ok_or(ImsError::Graft { address, problem: "address beyond the metadata" })
}

fn u64_at(image: &[u8], address: u64) -> Result<u64, ImsError> {
    Ok(u64::from_le_bytes(bytes_at(image, address)?))
}

fn put_u64(image: &mut [u8], address: u64, value: u64) -> Result<(), ImsError> {
    let field = usize::try_from(address)
        .ok()
        .and_then(|at| image.get_mut(at..)?.first_chunk_mut::<8>())
        .ok_or(ImsError::Graft { address, problem: "address beyond the metadata" })?;
    *field = value.to_le_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = kind.to_le_bytes().to_vec();
        out.extend(u16::try_from(body.len()).unwrap().to_le_bytes());
        out.extend([0; 4]);
        out.extend(body);
        out
    }

    fn continuation(address: u64, len: u64) -> Vec<u8> {
        message(header::CONTINUATION, &[address.to_le_bytes(), len.to_le_bytes()].concat())
    }

    fn chunked_layout() -> Vec<u8> {
        let mut body = layout::CHUNKED_RANK_3.to_vec();
        body.extend([0xFF; 8]);
        body.extend([1; 16]);
        body.extend([0; 5]);
        message(header::LAYOUT, &body)
    }

    /// An object header at 0, then `tail` at 128.
    fn image(count: u16, messages: &[Vec<u8>], tail: &[u8]) -> Vec<u8> {
        let messages = messages.concat();
        let mut out = vec![1, 0];
        out.extend(count.to_le_bytes());
        out.extend(1_u32.to_le_bytes());
        out.extend(u32::try_from(messages.len()).unwrap().to_le_bytes());
        out.extend([0; 4]);
        out.extend(messages);
        out.resize(128, 0);
        out.extend(tail);
        out
    }

    #[test]
    fn the_layout_is_found_behind_a_continuation() {
        let tail = chunked_layout();
        let head = [message(1, &[0; 24]), continuation(128, tail.len() as u64)];
        let mut image = image(3, &head, &tail);
        set_chunk_index(&mut image, 0, 0x1234).unwrap();
        assert_eq!(u64_at(&image, 128 + 8 + 3).unwrap(), 0x1234);
        let again = set_chunk_index(&mut image, 0, 0x1234);
        assert!(matches!(again, Err(ImsError::Graft { .. })), "only an undefined address is set");
    }

    #[test]
    fn damaged_headers_are_errors_and_never_loops() {
        let loops = image(u16::MAX, &[continuation(16, 24)], &[]);
        let outside = image(9, &[continuation(1 << 40, 24)], &[]);
        let wraps = image(9, &[continuation(u64::MAX, u64::MAX)], &[]);
        let uncounted = image(0, &[chunked_layout()], &[]);
        let mut too_long = image(9, &[message(1, &[0; 8])], &[]);
        too_long[18] = 200;
        for mut image in [loops, outside, wraps, uncounted, too_long, vec![], vec![1; 5]] {
            assert!(matches!(set_chunk_index(&mut image, 0, 1), Err(ImsError::Graft { .. })));
        }
    }
}
