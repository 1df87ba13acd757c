//! The bricks under a brick of a computed level.

use std::ops::Range;

use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;

/// What a child is to the brick it is a part of.
#[derive(Clone, Copy)]
pub(super) struct Child {
    pub(super) brick: BrickId,
    /// It is shown to the visitor here, and not as a child of another.
    pub(super) is_owned: bool,
    /// Voxels of it are joined to the parent's; else all of them are dropped.
    pub(super) is_needed: bool,
}

/// The bricks under a brick, one level finer.
pub(super) struct Children {
    level: usize,
    dataset: u64,
    /// Positions of the children in the grid of their level.
    ranges: [Range<u64>; 3],
    /// Those that belong to this brick and to no other.
    owned: [Range<u64>; 3],
    /// Those with voxels that are not dropped.
    needed: [Range<u64>; 3],
    grid: [u64; 3],
    next: u64,
}

impl Children {
    /// `all`: also those of which every voxel is dropped, because an odd last plane is.
    pub(super) fn new(image: &Image, brick: BrickId, frame: &BrickFrame, all: bool) -> Self {
        let plan = &image.plan;
        let level = brick.level - 1;
        let (own, above) = (&plan.levels[brick.level], &plan.levels[level]);
        let halved = own.halved(above);
        let grid = plan.layout.levels()[level].bricks.bricks();
        let mut ranges = [0..0, 0..0, 0..0];
        let mut owned = [0..0, 0..0, 0..0];
        let mut needed = [0..0, 0..0, 0..0];
        for axis in 0..3 {
            let step = if halved[axis] { 2 } else { 1 };
            let side = above.brick[axis];
            let (start, end) = (frame.voxels[axis].start * step, frame.voxels[axis].end * step);
            let mut last = end.div_ceil(side);
            // A child belongs to the parent that holds its first voxel.
            let first_owned = start.div_ceil(side);
            let mut last_owned = last;
            needed[axis] = start / side..last;
            if frame.voxels[axis].end == own.size[axis] {
                last_owned = grid[axis];
                if all {
                    last = grid[axis];
                }
            }
            ranges[axis] = start / side..last;
            owned[axis] = first_owned..last_owned;
        }
        Self { level, dataset: brick.dataset, ranges, owned, needed, grid, next: 0 }
    }

    pub(super) fn len(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).product()
    }

    /// Skips those that did not come yet; their number.
    pub(super) fn skip_rest(&mut self) -> u64 {
        let left = self.len() - self.next;
        self.next = self.len();
        left
    }
}

impl Iterator for Children {
    type Item = Child;

    fn next(&mut self) -> Option<Child> {
        if self.next >= self.len() {
            return None;
        }
        let [_, height, width] =
            [0, 1, 2].map(|axis| self.ranges[axis].end - self.ranges[axis].start);
        let offset = [self.next / width / height, self.next / width % height, self.next % width];
        self.next += 1;
        let at: [u64; 3] = std::array::from_fn(|axis| self.ranges[axis].start + offset[axis]);
        let brick = (at[0] * self.grid[1] + at[1]) * self.grid[2] + at[2];
        let is_owned = (0..3).all(|axis| self.owned[axis].contains(&at[axis]));
        let is_needed = (0..3).all(|axis| self.needed[axis].contains(&at[axis]));
        let brick = BrickId { level: self.level, dataset: self.dataset, brick };
        Some(Child { brick, is_owned, is_needed })
    }
}
