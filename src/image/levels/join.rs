//! Joining the voxels of bricks: where they lie, row by row.

use std::ops::Range;

use crate::image::reduce::{Reduction, join_rows};
use crate::image::voxels::frame::BrickFrame;
use crate::image::voxels::image::Image;

/// The voxels of a brick that those of one in the level above are joined to.
pub(super) struct Joint<'a> {
    image: &'a Image,
    from: &'a BrickFrame,
    step: [u64; 3],
    reduction: Reduction,
    /// In the coarser level, half-open, order (z, y, x).
    inside: [Range<u64>; 3],
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl<'a> Joint<'a> {
    /// Where a brick overlaps one of the next coarser level; `None` where all of it is dropped.
    pub(super) fn new(
        image: &'a Image,
        to: &BrickFrame,
        from: &'a BrickFrame,
        halved: [bool; 3],
        reduction: Reduction,
    ) -> Option<Self> {
        let step = halved.map(|halved| if halved { 2 } else { 1 });
        let inside: [Range<u64>; 3] = std::array::from_fn(|axis| {
            // Bricks begin at even voxels along halved axes; an odd last one is dropped.
            let start = to.voxels[axis].start.max(from.voxels[axis].start / step[axis]);
            start..to.voxels[axis].end.min(from.voxels[axis].end / step[axis])
        });
        let is_empty = inside.iter().any(Range::is_empty);
        (!is_empty).then_some(Self { image, from, step, reduction, inside })
    }

    fn lengths(&self) -> [usize; 3] {
        std::array::from_fn(|axis| index(self.inside[axis].end - self.inside[axis].start))
    }

    /// Bytes of the joined voxels.
    pub(super) fn bytes(&self) -> usize {
        self.lengths().iter().product::<usize>() * self.from.voxel_bytes()
    }

    /// Joins the voxels of the brick, and writes them row by row.
    pub(super) fn join(&self, bytes: &[u8], joined: &mut [u8]) {
        let [zs, ys, xs] = &self.inside;
        let [step_z, step_y, step_x] = self.step;
        let (reduction, target) = (self.reduction, self.image.plan.target);
        let (x, x_end) = (xs.start * step_x, xs.end * step_x);
        let is_contiguous = self.from.run_end(x, x_end) == x_end;
        let row_bytes = index(x_end - x) * self.from.voxel_bytes();
        let in_y: Vec<usize> = (ys.start * step_y..ys.end * step_y)
            .map(|y| self.from.axis_offset(1, y) + self.from.axis_offset(2, x))
            .collect();
        let mut scratch: [Vec<u8>; 4] = std::array::from_fn(|_| Vec::new());
        let mut out = joined.chunks_mut(self.lengths()[2] * self.from.voxel_bytes());
        for z in zs.clone() {
            let in_z = [0, step_z - 1].map(|dz| self.from.axis_offset(0, z * step_z + dz));
            for y in ys.clone() {
                let mut rows: [&[u8]; 4] = [&[]; 4];
                let count = index(step_z * step_y);
                for (number, (row, scratch)) in rows.iter_mut().zip(&mut scratch).enumerate() {
                    if number >= count {
                        break;
                    }
                    let (dz, dy) = (number / index(step_y), number % index(step_y));
                    *row = if is_contiguous {
                        let at = in_z[dz] + in_y[index((y - ys.start) * step_y) + dy];
                        &bytes[at..at + row_bytes]
                    } else {
                        let (z, y) = (z * step_z + dz as u64, y * step_y + dy as u64);
                        self.from.row(bytes, [z, y, x], x_end, scratch)
                    };
                }
                if let Some(out) = out.next() {
                    join_rows(reduction, target, &rows[..count], step_x == 2, out);
                }
            }
        }
    }

    /// Puts joined voxels where they belong in the coarser brick.
    pub(super) fn place(&self, joined: &[u8], to: &BrickFrame, out: &mut [u8]) {
        let [_, height, width] = self.lengths();
        let voxel_bytes = to.voxel_bytes();
        for piece in to.pieces(&self.inside) {
            let at: [usize; 3] = std::array::from_fn(|axis| {
                index(piece.voxels[axis].start - self.inside[axis].start)
            });
            let [depth, rows, run] = piece.voxels.map(|range| index(range.end - range.start));
            let [plane, row, _] = to.strides();
            for z in 0..depth {
                for y in 0..rows {
                    let start = ((at[0] + z) * height + at[1] + y) * width + at[2];
                    let from = &joined[start * voxel_bytes..(start + run) * voxel_bytes];
                    let offset = piece.offset + (z * plane + y * row) * voxel_bytes;
                    out[offset..offset + from.len()].copy_from_slice(from);
                }
            }
        }
    }
}
