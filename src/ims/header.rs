//! Object headers of groups, of version 1, and their attributes (HDF5 specification, section IV.A.1.a).
//!
//! A header here is one block, whatever it holds: attributes are known before it is written.

use super::symbol_table::TableAddresses;

/// Version, message count, reference count, size, padding.
pub(super) const PREFIX_BYTES: u64 = 16;

/// Type, size, flags, reserved.
pub(super) const MESSAGE_PREFIX_BYTES: u64 = 8;

const VERSION: u8 = 1;
const ATTRIBUTE: u16 = 0x000C;
const SYMBOL_TABLE: u16 = 0x0011;

/// Header of a group without attributes: its symbol table message (IV.A.2.r).
pub(super) const GROUP_BYTES: u64 = PREFIX_BYTES + MESSAGE_PREFIX_BYTES + 16;

/// Types of the elements of attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttributeType {
    /// One byte of text. A string of size 1, null-terminated, ASCII: readers that ask for the same type get the
    /// bytes only if nothing needs conversion (`ImarisWriter` `bpWriterHDF5.cxx`, `WriteAttributeT`).
    Text,
    /// Unsigned, 32 bits, little-endian.
    U32,
}

impl AttributeType {
    const fn bytes(self) -> usize {
        match self {
            Self::Text => 1,
            Self::U32 => 4,
        }
    }

    /// The datatype message of version 1 (IV.A.2.d): class and version, class bits, size, and of integers the bit
    /// offset and the precision.
    fn message(self) -> &'static [u8] {
        match self {
            Self::Text => &[0x13, 0, 0, 0, 1, 0, 0, 0],
            Self::U32 => &[0x10, 0, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0],
        }
    }
}

/// Dataspace message of version 1 (IV.A.2.b) of one dimension, with its maximum.
fn dataspace(len: u64) -> [u8; 24] {
    let mut out = [0; 24];
    out[..3].copy_from_slice(&[1, 1, 1]);
    out[8..16].copy_from_slice(&len.to_le_bytes());
    out[16..].copy_from_slice(&len.to_le_bytes());
    out
}

/// Bytes that an attribute takes in a header; `name` and `value` are lengths in bytes.
pub(super) fn attribute_bytes(kind: AttributeType, name: usize, value: usize) -> u64 {
    let padded = |bytes: usize| (bytes as u64).next_multiple_of(8);
    let parts = padded(name + 1) + padded(kind.message().len()) + 24;
    MESSAGE_PREFIX_BYTES + (8 + parts + value as u64).next_multiple_of(8)
}

/// An attribute message of version 1 (IV.A.2.m), whose parts are padded to 8.
pub(super) fn attribute(name: &str, kind: AttributeType, value: &[u8]) -> Vec<u8> {
    let mut body = vec![1, 0];
    let length = |bytes: usize| u16::try_from(bytes).expect("names are short").to_le_bytes();
    let space = dataspace((value.len() / kind.bytes()) as u64);
    for bytes in [name.len() + 1, kind.message().len(), space.len()] {
        body.extend(length(bytes));
    }
    for (part, len) in [(name.as_bytes(), name.len() + 1), (kind.message(), 0), (&space, 0)] {
        body.extend(part);
        body.resize((body.len() + len.saturating_sub(part.len())).next_multiple_of(8), 0);
    }
    body.extend(value);
    message(ATTRIBUTE, &body)
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = body.len().next_multiple_of(8);
    let mut out = kind.to_le_bytes().to_vec();
    out.extend(u16::try_from(len).expect("messages are short").to_le_bytes());
    out.extend([0; 4]);
    out.extend(body);
    out.resize(len + 8, 0);
    out
}

/// The header of a group.
pub(super) struct GroupHeader {
    messages: Vec<u8>,
    count: u64,
    /// Bytes of messages that are to follow.
    more_bytes: u64,
}

impl GroupHeader {
    pub(super) fn new(table: TableAddresses) -> Self {
        let body = [table.tree.to_le_bytes(), table.heap.to_le_bytes()].concat();
        Self { messages: message(SYMBOL_TABLE, &body), count: 1, more_bytes: 0 }
    }

    pub(super) fn attribute(&mut self, name: &str, kind: AttributeType, value: &[u8]) {
        self.messages.extend(attribute(name, kind, value));
        self.count += 1;
    }

    /// Announces `count` attributes of `bytes` each, which the caller puts right behind what is written here.
    pub(super) fn announce(&mut self, count: u64, bytes: u64) {
        self.count += count;
        self.more_bytes += count * bytes;
    }

    /// # Panics
    /// With more messages than a header counts, which descriptions that are valid do not have.
    pub(super) fn finish(self) -> Vec<u8> {
        let bytes = self.messages.len() as u64 + self.more_bytes;
        let mut out = vec![VERSION, 0];
        out.extend(u16::try_from(self.count).expect("few attributes").to_le_bytes());
        out.extend(1_u32.to_le_bytes());
        out.extend(u32::try_from(bytes).expect("few attributes").to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.messages);
        out
    }
}
