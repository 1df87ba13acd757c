//! Where every byte of a virtual file lies. Pure arithmetic over a few numbers per level: a petabyte
//! costs what a megabyte costs.
//!
//! ```text
//! 0 ............ metadata region, fixed capacity     written by libhdf5
//! M ............ index region                        B-tree nodes, finest level first, by (t, c)
//! D ............ data region, coarsest level first   by (t, c), brick by brick, chunk by chunk
//! E - 64 KiB ... zero pad
//! ```
//!
//! Chunks start at multiples of 4 KiB. Bricks at the far edges of a level hold only the chunks the
//! HDF5 grid has, so the file carries no space for chunks that do not exist. Bricks of a megabyte or
//! more are followed by a gap of never-used address space as long as the kernel's read-ahead window:
//! a sequential read of one brick overshoots into the gap instead of filling the next brick.

use crate::ims::ChunkIndex;

/// Tail that Windows and Samba may probe at no cost.
pub const TAIL_PAD_BYTES: u64 = 64 << 10;

/// Read-ahead window of the kernel (`read_ahead_kb`, default 128).
const GAP_BYTES: u64 = 128 << 10;

/// Bricks from this size on are followed by a gap.
const GAP_FROM_BYTES: u64 = 1 << 20;

/// Alignment of chunks: the page size, and the unit in which holes are punched.
const CHUNK_ALIGN_BYTES: u64 = 4096;

/// Largest virtual file: sums of offsets stay within a signed 64-bit file offset.
const LARGEST_FILE_BYTES: u64 = 1 << 62;

/// Distance between chunks of `chunk_bytes` within a brick, in bytes.
pub(super) fn chunk_stride(chunk_bytes: u64) -> u64 {
    chunk_bytes.next_multiple_of(CHUNK_ALIGN_BYTES)
}

/// Chunks and bricks of one HDF5 dataset. All triples are (z, y, x).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrickGrid {
    /// Chunks along each axis.
    grid: [u64; 3],
    /// Chunks per full brick along each axis.
    brick_chunks: [u64; 3],
    /// Bricks along each axis.
    bricks: [u64; 3],
    /// Distance between chunks within a brick, in bytes.
    chunk_stride: u64,
    /// Bytes after each brick.
    gap: u64,
}

/// What an offset within a dataset's data belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `within` bytes into the brick with linear number `index`, `remaining` bytes before its end.
    Brick {
        /// Linear number, x fastest.
        index: u64,
        /// Offset within the brick.
        within: u64,
        /// Bytes from here to the end of the brick.
        remaining: u64,
    },
    /// In a gap, `remaining` bytes before its end.
    Gap {
        /// Bytes from here to the end of the gap.
        remaining: u64,
    },
}

impl BrickGrid {
    /// Lays out `grid` chunks of `chunk_bytes` in bricks of `brick_chunks`.
    #[must_use]
    pub fn new(grid: [u64; 3], brick_chunks: [u64; 3], chunk_bytes: u64) -> Self {
        let chunk_stride = chunk_stride(chunk_bytes);
        let brick_chunks: [u64; 3] = std::array::from_fn(|axis| brick_chunks[axis].min(grid[axis]));
        let brick_bytes = brick_chunks.iter().product::<u64>() * chunk_stride;
        Self {
            grid,
            brick_chunks,
            bricks: std::array::from_fn(|axis| grid[axis].div_ceil(brick_chunks[axis])),
            chunk_stride,
            gap: if brick_bytes >= GAP_FROM_BYTES { GAP_BYTES } else { 0 },
        }
    }

    /// Bytes of the whole dataset; `None` on overflow.
    #[must_use]
    pub fn checked_bytes(&self) -> Option<u64> {
        let product = |triple: [u64; 3]| triple.iter().try_fold(1_u64, |p, &n| p.checked_mul(n));
        let chunks = product(self.grid)?.checked_mul(self.chunk_stride)?;
        chunks.checked_add(product(self.bricks)?.checked_mul(self.gap)?)
    }

    /// Bricks along (z, y, x).
    #[must_use]
    pub fn bricks(&self) -> [u64; 3] {
        self.bricks
    }

    /// Bricks of one dataset.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bricks.iter().product()
    }

    /// Distance in bytes between the chunks of a brick.
    #[must_use]
    pub fn chunk_stride(&self) -> u64 {
        self.chunk_stride
    }

    /// Bytes of a brick that is not cut off by an edge.
    #[must_use]
    pub fn full_brick_bytes(&self) -> u64 {
        self.brick_chunks.iter().product::<u64>() * self.chunk_stride
    }

    /// Position of a brick from its linear number.
    #[must_use]
    pub fn brick_position(&self, index: u64) -> [u64; 3] {
        let [_, by, bx] = self.bricks;
        [index / (by * bx), index / bx % by, index % bx]
    }

    /// The chunks of a brick, half-open along (z, y, x).
    #[must_use]
    pub fn brick_box(&self, index: u64) -> [std::ops::Range<u64>; 3] {
        let position = self.brick_position(index);
        std::array::from_fn(|axis| {
            let start = position[axis] * self.brick_chunks[axis];
            start..start + self.chunks_in(axis, position[axis])
        })
    }

    /// Bytes of a brick.
    #[must_use]
    pub fn brick_bytes(&self, index: u64) -> u64 {
        self.brick_box(index).iter().map(|range| range.end - range.start).product::<u64>()
            * self.chunk_stride
    }

    /// Chunks of the brick at `position` along one axis: fewer at the far edge.
    fn chunks_in(&self, axis: usize, position: u64) -> u64 {
        self.brick_chunks[axis].min(self.grid[axis] - position * self.brick_chunks[axis])
    }

    /// Bytes of a layer of bricks (all y and x) that is `depth` chunks deep.
    fn layer_bytes(&self, depth: u64) -> u64 {
        depth * self.grid[1] * self.grid[2] * self.chunk_stride
            + self.bricks[1] * self.bricks[2] * self.gap
    }

    /// Bytes of a row of bricks (all x) that is `depth` by `height` chunks.
    fn row_bytes(&self, depth: u64, height: u64) -> u64 {
        depth * height * self.grid[2] * self.chunk_stride + self.bricks[2] * self.gap
    }

    /// Bytes of one brick of `depth` by `height` by `width` chunks with its gap.
    fn cell_bytes(&self, depth: u64, height: u64, width: u64) -> u64 {
        depth * height * width * self.chunk_stride + self.gap
    }

    /// Offset of a chunk within the dataset's data.
    #[must_use]
    pub fn chunk_offset(&self, chunk: [u64; 3]) -> u64 {
        let k = self.brick_chunks;
        let position: [u64; 3] = std::array::from_fn(|axis| chunk[axis] / k[axis]);
        let within: [u64; 3] = std::array::from_fn(|axis| chunk[axis] % k[axis]);
        let depth = self.chunks_in(0, position[0]);
        let height = self.chunks_in(1, position[1]);
        let width = self.chunks_in(2, position[2]);
        position[0] * self.layer_bytes(k[0])
            + position[1] * self.row_bytes(depth, k[1])
            + position[2] * self.cell_bytes(depth, height, k[2])
            + ((within[0] * height + within[1]) * width + within[2]) * self.chunk_stride
    }

    /// How many chunks lie before a chunk in the dataset's data.
    #[must_use]
    pub fn chunks_before(&self, chunk: [u64; 3]) -> u64 {
        Self { chunk_stride: 1, gap: 0, ..self.clone() }.chunk_offset(chunk)
    }

    /// Chunks of the dataset.
    #[must_use]
    pub fn chunk_count(&self) -> u64 {
        self.grid.iter().product()
    }

    /// What an offset within the dataset's data belongs to.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Place {
        let k = self.brick_chunks;
        let z = offset / self.layer_bytes(k[0]);
        let rest = offset % self.layer_bytes(k[0]);
        let depth = self.chunks_in(0, z);
        let y = rest / self.row_bytes(depth, k[1]);
        let rest = rest % self.row_bytes(depth, k[1]);
        let height = self.chunks_in(1, y);
        let x = rest / self.cell_bytes(depth, height, k[2]);
        let within = rest % self.cell_bytes(depth, height, k[2]);
        let width = self.chunks_in(2, x);
        let bytes = depth * height * width * self.chunk_stride;
        if within < bytes {
            let index = (z * self.bricks[1] + y) * self.bricks[2] + x;
            Place::Brick { index, within, remaining: bytes - within }
        } else {
            Place::Gap { remaining: bytes + self.gap - within }
        }
    }
}

/// Layout of one resolution level.
#[derive(Debug, Clone)]
pub struct LevelLayout {
    /// Chunks and bricks of each of its datasets.
    pub bricks: BrickGrid,
    /// Index of each of its datasets.
    pub index: ChunkIndex,
    /// Start of the index of (t, c) = (0, 0).
    index_start: u64,
    /// Bytes of one dataset's index.
    index_bytes: u64,
    /// Start of the data of (t, c) = (0, 0).
    data_start: u64,
    /// Bytes of one dataset's data.
    data_bytes: u64,
}

impl LevelLayout {
    /// Bytes of one dataset's data.
    #[must_use]
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }
}

/// Layout of a whole virtual file.
#[derive(Debug, Clone)]
pub struct FileLayout {
    levels: Vec<LevelLayout>,
    /// Datasets per level: time points times channels.
    datasets: u64,
    metadata_bytes: u64,
    file_bytes: u64,
}

/// What a byte of the file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// `within` bytes into the metadata region.
    Metadata {
        /// Offset within the region.
        within: u64,
    },
    /// `within` bytes into an index node.
    IndexNode {
        /// Resolution level, 0 = finest.
        level: usize,
        /// Number of the dataset within the level: `t * channels + c`.
        dataset: u64,
        /// Number of the node.
        node: u64,
        /// Offset within the node.
        within: u64,
    },
    /// `within` bytes into a brick.
    Brick {
        /// Resolution level, 0 = finest.
        level: usize,
        /// Number of the dataset within the level: `t * channels + c`.
        dataset: u64,
        /// Linear number of the brick within the dataset.
        brick: u64,
        /// Offset within the brick.
        within: u64,
    },
    /// Nothing: gaps, alignment, tail pad. Reads as zero.
    Zero,
}

impl FileLayout {
    /// Lays out a file. `levels`, finest first, are the brick grid and index of each level's
    /// datasets, of which each level has `datasets`. `None` when the file would be too large.
    #[must_use]
    pub fn new(
        metadata_bytes: u64,
        datasets: u64,
        levels: Vec<(BrickGrid, ChunkIndex)>,
    ) -> Option<Self> {
        let mut at = metadata_bytes;
        let mut laid_out = Vec::with_capacity(levels.len());
        for (bricks, index) in levels {
            let index_bytes = index.byte_len();
            let data_bytes = bricks.checked_bytes()?;
            let index_start = at;
            at = at.checked_add(index_bytes.checked_mul(datasets)?)?;
            laid_out.push(LevelLayout {
                bricks,
                index,
                index_start,
                index_bytes,
                data_start: 0,
                data_bytes,
            });
        }
        for level in laid_out.iter_mut().rev() {
            let align =
                if level.data_bytes >= GAP_FROM_BYTES { 1 << 20 } else { CHUNK_ALIGN_BYTES };
            level.data_start = at.checked_next_multiple_of(align)?;
            at = level.data_start.checked_add(level.data_bytes.checked_mul(datasets)?)?;
        }
        let file_bytes = at.checked_add(TAIL_PAD_BYTES)?;
        (file_bytes <= LARGEST_FILE_BYTES).then_some(Self {
            levels: laid_out,
            datasets,
            metadata_bytes,
            file_bytes,
        })
    }

    /// Size of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Size of the metadata region.
    #[must_use]
    pub fn metadata_bytes(&self) -> u64 {
        self.metadata_bytes
    }

    /// The levels, finest first.
    #[must_use]
    pub fn levels(&self) -> &[LevelLayout] {
        &self.levels
    }

    /// Absolute address of the root node of a dataset's index.
    #[must_use]
    pub fn index_root(&self, level: usize, dataset: u64) -> u64 {
        self.index_address(level, dataset) + self.levels[level].index.root_offset()
    }

    /// Absolute address of the first node of a dataset's index.
    #[must_use]
    pub fn index_address(&self, level: usize, dataset: u64) -> u64 {
        let level = &self.levels[level];
        level.index_start + dataset * level.index_bytes
    }

    /// Absolute address of a chunk.
    #[must_use]
    pub fn chunk_address(&self, level: usize, dataset: u64, chunk: [u64; 3]) -> u64 {
        let level = &self.levels[level];
        level.data_start + dataset * level.data_bytes + level.bricks.chunk_offset(chunk)
    }

    /// What the byte at `offset` belongs to, and how many bytes from there on belong to the same.
    /// `None` at and beyond the end of the file.
    #[must_use]
    pub fn locate(&self, offset: u64) -> Option<(Extent, u64)> {
        if offset >= self.file_bytes {
            return None;
        }
        if offset < self.metadata_bytes {
            return Some((Extent::Metadata { within: offset }, self.metadata_bytes - offset));
        }
        // The start of the next region, for bytes that belong to none.
        let mut next = self.file_bytes;
        for (number, level) in self.levels.iter().enumerate() {
            let index_end = level.index_start + self.datasets * level.index_bytes;
            if (level.index_start..index_end).contains(&offset) {
                let at = offset - level.index_start;
                let (dataset, at) = (at / level.index_bytes, at % level.index_bytes);
                let (node, within) = (at / ChunkIndex::NODE_BYTES, at % ChunkIndex::NODE_BYTES);
                let extent = Extent::IndexNode { level: number, dataset, node, within };
                return Some((extent, ChunkIndex::NODE_BYTES - within));
            }
            let data_end = level.data_start + self.datasets * level.data_bytes;
            if (level.data_start..data_end).contains(&offset) {
                let at = offset - level.data_start;
                let (dataset, at) = (at / level.data_bytes, at % level.data_bytes);
                return Some(match level.bricks.locate(at) {
                    Place::Gap { remaining } => (Extent::Zero, remaining),
                    Place::Brick { index, within, remaining } => {
                        (Extent::Brick { level: number, dataset, brick: index, within }, remaining)
                    }
                });
            }
            for start in [level.index_start, level.data_start] {
                if start > offset {
                    next = next.min(start);
                }
            }
        }
        Some((Extent::Zero, next - offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn triple(range: std::ops::Range<u64>) -> impl Strategy<Value = [u64; 3]> {
        [range.clone(), range.clone(), range]
    }

    proptest! {
        /// Chunks tile the data in brick order, and `locate` is the inverse of `chunk_offset`.
        #[test]
        fn chunks_and_bricks_agree(grid in triple(1..7), k in triple(1..5), bytes in 1_u64..3_000_000) {
            let layout = BrickGrid::new(grid, k, bytes);
            let total = layout.checked_bytes().expect("small");
            let mut seen = std::collections::HashSet::new();
            let mut at = 0;
            while at < total {
                match layout.locate(at) {
                    Place::Gap { remaining } => at += remaining,
                    Place::Brick { index, within, remaining } => {
                        prop_assert_eq!(within, 0);
                        prop_assert_eq!(remaining, layout.brick_bytes(index));
                        prop_assert!(remaining <= layout.full_brick_bytes());
                        let [z, y, x] = layout.brick_box(index);
                        let mut expected = at;
                        for chunk_z in z.clone() {
                            for chunk_y in y.clone() {
                                for chunk_x in x.clone() {
                                    let chunk = [chunk_z, chunk_y, chunk_x];
                                    prop_assert_eq!(layout.chunk_offset(chunk), expected);
                                    prop_assert!(seen.insert(chunk));
                                    expected += layout.chunk_stride();
                                }
                            }
                        }
                        at += remaining;
                    }
                }
            }
            prop_assert_eq!(at, total);
            prop_assert_eq!(seen.len() as u64, grid.iter().product::<u64>());
        }

        /// Every byte belongs to exactly one extent, and lengths add up to the file.
        #[test]
        fn extents_cover_the_file(
            shapes in prop::collection::vec((triple(1..6), triple(1..4), 1_u64..400_000), 1..5),
            datasets in 1_u64..5, pages in 1_u64..20,
        ) {
            let levels = shapes.iter().map(|(grid, k, bytes)| {
                let index = ChunkIndex::new(*grid, [1, 1, 1], u32::try_from(*bytes).expect("small"));
                (BrickGrid::new(*grid, *k, *bytes), index)
            }).collect();
            let file = FileLayout::new(pages * 4096, datasets, levels).expect("small");
            let mut at = 0;
            let mut bricks = 0;
            while let Some((extent, len)) = file.locate(at) {
                prop_assert!(len > 0);
                let (last, left) = file.locate(at + len - 1).expect("inside");
                prop_assert_eq!(left, 1);
                match (extent, last) {
                    (Extent::Brick { brick: a, within: 0, .. }, Extent::Brick { brick: b, .. }) => {
                        prop_assert_eq!(a, b);
                        bricks += 1;
                    }
                    (Extent::IndexNode { node: a, within: 0, .. }, Extent::IndexNode { node: b, .. }) => prop_assert_eq!(a, b),
                    (Extent::Zero, Extent::Zero) | (Extent::Metadata { within: 0 }, Extent::Metadata { .. }) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
                at += len;
            }
            prop_assert_eq!(at, file.file_bytes());
            let expected: u64 = file.levels().iter()
                .map(|level| level.bricks.bricks().iter().product::<u64>() * datasets).sum();
            prop_assert_eq!(bricks, expected);
        }
    }

    #[test]
    fn a_petabyte_is_only_numbers() {
        let bricks = BrickGrid::new([1 << 9, 1 << 10, 1 << 11], [1, 1, 1], 1 << 20);
        let index = ChunkIndex::new([1 << 9, 1 << 10, 1 << 11], [64, 128, 128], 1 << 20);
        let file = FileLayout::new(1 << 20, 1, vec![(bricks, index)]).expect("fits");
        assert!(file.file_bytes() > 1 << 50);
        let chunk = [500, 1000, 2000];
        let address = file.chunk_address(0, 0, chunk);
        let (extent, len) = file.locate(address).expect("inside");
        assert_eq!(len, 1 << 20);
        let brick = (500 * (1 << 10) + 1000) * (1 << 11) + 2000;
        assert_eq!(extent, Extent::Brick { level: 0, dataset: 0, brick, within: 0 });
    }
}
