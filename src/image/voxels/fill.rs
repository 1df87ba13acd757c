//! Production of one brick of a stored level: which read units it needs, and how their voxels get into the
//! order of HDF5 chunks.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::brick::{Keep, Produced};
use crate::engine::error::ImageError;
use crate::image::plan::ImagePlan;
use crate::ims::VoxelType;
use crate::resources::Resources;
use crate::resources::buffer::Buffer;
use crate::source::image::LevelSource;
use crate::source::{SourceError, UnitBytes};

use super::convert::{Pixels, Strided, copy_box};
use super::frame::{BrickFrame, BrickId, Piece};
use super::units;

/// One brick of a stored level, and what it is produced from.
#[derive(Debug)]
pub(super) struct BrickJob<'a> {
    source: &'a LevelSource,
    target: VoxelType,
    time: u64,
    channel: u64,
    frame: BrickFrame,
}

/// What takes the place of a unit that cannot be decoded: the fill value, or an error.
pub(super) type Instead<'a> = &'a dyn Fn(SourceError) -> Result<(), SourceError>;

/// A decoded read unit and where it lies.
struct Unit {
    bytes: UnitBytes,
    /// First voxel, order (z, y, x).
    origin: [u64; 3],
}

/// The units of a brick that have been put together so far.
struct Composed<'a, 'b> {
    job: &'b BrickJob<'a>,
    /// Made with the first unit that needs it.
    out: Option<Buffer>,
    /// There are units that `out` has no zeros for yet: they are written only where something else may be.
    has_zeros: bool,
    /// The bytes of a unit that are those of the brick.
    same: Option<Arc<Buffer>>,
    /// All voxels are zero.
    is_zero: bool,
}

impl Composed<'_, '_> {
    fn add(&mut self, unit: Unit) -> Result<(), ImageError> {
        if self.job.is_same(&unit)
            && let UnitBytes::Stored { bytes, .. } = unit.bytes
        {
            (self.same, self.is_zero) = (Some(bytes), false);
            return Ok(());
        }
        let is_zero_fill = self.job.is_zero_fill(&unit);
        self.is_zero &= is_zero_fill;
        if self.out.is_none() && is_zero_fill {
            self.has_zeros = true;
            return Ok(());
        }
        let mut buffer = match self.out.take() {
            Some(buffer) => buffer,
            None if self.has_zeros => self.job.frame.zeros()?,
            None => self.job.frame.blank()?,
        };
        self.job.scatter(&unit, &mut buffer);
        self.out = Some(buffer);
        Ok(())
    }

    fn bytes(self) -> Result<Arc<Buffer>, ImageError> {
        match (self.same, self.out) {
            (Some(same), _) => Ok(same),
            (None, Some(out)) => Ok(Arc::new(out)),
            (None, None) => Ok(Arc::new(self.job.frame.zeros()?)),
        }
    }
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

    /// Waits until the files of all units answer. A file system that hangs must not do so while memory is
    /// reserved.
    pub(super) fn await_source(&self) {
        for (position, _) in self.units() {
            self.source.array.await_unit(&position);
        }
    }

    /// Decodes the units and writes the chunks in file order. Where a unit is absent, the result is true for as
    /// long as the image only if that `follows_chunks`; else it is kept for a short time, since a microscope may
    /// still write the unit. `instead` decides on each unit that cannot be decoded.
    ///
    /// # Errors
    /// [`ImageError::Source`] with the error that `instead` returns.
    pub(super) fn produce(
        &self,
        resources: &Arc<Resources>,
        follows_chunks: bool,
        instead: Instead<'_>,
    ) -> Result<Produced, ImageError> {
        usize::try_from(self.frame.bytes()).map_err(|_| ImageError::TooLarge)?;
        let mut whole =
            Composed { job: self, out: None, has_zeros: false, same: None, is_zero: true };
        let mut lasts = true;
        let (positions, origins): (Vec<_>, Vec<_>) = self.units().unzip();
        units::decode_each(resources, &self.source.array, positions, |number, decoded| {
            let bytes = match decoded {
                Ok(UnitBytes::Fill) => {
                    lasts &= follows_chunks;
                    UnitBytes::Fill
                }
                Ok(stored) => {
                    lasts &= follows_chunks || stored.is_settled();
                    stored
                }
                Err(error) => {
                    instead(error)?;
                    // It may be only for now.
                    lasts = false;
                    UnitBytes::Fill
                }
            };
            whole.add(Unit { bytes, origin: origins[number] })
        })?;
        let keep = match lasts {
            true if whole.is_zero => Keep::Lightly,
            true => Keep::OnDisk,
            false => Keep::FLEETING,
        };
        let is_zero = whole.is_zero;
        Ok(Produced::new(whole.bytes()?, keep, is_zero))
    }

    /// The position of each unit in its array, and its first voxel, order (z, y, x).
    fn units(&self) -> impl Iterator<Item = (Vec<u64>, [u64; 3])> {
        let [unit_t, unit_c, unit @ ..] = self.source.unit_shape();
        let [zs, ys, xs]: [Range<u64>; 3] = std::array::from_fn(|axis| {
            let voxels = &self.frame.voxels[axis];
            voxels.start / unit[axis]..voxels.end.div_ceil(unit[axis])
        });
        let [t, c] = [self.time / unit_t, self.channel / unit_c];
        let rows = zs.flat_map(move |z| ys.clone().map(move |y| (z, y)));
        let all = rows.flat_map(move |(z, y)| xs.clone().map(move |x| [z, y, x]));
        all.map(move |at| {
            let [z, y, x] = at;
            let origin = std::array::from_fn(|axis| at[axis] * unit[axis]);
            (self.source.unit_position([t, c, z, y, x]), origin)
        })
    }

    /// Copies the part of a unit that lies in the brick into the brick's chunks.
    fn scatter(&self, unit: &Unit, out: &mut [u8]) {
        let shape = self.source.unit_shape();
        let [stride_t, stride_c, stride_z, stride_y, stride_x] = self.source.unit_strides();
        let inside: [Range<u64>; 3] = std::array::from_fn(|axis| {
            let voxels = &self.frame.voxels[axis];
            let start = voxels.start.max(unit.origin[axis]);
            start..voxels.end.min(unit.origin[axis] + shape[axis + 2])
        });
        let (bytes, is_fill): (&[u8], bool) = match &unit.bytes {
            UnitBytes::Stored { bytes, .. } => (bytes, false),
            UnitBytes::Fill => (self.source.array.fill_value(), true),
        };
        let pixels = self.pixels(bytes);
        let to = Strided { start: 0, strides: self.frame.strides() };
        let strides = if is_fill { [0; 3] } else { [stride_z, stride_y, stride_x].map(index) };
        // The time point and channel within the unit.
        let base = self.time % shape[0] * stride_t + self.channel % shape[1] * stride_c;
        for Piece { voxels, offset } in self.frame.pieces(&inside) {
            let [z, y, x]: [u64; 3] =
                std::array::from_fn(|axis| voxels[axis].start - unit.origin[axis]);
            let first = base + z * stride_z + y * stride_y + x * stride_x;
            let start = if is_fill { 0 } else { index(first) };
            let lengths = voxels.map(|range| index(range.end - range.start));
            copy_box(pixels, Strided { start, strides }, &mut out[offset..], to, lengths);
        }
    }

    /// Whether a unit is absent and all its voxels are zero in the file.
    fn is_zero_fill(&self, unit: &Unit) -> bool {
        if !matches!(unit.bytes, UnitBytes::Fill) {
            return false;
        }
        let mut voxel = [0; 4];
        let one = Strided { start: 0, strides: [0; 3] };
        copy_box(self.pixels(self.source.array.fill_value()), one, &mut voxel, one, [1; 3]);
        voxel == [0; 4]
    }

    /// Voxels of the array, as they are to be converted.
    fn pixels<'b>(&self, bytes: &'b [u8]) -> Pixels<'b> {
        let source_type = self.source.array.source_type();
        Pixels { bytes, source_type, target: self.target }
    }

    /// Whether the bytes of a unit are those of the brick.
    fn is_same(&self, unit: &Unit) -> bool {
        let UnitBytes::Stored { bytes, .. } = &unit.bytes else { return false };
        let [_, _, shape @ ..] = self.source.unit_shape();
        let [_, _, strides @ ..] = self.source.unit_strides();
        let in_order = [shape[1] * shape[2], shape[2], 1];
        // All of the unit is in the brick, and all of the brick in the unit, in the same order.
        self.pixels(bytes).is_same()
            && bytes.len() as u64 == self.frame.bytes()
            && (0..3).all(|axis| strides[axis] == in_order[axis] || shape[axis] == 1)
            && self.frame.is_plain(unit.origin, shape)
    }
}

/// Units fit memory.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
