//! The bricks of one image: where each is kept, and how those of stored levels are produced.

use std::sync::Arc;

use crate::cache::{BrickKey, ImageId, Slot, SteadyCache};
use crate::engine::Engine;
use crate::engine::brick::Produced;
use crate::engine::error::{ImageError, guarded};
use crate::image::identity;
use crate::image::images::Images;
use crate::image::options::OnError;
use crate::image::plan::ImagePlan;
use crate::image::plan::pyramid::LevelOrigin;
use crate::image::progress::{PassKind, Progress};
use crate::shared_cache::Shared;
use crate::source::image::{ImageSource, LevelSource, Part};
use crate::source::{ChunkState, SourceError, SourceRoot};

use super::fill::BrickJob;
use super::frame::BrickId;
use super::space::Space;

/// The levels that together take at most this part of the cache are those that every opening reads.
const PROVEN_SHARE: u64 = 32;

/// One image: what its virtual file, and the passes over it, have in common.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) images: Arc<Images>,
    pub(crate) source: Arc<ImageSource>,
    pub(crate) plan: ImagePlan,
    /// Identity of the plan and of the metadata it was made from.
    pub(crate) id: ImageId,
    /// Identity of the bytes, under which they are cached. If the image follows its chunks, it depends
    /// on the state of every chunk file when the image was opened; else it is that of the plan.
    pub(crate) content: ImageId,
    /// Identity of the bytes on every machine that sees the same files, for the shared cache.
    shared: ImageId,
    /// The chunks are given as they were when the image was opened, or not at all. Then absent ones
    /// are absent for good.
    pub(crate) follows_chunks: bool,
    /// From this level on, bricks are kept in the cache whatever else is read.
    proven_from: usize,
}

impl Image {
    pub(crate) fn new(
        images: Arc<Images>,
        root: &SourceRoot,
        source: Arc<ImageSource>,
        plan: ImagePlan,
        chunks: Option<&ChunkState>,
    ) -> Self {
        let files = identity::of_files(root, &source, &plan);
        let id = identity::of_plan(root, files);
        let of_bytes = |id| chunks.map_or(id, |chunks| identity::of_chunks(id, chunks));
        let (content, shared) = (of_bytes(id), of_bytes(files));
        let cache_bytes = images.engine().cache().map_or(0, SteadyCache::cap_bytes);
        let proven_from = plan.finest_within(cache_bytes / PROVEN_SHARE);
        let follows_chunks = chunks.is_some();
        Self { images, source, plan, id, content, shared, follows_chunks, proven_from }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.images.engine()
    }

    /// Size of the brick cache, 0 without one.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.engine().cache().map_or(0, SteadyCache::cap_bytes)
    }

    /// Registers a pass over this image.
    pub(crate) fn begin_pass(
        &self,
        kind: PassKind,
        levels: [usize; 2],
        bricks: u64,
    ) -> Arc<Progress> {
        self.images.pass_registry().begin(kind, self.source.folder(), levels, bricks)
    }

    /// Whether its voxels lie on other machines.
    pub(crate) fn is_remote(&self) -> bool {
        self.source.levels.iter().any(LevelSource::is_remote)
    }

    /// The stored level behind a level, `None` where it is computed.
    pub(crate) fn stored(&self, level: usize) -> Option<&LevelSource> {
        match self.plan.levels[level].origin {
            LevelOrigin::Stored(number) => Some(&self.source.levels[number]),
            LevelOrigin::Computed => None,
        }
    }

    /// Where a brick is kept.
    pub(crate) fn slot(&self, BrickId { level, dataset, brick }: BrickId) -> Slot {
        let bricks = &self.plan.layout.levels()[level].bricks;
        let space = Space::Level(level).number();
        let key = BrickKey { image: self.content, space, index: dataset * bricks.count() + brick };
        let is_proven = level >= self.proven_from;
        Slot { key, slot_bytes: bricks.full_brick_bytes(), is_proven }
    }

    /// The name of a brick or a region in the shared cache, where that keeps bricks of this kind.
    pub(crate) fn shared_key(&self, key: BrickKey, is_stored: bool) -> Option<BrickKey> {
        let is_kept = match self.engine().shares()? {
            Shared::Computed => !is_stored,
            Shared::All => true,
        };
        is_kept.then_some(BrickKey { image: self.shared, ..key })
    }

    /// Produces a brick of a stored level.
    ///
    /// # Errors
    /// [`ImageError`] when a unit cannot be decoded.
    ///
    /// # Panics
    /// When the level is computed.
    pub(crate) fn produce(&self, brick: BrickId) -> Result<Produced, ImageError> {
        let source = self.stored(brick.level).expect("computed levels are built by passes");
        let job = BrickJob::new(&self.plan, source, brick);
        let on_error = self.images.options().on_error;
        let instead = |part: &Part, error: SourceError| {
            let is_fill =
                on_error == OnError::Fill && !matches!(error, SourceError::Changed { .. });
            let gets = if is_fill { "readers get the fill value" } else { "readers get an error" };
            self.images.damage().report(&self.source, part, &error, gets);
            self.images.note_error(&self.source.folder(), error.to_string());
            if is_fill { Ok(()) } else { Err(error) }
        };
        guarded(|| {
            job.await_source();
            let resources = self.engine().resources();
            let reserved = resources.reserve(job.memory_bytes()).ok_or(ImageError::Abandoned)?;
            let produced = job.produce(resources, self.follows_chunks, &instead);
            if let Err(ImageError::NoMemory(error)) = &produced {
                self.images.damage().report_no_memory(&self.source, *error);
                self.images.note_error(&self.source.folder(), error.to_string());
            }
            Ok(produced?.holding(reserved))
        })
    }
}
