//! What the log says of chunks that cannot be had: each once a minute, and not too many at a time.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lru::LruCache;
use xxhash_rust::xxh3::xxh3_64;

use super::{ImageError, lock};
use crate::source::SourceError;
use crate::source::image::LevelSource;

/// Time after which the same chunk is told of again.
const AGAIN: Duration = Duration::from_mins(1);

/// Lines within a window; a whole disk of damaged chunks must not fill another one with its log.
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Chunks remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Counts chunks that cannot be had, and tells of them.
#[derive(Debug)]
pub(super) struct DamageLog {
    told: Mutex<Told>,
    damaged: AtomicU64,
}

#[derive(Debug)]
struct Told {
    chunks: LruCache<u64, Instant>,
    window: Instant,
    lines: u32,
    suppressed: u64,
}

impl DamageLog {
    pub(super) fn new() -> Self {
        let told = Told {
            chunks: LruCache::new(REMEMBERED),
            window: Instant::now(),
            lines: 0,
            suppressed: 0,
        };
        Self { told: Mutex::new(told), damaged: AtomicU64::new(0) }
    }

    /// Times that a chunk was needed and could not be had.
    pub(super) fn count(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Tells of a chunk of a level of a store, and what its readers get instead.
    pub(super) fn report(
        &self,
        store: &Path,
        level: &LevelSource,
        error: &SourceError,
        instead: &str,
    ) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        let Some(suppressed) = self.is_due(&error.to_string()) else { return };
        let (store, array) = (store.display(), &level.path);
        match error {
            SourceError::Chunk { path, reason } => {
                let chunk = path.strip_prefix(level.array.folder()).unwrap_or(path).display();
                tracing::error!(%store, array, %chunk, cause = %reason, suppressed, "chunk damaged: {instead}");
            }
            SourceError::Changed { path } => {
                let file = path.display();
                tracing::warn!(%store, array, %file, suppressed, "changed since it was opened: {instead}");
            }
            other => {
                tracing::error!(%store, array, cause = %other, suppressed, "chunk not readable: {instead}");
            }
        }
    }

    /// Whether a line may be written now, and how many were not.
    fn is_due(&self, what: &str) -> Option<u64> {
        let mut told = lock(&self.told);
        let now = Instant::now();
        let key = xxh3_64(what.as_bytes());
        if told.chunks.get(&key).is_some_and(|at| now - *at < AGAIN) {
            return None;
        }
        if now - told.window >= WINDOW {
            told.window = now;
            told.lines = 0;
        }
        if told.lines >= LINES {
            told.suppressed += 1;
            return None;
        }
        told.lines += 1;
        told.chunks.put(key, now);
        Some(std::mem::take(&mut told.suppressed))
    }
}

/// Whether an error says that a chunk is damaged or unreadable, or brings this program down, so that its
/// neighbours may be well.
pub(super) fn is_damage(error: &ImageError) -> bool {
    match error {
        ImageError::Source(source) => {
            matches!(**source, SourceError::Chunk { .. } | SourceError::Io { .. })
        }
        ImageError::Fault => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_told_of_once_and_many_not_all() {
        let log = DamageLog::new();
        assert_eq!(log.is_due("a"), Some(0));
        assert_eq!(log.is_due("a"), None);
        let lines = (0..100).filter(|chunk| log.is_due(&chunk.to_string()).is_some()).count();
        assert_eq!(lines, 19);
        lock(&log.told).window = Instant::now().checked_sub(WINDOW).expect("some uptime");
        assert_eq!(log.is_due("99"), Some(81));
    }

    #[test]
    fn a_panic_is_damage_and_an_end_is_none() {
        let panicked = super::super::guarded::<()>(|| panic!("on purpose"));
        assert!(is_damage(&panicked.expect_err("a panic")));
        assert!(!is_damage(&ImageError::Abandoned));
    }
}
