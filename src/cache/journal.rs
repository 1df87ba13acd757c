//! The journal: which bricks are on disk, how long they are, and their checksums.
//!
//! One append-only file: a header, then records, each [`RECORD_BYTES`] long, little-endian.
//!
//! | header | bytes | record | bytes |
//! |---|---|---|---|
//! | magic `ZIMBRICK` | 0..8 | kind: 1 stored, 2 evicted | 0 |
//! | format version | 8..12 | zero | 1 |
//! | record length | 12..16 | space | 2..4 |
//! | zero | 16..56 | zero | 4..8 |
//! | xxh3-64 of 0..56 | 56..64 | image | 8..24 |
//! | | | index | 24..32 |
//! | | | slot size | 32..40 |
//! | | | brick length | 40..48 |
//! | | | xxh3-64 of the brick | 48..56 |
//! | | | xxh3-64 of 0..56 | 56..64 |
//!
//! Nothing here is synced while bricks come and go: a lost, doubled or damaged record can only make
//! a claim about a slot that the brick's checksum, verified at first use, refutes. The last record
//! of a key counts; a damaged one is skipped and a torn tail is cut.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::segment::{SlotSize, options};
use super::{BrickKey, CacheError, ImageId};

const MAGIC: [u8; 8] = *b"ZIMBRICK";
const VERSION: u32 = 1;
const RECORD_BYTES: usize = 64;
const CHECKED_BYTES: usize = 56;

const STORED: u8 = 1;
const EVICTED: u8 = 2;

/// Records that may be dead before a rewrite while running is worth it. Few in tests, so that they
/// see rewrites.
const SLACK_RECORDS: u64 = if cfg!(test) { 64 } else { 1 << 16 };

/// What the journal knows of a stored brick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) key: BrickKey,
    pub(super) size: SlotSize,
    pub(super) length: u64,
    pub(super) checksum: u64,
}

/// One journal record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Stored(Stored),
    Evicted(BrickKey),
}

impl Record {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let key = match self {
            Self::Stored(stored) => {
                bytes[0] = STORED;
                bytes[32..40].copy_from_slice(&stored.size.bytes().to_le_bytes());
                bytes[40..48].copy_from_slice(&stored.length.to_le_bytes());
                bytes[48..56].copy_from_slice(&stored.checksum.to_le_bytes());
                &stored.key
            }
            Self::Evicted(key) => {
                bytes[0] = EVICTED;
                key
            }
        };
        bytes[2..4].copy_from_slice(&key.space.to_le_bytes());
        bytes[8..24].copy_from_slice(&key.image.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&key.index.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// None for a record that is damaged or that this program cannot have written.
    fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        if !is_sealed(bytes) {
            return None;
        }
        let key = BrickKey {
            image: ImageId(u128::from_le_bytes(field(bytes, 8))),
            space: u16::from_le_bytes(field(bytes, 2)),
            index: u64::from_le_bytes(field(bytes, 24)),
        };
        match bytes[0] {
            STORED => {
                let size = SlotSize::new(u64::from_le_bytes(field(bytes, 32)))?;
                let length = u64::from_le_bytes(field(bytes, 40));
                let checksum = u64::from_le_bytes(field(bytes, 48));
                (1..=size.bytes()).contains(&length).then_some(Self::Stored(Stored {
                    key,
                    size,
                    length,
                    checksum,
                }))
            }
            EVICTED => Some(Self::Evicted(key)),
            _ => None,
        }
    }
}

fn field<const N: usize>(bytes: &[u8; RECORD_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn seal(bytes: &mut [u8; RECORD_BYTES]) {
    let sum = xxh3_64(&bytes[..CHECKED_BYTES]);
    bytes[CHECKED_BYTES..].copy_from_slice(&sum.to_le_bytes());
}

fn is_sealed(bytes: &[u8; RECORD_BYTES]) -> bool {
    xxh3_64(&bytes[..CHECKED_BYTES]).to_le_bytes() == bytes[CHECKED_BYTES..]
}

fn header() -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&64_u32.to_le_bytes());
    seal(&mut bytes);
    bytes
}

/// How an existing journal was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// There was none.
    Missing,
    /// Read to its end, with this many damaged records skipped.
    Replayed { skipped: u64 },
    /// Not a journal of this format version; nothing was read.
    Foreign,
}

/// The open journal. Records are written at a known position, so one that failed half way is
/// overwritten by the next.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    end: u64,
    records: u64,
    /// So many records make it worth while to count the live ones.
    check_at: u64,
}

impl Journal {
    /// Reads the journal at `path`, giving every intact record to `visit` in order of writing, and
    /// opens it for appending. A missing or foreign one is replaced by an empty one.
    pub(super) fn open(
        path: &Path,
        mut visit: impl FnMut(Record),
    ) -> Result<(Self, Found), CacheError> {
        let mut open = || {
            let (journal, found) = Self::replay(path, &mut visit)?;
            let journal = journal.map_or_else(|| Self::empty(path), Ok)?;
            Ok((journal, found))
        };
        open().map_err(|source| CacheError::Journal { path: path.into(), source })
    }

    fn empty(path: &Path) -> io::Result<Self> {
        let (file, end) = write_new(path, std::iter::empty(), true)?;
        Ok(Self { path: path.into(), file, end, records: 0, check_at: SLACK_RECORDS })
    }

    fn replay(path: &Path, visit: &mut dyn FnMut(Record)) -> io::Result<(Option<Self>, Found)> {
        let file = match options().open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((None, Found::Missing));
            }
            Err(error) => return Err(error),
        };
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut bytes = [0; RECORD_BYTES];
        if !read_whole(&mut reader, &mut bytes)? || bytes != header() {
            return Ok((None, Found::Foreign));
        }
        let (mut records, mut skipped) = (0, 0);
        while read_whole(&mut reader, &mut bytes)? {
            records += 1;
            match Record::decode(&bytes) {
                Some(record) => visit(record),
                None => skipped += 1,
            }
        }
        drop(reader);
        let end = (records + 1) * RECORD_BYTES as u64;
        if file.metadata()?.len() > end {
            file.set_len(end)?;
        }
        let journal = Self { path: path.into(), file, end, records, check_at: SLACK_RECORDS };
        Ok((Some(journal), Found::Replayed { skipped }))
    }

    /// Appends records. On an error none of them counts.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), CacheError> {
        let bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        self.file
            .write_all_at(&bytes, self.end)
            .map_err(|source| CacheError::Journal { path: self.path.clone(), source })?;
        self.end += bytes.len() as u64;
        self.records += records.len() as u64;
        Ok(())
    }

    /// Whether a rewrite may pay; the caller counts live bricks only then.
    pub(super) fn may_be_bloated(&self) -> bool {
        self.records > self.check_at
    }

    /// Whether dead records outnumber the live ones by enough for a rewrite while running. If not,
    /// the question need not be asked again soon.
    pub(super) fn is_bloated(&mut self, live: u64) -> bool {
        self.check_at = live.saturating_mul(2).saturating_add(SLACK_RECORDS);
        self.records > self.check_at
    }

    /// After a rewrite that failed: not to be tried again with every record.
    pub(super) fn put_off_rewrite(&mut self) {
        self.check_at = self.records.saturating_add(SLACK_RECORDS);
    }

    /// Whether dead records outnumber the live ones.
    pub(super) fn is_mostly_dead(&self, live: u64) -> bool {
        self.records > live.saturating_mul(2)
    }

    /// Replaces the journal by one that holds just these bricks, least recently used first. On an
    /// error the old one stays in use.
    pub(super) fn rewrite(
        &mut self,
        live: impl ExactSizeIterator<Item = Stored>,
        durable: bool,
    ) -> Result<(), CacheError> {
        let records = live.len() as u64;
        let (file, end) = write_new(&self.path, live, durable)
            .map_err(|source| CacheError::Journal { path: self.path.clone(), source })?;
        (self.file, self.end, self.records) = (file, end, records);
        Ok(())
    }

    /// Waits until the records are on disk.
    pub(super) fn sync(&self) -> Result<(), CacheError> {
        self.file
            .sync_data()
            .map_err(|source| CacheError::Journal { path: self.path.clone(), source })
    }
}

/// Writes a journal beside `path` and renames it into place.
fn write_new(
    path: &Path,
    live: impl Iterator<Item = Stored>,
    durable: bool,
) -> io::Result<(File, u64)> {
    let draft = path.with_extension("new");
    let write = || {
        let mut file = options().create(true).truncate(true).open(&draft)?;
        let mut writer = BufWriter::with_capacity(1 << 18, &mut file);
        writer.write_all(&header())?;
        let mut end = RECORD_BYTES as u64;
        for stored in live {
            writer.write_all(&Record::Stored(stored).encode())?;
            end += RECORD_BYTES as u64;
        }
        writer.flush()?;
        drop(writer);
        if durable {
            file.sync_data()?;
        }
        fs::rename(&draft, path)?;
        Ok((file, end))
    };
    write().inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// False at the end of the file, or at a last record that is not whole.
fn read_whole(reader: &mut impl Read, bytes: &mut [u8; RECORD_BYTES]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(index: u64) -> Stored {
        Stored {
            key: BrickKey { image: ImageId(u128::MAX - 5), space: 9, index },
            size: SlotSize::new(70_000).unwrap(),
            length: 65_537,
            checksum: 0x0123_4567_89ab_cdef,
        }
    }

    fn read(path: &Path) -> (Vec<Record>, Found) {
        let mut records = Vec::new();
        let (_, found) = Journal::open(path, |record| records.push(record)).unwrap();
        (records, found)
    }

    #[test]
    fn records_survive_a_reopening_and_every_flipped_bit_is_noticed() {
        let record = Record::Stored(stored(1 << 50));
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Some(record));
        for bit in 0..RECORD_BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_damaged_record_is_skipped_and_a_torn_tail_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, found) = Journal::open(&path, |_| ()).unwrap();
        assert_eq!(found, Found::Missing);
        let all = [0, 1, 2, 3].map(|index| Record::Stored(stored(index)));
        journal.append(&all[..2]).unwrap();
        journal.append(&all[2..]).unwrap();
        drop(journal);

        let mut bytes = fs::read(&path).unwrap();
        bytes[RECORD_BYTES * 2 + 30] ^= 1;
        bytes.truncate(RECORD_BYTES * 5 - 1);
        fs::write(&path, &bytes).unwrap();
        let (records, found) = read(&path);
        assert_eq!(records, [all[0], all[2]]);
        assert_eq!(found, Found::Replayed { skipped: 1 });
        assert_eq!(fs::metadata(&path).unwrap().len(), RECORD_BYTES as u64 * 4);

        let (mut journal, _) = Journal::open(&path, |_| ()).unwrap();
        journal.append(&[Record::Evicted(stored(0).key)]).unwrap();
        assert_eq!(read(&path).0.last(), Some(&Record::Evicted(stored(0).key)));
        journal.rewrite([stored(5), stored(6)].into_iter(), true).unwrap();
        journal.append(&[all[1]]).unwrap();
        assert_eq!(read(&path).0, [Record::Stored(stored(5)), Record::Stored(stored(6)), all[1]]);
    }

    #[test]
    fn another_version_is_foreign() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut other = header();
        other[8] = 2;
        seal(&mut other);
        for bytes in [&other[..], &header()[..63], b"", &[0; 640]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path), (vec![], Found::Foreign));
            assert_eq!(read(&path), (vec![], Found::Replayed { skipped: 0 }));
        }
    }
}
