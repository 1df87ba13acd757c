//! The histograms of datasets, measured and kept a run at a time.
//!
//! The record of a run has a cell for each dataset and level where all voxels are counted, else one for each
//! dataset: its counts are then scaled to the voxels of a level when they are read. Voxels that cannot be decoded are
//! left out, and the record is not kept; padding is never counted.

use std::ops::Range;
use std::sync::Arc;

use crate::engine::error::ImageError;
use crate::image::levels::most_open_bytes;
use crate::image::options::Statistics;
use crate::image::plan::PlannedLevel;
use crate::image::voxels::image::Image;
use crate::ims::{ChannelHistograms, VoxelType};
use crate::resources::Aside;

use super::count::{Findings, count};
use super::histogram::{of_channel, scale};
use super::record::{self, BadRecord, Cell, longest_cell};
use super::rule::{self, Extent};
use super::runs::{Runs, Share};
use super::sketch::Sketch;

/// How the datasets of an image are measured. A dataset has the number `t * channels + c`.
#[derive(Debug)]
pub(crate) struct Datasets {
    extent: Extent,
    target: VoxelType,
    /// Of a dataset at each level.
    voxels: Vec<u64>,
    runs: Runs,
    record_bytes: u64,
    memory_bytes: u64,
}

impl Datasets {
    /// `rule`: which voxels of large images count.
    pub(crate) fn new(image: &Image, rule: Statistics) -> Self {
        let plan = &image.plan;
        let extent = rule::extent(image, rule);
        let read = || extent.levels(plan).map(|level| extent.voxels(plan, level));
        let share = Share {
            voxels: read().fold(0, u64::saturating_add),
            counts_bytes: extent.counts_bytes(plan),
            record_bytes: read().map(|voxels| longest_cell(plan.target, voxels)).sum(),
        };
        // Displayed ranges are to cost the time points that they are measured of, and no others.
        let channels = plan.ims.channels.len() as u64;
        let cuts = rule::times_of_ranges(plan)
            .into_iter()
            .flat_map(|time| [time * channels, (time + 1) * channels])
            .filter(|&cut| cut < plan.datasets());
        let runs = Runs::new(cuts, plan.datasets(), share);
        let record_bytes = share.record_bytes * runs.length();
        let open_bytes = if extent == Extent::All { most_open_bytes(image) } else { 0 };
        let counts_bytes = share.counts_bytes * runs.length();
        Self {
            target: plan.target,
            voxels: plan.levels.iter().map(PlannedLevel::voxels).collect(),
            runs,
            record_bytes,
            memory_bytes: (counts_bytes + record_bytes).saturating_add(open_bytes),
            extent,
        }
    }

    /// The run that a dataset belongs to.
    pub(crate) fn run_of(&self, dataset: u64) -> u64 {
        self.runs.run_of(dataset)
    }

    /// The datasets of a run, half-open.
    pub(crate) fn datasets(&self, run: u64) -> Range<u64> {
        self.runs.members(run)
    }

    /// Length of the longest record, in bytes.
    pub(crate) fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    /// Memory that measuring a run takes beside the bricks that are decoded.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Measures a run: its record, and whether that may be kept on disk. Chunks that were absent may come, chunks
    /// that could not be decoded may be mended, and neither is to leave a mark. `memory` is reserved for it. What the
    /// thumbnail shows of the run goes into a sketch.
    ///
    /// # Errors
    /// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
    pub(crate) fn measure(
        &self,
        image: &Arc<Image>,
        run: u64,
        sketch: &Arc<Sketch>,
        memory: &Arc<Aside>,
    ) -> Result<(Vec<u8>, bool), ImageError> {
        let run = self.datasets(run);
        let sketch = Some(sketch).filter(|sketch| sketch.begin(image, &run, &self.extent));
        let datasets: Vec<u64> = run.clone().collect();
        let findings = Findings::new(memory);
        let counted = count(image, &datasets, &self.extent, sketch, &findings);
        if let Some(sketch) = sketch {
            sketch.end(run, counted.is_ok() && findings.are_lasting());
        }
        let mut record = Vec::new();
        for counts in counted? {
            let found = counts.histogram().zip(counts.display_range());
            let cell = found.map(|(histogram, range)| Cell { histogram, range });
            record::put(&mut record, cell.as_ref());
        }
        debug_assert!(record.len() as u64 <= self.record_bytes, "longer than its slot");
        Ok((record, findings.are_lasting()))
    }

    /// The histograms of a dataset at a level, from the record of its run; `None`: nothing was counted.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub(crate) fn histograms(
        &self,
        record: &[u8],
        dataset: u64,
        level: usize,
    ) -> Result<Option<ChannelHistograms>, BadRecord> {
        let voxels = *self.voxels.get(level).ok_or(BadRecord)?;
        let Some(Cell { histogram: mut fine, .. }) = self.cell(record, dataset, level)? else {
            return Ok(None);
        };
        match self.extent {
            Extent::All if fine.bins.iter().sum::<u64>() > voxels => return Err(BadRecord),
            Extent::All => {}
            Extent::Some { .. } => fine.bins = scale(&fine.bins, voxels),
        }
        Ok(Some(of_channel(fine, self.target)))
    }

    /// The values between which all but the tails of each dataset of a run lie, of the finest level that is counted;
    /// `None`: nothing was counted.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub(crate) fn ranges(
        &self,
        record: &[u8],
        run: u64,
    ) -> Result<Vec<Option<(f64, f64)>>, BadRecord> {
        let range = |dataset| Ok(self.cell(record, dataset, 0)?.map(|cell| cell.range));
        self.datasets(run).map(range).collect()
    }

    fn cell(&self, record: &[u8], dataset: u64, level: usize) -> Result<Option<Cell>, BadRecord> {
        let run = self.datasets(self.run_of(dataset));
        let (levels, level) = match self.extent {
            Extent::All => (self.voxels.len() as u64, level as u64),
            Extent::Some { .. } => (1, 0),
        };
        let number = dataset.saturating_sub(run.start).saturating_mul(levels) + level;
        record::get(record, number, (run.end - run.start) * levels, self.target)
    }

    /// Datasets of the longest run.
    pub(super) fn run_length(&self) -> u64 {
        self.runs.length()
    }
}
