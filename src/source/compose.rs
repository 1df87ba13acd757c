//! Images made of images: a crop, some channels or time points of one, several as the channels, the time points
//! or the tiles of one. Metadata alone: no voxel is read.
//!
//! The result reads the arrays of the images it is made of, so these should be opened for it alone: it keeps to
//! the state of all their chunks, and follows all their metadata files. Nothing is resampled: level 0 of the
//! result has voxels of level 0.
//!
//! **Levels.** A level of the store is used where each of its voxels lies within one image and covers none of
//! another: boxes must begin at multiples of its step, and tiles must also end there, or at the end of the whole.
//! Its voxels are then exactly those of the stored level; an odd rest at the end is dropped, as in any pyramid.
//! Other levels are computed, as for an image without a pyramid.

mod crop;
mod error;
mod first;
mod join;
mod labels;
mod tiles;
mod time;

pub use crop::{Crop, crop};
pub use error::ComposeError;
pub use first::first_times;
pub use join::{channels, series};
pub use labels::labels_as_channels;
pub use tiles::mosaic;

#[cfg(test)]
mod tests;
