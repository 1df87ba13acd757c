//! Reads of one virtual file, and work on what is cached of it.

mod read_ahead;
mod verify;
mod virtual_file;
mod warm;

pub use virtual_file::VirtualFile;
pub use warm::{Selection, Warmed};
