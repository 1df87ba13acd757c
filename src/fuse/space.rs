//! What `statfs` says of the mount.

use crate::fs::view::Space;

/// The part in use, in hundredths, from which `df` would call a disk full: it rounds up.
const FULL_PERCENT: u128 = 99;

/// The space of the disk of SOURCE, as it is: `df` shows the same line for both. Nothing can be written
/// into the mount, so that a disk that is full, or that is never anything else, such as a `squashfs`, is
/// no cause for an alarm here: then nothing is in use and nothing available, and `df` shows `-` (it
/// computes `used / (used + available)` from `blocks - free` and `available`).
pub(super) fn shown(space: Space) -> Space {
    let mut shown = space;
    if is_full(space.blocks, space.free, space.available) {
        (shown.free, shown.available) = (space.blocks, 0);
    }
    if is_full(space.files, space.files_free, space.files_free) {
        // There is no third number for files: none are counted.
        (shown.files, shown.files_free) = (0, 0);
    }
    shown
}

fn is_full(all: u64, free: u64, available: u64) -> bool {
    let used = u128::from(all.saturating_sub(free));
    used * 100 > (used + u128::from(available)) * FULL_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `df` prints as "Use%".
    fn percent(all: u64, free: u64, available: u64) -> Option<u64> {
        let used = all - free;
        (used + available > 0).then(|| (used * 100).div_ceil(used + available))
    }

    fn space(blocks: u64, free: u64, available: u64) -> Space {
        Space { block_bytes: 4096, blocks, free, available, files: 10, files_free: 4 }
    }

    #[test]
    fn a_disk_with_room_is_shown_as_it_is() {
        for space in [space(1000, 400, 350), space(1000, 1000, 1000), space(0, 0, 0)] {
            assert_eq!(shown(space), space);
        }
    }

    #[test]
    fn nothing_is_ever_full() {
        for (free, available) in [(0, 0), (50, 0), (1, 1), (9, 9), (11, 10), (12, 11)] {
            let space = Space { files_free: 0, ..space(1000, free, available) };
            let shown = shown(space);
            assert_eq!(shown.blocks, 1000);
            assert_ne!(percent(shown.blocks, shown.free, shown.available), Some(100), "{space:?}");
            assert_eq!((shown.files, shown.files_free), (0, 0));
        }
    }
}
