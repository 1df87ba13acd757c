//! Open folders. Each handle keeps the names that the folder had when it was opened: `readdir` comes
//! in parts, which must be parts of one listing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::fs::view::{DirectoryEntry, FsError};
use crate::sync::lock;

#[derive(Debug, Default)]
pub(super) struct Folders {
    open: Mutex<HashMap<u64, Arc<Vec<DirectoryEntry>>>>,
    last_handle: AtomicU64,
}

impl Folders {
    pub(super) fn open(&self, entries: Vec<DirectoryEntry>) -> u64 {
        let handle = self.last_handle.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.open).insert(handle, Arc::new(entries));
        handle
    }

    /// # Errors
    /// [`FsError::BadHandle`].
    pub(super) fn entries(&self, handle: u64) -> Result<Arc<Vec<DirectoryEntry>>, FsError> {
        lock(&self.open).get(&handle).cloned().ok_or(FsError::BadHandle)
    }

    pub(super) fn close(&self, handle: u64) {
        lock(&self.open).remove(&handle);
    }
}
