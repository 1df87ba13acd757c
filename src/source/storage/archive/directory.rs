//! What a zip file says it holds: its central directory, kept in few bytes and in the order of the names.
//!
//! Source: APPNOTE.TXT 6.3.10 (PKWARE). Of two members with one name the last one counts, as it does for
//! `zipfile` of Python, and so for zarr-python. Folders are what the names imply.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;

use rawzip::extra_fields::ExtraFieldId;
use rawzip::{MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ReaderAt, ZipFileHeaderRecord, ZipLocator};

use super::super::interface::{FileKind, FolderName, OpenFile};
use crate::source::place::METADATA_FILES;

/// Most members of an archive, and most memory for their names and numbers: about 40 bytes each in all.
const MOST_MEMBERS: usize = 1 << 20;
const MOST_BYTES: usize = 64 << 20;

/// The end of the central directory begins within this distance of the end of the file, in bytes: a comment has at
/// most 65 535, and some programs fill up the last block.
pub(super) const SEARCHED_BYTES: u64 = 128 << 10;

/// Characters of the name of a refused member that a message quotes.
const QUOTED_CHARS: usize = 64;

/// First bytes of a zip file: of a member, of the end of an empty one, of one in several parts.
const SIGNATURES: [&[u8; 4]; 3] = [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"];

/// How the bytes of a member are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// As they are.
    Stored,
    /// By deflate (RFC 1951).
    Deflated,
    /// Encrypted, by whatever method.
    Encrypted,
    /// By a method that is not decoded here; its number.
    Other(u16),
}

impl Method {
    /// The number of the method, and one beyond all of them for encrypted members.
    fn code(self) -> u64 {
        match self {
            Self::Stored => 0,
            Self::Deflated => 8,
            Self::Other(number) => number.into(),
            Self::Encrypted => 1 << 16,
        }
    }

    fn of_code(code: u64) -> Self {
        match u16::try_from(code) {
            Ok(0) => Self::Stored,
            Ok(8) => Self::Deflated,
            Ok(other) => Self::Other(other),
            Err(_) => Self::Encrypted,
        }
    }
}

/// A member as the central directory has it. Lengths and offsets are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) method: Method,
    /// CRC-32 of its bytes.
    pub(super) crc: u32,
    /// Where its local header begins in the file.
    pub(super) header_at: u64,
    /// Length in the file.
    pub(super) packed: u64,
    /// Length of its bytes.
    pub(super) size: u64,
    /// Length of its name as it is written in its local header.
    pub(super) name_len: u64,
}

/// What stands at a path in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    File(Member),
    Folder,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Of each member: its name and its numbers.
    records: Vec<u8>,
    /// Where each record begins, in the order of the names.
    order: Vec<u32>,
    refused: usize,
    first_refused: String,
    has_zarr: bool,
}

/// A file as `rawzip` reads it.
struct Bytes<'a> {
    file: &'a dyn OpenFile,
    size: u64,
}

impl ReaderAt for Bytes<'_> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = out.len().min(left);
        self.file.read_exact_at(&mut out[..len], offset)?;
        Ok(len)
    }
}

/// An archive that cannot be read, and why.
pub(super) fn damaged(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged zip file: {reason}"))
}

/// What `rawzip` says, in our words.
fn explained(error: rawzip::Error) -> io::Error {
    use rawzip::ErrorKind as Kind;
    match error.into_kind() {
        Kind::IO(error) => error,
        Kind::MissingEndOfCentralDirectory => {
            damaged("it has no central directory; it may not be written completely")
        }
        Kind::Eof | Kind::InvalidEndOfCentralDirectory => {
            damaged("its central directory does not lie within it")
        }
        _ => damaged("its central directory has a malformed entry"),
    }
}

impl Directory {
    /// Reads the central directory of a file of `size` bytes; `None` if it is no zip file. With
    /// `is_promised`, other bytes may come before the archive, as in one that extracts itself.
    ///
    /// # Errors
    /// The reason of the storage; `InvalidData` for a zip file that is damaged.
    pub(super) fn read(
        file: &dyn OpenFile,
        size: u64,
        is_promised: bool,
    ) -> io::Result<Option<Self>> {
        let mut start = [0; 4];
        let looks_like_zip = size >= 4 && {
            file.read_exact_at(&mut start, 0)?;
            SIGNATURES.contains(&&start)
        };
        if !looks_like_zip && !is_promised {
            return Ok(None);
        }
        let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let bytes = Bytes { file, size };
        let located = ZipLocator::new().max_search_space(SEARCHED_BYTES).locate_in_reader(
            bytes,
            &mut buffer,
            size,
        );
        let archive = match located {
            Ok(archive) => archive,
            Err((_, error)) => {
                let is_missing =
                    matches!(error.kind(), rawzip::ErrorKind::MissingEndOfCentralDirectory);
                return if is_missing && !looks_like_zip {
                    Ok(None)
                } else {
                    Err(explained(error))
                };
            }
        };
        check_one_file(file, archive.eocd_offset())?;
        let stated = archive.entries_hint();
        let mut directory = Self::default();
        let mut number: u64 = 0;
        let mut entries = archive.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(explained)? {
            number += 1;
            directory.add(&entry)?;
        }
        // Old programs count modulo 65 536.
        if number.wrapping_sub(stated) % (1 << 16) != 0 {
            return Err(damaged(&format!("it lists {number} members and states {stated}")));
        }
        directory.sort();
        Ok(Some(directory))
    }

    fn add(&mut self, entry: &ZipFileHeaderRecord<'_>) -> io::Result<()> {
        let path = entry.file_path();
        let raw = path.as_bytes();
        if raw.ends_with(b"/") {
            return Ok(());
        }
        let Some(name) = usable(raw) else {
            if self.refused == 0 {
                let told = String::from_utf8_lossy(raw);
                self.first_refused = told.chars().take(QUOTED_CHARS).collect();
            }
            self.refused += 1;
            return Ok(());
        };
        if self.order.len() >= MOST_MEMBERS || self.records.len() >= MOST_BYTES {
            let reason = format!(
                "a zip file of more than {MOST_MEMBERS} members, or of names of more than {} MiB, is not read",
                MOST_BYTES >> 20
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        if lacks_zip64(entry) {
            return Err(damaged("it has an entry without the 64-bit numbers that it announces"));
        }
        let start = u32::try_from(self.records.len()).map_err(io::Error::other)?;
        let method = entry.compression_method().as_u16();
        let method = if entry.flags().is_encrypted() {
            Method::Encrypted
        } else {
            Method::of_code(method.into())
        };
        self.has_zarr |= METADATA_FILES.iter().any(|file| {
            let above = name.strip_suffix(file);
            above.is_some_and(|above| above.is_empty() || above.ends_with('/'))
        });
        self.order.push(start);
        for number in [
            name.len() as u64,
            raw.len() as u64,
            method.code(),
            entry.crc32().into(),
            entry.local_header_offset(),
            entry.compressed_size_hint(),
            entry.uncompressed_size_hint(),
        ] {
            push(&mut self.records, number);
        }
        self.records.extend_from_slice(name.as_bytes());
        Ok(())
    }

    /// Puts the members in order. Of those with one name the last one stays.
    fn sort(&mut self) {
        let Self { records, order, .. } = self;
        order.sort_by(|a, b| record(records, *a).0.cmp(record(records, *b).0).then(b.cmp(a)));
        order.dedup_by(|a, b| record(records, *a).0 == record(records, *b).0);
        order.shrink_to_fit();
        records.shrink_to_fit();
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        (size_of::<Self>() + self.records.capacity() + 4 * self.order.capacity()) as u64
    }

    /// Whether a member has the name of a metadata file of Zarr, in whatever folder.
    pub(super) fn has_zarr(&self) -> bool {
        self.has_zarr
    }

    /// What is left out of the archive, in words.
    pub(super) fn left_out(&self) -> Option<String> {
        let first = &self.first_refused;
        match self.refused {
            0 => None,
            1 => Some(format!("member {first:?} left out: its name leads nowhere in an archive")),
            many => Some(format!(
                "{many} members left out, {first:?} the first: their names lead nowhere in an archive"
            )),
        }
    }

    /// The number of members that come before a name.
    fn before(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        self.order.partition_point(|start| is_before(record(&self.records, *start).0))
    }

    fn member(&self, number: usize) -> Option<(&[u8], Member)> {
        let (name, numbers) = record(&self.records, *self.order.get(number)?);
        let [name_len, method, crc, header_at, packed, size] = numbers;
        let crc = u32::try_from(crc).unwrap_or_default();
        let method = Method::of_code(method);
        Some((name, Member { method, crc, header_at, packed, size, name_len }))
    }

    /// What stands at a path; the empty path is the folder of all.
    pub(super) fn find(&self, path: &[u8]) -> Option<Found> {
        if let Some(member) = self.file(path) {
            return Some(Found::File(member));
        }
        let below = within(path);
        let first = self.before(|name| name < &below[..]);
        let is_folder = self.member(first).is_some_and(|(name, _)| name.starts_with(&below));
        (path.is_empty() || is_folder).then_some(Found::Folder)
    }

    fn file(&self, path: &[u8]) -> Option<Member> {
        let (name, member) = self.member(self.before(|name| name < path))?;
        (name == path).then_some(member)
    }

    /// All members below a folder, by their paths within it.
    pub(super) fn below(&self, folder: &[u8]) -> impl Iterator<Item = (&[u8], Member)> {
        let prefix = within(folder);
        let first = self.before(|name| name < &prefix[..]);
        (first..self.order.len())
            .map_while(|number| self.member(number))
            .map_while(move |(name, member)| Some((name.strip_prefix(&prefix[..])?, member)))
    }

    /// Some names right below a folder, beginning at the member `from`, and the member from which on there
    /// are more. None at the end.
    pub(super) fn names(
        &self,
        folder: &[u8],
        from: Option<usize>,
        most: usize,
    ) -> (Vec<FolderName>, usize) {
        let prefix = within(folder);
        let mut at = from.unwrap_or_else(|| self.before(|name| name < &prefix[..]));
        let mut names = Vec::new();
        while names.len() < most
            && let Some((path, _)) = self.member(at)
            && let Some(inside) = path.strip_prefix(&prefix[..])
        {
            let Some(end) = inside.iter().position(|byte| *byte == b'/') else {
                names.push(name_of(inside, FileKind::File));
                at += 1;
                continue;
            };
            let own = &path[..prefix.len() + end];
            // A file of this name has been listed already, and counts.
            if self.file(own).is_none() {
                names.push(name_of(&inside[..end], FileKind::Folder));
            }
            let own = within(own);
            at = self.before(|name| name < &own[..] || name.starts_with(&own));
        }
        (names, at)
    }
}

fn name_of(name: &[u8], kind: FileKind) -> FolderName {
    FolderName { name: OsString::from_vec(name.to_vec()), kind: Some(kind) }
}

/// What the paths below a folder begin with.
fn within(folder: &[u8]) -> Vec<u8> {
    let mut prefix = folder.to_vec();
    if !prefix.is_empty() {
        prefix.push(b'/');
    }
    prefix
}

/// The path of a member within its archive, without empty parts and `.`; `None` where it leads out of the
/// archive, or is no path of UTF-8 with slashes (APPNOTE.TXT, 4.4.17).
fn usable(raw: &[u8]) -> Option<String> {
    let name = str::from_utf8(raw).ok()?;
    if name.starts_with('/') || name.contains(['\\', '\0']) {
        return None;
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// Whether a number of an entry is announced to stand in a ZIP64 field (APPNOTE.TXT, 4.5.3) that has it not.
fn lacks_zip64(entry: &ZipFileHeaderRecord<'_>) -> bool {
    let announced = u64::from(u32::MAX);
    let numbers =
        [entry.uncompressed_size_hint(), entry.compressed_size_hint(), entry.local_header_offset()];
    // The true number may be the one that announces another.
    let is_there = || {
        let mut fields = entry.extra_fields();
        let field = fields.find(|(id, _)| *id == ExtraFieldId::ZIP64);
        field.is_some_and(|(_, bytes)| bytes.chunks(8).any(|word| word == announced.to_le_bytes()))
    };
    numbers.contains(&announced) && !is_there()
}

/// Refuses an archive in several files.
fn check_one_file(file: &dyn OpenFile, end_at: u64) -> io::Result<()> {
    let mut numbers = [0; 4];
    file.read_exact_at(&mut numbers, end_at + 4)?;
    // The number of this file, and of the one with the directory; 0xffff where ZIP64 has them.
    let is_first = |number: &[u8]| matches!(number, [0, 0] | [0xff, 0xff]);
    if numbers.chunks(2).all(is_first) {
        return Ok(());
    }
    let reason = "a zip file in several parts is not read; join them first";
    Err(io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// Appends a number, seven bits a byte, the lowest first.
fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 1 << 7 {
        out.push(number.to_le_bytes()[0] | 1 << 7);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Takes such a number.
fn take(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte >> 7 == 0 {
            break;
        }
    }
    number
}

/// The name and the numbers of a record.
fn record(records: &[u8], start: u32) -> (&[u8], [u64; 6]) {
    let mut rest = &records[start as usize..];
    let len = usize::try_from(take(&mut rest)).unwrap_or(usize::MAX);
    let numbers = [(); 6].map(|()| take(&mut rest));
    (&rest[..len], numbers)
}

#[cfg(test)]
mod tests;
