//! What all images of one mount share.

use std::path::Path;
use std::sync::Arc;

use crate::engine::Engine;

use super::damage::DamageLog;
use super::errors::{ErrorRow, ErrorRows};
use super::options::ImageOptions;
use super::progress::{PassProgress, Passes};

/// The images of one mount: how they become files, which of their chunks were damaged, and the passes over
/// them. The engine behind them may serve several mounts.
#[derive(Debug)]
pub struct Images {
    engine: Arc<Engine>,
    options: ImageOptions,
    damage: DamageLog,
    errors: ErrorRows,
    passes: Passes,
}

impl Images {
    /// The images of a mount, with the options of that mount.
    #[must_use]
    pub fn new(engine: Arc<Engine>, options: ImageOptions) -> Arc<Self> {
        let (damage, errors, passes) = Default::default();
        Arc::new(Self { engine, options, damage, errors, passes })
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

    /// The errors that readers met lately, those that came last at the end.
    #[must_use]
    pub fn errors(&self) -> Vec<ErrorRow> {
        self.errors.now()
    }

    /// Notes an error that a reader of a path has met.
    pub(crate) fn note_error(&self, path: &Path, error: String) {
        self.errors.note(path, error);
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
