//! A disk in memory that fills up, fails, loses power, and watches the cap of the cache on it.
//!
//! It does what a Linux file system with a page cache does to the cache's files. What was not synced
//! may be lost in any order, page by page and name by name: see `pages` and `names`. Bytes are counted
//! as `du` counts them, pages of named files and a page for each folder, and compared with the cap at
//! every single operation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zarrims::cache::folder_name;

use super::names::Node;
use super::pages::PAGE;
use super::state::{Asked, CACHE, Counts, DiskFaults, HEALTHY, State};
use crate::common::picks::Picks;

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct MemDisk(Arc<Mutex<State>>);

impl fmt::Debug for MemDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemDisk")
    }
}

impl MemDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed))))
    }

    /// Where the cache is.
    pub(crate) fn cache() -> PathBuf {
        CACHE.into()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    pub(crate) fn is_healthy(&self) -> bool {
        let state = self.state();
        state.faults == HEALTHY && !state.crashed
    }

    pub(crate) fn set_cap(&self, bytes: u64) {
        self.state().set_cap(bytes);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Bytes with a name, as `du` counts them.
    pub(crate) fn used(&self) -> u64 {
        self.state().used
    }

    /// Length of a file of the cache, 0 if it is not there.
    pub(crate) fn length(&self, inside: &str) -> u64 {
        let state = self.state();
        let path = Path::new(CACHE).join(folder_name()).join(inside);
        state.file_at(&path).map_or(0, |number| state.inodes[&number].file.len())
    }

    /// Fails if there ever were more bytes than the cap.
    pub(crate) fn assert_cap_held(&self) {
        let violations = std::mem::take(&mut self.state().violations);
        assert!(violations.is_empty(), "over the cap: {violations:#?}");
    }

    /// Stops the machine in the middle of the change after the first `changes`; later calls do nothing.
    pub(crate) fn crash_after(&self, changes: u64) {
        self.state().crash_after(Some(changes));
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// All processes end as by SIGKILL.
    pub(crate) fn kill(&self) {
        self.state().kill();
    }

    /// The power fails: all processes end, and of what was not synced any part is lost.
    pub(crate) fn lose_power(&self, seed: u64) {
        self.state().lose_power(&mut Picks::new(seed));
    }

    /// Somebody removes the cache's folder.
    pub(crate) fn remove_cache(&self) {
        self.state().remove_cache();
    }

    /// Some bytes at rest change.
    pub(crate) fn rot(&self, picks: &mut Picks, bytes: u64) {
        let mut state = self.state();
        // Large files have more of them.
        let pages: Vec<u64> = state
            .names
            .nodes()
            .filter_map(|(_, node)| match node {
                Node::File(number) => Some(number),
                Node::Folder(_) => None,
            })
            .flat_map(|number| {
                (0..state.inodes[&number].file.allocated() / PAGE).map(move |_| number)
            })
            .collect();
        for _ in 0..bytes {
            if let Some(number) = pages.get(picks.index(pages.len().max(1))) {
                state.change(*number, |file| file.rot(picks));
            }
        }
    }
}

/// Does one operation, and looks whether the cap still holds.
pub(crate) fn operate<T>(
    disk: &MemDisk,
    epoch: u64,
    asked: Asked,
    path: &Path,
    act: impl FnOnce(&mut State) -> io::Result<T>,
) -> io::Result<T> {
    let mut state = disk.state();
    state.begin(asked, epoch)?;
    let before = state.used;
    let done = act(&mut state);
    state.end(before, &|| format!("{asked:?} {}", path.display()));
    done
}
