//! The chunk index of one `Data` dataset: a version 1 B-tree that is computed, never stored.
//!
//! A full B-tree over a regular grid of chunks, in which every node but the last of each level is
//! packed to the brim, has no freedom left: which node holds which keys, where its children and
//! siblings are, is arithmetic on the grid. So a node is a pure function of its number, and an
//! index of 10^10 chunks takes no memory.
//!
//! Nodes are numbered leaves first, then each level above from left to right; the root is last.
//! Layout of a node: HDF5 File Format Specification, section III.A.1 (version 1 B-trees), node
//! type 1 (raw data chunks).

/// Children of a full node: 2K with K = 32, the library's default, which superblock version 0
/// has no field to change.
const ENTRIES: u64 = 64;

/// Dimensions of a key: z, y, x, and the byte within an element, which is always zero.
const KEY_DIMENSIONS: usize = 4;

/// Signature, node type, node level, entries used, left sibling, right sibling.
const HEADER_BYTES: usize = 4 + 1 + 1 + 2 + 8 + 8;

/// Chunk size, filter mask, one offset per dimension.
const KEY_BYTES: usize = 4 + 4 + 8 * KEY_DIMENSIONS;

const ADDRESS_BYTES: usize = 8;

const NODE_TYPE_CHUNKS: u8 = 1;

/// The address that means "none".
const UNDEFINED_ADDRESS: u64 = u64::MAX;

/// Most chunks an index can have. Far above any image, and low enough for every sum of node
/// offsets below to stay within 63 bits.
pub(super) const MAX_CHUNKS: u64 = 1 << 48;

/// The B-tree over a grid of chunks, which have one size unless they are filtered. Axes are (z, y, x).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkIndex {
    /// Chunks along each axis.
    grid: [u64; 3],
    /// Shape of a chunk in voxels.
    chunk: [u64; 3],
    /// Bytes of a chunk that is not filtered.
    chunk_bytes: u32,
}

/// A chunk in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredChunk {
    /// Absolute address in the file.
    pub address: u64,
    /// Bytes there, as its filters have left them.
    pub bytes: u32,
}

/// The nodes of one level of the tree.
struct Level {
    /// 0 for leaves.
    height: u8,
    /// Number of the level's first node.
    first_node: u64,
    nodes: u64,
    /// What the level's entries point at: nodes of the level below, or chunks.
    children: u64,
    /// Chunks under one full child.
    child_chunks: u64,
}

impl ChunkIndex {
    /// Bytes of a node: header, 64 children and the 65 keys around them.
    pub const NODE_BYTES: u64 = 3136;

    /// The index over `grid` chunks of shape `chunk` (voxels) and `chunk_bytes` bytes each; `None` if
    /// a side is zero, the grid has more than 2^48 chunks, or an offset in voxels exceeds 64 bits.
    #[must_use]
    pub fn checked(grid: [u64; 3], chunk: [u64; 3], chunk_bytes: u32) -> Option<Self> {
        let chunks = grid.into_iter().try_fold(1_u64, u64::checked_mul)?;
        let extents = grid.iter().zip(&chunk).map(|(&count, &side)| count.checked_mul(side));
        let fits = (1..=MAX_CHUNKS).contains(&chunks)
            && extents.into_iter().all(|extent| extent.is_some_and(|voxels| voxels > 0));
        fits.then_some(Self { grid, chunk, chunk_bytes })
    }

    /// The index of a grid that is known to have one.
    ///
    /// # Panics
    ///
    /// Where [`Self::checked`] gives none.
    #[must_use]
    pub fn new(grid: [u64; 3], chunk: [u64; 3], chunk_bytes: u32) -> Self {
        Self::checked(grid, chunk, chunk_bytes)
            .unwrap_or_else(|| panic!("no index has {grid:?} chunks of {chunk:?} voxels"))
    }

    /// Number of chunks.
    fn chunk_count(&self) -> u64 {
        self.grid.iter().product()
    }

    /// The levels of the tree, leaves first; the last has a single node.
    fn levels(&self) -> impl Iterator<Item = Level> {
        let leaves = Level {
            height: 0,
            first_node: 0,
            nodes: self.chunk_count().div_ceil(ENTRIES),
            children: self.chunk_count(),
            child_chunks: 1,
        };
        std::iter::successors(Some(leaves), |below| {
            (below.nodes > 1).then(|| Level {
                height: below.height + 1,
                first_node: below.first_node + below.nodes,
                nodes: below.nodes.div_ceil(ENTRIES),
                children: below.nodes,
                child_chunks: below.child_chunks * ENTRIES,
            })
        })
    }

    /// Number of nodes.
    #[must_use]
    pub fn node_count(&self) -> u64 {
        self.levels().map(|level| level.nodes).sum()
    }

    /// Length of the index in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.node_count() * Self::NODE_BYTES
    }

    /// Where the root node begins, in bytes from the start of the index.
    #[must_use]
    pub fn root_offset(&self) -> u64 {
        (self.node_count() - 1) * Self::NODE_BYTES
    }

    /// Writes node number `node` over the whole of `out`.
    ///
    /// `index_start` is the file address of node 0, `chunk_address` gives the file address of the
    /// chunk at grid position (z, y, x).
    ///
    /// # Panics
    ///
    /// If there is no such node, or `out` is not [`Self::NODE_BYTES`] long.
    pub fn write_node(
        &self,
        node: u64,
        index_start: u64,
        chunk_address: &dyn Fn([u64; 3]) -> u64,
        out: &mut [u8],
    ) {
        let chunk =
            |position| StoredChunk { address: chunk_address(position), bytes: self.chunk_bytes };
        self.write_filtered_node(node, index_start, &chunk, out);
    }

    /// The same of chunks that filters have given sizes of their own.
    ///
    /// # Panics
    ///
    /// As [`Self::write_node`].
    pub fn write_filtered_node(
        &self,
        node: u64,
        index_start: u64,
        chunk: &dyn Fn([u64; 3]) -> StoredChunk,
        out: &mut [u8],
    ) {
        assert_eq!(out.len() as u64, Self::NODE_BYTES, "a node is written as a whole");
        let level = self
            .levels()
            .find(|level| node < level.first_node + level.nodes)
            .unwrap_or_else(|| panic!("node {node} of {}", self.node_count()));
        let node_address = |number: u64| index_start + number * Self::NODE_BYTES;
        let position = node - level.first_node;
        let first_child = position * ENTRIES;
        let end_child = level.children.min(first_child + ENTRIES);

        let mut out = Writer { rest: out };
        out.put(b"TREE");
        out.put(&[NODE_TYPE_CHUNKS, level.height]);
        let used = u16::try_from(end_child - first_child).expect("a node has at most 64 entries");
        out.put(&used.to_le_bytes());
        let left = position.checked_sub(1).map_or(UNDEFINED_ADDRESS, |_| node_address(node - 1));
        out.put(&left.to_le_bytes());
        let is_last = position + 1 == level.nodes;
        let right = if is_last { UNDEFINED_ADDRESS } else { node_address(node + 1) };
        out.put(&right.to_le_bytes());

        for child in first_child..end_child {
            out.put(&self.key(child * level.child_chunks, chunk));
            let address = match level.height {
                0 => chunk(self.position(child)).address,
                _ => node_address(level.first_node - level.children + child),
            };
            out.put(&address.to_le_bytes());
        }
        out.put(&self.key(end_child.saturating_mul(level.child_chunks), chunk));
        out.rest.fill(0);
    }

    /// Grid position (z, y, x) of the chunk with this number in lexicographic order.
    fn position(&self, chunk: u64) -> [u64; 3] {
        let [_, rows, columns] = self.grid;
        [chunk / columns / rows, chunk / columns % rows, chunk % columns]
    }

    /// The key of a chunk: size, filter mask (no filter was skipped), offset in voxels. The key
    /// right of the last chunk names a chunk one beyond the grid and of no size.
    fn key(&self, number: u64, chunk: &dyn Fn([u64; 3]) -> StoredChunk) -> [u8; KEY_BYTES] {
        let (position, bytes) = if number < self.chunk_count() {
            let position = self.position(number);
            (position, chunk(position).bytes)
        } else {
            ([self.grid[0], 0, 0], 0)
        };
        let mut key = [0; KEY_BYTES];
        let mut out = Writer { rest: &mut key };
        out.put(&bytes.to_le_bytes());
        out.put(&0_u32.to_le_bytes());
        for (position, side) in position.into_iter().zip(self.chunk) {
            out.put(&(position * side).to_le_bytes());
        }
        key
    }
}

const _: () = assert!(
    ChunkIndex::NODE_BYTES
        == (HEADER_BYTES + KEY_BYTES) as u64 + ENTRIES * (KEY_BYTES + ADDRESS_BYTES) as u64
);

/// Fills a buffer from the front.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let (head, rest) = std::mem::take(&mut self.rest).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn u64_at(node: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(node[at..at + 8].try_into().unwrap())
    }

    fn node(index: &ChunkIndex, number: u64, start: u64) -> Vec<u8> {
        let [_, rows, columns] = index.grid;
        let mut out = vec![0xAA; 3136];
        let address = |[z, y, x]: [u64; 3]| 7 * ((z * rows + y) * columns + x) + 1;
        index.write_node(number, start, &address, &mut out);
        out
    }

    /// The three offsets in voxels of key `entry`.
    fn key_at(node: &[u8], entry: usize) -> [u64; 3] {
        std::array::from_fn(|axis| u64_at(node, 24 + entry * 48 + 8 + 8 * axis))
    }

    /// Walks from the root to a chunk as a reader does, checking every node on the way, and
    /// returns its address and the number of nodes passed.
    fn look_up(index: &ChunkIndex, start: u64, wanted: [u64; 3]) -> (u64, usize) {
        let mut address = start + index.root_offset();
        let mut depth = 0;
        let mut bounds: Option<([u64; 3], [u64; 3])> = None;
        loop {
            assert_eq!((address - start) % 3136, 0);
            let bytes = node(index, (address - start) / 3136, start);
            depth += 1;
            assert_eq!(&bytes[..5], b"TREE\x01");
            let height = bytes[5];
            let used = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
            assert!((1..=64).contains(&used));
            for entry in 0..used {
                assert!(key_at(&bytes, entry) < key_at(&bytes, entry + 1));
                assert_eq!(bytes[24 + entry * 48..][..4], index.chunk_bytes.to_le_bytes());
                assert_eq!(bytes[24 + entry * 48 + 4..][..4], [0; 4]);
                assert_eq!(u64_at(&bytes, 24 + entry * 48 + 32), 0);
            }
            assert!(bytes[24 + used * 48 + 40..].iter().all(|&byte| byte == 0));
            if let Some(bounds) = bounds {
                assert_eq!((key_at(&bytes, 0), key_at(&bytes, used)), bounds);
            }
            let entry = (0..used)
                .find(|&e| key_at(&bytes, e) <= wanted && wanted < key_at(&bytes, e + 1))
                .expect("the keys enclose every chunk");
            let child = u64_at(&bytes, 24 + entry * 48 + 40);
            if height == 0 {
                assert_eq!(key_at(&bytes, entry), wanted);
                return (child, depth);
            }
            bounds = Some((key_at(&bytes, entry), key_at(&bytes, entry + 1)));
            address = child;
        }
    }

    #[test]
    fn one_chunk_is_one_leaf() {
        let index = ChunkIndex::new([1, 1, 1], [4, 5, 6], 240);
        assert_eq!((index.node_count(), index.byte_len(), index.root_offset()), (1, 3136, 0));
        let leaf = node(&index, 0, 4096);
        assert_eq!(u64_at(&leaf, 8), u64::MAX);
        assert_eq!(u64_at(&leaf, 16), u64::MAX);
        assert_eq!(key_at(&leaf, 1), [4, 0, 0]);
    }

    #[test]
    fn what_cannot_be_indexed_has_no_index() {
        let most = [1 << 16, 1 << 16, 1 << 16];
        assert!(ChunkIndex::checked(most, [1, 1, 1], 1).is_some());
        for (grid, chunk) in [
            ([1, 1, MAX_CHUNKS + 1], [1, 1, 1]),
            ([1 << 32, 1 << 32, 1], [1, 1, 1]),
            ([0, 1, 1], [1, 1, 1]),
            ([1, 1, 1], [1, 0, 1]),
            ([1, 1, 1 << 40], [1, 1, 1 << 24]),
        ] {
            assert_eq!(ChunkIndex::checked(grid, chunk, 1), None, "{grid:?} {chunk:?}");
        }
    }

    #[test]
    fn node_counts_follow_powers_of_64() {
        for (chunks, nodes) in [
            (64, 1),
            (65, 3),
            (4096, 65),
            (4097, 68),
            (262_144, 4161),
            (262_145, 4097 + 65 + 2 + 1),
        ] {
            assert_eq!(ChunkIndex::new([1, 1, chunks], [1, 1, 1], 1).node_count(), nodes);
        }
    }

    #[test]
    fn siblings_form_a_chain_in_each_level() {
        let start = 1 << 20;
        let index = ChunkIndex::new([5, 11, 97], [1, 2, 3], 12);
        for level in index.levels() {
            for position in 0..level.nodes {
                let number = level.first_node + position;
                let bytes = node(&index, number, start);
                let address = |number: u64| start + number * 3136;
                let left = if position == 0 { u64::MAX } else { address(number - 1) };
                let last = position + 1 == level.nodes;
                let right = if last { u64::MAX } else { address(number + 1) };
                assert_eq!(bytes[5], level.height);
                assert_eq!((u64_at(&bytes, 8), u64_at(&bytes, 16)), (left, right));
            }
        }
    }

    proptest! {
        #[test]
        fn every_chunk_is_found(
            grid in prop::array::uniform3(1_u64..40),
            chunk in prop::array::uniform3(1_u64..300),
            pick in prop::array::uniform3(0.0_f64..1.0),
        ) {
            check(grid, chunk, pick);
        }

        /// Grids of up to 10^11 chunks: five and six levels of nodes.
        #[test]
        fn every_chunk_of_a_huge_image_is_found(
            grid in prop::array::uniform3(500_u64..5000),
            pick in prop::array::uniform3(0.0_f64..1.0),
        ) {
            let depth = check(grid, [32, 128, 128], pick);
            prop_assert!(depth >= 5);
        }
    }

    fn check(grid: [u64; 3], chunk: [u64; 3], pick: [f64; 3]) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a random position, clamped to the grid"
        )]
        let position: [u64; 3] =
            std::array::from_fn(|a| ((grid[a] as f64 * pick[a]) as u64).min(grid[a] - 1));
        let index = ChunkIndex::new(grid, chunk, 1 << 20);
        let number = (position[0] * grid[1] + position[1]) * grid[2] + position[2];
        let offset = std::array::from_fn(|axis| position[axis] * chunk[axis]);
        let (address, depth) = look_up(&index, 1 << 40, offset);
        assert_eq!(address, 7 * number + 1);
        depth
    }

    #[test]
    fn the_largest_grid_does_not_overflow() {
        let index = ChunkIndex::new([1 << 16, 1 << 16, 1 << 16], [1 << 14; 3], u32::MAX);
        let last = [(1_u64 << 16) - 1; 3];
        let (address, depth) = look_up(&index, 1 << 60, last.map(|p| p << 14));
        assert_eq!((address, depth), (7 * ((1 << 48) - 1) + 1, 8));
    }
}
