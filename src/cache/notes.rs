//! Notes: small named files beside the bricks, in which a caller keeps what it wants to know at the
//! next start.
//!
//! A note begins with a checksum of its content, so a note that a power failure has torn, or that
//! was edited from outside, counts as missing. It is written under another name and renamed, and never
//! synced. Its bytes are charged before they are written, as those of bricks are.
//!
//! Notes that were not used in this run are removed when a new one needs their share.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_64;

use super::disk::{Folder, Opening};
use super::error::CacheError;
use super::segment::PAGE_BYTES;
use crate::sync::lock;

const SUFFIX: &str = ".note";

/// A note while it is written; there is one at a time.
const DRAFT: &str = "note.new";

/// The checksum in front of the content: 16 hexadecimal digits and a line break.
const HEADER_BYTES: usize = 17;

/// A note takes at most this part of the cap, and never more than [`MOST_BYTES`].
const SHARE: u64 = 64;
const MOST_BYTES: u64 = 32 << 20;

/// All notes together take at most what this many notes of the largest size take.
const LARGEST_NOTES: u64 = 4;

const LONGEST_NAME: usize = 64;

/// Pages of data for which the file system takes one page of its own, if each page is an extent.
const PAGES_PER_EXTENT_BLOCK: u64 = 170;

/// The notes of one cache folder.
#[derive(Debug)]
pub(super) struct Notes {
    folder: Arc<dyn Folder>,
    /// Largest content of a note.
    most_bytes: u64,
    /// Bytes on disk that the notes take or are about to take.
    charged: AtomicU64,
    /// Locked while a note is written.
    known: Mutex<BTreeMap<String, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    disk_bytes: u64,
    /// Read or written in this run.
    is_used: bool,
}

impl Notes {
    /// Finds the notes of earlier runs.
    pub(super) fn find(folder: Arc<dyn Folder>, cap_bytes: u64) -> io::Result<Self> {
        // Nearly always there is none.
        drop(folder.remove_file(Path::new(DRAFT)));
        let mut known = BTreeMap::new();
        for (file, _) in folder.list(Path::new("."))? {
            if let Some(name) = file.to_str().and_then(|file| file.strip_suffix(SUFFIX)) {
                let disk_bytes = with_extents(folder.disk_bytes(Path::new(&file))?);
                known.insert(name.to_owned(), Known { disk_bytes, is_used: false });
            }
        }
        let charged = AtomicU64::new(sum(&known));
        let most_bytes = MOST_BYTES.min(cap_bytes / SHARE);
        Ok(Self { folder, most_bytes, charged, known: Mutex::new(known) })
    }

    /// Largest content of a note.
    pub(super) fn most_bytes(&self) -> u64 {
        self.most_bytes
    }

    /// Bytes on disk that the notes take or are about to take.
    pub(super) fn charged(&self) -> u64 {
        self.charged.load(Ordering::SeqCst)
    }

    /// The content of a note, if there is one and it is whole.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CacheError> {
        let fail = |source| CacheError::Note { name: name.to_owned(), source };
        let path = path_of(name).map_err(fail)?;
        let mut known = lock(&self.known);
        let read = self.read_file(&path).map_err(fail)?;
        if let Some(known) = known.get_mut(name) {
            known.is_used = true;
        }
        Ok(read.and_then(content_of))
    }

    fn read_file(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match self.folder.open(path, Opening::Existing) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let length = file.state()?.length;
        // A note of a time when the cap was higher is of use as well.
        if length > MOST_BYTES + HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Some(bytes))
    }

    /// Writes a note in place of the one of that name, which stays if this fails. `make_room` is
    /// called whenever [`Notes::charged`] has changed; it frees the bytes, or refuses.
    pub(super) fn write(
        &self,
        name: &str,
        content: &[u8],
        make_room: &dyn Fn() -> Result<(), CacheError>,
    ) -> Result<(), CacheError> {
        let fail = |source| CacheError::Note { name: name.to_owned(), source };
        let path = path_of(name).map_err(fail)?;
        let needed_bytes = with_extents((HEADER_BYTES + content.len()) as u64);
        let mut known = lock(&self.known);
        self.remove_unused(&mut known, name, needed_bytes);
        let limit_bytes = LARGEST_NOTES * self.most_bytes;
        let others = sum(&known) - known.get(name).map_or(0, |known| known.disk_bytes);
        if content.len() as u64 > self.most_bytes || others + needed_bytes > limit_bytes {
            return Err(CacheError::NoRoom { needed_bytes, limit_bytes });
        }
        // Until it is renamed, the old note is there as well.
        self.charged.store(sum(&known) + needed_bytes, Ordering::SeqCst);
        let written = make_room().and_then(|()| self.replace(&path, content).map_err(fail));
        let entry = known.entry(name.to_owned()).or_default();
        let on_disk = self.on_disk(&path).unwrap_or(entry.disk_bytes + needed_bytes);
        let disk_bytes = if written.is_ok() { on_disk.max(needed_bytes) } else { on_disk };
        *entry = Known { disk_bytes, is_used: true };
        self.charged.store(sum(&known), Ordering::SeqCst);
        drop(known);
        written.and(make_room())
    }

    /// Bytes of a note, and of a draft that could not be removed.
    fn on_disk(&self, path: &Path) -> io::Result<u64> {
        let bytes = |path| match self.folder.disk_bytes(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            bytes => bytes.map(with_extents),
        };
        Ok(bytes(path)? + bytes(Path::new(DRAFT))?)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let draft = Path::new(DRAFT);
        let bytes = [header_of(content).as_bytes(), content].concat();
        let written = self
            .folder
            .open(draft, Opening::Empty)
            .and_then(|file| file.write_all_at(&bytes, 0))
            .and_then(|()| self.folder.rename(draft, path));
        written.inspect_err(|_| drop(self.folder.remove_file(draft)))
    }

    /// Removes notes of earlier runs, other than `name`, until one of `needed` bytes fits.
    fn remove_unused(&self, known: &mut BTreeMap<String, Known>, name: &str, needed: u64) {
        let mut excess = (sum(known) + needed).saturating_sub(LARGEST_NOTES * self.most_bytes);
        known.retain(|other, note| {
            if excess == 0 || note.is_used || other == name {
                return true;
            }
            let removed = path_of(other).and_then(|path| self.folder.remove_file(&path));
            if removed.is_ok() {
                excess = excess.saturating_sub(note.disk_bytes);
            }
            removed.is_err()
        });
    }
}

fn sum(known: &BTreeMap<String, Known>) -> u64 {
    known.values().map(|note| note.disk_bytes).sum()
}

/// Bytes on disk of a file with this many bytes of data, at most.
fn with_extents(bytes: u64) -> u64 {
    let pages = bytes.div_ceil(PAGE_BYTES);
    let blocks = if pages == 0 { 0 } else { 1 + pages / PAGES_PER_EXTENT_BLOCK };
    (pages + blocks) * PAGE_BYTES
}

fn path_of(name: &str) -> io::Result<PathBuf> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
        return Err(ErrorKind::InvalidInput.into());
    }
    Ok(PathBuf::from(format!("{name}{SUFFIX}")))
}

fn header_of(content: &[u8]) -> String {
    format!("{:016x}\n", xxh3_64(content))
}

/// What stands behind the checksum, if it is right.
fn content_of(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (header, content) = bytes.split_at_checked(HEADER_BYTES)?;
    if header != header_of(content).as_bytes() {
        return None;
    }
    bytes.drain(..HEADER_BYTES);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::disk::{Disk, LocalDisk};
    use super::*;

    fn notes(dir: &Path, cap_bytes: u64) -> Notes {
        Notes::find(LocalDisk.enter(dir).unwrap(), cap_bytes).unwrap()
    }

    fn write(notes: &Notes, name: &str, content: &[u8]) -> Result<(), CacheError> {
        notes.write(name, content, &|| Ok(()))
    }

    #[test]
    fn a_note_is_read_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let notes = notes(dir.path(), 1 << 30);
        assert_eq!(notes.read("a").unwrap(), None);
        write(&notes, "a", b"first").unwrap();
        write(&notes, "b", b"").unwrap();
        write(&notes, "a", b"second").unwrap();
        assert_eq!(notes.read("a").unwrap().as_deref(), Some(&b"second"[..]));
        assert_eq!(notes.read("b").unwrap().as_deref(), Some(&b""[..]));
        let path = dir.path().join("a.note");
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut damaged = good.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert_eq!(notes.read("a").unwrap(), None, "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(notes.read("a").unwrap(), None, "{at} bytes");
        }
        for name in ["", "..", "a/b", "A", "a.note", &"x".repeat(65)] {
            assert!(matches!(write(&notes, name, b"x"), Err(CacheError::Note { .. })), "{name}");
        }
    }

    #[test]
    fn notes_of_earlier_runs_make_room_and_those_of_this_run_stay() {
        let dir = tempfile::tempdir().unwrap();
        let most = 64 << 10;
        let content = vec![1; 14 * 4096];
        let earlier = notes(dir.path(), SHARE * most);
        for name in ["a", "b", "c"] {
            write(&earlier, name, &content).unwrap();
        }
        let notes = notes(dir.path(), SHARE * most);
        assert_eq!(notes.charged(), earlier.charged());
        assert!(notes.read("b").unwrap().is_some());
        for name in ["d", "e", "f"] {
            write(&notes, name, &content).unwrap();
            assert!(notes.charged() <= LARGEST_NOTES * most);
        }
        let here = ["a", "b", "c", "d", "e", "f"].map(|name| notes.read(name).unwrap().is_some());
        assert_eq!(here, [false, true, false, true, true, true]);
        assert!(matches!(write(&notes, "g", &content), Err(CacheError::NoRoom { .. })));
        let large = vec![1; (64 << 10) + 1];
        assert!(matches!(write(&notes, "b", &large), Err(CacheError::NoRoom { .. })));
        assert!(notes.read("b").unwrap().is_some());
    }

    #[test]
    fn a_note_that_gets_no_room_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let notes = notes(dir.path(), 1 << 30);
        write(&notes, "a", b"old").unwrap();
        let before = notes.charged();
        let refuse = || Err(CacheError::NoRoom { needed_bytes: 1, limit_bytes: 0 });
        assert!(notes.write("a", &[7; 10_000], &refuse).is_err());
        assert_eq!(notes.read("a").unwrap().as_deref(), Some(&b"old"[..]));
        assert_eq!(notes.charged(), before);
    }
}
