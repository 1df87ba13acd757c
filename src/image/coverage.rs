//! How much of an image the cache holds, level by level.

use crate::cache::{ImageId, SteadyCache, Tally};
use crate::engine::Engine;

use super::file::VirtualFile;
use super::plan::pyramid::LevelOrigin;
use super::voxels::space::Space;

/// The bricks of an image, by level. It keeps nothing of the image itself alive.
#[derive(Debug, Clone)]
pub struct Bricks {
    /// Identity of the content, under which the bricks are cached.
    pub content: ImageId,
    levels: Vec<LevelBricks>,
}

/// The bricks of a level.
#[derive(Debug, Clone, Copy)]
struct LevelBricks {
    size: [u64; 3],
    origin: LevelOrigin,
    bricks: u64,
    slot_bytes: u64,
}

/// How much of a level the cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// Voxels along (z, y, x).
    pub size: [u64; 3],
    /// Whether the level is computed.
    pub is_computed: bool,
    /// Bricks of all time points and channels.
    pub bricks: u64,
    /// Those that are on disk.
    pub cached: u64,
    /// Bytes that they take there.
    pub cached_bytes: u64,
}

impl Bricks {
    /// The bricks of a file.
    #[must_use]
    pub fn of(file: &VirtualFile) -> Self {
        let plan = file.plan();
        let datasets = plan.ims.time_points.saturating_mul(plan.ims.channels.len() as u64);
        let levels = plan.levels.iter().zip(plan.layout.levels()).map(|(planned, laid_out)| {
            let grid = &laid_out.bricks;
            LevelBricks {
                size: planned.size,
                origin: planned.origin,
                bricks: grid.bricks().iter().product::<u64>().saturating_mul(datasets),
                slot_bytes: grid.full_brick_bytes(),
            }
        });
        Self { content: file.content(), levels: levels.collect() }
    }

    /// Bricks of all levels that are in the cache. Costs little.
    #[must_use]
    pub fn cached(&self, engine: &Engine) -> u64 {
        self.coverage(engine).iter().map(|level| level.cached).sum()
    }

    /// Counts what is in the cache, the finest level first. Neither the source nor the disk is asked, and the
    /// cache is locked once for each level, for a moment.
    #[must_use]
    pub fn coverage(&self, engine: &Engine) -> Vec<Coverage> {
        let count = |(level, found): (usize, &LevelBricks)| {
            let &LevelBricks { size, origin, bricks, slot_bytes } = found;
            let space = Space::Level(level).number();
            let of = |cache: &SteadyCache| cache.tally(self.content, space, bricks, slot_bytes);
            let tally = engine.cache().map_or_else(Tally::default, of);
            Coverage {
                size,
                is_computed: origin == LevelOrigin::Computed,
                bricks,
                cached: tally.bricks.min(bricks),
                cached_bytes: tally.bytes,
            }
        };
        self.levels.iter().enumerate().map(count).collect()
    }
}
