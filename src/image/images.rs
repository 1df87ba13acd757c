//! What all images of one mount share.

use std::sync::Arc;

use super::ImageOptions;
use super::damage::DamageLog;
use super::engine::Engine;

/// The images of one mount: how they become files, and which of their chunks were damaged. The engine
/// behind them may serve several mounts.
#[derive(Debug)]
pub struct Images {
    engine: Arc<Engine>,
    options: ImageOptions,
    damage: DamageLog,
}

impl Images {
    /// The images of a mount, with the options of that mount.
    #[must_use]
    pub fn new(engine: Arc<Engine>, options: ImageOptions) -> Arc<Self> {
        Arc::new(Self { engine, options, damage: DamageLog::default() })
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

    pub(super) fn damage(&self) -> &DamageLog {
        &self.damage
    }
}
