//! Archives whose lengths, places and numbers have 64 bits, made byte by byte (APPNOTE.TXT 6.3.10, 4.3 and 4.5.3).

use std::os::unix::fs::FileExt;

use super::*;

/// Which numbers of a member stand in its ZIP64 field.
#[derive(Debug, Clone, Copy, Default)]
struct Wide {
    sizes: bool,
    place: bool,
    /// Its CRC-32 and lengths come behind it, and are zero in its local header.
    is_streamed: bool,
}

/// A member as an archive has it.
struct Record<'a> {
    name: &'a str,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    header_at: u64,
    wide: Wide,
}

fn put(out: &mut Vec<u8>, number: u64, bytes: usize) {
    out.extend_from_slice(&number.to_le_bytes()[..bytes]);
}

impl Record<'_> {
    /// Four bytes, or all ones where the number stands in the ZIP64 field.
    fn narrow(out: &mut Vec<u8>, number: u64, is_wide: bool) {
        let number = if is_wide { u64::from(u32::MAX) } else { number };
        put(out, number, 4);
    }

    /// The ZIP64 field, behind one that is not of interest.
    fn extra(numbers: &[u64]) -> Vec<u8> {
        let mut extra = b"UT\x05\x00\x01\x00\x00\x00\x00".to_vec();
        if !numbers.is_empty() {
            put(&mut extra, 1, 2);
            put(&mut extra, 8 * numbers.len() as u64, 2);
            for number in numbers {
                put(&mut extra, *number, 8);
            }
        }
        extra
    }

    /// The fields that both headers have, from the version on; then both lengths.
    fn common(&self, out: &mut Vec<u8>, crc: u32, packed: u64, size: u64, extra: &[u8]) {
        let flags = if self.wide.is_streamed { 8 } else { 0 };
        for (number, bytes) in [(45, 2), (flags, 2), (self.method.into(), 2), (0, 4)] {
            put(out, number, bytes);
        }
        put(out, crc.into(), 4);
        Self::narrow(out, packed, self.wide.sizes);
        Self::narrow(out, size, self.wide.sizes);
        put(out, self.name.len() as u64, 2);
        put(out, extra.len() as u64, 2);
    }

    fn local(&self) -> Vec<u8> {
        let Self { packed, size, crc, .. } = *self;
        let (packed, size, crc) =
            if self.wide.is_streamed { (0, 0, 0) } else { (packed, size, crc) };
        let numbers = if self.wide.sizes { vec![size, packed] } else { Vec::new() };
        let extra = Self::extra(&numbers);
        let mut out = b"PK\x03\x04".to_vec();
        self.common(&mut out, crc, packed, size, &extra);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&extra);
        out
    }

    /// What comes behind the bytes of a streamed member.
    fn descriptor(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.wide.is_streamed {
            let bytes = if self.wide.sizes { 8 } else { 4 };
            out.extend_from_slice(b"PK\x07\x08");
            put(&mut out, self.crc.into(), 4);
            put(&mut out, self.packed, bytes);
            put(&mut out, self.size, bytes);
        }
        out
    }

    fn central(&self) -> Vec<u8> {
        let mut numbers = Vec::new();
        if self.wide.sizes {
            numbers.extend([self.size, self.packed]);
        }
        if self.wide.place {
            numbers.push(self.header_at);
        }
        let extra = Self::extra(&numbers);
        let mut out = b"PK\x01\x02\x2d\x00".to_vec();
        self.common(&mut out, self.crc, self.packed, self.size, &extra);
        // Comment, disk and attributes.
        out.resize(42, 0);
        Self::narrow(&mut out, self.header_at, self.wide.place);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&extra);
        out
    }
}

/// The end of an archive: with `wide`, the numbers stand in the ZIP64 record only, which has `more` bytes that are not
/// of interest.
fn end(members: u64, start: u64, length: u64, wide: bool, more: usize) -> Vec<u8> {
    let mut out = b"PK\x06\x06".to_vec();
    put(&mut out, 44 + more as u64, 8);
    put(&mut out, 45, 2);
    put(&mut out, 45, 2);
    put(&mut out, 0, 8);
    for number in [members, members, length, start] {
        put(&mut out, number, 8);
    }
    out.resize(out.len() + more, 7);
    out.extend_from_slice(b"PK\x06\x07");
    put(&mut out, 0, 4);
    put(&mut out, start + length, 8);
    put(&mut out, 1, 4);
    out.extend_from_slice(b"PK\x05\x06");
    put(&mut out, 0, 4);
    let narrow = |number: u64| if wide { u64::MAX } else { number };
    for (number, bytes) in [(members, 2), (members, 2), (length, 4), (start, 4)] {
        put(&mut out, narrow(number), bytes);
    }
    put(&mut out, 0, 2);
    out
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

const TEXT: &[u8] = b"some text, some text, some text";

/// An archive of `a/0`, stored, and `a/1`, deflated.
fn archive(wide: Wide, is_end_wide: bool, more: usize) -> Vec<u8> {
    let mut deflated =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut deflated, TEXT).expect("in memory");
    let deflated = deflated.finish().expect("in memory");
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, method, bytes) in [("a/0", 0, TEXT), ("a/1", 8, &deflated)] {
        let (packed, size) = (bytes.len() as u64, TEXT.len() as u64);
        let header_at = out.len() as u64;
        let record = Record { name, method, crc: crc(TEXT), packed, size, header_at, wide };
        out.extend([&record.local(), bytes, &record.descriptor()].concat());
        directory.extend(record.central());
    }
    let (start, length) = (out.len() as u64, directory.len() as u64);
    out.extend(directory);
    out.extend(end(2, start, length, is_end_wide, more));
    out
}

#[test]
fn numbers_of_64_bits_are_read_wherever_they_stand() {
    for bits in 0..8 {
        let wide = Wide { sizes: bits & 1 > 0, place: bits & 2 > 0, is_streamed: bits & 4 > 0 };
        for (is_end_wide, more) in [(false, 0), (true, 0), (true, 20)] {
            let (_, archives) = in_memory("x.zip", &archive(wide, is_end_wide, more));
            for name in ["x.zip/a/0", "x.zip/a/1"] {
                let found = read(&archives, name);
                assert_eq!(found.expect("a member"), TEXT, "{name} {wide:?} {is_end_wide} {more}");
                let (file, _) = archives.open(Path::new(name)).expect("a member");
                let mut part = [0; 4];
                file.read_exact_at(&mut part, 5).expect("a part");
                assert_eq!(part, TEXT[5..9]);
            }
        }
    }
}

#[test]
fn numbers_of_64_bits_that_lead_out_of_the_archive_are_errors() {
    let wide = Wide { sizes: true, place: true, is_streamed: false };
    let whole = archive(wide, true, 0);
    let central = whole.windows(4).position(|part| part == b"PK\x01\x02").expect("an entry");
    // Size, length in the file, and place of the first member, in its ZIP64 field.
    let field = central + 46 + 3 + 9 + 4;
    for number in [field, field + 8, field + 16] {
        for value in [1 << 33, u64::MAX, u64::MAX - 40, u64::MAX >> 1] {
            let mut bytes = whole.clone();
            bytes[number..number + 8].copy_from_slice(&value.to_le_bytes());
            let (_, archives) = in_memory("x.zip", &bytes);
            let told = archives.open(Path::new("x.zip/a/0")).map(|_| ()).expect_err("damaged");
            assert!(told.to_string().starts_with("damaged zip member"), "{told}");
            assert_eq!(read(&archives, "x.zip/a/1").expect("the other one"), TEXT);
        }
    }
    // The numbers are announced, and not there.
    let mut bytes = whole.clone();
    bytes[field - 4] = 2;
    let (_, archives) = in_memory("x.zip", &bytes);
    assert!(reason(&archives, "x.zip/a/0").starts_with("damaged zip file"), "announced");
    // The directory, by the record at the end.
    let record = whole.windows(4).position(|part| part == b"PK\x06\x06").expect("a record");
    for at in [24, 32, 40, 48] {
        for value in [3, 1 << 40, u64::MAX] {
            let mut bytes = whole.clone();
            bytes[record + at..record + at + 8].copy_from_slice(&u64::to_le_bytes(value));
            let (_, archives) = in_memory("x.zip", &bytes);
            if let Ok(read) = read(&archives, "x.zip/a/0") {
                assert_eq!(read, TEXT, "{at} {value}");
            }
        }
    }
}

#[test]
fn a_file_of_more_than_4_gib_is_read_at_both_ends() {
    let top = TempDir::with_prefix("zarrims-archive-").expect("a temporary folder");
    let file = fs::File::create(top.path().join("large.zip")).expect("a file");
    let length: u64 = (4 << 30) + 4096;
    let wide = Wide { sizes: true, place: true, is_streamed: false };
    // A hole; no part of a stored member is compared with its CRC-32.
    let first = Record {
        name: "0/c/0",
        method: 0,
        crc: 0,
        packed: length,
        size: length,
        header_at: 0,
        wide,
    };
    let local = first.local();
    file.write_all_at(&local, 0).expect("written");
    let header_at = local.len() as u64 + length;
    file.write_all_at(TEXT, header_at - TEXT.len() as u64).expect("written");
    let size = TEXT.len() as u64;
    let crc = crc(TEXT);
    let second = Record { name: "zarr.json", method: 0, crc, packed: size, size, header_at, wide };
    let directory = [first.central(), second.central()].concat();
    let local = second.local();
    let start = header_at + local.len() as u64 + size;
    let end = end(2, start, directory.len() as u64, true, 0);
    file.write_all_at(&[&local, TEXT, &directory, &end].concat(), header_at).expect("written");
    let posix = Posix::open(top.path(), false).expect("a folder");
    let archives = Archives::over(Arc::new(posix));
    assert_eq!(read(&archives, "large.zip/zarr.json").expect("behind 4 GiB"), TEXT);
    let (shard, stamp) = archives.open(Path::new("large.zip/0/c/0")).expect("a member");
    assert_eq!(stamp.size(), length);
    let mut part = vec![0; TEXT.len() + 1];
    let at = length - part.len() as u64;
    shard.read_exact_at(&mut part, at).expect("its end");
    assert_eq!((part[0], &part[1..]), (0, TEXT));
    assert!(shard.read_exact_at(&mut part, length - 1).is_err());
}
