//! How often each axis is halved from a stored level to the next. Sizes and scales alone; no voxel is looked
//! at. All triples are (z, y, x).
//!
//! A level is a half by its size, rounded down or up, or by its scale where a writer has padded it to whole
//! chunks or shards. The n-th voxel of a level that is reached by such steps covers the voxels from `n << h` to
//! `(n + 1) << h` of level 0 along an axis that is halved `h` times in all.

/// What is known of a level of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredLevel {
    /// Size in voxels.
    pub(crate) size: [u64; 3],
    /// Scale relative to level 0, where stated.
    pub(crate) scale: Option<[f64; 3]>,
    /// Shapes that a writer may have padded it to multiples of: of its chunks, and of the chunks in its
    /// shards.
    pub(crate) padding: [[u64; 3]; 2],
}

/// Most halvings of one axis between two levels of a store.
const HALVINGS_LIMIT: u32 = 20;

/// How far the binary logarithm of a stated scale may be from a whole number of halvings. Writers
/// state the true ratio of sizes: 33 to 8 voxels is 4.125. A factor of 3 is 0.415 away from 4.
const LOG_SCALE_TOLERANCE: f64 = 0.4;

/// Level 0, and the levels that are reached from it by halving: the number of each in the store, and how often
/// each of its axes is halved from level 0.
pub(crate) fn reached(stored: &[StoredLevel]) -> Vec<(usize, [u32; 3])> {
    let mut above = StoredLevel { scale: Some([1.0; 3]), ..stored[0] };
    let (mut shown, mut total) = (stored[0].size, [0; 3]);
    let mut found = vec![(0, total)];
    for (number, own) in stored.iter().enumerate().skip(1) {
        let Some(halvings) = halvings_between(shown, &above, own) else { continue };
        if halvings == [0; 3] {
            continue;
        }
        for axis in 0..3 {
            shown[axis] = halved(shown[axis], halvings[axis]);
            total[axis] += halvings[axis];
        }
        found.push((number, total));
        above = *own;
    }
    found
}

/// The scale of a level whose axes are halved so often.
pub(crate) fn scale_of(halvings: [u32; 3]) -> [f64; 3] {
    halvings.map(|halvings| f64::from(halvings).exp2())
}

/// How often each axis of the level `above`, of which `shown` is shown, is halved in `own`.
pub(crate) fn halvings_between(
    shown: [u64; 3],
    above: &StoredLevel,
    own: &StoredLevel,
) -> Option<[u32; 3]> {
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

/// A length after some halvings, rounded down.
pub(crate) fn halved(length: u64, times: u32) -> u64 {
    (length >> times).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn levels_that_are_no_halves_are_not_reached() {
        let level = |size: u64, scale: f64| StoredLevel {
            size: [7, size, size],
            scale: Some([1.0, scale, scale]),
            padding: [[64; 3]; 2],
        };
        let levels = [level(200, 1.0), level(100, 2.0), level(66, 3.0), level(25, 8.0)];
        assert_eq!(reached(&levels), [(0, [0; 3]), (1, [0, 1, 1]), (3, [0, 3, 3])]);
    }
}
