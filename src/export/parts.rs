//! Parts of a file that are written apart from each other, and then joined.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::ExportError;
use super::journal::{Header, Journal, sum};
use super::original::ReadDone;
use super::output::Target;
use super::{Original, with_suffix};

/// Most parts of a file.
const PARTS_LIMIT: u32 = 10_000;

/// One of the parts of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// From 1 on.
    number: u32,
    of: u32,
}

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

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Part {
    /// Reads `3/7`.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("is not a part such as 3/7, of at most {PARTS_LIMIT}");
        let (number, of) = text.split_once('/').ok_or_else(expected)?;
        let read = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { digits.parse::<u32>().ok() } else { None }
        };
        match (read(number), read(of)) {
            (Some(number), Some(of)) if (1..=of).contains(&number) && of <= PARTS_LIMIT => {
                Ok(Self { number, of })
            }
            _ => Err(expected()),
        }
    }

    /// The bytes of the file that are this part. Those of all parts follow each other.
    #[must_use]
    pub fn range(self, original: &dyn Original) -> Range<u64> {
        let cut = |number: u32| {
            let at = u128::from(original.size()) * u128::from(number) / u128::from(self.of);
            original.cut_near(u64::try_from(at).unwrap_or(u64::MAX))
        };
        cut(self.number - 1)..cut(self.number)
    }

    /// The file of the part, beside the whole one.
    #[must_use]
    pub(super) fn path(self, whole: &Path) -> PathBuf {
        with_suffix(whole, &format!(".part-{}-of-{}", self.number, self.of))
    }

    /// The part that a name beside `whole` stands for.
    fn of_name(name: &str, whole: &str) -> Option<Self> {
        let rest = name.strip_prefix(whole)?.strip_prefix(".part-")?;
        Self::parse(&rest.replacen("-of-", "/", 1)).ok()
    }
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
        let last = parts.last().expect("at least one");
        if last.header.to != last.header.size {
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
    let own = whole.file_name().unwrap_or_default().to_string_lossy();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        found.extend(Part::of_name(&name.to_string_lossy(), &own));
    }
    Ok(found)
}

impl Written {
    fn open(path: PathBuf) -> Result<Self, ExportError> {
        let file = fs::File::open(&path).map_err(|error| ExportError::file(&path, error))?;
        let journal = Journal::open(&Target::journal_of(&path))?;
        match journal.header()? {
            Some(header) => Ok(Self { path, file, journal, header }),
            None => {
                let reason =
                    "has no journal beside it, so it is not known what it holds; make it again";
                Err(ExportError::Parts { path, reason: reason.to_owned() })
            }
        }
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
            let (start, end) = (piece.start, piece.end);
            let reason = format!("bytes {start} to {end} are not what was written; make it again");
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
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbers_from_one() {
        let part = Part::parse("3/7").expect("a part");
        assert_eq!(part.to_string(), "3/7");
        assert_eq!(part.path(Path::new("a/x.ims")), Path::new("a/x.ims.part-3-of-7"));
        assert_eq!(Part::of_name("x.ims.part-3-of-7", "x.ims"), Some(part));
        for name in
            ["x.ims.part-3-of-7.journal", "x.ims.part", "y.ims.part-3-of-7", "x.ims.part-8-of-7"]
        {
            assert_eq!(Part::of_name(name, "x.ims"), None, "{name}");
        }
        for text in ["", "3", "0/7", "8/7", "+1/7", "1/", "1/99999", "1/7/9"] {
            assert!(Part::parse(text).is_err(), "{text}");
        }
    }
}
