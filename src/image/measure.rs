//! What the metadata says about voxels.

mod histogram;
pub(super) mod statistics;
mod thumbnail;
