//! The displayed range of each channel, measured and kept a run of channels at a time.
//!
//! The window of the metadata, as far as it is kept (`source/display.rs`). Else what all but the tails of the voxels
//! have, of the first, the middle and the last time point together: by the fast rule whatever the rule for histograms
//! is, as files of one store are to differ in nothing else. Else the range of the type.
//!
//! A record has two numbers for each channel: black and full colour, as little-endian binary64.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::error::ImageError;
use crate::image::voxels::image::Image;
use crate::ims::VoxelType;
use crate::resources::Aside;

use super::count::{Findings, count};
use super::record::BadRecord;
use super::rule::{self, Extent};
use super::runs::{Runs, Share};

/// Bytes of a record for each channel.
const CHANNEL_BYTES: usize = 16;

/// How the displayed ranges of an image are measured.
#[derive(Debug)]
pub(crate) struct DisplayRanges {
    extent: Extent,
    /// Time points that are read, in ascending order.
    times: Vec<u64>,
    runs: Runs,
    memory_bytes: u64,
}

impl DisplayRanges {
    pub(crate) fn new(image: &Image) -> Self {
        let plan = &image.plan;
        let extent = rule::extent_of_ranges(image);
        let mut times = vec![0, plan.ims.time_points / 2, plan.ims.time_points - 1];
        times.dedup();
        let datasets = times.len() as u64;
        let read = extent.levels(plan).map(|level| extent.voxels(plan, level));
        let share = Share {
            voxels: read.fold(0, u64::saturating_add).saturating_mul(datasets),
            counts_bytes: extent.counts_bytes(plan) * datasets,
            record_bytes: CHANNEL_BYTES as u64,
        };
        let runs = Runs::new(plan.ims.channels.len() as u64, share);
        let memory_bytes = (share.counts_bytes + share.record_bytes) * runs.length();
        Self { extent, times, runs, memory_bytes }
    }

    /// The run that a channel belongs to.
    pub(crate) fn run_of(&self, channel: u64) -> u64 {
        self.runs.run_of(channel)
    }

    /// The channels of a run, half-open.
    pub(crate) fn channels(&self, run: u64) -> Range<u64> {
        self.runs.members(run)
    }

    /// Length of the longest record, in bytes.
    pub(crate) fn record_bytes(&self) -> u64 {
        CHANNEL_BYTES as u64 * self.runs.length()
    }

    /// Memory that measuring a run takes beside the bricks that are decoded.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Measures a run: its record, and whether that may be kept on disk. `memory` is reserved for it.
    ///
    /// # Errors
    /// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
    pub(crate) fn measure(
        &self,
        image: &Arc<Image>,
        run: u64,
        memory: &Arc<Aside>,
    ) -> Result<(Vec<u8>, bool), ImageError> {
        let (ranges, keep) = self.ranges(image, run, memory)?;
        let numbers = ranges.into_iter().flat_map(|(low, high)| [low, high]);
        Ok((numbers.flat_map(f64::to_le_bytes).collect(), keep))
    }

    /// The ranges of the channels of a run, and whether they may be kept.
    ///
    /// # Errors
    /// As for [`DisplayRanges::measure`].
    pub(super) fn ranges(
        &self,
        image: &Arc<Image>,
        run: u64,
        memory: &Arc<Aside>,
    ) -> Result<(Vec<(f64, f64)>, bool), ImageError> {
        let all = image.plan.ims.channels.len() as u64;
        let unknown: Vec<u64> =
            self.channels(run).filter(|&channel| window(image, channel).is_none()).collect();
        let of_time = |&time: &u64| unknown.iter().map(move |channel| time * all + channel);
        let datasets: Vec<u64> = self.times.iter().flat_map(of_time).collect();
        let findings = Findings::new(memory);
        let mut measured = vec![None; unknown.len()];
        if !datasets.is_empty() {
            let counts = count(image, &datasets, &self.extent, &findings)?;
            for counts in counts.chunks(unknown.len()) {
                for (range, counts) in measured.iter_mut().zip(counts) {
                    widen(range, counts.display_range());
                }
            }
        }
        let measured =
            |channel: u64| unknown.binary_search(&channel).ok().and_then(|at| measured[at]);
        let range = |channel: u64| {
            let known = window(image, channel).or(measured(channel));
            let (low, high) = known.unwrap_or(range_of(image.plan.target));
            if high > low { (low, high) } else { (low, low + 1.0) }
        };
        Ok((self.channels(run).map(range).collect(), findings.are_lasting()))
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

/// Widens a range by another.
fn widen(range: &mut Option<(f64, f64)>, other: Option<(f64, f64)>) {
    if let Some((low, high)) = other {
        let known = range.get_or_insert((low, high));
        *known = (known.0.min(low), known.1.max(high));
    }
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
