//! Reads of one virtual file, and work on what is cached of it.

mod metadata;
mod read_ahead;
mod records;
mod verify;
mod virtual_file;
mod warm;
mod whole_metadata;

pub use virtual_file::VirtualFile;
pub use warm::{Selection, Warmed};
