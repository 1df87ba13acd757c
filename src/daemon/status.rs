//! What the daemon is doing, as values. The last line of the log is made from it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use zarrims::image::{Engine, EngineStats, PassProgress};

use super::serve::Served;
use crate::logging;

/// The state of the daemon at one time.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Status {
    /// When the daemon began, in seconds since 1970.
    since_s: u64,
    mounts: Vec<MountStatus>,
    /// Workers, memory by share, and the cache.
    engine: EngineStats,
    /// Failed reads of chunks, of all mounts that there were.
    damaged: u64,
    /// Log lines that could not be written.
    log_lines_lost: u64,
}

/// A mount that the kernel has.
#[derive(Debug, Clone, Serialize)]
struct MountStatus {
    source: String,
    mountpoint: String,
    /// When it was made, in seconds since 1970.
    since_s: u64,
    open_handles: usize,
    /// Failed reads of chunks.
    damaged: u64,
    /// Walks over all voxels of an image that are under way.
    passes: Vec<PassProgress>,
}

impl Status {
    /// The state now.
    pub(super) fn now(began: SystemTime, engine: &Engine, mounts: &[Served]) -> Self {
        let damaged = mounts.iter().map(|mount| mount.images.damaged()).sum();
        let mounts = mounts.iter().filter_map(MountStatus::of).collect();
        Self::of(began, engine.stats(), mounts, damaged)
    }

    fn of(began: SystemTime, engine: EngineStats, mounts: Vec<MountStatus>, damaged: u64) -> Self {
        Self { since_s: seconds(began), mounts, engine, damaged, log_lines_lost: logging::lost() }
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
    /// `None` once the kernel has let go of the mount.
    fn of(served: &Served) -> Option<Self> {
        Some(Self {
            source: served.source.to_string_lossy().into_owned(),
            mountpoint: served.mountpoint.to_string_lossy().into_owned(),
            since_s: seconds(served.since),
            open_handles: served.fs.as_ref()?.open_handles(),
            damaged: served.images.damaged(),
            passes: served.images.passes(),
        })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_can_be_written_as_json() {
        let began = UNIX_EPOCH + Duration::from_secs(7);
        let mount = MountStatus {
            source: "/s".to_owned(),
            mountpoint: "/m".to_owned(),
            since_s: 8,
            open_handles: 2,
            damaged: 1,
            passes: Vec::new(),
        };
        let stats = EngineStats { filled: 5, ..EngineStats::default() };
        let status = Status::of(began, stats, vec![mount], 3);
        let json = serde_json::to_value(&status).expect("values");
        assert_eq!(json["since_s"], 7);
        assert_eq!(json["mounts"][0]["open_handles"], 2);
        assert_eq!(json["engine"]["filled"], 5);
        assert_eq!(json["engine"]["cache"], serde_json::Value::Null);
        assert_eq!(json["damaged"], 3);
    }
}
