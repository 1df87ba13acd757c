//! Deflated members, read from any offset, with the memory of a few windows.
//!
//! A shard may be deflated as a whole, and one chunk of it is wanted. The first such read decodes all of the
//! member once, compares its checksum, and notes the state of the decoder here and there. Later reads begin at
//! the nearest state before what they want.

use std::io;
use std::ops::Range;

use flate2::Crc;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, TINFL_LZ_DICT_SIZE, decompress};

use super::super::interface::OpenFile;

/// Bytes that are read from a file at a time.
const PIECE_BYTES: usize = 64 << 10;

/// States of the decoder that are kept of a member, and the least distance between two.
const MOST_POINTS: u64 = 16;
const LEAST_DISTANCE: u64 = 1 << 20;

/// Most bytes that deflate makes from one ("Maximum Compression Factor", zlib Technical Details).
const LARGEST_FACTOR: u64 = 1032;

/// Largest member of which a part is read: decoding it takes about a minute.
const LARGEST_BYTES: u64 = 16 << 30;

/// Where a deflated member lies, and what it is to become.
#[derive(Debug, Clone)]
pub(super) struct Packed<'a> {
    pub(super) file: &'a dyn OpenFile,
    /// In the file.
    pub(super) range: Range<u64>,
    /// Length when decoded.
    pub(super) size: u64,
    pub(super) crc: u32,
}

/// A state of the decoder, between two bytes of what it makes.
#[derive(Clone)]
struct Point {
    state: Box<DecompressorOxide>,
    /// The bytes made last: byte `n` of the member stands at `n` modulo its length.
    window: Box<[u8]>,
    /// Bytes of the file that were taken, and bytes that were made.
    taken: u64,
    made: u64,
}

impl Point {
    fn start() -> Self {
        Self {
            state: Box::default(),
            window: vec![0; TINFL_LZ_DICT_SIZE].into(),
            taken: 0,
            made: 0,
        }
    }
}

/// The states that were noted of a member whose checksum was right.
pub(super) struct Points(Vec<Point>);

impl std::fmt::Debug for Points {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Points").field(&self.0.len()).finish()
    }
}

impl Points {
    /// Most bytes in memory of the states of a member of `size` bytes.
    pub(super) fn memory_bytes(size: u64) -> u64 {
        let one = TINFL_LZ_DICT_SIZE + size_of::<DecompressorOxide>() + size_of::<Point>();
        size / distance(size) * one as u64
    }
}

fn distance(size: u64) -> u64 {
    LEAST_DISTANCE.max(size.div_ceil(MOST_POINTS))
}

fn failed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged zip member: {reason}"))
}

/// Compares the checksum of a member with that of its bytes.
///
/// # Errors
/// `InvalidData` when they differ.
pub(super) fn check_crc(stated: u32, found: u32) -> io::Result<()> {
    if stated == found {
        return Ok(());
    }
    Err(failed(&format!("its CRC-32 is {found:08x}, not {stated:08x} as stated")))
}

/// A decoder at work.
struct Stream<'a> {
    packed: &'a Packed<'a>,
    point: Point,
    input: Vec<u8>,
    /// Bytes of `input` that were taken.
    used: usize,
    is_done: bool,
}

impl<'a> Stream<'a> {
    fn at(packed: &'a Packed<'a>, point: Point) -> Self {
        Self { packed, point, input: Vec::new(), used: 0, is_done: false }
    }

    /// The next bytes of the member; none at its end.
    fn next(&mut self) -> io::Result<&[u8]> {
        let at = usize::try_from(self.point.made).unwrap_or(usize::MAX) % TINFL_LZ_DICT_SIZE;
        let mut made = 0;
        while made == 0 && !self.is_done {
            self.fill()?;
            let left = self.packed.range.end - self.packed.range.start - self.point.taken;
            let input = &self.input[self.used..];
            let flags = if left > input.len() as u64 { TINFL_FLAG_HAS_MORE_INPUT } else { 0 };
            let Point { state, window, .. } = &mut self.point;
            let (status, used, written) = decompress(state, input, window, at, flags);
            self.used += used;
            self.point.taken += used as u64;
            self.point.made += written as u64;
            made = written;
            match status {
                TINFLStatus::Done => self.is_done = true,
                TINFLStatus::HasMoreOutput | TINFLStatus::NeedsMoreInput => {}
                TINFLStatus::FailedCannotMakeProgress => return Err(failed("it is cut off")),
                _ => return Err(failed("it cannot be inflated")),
            }
            let (now, size) = (self.point.made, self.packed.size);
            if now > size || (self.is_done && now < size) {
                return Err(failed(&format!("it does not have the {size} bytes that are stated")));
            }
        }
        Ok(&self.point.window[at..at + made])
    }

    /// Reads on in the file once all that was read is used.
    fn fill(&mut self) -> io::Result<()> {
        if self.used < self.input.len() {
            return Ok(());
        }
        let Range { start, end } = self.packed.range;
        let at = start + self.point.taken;
        let len = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        self.input.resize(len, 0);
        self.used = 0;
        self.packed.file.read_exact_at(&mut self.input, at)
    }
}

impl Packed<'_> {
    /// Refuses sizes that no deflated member can have.
    fn check_size(&self) -> io::Result<()> {
        let packed = self.range.end - self.range.start;
        if self.size > packed.saturating_mul(LARGEST_FACTOR) {
            return Err(failed(&format!("{packed} bytes cannot make the {} stated", self.size)));
        }
        Ok(())
    }

    /// Decodes all of the member into `out`, which has its length.
    ///
    /// # Errors
    /// The reason of the storage; `InvalidData` when it is not what is stated.
    pub(super) fn read_whole(&self, out: &mut [u8]) -> io::Result<()> {
        self.check_size()?;
        let mut stream = Stream::at(self, Point::start());
        let (mut crc, mut at) = (Crc::new(), 0);
        loop {
            let bytes = stream.next()?;
            if bytes.is_empty() {
                return check_crc(self.crc, crc.sum());
            }
            crc.update(bytes);
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
    }

    /// Decodes all of the member once, compares its checksum and notes states of the decoder.
    ///
    /// # Errors
    /// As for [`Packed::read_whole`].
    pub(super) fn look_through(&self) -> io::Result<Points> {
        self.check_size()?;
        if self.size > LARGEST_BYTES {
            let reason = format!(
                "a deflated member of {} bytes is not read in parts; store it without compression",
                self.size
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let distance = distance(self.size);
        let mut stream = Stream::at(self, Point::start());
        let (mut crc, mut points) = (Crc::new(), Vec::new());
        loop {
            let bytes = stream.next()?;
            if bytes.is_empty() {
                check_crc(self.crc, crc.sum())?;
                return Ok(Points(points));
            }
            crc.update(bytes);
            let due = (points.len() as u64 + 1) * distance;
            if stream.point.made >= due && stream.point.made < self.size {
                points.push(stream.point.clone());
            }
        }
    }

    /// Decodes what `out` has room for, from byte `offset` of the member on, all within its size.
    ///
    /// # Errors
    /// As for [`Packed::read_whole`].
    pub(super) fn read_part(&self, points: &Points, out: &mut [u8], offset: u64) -> io::Result<()> {
        let before = points.0.partition_point(|point| point.made <= offset);
        let nearest = before.checked_sub(1).and_then(|number| points.0.get(number));
        let mut stream = Stream::at(self, nearest.map_or_else(Point::start, Clone::clone));
        let mut filled = 0;
        while filled < out.len() {
            let made = stream.point.made;
            let bytes = stream.next()?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let wanted = offset + filled as u64;
            let skipped = usize::try_from(wanted - made).unwrap_or(usize::MAX).min(bytes.len());
            let bytes = &bytes[skipped..];
            let len = bytes.len().min(out.len() - filled);
            out[filled..filled + len].copy_from_slice(&bytes[..len]);
            filled += len;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
