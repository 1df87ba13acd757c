//! The metrics: names, units and meanings of all of them, and how they are written.
//!
//! The form is that of Prometheus (text format 0.0.4). Units are bytes and seconds; names of what only grows end in
//! `_total`. To add one, add a row here and to the table in `doc/CONFIGURATION.md`, which a test compares.

use std::fmt::Write;

use super::status::{MountStatus, Status};

/// The media type of the text.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where a value comes from.
enum Value {
    Daemon(fn(&Status) -> u64),
    /// A value for each mount, with the label `mountpoint`.
    Mount(fn(&MountStatus) -> u64),
    /// Of the disk cache; none without one.
    Cache(fn(&zarrims::cache::CacheStats) -> u64),
}

use Value::{Cache, Daemon, Mount};

/// A row: name, meaning, value.
type Row = (&'static str, &'static str, Value);

/// All metrics.
const METRICS: [Row; 35] = [
    ("zarrims_start_time_seconds", "When the daemon began, since 1970.", Daemon(|s| s.since_s)),
    ("zarrims_mounts", "Mounts that the kernel has.", Daemon(|s| s.mounts.len() as u64)),
    (
        "zarrims_filled_bricks_total",
        "Bricks and records produced to be kept.",
        Daemon(|s| s.engine.filled),
    ),
    ("zarrims_filled_bytes_total", "Bytes produced to be kept.", Daemon(|s| s.engine.filled_bytes)),
    (
        "zarrims_passed_bricks_total",
        "Bricks produced to make others from, or to be counted.",
        Daemon(|s| s.engine.passed),
    ),
    (
        "zarrims_decoded_bytes_total",
        "Bytes produced, kept or not.",
        Daemon(|s| s.engine.decoded_bytes),
    ),
    (
        "zarrims_failed_requests_total",
        "Requests for bricks that ended in an error.",
        Daemon(|s| s.engine.failed),
    ),
    (
        "zarrims_bricks_in_production",
        "Bricks in production.",
        Daemon(|s| s.engine.in_flight as u64),
    ),
    (
        "zarrims_threads",
        "Threads that produce bricks and measure pixels.",
        Daemon(|s| s.engine.threads as u64),
    ),
    ("zarrims_memory_budget_bytes", "The memory budget.", Daemon(|s| s.engine.memory.budget_bytes)),
    (
        "zarrims_memory_used_bytes",
        "Memory in use for decoding.",
        Daemon(|s| s.engine.memory.used_bytes),
    ),
    (
        "zarrims_memory_held_bytes",
        "Memory held by open files and passes.",
        Daemon(|s| s.engine.memory.held_bytes),
    ),
    (
        "zarrims_memory_recent_bytes",
        "Bricks in memory that were produced lately.",
        Daemon(|s| s.engine.recent_bytes),
    ),
    (
        "zarrims_memory_only_bytes",
        "Metadata and bricks that are in memory only.",
        Daemon(|s| s.engine.only_in_memory_bytes),
    ),
    (
        "zarrims_memory_buffers_bytes",
        "Buffers kept for the next task.",
        Daemon(|s| s.engine.buffer_bytes),
    ),
    (
        "zarrims_unwritten_bytes",
        "Bytes on their way to the cache.",
        Daemon(|s| s.engine.unwritten.bytes),
    ),
    ("zarrims_damaged_reads_total", "Failed reads of chunks.", Daemon(|s| s.damaged)),
    (
        "zarrims_log_lines_lost_total",
        "Log lines that could not be written.",
        Daemon(|s| s.log_lines_lost),
    ),
    ("zarrims_cache_limit_bytes", "What the cache may use now.", Cache(|c| c.limit_bytes)),
    ("zarrims_cache_used_bytes", "What the cache uses of its disk.", Cache(|c| c.used_bytes)),
    ("zarrims_cache_bricks", "Bricks in the cache.", Cache(|c| c.bricks)),
    ("zarrims_cache_hits_total", "Lookups in the cache that found a brick.", Cache(|c| c.hits)),
    ("zarrims_cache_misses_total", "Lookups in the cache that found none.", Cache(|c| c.misses)),
    ("zarrims_cache_stored_total", "Bricks written to the cache.", Cache(|c| c.stored)),
    (
        "zarrims_cache_evicted_total",
        "Bricks released: evicted, replaced, removed or rejected.",
        Cache(|c| c.evicted),
    ),
    (
        "zarrims_cache_rejected_total",
        "Bricks that did not match their checksum, or could not be read.",
        Cache(|c| c.rejected),
    ),
    ("zarrims_cache_refused_total", "Bricks not taken for want of room.", Cache(|c| c.refused)),
    (
        "zarrims_cache_write_errors_total",
        "Failures of the disk of the cache.",
        Cache(|c| c.write_errors),
    ),
    ("zarrims_mount_open_handles", "Files that are open.", Mount(|m| m.open_handles as u64)),
    ("zarrims_mount_names", "Files and folders that are known.", Mount(|m| m.names as u64)),
    (
        "zarrims_mount_forgotten_names",
        "Files and folders that were listed and forgotten since.",
        Mount(|m| m.forgotten_names as u64),
    ),
    (
        "zarrims_mount_images",
        "Images that were opened since the start.",
        Mount(|m| m.images.len() as u64),
    ),
    (
        "zarrims_mount_passes",
        "Passes over all voxels of an image that are under way.",
        Mount(|m| m.passes.len() as u64),
    ),
    ("zarrims_mount_damaged_reads_total", "Failed reads of chunks.", Mount(|m| m.damaged)),
    (
        "zarrims_mount_errors",
        "Different errors that readers met lately, at most 1000.",
        Mount(|m| m.errors.len() as u64),
    ),
];

/// The text of all metrics.
pub(super) fn text(status: &Status) -> String {
    let mut out = String::new();
    for (name, help, value) in &METRICS {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        // Writing to a string does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        match value {
            Daemon(of) => drop(writeln!(out, "{name} {}", of(status))),
            Cache(of) => {
                if let Some(cache) = &status.engine.cache {
                    let _ = writeln!(out, "{name} {}", of(&cache.stats));
                }
            }
            Mount(of) => {
                for mount in &status.mounts {
                    let label = escaped(&mount.mountpoint);
                    let _ = writeln!(out, "{name}{{mountpoint=\"{label}\"}} {}", of(mount));
                }
            }
        }
    }
    out
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_has_every_metric_and_no_other() {
        let document = include_str!("../../doc/CONFIGURATION.md");
        let rows = document.lines().filter_map(|line| line.strip_prefix("| `zarrims_"));
        let named: BTreeSet<String> =
            rows.filter_map(|row| Some(format!("zarrims_{}", row.split_once('`')?.0))).collect();
        let all: BTreeSet<String> = METRICS.iter().map(|(name, ..)| (*name).to_owned()).collect();
        assert_eq!(all.len(), METRICS.len(), "a name stands twice");
        assert_eq!(named, all);
    }

    #[test]
    fn labels_end_where_they_end() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
