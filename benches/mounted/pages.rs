//! Which pages of a file the kernel holds.

#![expect(unsafe_code, reason = "there is no safe way to ask for the pages of a file")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr;

use rustix::fs::{Advice, fadvise};

/// Page size that `mincore` counts in.
const PAGE: usize = 4096;

/// The part of a file that may stay although it was to go: pages that are under way somewhere.
const MOST_LEFT: f64 = 0.01;

/// Makes the kernel forget the pages of one file, and nothing else.
pub(crate) fn forget(file: &File) {
    fadvise(file, 0, None, Advice::DontNeed).expect("advice is taken");
    let left = resident(file);
    assert!(left < MOST_LEFT, "{:.1} % of the pages are still there", left * 100.0);
}

/// The part of a file that is in the kernel's page cache, 0 to 1.
pub(crate) fn resident(file: &File) -> f64 {
    let len = usize::try_from(file.metadata().expect("a size").len()).expect("64 bits");
    let mut states = vec![0_u8; len.div_ceil(PAGE)];
    // SAFETY: a mapping of its own at a place that the kernel chooses; it is never read or written
    // through, and goes before this function returns. `states` has a byte for each of its pages.
    let result = unsafe {
        let map = libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert!(map != libc::MAP_FAILED, "cannot map: {}", std::io::Error::last_os_error());
        let result = libc::mincore(map, len, states.as_mut_ptr());
        libc::munmap(map, len);
        result
    };
    assert_eq!(result, 0, "mincore: {}", std::io::Error::last_os_error());
    states.iter().filter(|state| **state & 1 == 1).count() as f64 / states.len().max(1) as f64
}

/// The kernel has all pages of a file, but for a few.
#[track_caller]
pub(crate) fn assert_resident(file: &File) {
    let part = resident(file);
    assert!(part > 1.0 - MOST_LEFT, "only {:.1} % of the pages are there", part * 100.0);
}
