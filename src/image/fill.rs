//! Production of one brick of a stored level: which read units it needs, and how their voxels get into
//! chunk order.

use std::ops::Range;

use crate::source::image::LevelSource;
use crate::source::{Pixels, TargetType, UnitBytes, copy_row};

use super::ImageError;
use super::engine::{Keep, Produced};
use super::frame::{BrickFrame, BrickId};
use super::plan::ImagePlan;

/// One brick of a stored level, with all that is needed to produce it.
#[derive(Debug)]
pub(super) struct BrickJob<'a> {
    source: &'a LevelSource,
    target: TargetType,
    time: u64,
    channel: u64,
    frame: BrickFrame,
}

/// A decoded read unit and where it lies.
struct Unit {
    bytes: UnitBytes,
    /// First voxel, order (z, y, x).
    origin: [u64; 3],
}

impl<'a> BrickJob<'a> {
    pub(super) fn new(plan: &ImagePlan, source: &'a LevelSource, brick: BrickId) -> Self {
        let (time, channel) = plan.time_and_channel(brick.dataset);
        Self { source, target: plan.target, time, channel, frame: BrickFrame::new(plan, brick) }
    }

    /// Memory needed at the peak: the brick, one decoded unit, one encoded unit.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.source.array.unit_bytes().saturating_mul(2).saturating_add(self.frame.bytes())
    }

    /// Decodes the units and writes the chunks in file order. The result is kept for a short time only
    /// where a unit was absent: it may be written any time, by a microscope that is still at work.
    ///
    /// # Errors
    /// [`ImageError::Source`] when a unit cannot be decoded.
    pub(super) fn produce(&self) -> Result<Produced, ImageError> {
        let bytes = self.frame.bytes();
        let mut out = vec![0; usize::try_from(bytes).map_err(|_| ImageError::TooLarge)?];
        let shape = self.source.unit_shape();
        let voxels = &self.frame.voxels;
        let units: [Range<u64>; 3] = std::array::from_fn(|axis| {
            voxels[axis].start / shape[axis + 2]..voxels[axis].end.div_ceil(shape[axis + 2])
        });
        let mut complete = true;
        let mut is_zero = true;
        for uz in units[0].clone() {
            for uy in units[1].clone() {
                for ux in units[2].clone() {
                    let at = [self.time / shape[0], self.channel / shape[1], uz, uy, ux];
                    let bytes = self.source.array.read_unit(&self.source.unit_position(at))?;
                    complete &= matches!(bytes, UnitBytes::Stored(_));
                    let origin = [uz * shape[2], uy * shape[3], ux * shape[4]];
                    is_zero &= !self.scatter(&Unit { bytes, origin }, &mut out);
                }
            }
        }
        let keep = if complete { Keep::OnDisk } else { Keep::FLEETING };
        Ok(Produced { bytes: out, keep, is_zero })
    }

    /// Copies the part of a unit that lies in the brick into the brick's chunks; whether anything was
    /// written.
    fn scatter(&self, unit: &Unit, out: &mut [u8]) -> bool {
        let shape = self.source.unit_shape();
        let [stride_t, stride_c, stride_z, stride_y, stride_x] = self.source.unit_strides();
        let source_type = self.source.array.source_type();
        let inside: [Range<u64>; 3] = std::array::from_fn(|axis| {
            let voxels = &self.frame.voxels[axis];
            let start = voxels.start.max(unit.origin[axis]);
            start..voxels.end.min(unit.origin[axis] + shape[axis + 2])
        });
        let (bytes, is_fill): (&[u8], bool) = match &unit.bytes {
            UnitBytes::Stored(bytes) => (bytes, false),
            UnitBytes::Fill => (self.source.array.fill_value(), true),
        };
        let pixels = Pixels { bytes, source_type, target: self.target };
        let voxel_bytes = self.frame.voxel_bytes();
        if is_fill {
            let mut voxel = [0; 4];
            copy_row(pixels, 0, 0, &mut voxel[..voxel_bytes]);
            if voxel == [0; 4] {
                return false;
            }
        }
        let index = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        // The time point and channel within the unit.
        let first = self.time % shape[0] * stride_t + self.channel % shape[1] * stride_c;
        for z in inside[0].clone() {
            for y in inside[1].clone() {
                let row = first + (z - unit.origin[0]) * stride_z + (y - unit.origin[1]) * stride_y;
                let mut x = inside[2].start;
                while x < inside[2].end {
                    // As far as the chunk or the unit goes.
                    let stop = self.frame.run_end(x, inside[2].end);
                    let start = self.frame.offset([z, y, x]);
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
        true
    }
}
