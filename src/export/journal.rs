//! The journal of an export: what is certain to be on the disk.
//!
//! A line of JSON says what is being written. Behind it stands a record of 24 bytes for each piece, in the order of
//! the file and without gaps: the end of the piece, a checksum of its bytes, and a checksum of the record itself. A
//! record is written only when its piece is on the disk, so a torn record at the end is one that does not count.
//!
//! The journal holds no bytes of the file. If it is lost or does not fit, the export begins again.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::error::ExportError;

/// Version of the journal and of the order of pieces.
const VERSION: u32 = 1;

const RECORD_BYTES: usize = 24;

/// Longest first line.
const HEADER_LIMIT_BYTES: u64 = 4096;

/// What is being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Version of the journal.
    zarrims_export: u32,
    /// Identity of the image in the state that is written.
    pub(super) image: String,
    /// Bytes of the whole file.
    pub(super) size: u64,
    /// The bytes that are written here, half-open.
    pub(super) from: u64,
    /// Their end.
    pub(super) to: u64,
}

/// A piece that is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Where it ends in the file; it begins at the end of the one before.
    pub(super) end: u64,
    /// [`sum`] of its bytes.
    pub(super) sum: u64,
}

/// The journal of an export under way.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Header {
    pub(super) fn new(image: String, size: u64, range: Range<u64>) -> Self {
        Self { zarrims_export: VERSION, image, size, from: range.start, to: range.end }
    }
}

impl Record {
    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.end.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sum.to_le_bytes());
        let check = xxh3_64_with_seed(&bytes[..16], u64::from(VERSION));
        bytes[16..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let record = Self { end: number(0), sum: number(8) };
        (record.to_bytes() == *bytes).then_some(record)
    }
}

/// Checksum of the bytes of a piece, which depends on their place.
pub(super) fn sum(bytes: &[u8], start: u64) -> u64 {
    xxh3_64_with_seed(bytes, start)
}

impl Journal {
    /// Opens a journal, or makes one.
    pub(super) fn open(path: &Path) -> Result<Self, ExportError> {
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| ExportError::file(path, error))?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// What it says is being written; `None` where it says nothing that can be read.
    pub(super) fn header(&self) -> Result<Option<Header>, ExportError> {
        Ok(self.read_header().map_err(|error| self.failed(error))?.map(|(header, _)| header))
    }

    fn read_header(&self) -> io::Result<Option<(Header, u64)>> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))?;
        let mut line = Vec::new();
        BufReader::new(file.take(HEADER_LIMIT_BYTES)).read_until(b'\n', &mut line)?;
        let is_whole = line.last() == Some(&b'\n');
        let header = serde_json::from_slice::<Header>(&line).ok();
        Ok(header
            .filter(|header| is_whole && header.zarrims_export == VERSION)
            .map(|header| (header, line.len() as u64)))
    }

    /// Begins again.
    pub(super) fn begin(&mut self, header: &Header) -> Result<(), ExportError> {
        let line = serde_json::to_string(header).expect("text and numbers") + "\n";
        let begin = || {
            let mut file = &self.file;
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(line.as_bytes())?;
            file.sync_all()
        };
        begin().map_err(|error| self.failed(error))
    }

    /// Calls `each` with the range and the checksum of every piece, in order, until it returns false. Returns the
    /// end of the last piece that it returned true for; what stands behind is dropped, as new records follow there.
    pub(super) fn replay(
        &mut self,
        each: &mut dyn FnMut(Range<u64>, u64) -> Result<bool, ExportError>,
    ) -> Result<u64, ExportError> {
        let found = self.read_header().map_err(|error| self.failed(error))?;
        let (header, mut at) = found.expect("begun");
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at)).map_err(|error| self.failed(error))?;
        let mut reader = BufReader::new(file);
        let mut end = header.from;
        let mut bytes = [0; RECORD_BYTES];
        while reader.read_exact(&mut bytes).is_ok() {
            let Some(record) = Record::of_bytes(&bytes) else { break };
            let is_next = record.end > end && record.end <= header.to;
            if !is_next || !each(end..record.end, record.sum)? {
                break;
            }
            end = record.end;
            at += RECORD_BYTES as u64;
        }
        let cut = || {
            let mut file = &self.file;
            file.set_len(at)?;
            file.seek(SeekFrom::Start(at))
        };
        cut().map_err(|error| self.failed(error))?;
        Ok(end)
    }

    /// How many pieces are in it, all of them whole after a replay.
    pub(super) fn pieces(&self) -> Result<u64, ExportError> {
        let count = || self.read_header()?.map_or(Ok(0), |(_, first)| self.count(first));
        count().map_err(|error| self.failed(error))
    }

    /// Where each of `count` pieces ends, from piece number `first` on, behind the end of the one before.
    pub(super) fn ends(&self, first: u64, count: u64) -> Result<Vec<u64>, ExportError> {
        let read = || {
            let (header, records) = self.read_header()?.expect("begun");
            let mut ends = Vec::new();
            let before = if first == 0 {
                ends.push(header.from);
                0
            } else {
                1
            };
            let mut file = &self.file;
            file.seek(SeekFrom::Start(records + (first - before) * RECORD_BYTES as u64))?;
            let mut reader = BufReader::new(file);
            let mut bytes = [0; RECORD_BYTES];
            for _ in 0..before + count {
                reader.read_exact(&mut bytes)?;
                let record = Record::of_bytes(&bytes);
                ends.push(record.ok_or_else(|| io::Error::other("the journal is damaged"))?.end);
            }
            io::Result::Ok(ends)
        };
        read().map_err(|error| self.failed(error))
    }

    /// The record of the piece that begins at `start`, or holds it.
    pub(super) fn record_at(&self, start: u64) -> Result<Option<Record>, ExportError> {
        let found = self.search(start);
        found.map_err(|error| self.failed(error))
    }

    fn search(&self, start: u64) -> io::Result<Option<Record>> {
        let Some((_, first)) = self.read_header()? else { return Ok(None) };
        let number = self.number_of(start, first)?;
        if number == self.count(first)? { Ok(None) } else { self.record(number, first) }
    }

    /// Records behind the header, which ends at `first`.
    fn count(&self, first: u64) -> io::Result<u64> {
        Ok((self.file.metadata()?.len() - first) / RECORD_BYTES as u64)
    }

    fn record(&self, number: u64, first: u64) -> io::Result<Option<Record>> {
        let mut bytes = [0; RECORD_BYTES];
        self.file.read_exact_at(&mut bytes, first + number * RECORD_BYTES as u64)?;
        Ok(Record::of_bytes(&bytes))
    }

    /// The number of the first record that does not end at or before `start`, or is torn.
    fn number_of(&self, start: u64, first: u64) -> io::Result<u64> {
        let (mut low, mut high) = (0, self.count(first)?);
        while low < high {
            let middle = low.midpoint(high);
            match self.record(middle, first)? {
                Some(found) if found.end <= start => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Drops the record of the piece that begins at `start`, and all behind it: the next run writes them again.
    pub(super) fn cut(&self, start: u64) -> Result<(), ExportError> {
        let cut = || {
            let Some((_, first)) = self.read_header()? else { return Ok(()) };
            let number = self.number_of(start, first)?;
            self.file.set_len(first + number * RECORD_BYTES as u64)
        };
        cut().map_err(|error| self.failed(error))
    }

    /// Adds pieces that are on the disk.
    pub(super) fn append(&self, records: &[Record]) -> Result<(), ExportError> {
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.to_bytes()).collect();
        let mut file = &self.file;
        let append = file.write_all(&bytes).and_then(|()| file.sync_data());
        append.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> ExportError {
        ExportError::file(&self.path, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(journal: &mut Journal) -> (u64, Vec<Range<u64>>) {
        let mut seen = Vec::new();
        let end = journal.replay(&mut |range, _| {
            seen.push(range);
            Ok(true)
        });
        (end.expect("readable"), seen)
    }

    #[test]
    fn whole_records_count_up_to_the_first_that_is_torn() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let header = Header::new("id".to_owned(), 100, 10..90);
        let mut journal = Journal::open(&path).expect("opens");
        assert_eq!(journal.header().expect("readable"), None);
        journal.begin(&header).expect("writable");
        let records = [20, 50, 90].map(|end| Record { end, sum: sum(b"x", end) });
        journal.append(&records).expect("writable");
        assert_eq!(ends(&mut journal), (90, vec![10..20, 20..50, 50..90]));
        let whole = std::fs::read(&path).expect("there");
        for cut in 0..=3 * RECORD_BYTES {
            std::fs::write(&path, &whole[..whole.len() - cut]).expect("writable");
            let mut journal = Journal::open(&path).expect("opens");
            assert_eq!(journal.header().expect("readable"), Some(header.clone()));
            let count = (3 * RECORD_BYTES - cut) / RECORD_BYTES;
            assert_eq!(ends(&mut journal).1.len(), count);
            // New records follow the whole ones.
            journal.append(&records[count..]).expect("writable");
            assert_eq!(ends(&mut journal).0, 90);
        }
        let mut damaged = whole.clone();
        let at = damaged.len() - 2 * RECORD_BYTES;
        damaged[at] ^= 1;
        std::fs::write(&path, &damaged).expect("writable");
        assert_eq!(ends(&mut Journal::open(&path).expect("opens")).0, 20);
    }

    #[test]
    fn another_first_line_is_no_journal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        for text in [
            "",
            "{}\n",
            "{\"zarrims_export\":2,\"image\":\"\",\"size\":1,\"from\":0,\"to\":1}\n",
            "\u{0}\u{0}",
        ] {
            std::fs::write(&path, text).expect("writable");
            assert_eq!(Journal::open(&path).expect("opens").header().expect("readable"), None);
        }
    }
}
