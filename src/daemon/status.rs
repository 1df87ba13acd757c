//! What the daemon is doing, as values. The last line of the log is made from it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use zarrims::image::{Engine, EngineStats};

use super::serve::Served;
use crate::logging;

/// The state of the daemon at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Status {
    /// When the daemon began, in seconds since 1970.
    since_s: u64,
    mounts: Vec<MountStatus>,
    work: Work,
    memory: Memory,
    /// `None` where the daemon serves without a cache.
    cache: Option<Cache>,
    /// Failed reads of chunks, of all mounts that there were.
    damaged: u64,
    /// Log lines that could not be written.
    log_lines_lost: u64,
}

/// A mount that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct MountStatus {
    source: String,
    mountpoint: String,
    /// When it was made, in seconds since 1970.
    since_s: u64,
    open_handles: usize,
    /// Failed reads of chunks.
    damaged: u64,
}

/// What the workers have done, and have to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Work {
    /// Bricks and metadata regions produced for readers.
    filled: u64,
    filled_bytes: u64,
    /// Bricks produced for computed levels and statistics.
    passed: u64,
    /// Requests that ended in an error.
    failed: u64,
    /// Productions under way.
    in_flight: usize,
    /// Bricks that wait for the disk of the cache.
    unwritten: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Memory {
    /// Most bytes reserved for decoding at once.
    decode_peak_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Cache {
    cap_bytes: u64,
    /// The cap, or less where the disk is short of room.
    limit_bytes: u64,
    used_bytes: u64,
    bricks: u64,
    hits: u64,
    misses: u64,
    evicted: u64,
    write_errors: u64,
}

impl Status {
    /// The state now.
    pub(super) fn now(began: SystemTime, engine: &Engine, mounts: &[Served]) -> Self {
        let damaged = mounts.iter().map(|mount| mount.images.damaged()).sum();
        let mounts = mounts.iter().filter_map(MountStatus::of).collect();
        Self::of(began, &engine.stats(), mounts, damaged)
    }

    fn of(began: SystemTime, stats: &EngineStats, mounts: Vec<MountStatus>, damaged: u64) -> Self {
        Self {
            since_s: seconds(began),
            mounts,
            work: Work {
                filled: stats.filled,
                filled_bytes: stats.filled_bytes,
                passed: stats.passed,
                failed: stats.failed,
                in_flight: stats.in_flight,
                unwritten: stats.unwritten,
            },
            memory: Memory { decode_peak_bytes: stats.memory_peak_bytes },
            cache: stats.cache.map(|cache| Cache {
                cap_bytes: cache.cap_bytes,
                limit_bytes: cache.limit_bytes,
                used_bytes: cache.used_bytes,
                bricks: cache.bricks,
                hits: cache.hits,
                misses: cache.misses,
                evicted: cache.evicted,
                write_errors: cache.write_errors,
            }),
            damaged,
            log_lines_lost: logging::lost(),
        }
    }

    /// Logs the sums at the end.
    pub(super) fn log_end(&self) {
        let Self { work, memory, cache, .. } = self;
        let of_cache = |value: fn(&Cache) -> u64| cache.as_ref().map_or(0, value);
        tracing::info!(
            filled = work.filled,
            filled_bytes = work.filled_bytes,
            passed = work.passed,
            failed = work.failed,
            damaged = self.damaged,
            cache_hits = of_cache(|cache| cache.hits),
            cache_misses = of_cache(|cache| cache.misses),
            cache_used_bytes = of_cache(|cache| cache.used_bytes),
            evicted = of_cache(|cache| cache.evicted),
            decode_memory_peak_bytes = memory.decode_peak_bytes,
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
        };
        let stats = EngineStats { filled: 5, ..EngineStats::default() };
        let status = Status::of(began, &stats, vec![mount], 3);
        let json = serde_json::to_value(&status).expect("values");
        assert_eq!(json["since_s"], 7);
        assert_eq!(json["mounts"][0]["open_handles"], 2);
        assert_eq!(json["work"]["filled"], 5);
        assert_eq!(json["cache"], serde_json::Value::Null);
        assert_eq!(json["damaged"], 3);
    }
}
