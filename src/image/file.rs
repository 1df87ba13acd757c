//! Reads of one virtual file.

mod read_ahead;
pub(super) mod virtual_file;
