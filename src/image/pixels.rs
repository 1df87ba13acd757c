//! What the metadata says about voxels: histograms, display ranges, thumbnail.
//!
//! They are taken from one level per image: the finest whose voxels are within a budget, so that
//! small images are counted exactly and large ones open at once. Where even the coarsest level is
//! too large, bricks are sampled evenly up to a second budget. Counts are scaled so that the bins of each level sum to its
//! voxel count; a level that was counted voxel by voxel keeps its exact counts. Voxels that cannot be
//! decoded and values that are not finite are not counted; padding never is.
//!
//! Bins: `ImarisWriter` `bpHistogram.cxx` and `bpImsImage3D.cxx` for uint8 and uint16; for float32
//! equal bins over the exact range of what was counted.

use std::collections::BTreeMap;

use crate::ims::{ChannelHistograms, Histogram, PixelMetadata, Thumbnail};
use crate::source::image::ImageSource;
use crate::source::{SourceError, TargetType};

use super::ImageError;
use super::engine::Produced;
use super::fill::BrickJob;
use super::plan::ImagePlan;

/// Voxels counted per image where a level is counted whole. The level found has between an eighth of
/// these and all of them, so they must be few beside the fixed cost of opening: at 200 MB/s of
/// decoding this is 20 ms.
const LEVEL_BUDGET: u64 = 2 << 20;

/// Voxels sampled per image where no level is small enough. Always all of them: 80 ms.
const SAMPLE_BUDGET: u64 = 8 << 20;

/// Voxels counted per time point and channel even if there are very many of them.
const VOXEL_FLOOR: u64 = 64 << 10;

/// Voxels decoded per image at most. Long series whose bricks are large beside the budgets above
/// are measured at evenly spaced time points, and those between take over the last one's counts.
const SERIES_BUDGET: u64 = 64 << 20;

/// Longer side of the thumbnail (`ImarisWriter` `bpThumbnailBuilder.cxx`).
const THUMBNAIL_SIDE: u64 = 256;

/// Bins of a float histogram before it is resampled to 256.
const FLOAT_BINS: usize = 1024;

/// Part of the voxels that may lie outside the display range on either side.
const RANGE_TAIL: f64 = 0.001;

/// The result, and whether it may be kept on disk: chunks that were absent may come, chunks that
/// could not be decoded may be mended, and neither is to leave a mark.
pub(crate) struct Measured {
    pub(crate) metadata: PixelMetadata,
    pub(crate) keep: bool,
}

/// Which voxels are counted.
struct Sample {
    level: usize,
    /// Linear numbers of the bricks.
    bricks: Vec<u64>,
    /// The level is counted whole.
    complete: bool,
}

/// Voxel counts of one time point and channel.
enum Counts {
    /// One bin per value.
    Values(Vec<u64>),
    /// Equal bins over a range; empty until a finite value was seen.
    Range { min: f32, max: f32, bins: Vec<u64> },
}

/// Runs `work` when `bytes` of memory are free.
pub(crate) type WithMemory<'a> = &'a dyn Fn(
    u64,
    &mut dyn FnMut() -> Result<Produced, ImageError>,
) -> Result<Produced, ImageError>;

/// Reads the voxels and computes the pixel-dependent metadata.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
pub(crate) fn measure(
    plan: &ImagePlan,
    source: &ImageSource,
    with_memory: WithMemory<'_>,
) -> Result<Measured, ImageError> {
    let sample = choose_sample(plan);
    let channels = plan.ims.channels.len();
    let mut reader =
        SampleReader { plan, source, sample: &sample, with_memory, keep: true, whole: true };
    let mut projection = Projection::new(plan, sample.level);
    let mut metadata = PixelMetadata { histograms: BTreeMap::new(), ..PixelMetadata::default() };
    let mut ranges: Vec<Option<(f64, f64)>> = vec![None; channels];
    let stride = sample.time_stride(plan);
    // Per channel, the histograms of each level at the time point measured last.
    let mut recent: Vec<Vec<Option<ChannelHistograms>>> = vec![Vec::new(); channels];
    for time in 0..plan.ims.time_points {
        for (channel, range) in ranges.iter_mut().enumerate() {
            if time % stride == 0 {
                let dataset = time * channels as u64 + channel as u64;
                let project = (time == 0).then_some((&mut projection, channel));
                let counts = reader.count(dataset, project)?;
                if let Some((low, high)) = counts.display_range() {
                    let known = range.get_or_insert((low, high));
                    *known = (known.0.min(low), known.1.max(high));
                }
                let voxels = plan.levels.iter().map(|level| level.size.iter().product());
                recent[channel] = voxels.map(|voxels| counts.histograms(voxels)).collect();
            }
            for (level, histograms) in recent[channel].iter().enumerate() {
                if let Some(histograms) = histograms {
                    metadata.histograms.insert((level, time, channel), histograms.clone());
                }
            }
        }
    }
    let keep = reader.keep;
    let whole = reader.whole && sample.complete;
    metadata.color_ranges = ranges
        .into_iter()
        .enumerate()
        .map(|(channel, range)| display_range(source, channel, range))
        .collect();
    metadata.thumbnail = whole.then(|| projection.render(plan, &metadata.color_ranges));
    Ok(Measured { metadata, keep })
}

fn choose_sample(plan: &ImagePlan) -> Sample {
    let datasets = plan.ims.time_points * plan.ims.channels.len() as u64;
    let share = |budget: u64| (budget / datasets).max(VOXEL_FLOOR);
    let voxels = |level: usize| plan.levels[level].size.iter().product::<u64>();
    let within = (0..plan.levels.len()).find(|&level| voxels(level) <= share(LEVEL_BUDGET));
    let level = within.unwrap_or(plan.levels.len() - 1);
    let bricks: u64 = plan.layout.levels()[level].bricks.bricks().iter().product();
    if within.is_some() {
        return Sample { level, bricks: (0..bricks).collect(), complete: true };
    }
    let per_brick = (voxels(level) / bricks).max(1);
    let wanted = (share(SAMPLE_BUDGET) / per_brick).clamp(1, bricks);
    // The middle of each of `wanted` equal runs of bricks.
    let at = |i: u64| u128::from(2 * i + 1) * u128::from(bricks) / u128::from(2 * wanted);
    let bricks = (0..wanted).filter_map(|i| u64::try_from(at(i)).ok()).collect();
    Sample { level, bricks, complete: false }
}

impl Sample {
    /// Distance between the time points that are measured.
    fn time_stride(&self, plan: &ImagePlan) -> u64 {
        let voxels: u64 = plan.levels[self.level].size.iter().product();
        let bricks: u64 = plan.layout.levels()[self.level].bricks.bricks().iter().product();
        let per_dataset = (voxels / bricks).max(1).saturating_mul(self.bricks.len() as u64);
        let affordable = (SERIES_BUDGET / per_dataset).max(1);
        let datasets = plan.ims.time_points * plan.ims.channels.len() as u64;
        datasets.div_ceil(affordable).min(plan.ims.time_points)
    }
}

struct SampleReader<'a> {
    plan: &'a ImagePlan,
    source: &'a ImageSource,
    sample: &'a Sample,
    with_memory: WithMemory<'a>,
    keep: bool,
    whole: bool,
}

impl SampleReader<'_> {
    /// Counts one dataset; `projection` receives the voxels as well.
    fn count(
        &mut self,
        dataset: u64,
        mut projection: Option<(&mut Projection, usize)>,
    ) -> Result<Counts, ImageError> {
        let target = self.source.source_type().target();
        let mut counts = match target {
            TargetType::U8 => Counts::Values(vec![0; 1 << 8]),
            TargetType::U16 => Counts::Values(vec![0; 1 << 16]),
            TargetType::F32 => {
                let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
                self.each_row(dataset, &mut |_, row| {
                    for value in floats(row).filter(|value| value.is_finite()) {
                        min = min.min(value);
                        max = max.max(value);
                    }
                })?;
                let bins = if min <= max { vec![0; FLOAT_BINS] } else { Vec::new() };
                Counts::Range { min, max, bins }
            }
        };
        self.each_row(dataset, &mut |start, row| {
            counts.add(row, target);
            if let Some((projection, channel)) = &mut projection {
                projection.add(*channel, start, row, target);
            }
        })?;
        Ok(counts)
    }

    /// Visits every row of voxels of the sampled bricks: its first voxel (z, y, x), and its bytes.
    fn each_row(
        &mut self,
        dataset: u64,
        visit: &mut dyn FnMut([u64; 3], &[u8]),
    ) -> Result<(), ImageError> {
        let planned = &self.plan.levels[self.sample.level];
        for &brick in &self.sample.bricks {
            let job = BrickJob {
                plan: self.plan,
                level: self.sample.level,
                source: &self.source.levels[planned.source],
                dataset,
                brick,
            };
            match (self.with_memory)(job.memory_bytes(), &mut || job.produce()) {
                Ok(produced) => {
                    self.keep &= produced.keep;
                    job.each_row(&produced.bytes, visit);
                }
                Err(ImageError::Source(error)) => match &*error {
                    SourceError::Chunk { .. } | SourceError::Io { .. } => {
                        self.whole = false;
                        self.keep = false;
                    }
                    _ => return Err(ImageError::Source(error)),
                },
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}

fn floats(row: &[u8]) -> impl Iterator<Item = f32> + '_ {
    row.as_chunks::<4>().0.iter().map(|voxel| f32::from_le_bytes(*voxel))
}

impl Counts {
    fn add(&mut self, row: &[u8], target: TargetType) {
        match self {
            Self::Values(bins) if target == TargetType::U8 => {
                for &value in row {
                    bins[usize::from(value)] += 1;
                }
            }
            Self::Values(bins) => {
                for voxel in row.as_chunks::<2>().0 {
                    bins[usize::from(u16::from_le_bytes(*voxel))] += 1;
                }
            }
            Self::Range { min, max, bins } => {
                let width = f64::from(*max) - f64::from(*min);
                for value in floats(row).filter(|value| value.is_finite()) {
                    bins[float_bin(f64::from(value) - f64::from(*min), width)] += 1;
                }
            }
        }
    }

    /// Histograms of a level of `voxels` voxels; `None` when nothing was counted.
    fn histograms(&self, voxels: u64) -> Option<ChannelHistograms> {
        match self {
            Self::Values(bins) if bins.len() == 256 => {
                let bins = scale(bins, voxels)?;
                let histogram = Histogram { min: 0.0, max: 255.0, bins };
                Some(ChannelHistograms { histogram, histogram_1024: None })
            }
            Self::Values(bins) => {
                let largest = bins.iter().rposition(|&count| count > 0)?;
                let used = largest.max(256) + 1;
                let full = scale(&bins[..used], voxels)?;
                #[expect(clippy::cast_precision_loss, reason = "at most 65535")]
                let max = (used - 1) as f64;
                let fine = if used <= 1024 { full } else { resample(&full, 1024) };
                Some(ChannelHistograms {
                    histogram: Histogram { min: 0.0, max, bins: resample(&fine, 256) },
                    histogram_1024: Some(Histogram { min: 0.0, max, bins: fine }),
                })
            }
            Self::Range { min, max, bins } => {
                let fine = scale(bins, voxels)?;
                let (min, max) = (f64::from(*min), f64::from(*max));
                let max = if max > min { max } else { min + 1.0 };
                Some(ChannelHistograms {
                    histogram: Histogram { min, max, bins: resample(&fine, 256) },
                    histogram_1024: Some(Histogram { min, max, bins: fine }),
                })
            }
        }
    }

    /// The values between which all but the tails lie.
    fn display_range(&self) -> Option<(f64, f64)> {
        let (bins, origin, width) = match self {
            Self::Values(bins) => (bins, 0.0, 1.0),
            #[expect(clippy::cast_precision_loss, reason = "a thousand bins")]
            Self::Range { min, max, bins } => {
                let (min, max) = (f64::from(*min), f64::from(*max));
                (bins, min, (max - min) / bins.len().max(1) as f64)
            }
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
        let last = if matches!(self, Self::Values(_)) { high } else { high + 1 };
        #[expect(clippy::cast_precision_loss, reason = "at most 65535")]
        let value = |bin: usize| origin + bin as f64 * width;
        Some((value(low), value(last)))
    }
}

/// Bin of a value `above` the minimum in a range of `width`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of the number of bins, clamped to it"
)]
fn float_bin(above: f64, width: f64) -> usize {
    if width > 0.0 { ((above / width * FLOAT_BINS as f64) as usize).min(FLOAT_BINS - 1) } else { 0 }
}

/// Scales counts so that they sum to `voxels`. Bins without a count stay empty; what rounding leaves
/// goes to the bins with the largest fractions. Non-finite voxels were not counted: a level counted
/// whole is then scaled to its full voxel count as well.
fn scale(bins: &[u64], voxels: u64) -> Option<Vec<u64>> {
    let total: u64 = bins.iter().sum();
    if total == 0 {
        return None;
    }
    if total == voxels {
        return Some(bins.to_vec());
    }
    let product = |count: u64| u128::from(count) * u128::from(voxels);
    let mut scaled: Vec<u64> = bins
        .iter()
        .map(|&count| u64::try_from(product(count) / u128::from(total)).unwrap_or(u64::MAX))
        .collect();
    let mut rest = voxels - scaled.iter().sum::<u64>();
    let mut order: Vec<usize> = (0..bins.len()).filter(|&bin| bins[bin] > 0).collect();
    order.sort_by_key(|&bin| std::cmp::Reverse(product(bins[bin]) % u128::from(total)));
    for bin in order.into_iter().cycle() {
        if rest == 0 {
            break;
        }
        scaled[bin] += 1;
        rest -= 1;
    }
    Some(scaled)
}

/// Bin `i` of `n` goes to bin `i * m / n` of `m` (`ImarisWriter` `bpHistogram.cxx`).
fn resample(bins: &[u64], m: usize) -> Vec<u64> {
    let mut out = vec![0; m];
    for (i, count) in bins.iter().enumerate() {
        out[i * m / bins.len()] += count;
    }
    out
}

/// The window of the metadata if it is usable, else what was measured, else the range of the type.
fn display_range(source: &ImageSource, channel: usize, measured: Option<(f64, f64)>) -> (f64, f64) {
    let integer = source.source_type().is_integer();
    // Windows of 0..1 on integers are what writers put when they know nothing.
    let window = source
        .channels
        .get(channel)
        .and_then(|channel| channel.window)
        .filter(|(_, end)| !(integer && *end <= 1.0));
    let (low, high) = window.or(measured).unwrap_or(match source.source_type().target() {
        TargetType::U8 => (0.0, 255.0),
        TargetType::U16 => (0.0, 65_535.0),
        TargetType::F32 => (0.0, 1.0),
    });
    if high > low { (low, high) } else { (low, low + 1.0) }
}

/// Maximum projection along z onto the grid of the thumbnail, nearest neighbour
/// (`ImarisWriter` `bpThumbnailBuilder.cxx`: source index = i * source / target).
struct Projection {
    width: usize,
    height: usize,
    /// Source column of each thumbnail column.
    columns: Vec<u64>,
    /// Thumbnail rows that show source row y.
    rows_of: BTreeMap<u64, Vec<usize>>,
    /// Per channel, row by row; `NEG_INFINITY` where nothing was seen.
    values: Vec<Vec<f32>>,
}

impl Projection {
    fn new(plan: &ImagePlan, level: usize) -> Self {
        let [_, size_y, size_x] = plan.levels[level].size;
        let length = |axis: usize| plan.ims.extent_max_um[axis] - plan.ims.extent_min_um[axis];
        let ratio = length(1) / length(0);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the side of the thumbnail"
        )]
        let shorter = |ratio: f64| {
            (ratio * THUMBNAIL_SIDE as f64).round().clamp(1.0, THUMBNAIL_SIDE as f64) as u64
        };
        let (width, height) = if ratio <= 1.0 {
            (THUMBNAIL_SIDE, shorter(ratio))
        } else {
            (shorter(1.0 / ratio), THUMBNAIL_SIDE)
        };
        let mut rows_of: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        // In 128 bits: sizes may be declared up to 2^60.
        let nearest = |at: u64, size: u64, length: u64| {
            u64::try_from(u128::from(at) * u128::from(size) / u128::from(length)).unwrap_or(0)
        };
        for (row, y) in (0..height).map(|row| nearest(row, size_y, height)).enumerate() {
            rows_of.entry(y).or_default().push(row);
        }
        let columns: Vec<u64> = (0..width).map(|column| nearest(column, size_x, width)).collect();
        let height = usize::try_from(height).unwrap_or(1);
        let pixels = columns.len() * height;
        Self {
            width: columns.len(),
            height,
            columns,
            rows_of,
            values: vec![vec![f32::NEG_INFINITY; pixels]; plan.ims.channels.len()],
        }
    }

    fn add(&mut self, channel: usize, start: [u64; 3], row: &[u8], target: TargetType) {
        let Some(rows) = self.rows_of.get(&start[1]) else { return };
        let bytes = target.bytes();
        let end = start[2] + (row.len() / bytes) as u64;
        let first = self.columns.partition_point(|&x| x < start[2]);
        let last = self.columns.partition_point(|&x| x < end);
        for column in first..last {
            let at = usize::try_from(self.columns[column] - start[2]).unwrap_or(0) * bytes;
            let value = match (target, &row[at..at + bytes]) {
                (TargetType::U16, &[a, b]) => f32::from(u16::from_le_bytes([a, b])),
                (TargetType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
                (_, voxel) => f32::from(voxel[0]),
            };
            for &row in rows {
                let known = &mut self.values[channel][row * self.width + column];
                // NaN compares false and is passed over.
                if value > *known {
                    *known = value;
                }
            }
        }
    }

    /// Each channel through its colour and range, channels combined by maximum.
    fn render(&self, plan: &ImagePlan, ranges: &[(f64, f64)]) -> Thumbnail {
        let mut rgba = vec![0; self.width * self.height * 4];
        for (pixel, out) in rgba.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for (channel, (low, high)) in ranges.iter().enumerate() {
                let value = f64::from(self.values[channel][pixel]);
                let intensity = ((value - low) / (high - low)).clamp(0.0, 1.0);
                for (component, color) in out.iter_mut().zip(plan.ims.channels[channel].color) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "0..=255"
                    )]
                    let shade = (intensity * f64::from(color) * 255.0).round() as u8;
                    *component = (*component).max(shade);
                }
            }
            out[3] = 255;
        }
        let side = |n: usize| u32::try_from(n).unwrap_or(1);
        Thumbnail { width: side(self.width), height: side(self.height), rgba }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scaled_bins_sum_to_the_voxels(bins in prop::collection::vec(0_u64..1000, 1..300), voxels in 1_u64..1 << 50) {
            match scale(&bins, voxels) {
                None => prop_assert!(bins.iter().all(|&count| count == 0)),
                Some(scaled) => {
                    prop_assert_eq!(scaled.iter().sum::<u64>(), voxels);
                    for (count, scaled) in bins.iter().zip(scaled) {
                        prop_assert!(*count > 0 || scaled == 0);
                    }
                }
            }
        }
    }

    #[test]
    fn bins_of_the_maker() {
        // ImarisWriter: at least 257 bins, all of them kept up to 1024.
        let mut bins = vec![0; 1 << 16];
        bins[7] = 12;
        let low = Counts::Values(bins.clone()).histograms(12).expect("counted");
        let fine = low.histogram_1024.expect("16 bit");
        assert_eq!((fine.bins.len(), fine.max), (257, 256.0));
        assert_eq!(low.histogram.bins.len(), 256);
        bins[5000] = 1;
        let high = Counts::Values(bins).histograms(13).expect("counted");
        let fine = high.histogram_1024.expect("16 bit");
        assert_eq!((fine.bins.len(), fine.max), (1024, 5000.0));
        assert_eq!(fine.bins[7 * 1024 / 5001], 12);
    }

    #[test]
    fn tails_are_outside_the_display_range() {
        let mut bins = vec![0; 256];
        bins[3] = 1;
        bins[100] = 5000;
        bins[120] = 5000;
        bins[250] = 2;
        assert_eq!(Counts::Values(bins).display_range(), Some((100.0, 120.0)));
        let empty = Counts::Range { min: f32::INFINITY, max: f32::NEG_INFINITY, bins: vec![] };
        assert_eq!(empty.display_range(), None);
        assert_eq!(empty.histograms(9), None);
    }
}
