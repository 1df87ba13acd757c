//! Chunks and bricks of a dataset: where each lies in its data.

/// Read-ahead window of the kernel (`read_ahead_kb`, default 128).
const GAP_BYTES: u64 = 128 << 10;

/// Bricks from this size on are followed by a gap.
pub(super) const GAP_FROM_BYTES: u64 = 1 << 20;

/// Alignment of chunks: the page size, and the unit in which holes are punched.
pub(super) const CHUNK_ALIGN_BYTES: u64 = 4096;

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
    }
}
