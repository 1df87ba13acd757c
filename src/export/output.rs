//! The file that is written, and its journal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, FlockOperation, OFlags, fadvise, flock};
use rustix::io::Errno;
use xxhash_rust::xxh3::Xxh3;

use super::error::ExportError;
use super::journal::{Header, Journal};
use super::target::{Target, rename, sync_folder_of};
use super::{Original, Watcher};

/// Zeros are left out of the file in blocks of this length: shorter holes cost more than they save.
const HOLE_BYTES: usize = 64 << 10;

/// Bytes that a comparison reads at a time.
const COMPARED_BYTES: usize = 1 << 20;

#[expect(clippy::cast_possible_wrap, reason = "a flag of the operating system")]
const NO_LINK: i32 = OFlags::NOFOLLOW.bits() as i32;

/// How an export begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing was there.
    New,
    /// The bytes before this one are there.
    Resumed(u64),
    /// What was there belongs to another state of the image, and is dropped.
    Again,
}

/// A file that is being written. Another export of the same name is kept away from it.
#[derive(Debug)]
pub struct Output {
    pub(super) path: PathBuf,
    target: Target,
    pub(super) file: File,
    pub(super) journal: Journal,
    /// The bytes of the whole that are written here.
    pub(super) range: Range<u64>,
    /// Where the whole is when this file begins.
    pub(super) first: u64,
    /// The bytes before it are on the disk.
    pub(super) done: u64,
}

impl Output {
    /// Begins to write bytes of a file, or goes on.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn open(
        target: &Target,
        original: &dyn Original,
        range: Range<u64>,
    ) -> Result<(Self, Start), ExportError> {
        let header = Header::new(original.identity(), original.size(), range.clone());
        Self::begin(target, &header, range.start, Some(range.end - range.start))
    }

    /// Begins to write pieces of which only `from`, where the first one lies, is known before; or goes on.
    ///
    /// # Errors
    /// [`ExportError`].
    pub(super) fn open_growing(
        target: &Target,
        identity: String,
        from: u64,
    ) -> Result<(Self, Start), ExportError> {
        Self::begin(target, &Header::new(identity, u64::MAX, from..u64::MAX), 0, None)
    }

    /// `len`: bytes of the file, where they are known before.
    fn begin(
        target: &Target,
        header: &Header,
        first: u64,
        len: Option<u64>,
    ) -> Result<(Self, Start), ExportError> {
        let path = target.unfinished();
        let failed = |error: io::Error| ExportError::file(&path, error);
        let file = open_locked(target, &path)?;
        let mut journal = Journal::open(&Target::journal_of(&path))?;
        let found = journal.header()?;
        let there = file.metadata().map_err(failed)?.len();
        let mut is_same = found.as_ref() == Some(header) && len.is_none_or(|len| there == len);
        let mut done = header.from;
        if is_same {
            done = journal.replay(&mut |_, _| Ok(true))?;
            is_same = done - first <= there || done == header.from;
        }
        if !is_same {
            journal.begin(header)?;
            done = header.from;
        }
        // What is written from here on begins as zeros.
        let written = done - first;
        let cut =
            file.set_len(written.min(there)).and_then(|()| file.set_len(len.unwrap_or(written)));
        cut.map_err(failed)?;
        let start = match found {
            Some(_) if is_same => Start::Resumed(done),
            // A journal alone is what a kill at the very end has left.
            _ if there == 0 => Start::New,
            None => Start::New,
            Some(_) => Start::Again,
        };
        let range = header.from..header.to;
        let output = Self { path, target: target.clone(), file, journal, range, first, done };
        Ok((output, start))
    }

    /// Drops all pieces but the first `count`.
    pub(super) fn keep_pieces(&mut self, count: u64) -> Result<(), ExportError> {
        let mut seen = 0;
        self.done = self.journal.replay(&mut |_, _| {
            seen += 1;
            Ok(seen <= count)
        })?;
        self.file.set_len(self.done - self.first).map_err(|error| self.failed(error))
    }

    /// No further piece follows.
    pub(super) fn end_here(&mut self) {
        self.range.end = self.done;
    }

    /// The bytes that are not on the disk so far.
    #[must_use]
    pub fn missing(&self) -> Range<u64> {
        self.done..self.range.end
    }

    /// All bytes that are written here.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    pub(super) fn failed(&self, error: io::Error) -> ExportError {
        ExportError::file(&self.path, error)
    }

    /// Compares the file with the checksums of what was written.
    ///
    /// # Errors
    /// [`ExportError::Differs`]: the next run writes that piece again, and all behind it.
    pub fn verify(&mut self, watcher: &dyn Watcher) -> Result<(), ExportError> {
        self.file.sync_all().map_err(|error| self.failed(error))?;
        // What the system has in memory would say nothing of the disk. It may refuse.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        let Self { path, file, journal, first, .. } = self;
        let first = *first;
        let mut wrong = None;
        let mut buffer = vec![0; COMPARED_BYTES];
        let mut compare = |piece: Range<u64>, sum: u64| {
            if watcher.is_stopped() {
                return Err(ExportError::Stopped);
            }
            let place = piece.start - first..piece.end - first;
            let found = sum_of(file, place, piece.start, &mut buffer);
            let is_same = found.map_err(|error| ExportError::file(path, error))? == sum;
            if is_same {
                watcher.written(piece.end - first);
            } else {
                wrong = Some(piece);
            }
            Ok(is_same)
        };
        let end = journal.replay(&mut compare)?;
        match wrong {
            Some(range) => Err(ExportError::Differs { path: self.path.clone(), range }),
            None if end < self.range.end => {
                let range = end..self.range.end;
                Err(ExportError::Differs { path: self.path.clone(), range })
            }
            None => Ok(()),
        }
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    /// [`ExportError`].
    ///
    /// # Panics
    /// When the file is not complete.
    pub fn finish(self) -> Result<(), ExportError> {
        assert_eq!(self.done, self.range.end, "only a complete file is finished");
        self.file.sync_all().map_err(|error| self.failed(error))?;
        let Self { path, target, file, .. } = self;
        // Of no use any more; what cannot be removed does no harm.
        let _ = fs::remove_dir_all(target.kept());
        rename(&path, &target)?;
        sync_folder_of(&target.path)?;
        let _ = fs::remove_file(Target::journal_of(&path));
        drop(file);
        Ok(())
    }

    /// Keeps a complete part under its own name, with its journal, for those who join it.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn keep(self) -> Result<(), ExportError> {
        self.file.sync_all().map_err(|error| self.failed(error))?;
        let _ = fs::remove_dir_all(self.target.kept());
        sync_folder_of(&self.target.path)
    }
}

/// The file that is being written, which no other export has.
fn open_locked(target: &Target, path: &Path) -> Result<File, ExportError> {
    let failed = |error: io::Error| ExportError::file(path, error);
    let mut options = OpenOptions::new();
    // Nobody's link leads to another file.
    options.read(true).write(true).create(true).truncate(false).custom_flags(NO_LINK);
    loop {
        target.check()?;
        let file = options.open(path).map_err(failed)?;
        // Some file systems have no locks: other errors do not count.
        if flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            return Err(ExportError::Busy(path.to_path_buf()));
        }
        let (opened, named) = (file.metadata().map_err(failed)?, fs::symlink_metadata(path));
        let is_it =
            |named: &fs::Metadata| (named.dev(), named.ino()) == (opened.dev(), opened.ino());
        if named.as_ref().is_ok_and(is_it) {
            return Ok(file);
        }
        // Another export has completed it in between.
    }
}

/// Writes bytes at an offset of a file that is zero there; zeros stay holes.
pub(super) fn write_sparse(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let to_boundary = HOLE_BYTES - usize::try_from(at % HOLE_BYTES as u64).unwrap_or(0);
    let (mut start, mut end) = (0, 0);
    while end < bytes.len() {
        let step = if end == 0 { to_boundary } else { HOLE_BYTES };
        let next = bytes.len().min(end + step);
        if is_zero(&bytes[end..next]) {
            if start < end {
                file.write_all_at(&bytes[start..end], at + start as u64)?;
            }
            start = next;
        }
        end = next;
    }
    if start < end {
        file.write_all_at(&bytes[start..end], at + start as u64)?;
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    // The compiler makes wide instructions of the inner loop.
    bytes.chunks(1024).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

/// The checksum of a piece, as the journal has it; `place` is where it lies in this file.
pub(super) fn sum_of(
    mut file: &File,
    place: Range<u64>,
    start: u64,
    buffer: &mut [u8],
) -> io::Result<u64> {
    let mut sum = Xxh3::with_seed(start);
    file.seek(SeekFrom::Start(place.start))?;
    let mut left = place.end - place.start;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact(&mut buffer[..len])?;
        sum.update(&buffer[..len]);
        left -= len as u64;
    }
    Ok(sum.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_holes_and_all_bytes_are_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(folder.path().join("file"))
            .expect("a file");
        let mut bytes = vec![0_u8; 40 * HOLE_BYTES + 17];
        for at in [0, 1, HOLE_BYTES * 3 - 1, HOLE_BYTES * 3, HOLE_BYTES * 30, bytes.len() - 1] {
            bytes[at] = 7;
        }
        file.set_len(bytes.len() as u64).expect("longer");
        for piece in [0..5, 5..HOLE_BYTES * 2 + 3, HOLE_BYTES * 2 + 3..bytes.len()] {
            write_sparse(&file, piece.start as u64, &bytes[piece]).expect("writable");
        }
        let mut read = vec![1; bytes.len()];
        file.read_exact_at(&mut read, 0).expect("readable");
        assert!(read == bytes);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().expect("there"));
        assert!(blocks * 512 <= 8 * HOLE_BYTES as u64, "{blocks} blocks are allocated");
    }
}
