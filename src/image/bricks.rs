//! The bricks of one image: where each is kept, and who produces it.

use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::xxh3_128;

use crate::cache::{BrickKey, ImageId, Slot};
use crate::source::SourceRoot;
use crate::source::image::{ImageSource, LevelSource};

use super::engine::{Engine, Produced};
use super::fill::BrickJob;
use super::frame::BrickId;
use super::plan::ImagePlan;
use super::pyramid::LevelOrigin;
use super::{ImageError, guarded};

/// Changes whenever equal stores would give other bytes than before; part of every image's identity.
const FORMAT_VERSION: u32 = 2;

/// The levels that together take at most this part of the cache are those that every opening reads.
const PROVEN_SHARE: u64 = 32;

/// One image: what its virtual file, and the passes over it, have in common.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) source: Arc<ImageSource>,
    pub(super) plan: ImagePlan,
    pub(super) id: ImageId,
    /// From this level on, bricks are kept in the cache whatever else is read.
    proven_from: usize,
    /// Identity of what is made from many chunks; see [`Image::derived_id`].
    derived: OnceLock<(ImageId, bool)>,
}

impl Image {
    pub(super) fn new(
        root: &SourceRoot,
        source: Arc<ImageSource>,
        plan: ImagePlan,
        cache_bytes: u64,
    ) -> Self {
        let id = identity(root, &source, &plan);
        let proven_from = plan.finest_within(cache_bytes / PROVEN_SHARE);
        Self { source, plan, id, proven_from, derived: OnceLock::new() }
    }

    /// The stored level behind a level, `None` where it is computed.
    pub(super) fn stored(&self, level: usize) -> Option<&LevelSource> {
        match self.plan.levels[level].origin {
            LevelOrigin::Stored(number) => Some(&self.source.levels[number]),
            LevelOrigin::Computed => None,
        }
    }

    /// Where a brick is kept. For a brick of a computed level, the folders of the chunks are looked
    /// through once.
    pub(super) fn slot(&self, brick: BrickId) -> Slot {
        let image = if self.stored(brick.level).is_some() { self.id } else { self.derived_id().0 };
        self.slot_of(image, brick)
    }

    /// As [`Image::slot`], where it can be told at once.
    pub(super) fn known_slot(&self, brick: BrickId) -> Option<Slot> {
        let image = match self.stored(brick.level) {
            Some(_) => self.id,
            None => self.known_derived_id()?,
        };
        Some(self.slot_of(image, brick))
    }

    /// The identity of [`Image::derived_id`], once it was told.
    pub(super) fn known_derived_id(&self) -> Option<ImageId> {
        self.derived.get().map(|(id, _)| *id)
    }

    fn slot_of(&self, image: ImageId, BrickId { level, dataset, brick }: BrickId) -> Slot {
        let bricks = &self.plan.layout.levels()[level].bricks;
        let per_dataset: u64 = bricks.bricks().iter().product();
        // There are never 65000 levels: each halves an axis.
        let space = u16::try_from(level).unwrap_or(u16::MAX);
        let key = BrickKey { image, space, index: dataset * per_dataset + brick };
        let is_proven = level >= self.proven_from;
        Slot { key, slot_bytes: bricks.full_brick_bytes(), is_proven }
    }

    /// Identity of what is made from many chunks, such as computed levels, and whether it changes
    /// with every chunk file. If so, what was made may be kept although chunks were absent: once
    /// they come, it is made again at the next opening. It is told once for each opening, so that
    /// nothing changes within one.
    pub(super) fn derived_id(&self) -> (ImageId, bool) {
        *self.derived.get_or_init(|| {
            let stored = (0..self.plan.levels.len()).filter_map(|level| self.stored(level));
            let states: Option<Vec<u128>> = stored.map(|level| level.array.state()).collect();
            match states {
                Some(states) => {
                    let described = format!("{}\0{states:?}", self.id);
                    (ImageId(xxh3_128(described.as_bytes())), true)
                }
                None => (self.id, false),
            }
        })
    }

    /// Produces a brick of a stored level.
    ///
    /// # Errors
    /// [`ImageError`] when a unit cannot be decoded.
    ///
    /// # Panics
    /// When the level is computed.
    pub(super) fn produce(&self, engine: &Engine, brick: BrickId) -> Result<Produced, ImageError> {
        let source = self.stored(brick.level).expect("computed levels are built by passes");
        let job = BrickJob::new(&self.plan, source, brick);
        let produced = guarded(|| engine.with_memory(job.memory_bytes(), || job.produce()));
        if let Err(error) = &produced {
            let store = self.source.folder();
            tracing::error!(store = %store.display(), ?brick, %error, "cannot produce voxels");
        }
        produced
    }
}

/// Hash of everything the bytes depend on: the plan, and the state of the files it was made from.
fn identity(root: &SourceRoot, source: &ImageSource, plan: &ImagePlan) -> ImageId {
    let described = format!(
        "{FORMAT_VERSION}\0{:?}\0{}\0{:?}\0{:?}\0{:?}\0{:?}",
        (root.path(), &source.store, &source.image),
        source.multiscale,
        source.channels,
        plan.ims,
        plan.levels,
        source.fingerprint.entries().collect::<Vec<_>>(),
    );
    ImageId(xxh3_128(described.as_bytes()))
}
