//! Production of one brick: which read units it needs, and how their voxels get into chunk order.

use std::ops::Range;

use crate::source::image::LevelSource;
use crate::source::{Pixels, UnitBytes, copy_row};

use super::ImageError;
use super::engine::Produced;
use super::plan::{ImagePlan, PlannedLevel};

/// One brick of one dataset, with all that is needed to produce it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BrickJob<'a> {
    pub(crate) plan: &'a ImagePlan,
    pub(crate) level: usize,
    pub(crate) source: &'a LevelSource,
    pub(crate) dataset: u64,
    pub(crate) brick: u64,
}

/// A decoded read unit and where it lies.
struct Unit {
    bytes: UnitBytes,
    /// First voxel, order (z, y, x).
    origin: [u64; 3],
}

impl<'a> BrickJob<'a> {
    fn planned(&self) -> &'a PlannedLevel {
        &self.plan.levels[self.level]
    }

    /// Voxels of the brick that exist, half-open along (z, y, x).
    fn voxels(&self) -> [Range<u64>; 3] {
        let planned = self.planned();
        let chunks = self.plan.layout.levels()[self.level].bricks.brick_box(self.brick);
        std::array::from_fn(|axis| {
            let chunk = planned.chunk[axis];
            let end = (chunks[axis].end * chunk).min(planned.size[axis]);
            chunks[axis].start * chunk..end
        })
    }

    /// Memory needed at the peak: the brick, one decoded unit, one encoded unit.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let brick = self.plan.layout.levels()[self.level].bricks.brick_bytes(self.brick);
        self.source.array.unit_bytes().saturating_mul(2).saturating_add(brick)
    }

    /// Visits every row of voxels in the bytes of the brick: its first voxel (z, y, x), its bytes.
    pub(crate) fn each_row(&self, bytes: &[u8], visit: &mut dyn FnMut([u64; 3], &[u8])) {
        let planned = self.planned();
        let bricks = &self.plan.layout.levels()[self.level].bricks;
        let voxel_bytes = self.source.array.source_type().target().bytes();
        let index = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let [chunk_z, chunk_y, chunk_x] = planned.chunk;
        let [boxes_z, boxes_y, boxes_x] = bricks.brick_box(self.brick);
        let mut start = 0;
        for z in boxes_z {
            for y in boxes_y.clone() {
                for x in boxes_x.clone() {
                    let origin = [z * chunk_z, y * chunk_y, x * chunk_x];
                    let end: [u64; 3] = std::array::from_fn(|axis| {
                        (origin[axis] + planned.chunk[axis]).min(planned.size[axis])
                    });
                    let row_bytes = index(end[2] - origin[2]) * voxel_bytes;
                    for row_z in origin[0]..end[0] {
                        for row_y in origin[1]..end[1] {
                            let voxel =
                                ((row_z - origin[0]) * chunk_y + row_y - origin[1]) * chunk_x;
                            let at = start + index(voxel) * voxel_bytes;
                            visit([row_z, row_y, origin[2]], &bytes[at..at + row_bytes]);
                        }
                    }
                    start += index(bricks.chunk_stride());
                }
            }
        }
    }

    /// Decodes the units and writes the chunks in file order. The result is not to be kept where a
    /// unit was absent: it may be written any time, by a microscope that is still at work.
    ///
    /// # Errors
    /// [`ImageError::Source`] when a unit cannot be decoded.
    pub(crate) fn produce(&self) -> Result<Produced, ImageError> {
        let bricks = &self.plan.layout.levels()[self.level].bricks;
        let bytes = bricks.brick_bytes(self.brick);
        let mut out = vec![0; usize::try_from(bytes).map_err(|_| ImageError::TooLarge)?];
        let [time, channel] = {
            let (time, channel) = self.plan.time_and_channel(self.dataset);
            [time, channel]
        };
        let shape = self.source.unit_shape();
        let voxels = self.voxels();
        let units: [Range<u64>; 3] = std::array::from_fn(|axis| {
            voxels[axis].start / shape[axis + 2]..voxels[axis].end.div_ceil(shape[axis + 2])
        });
        let first = self.first_voxel_in_unit(time, channel);
        let mut keep = true;
        for uz in units[0].clone() {
            for uy in units[1].clone() {
                for ux in units[2].clone() {
                    let at = [time / shape[0], channel / shape[1], uz, uy, ux];
                    let bytes = self.source.array.read_unit(&self.source.unit_position(at))?;
                    keep &= matches!(bytes, UnitBytes::Stored(_));
                    let origin = [uz * shape[2], uy * shape[3], ux * shape[4]];
                    self.scatter(&Unit { bytes, origin }, first, &voxels, &mut out);
                }
            }
        }
        Ok(Produced { bytes: out, keep })
    }

    /// Element index, within a unit, of its voxel (0, 0, 0) at this time point and channel.
    fn first_voxel_in_unit(&self, time: u64, channel: u64) -> u64 {
        let shape = self.source.unit_shape();
        let strides = self.source.unit_strides();
        time % shape[0] * strides[0] + channel % shape[1] * strides[1]
    }

    /// Copies the part of a unit that lies in the brick into the brick's chunks.
    fn scatter(&self, unit: &Unit, first: u64, voxels: &[Range<u64>; 3], out: &mut [u8]) {
        let planned = self.planned();
        let bricks = &self.plan.layout.levels()[self.level].bricks;
        let chunk = planned.chunk;
        let brick_chunks = bricks.brick_box(self.brick);
        let shape = self.source.unit_shape();
        let [_, _, stride_z, stride_y, stride_x] = self.source.unit_strides();
        let source_type = self.source.array.source_type();
        let voxel_bytes = source_type.target().bytes();
        let inside: [Range<u64>; 3] = std::array::from_fn(|axis| {
            let start = voxels[axis].start.max(unit.origin[axis]);
            start..voxels[axis].end.min(unit.origin[axis] + shape[axis + 2])
        });
        let (pixels, is_fill) = match &unit.bytes {
            UnitBytes::Stored(bytes) => (Pixels { bytes, source_type }, false),
            UnitBytes::Fill => {
                let fill = self.source.array.fill_value();
                if fill.iter().all(|&byte| byte == 0) {
                    return;
                }
                (Pixels { bytes: fill, source_type }, true)
            }
        };
        let index = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let width = brick_chunks[2].end - brick_chunks[2].start;
        let height = brick_chunks[1].end - brick_chunks[1].start;
        for z in inside[0].clone() {
            for y in inside[1].clone() {
                let row = first + (z - unit.origin[0]) * stride_z + (y - unit.origin[1]) * stride_y;
                let mut x = inside[2].start;
                while x < inside[2].end {
                    // As far as the chunk or the unit goes.
                    let stop = inside[2].end.min((x / chunk[2] + 1) * chunk[2]);
                    let number = ((z / chunk[0] - brick_chunks[0].start) * height
                        + (y / chunk[1] - brick_chunks[1].start))
                        * width
                        + (x / chunk[2] - brick_chunks[2].start);
                    let voxel = (z % chunk[0] * chunk[1] + y % chunk[1]) * chunk[2] + x % chunk[2];
                    let start = index(number * bricks.chunk_stride()) + index(voxel) * voxel_bytes;
                    let row_out = &mut out[start..start + index(stop - x) * voxel_bytes];
                    if is_fill {
                        copy_row(pixels, 0, 0, row_out);
                    } else {
                        let from = index(row + (x - unit.origin[2]) * stride_x);
                        copy_row(pixels, from, index(stride_x), row_out);
                    }
                    x = stop;
                }
            }
        }
    }
}
