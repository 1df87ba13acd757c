//! Log lines on damaged chunks: each chunk once a minute, and not too many at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::error::ImageError;
use crate::log_limit::LogLimit;
use crate::resources::headroom::NoMemory;
use crate::source::SourceError;
use crate::source::image::{ImageSource, Part};

/// Counts failed reads of chunks, and logs them.
#[derive(Debug, Default)]
pub(super) struct DamageLog {
    told: LogLimit,
    damaged: AtomicU64,
}

impl DamageLog {
    /// Failed reads of chunks, each attempt counted.
    pub(super) fn count(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Logs a failed read of a chunk of a part of an image, and what its readers get instead.
    pub(super) fn report(
        &self,
        image: &ImageSource,
        part: &Part,
        error: &SourceError,
        instead: &str,
    ) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        // The storage has logged that the source does not answer.
        if error.is_outage() && part.array.is_remote() {
            return;
        }
        let Some(suppressed) = self.told.is_due(&error.to_string()) else { return };
        let (store, array) = (image.folder_of(part), &*part.path);
        let store = store.display();
        match error {
            SourceError::Chunk { path, reason } => {
                let chunk = path.strip_prefix(part.array.folder()).unwrap_or(path).display();
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

    /// Logs that bricks of an image need more memory than there is.
    pub(super) fn report_no_memory(&self, image: &ImageSource, error: NoMemory) {
        let folder = image.folder();
        let store = folder.display();
        let Some(suppressed) = self.told.is_due(&format!("{store}: {error}")) else { return };
        tracing::error!(%store, cause = %error, suppressed, "chunks too large: readers get an error");
    }
}

/// Whether an error concerns one chunk: it is damaged or unreadable, or makes this program fail. Its neighbours
/// may be sound.
pub(super) fn is_damage(error: &ImageError) -> bool {
    match error {
        ImageError::Source(source) => {
            matches!(**source, SourceError::Chunk { .. } | SourceError::Io { .. })
        }
        ImageError::NoMemory(_) | ImageError::Fault => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_damage_and_an_end_is_none() {
        let panicked = crate::engine::error::guarded::<()>(|| panic!("on purpose"));
        assert!(is_damage(&panicked.expect_err("a panic")));
        assert!(!is_damage(&ImageError::Abandoned));
    }
}
