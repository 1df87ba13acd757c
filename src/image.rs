//! One virtual `.ims` file: where its bytes lie, and how each is produced.
//!
//! * [`plan`] turns an [`ImageSource`](crate::source::image::ImageSource) into pure data: the published
//!   levels, their chunks, and the byte layout.
//! * `voxels` produces the bricks of stored levels, `levels` those of computed levels.
//! * `measure` counts voxels for histograms, colour ranges and the thumbnail.
//! * `file` answers reads of byte ranges from all of these, through the [`engine`](crate::engine).
//!
//! [`Images`] is what the images of one mount share.

mod conversions;
mod coverage;
mod damage;
mod errors;
mod file;
mod identity;
mod images;
mod levels;
mod measure;
mod options;
pub mod plan;
mod progress;
mod reduce;
#[cfg(test)]
mod tests;
mod voxels;
mod work;

pub use crate::engine::error::ImageError;
pub use crate::engine::{CacheConfig, Engine, EngineConfig, EngineError, EngineStats};
pub use conversions::{Conversions, Int16, Uint32};
pub use coverage::{Bricks, Coverage};
pub use errors::ErrorRow;
pub use file::{Selection, VirtualFile, Warmed};
pub use images::Images;
pub(crate) use options::CHUNK_VOXELS_LIMIT;
pub use options::{ChunkShape, ImageOptions, OnError, Pyramid, Statistics};
pub use plan::layout;
pub use plan::pyramid::LevelOrigin;
pub use progress::{PassKind, PassProgress};
pub(crate) use voxels::frame::BrickId;
pub use work::{Fault, Work, WorkProgress};
