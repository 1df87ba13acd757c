//! As much of an HDF5 reader as it takes to find the chunks of a dataset, written from the HDF5 File
//! Format Specification (version 3.0) and from nothing else: a second opinion beside libhdf5.

use std::ops::Range;

/// The address that means "none".
const UNDEFINED: u64 = u64::MAX;

/// A file in memory: superblock version 0, object headers version 1, symbol tables.
pub(crate) struct Hdf5<'a> {
    bytes: &'a [u8],
}

/// A chunked dataset of rank 3.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) shape: [u64; 3],
    pub(crate) chunk: [u64; 3],
    /// Class of the data type (0 integer, 1 floating point) and bytes per element.
    pub(crate) class_and_size: (u8, u64),
    /// Address of the root of the chunk index.
    pub(crate) root: u64,
}

/// The chunk index of a dataset, read completely.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Bytes of the nodes.
    pub(crate) nodes: Vec<Range<u64>>,
    /// First voxel (z, y, x) and bytes of each chunk, in the order of the keys.
    pub(crate) chunks: Vec<([u64; 3], Range<u64>)>,
}

fn at(address: u64) -> usize {
    usize::try_from(address).expect("files under test fit in memory")
}

impl<'a> Hdf5<'a> {
    /// Checks the superblock (section II.A).
    pub(crate) fn open(bytes: &'a [u8]) -> Self {
        let file = Self { bytes };
        assert_eq!(&bytes[..8], b"\x89HDF\r\n\x1a\n", "signature");
        assert_eq!(bytes[8], 0, "superblock version");
        assert_eq!(bytes[13..15], [8, 8], "sizes of offsets and lengths");
        assert_eq!(file.u64(24), 0, "base address");
        assert_eq!(file.u64(40), bytes.len() as u64, "end of file address");
        file
    }

    fn u16(&self, address: u64) -> u16 {
        u16::from_le_bytes(*self.bytes[at(address)..].first_chunk().expect("inside the file"))
    }

    fn u32(&self, address: u64) -> u64 {
        let field = self.bytes[at(address)..].first_chunk().expect("inside the file");
        u64::from(u32::from_le_bytes(*field))
    }

    fn u64(&self, address: u64) -> u64 {
        u64::from_le_bytes(*self.bytes[at(address)..].first_chunk().expect("inside the file"))
    }

    fn byte(&self, address: u64) -> u8 {
        self.bytes[at(address)]
    }

    fn assert_signature(&self, address: u64, signature: [u8; 4]) {
        assert_eq!(self.bytes[at(address)..][..4], signature, "signature at {address}");
    }

    /// Address of the object header at the end of a path.
    pub(crate) fn find(&self, path: &str) -> u64 {
        // The root group's symbol table entry stands in the superblock at 56.
        path.split('/').fold(self.u64(64), |group, name| {
            self.member(group, name).unwrap_or_else(|| panic!("no {name:?} on the way to {path:?}"))
        })
    }

    /// Looks a name up in a group (sections III.A.1, III.B, III.C, III.D).
    fn member(&self, group: u64, name: &str) -> Option<u64> {
        let table = self.message(group, 0x0011).expect("a group has a symbol table");
        let (tree, heap) = (self.u64(table), self.u64(table + 8));
        self.assert_signature(heap, *b"HEAP");
        let names = self.u64(heap + 24);
        let mut nodes = vec![tree];
        while let Some(node) = nodes.pop() {
            if &self.bytes[at(node)..][..4] == b"TREE" {
                assert_eq!(self.byte(node + 4), 0, "node type of a group");
                let used = u64::from(self.u16(node + 6));
                nodes.extend((0..used).map(|entry| self.u64(node + 24 + 8 + entry * 16)));
                continue;
            }
            self.assert_signature(node, *b"SNOD");
            for entry in 0..u64::from(self.u16(node + 6)) {
                let entry = node + 8 + entry * 40;
                let text = &self.bytes[at(names + self.u64(entry))..];
                if text.split(|&byte| byte == 0).next() == Some(name.as_bytes()) {
                    return Some(self.u64(entry + 8));
                }
            }
        }
        None
    }

    /// Address of the body of the first message of a kind (section IV.A.1.a).
    fn message(&self, header: u64, wanted: u16) -> Option<u64> {
        assert_eq!(self.byte(header), 1, "version of the object header at {header}");
        let mut left = self.u16(header + 2);
        let mut blocks = vec![(header + 16, self.u32(header + 8))];
        let mut next = 0;
        while let Some(&(start, len)) = blocks.get(next) {
            next += 1;
            let mut message = start;
            while left > 0 && message + 8 <= start + len {
                left -= 1;
                let (kind, body) = (self.u16(message), message + 8);
                if kind == wanted {
                    return Some(body);
                }
                if kind == 0x0010 {
                    blocks.push((self.u64(body), self.u64(body + 8)));
                }
                message = body + u64::from(self.u16(message + 2));
            }
        }
        None
    }

    /// Reads the header of a dataset (sections IV.A.2.b, d, i, l).
    pub(crate) fn dataset(&self, path: &str) -> Dataset {
        let header = self.find(path);
        let message = |kind| {
            let found = self.message(header, kind);
            found.unwrap_or_else(|| panic!("{path} has no message {kind:#06x}"))
        };
        let space = message(0x0001);
        assert_eq!((self.byte(space), self.byte(space + 1)), (1, 3), "dataspace version and rank");
        let data_type = message(0x0003);
        assert_eq!(self.byte(data_type + 1) & 1, 0, "little-endian");
        let layout = message(0x0008);
        assert_eq!(self.bytes[at(layout)..][..3], [3, 2, 4], "chunked layout of rank 3");
        assert_eq!(self.message(header, 0x000B), None, "a filter");
        let size = self.u32(data_type + 4);
        assert_eq!(self.u32(layout + 11 + 12), size, "element size in the layout");
        Dataset {
            shape: [0, 1, 2].map(|axis| self.u64(space + 8 + axis * 8)),
            chunk: [0, 1, 2].map(|axis| self.u32(layout + 11 + axis * 4)),
            class_and_size: (self.byte(data_type) & 0xF, size),
            root: self.u64(layout + 3),
        }
    }

    /// Walks the chunk index of a dataset and checks all it says (section III.A.1, node type 1).
    pub(crate) fn index(&self, dataset: &Dataset) -> Index {
        let mut index = Index::default();
        let height = self.byte(dataset.root + 5);
        self.node(dataset, dataset.root, height, &mut index);
        let grid: Vec<u64> =
            (0..3).map(|axis| dataset.shape[axis].div_ceil(dataset.chunk[axis])).collect();
        assert_eq!(index.chunks.len() as u64, grid.iter().product::<u64>(), "number of chunks");
        for (number, (first, _)) in (0_u64..).zip(&index.chunks) {
            let position =
                [number / grid[2] / grid[1], number / grid[2] % grid[1], number % grid[2]];
            let expected: [u64; 3] = std::array::from_fn(|a| position[a] * dataset.chunk[a]);
            assert_eq!(*first, expected, "offset of chunk {number}");
        }
        index
    }

    fn key(&self, dataset: &Dataset, key: u64) -> [u64; 3] {
        let bytes = dataset.chunk.iter().product::<u64>() * dataset.class_and_size.1;
        assert_eq!(self.u32(key), bytes, "chunk size in the key at {key}");
        assert_eq!(self.u32(key + 4), 0, "filter mask");
        assert_eq!(self.u64(key + 32), 0, "offset within the element");
        [0, 1, 2].map(|axis| self.u64(key + 8 + axis * 8))
    }

    fn node(&self, dataset: &Dataset, node: u64, height: u8, index: &mut Index) {
        self.assert_signature(node, *b"TREE");
        assert_eq!((self.byte(node + 4), self.byte(node + 5)), (1, height), "type and level");
        let used = u64::from(self.u16(node + 6));
        assert!((1..=64).contains(&used), "{used} entries in the node at {node}");
        index.nodes.push(node..node + 24 + 64 * 48 + 40);
        for entry in 0..used {
            let key = node + 24 + entry * 48;
            let child = self.u64(key + 40);
            assert_ne!(child, UNDEFINED, "child {entry} of the node at {node}");
            let first = self.key(dataset, key);
            if height == 0 {
                index.chunks.push((first, child..child + self.u32(key)));
            } else {
                let known = index.chunks.len();
                self.node(dataset, child, height - 1, index);
                assert_eq!(index.chunks[known].0, first, "first chunk below entry {entry}");
            }
        }
        for (sibling, back) in [(self.u64(node + 8), 16), (self.u64(node + 16), 8)] {
            if sibling != UNDEFINED {
                assert_eq!(self.u64(sibling + back), node, "siblings point at each other");
                assert_eq!(self.byte(sibling + 5), height, "siblings are of one level");
            }
        }
    }
}
