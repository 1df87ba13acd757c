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

    /// Counts a brick, or only widens the range by it; whether all voxels lie in the range that is known.
    fn see(&self, target: VoxelType, only_range: bool, frame: &BrickFrame, bytes: &[u8]) -> bool {
        let spare = lock(&self.counts).pop();
        let mut counts = spare.unwrap_or_else(|| Counts::over(target, self.range));
        let mut fits = true;
        frame.each_row(bytes, &mut |_, row| {
            if only_range {
                counts.widen(row, target);
            } else {
                fits &= counts.add(row, target);
            }
        });
        self.give_back(counts);
        fits
    }

    fn sum(&self, target: VoxelType) -> Counts {
        let mut sum = Counts::over(target, self.range);
        lock(&self.counts).iter().for_each(|counts| sum.merge(counts));
        sum
    }
}

/// Shows bricks to a function, and notes what is wrong with them.
struct Reader<F> {
    see: F,
    findings: Arc<Findings>,
}

impl<F: Fn(BrickId, &BrickFrame, &[u8]) + Send + Sync> Visitor for Reader<F> {
    fn visit(&self, brick: BrickId, frame: &BrickFrame, bytes: &[u8], lasting: bool) {
        self.findings.memory.renew();
        if !lasting {
            self.findings.incomplete.store(true, Ordering::Relaxed);
        }
        (self.see)(brick, frame, bytes);
    }

    fn miss(&self, _brick: BrickId, _error: &ImageError) {
        self.findings.damage();
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
        let cells: Arc<[Cell]> = ranges.into_iter().map(Cell::new).collect();
        let see = {
            let (image, datasets) = (image.clone(), datasets.to_vec());
            let (levels, cells) = (levels.clone(), cells.clone());
            let projection = projection.filter(|_| !only_range).cloned();
            let findings = findings.clone();
            move |brick: BrickId, frame: &BrickFrame, bytes: &[u8]| {
                let Ok(dataset) = datasets.binary_search(&brick.dataset) else { return };
                let cell = &cells[dataset * levels.len() + brick.level - levels.start];
                if !cell.see(target, only_range, frame, bytes) {
                    // A chunk came between the passes.
                    findings.damage();
                }
                if let Some(projection) = &projection {
                    project(&image, projection, brick, frame, bytes);
                }
            }
        };
        extent.visit(image, datasets, Arc::new(Reader { see, findings: findings.clone() }))?;
        // Copied: a task that has handed in its last brick may still hold the cells.
        counts = cells.iter().map(|cell| cell.sum(target)).collect();
        ranges = counts.iter().map(Counts::range).collect();
    }
    Ok(counts)
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
    let bricks = image.plan.layout.levels()[level].bricks.count();
    let channels: Vec<u64> = (0..image.plan.ims.channels.len() as u64).collect();
    let (painted, projection) = (image.clone(), projection.clone());
    let see = move |brick: BrickId, frame: &BrickFrame, bytes: &[u8]| {
        project(&painted, &projection, brick, frame, bytes);
    };
    let reader = Arc::new(Reader { see, findings: findings.clone() });
    Extent::Some { level, bricks: (0..bricks).collect() }.visit(image, &channels, reader)
}
