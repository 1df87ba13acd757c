//! What the metadata says about voxels: histograms of datasets, displayed ranges of channels, the thumbnail.
//!
//! Each is measured when it is first read, from no more voxels than it needs, and is a pure function of the store: it
//! does not depend on what was measured before, on the number of threads or on time. Each has a record, which is kept
//! in the cache as a brick is.

mod count;
mod datasets;
mod histogram;
mod projection;
mod ranges;
mod record;
mod rule;
mod runs;
mod sketch;
#[cfg(test)]
mod tests;
pub(super) mod thumbnail;

pub(super) use datasets::Datasets;
pub(super) use ranges::{DisplayRanges, Measured};
pub(super) use record::BadRecord;
pub(super) use rule::is_small;
pub(super) use sketch::{Sketch, channels as channels_shown};
