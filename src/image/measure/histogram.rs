//! Counting voxels, and the histograms and display ranges that follow from the counts.
//!
//! Bins: `ImarisWriter` `bpHistogram.cxx` and `bpImsImage3D.cxx` for uint8 and uint16, one bin per value.
//! For int16 likewise, from the smallest value on. For uint32 and float32 equal bins over the exact
//! range of what was counted. Values that are not finite are not counted.

use std::ops::Range;

use crate::ims::{ChannelHistograms, Histogram, VoxelType};

/// Bins over the range of floats and 32-bit integers, and most of `Histogram1024`.
const RANGE_BINS: usize = 1024;

/// Bins of `Histogram`.
const COARSE_BINS: usize = 256;

/// Fewest bins of `Histogram1024`: `ImarisWriter` does not trim below.
pub(super) const LEAST_FINE_BINS: usize = 257;

/// Part of the voxels that may lie outside the display range on either side.
const RANGE_TAIL: f64 = 0.001;

/// Voxel counts of one time point and channel.
#[derive(Debug, Clone)]
pub(super) enum Counts {
    /// One bin per value.
    Values {
        /// Value of the first bin.
        first: i32,
        bins: Vec<u64>,
    },
    /// Equal bins over a range; empty until the range is known.
    Range { min: f64, max: f64, bins: Vec<u64> },
}

impl Counts {
    /// Nothing counted.
    pub(super) fn new(target: VoxelType) -> Self {
        match target {
            VoxelType::U8 => Self::Values { first: 0, bins: vec![0; 1 << 8] },
            VoxelType::U16 => Self::Values { first: 0, bins: vec![0; 1 << 16] },
            VoxelType::I16 => Self::Values { first: i16::MIN.into(), bins: vec![0; 1 << 16] },
            VoxelType::U32 | VoxelType::F32 => {
                Self::Range { min: f64::INFINITY, max: f64::NEG_INFINITY, bins: Vec::new() }
            }
        }
    }

    /// Memory for the counts of a dataset, in bytes.
    pub(super) fn bytes(target: VoxelType) -> u64 {
        match target {
            VoxelType::U8 => 8 << 8,
            VoxelType::U16 | VoxelType::I16 => 8 << 16,
            VoxelType::U32 | VoxelType::F32 => 8 * RANGE_BINS as u64,
        }
    }

    /// Whether the range has to be known before anything can be counted.
    pub(super) fn needs_range(target: VoxelType) -> bool {
        matches!(target, VoxelType::U32 | VoxelType::F32)
    }

    /// Widens the range by a row of voxels.
    pub(super) fn widen(&mut self, row: &[u8], target: VoxelType) {
        if let Self::Range { min, max, .. } = self {
            each_number(row, target, |value| {
                *min = min.min(value);
                *max = max.max(value);
            });
        }
    }

    /// Nothing counted, over a range that is known by now, where one is needed.
    pub(super) fn over(target: VoxelType, range: Option<(f64, f64)>) -> Self {
        match (Self::new(target), range) {
            (Self::Range { .. }, Some((min, max))) => {
                Self::Range { min, max, bins: vec![0; RANGE_BINS] }
            }
            (other, _) => other,
        }
    }

    /// The range found, of types that need one.
    pub(super) fn range(&self) -> Option<(f64, f64)> {
        match self {
            Self::Range { min, max, .. } if min <= max => Some((*min, *max)),
            _ => None,
        }
    }

    /// Counts a row of voxels; whether all of them lie in the range that was given.
    pub(super) fn add(&mut self, row: &[u8], target: VoxelType) -> bool {
        let mut fits = true;
        match self {
            Self::Values { bins, .. } if target == VoxelType::U8 => {
                if let Some(bins) = bins.first_chunk_mut::<{ 1 << 8 }>() {
                    for &value in row {
                        bins[usize::from(value)] += 1;
                    }
                }
            }
            Self::Values { bins, first } => {
                // Of int16 the sign bit turned over is the distance from the smallest value.
                let turn = if *first < 0 { 0x8000 } else { 0 };
                // As an array of which every value is an index, there is nothing to check.
                if let Some(bins) = bins.first_chunk_mut::<{ 1 << 16 }>() {
                    for voxel in row.as_chunks::<2>().0 {
                        bins[usize::from(u16::from_le_bytes(*voxel) ^ turn)] += 1;
                    }
                }
            }
            Self::Range { min, max, bins } => {
                let (min, max) = (*min, *max);
                each_number(row, target, |value| {
                    if (min..=max).contains(&value) {
                        bins[bin_of(value - min, max - min)] += 1;
                    } else {
                        fits = false;
                    }
                });
            }
        }
        fits
    }

    /// Adds what was counted elsewhere.
    pub(super) fn merge(&mut self, other: &Self) {
        if let (Self::Range { min, max, .. }, Self::Range { min: low, max: high, .. }) =
            (&mut *self, other)
        {
            (*min, *max) = (min.min(*low), max.max(*high));
        }
        let (Self::Values { bins, .. } | Self::Range { bins, .. }) = self;
        for (bin, more) in bins.iter_mut().zip(other.bins()) {
            *bin += more;
        }
    }

    fn bins(&self) -> &[u64] {
        match self {
            Self::Values { bins, .. } | Self::Range { bins, .. } => bins,
        }
    }

    /// One bin per value, or equal bins over the range, 1024 at most; `None` when nothing was counted.
    pub(super) fn histogram(&self) -> Option<Histogram> {
        if self.bins().iter().all(|&count| count == 0) {
            return None;
        }
        let (first, bins) = match self {
            Self::Values { first, bins } => (*first, bins),
            Self::Range { min, max, bins } => {
                let max = if max > min { *max } else { min + 1.0 };
                return Some(Histogram { min: *min, max, bins: bins.clone() });
            }
        };
        let used = if bins.len() == COARSE_BINS { 0..COARSE_BINS } else { used(bins, first < 0)? };
        #[expect(clippy::cast_precision_loss, reason = "at most 65535")]
        let value = |bin: usize| bin as f64 + f64::from(first);
        let (min, max) = (value(used.start), value(used.end - 1));
        let all = &bins[used];
        let bins = if all.len() <= RANGE_BINS { all.to_vec() } else { resample(all, RANGE_BINS) };
        Some(Histogram { min, max, bins })
    }

    /// The values between which all but the tails lie.
    pub(super) fn display_range(&self) -> Option<(f64, f64)> {
        let bins = self.bins();
        #[expect(clippy::cast_precision_loss, reason = "a thousand bins")]
        let (origin, width) = match self {
            Self::Values { first, .. } => (f64::from(*first), 1.0),
            Self::Range { min, max, .. } => (*min, (max - min) / bins.len().max(1) as f64),
        };
        let total: u64 = bins.iter().sum();
        if total == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a thousandth of the voxels, to the nearest"
        )]
        let tail = (total as f64 * RANGE_TAIL) as u64;
        let mut passed = 0;
        let low = bins.iter().position(|count| {
            passed += count;
            passed > tail
        })?;
        passed = 0;
        let high = bins.iter().rposition(|count| {
            passed += count;
            passed > tail
        })?;
        // A bin of whole numbers is one value; a bin of a range has two edges.
        let last = if matches!(self, Self::Values { .. }) { high } else { high + 1 };
        #[expect(clippy::cast_precision_loss, reason = "at most 65535")]
        let value = |bin: usize| origin + bin as f64 * width;
        Some((value(low), value(last)))
    }
}

/// Calls `each` with every finite voxel of a row of 4-byte numbers.
fn each_number(row: &[u8], target: VoxelType, mut each: impl FnMut(f64)) {
    let voxels = row.as_chunks::<4>().0;
    if target == VoxelType::U32 {
        for voxel in voxels {
            each(f64::from(u32::from_le_bytes(*voxel)));
        }
    } else {
        let values = voxels.iter().map(|voxel| f32::from_le_bytes(*voxel));
        for value in values.filter(|value| value.is_finite()) {
            // Added to 0, -0 is 0: of the two, either could be found to be the smallest.
            each(f64::from(value) + 0.0);
        }
    }
}

/// Bin of a value `above` the minimum in a range of `width`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of the number of bins, clamped to it"
)]
fn bin_of(above: f64, width: f64) -> usize {
    if width > 0.0 { ((above / width * RANGE_BINS as f64) as usize).min(RANGE_BINS - 1) } else { 0 }
}

/// The bins of 16-bit values from the smallest to the largest one, 257 at least. Those of uint16 begin at 0, whatever
/// the smallest value.
fn used(bins: &[u64], is_signed: bool) -> Option<Range<usize>> {
    let is_full = |&count: &u64| count > 0;
    let largest = bins.iter().rposition(is_full)?;
    let smallest = if is_signed { bins.iter().position(is_full)? } else { 0 };
    let used = (largest + 1 - smallest).max(LEAST_FINE_BINS);
    let smallest = smallest.min(bins.len() - used);
    Some(smallest..smallest + used)
}

/// Most bins of the histogram that is kept of a channel.
pub(super) fn most_bins(target: VoxelType) -> usize {
    if target.has_histogram_1024() { RANGE_BINS } else { COARSE_BINS }
}

/// The histograms of a channel, from the one with most bins.
pub(super) fn of_channel(fine: Histogram, target: VoxelType) -> ChannelHistograms {
    if !target.has_histogram_1024() {
        return ChannelHistograms { histogram: fine, histogram_1024: None };
    }
    let bins = resample(&fine.bins, COARSE_BINS);
    let histogram = Histogram { min: fine.min, max: fine.max, bins };
    ChannelHistograms { histogram, histogram_1024: Some(fine) }
}

/// Scales counts, of which there are some, so that they sum to `voxels`. Bins without a count stay empty; what rounding
/// leaves goes to the bins with the largest fractions.
pub(super) fn scale(bins: &[u64], voxels: u64) -> Vec<u64> {
    let total: u128 = bins.iter().map(|&count| u128::from(count)).sum();
    if total == u128::from(voxels) || total == 0 {
        return bins.to_vec();
    }
    let product = |count: u64| u128::from(count) * u128::from(voxels);
    let part = |&count: &u64| u64::try_from(product(count) / total).unwrap_or(u64::MAX);
    let mut scaled: Vec<u64> = bins.iter().map(part).collect();
    // Less than one for each bin with a count.
    let rest = voxels - scaled.iter().sum::<u64>();
    let mut order: Vec<usize> = (0..bins.len()).filter(|&bin| bins[bin] > 0).collect();
    order.sort_by_key(|&bin| std::cmp::Reverse(product(bins[bin]) % total));
    for (bin, _) in order.into_iter().zip(0..rest) {
        scaled[bin] += 1;
    }
    scaled
}

/// Bin `i` of `n` goes to bin `i * m / n` of `m` (`ImarisWriter` `bpHistogram.cxx`).
fn resample(bins: &[u64], m: usize) -> Vec<u64> {
    let mut out = vec![0; m];
    for (i, count) in bins.iter().enumerate() {
        out[i * m / bins.len()] += count;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scaled_bins_sum_to_the_voxels(bins in prop::collection::vec(0_u64..1000, 1..300), voxels in 1_u64..1 << 50) {
            let scaled = scale(&bins, voxels);
            if bins.iter().all(|&count| count == 0) {
                prop_assert_eq!(&scaled, &bins);
            } else {
                prop_assert_eq!(scaled.iter().sum::<u64>(), voxels);
            }
            for (count, scaled) in bins.iter().zip(scaled) {
                prop_assert!(*count > 0 || scaled == 0);
            }
        }
    }

    fn counted<const B: usize>(target: VoxelType, voxels: &[[u8; B]]) -> Counts {
        let row = voxels.concat();
        let mut counts = Counts::new(target);
        counts.widen(&row, target);
        let mut counts = Counts::over(target, counts.range());
        assert!(counts.add(&row, target), "the range was told");
        counts
    }

    fn histograms(counts: &Counts, target: VoxelType) -> ChannelHistograms {
        of_channel(counts.histogram().expect("counted"), target)
    }

    #[test]
    fn bins_of_the_maker() {
        // ImarisWriter: at least 257 bins, all of them kept up to 1024.
        let mut voxels = vec![7_u16.to_le_bytes(); 12];
        let low = histograms(&counted(VoxelType::U16, &voxels), VoxelType::U16);
        let fine = low.histogram_1024.expect("16 bit");
        assert_eq!((fine.bins.len(), fine.min, fine.max), (257, 0.0, 256.0));
        assert_eq!(low.histogram.bins.len(), 256);
        voxels.push(5000_u16.to_le_bytes());
        let high = histograms(&counted(VoxelType::U16, &voxels), VoxelType::U16);
        let fine = high.histogram_1024.expect("16 bit");
        assert_eq!((fine.bins.len(), fine.max), (1024, 5000.0));
        assert_eq!(fine.bins[7 * 1024 / 5001], 12);
        let full = histograms(&counted(VoxelType::U8, &[[3], [255], [3]]), VoxelType::U8);
        assert_eq!(full.histogram_1024, None);
        assert_eq!((full.histogram.bins[3], full.histogram.bins[255]), (2, 1));
    }

    #[test]
    fn signed_values_start_at_the_smallest() {
        let voxels = [-300_i16, -300, 5].map(i16::to_le_bytes);
        let counts = counted(VoxelType::I16, &voxels);
        assert_eq!(counts.display_range(), Some((-300.0, 5.0)));
        let fine = counts.histogram().expect("counted");
        assert_eq!((fine.bins.len(), fine.min, fine.max), (306, -300.0, 5.0));
        assert_eq!((fine.bins[0], fine.bins[305]), (2, 1));
        let top = counted(VoxelType::I16, &[i16::MAX.to_le_bytes()]);
        let fine = top.histogram().expect("counted");
        assert_eq!((fine.bins.len(), fine.max, fine.bins[256]), (257, 32_767.0, 1));
    }

    #[test]
    fn ranges_leave_out_what_is_not_finite() {
        let voxels = [f32::NAN, -1.0, 3.0, f32::INFINITY, 3.0, f32::NEG_INFINITY];
        let counts = counted(VoxelType::F32, &voxels.map(f32::to_le_bytes));
        let found = histograms(&counts, VoxelType::F32);
        assert_eq!((found.histogram.min, found.histogram.max), (-1.0, 3.0));
        assert_eq!((found.histogram.bins[0], found.histogram.bins[255]), (1, 2));
        let none = counted(VoxelType::F32, &[f32::NAN.to_le_bytes()]);
        assert_eq!(none.histogram(), None);
        let large = counted(VoxelType::U32, &[u32::MAX.to_le_bytes(), 0_u32.to_le_bytes()]);
        let found = histograms(&large, VoxelType::U32).histogram;
        assert_eq!((found.min, found.max), (0.0, f64::from(u32::MAX)));
    }

    #[test]
    fn tails_are_outside_the_display_range() {
        let mut bins = vec![0; 256];
        bins[3] = 1;
        bins[100] = 5000;
        bins[120] = 5000;
        bins[250] = 2;
        assert_eq!(Counts::Values { first: 0, bins }.display_range(), Some((100.0, 120.0)));
        assert_eq!(Counts::new(VoxelType::F32).display_range(), None);
    }
}
