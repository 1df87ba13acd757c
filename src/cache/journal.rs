//! The journal: which bricks are on disk, how long they are, and their checksums.
//!
//! One append-only file: a header, then records, each [`RECORD_BYTES`] long, little-endian.
//!
//! | header | record |
//! |---|---|
//! | magic `ZIMBRICK` | kind: 1 stored, 2 evicted |
//! | format version of the cache folder | 1 for a proven brick, else zero |
//! | record length | space |
//! | | image |
//! | | index |
//! | | slot size |
//! | | brick length |
//! | | xxh3-64 of the brick |
//! | xxh3-64 of what stands before | xxh3-64 of what stands before |
//!
//! The offsets are in [`at`]; all other bytes are zero.
//!
//! Nothing here is synced while bricks come and go: a lost, doubled or damaged record can only make
//! a claim about a slot that the brick's checksum, verified at first use, refutes. The last record
//! of a key counts; a damaged one is skipped and a torn tail is cut.

use std::io::{self, ErrorKind};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::disk::{DiskFile, Folder, Opening};
use super::key::{BrickKey, ImageId};
use super::segment::SlotSize;
use super::version::FORMAT_VERSION;

/// The file, and its replacement while that is written.
const JOURNAL: &str = "journal";
const DRAFT: &str = "journal.new";

const MAGIC: [u8; 8] = *b"ZIMBRICK";
const RECORD_BYTES: usize = 64;

/// Where the fields begin.
mod at {
    // The header.
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION: usize = 8;
    pub(super) const RECORD_BYTES: usize = 12;
    // A record.
    pub(super) const KIND: usize = 0;
    pub(super) const IS_PROVEN: usize = 1;
    pub(super) const SPACE: usize = 2;
    pub(super) const IMAGE: usize = 8;
    pub(super) const INDEX: usize = 24;
    pub(super) const SLOT_BYTES: usize = 32;
    pub(super) const LENGTH: usize = 40;
    pub(super) const CHECKSUM: usize = 48;
    // Both.
    pub(super) const SEAL: usize = super::RECORD_BYTES - 8;
}

const STORED: u8 = 1;
const EVICTED: u8 = 2;

/// Bytes read or written at a time.
const PIECE_BYTES: usize = RECORD_BYTES << 12;

/// Records that may be dead before a rewrite while running is worth it.
const SLACK_RECORDS: u64 = 512;

/// Most bytes of the journal, its draft included, when there are no bricks.
pub(super) const LEAST_BYTES: u64 = (SLACK_RECORDS + 4) * RECORD_BYTES as u64;

/// What each brick adds to that: two records until the next rewrite, one in the draft, and one for
/// bricks that come and go meanwhile.
pub(super) const BYTES_PER_BRICK: u64 = 4 * RECORD_BYTES as u64;

/// What the journal knows of a stored brick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) key: BrickKey,
    pub(super) size: SlotSize,
    pub(super) length: u64,
    pub(super) checksum: u64,
    /// A scan does not evict it; see the recency module.
    pub(super) is_proven: bool,
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
                bytes[at::KIND] = STORED;
                bytes[at::IS_PROVEN] = u8::from(stored.is_proven);
                put(&mut bytes, at::SLOT_BYTES, stored.size.bytes().to_le_bytes());
                put(&mut bytes, at::LENGTH, stored.length.to_le_bytes());
                put(&mut bytes, at::CHECKSUM, stored.checksum.to_le_bytes());
                &stored.key
            }
            Self::Evicted(key) => {
                bytes[at::KIND] = EVICTED;
                key
            }
        };
        put(&mut bytes, at::SPACE, key.space.to_le_bytes());
        put(&mut bytes, at::IMAGE, key.image.0.to_le_bytes());
        put(&mut bytes, at::INDEX, key.index.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// `None` for a record that is damaged or that this program cannot have written.
    fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        if !is_sealed(bytes) {
            return None;
        }
        let key = BrickKey {
            image: ImageId(u128::from_le_bytes(field(bytes, at::IMAGE))),
            space: u16::from_le_bytes(field(bytes, at::SPACE)),
            index: u64::from_le_bytes(field(bytes, at::INDEX)),
        };
        let record = match bytes[at::KIND] {
            STORED => {
                let size = SlotSize::new(u64::from_le_bytes(field(bytes, at::SLOT_BYTES)))?;
                let length = u64::from_le_bytes(field(bytes, at::LENGTH));
                let checksum = u64::from_le_bytes(field(bytes, at::CHECKSUM));
                if !(1..=size.bytes()).contains(&length) {
                    return None;
                }
                Self::Stored(Stored {
                    key,
                    size,
                    length,
                    checksum,
                    is_proven: bytes[at::IS_PROVEN] == 1,
                })
            }
            EVICTED => Self::Evicted(key),
            _ => return None,
        };
        // All other bytes have to be zero.
        (record.encode() == *bytes).then_some(record)
    }
}

fn field<const N: usize>(bytes: &[u8; RECORD_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn put<const N: usize>(bytes: &mut [u8; RECORD_BYTES], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn seal(bytes: &mut [u8; RECORD_BYTES]) {
    let sum = xxh3_64(&bytes[..at::SEAL]);
    put(bytes, at::SEAL, sum.to_le_bytes());
}

fn is_sealed(bytes: &[u8; RECORD_BYTES]) -> bool {
    xxh3_64(&bytes[..at::SEAL]).to_le_bytes() == bytes[at::SEAL..]
}

fn header() -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    put(&mut bytes, at::MAGIC, MAGIC);
    put(&mut bytes, at::VERSION, FORMAT_VERSION.to_le_bytes());
    put(&mut bytes, at::RECORD_BYTES, (RECORD_BYTES as u64).to_le_bytes());
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
    file: Box<dyn DiskFile>,
    end: u64,
    records: u64,
}

impl Journal {
    /// Reads the journal in a folder, giving every intact record to `visit` in order of writing, and
    /// opens it for appending. A missing or foreign one is replaced by an empty one.
    pub(super) fn open(
        folder: &dyn Folder,
        mut visit: impl FnMut(Record),
    ) -> io::Result<(Self, Found)> {
        let (journal, found) = Self::replay(folder, &mut visit)?;
        let journal = journal.map_or_else(|| write_new(folder, std::iter::empty(), true), Ok)?;
        Ok((journal, found))
    }

    fn replay(
        folder: &dyn Folder,
        visit: &mut dyn FnMut(Record),
    ) -> io::Result<(Option<Self>, Found)> {
        let file = match folder.open(Path::new(JOURNAL), Opening::Existing) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((None, Found::Missing));
            }
            Err(error) => return Err(error),
        };
        let length = file.state()?.length;
        let whole = length / RECORD_BYTES as u64;
        if whole == 0 {
            return Ok((None, Found::Foreign));
        }
        let end = whole * RECORD_BYTES as u64;
        let mut buffer = vec![0; PIECE_BYTES];
        let (mut at, mut skipped) = (0, 0);
        while at < end {
            let piece = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let piece = &mut buffer[..piece];
            file.read_exact_at(piece, at)?;
            let (records, _) = piece.as_chunks::<RECORD_BYTES>();
            for record in records {
                if at == 0 {
                    if *record != header() {
                        return Ok((None, Found::Foreign));
                    }
                } else {
                    match Record::decode(record) {
                        Some(record) => visit(record),
                        None => skipped += 1,
                    }
                }
                at += RECORD_BYTES as u64;
            }
        }
        if length > end {
            file.set_len(end)?;
        }
        Ok((Some(Self { file, end, records: whole - 1 }), Found::Replayed { skipped }))
    }

    /// Appends records. On an error none of them counts.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        self.file.write_all_at(&bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.records += records.len() as u64;
        Ok(())
    }

    /// Bytes of the journal with `more` records, and of a rewritten one with `live` records, together.
    pub(super) fn bytes_with(&self, more: u64, live: u64) -> u64 {
        self.end + (more + live + 1) * RECORD_BYTES as u64
    }

    /// Whether dead records outnumber the live ones by enough for a rewrite while running.
    pub(super) fn is_bloated(&self, live: u64) -> bool {
        self.records > live.saturating_mul(2).saturating_add(SLACK_RECORDS)
    }

    /// Whether dead records outnumber the live ones.
    pub(super) fn is_mostly_dead(&self, live: u64) -> bool {
        self.records > live.saturating_mul(2)
    }

    /// Replaces the journal by one of just these bricks, in the order in which they are to be evicted.
    /// On an error the old one stays in use.
    pub(super) fn rewrite(
        &mut self,
        folder: &dyn Folder,
        live: impl Iterator<Item = Stored>,
        durable: bool,
    ) -> io::Result<()> {
        *self = write_new(folder, live, durable)?;
        Ok(())
    }

    /// Waits until the records are on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Writes a journal beside the present one, and renames it into place.
fn write_new(
    folder: &dyn Folder,
    live: impl Iterator<Item = Stored>,
    durable: bool,
) -> io::Result<Journal> {
    let draft = Path::new(DRAFT);
    let write = || {
        let file = folder.open(draft, Opening::Empty)?;
        let mut end = 0;
        let mut piece = header().to_vec();
        for stored in live {
            piece.extend(Record::Stored(stored).encode());
            if piece.len() >= PIECE_BYTES {
                file.write_all_at(&piece, end)?;
                end += piece.len() as u64;
                piece.clear();
            }
        }
        file.write_all_at(&piece, end)?;
        end += piece.len() as u64;
        if durable {
            file.sync()?;
        }
        folder.rename(draft, Path::new(JOURNAL))?;
        let records = end / RECORD_BYTES as u64 - 1;
        Ok(Journal { file, end, records })
    };
    write().inspect_err(|_| drop(folder.remove_file(draft)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::super::disk::{Disk, LocalDisk};
    use super::*;

    fn stored(index: u64) -> Stored {
        Stored {
            key: BrickKey { image: ImageId(u128::MAX - 5), space: 9, index },
            size: SlotSize::new(70_000).unwrap(),
            length: 65_537,
            checksum: 0x0123_4567_89ab_cdef,
            is_proven: index.is_multiple_of(2),
        }
    }

    fn read(folder: &dyn Folder) -> (Vec<Record>, Found) {
        let mut records = Vec::new();
        let (_, found) = Journal::open(folder, |record| records.push(record)).unwrap();
        (records, found)
    }

    fn folder() -> (tempfile::TempDir, Arc<dyn Folder>) {
        let dir = tempfile::tempdir().unwrap();
        let folder = LocalDisk.enter(dir.path()).unwrap();
        (dir, folder)
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
        let (dir, folder) = folder();
        let path = dir.path().join(JOURNAL);
        let (mut journal, found) = Journal::open(&*folder, |_| ()).unwrap();
        assert_eq!(found, Found::Missing);
        let all = [0, 1, 2, 3].map(|index| Record::Stored(stored(index)));
        journal.append(&all[..2]).unwrap();
        journal.append(&all[2..]).unwrap();
        drop(journal);

        let mut bytes = fs::read(&path).unwrap();
        bytes[RECORD_BYTES * 2 + 30] ^= 1;
        bytes.truncate(RECORD_BYTES * 5 - 1);
        fs::write(&path, &bytes).unwrap();
        let (records, found) = read(&*folder);
        assert_eq!(records, [all[0], all[2]]);
        assert_eq!(found, Found::Replayed { skipped: 1 });
        assert_eq!(fs::metadata(&path).unwrap().len(), RECORD_BYTES as u64 * 4);

        let (mut journal, _) = Journal::open(&*folder, |_| ()).unwrap();
        journal.append(&[Record::Evicted(stored(0).key)]).unwrap();
        assert_eq!(read(&*folder).0.last(), Some(&Record::Evicted(stored(0).key)));
        journal.rewrite(&*folder, [stored(5), stored(6)].into_iter(), true).unwrap();
        journal.append(&[all[1]]).unwrap();
        let expected = [Record::Stored(stored(5)), Record::Stored(stored(6)), all[1]];
        assert_eq!(read(&*folder).0, expected);
    }

    #[test]
    fn a_long_journal_is_read_in_pieces() {
        let (_dir, folder) = folder();
        let (mut journal, _) = Journal::open(&*folder, |_| ()).unwrap();
        let many = PIECE_BYTES as u64 / RECORD_BYTES as u64 * 2 + 7;
        journal.rewrite(&*folder, (0..many).map(stored), false).unwrap();
        let expected: Vec<Record> = (0..many).map(|index| Record::Stored(stored(index))).collect();
        assert!(read(&*folder) == (expected, Found::Replayed { skipped: 0 }));
    }

    #[test]
    fn another_version_is_foreign() {
        let (dir, folder) = folder();
        let mut other = header();
        other[at::VERSION] ^= 1;
        seal(&mut other);
        for bytes in [&other[..], &header()[..RECORD_BYTES - 1], b"", &[0; 640]] {
            fs::write(dir.path().join(JOURNAL), bytes).unwrap();
            assert_eq!(read(&*folder), (vec![], Found::Foreign));
            assert_eq!(read(&*folder), (vec![], Found::Replayed { skipped: 0 }));
        }
    }
}
