//! The bricks of one image: where each is kept, and who produces it.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::cache::{BrickKey, ImageId, Slot};
use crate::source::image::{ImageSource, LevelSource};
use crate::source::{ChunkState, SourceError, SourceRoot};

use super::engine::{Engine, Produced};
use super::fill::BrickJob;
use super::frame::BrickId;
use super::plan::ImagePlan;
use super::pyramid::LevelOrigin;
use super::{ImageError, OnError, guarded};

/// Changes whenever equal stores would give other bytes than before; part of every image's identity.
const FORMAT_VERSION: u32 = 3;

/// The levels that together take at most this part of the cache are those that every opening reads.
const PROVEN_SHARE: u64 = 32;

/// One image: what its virtual file, and the passes over it, have in common.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) source: Arc<ImageSource>,
    pub(super) plan: ImagePlan,
    /// Identity of the plan and of the metadata it was made from.
    pub(super) id: ImageId,
    /// Identity of the bytes, under which they are cached. If the image follows its chunks, it depends
    /// on the state of every chunk file when the image was opened; else it is that of the plan.
    pub(super) content: ImageId,
    /// The chunks are given as they were when the image was opened, or not at all. Then absent ones
    /// are absent for good.
    pub(super) follows_chunks: bool,
    /// From this level on, bricks are kept in the cache whatever else is read.
    proven_from: usize,
}

impl Image {
    pub(super) fn new(
        root: &SourceRoot,
        source: Arc<ImageSource>,
        plan: ImagePlan,
        chunks: Option<&ChunkState>,
        cache_bytes: u64,
    ) -> Self {
        let id = identity(root, &source, &plan);
        let content = match chunks {
            Some(state) => {
                let described = format!("{id}\0{:x}", state.identity());
                ImageId(xxh3_128(described.as_bytes()))
            }
            None => id,
        };
        let proven_from = plan.finest_within(cache_bytes / PROVEN_SHARE);
        Self { source, plan, id, content, follows_chunks: chunks.is_some(), proven_from }
    }

    /// The stored level behind a level, `None` where it is computed.
    pub(super) fn stored(&self, level: usize) -> Option<&LevelSource> {
        match self.plan.levels[level].origin {
            LevelOrigin::Stored(number) => Some(&self.source.levels[number]),
            LevelOrigin::Computed => None,
        }
    }

    /// Where a brick is kept.
    pub(super) fn slot(&self, BrickId { level, dataset, brick }: BrickId) -> Slot {
        let bricks = &self.plan.layout.levels()[level].bricks;
        let per_dataset: u64 = bricks.bricks().iter().product();
        // There are never 65000 levels: each halves an axis.
        let space = u16::try_from(level).unwrap_or(u16::MAX);
        let key = BrickKey { image: self.content, space, index: dataset * per_dataset + brick };
        let is_proven = level >= self.proven_from;
        Slot { key, slot_bytes: bricks.full_brick_bytes(), is_proven }
    }

    /// Produces a brick of a stored level.
    ///
    /// # Errors
    /// [`ImageError`] when a unit cannot be decoded.
    ///
    /// # Panics
    /// When the level is computed.
    pub(super) fn produce(
        &self,
        engine: &Arc<Engine>,
        brick: BrickId,
    ) -> Result<Produced, ImageError> {
        let source = self.stored(brick.level).expect("computed levels are built by passes");
        let job = BrickJob::new(&self.plan, source, brick);
        let on_error = engine.images().on_error;
        let instead = |error: SourceError| {
            let is_fill =
                on_error == OnError::Fill && !matches!(error, SourceError::Changed { .. });
            let gets = if is_fill { "readers get the fill value" } else { "readers get an error" };
            engine.damage.report(&self.source.folder(), source, &error, gets);
            if is_fill { Ok(()) } else { Err(error) }
        };
        guarded(|| {
            job.await_source();
            let produce = || job.produce(engine, self.follows_chunks, &instead);
            engine.with_memory(job.memory_bytes(), produce)
        })
    }
}

/// Hash of everything the bytes depend on: the plan, and the state of the files it was made from.
fn identity(root: &SourceRoot, source: &ImageSource, plan: &ImagePlan) -> ImageId {
    let described = format!(
        "{FORMAT_VERSION}\0{:?}\0{}\0{:?}\0{:?}\0{:?}\0{:?}",
        (root.location(), &source.store, &source.image),
        source.multiscale,
        source.channels,
        plan.ims,
        plan.levels,
        source.fingerprint.entries().collect::<Vec<_>>(),
    );
    ImageId(xxh3_128(described.as_bytes()))
}
