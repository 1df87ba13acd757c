//! Voxel types: names, the formula of the voxels, and their value in an Imaris file.
//!
//! The conversion is written out a second time here, by way of numbers and not of bytes, so that it
//! shares nothing with the program's.

use serde_json::{Value, json};

/// Stored type of the voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    Bool,
    U8,
    I8,
    U16,
    I16,
    F16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

/// All of them.
pub(crate) const DTYPES: [Dtype; 12] = [
    Dtype::Bool,
    Dtype::U8,
    Dtype::I8,
    Dtype::U16,
    Dtype::I16,
    Dtype::F16,
    Dtype::U32,
    Dtype::I32,
    Dtype::F32,
    Dtype::U64,
    Dtype::I64,
    Dtype::F64,
];

/// Value of voxels that are not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    Zero,
    NonZero,
    /// Not a number; non-zero for types that have no such thing.
    Nan,
}

/// Bytes of one voxel, little-endian, from the front.
pub(crate) type Element = [u8; 8];

fn element<const N: usize>(bytes: [u8; N]) -> Element {
    let mut element = [0; 8];
    element[..N].copy_from_slice(&bytes);
    element
}

/// An odd factor: the product is another number for every number, in any width.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Dtype {
    /// Bytes of a stored voxel.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Bytes of a voxel in the Imaris file.
    pub(crate) fn imaris_bytes(self) -> usize {
        match self {
            Self::Bool | Self::U8 => 1,
            Self::U16 => 2,
            _ => 4,
        }
    }

    pub(crate) fn name_v3(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::F16 => "float16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::F32 => "float32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F64 => "float64",
        }
    }

    pub(crate) fn name_v2(self, big_endian: bool) -> String {
        let (letter, bytes) = match self {
            Self::Bool => ('b', 1),
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => ('u', self.bytes()),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => ('i', self.bytes()),
            Self::F16 | Self::F32 | Self::F64 => ('f', self.bytes()),
        };
        let order = match (bytes, big_endian) {
            (1, _) => '|',
            (_, true) => '>',
            (_, false) => '<',
        };
        format!("{order}{letter}{bytes}")
    }

    /// Whether the values have fractions.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// The voxel with this running number. Numbers below 2^23 give different voxels in every type
    /// that is wide enough; narrow types repeat, but not along a row.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "narrow types keep the low bits; numbers are far below 2^53"
    )]
    pub(crate) fn element(self, number: u64) -> Element {
        let spread = number.wrapping_mul(SPREAD);
        // What lies eight bits up moves into the low byte, or positions 256 apart would be equal.
        let folded = (number ^ (number >> 8) ^ (number >> 16)).wrapping_mul(SPREAD);
        match self {
            Self::Bool => element([(spread >> 40) as u8 & 1]),
            Self::U8 | Self::I8 => element([folded as u8]),
            Self::U16 | Self::I16 => element((spread as u16).to_le_bytes()),
            Self::U32 | Self::I32 => element((spread as u32).to_le_bytes()),
            Self::U64 | Self::I64 => spread.to_le_bytes(),
            Self::F16 => {
                let bits = spread as u16;
                // One kind of NaN, and infinities as they come.
                let is_nan = bits & 0x7C00 == 0x7C00 && bits & 0x3FF != 0;
                element(if is_nan { 0x7E00 } else { bits }.to_le_bytes())
            }
            Self::F32 if number % 1009 == 7 => element(f32::NAN.to_le_bytes()),
            Self::F64 if number % 1009 == 7 => f64::NAN.to_le_bytes(),
            Self::F32 if number % 1009 == 8 => element(f32::INFINITY.to_le_bytes()),
            Self::F64 if number % 1009 == 8 => 1e300_f64.to_le_bytes(),
            Self::F32 => element((number as f32 * 0.5 - 1000.0).to_le_bytes()),
            Self::F64 => (number as f64 * 1.1 - 0.3).to_le_bytes(),
        }
    }

    /// What stands in chunks beyond the edge of the array.
    pub(crate) fn junk(self) -> Element {
        if self == Self::Bool { element([1]) } else { [0xA5; 8] }
    }

    pub(crate) fn fill(self, fill: Fill) -> Element {
        match (self, fill) {
            (_, Fill::Zero) => [0; 8],
            (Self::F16, Fill::Nan) => element(0x7E00_u16.to_le_bytes()),
            (Self::F32, Fill::Nan) => element(f32::NAN.to_le_bytes()),
            (Self::F64, Fill::Nan) => f64::NAN.to_le_bytes(),
            (Self::Bool, _) => element([1]),
            (Self::U8, _) => element([207]),
            (Self::I8, _) => element((-5_i8).to_le_bytes()),
            (Self::U16, _) => element(60_000_u16.to_le_bytes()),
            (Self::I16, _) => element((-3000_i16).to_le_bytes()),
            (Self::U32, _) => element(4_000_000_001_u32.to_le_bytes()),
            (Self::I32, _) => element((-70_000_i32).to_le_bytes()),
            (Self::U64, _) => 9_007_199_254_740_993_u64.to_le_bytes(),
            (Self::I64, _) => (-70_000_000_000_i64).to_le_bytes(),
            // 1.5 in binary16.
            (Self::F16, Fill::NonZero) => element(0x3E00_u16.to_le_bytes()),
            (Self::F32, Fill::NonZero) => element(1.5_f32.to_le_bytes()),
            (Self::F64, Fill::NonZero) => 1.5_f64.to_le_bytes(),
        }
    }

    pub(crate) fn fill_json(self, fill: Fill) -> Value {
        let bytes = self.fill(fill);
        let word = u64::from_le_bytes(bytes);
        match (self, fill) {
            (Self::Bool, fill) => json!(fill != Fill::Zero),
            (_, Fill::Zero) if self.is_float() => json!(0.0),
            (_, Fill::NonZero) if self.is_float() => json!(1.5),
            (_, Fill::Nan) if self.is_float() => json!("NaN"),
            (Self::I8 | Self::I16 | Self::I32 | Self::I64, _) => {
                let shift = 64 - 8 * self.bytes();
                json!((word << shift).cast_signed() >> shift)
            }
            _ => json!(word),
        }
    }

    /// The voxel as an Imaris file holds it: uint8 and uint16 as they are, truth as 0 or 1, all
    /// else as the nearest float32.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "float32 is the target"
    )]
    pub(crate) fn to_imaris(self, voxel: Element) -> Vec<u8> {
        let [a, b, c, d, ..] = voxel;
        let float = match self {
            Self::Bool => return vec![u8::from(a != 0)],
            Self::U8 => return vec![a],
            Self::U16 => return vec![a, b],
            Self::I8 => f64::from(a.cast_signed()) as f32,
            Self::I16 => f64::from(i16::from_le_bytes([a, b])) as f32,
            Self::F16 => f16_value(u16::from_le_bytes([a, b])) as f32,
            Self::U32 => f64::from(u32::from_le_bytes([a, b, c, d])) as f32,
            Self::I32 => f64::from(i32::from_le_bytes([a, b, c, d])) as f32,
            Self::F32 => f32::from_le_bytes([a, b, c, d]),
            // By way of f64 these would be rounded twice.
            Self::U64 => u64::from_le_bytes(voxel) as f32,
            Self::I64 => i64::from_le_bytes(voxel) as f32,
            Self::F64 => f64::from_le_bytes(voxel) as f32,
        };
        float.to_le_bytes().to_vec()
    }
}

/// Value of an IEEE 754 binary16.
fn f16_value(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 0x1F);
    let fraction = f64::from(bits & 0x3FF) / 1024.0;
    let magnitude = match exponent {
        0 => fraction * 2_f64.powi(-14),
        31 if fraction > 0.0 => return f64::NAN,
        31 => f64::INFINITY,
        _ => (1.0 + fraction) * 2_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}
