//! What all images of one mount share.

use std::sync::Arc;

use crate::engine::Engine;

use super::damage::DamageLog;
use super::options::ImageOptions;
use super::progress::{PassProgress, Passes};

/// The images of one mount: how they become files, which of their chunks were damaged, and the passes over
/// them. The engine behind them may serve several mounts.
#[derive(Debug)]
pub struct Images {
    engine: Arc<Engine>,
    options: ImageOptions,
    damage: DamageLog,
    passes: Passes,
}

impl Images {
    /// The images of a mount, with the options of that mount.
    #[must_use]
    pub fn new(engine: Arc<Engine>, options: ImageOptions) -> Arc<Self> {
        let (damage, passes) = (DamageLog::default(), Passes::default());
        Arc::new(Self { engine, options, damage, passes })
    }

    /// The engine that produces and keeps their bricks.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// How images become files.
    #[must_use]
    pub fn options(&self) -> &ImageOptions {
        &self.options
    }

    /// Failed reads of chunks, each attempt counted.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damage.count()
    }

    /// The passes under way, and how far they have come.
    #[must_use]
    pub fn passes(&self) -> Vec<PassProgress> {
        self.passes.now()
    }

    pub(super) fn damage(&self) -> &DamageLog {
        &self.damage
    }

    pub(super) fn pass_registry(&self) -> &Passes {
        &self.passes
    }
}
