//! The voxels of one image, brick by brick: where each brick is kept, where voxels lie in it, and how those
//! of a stored level are produced.

pub(super) mod convert;
pub(super) mod fill;
pub(super) mod frame;
pub(super) mod image;
pub(super) mod space;
mod units;
