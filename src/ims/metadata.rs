//! The metadata region: every object of the schema in a slot of its own.
//!
//! Where a slot lies, and how long it is, follows from the description of the file alone ([`MetadataLayout`]); what
//! depends on pixels fits its slot at any length. So any range of bytes is written by itself ([`MetadataWriter`]):
//! the region is never made, or kept, as a whole.
//!
//! ```text
//! 0 ... root group, DataSet, DataSetInfo, texts, header of the thumbnail
//!       of each level: its group, then the groups of its time points           fixed
//! C ... DataSetInfo/Channel c, one slot each                                    display range
//! H ... of each level, time point and channel: its group, from a page on        histograms
//! T ... pixels of the thumbnail                                                 thumbnail
//! ```

mod group;
mod layout;
mod write;

pub use layout::{MetadataLayout, MetadataPart};
pub use write::{MetadataWriter, Pixels};
