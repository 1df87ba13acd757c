//! Stores that look as if they had been at rest.
//!
//! What is made from many chunks is kept under an identity that a store has only once it was at rest
//! for two seconds. A test that counts what is made again must not straddle that moment.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Sets the times of everything new in a folder back by an hour.
pub(crate) fn age(folder: &Path) {
    let old = SystemTime::now() - Duration::from_hours(1);
    let set_back = |path: &Path| {
        let file = fs::File::open(path).expect("an own file");
        let modified = file.metadata().and_then(|metadata| metadata.modified()).expect("a time");
        if modified > old + Duration::from_mins(1) {
            file.set_modified(old).expect("an own file");
        }
    };
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            age(&path);
        } else {
            set_back(&path);
        }
    }
    set_back(folder);
}
