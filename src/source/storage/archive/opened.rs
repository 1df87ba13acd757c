//! Archives on other machines, which stay open: opening one again would cost a request, or all of its bytes.
//!
//! A storage of another machine checks in every answer that the object is still the one that was opened. What is
//! known of a member's header is kept beside the open archive, so that a part of a member costs one request.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lru::LruCache;

use super::super::interface::OpenFile;
use super::super::stamp::Stamp;
use super::directory::Member;
use super::member::HEADER_BYTES;
use crate::sync::lock;

/// Archives that stay open, and headers that are kept of each.
const MOST_ARCHIVES: usize = 64;
const MOST_HEADERS: usize = 256;

/// Largest header that is kept.
const HEADER_LIMIT: usize = 512;

/// Bytes that are fetched for the extra fields of a header. A longer header costs a request more.
const EXTRA_BYTES: u64 = 128;

/// Largest member that is fetched at once with its header.
const WHOLE_BYTES: u64 = 64 << 20;

/// An open archive on another machine.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) file: Arc<dyn OpenFile>,
    stamp: Stamp,
    /// First bytes of members, by the place of their headers.
    headers: Mutex<LruCache<u64, Arc<[u8]>>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Opened(Mutex<LruCache<PathBuf, Arc<Remote>>>);

impl Opened {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::unbounded()))
    }

    /// The open archive at a path, if it is in this state and has not been found to be another one since.
    pub(super) fn get(&self, path: &Path, stamp: &Stamp) -> Option<Arc<Remote>> {
        let found = lock(&self.0).get(path).filter(|known| known.stamp == *stamp).cloned();
        found.filter(|known| known.file.stamp().is_ok())
    }

    pub(super) fn put(&self, path: &Path, stamp: Stamp, file: Arc<dyn OpenFile>) {
        let headers = Mutex::new(LruCache::unbounded());
        let mut opened = lock(&self.0);
        opened.put(path.to_path_buf(), Arc::new(Remote { file, stamp, headers }));
        if opened.len() > MOST_ARCHIVES {
            opened.pop_lru();
        }
    }
}

impl Remote {
    /// The archive for reads of a member. With `is_whole` the member is fetched with its header, unless it is very
    /// large; else its header only, if that is not known.
    ///
    /// # Errors
    /// The reason of the storage.
    pub(super) fn for_member(&self, member: &Member, is_whole: bool) -> io::Result<Fetched> {
        let start = member.header_at;
        let is_whole = is_whole && member.packed <= WHOLE_BYTES;
        if !is_whole && let Some(bytes) = lock(&self.headers).get(&start).cloned() {
            return Ok(Fetched { file: self.file.clone(), start, bytes });
        }
        let body = if is_whole { member.packed } else { 0 };
        let header = HEADER_BYTES as u64 + member.name_len + EXTRA_BYTES;
        let end = start.saturating_add(header).saturating_add(body).min(self.stamp.size());
        let fetched = Fetched::new(self.file.clone(), start.min(end)..end)?;
        if !is_whole && fetched.bytes.len() <= HEADER_LIMIT {
            let mut headers = lock(&self.headers);
            headers.put(start, fetched.bytes.clone());
            if headers.len() > MOST_HEADERS {
                headers.pop_lru();
            }
        }
        Ok(fetched)
    }
}

/// An open file, of which some bytes are here.
pub(super) struct Fetched {
    file: Arc<dyn OpenFile>,
    start: u64,
    bytes: Arc<[u8]>,
}

impl Fetched {
    /// # Errors
    /// The reason of the storage.
    pub(super) fn new(file: Arc<dyn OpenFile>, range: Range<u64>) -> io::Result<Self> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, range.start)?;
        Ok(Self { file, start: range.start, bytes: bytes.into() })
    }

    /// Bytes of the file from a place on, if they are here.
    fn here(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(at..)?.get(..length)
    }
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("file", &self.file).finish_non_exhaustive()
    }
}

impl OpenFile for Fetched {
    fn stamp(&self) -> io::Result<Stamp> {
        self.file.stamp()
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        match self.here(offset, out.len()) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => self.file.read_exact_at(out, offset),
        }
    }

    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
        let here = |range: &Range<u64>| {
            let length = usize::try_from(range.end.checked_sub(range.start)?).ok()?;
            self.here(range.start, length).map(<[u8]>::to_vec)
        };
        match ranges.iter().map(here).collect::<Option<Vec<_>>>() {
            Some(found) => Ok(found),
            None => self.file.read_ranges(ranges),
        }
    }
}
