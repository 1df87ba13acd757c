//! What the cache holds and what happened.

use serde::Serialize;

/// What the cache holds, and what happened since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// The cap.
    pub cap_bytes: u64,
    /// What may be used now: the cap, or less where the disk is short of room.
    pub limit_bytes: u64,
    /// Bytes charged against the cap.
    pub used_bytes: u64,
    /// The part of them that cannot be evicted now: pinned, being written or being released.
    pub held_bytes: u64,
    /// Bricks that can be read.
    pub bricks: u64,
    /// Segment files.
    pub segments: u64,
    /// Lookups answered with a brick.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Bricks written.
    pub stored: u64,
    /// Bricks released: evicted, replaced, removed or rejected.
    pub evicted: u64,
    /// Bricks dropped because they could not be read, or did not match their checksum.
    pub rejected: u64,
    /// Bricks not taken for want of room.
    pub refused: u64,
    /// Failures of the disk while writing, journaling or releasing.
    pub write_errors: u64,
    /// Damaged journal records skipped when the cache was opened.
    pub skipped_records: u64,
}

/// What the cache holds of one space of an image. Bricks that are being written or released count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bricks.
    pub bricks: u64,
    /// Bytes that they take on disk.
    pub bytes: u64,
}

/// What of some images was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Bricks, pinned ones included.
    pub bricks: u64,
    /// Bytes that are free on disk now.
    pub freed_bytes: u64,
    /// Bytes that are freed when their readers let go of them.
    pub pinned_bytes: u64,
}

impl CacheStats {
    /// Adds what happened in an earlier cache, and nothing of what it held.
    pub(super) fn add_events(&mut self, earlier: &Self) {
        self.hits += earlier.hits;
        self.misses += earlier.misses;
        self.stored += earlier.stored;
        self.evicted += earlier.evicted;
        self.rejected += earlier.rejected;
        self.refused += earlier.refused;
        self.write_errors += earlier.write_errors;
        self.skipped_records += earlier.skipped_records;
    }
}
