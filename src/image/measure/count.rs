//! Counting voxels brick by brick, in passes over an image: all of its bricks, or some of one level.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::engine::error::ImageError;
use crate::image::levels::{Visitor, visit_all, visit_some};
use crate::image::plan::ImagePlan;
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::ims::VoxelType;
use crate::resources::Aside;
use crate::sync::lock;

use super::histogram::Counts;
use super::thumbnail::Projection;

/// Which bricks of a dataset are read.
#[derive(Debug, Clone)]
pub(super) enum Extent {
    /// All of every level.
    All,
    /// Some of one stored level, by their linear numbers.
    Some { level: usize, bricks: Arc<[u64]> },
}

impl Extent {
    fn levels(&self, plan: &ImagePlan) -> Range<usize> {
        match self {
            Self::All => 0..plan.levels.len(),
            Self::Some { level, .. } => *level..*level + 1,
        }
    }

    /// Bytes of the counts of one dataset: one to count in and one to add up for each level.
    pub(super) fn bytes_per_dataset(&self, plan: &ImagePlan) -> u64 {
        Counts::bytes(plan.target).saturating_mul(2 * self.levels(plan).len() as u64)
    }

    /// Shows the bricks of some datasets to a visitor, and waits for the end.
    fn visit(
        &self,
        image: &Arc<Image>,
        datasets: &[u64],
        visitor: Arc<dyn Visitor>,
    ) -> Result<(), ImageError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = move |result| {
            // The receiver waits below.
            let _ = sender.send(result);
        };
        match self {
            Self::All => visit_all(image, datasets, visitor, Box::new(done)),
            Self::Some { level, bricks } => {
                visit_some(image, datasets, *level, bricks, visitor, Box::new(done));
            }
        }
        receiver.recv().unwrap_or(Err(ImageError::Abandoned))
    }
}

/// Problems met during the passes over an image.
pub(super) struct Findings {
    memory: Arc<Aside>,
    damaged: AtomicBool,
    incomplete: AtomicBool,
}

impl Findings {
    /// `memory` is reserved for what is measured.
    pub(super) fn new(memory: &Arc<Aside>) -> Arc<Self> {
        let (damaged, incomplete) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { memory: memory.clone(), damaged, incomplete })
    }

    /// Whether bricks were left out, or came between two passes.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Whether all that was read is true for as long as the image is the same.
    pub(super) fn are_lasting(&self) -> bool {
        !self.is_damaged() && !self.incomplete.load(Ordering::Relaxed)
    }

    fn damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }
}

/// Counts the bricks of some datasets as they come.
struct Counter {
    image: Arc<Image>,
    datasets: Vec<u64>,
    levels: Range<usize>,
    /// By dataset, then by level.
    cells: Vec<Cell>,
    /// Only the range is looked for.
    only_range: bool,
    projection: Option<Arc<Mutex<Projection>>>,
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

impl Visitor for Counter {
    fn visit(&self, brick: BrickId, frame: &BrickFrame, bytes: &[u8]) {
        self.findings.memory.renew();
        let target = self.image.plan.target;
        let Ok(dataset) = self.datasets.binary_search(&brick.dataset) else { return };
        let cell = &self.cells[dataset * self.levels.len() + brick.level - self.levels.start];
        let spare = lock(&cell.counts).pop();
        let mut counts = spare.unwrap_or_else(|| Counts::over(target, cell.range));
        frame.each_row(bytes, &mut |_, row| {
            if self.only_range {
                counts.widen(row, target);
            } else if !counts.add(row, target) {
                // A chunk came between the passes.
                self.findings.damage();
            }
        });
        cell.give_back(counts);
        if let (Some(projection), false) = (&self.projection, self.only_range) {
            project(&self.image, projection, brick, frame, bytes);
        }
    }

    fn miss(&self, _brick: BrickId) {
        self.findings.damage();
    }

    fn incomplete(&self) {
        self.findings.incomplete.store(true, Ordering::Relaxed);
    }
}

/// Adds a brick to the thumbnail, if it is of its level and of the first time point.
fn project(
    image: &Image,
    projection: &Mutex<Projection>,
    brick: BrickId,
    frame: &BrickFrame,
    bytes: &[u8],
) {
    let (time, channel) = image.plan.time_and_channel(brick.dataset);
    let mut projection = lock(projection);
    if time == 0 && brick.level == projection.level {
        let channel = usize::try_from(channel).unwrap_or(usize::MAX);
        frame.each_row(bytes, &mut |start, row| projection.add(channel, start, row));
    }
}

/// Counts some datasets, given in ascending order: by dataset, then by level. The thumbnail gets what is of its
/// level.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
pub(super) fn count(
    image: &Arc<Image>,
    datasets: &[u64],
    extent: &Extent,
    projection: Option<&Arc<Mutex<Projection>>>,
    findings: &Arc<Findings>,
) -> Result<Vec<Counts>, ImageError> {
    let target = image.plan.target;
    let levels = extent.levels(&image.plan);
    let mut ranges = vec![None; datasets.len() * levels.len()];
    let mut counts = Vec::new();
    let stages: &[bool] = if Counts::needs_range(target) { &[true, false] } else { &[false] };
    for &only_range in stages {
        let counter = Arc::new(Counter {
            image: image.clone(),
            datasets: datasets.to_vec(),
            levels: levels.clone(),
            cells: ranges.into_iter().map(Cell::new).collect(),
            only_range,
            projection: projection.cloned(),
            findings: findings.clone(),
        });
        extent.visit(image, datasets, counter.clone())?;
        // Copied: a task that has handed in its last brick may still hold the counter.
        counts = counter.cells.iter().map(|cell| cell.sum(target)).collect();
        ranges = counts.iter().map(Counts::range).collect();
    }
    Ok(counts)
}

/// Reads bricks for the thumbnail alone.
struct Painter {
    image: Arc<Image>,
    projection: Arc<Mutex<Projection>>,
    findings: Arc<Findings>,
}

impl Visitor for Painter {
    fn visit(&self, brick: BrickId, frame: &BrickFrame, bytes: &[u8]) {
        self.findings.memory.renew();
        project(&self.image, &self.projection, brick, frame, bytes);
    }

    fn miss(&self, _brick: BrickId) {
        self.findings.damage();
    }

    fn incomplete(&self) {
        self.findings.incomplete.store(true, Ordering::Relaxed);
    }
}

/// Reads the first time point for the thumbnail alone.
///
/// # Errors
/// As for [`count`].
pub(super) fn paint(
    image: &Arc<Image>,
    projection: &Arc<Mutex<Projection>>,
    findings: &Arc<Findings>,
) -> Result<(), ImageError> {
    let level = lock(projection).level;
    let bricks: u64 = image.plan.layout.levels()[level].bricks.bricks().iter().product();
    let channels: Vec<u64> = (0..image.plan.ims.channels.len() as u64).collect();
    let painter = Arc::new(Painter {
        image: image.clone(),
        projection: projection.clone(),
        findings: findings.clone(),
    });
    Extent::Some { level, bricks: (0..bricks).collect() }.visit(image, &channels, painter)
}
