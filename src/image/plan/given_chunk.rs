//! The brick of a level whose HDF5 chunk a person has chosen.
//!
//! The chunk is given; what is left to choose is how many of them are produced at once. Wanted of a brick: that
//! its borders coincide with those of the read units, because then no unit is decoded for two bricks; that it is
//! not large; and that tiny chunks do not become as many tiny bricks. All shapes are (z, y, x) in voxels.

use super::brick_grid::chunk_stride;
use super::chunking::{BRICK_LIMIT_BYTES, Chunking};

/// Bricks are not smaller than this where the level allows: each costs a record in the cache.
const BRICK_FLOOR_BYTES: u64 = 1 << 18;

/// One axis of a level.
#[derive(Debug, Clone, Copy)]
struct Axis {
    chunk: u64,
    unit: u64,
    /// Chunks along the axis.
    chunks: u64,
    /// A brick is even or covers the axis, as the next level is made from halves of it.
    is_even: bool,
    /// Chunks of a brick.
    brick: u64,
}

impl Axis {
    /// With the shortest brick that ends where a unit ends.
    fn new(size: u64, unit: u64, chunk: u64, is_even: bool) -> Self {
        // What is beyond the level would be padding.
        let chunk = chunk.min(size);
        let axis =
            Self { chunk, unit: unit.min(size), chunks: size.div_ceil(chunk), is_even, brick: 1 };
        let aligned =
            least_common_multiple(axis.unit, chunk).map_or(axis.chunks, |side| side / chunk);
        Self { brick: axis.allowed(aligned), ..axis }
    }

    /// The next number of chunks from `chunks` on that a brick may have.
    fn allowed(self, chunks: u64) -> u64 {
        let is_odd = self.is_even && !(self.chunk * chunks.min(self.chunks)).is_multiple_of(2);
        chunks.saturating_add(u64::from(is_odd)).min(self.chunks)
    }

    /// Units along a brick, rounded down.
    fn units(self) -> u64 {
        self.chunk * self.brick / self.unit
    }
}

/// Chooses the brick for a level of `size`, stored in read units of `unit`, with voxels of `voxel_bytes` and
/// chunks of `chunk`. `is_even`: along which axes a brick must be even, or cover the level.
pub(super) fn choose(
    size: [u64; 3],
    unit: [u64; 3],
    voxel_bytes: u64,
    chunk: [u64; 3],
    is_even: [bool; 3],
) -> Chunking {
    let mut axes: [Axis; 3] =
        std::array::from_fn(|axis| Axis::new(size[axis], unit[axis], chunk[axis], is_even[axis]));
    let chunk = axes.map(|axis| axis.chunk);
    let stride = chunk_stride(chunk.iter().product::<u64>() * voxel_bytes);
    let bytes =
        |axes: &[Axis; 3]| axes.iter().fold(stride, |bytes, axis| bytes.saturating_mul(axis.brick));
    let unit_bytes = axes.iter().fold(voxel_bytes, |bytes, axis| bytes.saturating_mul(axis.unit));
    let limit = BRICK_LIMIT_BYTES.max(unit_bytes.saturating_mul(2));
    while bytes(&axes) > limit {
        // Where a brick has many units, fewest of them are decoded twice.
        let shorter = |axis: &Axis| axis.allowed(axis.brick.div_ceil(2));
        let can_shrink = axes.iter_mut().filter(|axis| shorter(axis) < axis.brick);
        let Some(axis) = can_shrink.max_by_key(|axis| (axis.units(), axis.brick)) else { break };
        axis.brick = shorter(axis);
    }
    while bytes(&axes) < BRICK_FLOOR_BYTES {
        let can_grow = axes.iter_mut().filter(|axis| axis.brick < axis.chunks);
        let Some(axis) = can_grow.min_by_key(|axis| axis.chunk * axis.brick) else { break };
        axis.brick = axis.brick.saturating_mul(2).min(axis.chunks);
    }
    Chunking { chunk, brick_chunks: axes.map(|axis| axis.brick) }
}

fn least_common_multiple(a: u64, b: u64) -> Option<u64> {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).checked_mul(b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn assert_choice(
        (size, unit): ([u64; 3], [u64; 3]),
        chunk: [u64; 3],
        expected: ([u64; 3], [u64; 3]),
    ) {
        let Chunking { chunk, brick_chunks } = choose(size, unit, 2, chunk, [true; 3]);
        assert_eq!((chunk, brick_chunks), expected, "{size:?} {unit:?}");
    }

    #[test]
    fn bricks_end_where_units_end() {
        // A part of a unit, several units, and neither.
        let level = ([500, 2048, 2048], [64, 64, 64]);
        assert_choice(level, [32, 32, 64], ([32, 32, 64], [2, 2, 1]));
        assert_choice(level, [8, 256, 256], ([8, 256, 256], [8, 1, 1]));
        assert_choice(level, [16, 48, 64], ([16, 48, 64], [4, 4, 1]));
        // One unit is the level; what is beyond it is cut off.
        assert_choice(([5, 100, 90], [5, 100, 90]), [32, 64, 64], ([5, 64, 64], [1, 2, 2]));
        // Odd chunks in pairs.
        assert_choice(([99, 990, 990], [1, 330, 330]), [1, 33, 165], ([1, 33, 165], [2, 10, 2]));
    }

    #[test]
    fn large_bricks_give_up_their_borders_and_tiny_ones_are_joined() {
        let Chunking { brick_chunks, .. } =
            choose([4096; 3], [101, 103, 107], 2, [64, 64, 64], [true; 3]);
        let bytes = brick_chunks.iter().product::<u64>() * (64 * 64 * 64 * 2);
        assert!(bytes <= BRICK_LIMIT_BYTES, "{brick_chunks:?}");
        let Chunking { chunk, brick_chunks } = choose([64; 3], [4; 3], 1, [1; 3], [true; 3]);
        assert_eq!(chunk, [1; 3]);
        // A page for each.
        assert_eq!(brick_chunks.iter().product::<u64>() * 4096, BRICK_FLOOR_BYTES);
    }

    proptest! {
        #[test]
        fn any_chunk_has_a_brick(
            size in prop::array::uniform3(1_u64..1 << 60),
            small in prop::array::uniform3(1_u64..400),
            unit in prop::array::uniform3(1_u64..1 << 60),
            chunk in prop::array::uniform3(1_u64..160),
            is_small in any::<[bool; 2]>(),
            is_even in any::<[bool; 3]>(),
        ) {
            let size = if is_small[0] { small } else { size };
            let unit = if is_small[1] { small } else { unit };
            let found = choose(size, unit, 4, chunk, is_even);
            for axis in 0..3 {
                let brick = found.chunk[axis] * found.brick_chunks[axis];
                prop_assert_eq!(found.chunk[axis], chunk[axis].min(size[axis]));
                prop_assert!(found.brick_chunks[axis] >= 1);
                prop_assert!(brick < size[axis] + found.chunk[axis], "no more than the level");
                prop_assert!(!is_even[axis] || brick.is_multiple_of(2) || brick >= size[axis]);
            }
        }
    }
}
