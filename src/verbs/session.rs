//! Sources opened for a verb: an engine and a tree, without a mount.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use zarrims::by_hand::Tables;
use zarrims::config::{MountConfig, Resources};
use zarrims::fs::tree::{FileSpec, Opened, Skipped};
use zarrims::fs::{FsError, Tree};
use zarrims::image::{CacheConfig, Engine, EngineConfig, Images, PassProgress};

use crate::daemon::source;

/// A source that is open.
pub(super) struct Session {
    engine: Arc<Engine>,
    images: Arc<Images>,
    pub(super) tree: Tree,
}

/// What is in a source: files with their paths in the mount, and what is skipped.
pub(super) struct Contents {
    pub(super) files: Vec<(PathBuf, FileSpec)>,
    pub(super) skipped: Vec<Skipped>,
}

impl Session {
    /// Opens the source of a mount, with what is said of its stores by hand.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub(super) fn open(
        mount: &MountConfig,
        resources: Resources,
        by_hand: Arc<Tables>,
        cache: Option<CacheConfig>,
    ) -> anyhow::Result<Self> {
        let Resources { memory_bytes, threads, .. } = resources;
        let engine = Engine::start(&EngineConfig { cache, shared: None, memory_bytes, threads })?;
        let root = source::open(mount)?;
        let images = Images::new(engine.clone(), mount.images);
        let tree = Tree::corrected(root, images.clone(), mount.tree, by_hand);
        let tree = tree.context("cannot start threads")?;
        Ok(Self { engine, images, tree })
    }

    /// Looks at everything.
    pub(super) fn contents(&self) -> Contents {
        let (mut files, mut skipped) = (Vec::new(), Vec::new());
        self.tree.walk(
            &mut |path, spec| files.push((path.to_path_buf(), spec.clone())),
            &mut |_, rows| skipped.extend_from_slice(rows),
        );
        Contents { files, skipped }
    }

    /// Opens the file at a path below the mount point.
    pub(super) fn open_file(&self, path: &Path) -> Result<Opened, FsError> {
        self.tree.open(self.tree.find(path)?.ino)
    }

    /// Passes under way.
    pub(super) fn passes(&self) -> Vec<PassProgress> {
        self.images.passes()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.engine.stop();
    }
}
