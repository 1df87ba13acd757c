//! The memo: one small file beside the bricks, in which the layer above keeps what it wants to know
//! at the next start.
//!
//! It is written whole under another name and renamed, and not synced: after a power failure it may
//! be torn. What is in it is none of the cache's business, so it is up to the reader to look whether
//! it is whole. Its bytes are charged before they are written, as those of bricks are.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::CacheError;
use super::disk::{Folder, Opening};
use super::segment::PAGE_BYTES;
use super::store::Store;

const MEMO: &str = "memo";
const DRAFT: &str = "memo.new";

/// A memo takes at most this part of the cap, and at most so many bytes. While it is written there
/// are two.
const SHARE: u64 = 64;
const MOST_BYTES: u64 = 32 << 20;

/// Pages of data for which the file system takes one of its own, if each page is an extent.
const PAGES_PER_EXTENT_BLOCK: u64 = 170;

/// What writes memos, when the cache asks for one.
pub trait MemoSource: std::fmt::Debug + Send + Sync {
    /// Called now and then, and with `at_end` at a clean end: gives a memo of at most `most_bytes` to
    /// `keep`, if there is anything new.
    fn renew(
        &self,
        at_end: bool,
        most_bytes: u64,
        keep: &mut dyn FnMut(&[u8]) -> Result<(), CacheError>,
    );
}

/// The account of the file.
#[derive(Debug)]
pub(super) struct MemoFile {
    charged: AtomicU64,
    /// Held while it is written.
    writing: Mutex<()>,
}

impl MemoFile {
    /// Finds what an earlier run has left.
    pub(super) fn find(folder: &dyn Folder) -> Self {
        // Nearly always there is none.
        drop(folder.remove_file(Path::new(DRAFT)));
        let charged = on_disk(folder).unwrap_or(0);
        Self { charged: AtomicU64::new(charged), writing: Mutex::default() }
    }

    /// Bytes on disk that the memo takes, or is about to take.
    pub(super) fn charged(&self) -> u64 {
        self.charged.load(Ordering::SeqCst)
    }
}

/// Bytes that a file with so many bytes of data takes at most.
fn with_extents(bytes: u64) -> u64 {
    let pages = bytes.div_ceil(PAGE_BYTES);
    let blocks = if pages == 0 { 0 } else { 1 + pages / PAGES_PER_EXTENT_BLOCK };
    (pages + blocks) * PAGE_BYTES
}

/// The bytes of what is there, draft included.
fn on_disk(folder: &dyn Folder) -> io::Result<u64> {
    let bytes = |name: &str| match folder.disk_bytes(Path::new(name)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        bytes => bytes.map(with_extents),
    };
    Ok(bytes(MEMO)? + bytes(DRAFT)?)
}

fn read(folder: &dyn Folder, most_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match folder.open(Path::new(MEMO), Opening::Existing) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let length = file.state()?.length;
    if length > most_bytes {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

fn write(folder: &dyn Folder, bytes: &[u8]) -> io::Result<()> {
    let draft = Path::new(DRAFT);
    let written = folder
        .open(draft, Opening::Empty)
        .and_then(|file| file.write_all_at(bytes, 0))
        .and_then(|()| folder.rename(draft, Path::new(MEMO)));
    if written.is_err() {
        drop(folder.remove_file(draft));
    }
    written
}

impl Store {
    pub(super) fn most_memo_bytes(&self) -> u64 {
        MOST_BYTES.min(self.index().stats().cap_bytes / SHARE)
    }

    pub(super) fn memo(&self) -> Result<Option<Vec<u8>>, CacheError> {
        // A memo of a time when the cap was higher is of use as well.
        let folder = self.directory.folder();
        read(&*folder, MOST_BYTES).map_err(|source| CacheError::Memo { source })
    }

    pub(super) fn keep_memo(&self, bytes: &[u8]) -> Result<(), CacheError> {
        let fail = |source| CacheError::Memo { source };
        let memo = &self.directory.memo;
        let _writing = memo.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = memo.charged();
        let needed_bytes = with_extents(bytes.len() as u64);
        let charge = |bytes: u64| {
            memo.charged.store(bytes, Ordering::SeqCst);
            self.measure().map_err(fail)
        };
        let room = charge(before + needed_bytes).and_then(|()| {
            self.trim();
            let index = self.index();
            let fits = bytes.len() as u64 <= MOST_BYTES && index.excess() == 0;
            let limit_bytes = index.limit();
            if fits { Ok(()) } else { Err(CacheError::NoRoom { needed_bytes, limit_bytes }) }
        });
        let folder = self.directory.folder();
        let written = room.and_then(|()| write(&*folder, bytes).map_err(fail));
        let kept = on_disk(&*folder).unwrap_or(before + needed_bytes);
        let charged = charge(if written.is_ok() { kept.max(needed_bytes) } else { kept });
        written.and(charged)
    }
}
