//! A daemon whose time and memory are measured.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::measure::common::mount::{Mount, Starter, summary};
use crate::measure::machine;

/// Longer than any case takes with one daemon.
const LIFE: Duration = Duration::from_hours(1);

/// A mounted daemon; its cache goes with it unless it was given one.
#[derive(Debug)]
pub(crate) struct Daemon {
    mount: Mount,
    _cache: Option<TempDir>,
}

/// What is known of a daemon that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// Bricks and metadata regions that it produced.
    pub(crate) fills: u64,
    /// The most memory it had at once, in MiB.
    pub(crate) peak_mib: f64,
}

impl Daemon {
    /// A daemon with an empty cache of its own, on the disk of the stores.
    pub(crate) fn start(folder: &Path, source: &Path, args: &[&str]) -> Self {
        let cache = TempDir::with_prefix_in("cache-", folder).expect("a folder for the cache");
        let mount = starter(source, args).cache(cache.path()).start();
        Self { mount, _cache: Some(cache) }
    }

    /// A daemon with a cache that stays.
    pub(crate) fn with_cache(cache: &Path, source: &Path, args: &[&str]) -> Self {
        Self { mount: starter(source, args).cache(cache).start(), _cache: None }
    }

    /// The mount point.
    pub(crate) fn path(&self) -> &Path {
        self.mount.path()
    }

    /// The virtual file of the only store.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().join(crate::measure::stores::FILE)
    }

    /// Processor time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        machine::cpu_seconds(self.mount.pid())
    }

    /// Unmounts; the files must be closed.
    pub(crate) fn end(self) -> Ended {
        let peak_mib = self.mount.peak_memory_kib() as f64 / 1024.0;
        let (status, stderr) = self.mount.stop();
        assert!(status.success(), "the daemon ended with {status}: {stderr:#?}");
        Ended { fills: summary(&stderr, "filled"), peak_mib }
    }
}

fn starter(source: &Path, args: &[&str]) -> Starter {
    // Room for the largest file that is measured.
    Starter::new(source).args(["--cache-size", "24GiB"]).args(args).life(LIFE)
}
