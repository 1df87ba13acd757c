//! Stores at rest.
//!
//! What is cached is found again under an identity that a store has only once its last change is older
//! than the clock of the file system is coarse. A test that counts what is made again must not
//! straddle that moment.

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
