//! Boxes of voxels: half-open ranges along (z, y, x).

use std::ops::Range;

/// A box of voxels, order (z, y, x).
pub(crate) type Box3 = [Range<u64>; 3];

/// What two boxes have in common; `None` if that is nothing.
pub(crate) fn common(a: &Box3, b: &Box3) -> Option<Box3> {
    let both: Box3 =
        std::array::from_fn(|axis| a[axis].start.max(b[axis].start)..a[axis].end.min(b[axis].end));
    (!both.iter().any(Range::is_empty)).then_some(both)
}

/// Adds what is left of a box without `hole`, which lies in it: at most six boxes that do not overlap.
pub(super) fn cut_out(whole: &Box3, hole: &Box3, left: &mut Vec<Box3>) {
    let mut rest = whole.clone();
    for axis in 0..3 {
        for side in [rest[axis].start..hole[axis].start, hole[axis].end..rest[axis].end] {
            if !side.is_empty() {
                let mut cut = rest.clone();
                cut[axis] = side;
                left.push(cut);
            }
        }
        rest[axis] = hole[axis].clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All voxels of a box.
    fn voxels([zs, ys, xs]: &Box3) -> impl Iterator<Item = [u64; 3]> {
        let rows = zs.clone().flat_map(move |z| ys.clone().map(move |y| (z, y)));
        rows.flat_map(move |(z, y)| xs.clone().map(move |x| [z, y, x]))
    }

    #[test]
    fn what_is_cut_out_and_what_is_left_are_the_whole() {
        let whole = [0..3, 2..6, 1..5];
        for hole in [[0..3, 2..6, 1..5], [1..2, 3..4, 2..3], [0..3, 2..6, 4..5], [2..3, 2..3, 1..2]]
        {
            let mut left = Vec::new();
            cut_out(&whole, &hole, &mut left);
            assert!(left.len() <= 6);
            let mut all: Vec<_> = left.iter().flat_map(voxels).chain(voxels(&hole)).collect();
            all.sort_unstable();
            assert_eq!(all, voxels(&whole).collect::<Vec<_>>(), "{hole:?}");
        }
    }

    #[test]
    fn boxes_that_touch_have_nothing_in_common() {
        assert_eq!(common(&[0..4, 0..4, 0..4], &[4..8, 0..4, 0..4]), None);
        assert_eq!(common(&[0..4, 0..4, 0..4], &[3..8, 1..2, 2..9]), Some([3..4, 1..2, 2..4]));
    }
}
