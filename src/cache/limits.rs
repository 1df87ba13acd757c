//! How much of a disk a cache may take.

/// How much of a disk a cache may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Most bytes on disk, counted as `du` counts them.
    pub cap_bytes: u64,
    /// Room left to others on the disk.
    pub min_free: MinFree,
}

/// Room on a disk that a cache leaves free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinFree {
    /// In bytes.
    Bytes(u64),
    /// In hundredths of the disk.
    Percent(u8),
}

impl MinFree {
    /// In bytes, for a disk of `total_bytes`.
    #[must_use]
    pub fn of(self, total_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => total_bytes / 100 * u64::from(percent),
        }
    }
}
