//! Which resolution levels a file has, and where the voxels of each come from. Shapes alone; no
//! voxel is looked at. All triples are (z, y, x).
//!
//! `ImarisWriter` knows one kind of step from a level to the next: an axis is halved, rounded
//! down, or kept (`ImarisWriter` `bpOptimalBlockLayout.cxx`, imglib2-imaris-bridge
//! `ImarisDataset.java`). A level of the store that is reached by such steps is shown as it is; the
//! levels between, and those below the store's coarsest, are computed. Where halves were rounded
//! up, or padded to whole shards, a level is shown without the surplus.

use crate::image::options::Pyramid;
use crate::source::halving::{StoredLevel, halved, halvings_between};

/// Where the voxels of a level come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelOrigin {
    /// The level of this number in the store.
    Stored(usize),
    /// From the level above, by joining voxels.
    Computed,
}

/// A level of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) origin: LevelOrigin,
    pub(super) size: [u64; 3],
}

/// The levels of the file, finest first. Computed levels end with the first one of at most
/// `coarsest_voxels`.
pub(super) fn levels(stored: &[StoredLevel], pyramid: Pyramid, coarsest_voxels: u64) -> Vec<Level> {
    let mut levels = vec![Level { origin: LevelOrigin::Stored(0), size: stored[0].size }];
    if pyramid != Pyramid::Imaris {
        add_stored(&mut levels, stored, pyramid);
    }
    if pyramid != Pyramid::Source {
        let coarsest = levels[levels.len() - 1].size;
        let below = std::iter::successors(makers_step(coarsest, coarsest_voxels), |size| {
            makers_step(*size, coarsest_voxels)
        });
        levels.extend(below.map(|size| Level { origin: LevelOrigin::Computed, size }));
    }
    levels
}

/// Adds the levels of the store that can be reached, and the steps between.
fn add_stored(levels: &mut Vec<Level>, stored: &[StoredLevel], pyramid: Pyramid) {
    let mut above = StoredLevel { scale: Some([1.0; 3]), ..stored[0] };
    for (number, own) in stored.iter().enumerate().skip(1) {
        let shown = levels[levels.len() - 1].size;
        let Some(halvings) = halvings_between(shown, &above, own) else { continue };
        let steps = halvings.into_iter().max().unwrap_or(0);
        let size: [u64; 3] = std::array::from_fn(|axis| halved(shown[axis], halvings[axis]));
        if steps == 0 || !is_readable(size) || (steps > 1 && pyramid == Pyramid::Source) {
            continue;
        }
        levels.extend(steps_between(shown, halvings).map(computed));
        levels.push(Level { origin: LevelOrigin::Stored(number), size });
        above = *own;
    }
}

fn computed(size: [u64; 3]) -> Level {
    Level { origin: LevelOrigin::Computed, size }
}

/// Sizes strictly between `size` and the one that has each axis halved `halvings` times. An axis that is
/// halved less often than others is halved first where `ImarisWriter` would.
fn steps_between(size: [u64; 3], halvings: [u32; 3]) -> impl Iterator<Item = [u64; 3]> {
    let mut size = size;
    let mut left = halvings;
    std::iter::from_fn(move || {
        let steps = left.into_iter().max().filter(|&steps| steps > 1)?;
        let wanted = wants_half(size);
        for axis in 0..3 {
            if left[axis] == steps || (left[axis] > 0 && wanted[axis]) {
                size[axis] = halved(size[axis], 1);
                left[axis] -= 1;
            }
        }
        Some(size)
    })
}

/// Bio-Formats cannot read planes of width or height one below level 0.
fn is_readable([_, y, x]: [u64; 3]) -> bool {
    y > 1 && x > 1
}

/// Which axes `ImarisWriter` halves (`ImarisWriter` `GetOptimalImagePyramid`): those that are not short
/// beside the others.
fn wants_half(size: [u64; 3]) -> [bool; 3] {
    std::array::from_fn(|axis| {
        let own = 10 * u128::from(size[axis]);
        let others: u128 =
            (0..3).filter(|&other| other != axis).map(|other| u128::from(size[other])).product();
        // A length that ten times squared exceeds 128 bits is longer than any other product.
        size[axis] > 1 && own.checked_mul(own).is_none_or(|square| square > others)
    })
}

/// The level below by `ImarisWriter`'s rule; `None` where it is small enough, or cannot be halved.
fn makers_step(size: [u64; 3], coarsest_voxels: u64) -> Option<[u64; 3]> {
    if size.iter().map(|&side| u128::from(side)).product::<u128>() <= u128::from(coarsest_voxels) {
        return None;
    }
    let wanted = wants_half(size);
    let below: [u64; 3] = std::array::from_fn(|axis| {
        let half = halved(size[axis], u32::from(wanted[axis]));
        // Planes keep two rows and two columns, see `is_readable`.
        if axis > 0 && half < 2 { size[axis] } else { half }
    });
    (below != size).then_some(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use LevelOrigin::{Computed, Stored};

    /// Levels by size, with the scale of each where it is stated.
    fn plan(sizes: &[([u64; 3], Option<f64>)], pyramid: Pyramid, limit: u64) -> Vec<Level> {
        let stored: Vec<StoredLevel> = sizes
            .iter()
            .map(|&(size, scale)| {
                let scale = scale.map(|scale| [scale; 3]);
                StoredLevel { size, scale, padding: [[64; 3]; 2] }
            })
            .collect();
        levels(&stored, pyramid, limit)
    }

    fn level(origin: LevelOrigin, size: [u64; 3]) -> Level {
        Level { origin, size }
    }

    #[test]
    fn pyramids_of_the_makers_files() {
        // Source: imaris-format.md, section 8, and the sizes in the reference files.
        let sizes = |size: [u64; 3], limit: u64| -> Vec<[u64; 3]> {
            plan(&[(size, None)], Pyramid::Auto, limit).iter().map(|level| level.size).collect()
        };
        assert_eq!(sizes([5, 905, 1101], 1 << 20), [[5, 905, 1101], [5, 452, 550], [5, 226, 275]]);
        assert_eq!(sizes([103, 199, 215], 1 << 19), [[103, 199, 215], [51, 99, 107], [25, 49, 53]]);
        assert_eq!(sizes([1, 201, 301], 1 << 20), [[1, 201, 301]]);
        let slide = sizes([23, 22043, 34664], 1 << 19);
        assert_eq!(slide[1], [23, 11021, 17332]);
        assert_eq!(slide[7..], [[23, 172, 270], [11, 86, 135]]);
    }

    #[test]
    fn levels_of_the_store_are_used_and_gaps_filled() {
        let four_times = [([40, 400, 400], Some(1.0)), ([10, 100, 100], Some(4.0))];
        assert_eq!(
            plan(&four_times, Pyramid::Auto, 20_000),
            [
                level(Stored(0), [40, 400, 400]),
                level(Computed, [20, 200, 200]),
                level(Stored(1), [10, 100, 100]),
                // Ten times 10 is no more than 100 by 100.
                level(Computed, [10, 50, 50]),
                level(Computed, [5, 25, 25]),
            ]
        );
        assert_eq!(plan(&four_times, Pyramid::Source, 20_000).len(), 1);
        assert_eq!(
            plan(&four_times, Pyramid::Imaris, 200_000),
            [
                level(Stored(0), [40, 400, 400]),
                level(Computed, [40, 200, 200]),
                level(Computed, [20, 100, 100]),
            ]
        );
        // zarrnii: 4x in y and x, nothing in z, scales as true ratios.
        let stored = [
            StoredLevel { size: [33, 266, 266], scale: Some([1.0; 3]), padding: [[64; 3]; 2] },
            StoredLevel {
                size: [33, 66, 66],
                scale: Some([1.0, 4.03, 4.03]),
                padding: [[66; 3]; 2],
            },
        ];
        assert_eq!(
            levels(&stored, Pyramid::Auto, 1 << 20)[1..],
            [level(Computed, [33, 133, 133]), level(Stored(1), [33, 66, 66])]
        );
    }

    #[test]
    fn other_factors_are_computed_from_level_0() {
        for (own, scale) in [(71, Some(3.0)), (71, None), (143, Some(1.5)), (72, Some(3.0))] {
            let found = plan(&[([215; 3], Some(1.0)), ([own; 3], scale)], Pyramid::Auto, 1 << 20);
            assert_eq!(
                found[1..],
                [level(Computed, [107; 3]), level(Computed, [53; 3])][..found.len() - 1]
            );
            assert!(found.len() > 1, "{own}");
        }
    }

    /// Sizes of the levels of the store that are shown of 64 x 128 x 128 voxels in chunks of
    /// 32 x 64 x 64, and one level more.
    fn shown(size: [u64; 3], scale: [f64; 3], chunk: [u64; 3]) -> Vec<[u64; 3]> {
        let finest =
            StoredLevel { size: [64, 128, 128], scale: Some([1.0; 3]), padding: [[32, 64, 64]; 2] };
        let own = StoredLevel { size, scale: Some(scale), padding: [chunk; 2] };
        let levels = levels(&[finest, own], Pyramid::Source, 1);
        levels[1..].iter().map(|level| level.size).collect()
    }

    #[test]
    fn shape_counts_where_the_scale_contradicts_it() {
        let chunk = [32, 64, 64];
        for scale in [[2.0; 3], [1.0, 2.0, 2.0], [4.0; 3], [1.0; 3], [3.0; 3], [1.5; 3]] {
            assert_eq!(shown([32, 64, 64], scale, chunk), [[32, 64, 64]], "{scale:?}");
            assert_eq!(shown([64, 64, 64], scale, chunk), [[64, 64, 64]], "{scale:?}");
            assert!(shown([64, 128, 128], scale, chunk).is_empty(), "{scale:?}");
        }
    }

    #[test]
    fn a_level_is_cropped_only_where_its_surplus_is_padding() {
        // Two thirds, whose scale says that they are halves, in several chunks and in one.
        for chunk in [[32, 64, 64], [43, 86, 86], [16, 32, 32], [64, 128, 128]] {
            for scale in [[2.0; 3], [1.5; 3], [1.0; 3]] {
                assert!(shown([43, 86, 86], scale, chunk).is_empty(), "{chunk:?} {scale:?}");
            }
        }
        // Three quarters fill up chunks, but more of them than a half needs.
        assert!(shown([48, 96, 96], [2.0; 3], [16, 32, 32]).is_empty());
        // 100 voxels in chunks of 40: their half is padded to 80.
        let level = |size: u64, scale: f64| StoredLevel {
            size: [size; 3],
            scale: Some([scale; 3]),
            padding: [[40; 3]; 2],
        };
        let padded = levels(&[level(100, 1.0), level(80, 2.0)], Pyramid::Source, 1);
        assert_eq!(padded[1..], [Level { origin: Stored(1), size: [50; 3] }]);
        let third = levels(&[level(100, 1.0), level(80, 1.25)], Pyramid::Source, 1);
        assert_eq!(third.len(), 1);
    }

    #[test]
    fn a_level_that_was_padded_to_the_length_above_is_not_taken_for_the_same() {
        let level = |z: u64, yx: u64, scale: f64| StoredLevel {
            size: [z, yx, yx],
            scale: Some([scale; 3]),
            padding: [[64; 3]; 2],
        };
        let found = levels(&[level(64, 256, 1.0), level(64, 128, 2.0)], Pyramid::Source, 1);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn planes_keep_two_rows_and_columns() {
        let narrow = plan(&[([1 << 20, 3, 3], None)], Pyramid::Auto, 1 << 10);
        assert!(narrow.iter().all(|level| level.size[1] >= 2 && level.size[2] >= 2));
        assert!(narrow.len() > 5);
        let line = plan(&[([1, 1, 1 << 20], None)], Pyramid::Auto, 1 << 10);
        assert_eq!(line.last().map(|level| level.size), Some([1, 1, 1 << 10]));
    }
}
