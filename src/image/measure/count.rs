//! Counting voxels brick by brick, in passes over an image: all of its bricks, or some of one level.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::engine::error::ImageError;
use crate::image::levels::{Visitor, visit_all, visit_some};
use crate::image::voxels::frame::{BrickFrame, BrickId};
use crate::image::voxels::image::Image;
use crate::ims::VoxelType;
use crate::resources::Aside;
use crate::sync::lock;

use super::histogram::Counts;
use super::rule::{Extent, evenly};
use super::sketch::Sketch;

/// Shows the bricks of some datasets to a visitor, and waits for the end.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished.
pub(super) fn visit(
    image: &Arc<Image>,
    datasets: &[u64],
    extent: &Extent,
    visitor: Arc<dyn Visitor>,
) -> Result<(), ImageError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let done = move |result| {
        // The receiver waits below.
        let _ = sender.send(result);
    };
    match extent {
        Extent::All => visit_all(image, datasets, visitor, Box::new(done)),
        Extent::Some { level, among, count } => {
            let bricks: Arc<[u64]> = evenly(among.clone(), *count).collect();
            visit_some(image, datasets, *level, &bricks, visitor, Box::new(done));
        }
    }
    receiver.recv().unwrap_or(Err(ImageError::Abandoned))
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

    /// Takes what was counted, once all has been.
    fn take_sum(&self, target: VoxelType) -> Counts {
        let mut kept = std::mem::take(&mut *lock(&self.counts)).into_iter();
        let mut sum = kept.next().unwrap_or_else(|| Counts::over(target, self.range));
        kept.for_each(|counts| sum.merge(&counts));
        sum
    }
}

/// Shows bricks to a function, and notes what is wrong with them.
pub(super) struct Reader<F> {
    see: F,
    findings: Arc<Findings>,
}

impl<F> Reader<F> {
    pub(super) fn new(see: F, findings: &Arc<Findings>) -> Arc<Self> {
        Arc::new(Self { see, findings: findings.clone() })
    }
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

/// Counts some datasets, given in ascending order: by dataset, then by level. A sketch sees their bricks, too.
///
/// # Errors
/// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
pub(super) fn count(
    image: &Arc<Image>,
    datasets: &[u64],
    extent: &Extent,
    sketch: Option<&Arc<Sketch>>,
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
            let (datasets, levels) = (datasets.to_vec(), levels.clone());
            let (cells, findings) = (cells.clone(), findings.clone());
            let sketch = sketch.filter(|_| !only_range).cloned();
            move |brick: BrickId, frame: &BrickFrame, bytes: &[u8]| {
                let Ok(dataset) = datasets.binary_search(&brick.dataset) else { return };
                let cell = &cells[dataset * levels.len() + brick.level - levels.start];
                if !cell.see(target, only_range, frame, bytes) {
                    // A chunk came between the passes.
                    findings.damage();
                }
                if let Some(sketch) = &sketch {
                    sketch.see(brick, frame, bytes);
                }
            }
        };
        visit(image, datasets, extent, Reader::new(see, findings))?;
        counts = cells.iter().map(|cell| cell.take_sum(target)).collect();
        ranges = counts.iter().map(Counts::range).collect();
    }
    Ok(counts)
}
