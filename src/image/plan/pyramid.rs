//! Which resolution levels a file has, and where the voxels of each come from. Shapes alone; no
//! voxel is looked at. All triples are (z, y, x).
//!
//! `ImarisWriter` knows one kind of step from a level to the next: an axis is halved, rounded
//! down, or kept (`ImarisWriter` `bpOptimalBlockLayout.cxx`, imglib2-imaris-bridge
//! `ImarisDataset.java`). A level of the store that is reached by such steps is shown as it is; the
//! levels between, and those below the store's coarsest, are computed. Where halves were rounded
//! up, or padded to whole shards, a level is shown without the surplus.

use crate::image::options::Pyramid;

/// Where the voxels of a level come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LevelOrigin {
    /// The level of this number in the store.
    Stored(usize),
    /// From the level above, by joining voxels.
    Computed,
}

/// What is known of a level of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredLevel {
    /// Size in voxels.
    pub(super) size: [u64; 3],
    /// Scale relative to level 0, where stated.
    pub(super) scale: Option<[f64; 3]>,
    /// Shapes that a writer may have padded it to multiples of: of its chunks, and of the chunks in its
    /// shards.
    pub(super) padding: [[u64; 3]; 2],
}

/// A level of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) origin: LevelOrigin,
    pub(super) size: [u64; 3],
}

/// Most halvings of one axis between two levels of a store.
const HALVINGS_LIMIT: u32 = 20;

/// How far the binary logarithm of a stated scale may be from a whole number of halvings. Writers
/// state the true ratio of sizes: 33 to 8 voxels is 4.125. A factor of 3 is 0.415 away from 4.
const LOG_SCALE_TOLERANCE: f64 = 0.4;

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

/// How often each axis of the level `above`, of which `shown` is shown, is halved in `own`.
fn halvings_between(shown: [u64; 3], above: &StoredLevel, own: &StoredLevel) -> Option<[u32; 3]> {
    let mut halvings = [0; 3];
    for (axis, halvings) in halvings.iter_mut().enumerate() {
        let scales = own.scale.zip(above.scale);
        let step = Step {
            shown: shown[axis],
            stored: above.size[axis],
            own: own.size[axis],
            ratio: scales.map(|(own, above)| own[axis] / above[axis]),
            // Writers that pad do so with chunks that are as long on every level. A chunk that is the whole
            // of its level says nothing.
            padding: std::array::from_fn(|i| {
                let length = own.padding[i][axis];
                (length == above.padding[i][axis]).then_some(length)
            }),
        };
        *halvings = step.halvings()?;
    }
    Some(halvings)
}

/// One axis from a level to the next.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// Voxels shown of the level above.
    shown: u64,
    /// Voxels stored of the level above.
    stored: u64,
    /// Voxels stored of the level.
    own: u64,
    /// The step of the scale, where stated.
    ratio: Option<f64>,
    /// Lengths of which the level may have been padded to a multiple.
    padding: [Option<u64>; 2],
}

impl Step {
    /// How often the axis is halved. The step is found among the stored lengths: where one half was
    /// rounded up, the levels below follow it.
    fn halvings(&self) -> Option<u32> {
        let &Self { shown, stored, own, ratio, .. } = self;
        if own == stored {
            let padded = (1..=HALVINGS_LIMIT).find(|&n| self.is_padded_half(n));
            return match padded {
                None => Some(0),
                // The level above was padded: so is this one.
                Some(n) if shown < stored => Some(n),
                Some(_) => None,
            };
        }
        (1..=HALVINGS_LIMIT).find(|&n| {
            let (down, up) = (halved(stored, n), stored.div_ceil(1 << n));
            if own == down || own == up {
                // One halving is plain from the sizes; where there are several, 6 voxels to 2 may be
                // two halvings, rounded up, or a third.
                n == 1 || self.states(n, LOG_SCALE_TOLERANCE) || (ratio.is_none() && own == down)
            } else {
                self.is_padded_half(n)
            }
        })
    }

    /// Whether the scale states this number of halvings.
    fn states(&self, n: u32, tolerance: f64) -> bool {
        self.ratio.is_some_and(|ratio| (ratio.log2() - f64::from(n)).abs() < tolerance)
    }

    /// Whether the axis is halved `n` times and then padded to whole chunks, by its scale and its
    /// length.
    fn is_padded_half(&self, n: u32) -> bool {
        let half = halved(self.shown, n);
        let longest = self.stored.div_ceil(1 << n);
        let fills = |length: u64| {
            [half, longest]
                .iter()
                .any(|half| half.div_ceil(length).checked_mul(length) == Some(self.own))
        };
        self.states(n, 0.015) && self.own > half && self.padding.into_iter().flatten().any(fills)
    }
}

fn halved(length: u64, times: u32) -> u64 {
    (length >> times).max(1)
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

    #[test]
    fn steps_of_an_axis() {
        let axis_halvings = |shown: u64, stored: u64, own: u64, ratio: Option<f64>| {
            Step { shown, stored, own, ratio, padding: [Some(64), Some(24)] }.halvings()
        };
        assert_eq!(axis_halvings(215, 215, 107, None), Some(1));
        assert_eq!(axis_halvings(215, 215, 108, None), Some(1));
        assert_eq!(axis_halvings(215, 215, 215, None), Some(0));
        assert_eq!(axis_halvings(215, 215, 53, None), Some(2));
        assert_eq!(axis_halvings(215, 215, 54, None), None);
        assert_eq!(axis_halvings(215, 215, 54, Some(4.0)), Some(2));
        assert_eq!(axis_halvings(215, 215, 71, Some(3.0)), None);
        assert_eq!(axis_halvings(96, 96, 64, Some(1.5)), None);
        assert_eq!(axis_halvings(96, 96, 64, Some(2.0)), Some(1));
        assert_eq!(axis_halvings(6, 6, 2, Some(3.0)), None);
        assert_eq!(axis_halvings(33, 33, 8, Some(4.125)), Some(2));
        assert_eq!(axis_halvings(1, 1, 1, None), Some(0));
        // 1025 to 513 to 257 to 129: rounded up at each step.
        assert_eq!(axis_halvings(512, 513, 257, None), Some(1));
        assert_eq!(axis_halvings(256, 257, 129, None), Some(1));
        assert_eq!(axis_halvings(512, 513, 256, None), Some(1));
        assert_eq!(axis_halvings(107, 108, 54, None), Some(1));
        // 8 is a half of 17 shown as 16, and more than half of 15.
        assert_eq!(axis_halvings(16, 17, 8, Some(2.1)), Some(1));
        assert_eq!(axis_halvings(107, 108, 72, Some(2.0)), Some(1));
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
