//! A resolution level as parts: boxes of arrays, each at its place in the level.
//!
//! An ordinary level is one part, the whole of an array. Images that are composed of others
//! ([`super::compose`]) have more of them, or smaller ones. Invariants: a part lies within its level and shows
//! only what its array has; all parts have a type that the level's type holds without loss.

use std::ops::Range;
use std::sync::Arc;

use super::array::ZarrArray;
use super::boxes::{Box3, common, cut_out};
use super::halving::StoredLevel;
use super::source_type::SourceType;

/// A brick is not made larger than this to decode fewer units twice.
const JOINED_UNITS_LIMIT_BYTES: u64 = 16 << 20;

/// Sides of the bricks of a level that has no part.
const UNIT_OF_NOTHING: u64 = 64;

/// One resolution level of an image.
#[derive(Debug, Clone)]
pub struct LevelSource {
    /// Lengths in voxels, order (t, c, z, y, x).
    shape: [u64; 5],
    source_type: SourceType,
    /// The voxels where no part is, in native byte order.
    fill: Arc<[u8]>,
    /// Where two overlap, the later one is shown.
    parts: Vec<Part>,
    /// Scale relative to level 0, order (z, y, x), where stated.
    pub relative_scale: Option<[f64; 3]>,
}

/// A box of an array, and its place in a level.
#[derive(Debug, Clone)]
pub struct Part {
    /// The voxels.
    pub array: Arc<ZarrArray>,
    /// Which dimension of the array is t, c, z, y, x; `None`: the axis has length one.
    pub axes: [Option<usize>; 5],
    /// Path of the array within its store.
    pub path: Arc<str>,
    /// Time points and channels.
    tc: [Picks; 2],
    /// Where the voxels are in the level.
    place: Box3,
    /// The voxel of the array that is the first one in the level, order (z, y, x).
    from: [u64; 3],
}

/// Indices of an array that are shown one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Picks {
    /// Index of the first one in the level.
    at: u64,
    /// Indices in the array.
    of: Indices,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Indices {
    Run(Range<u64>),
    Each(Arc<[u64]>),
}

/// What a box of one time point and channel of a level shows.
#[derive(Debug)]
pub(crate) struct Visible<'a> {
    /// Parts that are seen.
    pub(crate) parts: Vec<VisiblePart<'a>>,
    /// Where no part is. Boxes do not overlap.
    pub(crate) gaps: Vec<Box3>,
}

/// What a box shows of a part.
#[derive(Debug)]
pub(crate) struct VisiblePart<'a> {
    pub(crate) part: &'a Part,
    /// Time point and channel in the array.
    pub(crate) tc: [u64; 2],
    /// In the level; never empty, and not overlapping each other or those of other parts.
    pub(crate) boxes: Vec<Box3>,
}

impl Picks {
    fn len(&self) -> u64 {
        match &self.of {
            Indices::Run(run) => run.end - run.start,
            Indices::Each(each) => each.len() as u64,
        }
    }

    /// The index in the array of an index of the level.
    fn get(&self, index: u64) -> Option<u64> {
        let nth = index.checked_sub(self.at)?;
        match &self.of {
            Indices::Run(run) => run.start.checked_add(nth).filter(|index| *index < run.end),
            Indices::Each(each) => each.get(usize::try_from(nth).ok()?).copied(),
        }
    }

    /// The part of them that is left when the level shows `chosen` of its indices: runs of neighbours in the new
    /// level. `last` is the list that was made last: equal lists are kept once.
    fn choose(&self, chosen: &[u64], last: &mut Option<Arc<[u64]>>) -> Vec<Self> {
        let mut found: Vec<(u64, Vec<u64>)> = Vec::new();
        let mut is_open = false;
        for (at, index) in (0..).zip(chosen) {
            let Some(index) = self.get(*index) else {
                is_open = false;
                continue;
            };
            match found.last_mut().filter(|_| is_open) {
                Some((_, run)) => run.push(index),
                None => found.push((at, vec![index])),
            }
            is_open = true;
        }
        let of = |list: Vec<u64>, last: &mut Option<Arc<[u64]>>| {
            if list.windows(2).all(|pair| pair[0] + 1 == pair[1]) {
                return Indices::Run(list[0]..list[0] + list.len() as u64);
            }
            let known = last.take().filter(|known| **known == *list);
            Indices::Each(last.insert(known.unwrap_or_else(|| list.into())).clone())
        };
        found.into_iter().map(|(at, list)| Self { at, of: of(list, last) }).collect()
    }
}

impl Part {
    /// All of an array, at the origin.
    fn whole(array: ZarrArray, axes: [Option<usize>; 5], path: &str) -> Self {
        let [t, c, place @ ..] = axes.map(|axis| 0..axis.map_or(1, |axis| array.shape()[axis]));
        let tc = [t, c].map(|run| Picks { at: 0, of: Indices::Run(run) });
        Self { array: Arc::new(array), axes, path: path.into(), tc, place, from: [0; 3] }
    }

    /// Shape of a read unit in voxels, order (t, c, z, y, x).
    #[must_use]
    pub fn unit_shape(&self) -> [u64; 5] {
        self.axes.map(|axis| axis.map_or(1, |axis| self.array.unit_shape()[axis]))
    }

    /// Shape of a chunk (a shard, where there are shards) in voxels, order (t, c, z, y, x).
    #[must_use]
    pub fn chunk_shape(&self) -> [u64; 5] {
        self.axes.map(|axis| axis.map_or(1, |axis| self.array.chunk_shape()[axis]))
    }

    /// Distance in voxels, within a decoded read unit, between neighbours along (t, c, z, y, x).
    #[must_use]
    pub fn unit_strides(&self) -> [u64; 5] {
        let shape = self.array.unit_shape();
        self.axes.map(|axis| axis.map_or(0, |axis| shape[axis + 1..].iter().product()))
    }

    /// Position of a unit for [`ZarrArray::read_unit`] from its position along (t, c, z, y, x).
    #[must_use]
    pub fn unit_position(&self, tczyx: [u64; 5]) -> Vec<u64> {
        let mut position = vec![0; self.array.shape().len()];
        for (axis, at) in self.axes.iter().zip(tczyx) {
            if let Some(axis) = *axis {
                position[axis] = at;
            }
        }
        position
    }

    /// The time point of the array that a time point of the level shows.
    pub(crate) fn time(&self, t: u64) -> Option<u64> {
        self.tc[0].get(t)
    }

    /// A box of the level that lies in this part, as a box of the array.
    pub(crate) fn in_array(&self, inside: &Box3) -> Box3 {
        std::array::from_fn(|axis| {
            let within = |at: u64| at - self.place[axis].start + self.from[axis];
            within(inside[axis].start)..within(inside[axis].end)
        })
    }

    /// The place in the level of a box of the array that this part shows all of.
    pub(crate) fn in_level(&self, inside: &Box3) -> Box3 {
        std::array::from_fn(|axis| {
            let within = |at: u64| at - self.from[axis] + self.place[axis].start;
            within(inside[axis].start)..within(inside[axis].end)
        })
    }

    /// All that the voxels of the part depend on beside its array, as numbers.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        for picks in &self.tc {
            numbers.extend([picks.at, picks.len()]);
            match &picks.of {
                Indices::Run(run) => numbers.extend([0, run.start]),
                Indices::Each(each) => numbers.extend(std::iter::once(&1).chain(each.iter())),
            }
        }
        numbers.extend(self.axes.map(|axis| axis.map_or(u64::MAX, |axis| axis as u64)));
        numbers.extend(self.place.iter().flat_map(|range| [range.start, range.end]));
        numbers.extend(self.from);
        numbers
    }

    /// Whether the borders of read units along an axis (z, y, x) of the level are at multiples of `length`, or
    /// nowhere.
    fn is_on_grid(&self, axis: usize, length: u64) -> bool {
        let unit = self.unit_shape()[axis + 2];
        let (place, from) = (&self.place[axis], self.from[axis]);
        let last = from + (place.end - place.start - 1);
        let is_one_unit = from / unit == last / unit;
        let shift = place.start % unit + unit - from % unit;
        (is_one_unit && place.start == 0)
            || (length.is_multiple_of(unit) && shift.is_multiple_of(unit))
    }
}

impl LevelSource {
    /// A level that is all of an array.
    pub(super) fn new(mut array: ZarrArray, axes: [Option<usize>; 5], path: &str) -> Self {
        let shared = |axis: Option<usize>| axis.is_some_and(|axis| array.unit_shape()[axis] > 1);
        if shared(axes[0]) || shared(axes[1]) {
            array.remember_units();
        }
        let (source_type, fill) = (array.source_type(), array.fill_value().into());
        let shape = axes.map(|axis| axis.map_or(1, |axis| array.shape()[axis]));
        let parts = vec![Part::whole(array, axes, path)];
        Self { shape, source_type, fill, parts, relative_scale: None }
    }

    /// Lengths in voxels, order (t, c, z, y, x).
    #[must_use]
    pub fn shape(&self) -> [u64; 5] {
        self.shape
    }

    /// Type of the voxels. That of a part may be another one, which this one holds without loss.
    #[must_use]
    pub fn source_type(&self) -> SourceType {
        self.source_type
    }

    /// The voxels where no part is, in native byte order.
    #[must_use]
    pub fn fill_value(&self) -> &[u8] {
        &self.fill
    }

    /// The parts. Where two overlap, the later one is shown.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether it has more voxels than another one along an axis of space.
    pub(super) fn is_larger_than(&self, other: &Self) -> bool {
        self.shape[2..].iter().zip(&other.shape[2..]).any(|(own, other)| own > other)
    }

    /// Whether its arrays lie on other machines.
    pub(crate) fn is_remote(&self) -> bool {
        self.parts.iter().any(|part| part.array.is_remote())
    }

    /// What is known of the level, for the steps between levels.
    pub(crate) fn stored(&self) -> StoredLevel {
        let [_, _, z, y, x] = self.shape;
        let size = [z, y, x];
        // A level without parts was padded to nothing.
        let padding = self.parts.first().map_or([size; 2], |part| {
            [part.chunk_shape(), part.unit_shape()].map(|[_, _, z, y, x]| [z, y, x])
        });
        StoredLevel { size, scale: self.relative_scale, padding }
    }

    /// What a brick should be a multiple of, order (z, y, x). Where the read units of all parts begin at
    /// multiples of one length, that is it: no unit is decoded for two bricks. Where they are shifted, as
    /// in a crop, bricks of two units waste less than bricks of one. No brick becomes much larger than the
    /// largest unit for that.
    #[must_use]
    pub fn unit_grid(&self) -> [u64; 3] {
        let [_, _, size @ ..] = self.shape;
        let Some(first) = self.parts.first() else { return [UNIT_OF_NOTHING; 3] };
        let unit_of = |part: &Part| -> [u64; 3] {
            let [_, _, unit @ ..] = part.unit_shape();
            unit
        };
        let bytes = |unit: &[u64; 3]| {
            let sides = unit.iter().zip(size).map(|(unit, size)| size.min(*unit));
            sides.fold(self.source_type.bytes() as u64, u64::saturating_mul)
        };
        let longest: [u64; 3] = std::array::from_fn(|axis| {
            self.parts.iter().map(|part| unit_of(part)[axis]).max().unwrap_or(1)
        });
        let joined: [u64; 3] = std::array::from_fn(|axis| {
            let length = longest[axis];
            let is_regular = self.parts.iter().all(|part| part.is_on_grid(axis, length));
            if is_regular || length >= size[axis] { length } else { length * 2 }
        });
        let largest = self.parts.iter().map(|part| bytes(&unit_of(part))).max().unwrap_or(0);
        if bytes(&joined) <= JOINED_UNITS_LIMIT_BYTES {
            joined
        } else if bytes(&longest) <= JOINED_UNITS_LIMIT_BYTES.max(largest) {
            longest
        } else {
            unit_of(first)
        }
    }

    /// What a box of a time point and channel shows.
    pub(crate) fn visible(&self, [t, c]: [u64; 2], wanted: &Box3) -> Visible<'_> {
        let mut gaps = vec![wanted.clone()];
        let mut parts = Vec::new();
        for part in self.parts.iter().rev() {
            let Some(inside) = common(&part.place, wanted) else { continue };
            let [Some(t), Some(c)] = [part.tc[0].get(t), part.tc[1].get(c)] else { continue };
            let (mut boxes, mut left) = (Vec::new(), Vec::new());
            for gap in gaps {
                match common(&gap, &inside) {
                    Some(seen) => {
                        cut_out(&gap, &seen, &mut left);
                        boxes.push(seen);
                    }
                    None => left.push(gap),
                }
            }
            gaps = left;
            if !boxes.is_empty() {
                parts.push(VisiblePart { part, tc: [t, c], boxes });
            }
            if gaps.is_empty() {
                break;
            }
        }
        Visible { parts, gaps }
    }

    /// An empty level of the type of another one.
    pub(super) fn blank(of: &Self, shape: [u64; 5], relative_scale: Option<[f64; 3]>) -> Self {
        let (source_type, fill) = (of.source_type, of.fill.clone());
        Self { shape, source_type, fill, parts: Vec::new(), relative_scale }
    }

    /// Puts a box of another level, `region`, at `at`, order (t, c, z, y, x), above what is there.
    pub(super) fn put(&mut self, level: &Self, region: &Box3, at: [u64; 5]) {
        let [at_t, at_c, at @ ..] = at;
        for part in &level.parts {
            let Some(inside) = common(&part.place, region) else { continue };
            let place = std::array::from_fn(|axis| {
                let within = |voxel: u64| voxel - region[axis].start + at[axis];
                within(inside[axis].start)..within(inside[axis].end)
            });
            let from = part.in_array(&inside).map(|range| range.start);
            let [times, channels] = part.tc.clone();
            let times = Picks { at: times.at + at_t, ..times };
            let channels = Picks { at: channels.at + at_c, ..channels };
            self.parts.push(Part { tc: [times, channels], place, from, ..part.clone() });
        }
    }

    /// Gives the voxels another type, which holds theirs without loss. Places without a part become zero.
    pub(super) fn widen(&mut self, source_type: SourceType) {
        if source_type != self.source_type {
            self.source_type = source_type;
            self.fill = vec![0; source_type.bytes()].into();
        }
    }

    /// Keeps some time points (axis 0) or channels (axis 1), in the order given.
    pub(super) fn choose(&mut self, axis: usize, chosen: &[u64]) {
        self.shape[axis] = chosen.len() as u64;
        let mut last = None;
        let parts = std::mem::take(&mut self.parts);
        self.parts = parts
            .into_iter()
            .flat_map(|part| {
                let runs = part.tc[axis].choose(chosen, &mut last);
                runs.into_iter().map(move |run| {
                    let mut part = part.clone();
                    part.tc[axis] = run;
                    part
                })
            })
            .collect();
    }
}
