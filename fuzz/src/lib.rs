//! What the fuzz targets share. A property that does not hold is a panic.

pub mod layout;
mod numbers;
mod scratch;

pub use numbers::Numbers;
pub use scratch::Scratch;
