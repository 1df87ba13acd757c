//! The codec `zfpy`: a stream of zfp with a header that states type, shape and mode.
//!
//! Source: zfp 1.0 (`zfp_read_header`, `template/decode*.c`, `template/revdecode*.c`); the algorithm is in
//! P. Lindstrom, "Fixed-Rate Compressed Floating-Point Arrays", 2014. numcodecs always writes the header.
//! An array is cut into blocks of 4 numbers along each axis, edges padded. A block is a common exponent, for
//! floats, and coefficients of a transform, as bit planes from the highest one down, in negabinary.
//!
//! Written here and not taken from a crate, as the only one wraps the C library, which does not know where its
//! input ends.

use std::borrow::Cow;

use super::decode::{Decode, Decoder, Size};
use super::named::NamedCodec;
use crate::source::error::Unsupported;
use crate::source::source_type::SourceType;

/// Numbers along each axis of a block.
const SIDE: usize = 4;

/// Most numbers of a block.
const MOST: usize = 256;

/// The version of the format since zfp 0.5.
const VERSION: u64 = 5;

/// Limits where the mode sets none (`zfp.h`).
const MOST_BITS: u64 = 16_658;
const MOST_PLANES: u64 = 64;
const LEAST_EXPONENT: i64 = -1074;

/// Alternating bits: the weights of negabinary digits that are negative.
const NEGABINARY: u64 = 0xaaaa_aaaa_aaaa_aaaa;

const CUT: &str = "the stream ends too early";

/// Numbers of this type, or of that which the header states.
#[derive(Debug)]
struct Zfpy(Option<SourceType>);

/// Decoding needs nothing of the configuration.
pub(super) fn read(codec: &NamedCodec, array: Option<SourceType>) -> Result<Decoder, Unsupported> {
    use SourceType::{F32, F64, I32, I64};
    match array {
        None | Some(I32 | I64 | F32 | F64) => Ok(Box::new(Zfpy(array))),
        Some(_) => Err(Unsupported::Codec(format!("{} of another data type", codec.name))),
    }
}

impl Decode for Zfpy {
    fn encoded(&self, decoded: Size) -> Option<Size> {
        Some(decoded.compressed())
    }

    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, limit: u64) -> Result<Cow<'a, [u8]>, String> {
        let mut bits = Bits { bytes: &encoded, at: 0 };
        let header = Header::read(&mut bits)?;
        if self.0.is_some_and(|wanted| wanted != header.kind) {
            return Err(format!("numbers of type {}", header.kind.name()));
        }
        let bytes = header.kind.bytes() as u64;
        let len = header.shape.iter().try_fold(bytes, |len, &n| len.checked_mul(n));
        let len = len.filter(|&len| len <= limit).ok_or("more numbers than the chunk has")?;
        let mut out = vec![0; usize::try_from(len).map_err(|error| error.to_string())?];
        if bytes == 4 {
            header.decode::<32>(&mut bits, &mut out)?;
        } else {
            header.decode::<64>(&mut bits, &mut out)?;
        }
        // Streams are filled up to a word of at most 64 bits.
        if encoded.len() * 8 - bits.at >= 64 {
            return Err("bytes behind the end".to_owned());
        }
        Ok(Cow::Owned(out))
    }
}

/// Bits, the lowest one of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next `count` bits, at most 64; the first one is the lowest.
    fn read(&mut self, count: u32) -> Result<u64, &'static str> {
        let from = self.at / 8;
        let end = self.at + count as usize;
        if end > self.bytes.len() * 8 {
            return Err(CUT);
        }
        let mut window = [0; 16];
        let rest = &self.bytes[from..self.bytes.len().min(from + 16)];
        window[..rest.len()].copy_from_slice(rest);
        let bits = u128::from_le_bytes(window) >> (self.at % 8);
        self.at = end;
        #[expect(clippy::cast_possible_truncation, reason = "at most 64 bits are left")]
        Ok((bits & ((1 << count) - 1)) as u64)
    }

    fn is_set(&mut self) -> Result<bool, &'static str> {
        let byte = *self.bytes.get(self.at / 8).ok_or(CUT)?;
        let is_set = byte >> (self.at % 8) & 1 == 1;
        self.at += 1;
        Ok(is_set)
    }

    fn skip(&mut self, count: u64) -> Result<(), &'static str> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        self.at = end.filter(|&end| end <= self.bytes.len() * 8).ok_or(CUT)?;
        Ok(())
    }
}

/// What a stream states of itself.
struct Header {
    kind: SourceType,
    dimensions: usize,
    /// The axis of neighbours first; 1 beyond `dimensions`.
    shape: [u64; 4],
    mode: Mode,
}

/// Limits of each block.
struct Mode {
    budget: Budget,
    least_exponent: i64,
    is_reversible: bool,
}

/// What is left of a block.
#[derive(Clone, Copy)]
struct Budget {
    /// Bits that the block has at least.
    least: u64,
    /// Bits that it has at most.
    most: u64,
    planes: u64,
}

impl Header {
    fn read(bits: &mut Bits<'_>) -> Result<Self, &'static str> {
        if bits.read(24)? != u64::from_le_bytes(*b"zfp\0\0\0\0\0") || bits.read(8)? != VERSION {
            return Err("no stream of zfp, or of another version");
        }
        let kinds = [SourceType::I32, SourceType::I64, SourceType::F32, SourceType::F64];
        let kind = kinds[usize::try_from(bits.read(2)?).unwrap_or(0)];
        let dimensions = usize::try_from(bits.read(2)?).unwrap_or(0) + 1;
        let mut shape = [1; 4];
        for n in &mut shape[..dimensions] {
            *n += bits.read(48 / u32::try_from(dimensions).unwrap_or(1))?;
        }
        // One dimension has 32 bits of its 48.
        shape[0] = if dimensions == 1 { (shape[0] - 1) % (1 << 32) + 1 } else { shape[0] };
        Ok(Self { kind, dimensions, shape, mode: Mode::read(bits)? })
    }

    /// Decodes all blocks to numbers of `BITS` bits.
    fn decode<const BITS: u32>(
        &self,
        bits: &mut Bits<'_>,
        out: &mut [u8],
    ) -> Result<(), &'static str> {
        let shape = self.shape.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let starts = |axis: usize| (0..shape[axis]).step_by(SIDE);
        let mut block = [0; MOST];
        let block = &mut block[..1 << (2 * self.dimensions)];
        for w in starts(3) {
            for (z, y) in starts(2).flat_map(|z| starts(1).map(move |y| (z, y))) {
                for x in starts(0) {
                    if self.kind.is_integer() {
                        self.integers::<BITS>(bits, self.mode.budget, block)?;
                    } else {
                        self.floats::<BITS>(bits, block)?;
                    }
                    scatter(block, shape, [x, y, z, w], out, BITS as usize / 8);
                }
            }
        }
        Ok(())
    }

    /// Decodes a block of floats to their bits.
    fn floats<const BITS: u32>(
        &self,
        bits: &mut Bits<'_>,
        block: &mut [i64],
    ) -> Result<(), &'static str> {
        let (exponent_bits, bias) = if BITS == 32 { (8, 127) } else { (11, 1023) };
        let mut budget = self.mode.budget;
        budget.spend(1)?;
        if !bits.is_set()? {
            block.fill(0);
            return bits.skip(budget.least);
        }
        if self.mode.is_reversible {
            budget.spend(1)?;
            if bits.is_set()? {
                self.integers::<BITS>(bits, budget, block)?;
                for n in block.iter_mut().filter(|n| **n < 0) {
                    // The sign of a float is a bit of its own.
                    *n ^= i64::MAX >> (64 - BITS);
                }
                return Ok(());
            }
        }
        budget.spend(u64::from(exponent_bits))?;
        let exponent = i64::try_from(bits.read(exponent_bits)?).unwrap_or(0) - bias;
        // Planes that are below the least exponent are left out.
        let more = i64::try_from(2 * self.dimensions + 2).unwrap_or(0);
        let planes = exponent - self.mode.least_exponent + more;
        budget.planes = budget.planes.min(u64::try_from(planes).unwrap_or(0));
        self.integers::<BITS>(bits, budget, block)?;
        if self.mode.is_reversible && exponent == -bias {
            block.fill(0);
        } else {
            to_floats::<BITS>(exponent - i64::from(BITS - 2), block);
        }
        Ok(())
    }

    /// Decodes a block of integers.
    fn integers<const BITS: u32>(
        &self,
        bits: &mut Bits<'_>,
        mut budget: Budget,
        block: &mut [i64],
    ) -> Result<(), &'static str> {
        if self.mode.is_reversible {
            let field = BITS.trailing_zeros();
            budget.spend(u64::from(field))?;
            budget.planes = bits.read(field)? + 1;
        }
        let mut numbers = [0; MOST];
        let numbers = &mut numbers[..block.len()];
        read_planes::<BITS>(bits, &mut budget, numbers)?;
        bits.skip(budget.least)?;
        let order: &[u8] = match self.dimensions {
            1 => &ORDER_1,
            2 => &ORDER_2,
            3 => &ORDER_3,
            _ => &ORDER_4,
        };
        for (&at, &number) in order.iter().zip(&*numbers) {
            let negabinary = NEGABINARY >> (64 - BITS);
            let number = (number ^ negabinary).wrapping_sub(negabinary);
            block[usize::from(at)] = wrapped::<BITS>(number.cast_signed());
        }
        for axis in (0..self.dimensions).rev() {
            let stride = 1 << (2 * axis);
            for start in (0..block.len()).filter(|at| at / stride % SIDE == 0) {
                let line = [0, 1, 2, 3].map(|i| start + i * stride);
                let numbers = line.map(|at| block[at]);
                let lift =
                    if self.mode.is_reversible { lifted_exactly::<BITS> } else { lifted::<BITS> };
                for (at, number) in line.into_iter().zip(lift(numbers)) {
                    block[at] = number;
                }
            }
        }
        Ok(())
    }
}

impl Mode {
    fn read(bits: &mut Bits<'_>) -> Result<Self, &'static str> {
        let mut budget = Budget { least: 1, most: MOST_BITS, planes: MOST_PLANES };
        let mut least_exponent = LEAST_EXPONENT;
        match bits.read(12)? {
            rate @ ..2048 => (budget.least, budget.most) = (rate + 1, rate + 1),
            precision @ 2048..2176 => budget.planes = precision - 2047,
            // Reversible.
            2176 => least_exponent -= 1,
            accuracy @ 2177..4095 => {
                least_exponent += i64::try_from(accuracy - 2177).unwrap_or(0);
            }
            _ => {
                budget.least = bits.read(15)? + 1;
                budget.most = bits.read(15)? + 1;
                budget.planes = bits.read(7)? + 1;
                least_exponent = i64::try_from(bits.read(15)?).unwrap_or(0) - 16_495;
            }
        }
        if budget.least > budget.most || budget.planes > MOST_PLANES {
            return Err("a mode that makes no sense");
        }
        Ok(Self { budget, least_exponent, is_reversible: least_exponent < LEAST_EXPONENT })
    }
}

impl Budget {
    fn spend(&mut self, bits: u64) -> Result<(), &'static str> {
        self.least = self.least.saturating_sub(bits);
        self.most = self.most.checked_sub(bits).ok_or("blocks without room for numbers")?;
        Ok(())
    }
}

/// Reads bit planes. In each, the numbers that had a bit before have one bit each; the others follow as runs.
fn read_planes<const BITS: u32>(
    bits: &mut Bits<'_>,
    budget: &mut Budget,
    numbers: &mut [u64],
) -> Result<(), &'static str> {
    let lowest = u64::from(BITS).saturating_sub(budget.planes);
    let before = budget.most;
    let mut begun = 0;
    for plane in (lowest..u64::from(BITS)).rev() {
        if budget.most == 0 {
            break;
        }
        let plain = begun.min(usize::try_from(budget.most).unwrap_or(usize::MAX));
        budget.most -= plain as u64;
        for part in numbers[..plain].chunks_mut(64) {
            let set = bits.read(u32::try_from(part.len()).unwrap_or(0))?;
            for (at, number) in part.iter_mut().enumerate() {
                *number |= (set >> at & 1) << plane;
            }
        }
        while budget.most > 0 && begun < numbers.len() {
            budget.most -= 1;
            if !bits.is_set()? {
                break;
            }
            while budget.most > 0 && begun < numbers.len() - 1 {
                budget.most -= 1;
                if bits.is_set()? {
                    break;
                }
                begun += 1;
            }
            numbers[begun] |= 1 << plane;
            begun += 1;
        }
    }
    budget.least = budget.least.saturating_sub(before - budget.most);
    Ok(())
}

/// The number modulo 2^`BITS`, as a signed one.
fn wrapped<const BITS: u32>(n: i64) -> i64 {
    n << (64 - BITS) >> (64 - BITS)
}

/// Undoes the transform of zfp along a line.
fn lifted<const BITS: u32>([mut x, mut y, mut z, mut w]: [i64; 4]) -> [i64; 4] {
    let add = |a: i64, b: i64| wrapped::<BITS>(a.wrapping_add(b));
    let sub = |a: i64, b: i64| wrapped::<BITS>(a.wrapping_sub(b));
    let unlift = |a: &mut i64, b: &mut i64| {
        *a = add(*a, *b);
        *b = sub(add(*b, *b), *a);
    };
    y = add(y, w >> 1);
    w = sub(w, y >> 1);
    unlift(&mut y, &mut w);
    unlift(&mut z, &mut x);
    unlift(&mut y, &mut z);
    unlift(&mut w, &mut x);
    [x, y, z, w]
}

/// Undoes differences along a line, which were taken of differences, up to the third order.
fn lifted_exactly<const BITS: u32>(mut line: [i64; 4]) -> [i64; 4] {
    for order in [3, 2, 1] {
        for at in order..4 {
            line[at] = wrapped::<BITS>(line[at].wrapping_add(line[at - 1]));
        }
    }
    line
}

/// Integers times 2^`exponent`, as the bits of floats. The factor is a float, too, and may be 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "as zfp rounds")]
fn to_floats<const BITS: u32>(exponent: i64, block: &mut [i64]) {
    let factor = power_of_2(exponent);
    for n in block {
        *n = if BITS == 32 {
            i64::from((factor as f32 * *n as f32).to_bits())
        } else {
            (factor * *n as f64).to_bits().cast_signed()
        };
    }
}

/// IEEE 754, binary64; below its numbers, 0.
fn power_of_2(exponent: i64) -> f64 {
    f64::from_bits(match u64::try_from(exponent - LEAST_EXPONENT) {
        Err(_) => 0,
        Ok(subnormal @ 0..52) => 1 << subnormal,
        Ok(normal) => (normal - 51) << 52,
    })
}

/// Puts the part of a block that is inside of the array to its place.
fn scatter(block: &[i64], shape: [usize; 4], at: [usize; 4], out: &mut [u8], bytes: usize) {
    for (i, number) in block.iter().enumerate() {
        let [x, y, z, w] = [0, 1, 2, 3].map(|axis| at[axis] + (i >> (2 * axis) & (SIDE - 1)));
        let [nx, ny, nz, nw] = shape;
        if x < nx && y < ny && z < nz && w < nw {
            let place = (((w * nz + z) * ny + y) * nx + x) * bytes;
            out[place..place + bytes].copy_from_slice(&number.to_le_bytes()[..bytes]);
        }
    }
}

// In which order the coefficients of a block are written, by number of dimensions (zfp,
// `template/codec1.c` to `codec4.c`): by the sum of their coordinates, then by that of their squares, then as
// listed there.

const ORDER_1: [u8; 4] = [0, 1, 2, 3];

const ORDER_2: [u8; 16] = [0, 1, 4, 5, 2, 8, 6, 9, 3, 12, 10, 7, 13, 11, 14, 15];

const ORDER_3: [u8; 64] = [
    0, 1, 4, 16, 20, 17, 5, 2, 8, 32, 21, 6, 18, 24, 9, 33, 36, 3, 12, 48, 22, 25, 37, 40, 34, 10,
    7, 19, 28, 13, 49, 52, 41, 38, 26, 23, 29, 53, 11, 35, 44, 14, 50, 56, 42, 27, 39, 45, 30, 54,
    57, 60, 51, 15, 43, 46, 58, 61, 55, 31, 62, 59, 47, 63,
];

const ORDER_4: [u8; 256] = [
    0, 1, 4, 16, 64, 5, 80, 17, 68, 65, 20, 2, 8, 32, 128, 84, 81, 69, 21, 6, 18, 66, 24, 72, 9,
    96, 33, 36, 129, 132, 144, 3, 12, 48, 192, 85, 82, 70, 22, 73, 25, 88, 37, 100, 97, 148, 145,
    133, 10, 160, 34, 136, 130, 40, 7, 19, 67, 28, 76, 13, 112, 49, 52, 193, 196, 208, 86, 89, 101,
    149, 161, 137, 41, 134, 38, 164, 26, 152, 146, 104, 98, 74, 83, 71, 23, 77, 29, 92, 53, 116,
    113, 212, 209, 197, 11, 35, 131, 44, 140, 14, 176, 50, 56, 194, 200, 224, 90, 165, 102, 153,
    150, 105, 168, 162, 138, 42, 87, 93, 117, 213, 27, 75, 99, 39, 135, 147, 108, 45, 141, 156, 30,
    78, 177, 180, 54, 114, 120, 57, 198, 210, 216, 201, 225, 228, 15, 240, 51, 204, 195, 60, 169,
    166, 154, 106, 91, 103, 151, 109, 157, 94, 181, 118, 121, 214, 217, 229, 163, 139, 43, 142, 46,
    172, 58, 184, 178, 232, 226, 202, 241, 205, 61, 199, 55, 244, 31, 220, 211, 124, 115, 79, 170,
    167, 155, 107, 158, 110, 173, 122, 185, 182, 233, 230, 218, 95, 245, 119, 221, 215, 125, 242,
    206, 62, 203, 59, 248, 47, 236, 227, 188, 179, 143, 171, 174, 186, 234, 246, 222, 126, 219,
    123, 249, 111, 237, 231, 189, 183, 159, 252, 243, 207, 63, 175, 250, 187, 238, 235, 190, 253,
    247, 223, 127, 254, 251, 239, 191, 255,
];
