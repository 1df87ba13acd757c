//! What the metadata says about voxels.

mod count;
mod histogram;
mod measured;
mod sample;
pub(super) mod statistics;
mod thumbnail;
