//! The state of the daemon as values, counted when somebody asks: nothing is kept for it, and neither the source nor
//! the disk of the cache is asked. The verb `status`, the control folder and the metrics are made from it, and so is
//! the log line at the end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};
use zarrims::cache::ImageId;
use zarrims::fs::KnownImage;
use zarrims::image::{Coverage, EngineStats, ErrorRow, PassKind, PassProgress};

use super::figures::{percent, seconds, seconds_left};
use super::jobs::JobStatus;
use super::mount_state::MountState;
use super::state::State;
use crate::control::folder::Texts;
use crate::logging;

/// The state of the daemon at one time.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    /// Of the program.
    pub(crate) version: &'static str,
    pub(crate) pid: u32,
    /// When the daemon began, in seconds since 1970.
    pub(crate) since_s: u64,
    /// Now, in seconds since 1970.
    pub(crate) now_s: u64,
    pub(crate) mounts: Vec<MountStatus>,
    /// Workers, memory by share, and the cache.
    pub(crate) engine: EngineStats,
    /// Bricks in the cache that belong to no level of an image that is listed: of images that were not opened since
    /// the start, of images that have changed or gone, and metadata.
    pub(crate) other_bricks: u64,
    /// Failed reads of chunks, of all mounts that there were.
    pub(crate) damaged: u64,
    /// Log lines that could not be written.
    pub(crate) log_lines_lost: u64,
}

/// A mount that the kernel has.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MountStatus {
    pub(crate) source: String,
    pub(crate) mountpoint: String,
    /// When it was made, in seconds since 1970.
    pub(crate) since_s: u64,
    pub(crate) open_handles: usize,
    /// Files and folders that are known, and those that were listed and forgotten since.
    pub(crate) names: usize,
    pub(crate) forgotten_names: usize,
    /// Failed reads of chunks.
    pub(crate) damaged: u64,
    /// Walks over all voxels of an image that are under way.
    pub(crate) passes: Vec<PassStatus>,
    /// Warming and verifying that is under way.
    pub(crate) jobs: Vec<JobStatus>,
    /// Those that were opened since the start, up to 4096.
    pub(crate) images: Vec<ImageStatus>,
    /// The last 1000 errors that readers met, those that came last at the end.
    pub(crate) errors: Vec<ErrorStatus>,
}

/// An image that was opened.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ImageStatus {
    /// Below the mount point.
    pub(crate) path: String,
    /// The folder of the image below the source.
    pub(crate) image: String,
    pub(crate) size_bytes: u64,
    pub(crate) handles: usize,
    /// Bricks in production.
    pub(crate) in_flight: usize,
    /// How often readers have met an error, as far as the last errors say.
    pub(crate) errors: u64,
    pub(crate) cached_bytes: u64,
    /// Of all bricks of all levels.
    pub(crate) cached_percent: f64,
    /// The finest first.
    pub(crate) levels: Vec<LevelStatus>,
}

/// How much of a level is in the cache.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LevelStatus {
    /// Voxels along (z, y, x).
    pub(crate) size: [u64; 3],
    /// `stored` or `computed`.
    pub(crate) origin: &'static str,
    /// Bricks of all time points and channels.
    pub(crate) bricks: u64,
    pub(crate) cached: u64,
    pub(crate) cached_bytes: u64,
    pub(crate) cached_percent: f64,
}

/// A pass, and how far it has come.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PassStatus {
    pub(crate) kind: PassKind,
    /// The folder of the image below the source.
    pub(crate) image: String,
    /// The finest and the coarsest level that it produces or reads.
    pub(crate) levels: [usize; 2],
    pub(crate) bricks_read: u64,
    /// An estimate.
    pub(crate) bricks_total: u64,
    pub(crate) percent: f64,
    /// Since it began.
    pub(crate) seconds: u64,
    /// Until its end, if it goes on as so far; nothing while that is not known.
    pub(crate) left_s: Option<u64>,
}

/// An error that readers met.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ErrorStatus {
    /// The folder of the image below the source, or the path in the mount.
    pub(crate) path: String,
    pub(crate) error: String,
    pub(crate) count: u64,
    /// When it came first, in seconds since 1970.
    pub(crate) first_s: u64,
    /// When it came last.
    pub(crate) last_s: u64,
}

impl Status {
    /// The state now.
    pub(super) fn now(state: &State) -> Self {
        Self::of(state, &state.mounts())
    }

    /// The same, with one mount: who reads there is not told of others.
    pub(super) fn now_of(state: &State, mount: &Arc<MountState>) -> Self {
        Self::of(state, std::slice::from_ref(mount))
    }

    fn of(state: &State, mounts: &[Arc<MountState>]) -> Self {
        let engine = state.engine.stats();
        let in_flight = state.engine.in_flight();
        let of = |mount: &_| MountStatus::of(mount, state, &in_flight);
        let mounts: Vec<MountStatus> = mounts.iter().map(|mount| of(mount)).collect();
        let levels = mounts.iter().flat_map(|mount| &mount.images).flat_map(|image| &image.levels);
        let listed: u64 = levels.map(|level| level.cached).sum();
        let bricks = engine.cache.as_ref().map_or(0, |cache| cache.stats.bricks);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            since_s: seconds(state.began),
            now_s: seconds(SystemTime::now()),
            mounts,
            engine,
            other_bricks: bricks.saturating_sub(listed),
            damaged: state.damaged(),
            log_lines_lost: logging::lost(),
        }
    }

    /// The files of the control folder of the only mount: the state without what the others say, the images, and
    /// the errors as a line each.
    pub(super) fn texts(mut self) -> Texts {
        let mut lists = (Vec::new(), Vec::new());
        if let Some(mount) = self.mounts.first_mut() {
            lists = (std::mem::take(&mut mount.images), std::mem::take(&mut mount.errors));
        }
        let mut status = json!(self);
        if let Some(Value::Object(mount)) = status.pointer_mut("/mounts/0") {
            mount.remove("images");
            mount.remove("errors");
        }
        let (images, errors) = lists;
        let errors = errors.iter().map(|error| format!("{}\n", json!(error)));
        [format!("{status:#}\n"), format!("{:#}\n", json!(images)), errors.collect()]
    }

    /// Logs the sums at the end.
    pub(super) fn log_end(&self) {
        let Self { engine, .. } = self;
        let cache = engine.cache.as_ref().map(|cache| cache.stats).unwrap_or_default();
        let shared = engine.shared.unwrap_or_default();
        tracing::info!(
            filled = engine.filled,
            filled_bytes = engine.filled_bytes,
            passed = engine.passed,
            failed = engine.failed,
            damaged = self.damaged,
            cache_hits = cache.hits,
            cache_misses = cache.misses,
            cache_used_bytes = cache.used_bytes,
            evicted = cache.evicted,
            shared_hits = shared.hits,
            shared_misses = shared.misses,
            shared_damaged = shared.damaged,
            shared_puts = shared.puts,
            shared_dropped = shared.dropped,
            shared_failed = shared.failed,
            decode_memory_peak_bytes = engine.memory.peak_bytes,
            log_lines_lost = self.log_lines_lost,
            "unmounted"
        );
    }
}

impl MountStatus {
    fn of(mount: &MountState, state: &State, in_flight: &HashMap<ImageId, usize>) -> Self {
        let errors: Vec<_> = mount.images.errors().into_iter().map(ErrorStatus::of).collect();
        let mut errors_of: HashMap<&str, u64> = HashMap::new();
        for ErrorStatus { path, count, .. } in &errors {
            *errors_of.entry(path).or_default() += count;
        }
        let image = |known: KnownImage| {
            let flights = in_flight.get(&known.bricks.content).copied().unwrap_or_default();
            let coverage = known.bricks.coverage(&state.engine);
            let mut image = ImageStatus::of(&known, &coverage, flights);
            let of_path = |path: &str| errors_of.get(path).copied().unwrap_or_default();
            image.errors = of_path(&image.image) + of_path(&image.path);
            image
        };
        let images = mount.fs.known_images().into_iter().map(image).collect();
        let names = mount.fs.tree_figures();
        Self {
            source: mount.source.to_string_lossy().into_owned(),
            mountpoint: mount.mountpoint.to_string_lossy().into_owned(),
            since_s: seconds(mount.since),
            open_handles: mount.fs.open_handles(),
            names: names.nodes,
            forgotten_names: names.forgotten,
            damaged: mount.images.damaged(),
            passes: mount.images.passes().into_iter().map(PassStatus::of).collect(),
            jobs: state.jobs.of(mount),
            images,
            errors,
        }
    }
}

impl ImageStatus {
    fn of(known: &KnownImage, coverage: &[Coverage], in_flight: usize) -> Self {
        let sum = |of: fn(&Coverage) -> u64| coverage.iter().map(of).sum();
        Self {
            path: known.path.to_string_lossy().into_owned(),
            image: lossy(known.folder.clone()),
            size_bytes: known.size_bytes,
            handles: known.handles,
            in_flight,
            errors: 0,
            cached_bytes: sum(|level| level.cached_bytes),
            cached_percent: percent(sum(|level| level.cached), sum(|level| level.bricks)),
            levels: coverage.iter().map(LevelStatus::of).collect(),
        }
    }
}

impl LevelStatus {
    fn of(coverage: &Coverage) -> Self {
        let &Coverage { size, is_computed, bricks, cached, cached_bytes } = coverage;
        Self {
            size,
            origin: if is_computed { "computed" } else { "stored" },
            bricks,
            cached,
            cached_bytes,
            cached_percent: percent(cached, bricks),
        }
    }
}

impl PassStatus {
    fn of(pass: PassProgress) -> Self {
        let PassProgress { kind, image, levels, bricks_read, bricks_total, started } = pass;
        let seconds = started.elapsed().map_or(0, |time| time.as_secs());
        Self {
            kind,
            image: lossy(image),
            levels,
            bricks_read,
            bricks_total,
            percent: percent(bricks_read.min(bricks_total), bricks_total),
            seconds,
            left_s: seconds_left(seconds, bricks_read, bricks_total),
        }
    }
}

impl ErrorStatus {
    fn of(row: ErrorRow) -> Self {
        let ErrorRow { path, error, count, first, last } = row;
        Self { path: lossy(path), error, count, first_s: seconds(first), last_s: seconds(last) }
    }
}

fn lossy(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap_or_else(|path| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_left_follows_the_pace_so_far() {
        let pass = |bricks_read| PassProgress {
            kind: PassKind::ReadAll,
            image: "a.zarr".into(),
            levels: [0, 0],
            bricks_read,
            bricks_total: 100,
            started: SystemTime::now() - Duration::from_secs(10),
        };
        let left = |bricks_read| PassStatus::of(pass(bricks_read)).left_s;
        assert_eq!(left(0), None);
        assert!((30..=33).contains(&left(25).expect("a guess")));
        assert_eq!(left(120), Some(0));
    }
}
