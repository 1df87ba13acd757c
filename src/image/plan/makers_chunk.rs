//! The chunk shape that `ImarisWriter`, the writer of Imaris' maker, chooses for a level.
//!
//! Source: `ImarisWriter` `bpOptimalBlockLayout.cxx`. All shapes are (z, y, x) in voxels.

/// Bytes of a full chunk.
const CHUNK_BYTES: u64 = 1 << 20;

/// Part of the blocks that may be padding.
const WASTE_LIMIT: f64 = 2.0;

/// One possible shape and what `ImarisWriter` weighs, in this order: the cost of slices through the
/// blocks, the surface of a block, the padding.
struct Candidate {
    shape: [u64; 3],
    slice_cost: f64,
    surface: f64,
    waste: f64,
}

/// `ImarisWriter`'s chunk for a level of `size`, by time points and bytes per voxel; `above` is
/// the size and the chunk of the level above.
pub(super) fn makers_chunk(
    size: [u64; 3],
    time_points: u64,
    voxel_bytes: u64,
    above: Option<([u64; 3], [u64; 3])>,
) -> [u64; 3] {
    // A power of two, since voxels have 1, 2 or 4 bytes.
    let budget = CHUNK_BYTES / voxel_bytes;
    let bits = budget.ilog2();
    let mut candidates = Vec::new();
    for x in 0..=bits {
        for y in 0..=bits - x {
            for z in 0..=bits - x - y {
                let shape = [1 << z, 1 << y, 1 << x];
                if is_allowed(shape, size) && follows(shape, size, above) {
                    candidates.push(weigh(shape, size, time_points, budget));
                }
            }
        }
    }
    let key = |c: &Candidate| (c.slice_cost, c.surface, c.waste);
    candidates.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
    let best = candidates.iter().find(|candidate| candidate.waste <= WASTE_LIMIT);
    match best.or(candidates.first()) {
        Some(candidate) => candidate.shape,
        None => even_split(bits),
    }
}

/// Stacks have square blocks of more than two planes, planes blocks that are not too long.
fn is_allowed([z, y, x]: [u64; 3], size: [u64; 3]) -> bool {
    if size[0] > 1 { x == y && z > 2 } else { z == 1 && x <= 4 * y && y <= 4 * x }
}

/// No side is shorter than that of the level above, or than its half where the level is halved.
fn follows(shape: [u64; 3], size: [u64; 3], above: Option<([u64; 3], [u64; 3])>) -> bool {
    above.is_none_or(|(above_size, above_shape)| {
        (0..3).all(|axis| {
            let halved = size[axis] == above_size[axis] / 2;
            shape[axis] >= if halved { above_shape[axis] / 2 } else { above_shape[axis] }
        })
    })
}

#[expect(clippy::cast_precision_loss, reason = "weights need no exact voxel counts")]
fn weigh(shape: [u64; 3], size: [u64; 3], time_points: u64, budget: u64) -> Candidate {
    let blocks: [f64; 3] = std::array::from_fn(|axis| size[axis].div_ceil(shape[axis]) as f64);
    let [nz, ny, nx] = blocks;
    let [bz, by, bx] = shape.map(|side| side as f64);
    // What is left of the budget counts as a block over time.
    let over_time = budget / shape.iter().product::<u64>();
    let padded_time = (time_points.div_ceil(over_time) * over_time) as f64;
    let voxels: f64 = size.iter().map(|&side| side as f64).product::<f64>() * time_points as f64;
    Candidate {
        shape,
        slice_cost: 1.0 + nx * ny + nx * nz + ny * nz - nx - ny - nz,
        surface: bx * by + bx * bz + by * bz,
        waste: nx * bx * ny * by * nz * bz * padded_time / voxels,
    }
}

/// Where no shape is allowed: z gets a third of the bits, y half of the rest.
fn even_split(bits: u32) -> [u64; 3] {
    let z = bits / 3;
    let y = (bits - z) / 2;
    [1 << z, 1 << y, 1 << (bits - z - y)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(size: [u64; 3], voxel_bytes: u64) -> [u64; 3] {
        makers_chunk(size, 1, voxel_bytes, None)
    }

    /// imaris-format.md, section 7.4, and the reference files.
    #[test]
    fn chunks_of_the_makers_files() {
        assert_eq!(first([500, 2048, 2048], 2), [32, 128, 128]);
        assert_eq!(first([100, 2048, 2048], 2), [8, 256, 256]);
        assert_eq!(first([30, 1024, 1024], 1), [16, 256, 256]);
        assert_eq!(first([512, 512, 512], 4), [64, 64, 64]);
        assert_eq!(first([1, 10_000, 10_000], 1), [1, 1024, 1024]);
        assert_eq!(first([103, 199, 215], 2), [32, 128, 128]);
        assert_eq!(first([3, 30, 40], 2), [4, 64, 64]);
        assert_eq!(first([5, 905, 1101], 1), [4, 512, 512]);
        assert_eq!(first([97, 151, 161], 4), [64, 64, 64]);
        assert_eq!(first([17, 33, 65], 4), [32, 64, 64]);
        assert_eq!(first([1, 201, 301], 1), [1, 256, 512]);
        assert_eq!(makers_chunk([21, 97, 133], 4, 2, None), [32, 128, 128]);
        assert_eq!(makers_chunk([53, 199, 215], 2, 2, None), [32, 128, 128]);
    }

    #[test]
    fn coarser_levels_follow_the_ones_above() {
        let below = |size, voxel_bytes, above_size, above_chunk| {
            makers_chunk(size, 1, voxel_bytes, Some((above_size, above_chunk)))
        };
        assert_eq!(below([5, 452, 550], 1, [5, 905, 1101], [4, 512, 512]), [4, 512, 512]);
        assert_eq!(below([5, 226, 275], 1, [5, 452, 550], [4, 512, 512]), [8, 256, 256]);
        assert_eq!(below([51, 99, 107], 2, [103, 199, 215], [32, 128, 128]), [32, 128, 128]);
        assert_eq!(below([25, 49, 53], 2, [51, 99, 107], [32, 128, 128]), [32, 64, 64]);
        assert_eq!(below([48, 75, 80], 4, [97, 151, 161], [64, 64, 64]), [64, 64, 64]);
        assert_eq!(below([24, 37, 40], 4, [48, 75, 80], [64, 64, 64]), [32, 64, 64]);
    }

    #[test]
    fn every_size_has_a_chunk_of_at_most_a_mebibyte() {
        for size in [[1, 1, 1], [2, 2, 2], [1 << 40, 1, 1], [1, 1 << 40, 3], [7, 1, 1 << 30]] {
            for voxel_bytes in [1, 2, 4] {
                let chunk = first(size, voxel_bytes);
                assert!(chunk.iter().product::<u64>() * voxel_bytes <= CHUNK_BYTES, "{size:?}");
            }
        }
    }
}
