//! Names of bricks.

use std::fmt;

/// Identity of an image's plan and source: bricks with different content must differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(pub u128);

impl ImageId {
    /// The inverse of `Display`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id = Self(u128::from_str_radix(text, 16).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Names a brick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BrickKey {
    /// The image it belongs to.
    pub image: ImageId,
    /// Part of the image whose bricks share one slot size, such as a resolution level.
    pub space: u16,
    /// Number of the brick in its space.
    pub index: u64,
}

impl fmt::Display for BrickKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, space, index } = self;
        write!(f, "{image}/{space}/{index}")
    }
}

/// A brick and the room it may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The brick.
    pub key: BrickKey,
    /// Upper bound of the brick's length in bytes, the same for all bricks of its image and space.
    pub slot_bytes: u64,
    /// Every opening of its file reads it: a scan of other bricks must not evict it.
    pub is_proven: bool,
}
