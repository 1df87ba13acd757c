//! Writing the bytes of a virtual file to a disk, without a mount.
//!
//! The plain form is the virtual file byte by byte. It is written front to back, in *pieces* that lie in one brick or
//! hold several small ones, many at a time (`copy`). What is certain to be on the disk stands in a journal beside the
//! output (`journal`), with a checksum for each piece: work that was cut off goes on from there (`output`), and the
//! file can be compared with it at the end (`verify`). Only a complete file gets the name that was asked for.
//!
//! A part of the file is written in the same way, and parts are joined by the same copy (`parts`). With compression
//! chunks follow each other as they come out of the filter, and metadata and indices are written last (`packed`).
//!
//! Nothing here knows names of the mount, or how images are found.

mod commits;
mod copy;
mod error;
mod journal;
mod original;
mod output;
mod packed;
mod part;
mod parts;
mod target;

use std::path::{Path, PathBuf};

pub use crate::ims::Packing;
pub use copy::{Copying, copy};
pub use error::ExportError;
pub use original::{Original, ReadDone, computed_bytes, computed_end};
pub use output::{Output, Start};
pub use packed::Packed;
pub use part::Part;
pub use parts::Parts;
pub use target::Target;

/// What an export tells while it works, and asks whether to go on.
pub trait Watcher: Sync {
    /// `done` of the bytes to be written are written, if not yet certain to be on the disk.
    fn written(&self, done: u64);

    /// Whether the user wants an end. What is under way is completed.
    fn is_stopped(&self) -> bool;
}

/// A path with something behind its name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
