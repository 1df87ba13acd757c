//! What a pass is for that no reader waits for.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use crate::cache::Slot;
use crate::engine::Engine;
use crate::engine::brick::Keep;
use crate::engine::error::ImageError;
use crate::image::voxels::frame::BrickId;
use crate::image::voxels::image::Image;
use crate::image::work::{Place, Work};

/// Waits for room on the way to the disk, of 0.3 s each, before a brick is made all the same.
const MOST_WAITS: usize = 100;

/// What a pass is for that no reader waits for. It leaves a thread to readers.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) work: Arc<Work>,
    /// Levels of which every brick that is made is to be in the cache.
    pub(super) kept: Range<usize>,
}

impl Errand {
    pub(super) fn is_stopped(&self) -> bool {
        self.work.is_stopped()
    }

    /// Whether bricks of a level are to be in the cache.
    pub(super) fn keeps(&self, level: usize) -> bool {
        self.kept.contains(&level)
    }

    /// Waits until a brick may be made: not faster than the disk takes them.
    pub(super) fn await_room(&self, engine: &Engine, slot: Slot) {
        for _ in 0..MOST_WAITS {
            if self.is_stopped() || engine.kept().may_make_ahead(slot.slot_bytes) {
                return;
            }
        }
    }

    /// A brick that is to be in the cache was made; it is counted when it is on disk.
    pub(super) fn made(&self, engine: &Arc<Engine>, slot: Slot, (keep, bytes): (Keep, u64)) {
        self.work.update(|progress| progress.done += 1);
        match keep {
            Keep::OnDisk => count_when_written(self.work.clone(), engine, slot, bytes),
            Keep::Lightly => self.work.update(|progress| progress.there += 1),
            Keep::InMemory(_) => self.work.update(|progress| progress.unkept += 1),
        }
    }

    /// A brick that is to be in the cache cannot be made.
    pub(super) fn failed(&self, image: &Image, brick: BrickId, error: &ImageError) {
        self.work.fail(Some(Place::of(&image.plan, brick)), error.to_string());
    }
}

/// Counts a brick when it is on disk, or given up.
fn count_when_written(work: Arc<Work>, engine: &Arc<Engine>, slot: Slot, bytes: u64) {
    let weak = Arc::downgrade(engine);
    engine.kept().when_written(move || {
        let Some(engine) = weak.upgrade() else { return };
        let is_there = engine.kept().is_on_disk(slot);
        if !is_there && engine.kept().is_cached(slot) {
            // Another thread has it, and gives it to the one that writes in a moment.
            thread::yield_now();
            return count_when_written(work, &engine, slot, bytes);
        }
        let count = u64::from(is_there);
        work.update(|progress| {
            progress.made += count;
            progress.made_bytes += count * bytes;
            progress.unkept += 1 - count;
        });
    });
}
