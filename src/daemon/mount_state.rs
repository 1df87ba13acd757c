//! What the threads of the daemon share of a mount.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use zarrims::fs::FileSystem;
use zarrims::image::Images;

/// A mount that the kernel has.
#[derive(Debug)]
pub(super) struct MountState {
    pub(super) source: Arc<Path>,
    pub(super) mountpoint: Arc<Path>,
    pub(super) since: SystemTime,
    pub(super) fs: Arc<FileSystem>,
    pub(super) images: Arc<Images>,
}
