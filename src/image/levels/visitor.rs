//! Who sees the bricks of a pass.

use crate::engine::error::ImageError;
use crate::image::voxels::frame::{BrickFrame, BrickId};

/// Sees every brick of a pass.
pub(crate) trait Visitor: Send + Sync {
    /// One brick of any level, in any order, from any thread. It may be incomplete, because parts of the source
    /// were absent, unless it is `lasting`.
    fn visit(&self, brick: BrickId, frame: &BrickFrame, bytes: &[u8], lasting: bool);

    /// A brick cannot be produced, because a chunk is damaged.
    fn miss(&self, brick: BrickId, error: &ImageError);
}
