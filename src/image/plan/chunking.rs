//! Choice of the HDF5 chunk shape and the brick of a level, from the read unit of its source.
//!
//! Wanted of a chunk: the shape that `ImarisWriter` chooses ([`makers_chunk`]), because that is what Imaris writes and
//! reads best; at most 1 MiB, because libhdf5 1.x reads a chunk larger than its chunk cache row by
//! row; and borders that coincide with those of the read units, because then no unit is decoded for
//! two bricks. Where the shape of `ImarisWriter` fits the units, it is used. Else the choice is by enumeration
//! and cost: on each axis the divisors of the unit, its multiples, and (at a price) powers of two;
//! near that shape, not much less than 1 MiB, little padding.
//!
//! All shapes are (z, y, x) in voxels.

/// Largest chunk: the default chunk cache of libhdf5 1.x (`rdcc_nbytes`).
const CHUNK_LIMIT_BYTES: u64 = 1 << 20;

/// A chunk smaller than this is worse than one of an unusual shape.
const CHUNK_FLOOR_BYTES: u64 = 1 << 18;

/// A brick of several read units is not made larger than this; one unit may be of any size.
pub(super) const BRICK_LIMIT_BYTES: u64 = 16 << 20;

/// Read units shorter than this along an axis are joined without penalty.
const WHOLE_UNIT: u64 = 32;

/// Shape of the chunks and of the bricks of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunking {
    /// HDF5 chunk.
    pub(super) chunk: [u64; 3],
    /// Chunks per brick.
    pub(super) brick_chunks: [u64; 3],
}

impl Chunking {
    fn brick_bytes(&self, voxel_bytes: u64) -> u64 {
        let sides = self.chunk.iter().chain(&self.brick_chunks);
        sides.fold(voxel_bytes, |bytes, side| bytes.saturating_mul(*side))
    }
}

/// One possibility on one axis.
#[derive(Debug, Clone, Copy)]
struct AxisChoice {
    chunk: u64,
    chunks_per_brick: u64,
    /// Length of the axis rounded up to whole chunks.
    padded: u64,
    /// What speaks against it; never negative.
    cost: f64,
}

/// Chooses chunk and brick for a level of `size`, stored in read units of `unit`, with voxels of
/// `voxel_bytes` in the Imaris file. `makers` is the chunk of `ImarisWriter`. `joins`: several units along an
/// axis are as good as one, as they are for computed levels, whose units are halves of bricks.
pub(super) fn choose(
    size: [u64; 3],
    unit: [u64; 3],
    voxel_bytes: u64,
    makers: [u64; 3],
    joins: bool,
) -> Chunking {
    let unit_bytes =
        (0..3).map(|axis| unit[axis].min(size[axis])).fold(voxel_bytes, u64::saturating_mul);
    let brick_limit = BRICK_LIMIT_BYTES.max(unit_bytes.saturating_mul(2));
    if let Some(fitting) = fit(size, unit, makers, joins)
        && fitting.brick_bytes(voxel_bytes) <= brick_limit
    {
        return fitting;
    }
    let ideal = ideal_shape(size, makers);
    let choices: [Vec<AxisChoice>; 3] =
        std::array::from_fn(|axis| axis_choices(size[axis], unit[axis], ideal[axis]));
    let mut best = Chunking { chunk: [1; 3], brick_chunks: [1; 3] };
    let mut lowest = f64::INFINITY;
    for z in &choices[0] {
        for y in &choices[1] {
            for x in &choices[2] {
                let cost = z.cost + y.cost + x.cost;
                // The cost of the sizes comes on top: most combinations need not be looked at.
                if cost >= lowest {
                    continue;
                }
                let picked = [z, y, x];
                let total = size_cost(picked, voxel_bytes, brick_limit).map(|size| cost + size);
                if let Some(total) = total
                    && total < lowest
                {
                    lowest = total;
                    best = Chunking {
                        chunk: picked.map(|choice| choice.chunk),
                        brick_chunks: picked.map(|choice| choice.chunks_per_brick),
                    };
                }
            }
        }
    }
    best
}

/// The maker's chunk, with bricks that end where units end; `None` where its borders do not coincide
/// with those of the units, or where too much would be decoded for one brick.
fn fit(size: [u64; 3], unit: [u64; 3], chunk: [u64; 3], joins: bool) -> Option<Chunking> {
    let mut brick_chunks = [1; 3];
    for axis in 0..3 {
        let (size, unit, chunk) = (size[axis], unit[axis], chunk[axis]);
        brick_chunks[axis] = if unit >= size {
            size.div_ceil(chunk)
        } else if unit.is_multiple_of(chunk) {
            unit / chunk
        } else if chunk.is_multiple_of(unit) && (joins || chunk <= WHOLE_UNIT) {
            1
        } else {
            return None;
        };
    }
    Some(Chunking { chunk, brick_chunks })
}

/// The maker's chunk without what would be padding.
#[expect(clippy::cast_precision_loss, reason = "a shape needs no exact voxel counts")]
fn ideal_shape(size: [u64; 3], makers: [u64; 3]) -> [f64; 3] {
    std::array::from_fn(|axis| makers[axis].min(size[axis]) as f64)
}

/// What speaks against chunks and bricks of this size in bytes; `None` where it is impossible.
#[expect(clippy::cast_precision_loss, reason = "a cost needs no exact voxel counts")]
fn size_cost(picked: [&AxisChoice; 3], voxel_bytes: u64, brick_limit: u64) -> Option<f64> {
    let bytes = picked.iter().fold(voxel_bytes, |bytes, axis| bytes.saturating_mul(axis.chunk));
    let brick_bytes =
        picked.iter().fold(bytes, |bytes, axis| bytes.saturating_mul(axis.chunks_per_brick));
    if bytes > CHUNK_LIMIT_BYTES || brick_bytes > brick_limit.saturating_mul(4) {
        return None;
    }
    let padded = picked.iter().fold(voxel_bytes, |bytes, axis| bytes.saturating_mul(axis.padded));
    let floor = CHUNK_FLOOR_BYTES.min(padded);
    let mut cost = 0.0;
    if bytes < floor {
        cost += 2.0 * (floor as f64 / bytes as f64).ln();
    }
    if brick_bytes > brick_limit {
        cost += 4.0 * (brick_bytes as f64 / brick_limit as f64).ln();
    }
    Some(cost)
}

/// What speaks against a chunk on one axis: an unusual length, padding, borders that do not coincide
/// with those of the read units, several units for one brick.
#[expect(clippy::cast_precision_loss, reason = "a cost needs no exact voxel counts")]
fn axis_cost(size: u64, unit: u64, ideal: f64, chunk: u64, brick: u64, aligned: bool) -> f64 {
    let padded = size.div_ceil(chunk) * chunk;
    let mut cost = (chunk as f64 / ideal).ln().abs() + 2.0 * (padded as f64 / size as f64).ln();
    if !aligned {
        cost += 3.0;
    }
    // Several units along an axis are decoded for one chunk read: right for planes, which every
    // block needs many of, and wasteful for blocks.
    let whole = unit.max(WHOLE_UNIT);
    if brick > whole && unit < size {
        cost += 2.0 * (brick as f64 / whole as f64).ln();
    }
    cost
}

fn axis_choices(size: u64, unit: u64, ideal: f64) -> Vec<AxisChoice> {
    let mut choices = Vec::new();
    let mut add = |chunk: u64, chunks_per_brick: u64, aligned: bool| {
        if !choices.iter().any(|known: &AxisChoice| known.chunk == chunk) {
            let padded = size.div_ceil(chunk) * chunk;
            let cost = axis_cost(size, unit, ideal, chunk, chunk * chunks_per_brick, aligned);
            choices.push(AxisChoice { chunk, chunks_per_brick, padded, cost });
        }
    };
    if unit >= size {
        // One unit spans the axis: every chunk length lies inside it.
        let mut chunk = 1;
        while chunk < size && chunk <= 4096 {
            add(chunk, size.div_ceil(chunk), true);
            chunk *= 2;
        }
        if chunk <= 4096 {
            add(chunk, 1, true);
        }
        add(size, 1, true);
        for parts in 2..=8 {
            let chunk = size.div_ceil(parts);
            add(chunk, size.div_ceil(chunk), true);
        }
        return choices;
    }
    for divisor in divisors(unit) {
        add(divisor, unit / divisor, true);
    }
    let mut multiple = unit * 2;
    while multiple <= 1024 && multiple < size * 2 {
        add(multiple, 1, true);
        multiple *= 2;
    }
    let mut chunk = 16;
    while chunk <= 512 && chunk <= unit {
        add(chunk, unit.div_ceil(chunk), false);
        chunk *= 2;
    }
    choices
}

/// Divisors of a unit's length, up to the largest that could be a chunk's side.
fn divisors(n: u64) -> Vec<u64> {
    (1..=n.min(4096)).filter(|divisor| n.is_multiple_of(*divisor)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::plan::makers_chunk::makers_chunk;

    fn choose(size: [u64; 3], unit: [u64; 3], voxel_bytes: u64) -> Chunking {
        super::choose(size, unit, voxel_bytes, makers_chunk(size, 1, voxel_bytes, None), false)
    }

    fn brick(chunking: &Chunking) -> [u64; 3] {
        std::array::from_fn(|axis| chunking.chunk[axis] * chunking.brick_chunks[axis])
    }

    #[test]
    fn cubes_map_one_to_one_or_many_to_one() {
        let chunking = choose([500, 2048, 2048], [64, 64, 64], 2);
        assert_eq!(brick(&chunking), [64, 64, 64]);
        let chunking = choose([512, 2048, 2048], [128, 128, 128], 2);
        assert_eq!(brick(&chunking), [128, 128, 128]);
        assert!(chunking.chunk.iter().product::<u64>() * 2 >= CHUNK_FLOOR_BYTES);
    }

    #[test]
    fn planes_become_slabs_of_bounded_size() {
        let chunking = choose([300, 4096, 4096], [1, 1024, 1024], 2);
        let brick = brick(&chunking);
        assert_eq!(brick[1..], [1024, 1024]);
        assert!((4..=16).contains(&brick[0]), "{chunking:?}");
    }

    #[test]
    fn every_choice_is_a_legal_chunk() {
        for size in
            [[1, 8, 8], [3, 40, 30], [1, 244_215, 522_693], [6368, 1600, 12_000], [7, 5105, 5105]]
        {
            for unit in
                [[1, 1021, 1021], [1, 8, 8], [256, 256, 256], [1, 507, 507], [10, 2048, 2048]]
            {
                for voxel_bytes in [1, 2, 4] {
                    let chunking = choose(size, unit, voxel_bytes);
                    let bytes = chunking.chunk.iter().product::<u64>() * voxel_bytes;
                    assert!(bytes <= CHUNK_LIMIT_BYTES, "{size:?} {unit:?} {chunking:?}");
                    assert!(
                        bytes > 4096.min(size.iter().product::<u64>() * voxel_bytes / 16),
                        "{size:?} {unit:?} {chunking:?}"
                    );
                    let padded: u64 = (0..3)
                        .map(|a| size[a].div_ceil(chunking.chunk[a]) * chunking.chunk[a])
                        .product();
                    assert!(
                        padded <= size.iter().product::<u64>() * 8,
                        "{size:?} {unit:?} {chunking:?}"
                    );
                }
            }
        }
    }
}
