//! One open member of a zip file.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use flate2::Crc;

use super::super::interface::OpenFile;
use super::super::stamp::Stamp;
use super::directory::{Member, Method};
use super::inflate::{Packed, Points, check_crc};
use crate::resources::shares::{DEFAULT_BUDGET_BYTES, Shares};
use crate::source::remembered::Remembered;
use crate::sync::lock;

/// Names a deflated member in one state: the number of the storage, the path of the archive, where the member
/// begins in it, and the state.
type Key = (u64, PathBuf, u64, Stamp);

/// What is known of a deflated member; `None` until it has been decoded once. Readers of one member wait
/// while one of them does that, which is why this lock is held across reads of the file.
type Known = Arc<Mutex<Option<Points>>>;

/// Decoders of deflated members of which parts were read lately.
static POINTS: Remembered<Key, Known> =
    Remembered::new(Shares::of(DEFAULT_BUDGET_BYTES).inflated_members());

/// Sets how much is remembered of members.
pub(super) fn remember_at_most(shares: Shares) {
    POINTS.set_limit(shares.inflated_members());
}

/// Forgets what is remembered of members.
pub(super) fn forget_remembered() {
    POINTS.clear();
}

/// Bytes of a local header before the name, and where its fields lie (APPNOTE.TXT, 4.3.7).
pub(super) const HEADER_BYTES: usize = 30;
mod at {
    pub(super) const METHOD: usize = 8;
    pub(super) const NAME_LEN: usize = 26;
    pub(super) const EXTRA_LEN: usize = 28;
}

/// See the module.
#[derive(Debug)]
pub(super) struct OpenMember {
    file: Arc<dyn OpenFile>,
    member: Member,
    /// Where its bytes begin in the file.
    data_at: u64,
    key: Key,
    /// A later change of the archive will have another stamp.
    is_settled: bool,
}

fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged zip member: {reason}"))
}

impl OpenMember {
    /// Opens a member of `file`. `key` names it, and has the stamp of the archive.
    ///
    /// # Errors
    /// `Unsupported` for a member that is not decoded here, `InvalidData` for a damaged one, and the reason of
    /// the storage.
    pub(super) fn open(
        file: Arc<dyn OpenFile>,
        member: Member,
        (storage, archive, stamp): (u64, PathBuf, Stamp),
        is_settled: bool,
    ) -> io::Result<Self> {
        let refused = |reason: String| Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        match member.method {
            Method::Stored if member.packed != member.size => {
                return Err(damaged("it is stored, and has two lengths"));
            }
            Method::Stored | Method::Deflated => {}
            Method::Encrypted => return refused("the zip member is encrypted".to_owned()),
            Method::Other(number) => {
                let reason = format!(
                    "the zip member is compressed by method {number}; \
                     only stored (0) and deflated (8) ones are read"
                );
                return refused(reason);
            }
        }
        let data_at = data_at(&*file, &member, stamp.size())?;
        let end = data_at.checked_add(member.packed);
        if end.is_none_or(|end| end > stamp.size()) {
            return Err(damaged("it does not lie within the archive"));
        }
        Ok(Self {
            file,
            member,
            data_at,
            key: (storage, archive, member.header_at, stamp),
            is_settled,
        })
    }

    fn packed(&self) -> Packed<'_> {
        let Member { packed, size, crc, .. } = self.member;
        Packed { file: &*self.file, range: self.data_at..self.data_at + packed, size, crc }
    }

    fn read_deflated(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let packed = self.packed();
        let known = POINTS.get(&self.key).filter(|_| self.is_settled).unwrap_or_default();
        let mut points = lock(&known);
        if points.is_none() {
            if self.is_settled {
                let bytes = Points::memory_bytes(self.member.size) + size_of::<Key>() as u64;
                POINTS.put(self.key.clone(), known.clone(), bytes);
            }
            *points = Some(packed.look_through()?);
        }
        points.as_ref().map_or(Ok(()), |points| packed.read_part(points, out, offset))
    }
}

/// Where the bytes of a member begin: behind its local header, which must be its own.
fn data_at(file: &dyn OpenFile, member: &Member, size: u64) -> io::Result<u64> {
    let mut header = [0; HEADER_BYTES];
    let end = member.header_at.checked_add(HEADER_BYTES as u64);
    if end.is_none_or(|end| end > size) {
        return Err(damaged("it does not lie within the archive"));
    }
    file.read_exact_at(&mut header, member.header_at)?;
    let number = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let method = match member.method {
        Method::Stored => 0,
        _ => 8,
    };
    let is_own = header.starts_with(b"PK\x03\x04")
        && number(at::METHOD) == method
        && number(at::NAME_LEN) == member.name_len;
    if !is_own {
        return Err(damaged("its header is not where the central directory says"));
    }
    let lengths = number(at::NAME_LEN) + number(at::EXTRA_LEN);
    Ok(member.header_at + HEADER_BYTES as u64 + lengths)
}

impl OpenFile for OpenMember {
    fn stamp(&self) -> io::Result<Stamp> {
        Ok(stamp_of(&self.file.stamp()?, &self.member))
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > self.member.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let is_whole = out.len() as u64 == self.member.size;
        match self.member.method {
            Method::Stored => {
                self.file.read_exact_at(out, self.data_at + offset)?;
                if !is_whole {
                    return Ok(());
                }
                let mut crc = Crc::new();
                crc.update(out);
                check_crc(self.member.crc, crc.sum())
            }
            _ if is_whole => self.packed().read_whole(out),
            _ if out.is_empty() => Ok(()),
            _ => self.read_deflated(out, offset),
        }
    }

    /// Of a stored member all at once, which a storage may fetch in few requests.
    fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Vec<u8>>> {
        let is_part = |range: &Range<u64>| {
            range.start <= range.end
                && range.end <= self.member.size
                && *range != (0..self.member.size)
        };
        if self.member.method == Method::Stored && ranges.iter().all(is_part) {
            let place = |range: &Range<u64>| self.data_at + range.start..self.data_at + range.end;
            return self.file.read_ranges(&ranges.iter().map(place).collect::<Vec<_>>());
        }
        let read = |range: &Range<u64>| {
            let length =
                range.end.checked_sub(range.start).filter(|_| range.end <= self.member.size);
            let length = length.and_then(|length| usize::try_from(length).ok());
            let mut bytes = vec![0; length.ok_or(io::ErrorKind::UnexpectedEof)?];
            self.read_exact_at(&mut bytes, range.start).map(|()| bytes)
        };
        ranges.iter().map(read).collect()
    }
}

/// The state of a member, from that of its archive.
pub(super) fn stamp_of(archive: &Stamp, member: &Member) -> Stamp {
    let Member { crc, header_at, size, .. } = *member;
    archive.within(u128::from(header_at) << 32 | u128::from(crc), size)
}
