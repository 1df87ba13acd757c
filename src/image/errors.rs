//! The errors that readers of a mount met lately.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use lru::LruCache;

use crate::sync::lock;

/// Different errors remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1000).expect("not zero");

/// An error, however often it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRow {
    /// The folder of the image or store below the source, or the path in the mount.
    pub path: PathBuf,
    /// What is wrong, in one line.
    pub error: String,
    /// How often it came.
    pub count: u64,
    /// When it came first.
    pub first: SystemTime,
    /// When it came last.
    pub last: SystemTime,
}

/// The errors that came last, up to 1000 different ones.
#[derive(Debug)]
pub(super) struct ErrorRows(Mutex<LruCache<(PathBuf, String), Seen>>);

#[derive(Debug)]
struct Seen {
    count: u64,
    first: SystemTime,
    last: SystemTime,
}

impl Default for ErrorRows {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl ErrorRows {
    pub(super) fn note(&self, path: &Path, error: String) {
        let now = SystemTime::now();
        let mut rows = lock(&self.0);
        let seen = rows.get_or_insert_mut((path.to_path_buf(), error), || Seen {
            count: 0,
            first: now,
            last: now,
        });
        seen.count += 1;
        seen.last = now;
    }

    /// Those that came last are last.
    pub(super) fn now(&self) -> Vec<ErrorRow> {
        let rows = lock(&self.0);
        let row = |((path, error), seen): (&(PathBuf, String), &Seen)| {
            let &Seen { count, first, last } = seen;
            ErrorRow { path: path.clone(), error: error.clone(), count, first, last }
        };
        rows.iter().rev().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_are_kept_and_repeated_ones_are_counted() {
        let rows = ErrorRows::default();
        for number in 0..1500 {
            rows.note(Path::new("a"), number.to_string());
        }
        rows.note(Path::new("a"), "700".to_owned());
        let now = rows.now();
        assert_eq!(now.len(), 1000);
        let last = now.last().expect("some");
        assert_eq!((last.error.as_str(), last.count), ("700", 2));
        assert_eq!((now[0].error.as_str(), now[0].count), ("500", 1));
    }
}
