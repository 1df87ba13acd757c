//! Where every byte of a virtual file lies. Pure arithmetic over a few numbers per level: a petabyte
//! costs what a megabyte costs.
//!
//! ```text
//! 0 ............ metadata region                     slots, see `ims/metadata.rs`
//! M ............ index region                        B-tree nodes, finest level first, by (t, c)
//! D ............ data region, coarsest level first   by (t, c), brick by brick, chunk by chunk
//! E - 64 KiB ... zero pad
//! ```
//!
//! Chunks start at multiples of 4 KiB. Bricks at the far edges of a level hold only the chunks the
//! HDF5 grid has, so the file carries no space for chunks that do not exist. Bricks of a megabyte or
//! more are followed by a gap of never-used address space as long as the kernel's read-ahead window:
//! a sequential read of one brick overshoots into the gap instead of filling the next brick.

use crate::ims::{ChunkIndex, MetadataLayout, MetadataPart};

pub use super::brick_grid::{BrickGrid, Place};
use super::brick_grid::{CHUNK_ALIGN_BYTES, GAP_FROM_BYTES};

/// Tail that Windows and Samba may probe at no cost.
pub const TAIL_PAD_BYTES: u64 = 64 << 10;

/// Largest virtual file: sums of offsets stay within a signed 64-bit file offset.
const LARGEST_FILE_BYTES: u64 = 1 << 62;

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
    metadata: MetadataLayout,
    file_bytes: u64,
}

/// What a byte of the file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The metadata region.
    Metadata {
        /// What the bytes depend on.
        part: MetadataPart,
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
        metadata: MetadataLayout,
        datasets: u64,
        levels: Vec<(BrickGrid, ChunkIndex)>,
    ) -> Option<Self> {
        let mut at = metadata.bytes();
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
            metadata,
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
        self.metadata.bytes()
    }

    /// Where the metadata lie.
    #[must_use]
    pub fn metadata(&self) -> &MetadataLayout {
        &self.metadata
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
        if offset < self.metadata.bytes() {
            let (part, run) = self.metadata.locate(offset);
            return Some((Extent::Metadata { part }, run));
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
    use crate::ims::ImsFile;
    use proptest::prelude::*;

    fn triple(range: std::ops::Range<u64>) -> impl Strategy<Value = [u64; 3]> {
        [range.clone(), range.clone(), range]
    }

    fn metadata(levels: usize, time_points: u64, channels: usize) -> MetadataLayout {
        let mut file = ImsFile::sample();
        file.levels = vec![file.levels[0]; levels];
        file.time_points = time_points;
        file.channels = vec![file.channels.get(0).into_owned(); channels].into();
        MetadataLayout::new(&file).expect("small")
    }

    proptest! {
        /// Every byte belongs to exactly one extent, and lengths add up to the file.
        #[test]
        fn extents_cover_the_file(
            shapes in prop::collection::vec((triple(1..6), triple(1..4), 1_u64..400_000), 1..5),
            time_points in 1_u64..4, channels in 1_usize..4,
        ) {
            let levels = shapes.iter().map(|(grid, k, bytes)| {
                let index = ChunkIndex::new(*grid, [1, 1, 1], u32::try_from(*bytes).expect("small"));
                (BrickGrid::new(*grid, *k, *bytes), index)
            }).collect();
            let datasets = time_points * channels as u64;
            let metadata = metadata(shapes.len(), time_points, channels);
            let file = FileLayout::new(metadata, datasets, levels).expect("small");
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
                    (Extent::Metadata { part: a }, Extent::Metadata { part: b }) => prop_assert_eq!(a, b),
                    (Extent::Zero, Extent::Zero) => {}
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
        let file = FileLayout::new(metadata(1, 1, 1), 1, vec![(bricks, index)]).expect("fits");
        assert!(file.file_bytes() > 1 << 50);
        let chunk = [500, 1000, 2000];
        let address = file.chunk_address(0, 0, chunk);
        let (extent, len) = file.locate(address).expect("inside");
        assert_eq!(len, 1 << 20);
        let brick = (500 * (1 << 10) + 1000) * (1 << 11) + 2000;
        assert_eq!(extent, Extent::Brick { level: 0, dataset: 0, brick, within: 0 });
    }
}
