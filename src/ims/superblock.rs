//! The superblock of version 0, with the entry of the root group (HDF5 specification, sections II.A and III.C).

use super::symbol_table::{GROUP_INTERNAL_K, GROUP_LEAF_K, TableAddresses};

/// Bytes of the superblock.
pub(super) const BYTES: u64 = 96;

const UNDEFINED_ADDRESS: u64 = u64::MAX;

/// Symbol table entry: the addresses of the group's table stand in it, too.
const CACHED_TABLE: u32 = 1;

/// The superblock of a file of `eof` bytes; `root` is the address of the object header of the root group.
pub(super) fn superblock(eof: u64, root: u64, table: TableAddresses) -> Vec<u8> {
    let mut out = b"\x89HDF\r\n\x1a\n".to_vec();
    // Versions of superblock, free space, root entry and shared headers; bytes of addresses and lengths.
    out.extend([0, 0, 0, 0, 0, 8, 8, 0]);
    out.extend(GROUP_LEAF_K.to_le_bytes());
    out.extend(GROUP_INTERNAL_K.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    // Base address, free space, end of file, driver information.
    for field in [0, UNDEFINED_ADDRESS, eof, UNDEFINED_ADDRESS] {
        out.extend(field.to_le_bytes());
    }
    out.extend(0_u64.to_le_bytes());
    out.extend(root.to_le_bytes());
    out.extend(CACHED_TABLE.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out.extend(table.tree.to_le_bytes());
    out.extend(table.heap.to_le_bytes());
    out
}
