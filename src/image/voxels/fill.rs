//! Production of one brick of a stored level: which read units it needs, and how their voxels get into the
//! order of HDF5 chunks.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::brick::{Keep, Produced};
use crate::engine::error::ImageError;
use crate::image::plan::ImagePlan;
use crate::ims::VoxelType;
use crate::resources::Resources;
use crate::resources::buffer::Buffer;
use crate::resources::headroom;
use crate::source::boxes::{Box3, common};
use crate::source::image::{LevelSource, Part};
use crate::source::parts::{Visible, VisiblePart};
use crate::source::{SourceError, SourceType, UnitBytes};

use super::convert::{Pixels, Strided, copy_box};
use super::frame::{BrickFrame, BrickId, Piece};
use super::units;

/// One brick of a stored level, and what it is produced from.
#[derive(Debug)]
pub(super) struct BrickJob<'a> {
    source: &'a LevelSource,
    visible: Visible<'a>,
    target: VoxelType,
    frame: BrickFrame,
}

/// What takes the place of a unit of a part that cannot be decoded: the fill value, or an error.
pub(super) type Instead<'a> = &'a dyn Fn(&Part, SourceError) -> Result<(), SourceError>;

/// A read unit that a brick needs.
struct Needed<'a, 'b> {
    of: &'b VisiblePart<'a>,
    /// Position in the array.
    position: Vec<u64>,
    /// First voxel in the array, order (z, y, x).
    origin: [u64; 3],
}

/// A decoded read unit and where it lies.
struct Unit<'a, 'b> {
    bytes: UnitBytes,
    needed: &'b Needed<'a, 'b>,
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
    fn add(&mut self, unit: Unit<'_, '_>) -> Result<(), ImageError> {
        if self.job.is_same(&unit)
            && let UnitBytes::Stored { bytes, .. } = unit.bytes
        {
            (self.same, self.is_zero) = (Some(bytes), false);
            return Ok(());
        }
        let array = &unit.needed.of.part.array;
        let is_absent = matches!(unit.bytes, UnitBytes::Fill);
        let is_zero = is_absent && self.job.is_zero(array.source_type(), array.fill_value());
        self.write(is_zero, |job, out| job.scatter(&unit, out))
    }

    /// Adds the places where no part is.
    fn add_gaps(&mut self) -> Result<(), ImageError> {
        if self.job.visible.gaps.is_empty() {
            return Ok(());
        }
        let (source_type, fill) = (self.job.source.source_type(), self.job.source.fill_value());
        self.write(self.job.is_zero(source_type, fill), |job, out| {
            for gap in &job.visible.gaps {
                job.spread(job.pixels(source_type, fill), gap, out);
            }
        })
    }

    /// Writes voxels; `is_zero` if they are all zero.
    fn write(
        &mut self,
        is_zero: bool,
        write: impl FnOnce(&BrickJob<'_>, &mut [u8]),
    ) -> Result<(), ImageError> {
        self.is_zero &= is_zero;
        if self.out.is_none() && is_zero {
            self.has_zeros = true;
            return Ok(());
        }
        let mut buffer = match self.out.take() {
            Some(buffer) => buffer,
            None if self.has_zeros => self.job.frame.zeros()?,
            None => self.job.frame.blank()?,
        };
        write(self.job, &mut buffer);
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
        let frame = BrickFrame::new(plan, brick);
        let visible = source.visible([time, channel], &frame.voxels);
        Self { source, visible, target: plan.target, frame }
    }

    /// Memory needed at the peak: the brick, one decoded unit, one encoded unit.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.largest_unit().saturating_mul(2).saturating_add(self.frame.bytes())
    }

    /// Bytes of the largest unit, decoded.
    fn largest_unit(&self) -> u64 {
        self.visible.parts.iter().map(|of| of.part.array.unit_bytes()).max().unwrap_or(0)
    }

    /// Waits until the files of all units answer. A file system that hangs must not do so while memory is
    /// reserved.
    pub(super) fn await_source(&self) {
        for Needed { of, position, .. } in self.needed() {
            of.part.array.await_unit(&position);
        }
    }

    /// Decodes the units and writes the chunks in file order. Where a unit is absent, the result is true for as
    /// long as the image only if that `follows_chunks`; else it is kept for a short time, since a microscope may
    /// still write the unit. `instead` decides on each unit that cannot be decoded.
    ///
    /// # Errors
    /// [`ImageError::Source`] with the error that `instead` returns, [`ImageError::NoMemory`] for a brick and a
    /// unit that this machine cannot hold.
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
        let peak = self.largest_unit().saturating_add(self.frame.bytes());
        whole.add_gaps()?;
        let needed: Vec<_> = self.needed().collect();
        let unit =
            |needed: &Needed<'_, '_>| (needed.of.part.array.clone(), needed.position.clone());
        units::decode_each(resources, needed.iter().map(unit).collect(), |number, decoded| {
            let needed = &needed[number];
            let bytes = match decoded {
                Ok(UnitBytes::Fill) => {
                    lasts &= follows_chunks;
                    UnitBytes::Fill
                }
                Ok(stored) => {
                    // A unit that is absent takes nothing.
                    headroom::check(peak)?;
                    lasts &= follows_chunks || stored.is_settled();
                    stored
                }
                Err(error) => {
                    instead(needed.of.part, error)?;
                    // It may be only for now.
                    lasts = false;
                    UnitBytes::Fill
                }
            };
            whole.add(Unit { bytes, needed })
        })?;
        let keep = match lasts {
            true if whole.is_zero => Keep::Lightly,
            true => Keep::OnDisk,
            false => Keep::FLEETING,
        };
        let is_zero = whole.is_zero;
        Ok(Produced::new(whole.bytes()?, keep, is_zero))
    }

    /// The units that the brick needs, each once.
    fn needed(&self) -> impl Iterator<Item = Needed<'a, '_>> {
        self.visible.parts.iter().flat_map(|of| {
            let part = of.part;
            let [unit_t, unit_c, unit @ ..] = part.unit_shape();
            let [t, c] = [of.tc[0] / unit_t, of.tc[1] / unit_c];
            units_of(of, unit).into_iter().map(move |at| {
                let [z, y, x] = at;
                let origin = std::array::from_fn(|axis| at[axis] * unit[axis]);
                Needed { of, position: part.unit_position([t, c, z, y, x]), origin }
            })
        })
    }

    /// Copies the part of a unit that is seen into the brick's chunks.
    fn scatter(&self, unit: &Unit<'_, '_>, out: &mut [u8]) {
        let &Needed { of, origin, .. } = unit.needed;
        let part = of.part;
        let [unit_t, unit_c, shape @ ..] = part.unit_shape();
        let [stride_t, stride_c, strides @ ..] = part.unit_strides();
        let whole: Box3 = std::array::from_fn(|axis| origin[axis]..origin[axis] + shape[axis]);
        // The time point and channel within the unit.
        let base = of.tc[0] % unit_t * stride_t + of.tc[1] % unit_c * stride_c;
        let source_type = part.array.source_type();
        for seen in &of.boxes {
            let Some(inside) = common(&part.in_array(seen), &whole) else { continue };
            let in_level = part.in_level(&inside);
            let bytes: &[u8] = match &unit.bytes {
                UnitBytes::Stored { bytes, .. } => bytes,
                UnitBytes::Fill => {
                    let fill = self.pixels(source_type, part.array.fill_value());
                    self.spread(fill, &in_level, out);
                    continue;
                }
            };
            let to = Strided { start: 0, strides: self.frame.strides() };
            for Piece { voxels, offset } in self.frame.pieces(&in_level) {
                let within = |axis: usize| {
                    let start = inside[axis].start - origin[axis];
                    (voxels[axis].start - in_level[axis].start + start) * strides[axis]
                };
                let from = Strided {
                    start: index(base + within(0) + within(1) + within(2)),
                    strides: strides.map(index),
                };
                let lengths = voxels.map(|range| index(range.end - range.start));
                copy_box(self.pixels(source_type, bytes), from, &mut out[offset..], to, lengths);
            }
        }
    }

    /// Writes one voxel to all places of a box.
    fn spread(&self, voxel: Pixels<'_>, inside: &Box3, out: &mut [u8]) {
        let to = Strided { start: 0, strides: self.frame.strides() };
        for Piece { voxels, offset } in self.frame.pieces(inside) {
            let lengths = voxels.map(|range| index(range.end - range.start));
            copy_box(voxel, Strided { start: 0, strides: [0; 3] }, &mut out[offset..], to, lengths);
        }
    }

    /// Whether a voxel is zero in the file.
    fn is_zero(&self, source_type: SourceType, voxel: &[u8]) -> bool {
        let mut converted = [0; 4];
        let one = Strided { start: 0, strides: [0; 3] };
        copy_box(self.pixels(source_type, voxel), one, &mut converted, one, [1; 3]);
        converted == [0; 4]
    }

    /// Voxels of the level or of one of its parts, as they are to be converted.
    fn pixels<'b>(&self, source_type: SourceType, bytes: &'b [u8]) -> Pixels<'b> {
        let level_type = self.source.source_type();
        Pixels { bytes, source_type, level_type, target: self.target }
    }

    /// Whether the bytes of a unit are those of the brick.
    fn is_same(&self, unit: &Unit<'_, '_>) -> bool {
        let UnitBytes::Stored { bytes, .. } = &unit.bytes else { return false };
        let Needed { of: VisiblePart { part, boxes, .. }, origin, .. } = unit.needed;
        let [_, _, shape @ ..] = part.unit_shape();
        let [_, _, strides @ ..] = part.unit_strides();
        let in_order = [shape[1] * shape[2], shape[2], 1];
        // All of the unit is in the brick, and all of the brick in the unit, in the same order.
        self.pixels(part.array.source_type(), bytes).is_same()
            && bytes.len() as u64 == self.frame.bytes()
            && (0..3).all(|axis| strides[axis] == in_order[axis] || shape[axis] == 1)
            && matches!(boxes.as_slice(), [only] if *only == self.frame.voxels)
            && part.in_array(&boxes[0]).map(|range| range.start) == *origin
            && self.frame.is_plain(boxes[0].clone().map(|range| range.start), shape)
    }
}

/// Positions of the units that hold what is seen of a part, counted in units along (z, y, x), each once.
fn units_of(of: &VisiblePart<'_>, unit: [u64; 3]) -> Vec<[u64; 3]> {
    let in_box = |seen: &Box3| {
        let [zs, ys, xs]: Box3 = {
            let voxels = of.part.in_array(seen);
            std::array::from_fn(|axis| {
                voxels[axis].start / unit[axis]..voxels[axis].end.div_ceil(unit[axis])
            })
        };
        let rows = zs.flat_map(move |z| ys.clone().map(move |y| (z, y)));
        rows.flat_map(move |(z, y)| xs.clone().map(move |x| [z, y, x]))
    };
    match of.boxes.as_slice() {
        [only] => in_box(only).collect(),
        boxes => boxes.iter().flat_map(in_box).collect::<BTreeSet<_>>().into_iter().collect(),
    }
}

/// Units fit memory.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
