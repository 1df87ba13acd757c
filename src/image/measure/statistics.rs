//! What the metadata says about voxels: histograms, display ranges, thumbnail.
//!
//! Two ways. **Exact**: every voxel of every level is read, in one pass (two where ranges of floats have to
//! be known first), and the result is what the formula gives over whole arrays. Small images are always
//! measured so. **Fast**: one stored level is counted, the finest within a budget of voxels, so that
//! large images open at once; where even the coarsest is too large, bricks are sampled evenly up to a
//! second budget. The counts are scaled so that the bins of each level sum to its voxel count.
//!
//! Voxels that cannot be decoded are left out, and the result is then not kept; padding is never
//! counted.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::engine::error::ImageError;
use crate::image::damage::is_damage;
use crate::image::levels::{Visitor, most_open_bytes, visit_all};
use crate::image::options::Statistics;
use crate::image::plan::{ImagePlan, PlannedLevel};
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::ims::{ChannelHistograms, PixelMetadata, VoxelType};
use crate::resources::Aside;
use crate::resources::shares::COUNTS_BYTES;
use crate::source::image::ImageSource;
use crate::sync::lock;

use super::histogram::Counts;
use super::thumbnail::{self, Projection};

/// Voxels of level 0, over all time points and channels, up to which an image is measured exactly: a
/// tenth of a second.
const SMALL_IMAGE_VOXELS: u64 = 16 << 20;

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

/// Voxels read for the thumbnail alone.
const THUMBNAIL_BUDGET: u64 = 4 << 20;

/// The result, and whether it may be kept on disk: chunks that were absent may come, chunks that
/// could not be decoded may be mended, and neither is to leave a mark.
pub(crate) struct Measured {
    pub(crate) metadata: PixelMetadata,
    pub(crate) keep: bool,
}

/// Whether every voxel of an image is counted.
fn is_exact(image: &Image) -> bool {
    let plan = &image.plan;
    let voxels = plan.levels[0].voxels().saturating_mul(plan.datasets());
    image.images.options().statistics == Statistics::Exact || voxels <= SMALL_IMAGE_VOXELS
}

/// Bytes of the counts of one dataset: one to count in and one to add up for each level.
fn bytes_per_dataset(plan: &ImagePlan) -> u64 {
    Counts::bytes(plan.target).saturating_mul(2 * plan.levels.len() as u64)
}

/// Memory that [`measure`] takes beside the bricks that are decoded.
pub(crate) fn memory_bytes(image: &Image) -> u64 {
    let thumbnail = thumbnail::memory_bytes(&image.plan);
    if !is_exact(image) {
        return thumbnail;
    }
    let counts = bytes_per_dataset(&image.plan).saturating_mul(image.plan.datasets());
    let counted = counts.min(COUNTS_BYTES).saturating_add(most_open_bytes(image));
    counted.saturating_add(thumbnail)
}

/// Reads voxels and computes the metadata that depends on them; `memory` is reserved for it.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
pub(crate) fn measure(image: &Arc<Image>, memory: &Arc<Aside>) -> Result<Measured, ImageError> {
    if is_exact(image) { measure_exactly(image, memory) } else { Sampler::new(image).measure() }
}

/// The display ranges, from what was measured of each channel.
fn color_ranges(image: &Image, measured: &[Option<(f64, f64)>]) -> Vec<(f64, f64)> {
    let ranges = measured.iter().enumerate();
    ranges.map(|(channel, range)| display_range(image, channel, *range)).collect()
}

/// The window of the metadata, as far as it is kept (`source/display.rs`), else what was measured, else the range of the type.
fn display_range(image: &Image, channel: usize, measured: Option<(f64, f64)>) -> (f64, f64) {
    let source: &ImageSource = &image.source;
    let window = source
        .channels
        .get(channel)
        .and_then(|channel| channel.window)
        .map(|(low, high)| (low + image.plan.shift, high + image.plan.shift));
    let (low, high) = window.or(measured).unwrap_or(match image.plan.target {
        VoxelType::U8 => (0.0, 255.0),
        VoxelType::U16 => (0.0, 65_535.0),
        VoxelType::I16 => (-32_768.0, 32_767.0),
        VoxelType::U32 => (0.0, f64::from(u32::MAX)),
        VoxelType::F32 => (0.0, 1.0),
    });
    if high > low { (low, high) } else { (low, low + 1.0) }
}

fn widen(range: &mut Option<(f64, f64)>, counts: &Counts) {
    if let Some((low, high)) = counts.display_range() {
        let known = range.get_or_insert((low, high));
        *known = (known.0.min(low), known.1.max(high));
    }
}

// --- exact ---

/// Counts the bricks of some datasets as they come.
struct Counter {
    image: Arc<Image>,
    first_dataset: u64,
    /// By dataset, then by level.
    cells: Vec<Cell>,
    /// Only the range is looked for.
    only_range: bool,
    projection: Arc<Mutex<Projection>>,
    findings: Arc<Findings>,
}

/// The counts of one level of a dataset.
struct Cell {
    /// Of types that need one, once it is known.
    range: Option<(f64, f64)>,
    /// As many as threads have counted at a time, to be added up.
    counts: Mutex<Vec<Counts>>,
}

impl Cell {
    fn new(range: Option<(f64, f64)>) -> Self {
        Self { range, counts: Mutex::default() }
    }

    /// Keeps counts to go on with: not more than two, however many threads there are.
    fn give_back(&self, counts: Counts) {
        let mut kept = lock(&self.counts);
        match kept.as_mut_slice() {
            [_, last] => last.merge(&counts),
            _ => kept.push(counts),
        }
    }

    fn sum(&self, target: VoxelType) -> Counts {
        let mut sum = Counts::over(target, self.range);
        lock(&self.counts).iter().for_each(|counts| sum.merge(counts));
        sum
    }
}

/// Problems met during the passes.
struct Findings {
    memory: Arc<Aside>,
    damaged: AtomicBool,
    incomplete: AtomicBool,
}

impl Visitor for Counter {
    fn visit(&self, brick: BrickId, frame: &BrickFrame, bytes: &[u8]) {
        self.findings.memory.renew();
        let plan = &self.image.plan;
        let at = (brick.dataset - self.first_dataset) * plan.levels.len() as u64;
        let at = usize::try_from(at).unwrap_or(usize::MAX) + brick.level;
        let cell = &self.cells[at];
        let spare = lock(&cell.counts).pop();
        let mut counts = spare.unwrap_or_else(|| Counts::over(plan.target, cell.range));
        frame.each_row(bytes, &mut |_, row| {
            if self.only_range {
                counts.widen(row, plan.target);
            } else if !counts.add(row, plan.target) {
                // A chunk came between the passes.
                self.findings.damaged.store(true, Ordering::Relaxed);
            }
        });
        cell.give_back(counts);
        let (time, channel) = plan.time_and_channel(brick.dataset);
        let mut projection = lock(&self.projection);
        if time == 0 && brick.level == projection.level && !self.only_range {
            let channel = usize::try_from(channel).unwrap_or(usize::MAX);
            frame.each_row(bytes, &mut |start, row| projection.add(channel, start, row));
        }
    }

    fn miss(&self, _brick: BrickId) {
        self.findings.damaged.store(true, Ordering::Relaxed);
    }

    fn incomplete(&self) {
        self.findings.incomplete.store(true, Ordering::Relaxed);
    }
}

fn measure_exactly(image: &Arc<Image>, memory: &Arc<Aside>) -> Result<Measured, ImageError> {
    let plan = &image.plan;
    let channels = plan.ims.channels.len();
    let level = thumbnail::level_for(plan);
    let projection = Arc::new(Mutex::new(Projection::new(plan, level)));
    let (damaged, incomplete) = (AtomicBool::new(false), AtomicBool::new(false));
    let findings = Arc::new(Findings { memory: memory.clone(), damaged, incomplete });
    let mut metadata = PixelMetadata::default();
    let mut ranges = vec![None; channels];
    let batch = (COUNTS_BYTES / bytes_per_dataset(plan)).max(1);
    let mut first = 0;
    while first < plan.datasets() {
        let datasets = first..plan.datasets().min(first + batch);
        first = datasets.end;
        let counts = count(image, &datasets, &projection, &findings)?;
        for (dataset, counts) in datasets.zip(counts.chunks(plan.levels.len())) {
            let (time, channel) = plan.time_and_channel(dataset);
            let channel = usize::try_from(channel).unwrap_or(usize::MAX);
            widen(&mut ranges[channel], &counts[0]);
            for (level, counts) in counts.iter().enumerate() {
                if let Some(histograms) = counts.histograms(None) {
                    metadata.histograms.insert((level, time, channel), Arc::new(histograms));
                }
            }
        }
    }
    metadata.color_ranges = color_ranges(image, &ranges);
    let damaged = findings.damaged.load(Ordering::Relaxed);
    if !damaged {
        metadata.thumbnail = Some(lock(&projection).render(plan, &metadata.color_ranges));
    }
    let incomplete = findings.incomplete.load(Ordering::Relaxed);
    Ok(Measured { metadata, keep: !damaged && !incomplete })
}

/// Counts some datasets: by dataset, then by level.
fn count(
    image: &Arc<Image>,
    datasets: &Range<u64>,
    projection: &Arc<Mutex<Projection>>,
    findings: &Arc<Findings>,
) -> Result<Vec<Counts>, ImageError> {
    let target = image.plan.target;
    let cells = (datasets.end - datasets.start) * image.plan.levels.len() as u64;
    let mut ranges: Vec<Option<(f64, f64)>> = (0..cells).map(|_| None).collect();
    let mut counts = Vec::new();
    let stages: &[bool] = if Counts::needs_range(target) { &[true, false] } else { &[false] };
    for &only_range in stages {
        let counter = Arc::new(Counter {
            image: image.clone(),
            first_dataset: datasets.start,
            cells: ranges.into_iter().map(Cell::new).collect(),
            only_range,
            projection: projection.clone(),
            findings: findings.clone(),
        });
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = move |result| {
            // The receiver waits below.
            let _ = sender.send(result);
        };
        visit_all(image, datasets.clone(), counter.clone(), Box::new(done));
        receiver.recv().unwrap_or(Err(ImageError::Abandoned))?;
        // Copied: a task that has handed in its last brick may still hold the counter.
        counts = counter.cells.iter().map(|cell| cell.sum(target)).collect();
        ranges = counts.iter().map(Counts::range).collect();
    }
    Ok(counts)
}

// --- fast ---

/// Measures a level, or a part of one.
struct Sampler<'a> {
    image: &'a Image,
    level: usize,
    /// Linear numbers of the bricks.
    bricks: Vec<u64>,
    /// The level is counted whole.
    complete: bool,
    keep: bool,
    damaged: bool,
}

impl<'a> Sampler<'a> {
    fn new(image: &'a Image) -> Self {
        let plan = &image.plan;
        let share = |budget: u64| (budget / plan.datasets()).max(VOXEL_FLOOR);
        let stored = || (0..plan.levels.len()).filter(|&level| image.stored(level).is_some());
        let within = stored().find(|&level| plan.levels[level].voxels() <= share(LEVEL_BUDGET));
        // Level 0 is always stored.
        let level = within.or(stored().next_back()).unwrap_or(0);
        let bricks: u64 = plan.layout.levels()[level].bricks.bricks().iter().product();
        let chosen = if within.is_some() {
            (0..bricks).collect()
        } else {
            let per_brick = (plan.levels[level].voxels() / bricks).max(1);
            let wanted = (share(SAMPLE_BUDGET) / per_brick).clamp(1, bricks);
            // The middle of each of `wanted` equal runs of bricks.
            let at = |i: u64| u128::from(2 * i + 1) * u128::from(bricks) / u128::from(2 * wanted);
            (0..wanted).filter_map(|i| u64::try_from(at(i)).ok()).collect()
        };
        let complete = within.is_some();
        Self { image, level, bricks: chosen, complete, keep: true, damaged: false }
    }

    fn measure(mut self) -> Result<Measured, ImageError> {
        let plan = &self.image.plan;
        let channels = plan.ims.channels.len();
        let mut metadata = PixelMetadata::default();
        let mut ranges = vec![None; channels];
        let mut projection = self.thumbnail_level().map(|level| Projection::new(plan, level));
        let stride = self.time_stride(plan);
        // Per channel, the histograms of each level at the time point measured last.
        let mut recent: Vec<Vec<Option<Arc<ChannelHistograms>>>> = vec![Vec::new(); channels];
        for time in 0..plan.ims.time_points {
            for (channel, range) in ranges.iter_mut().enumerate() {
                if time % stride == 0 {
                    let dataset = time * channels as u64 + channel as u64;
                    let shared = projection
                        .as_mut()
                        .filter(|projection| time == 0 && projection.level == self.level);
                    let counts = self.count(dataset, channel, shared)?;
                    widen(range, &counts);
                    let of_level = |level: &PlannedLevel| {
                        counts.histograms(Some(level.voxels())).map(Arc::new)
                    };
                    recent[channel] = plan.levels.iter().map(of_level).collect();
                }
                for (level, histograms) in recent[channel].iter().enumerate() {
                    if let Some(histograms) = histograms {
                        metadata.histograms.insert((level, time, channel), histograms.clone());
                    }
                }
            }
        }
        metadata.color_ranges = color_ranges(self.image, &ranges);
        if let Some(projection) = &mut projection {
            if projection.level != self.level {
                self.project(projection)?;
            }
            if !self.damaged {
                metadata.thumbnail = Some(projection.render(plan, &metadata.color_ranges));
            }
        }
        Ok(Measured { metadata, keep: self.keep })
    }

    /// The level of the thumbnail: the one that `ImarisWriter` would take, else the finest that is small
    /// enough; `None` where none is.
    fn thumbnail_level(&self) -> Option<usize> {
        let plan = &self.image.plan;
        let channels = plan.ims.channels.len() as u64;
        let wanted = thumbnail::level_for(plan);
        (wanted..plan.levels.len()).find(|&level| {
            let is_read = level == self.level && self.complete;
            let is_small = plan.levels[level].voxels().saturating_mul(channels) <= THUMBNAIL_BUDGET;
            self.image.stored(level).is_some() && (is_read || is_small)
        })
    }

    /// Distance between the time points that are measured.
    fn time_stride(&self, plan: &ImagePlan) -> u64 {
        let bricks: u64 = plan.layout.levels()[self.level].bricks.bricks().iter().product();
        let per_brick = (plan.levels[self.level].voxels() / bricks).max(1);
        let per_dataset = per_brick.saturating_mul(self.bricks.len() as u64);
        let affordable = (SERIES_BUDGET / per_dataset).max(1);
        plan.datasets().div_ceil(affordable).min(plan.ims.time_points)
    }

    /// Counts one dataset; `projection` receives the voxels as well.
    fn count(
        &mut self,
        dataset: u64,
        channel: usize,
        mut projection: Option<&mut Projection>,
    ) -> Result<Counts, ImageError> {
        let target = self.image.plan.target;
        let mut counts = Counts::new(target);
        let bricks = std::mem::take(&mut self.bricks);
        if Counts::needs_range(target) {
            self.each_row(dataset, self.level, &bricks, &mut |_, row| counts.widen(row, target))?;
            counts = Counts::over(target, counts.range());
        }
        let mut damaged = false;
        self.each_row(dataset, self.level, &bricks, &mut |start, row| {
            damaged |= !counts.add(row, target);
            if let Some(projection) = &mut projection {
                projection.add(channel, start, row);
            }
        })?;
        self.keep &= !damaged;
        self.bricks = bricks;
        Ok(counts)
    }

    /// Reads the first time point for the thumbnail alone.
    fn project(&mut self, projection: &mut Projection) -> Result<(), ImageError> {
        let plan = &self.image.plan;
        let bricks = plan.layout.levels()[projection.level].bricks.bricks();
        let bricks: Vec<u64> = (0..bricks.iter().product()).collect();
        for channel in 0..plan.ims.channels.len() {
            let level = projection.level;
            self.each_row(channel as u64, level, &bricks, &mut |start, row| {
                projection.add(channel, start, row);
            })?;
        }
        Ok(())
    }

    /// Visits every row of voxels of some bricks: its first voxel (z, y, x), and its bytes.
    fn each_row(
        &mut self,
        dataset: u64,
        level: usize,
        bricks: &[u64],
        visit: &mut dyn FnMut([u64; 3], &[u8]),
    ) -> Result<(), ImageError> {
        for &brick in bricks {
            let brick = BrickId { level, dataset, brick };
            match self.image.produce(brick) {
                Ok(produced) => {
                    self.keep &= produced.keep.is_lasting();
                    BrickFrame::new(&self.image.plan, brick).each_row(&produced.bytes, visit);
                }
                Err(error) if is_damage(&error) => {
                    self.damaged = true;
                    self.keep = false;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}
