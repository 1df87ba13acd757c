//! Stores at rest.
//!
//! The cache knows a store by an identity that is final only once the last change is older than one tick
//! of the file system's clock. A test that counts refills waits for that moment first.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Longer than the program asks for.
const RESTED: Duration = Duration::from_millis(70);

/// Waits until the last change in a folder is long enough ago.
pub(crate) fn rest(folder: &Path) {
    let newest = newest_change(folder) + RESTED;
    while SystemTime::now() < newest {
        std::thread::yield_now();
    }
}

fn newest_change(path: &Path) -> SystemTime {
    let meta = fs::symlink_metadata(path).expect("an own file");
    let since_epoch = Duration::new(
        u64::try_from(meta.ctime()).expect("after 1970"),
        u32::try_from(meta.ctime_nsec()).expect("less than a second"),
    );
    let own = SystemTime::UNIX_EPOCH + since_epoch;
    let inside = if meta.is_dir() { Some(fs::read_dir(path).expect("a folder")) } else { None };
    let inside = inside.into_iter().flatten();
    inside.map(|entry| newest_change(&entry.expect("a folder").path())).fold(own, SystemTime::max)
}
