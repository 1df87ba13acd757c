//! A source whose chunk files fail, stall, or make their reader panic.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zarrims::source::storage::{Links, Meta, OpenFile, OpenFolder, Space};
use zarrims::source::{Stamp, Storage};

use crate::common::picks::Picks;

/// Longer than anything takes that is to come.
const PATIENCE: Duration = Duration::from_mins(2);

/// How many operations of a thousand fail, by kind of failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChunkFaults {
    pub(crate) eio: u64,
    /// The file ends too early.
    pub(crate) eof: u64,
    pub(crate) panics: u64,
}

#[derive(Debug)]
struct State {
    picks: Picks,
    faults: ChunkFaults,
    /// Number of next reads that panic.
    panics_left: u64,
    /// The next read of this chunk panics.
    panics_at: Option<PathBuf>,
    failed: u64,
    /// Chunks that do not answer while the gate is closed.
    stalled: Vec<PathBuf>,
    waiting: usize,
}

/// The schedule of the faults, and the gate.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: Mutex<State>,
    /// The gate was opened, or a reader waits at it.
    changed: Condvar,
}

impl Chunks {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let state = State {
            picks: Picks::new(seed),
            faults: ChunkFaults::default(),
            panics_left: 0,
            panics_at: None,
            failed: 0,
            stalled: Vec::new(),
            waiting: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Puts the faults between the program and the files of chunks.
    pub(crate) fn wrap(self: &Arc<Self>, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        Arc::new(FaultyChunks { storage, chunks: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_faults(&self, faults: ChunkFaults) {
        self.lock().faults = faults;
    }

    /// Makes the next `reads` reads panic.
    pub(crate) fn panic_in(&self, reads: u64) {
        self.lock().panics_left = reads;
    }

    /// The next read of this chunk panics.
    pub(crate) fn panic_at(&self, chunk: &Path) {
        self.lock().panics_at = Some(chunk.to_path_buf());
    }

    /// Operations that failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// Lets reads of these chunks wait.
    pub(crate) fn close_gate(&self, chunks: &[PathBuf]) {
        self.lock().stalled = chunks.to_vec();
    }

    pub(crate) fn open_gate(&self) {
        self.lock().stalled.clear();
        self.changed.notify_all();
    }

    /// Waits until `reads` reads wait at the gate.
    pub(crate) fn await_stalled(&self, reads: usize) {
        let is_missing = |state: &mut State| state.waiting < reads;
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, is_missing);
        let (_state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "fewer than {reads} reads of stalled chunks");
    }

    fn begin(&self, path: &Path, is_read: bool) -> io::Result<()> {
        let mut state = self.lock();
        if is_read && state.stalled.iter().any(|stalled| stalled == path) {
            state.waiting += 1;
            self.changed.notify_all();
            let is_stalled =
                |state: &mut State| state.stalled.iter().any(|stalled| stalled == path);
            let waited = self.changed.wait_while(state, is_stalled);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        let ChunkFaults { eio, eof, panics } = state.faults;
        let roll = state.picks.below(1000);
        let panics_now = is_read && state.panics_left > 0;
        state.panics_left -= u64::from(panics_now);
        let panics_here = is_read && state.panics_at.as_deref() == Some(path);
        if panics_here {
            state.panics_at = None;
        }
        let fault = match roll {
            roll if roll < eio => Some(io::Error::from_raw_os_error(libc::EIO)),
            roll if is_read && roll < eio + eof => Some(io::ErrorKind::UnexpectedEof.into()),
            _ => None,
        };
        let panics_now =
            panics_now || panics_here || (is_read && fault.is_none() && roll < eio + eof + panics);
        state.failed += u64::from(fault.is_some() || panics_now);
        drop(state);
        assert!(!panics_now, "on purpose, at {}", path.display());
        fault.map_or(Ok(()), Err)
    }
}

#[derive(Debug)]
struct FaultyChunks {
    storage: Arc<dyn Storage>,
    chunks: Arc<Chunks>,
}

/// Faults are for chunks only.
fn is_metadata(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name == b"zarr.json" || name.starts_with(b".z")
}

impl Storage for FaultyChunks {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        if is_metadata(path) {
            return self.storage.open(path);
        }
        self.chunks.begin(path, false)?;
        let (file, stamp) = self.storage.open(path)?;
        let (chunks, path) = (self.chunks.clone(), path.to_path_buf());
        Ok((Box::new(FaultyChunk { file, chunks, path }), stamp))
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        self.storage.stat(path, links)
    }

    fn access(&self, path: &Path) -> io::Result<Meta> {
        self.storage.access(path)
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        self.storage.open_folder(path)
    }

    fn space(&self) -> io::Result<Space> {
        self.storage.space()
    }
}

#[derive(Debug)]
struct FaultyChunk {
    file: Box<dyn OpenFile>,
    chunks: Arc<Chunks>,
    path: PathBuf,
}

impl OpenFile for FaultyChunk {
    fn stamp(&self) -> io::Result<Stamp> {
        self.file.stamp()
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.chunks.begin(&self.path, true)?;
        self.file.read_exact_at(out, offset)
    }
}
