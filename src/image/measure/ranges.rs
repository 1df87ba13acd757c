//! The displayed range of each channel, measured and kept a run of channels at a time.
//!
//! The window of the metadata, as far as it is kept (`source/display.rs`). Else what all but the tails of the voxels
//! have, of the first, the middle and the last time point together: by the fast rule whatever the rule for histograms
//! is, as files of one store are to differ in nothing else. Else the range of the type.
//!
//! They are taken from records of histograms, so that no voxel is read twice for an opening. These are cut so that a
//! reader of ranges alone waits for no other time points.
//!
//! A record has two numbers for each channel: black and full colour, as little-endian binary64.

use std::ops::Range;

use crate::image::options::Statistics;
use crate::image::voxels::image::Image;
use crate::ims::VoxelType;

use super::datasets::Datasets;
use super::record::BadRecord;
use super::rule;
use super::runs::Runs;

/// Bytes of a record for each channel.
const CHANNEL_BYTES: usize = 16;

/// What a record says of ranges.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Of each of its datasets, or channels: between these values all but the tails of the voxels lie.
    pub(crate) ranges: Vec<Option<(f64, f64)>>,
    /// The record may be kept.
    pub(crate) is_lasting: bool,
}

/// How the displayed ranges of an image are measured.
#[derive(Debug)]
pub(crate) struct DisplayRanges {
    datasets: Datasets,
    /// Time points that are measured, in ascending order.
    times: Vec<u64>,
    channels: u64,
    /// Of channels, as those of the datasets of each of these time points.
    runs: Runs,
}

impl DisplayRanges {
    pub(crate) fn new(image: &Image) -> Self {
        let datasets = Datasets::new(image, Statistics::Fast);
        let channels = image.plan.ims.channels.len() as u64;
        let runs = Runs::of_length([], channels, datasets.run_length());
        Self { datasets, times: rule::times_of_ranges(&image.plan), channels, runs }
    }

    /// The datasets by the fast rule, whose records ranges are taken from.
    pub(crate) fn datasets(&self) -> &Datasets {
        &self.datasets
    }

    /// The run that a channel belongs to.
    pub(crate) fn run_of(&self, channel: u64) -> u64 {
        self.runs.run_of(channel)
    }

    /// The channels of a run, half-open.
    fn channels(&self, run: u64) -> Range<u64> {
        self.runs.members(run)
    }

    /// Length of the longest record, in bytes.
    pub(crate) fn record_bytes(&self) -> u64 {
        CHANNEL_BYTES as u64 * self.runs.length().min(self.channels)
    }

    /// The runs of datasets whose records the record of a run of channels is made from: one for each time point, with
    /// these channels and no others.
    pub(crate) fn sources(&self, image: &Image, run: u64) -> Vec<u64> {
        let channels = self.channels(run);
        let are_stated = channels.clone().all(|channel| window(image, channel).is_some());
        let times = if are_stated { &[][..] } else { &self.times };
        let first = |time| self.datasets.run_of(time * self.channels + channels.start);
        times.iter().map(first).collect()
    }

    /// The record of a run of channels, of what each of its sources has measured of them; and whether it
    /// may be kept.
    pub(crate) fn record(&self, image: &Image, run: u64, measured: &[Measured]) -> (Vec<u8>, bool) {
        let range = |(at, channel)| {
            let of_time = |found: &Measured| found.ranges.get(at).copied().flatten();
            let known = window(image, channel)
                .or_else(|| measured.iter().filter_map(of_time).reduce(union))
                .unwrap_or(range_of(image.plan.target));
            if known.1 > known.0 { known } else { (known.0, known.0 + 1.0) }
        };
        let numbers = (0..).zip(self.channels(run)).map(range).flat_map(|(low, high)| [low, high]);
        let is_lasting = measured.iter().all(|found| found.is_lasting);
        (numbers.flat_map(f64::to_le_bytes).collect(), is_lasting)
    }

    /// What a record of a run of channels says of them.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub(crate) fn ranges(
        &self,
        record: &[u8],
        run: u64,
    ) -> Result<Vec<Option<(f64, f64)>>, BadRecord> {
        self.channels(run).map(|channel| self.range(record, channel).map(Some)).collect()
    }

    /// The range of a channel, black and full colour, from the record of its run.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub(crate) fn range(&self, record: &[u8], channel: u64) -> Result<(f64, f64), BadRecord> {
        let run = self.channels(self.run_of(channel));
        let (channels, rest) = record.as_chunks::<CHANNEL_BYTES>();
        if !rest.is_empty() || channels.len() as u64 != run.end - run.start {
            return Err(BadRecord);
        }
        let at = channel.checked_sub(run.start).and_then(|at| usize::try_from(at).ok());
        let numbers = at.and_then(|at| channels.get(at)).ok_or(BadRecord)?.as_chunks::<8>().0;
        match numbers {
            &[low, high] => {
                let (low, high) = (f64::from_le_bytes(low), f64::from_le_bytes(high));
                let is_range = low.is_finite() && high.is_finite() && low <= high;
                if is_range { Ok((low, high)) } else { Err(BadRecord) }
            }
            _ => Err(BadRecord),
        }
    }
}

/// The window of the metadata, in the values of the file.
fn window(image: &Image, channel: u64) -> Option<(f64, f64)> {
    let channel = image.source.channels.get(usize::try_from(channel).ok()?)?;
    channel.window.map(|(low, high)| (low + image.plan.shift, high + image.plan.shift))
}

/// The smallest range that holds two.
fn union(one: (f64, f64), other: (f64, f64)) -> (f64, f64) {
    (one.0.min(other.0), one.1.max(other.1))
}

fn range_of(target: VoxelType) -> (f64, f64) {
    match target {
        VoxelType::U8 => (0.0, 255.0),
        VoxelType::U16 => (0.0, 65_535.0),
        VoxelType::I16 => (-32_768.0, 32_767.0),
        VoxelType::U32 => (0.0, f64::from(u32::MAX)),
        VoxelType::F32 => (0.0, 1.0),
    }
}
