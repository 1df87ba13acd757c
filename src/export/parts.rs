//! Parts of a file that are written apart from each other, and then joined.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::Original;
use super::error::ExportError;
use super::journal::{Header, Journal, sum};
use super::original::ReadDone;
use super::part::Part;
use super::target::Target;

/// The parts of a file, all of them complete.
#[derive(Debug)]
pub struct Parts {
    /// In the order of the file.
    parts: Vec<Written>,
}

/// A part on the disk.
#[derive(Debug)]
struct Written {
    path: PathBuf,
    file: fs::File,
    journal: Journal,
    header: Header,
}

impl Parts {
    /// Finds the parts of a file beside it.
    ///
    /// # Errors
    /// [`ExportError::Parts`] where one is missing, incomplete, or of another state of the image.
    pub fn open(whole: &Path) -> Result<Self, ExportError> {
        let refuse = |path: &Path, reason: &str| ExportError::Parts {
            path: path.to_path_buf(),
            reason: reason.to_owned(),
        };
        let found = find(whole)?;
        let Some(of) = found.iter().map(|part| part.of).max() else {
            return Err(refuse(whole, "has no parts beside it; make them with --part 1/N to N/N"));
        };
        if let Some(other) = found.iter().find(|part| part.of != of) {
            let reason = format!(
                "is one of {}, and there are parts of {of}; remove those that are old",
                other.of
            );
            return Err(refuse(&other.path(whole), &reason));
        }
        let mut parts: Vec<Written> = Vec::new();
        for number in 1..=of {
            let path = Part { number, of }.path(whole);
            if !found.iter().any(|part| part.number == number) {
                return Err(refuse(
                    &path,
                    &format!("is missing; make it with --part {number}/{of}"),
                ));
            }
            let mut part = Written::open(path.clone())?;
            let end = part.journal.replay(&mut |_, _| Ok(true))?;
            let len = part.file.metadata().map_err(|error| ExportError::file(&path, error))?.len();
            let Header { from, to, .. } = part.header;
            if end < to || len != to - from {
                return Err(refuse(
                    &path,
                    &format!("is not complete; go on with --part {number}/{of}"),
                ));
            }
            let before = parts.last().map_or(0, |before| before.header.to);
            let first = parts.first().map_or(&part.header, |first| &first.header);
            let is_one = (&first.image, first.size) == (&part.header.image, part.header.size);
            if !is_one || from != before {
                return Err(refuse(
                    &path,
                    "is of another state of the image than the parts before it; make it again",
                ));
            }
            parts.push(part);
        }
        if let Some(last) = parts.last().filter(|last| last.header.to != last.header.size) {
            return Err(refuse(&last.path, "does not reach the end of the file; make it again"));
        }
        Ok(Self { parts })
    }

    /// Removes the parts, of which the whole file has been made.
    pub fn remove(self) {
        for part in self.parts {
            // What cannot be removed does no harm.
            let _ = fs::remove_file(&part.path);
            let _ = fs::remove_file(Target::journal_of(&part.path));
        }
    }

    fn holding(&self, at: u64) -> &Written {
        let number = self.parts.partition_point(|part| part.header.to <= at);
        &self.parts[number.min(self.parts.len() - 1)]
    }
}

/// The parts of a file that are beside it.
fn find(whole: &Path) -> Result<Vec<Part>, ExportError> {
    let folder = whole.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let failed = |error| ExportError::file(folder, error);
    let own = whole.file_name().unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        found.extend(Part::of_name(&name, own));
    }
    Ok(found)
}

impl Written {
    fn open(path: PathBuf) -> Result<Self, ExportError> {
        let file = fs::File::open(&path).map_err(|error| ExportError::file(&path, error))?;
        let journal = Journal::open(&Target::journal_of(&path))?;
        let Some(header) = journal.header()? else {
            let reason =
                "has no journal beside it, so it is not known what it holds; make it again";
            return Err(ExportError::Parts { path, reason: reason.to_owned() });
        };
        Ok(Self { path, file, journal, header })
    }

    /// The bytes of a piece, compared with its checksum.
    fn read(&self, piece: &Range<u64>) -> Result<Vec<u8>, ExportError> {
        let failed = |error| ExportError::file(&self.path, error);
        let mut bytes = vec![0; usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX)];
        let at = piece.start - self.header.from;
        self.file.read_exact_at(&mut bytes, at).map_err(failed)?;
        let record = self.journal.record_at(piece.start)?;
        if record
            .is_none_or(|record| record.end == piece.end && record.sum != sum(&bytes, piece.start))
        {
            // The same command makes these bytes, and what lies behind them, once more.
            self.journal.cut(piece.start)?;
            let (start, end) = (piece.start, piece.end);
            let reason = format!(
                "bytes {start} to {end} are not what was written; make it again with the same --part"
            );
            return Err(ExportError::Parts { path: self.path.clone(), reason });
        }
        Ok(bytes)
    }
}

impl Original for Parts {
    fn identity(&self) -> String {
        self.parts[0].header.image.clone()
    }

    fn size(&self) -> u64 {
        self.parts[0].header.size
    }

    fn end_of_piece(&self, from: u64) -> u64 {
        let part = self.holding(from);
        // What cannot be read fails when the piece is read.
        part.journal.record_at(from).ok().flatten().map_or(part.header.to, |record| record.end)
    }

    fn cut_near(&self, offset: u64) -> u64 {
        self.holding(offset).header.from
    }

    fn read(&self, from: u64, to: u64, done: ReadDone) {
        let read = self.holding(from).read(&(from..to));
        match read {
            Ok(bytes) => done(Ok(&bytes)),
            Err(error) => done(Err(error)),
        }
    }
}
