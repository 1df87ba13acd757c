//! Why images cannot be composed.

use thiserror::Error;

/// Why images cannot be composed. Numbers of images count from 1, in the order they were given.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum ComposeError {
    /// There is no image to compose.
    #[error("no image is given")]
    NoImage,
    /// A box has no voxel.
    #[error("{axis} {start}..{end} holds no voxel")]
    Empty {
        /// `x`, `y` or `z`.
        axis: char,
        /// First voxel.
        start: u64,
        /// Voxel after the last one.
        end: u64,
    },
    /// A box leaves the image.
    #[error("{axis} {start}..{end} is outside the image, which has {axis} 0..{length}")]
    Outside {
        /// `x`, `y` or `z`.
        axis: char,
        /// First voxel.
        start: u64,
        /// Voxel after the last one.
        end: u64,
        /// Voxels of the image.
        length: u64,
    },
    /// No channel or time point is chosen.
    #[error("no {what} is chosen")]
    NoneChosen {
        /// `channel` or `time point`.
        what: &'static str,
    },
    /// A channel or time point that the image does not have.
    #[error("{what} {index} is outside the image, which has {what}s 0..{count}")]
    NoIndex {
        /// `channel` or `time point`.
        what: &'static str,
        /// The one asked for.
        index: u64,
        /// Those of the image.
        count: u64,
    },
    /// A channel or time point is chosen twice.
    #[error("{what} {index} is chosen twice")]
    Twice {
        /// `channel` or `time point`.
        what: &'static str,
        /// The one asked for.
        index: u64,
    },
    /// Images that must agree do not.
    #[error("image {number} ({path}) has another {what} than image 1: {own} instead of {first}")]
    Differs {
        /// Number of the image.
        number: usize,
        /// Its path below the source folder.
        path: String,
        /// What differs.
        what: &'static str,
        /// That of the first image.
        first: String,
        /// That of this one.
        own: String,
    },
    /// A label image whose type the image's cannot hold.
    #[error("labels {path} are {own}, which does not fit the image's {image} without loss")]
    LabelType {
        /// Its path below the source folder.
        path: String,
        /// Type of the labels.
        own: &'static str,
        /// Type of the image.
        image: &'static str,
    },
    /// A label image without levels that the image has.
    #[error("labels {path} lack levels that the image has")]
    LabelLevels {
        /// Its path below the source folder.
        path: String,
    },
    /// More parts than are kept track of.
    #[error("more than {0} parts")]
    TooManyParts(usize),
    /// The result would be larger than a file can be.
    #[error("the whole would be larger than a file can be")]
    TooLarge,
}
