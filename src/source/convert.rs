//! Voxel types: what Zarr stores, what an Imaris file can hold, and the way from one to the other.
//!
//! Imaris data sets are uint8, uint16 or float32. A type that fits exactly is kept; every other is
//! converted to float32 without clipping or wrapping: int8, int16 and float16 exactly, 32 and 64-bit
//! integers exactly up to 2^24 and rounded beyond, float64 by IEEE rounding. NaN stays NaN. On
//! request ([`Conversions`]) int16 and uint32 are kept as they are, which some readers understand,
//! or int16 is shifted to uint16.

/// Type of the voxels in a Zarr array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum SourceType {
    Bool,
    I8,
    U8,
    I16,
    U16,
    F16,
    I32,
    U32,
    F32,
    I64,
    U64,
    F64,
}

/// Type of the voxels in the Imaris file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the types")]
pub enum TargetType {
    U8,
    U16,
    I16,
    U32,
    F32,
}

/// What becomes of int16 voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Int16 {
    /// float32, exactly.
    #[default]
    Float32,
    /// int16: exact in half the space, but Imaris has no such type and most readers take it for
    /// uint16.
    Keep,
    /// uint16, each value 32768 higher.
    Offset,
}

/// What becomes of uint32 voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Uint32 {
    /// float32, rounded beyond 2^24.
    #[default]
    Float32,
    /// uint32: exact, and known to the maker's writer, but not to all readers.
    Keep,
}

/// What the user chose for types that Imaris does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names are the types")]
pub struct Conversions {
    pub int16: Int16,
    pub uint32: Uint32,
}

impl SourceType {
    /// From the name of a Zarr v3 data type.
    pub(crate) fn from_zarr_v3(name: &str) -> Option<Self> {
        use SourceType::{Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        let all = [Bool, I8, U8, I16, U16, F16, I32, U32, F32, I64, U64, F64];
        all.into_iter().find(|known| known.name() == name)
    }

    /// Name of the Zarr v3 data type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::I16 => "int16",
            Self::U16 => "uint16",
            Self::F16 => "float16",
            Self::I32 => "int32",
            Self::U32 => "uint32",
            Self::F32 => "float32",
            Self::I64 => "int64",
            Self::U64 => "uint64",
            Self::F64 => "float64",
        }
    }

    /// Size of one voxel.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Whether the values are whole numbers.
    #[must_use]
    pub fn is_integer(self) -> bool {
        !matches!(self, Self::F16 | Self::F32 | Self::F64)
    }

    /// The type in the Imaris file.
    #[must_use]
    pub fn target(self, conversions: Conversions) -> TargetType {
        match self {
            Self::Bool | Self::U8 => TargetType::U8,
            Self::U16 => TargetType::U16,
            Self::I16 if conversions.int16 == Int16::Keep => TargetType::I16,
            Self::I16 if conversions.int16 == Int16::Offset => TargetType::U16,
            Self::U32 if conversions.uint32 == Uint32::Keep => TargetType::U32,
            Self::I8
            | Self::I16
            | Self::F16
            | Self::I32
            | Self::U32
            | Self::F32
            | Self::I64
            | Self::U64
            | Self::F64 => TargetType::F32,
        }
    }
}

impl TargetType {
    /// Size of one voxel.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }
}

/// Voxels in source type and native byte order, addressed by element index.
#[derive(Debug, Clone, Copy)]
pub struct Pixels<'a> {
    /// The bytes of all voxels.
    pub bytes: &'a [u8],
    /// Their type.
    pub source_type: SourceType,
    /// The type they are converted to: what [`SourceType::target`] gives.
    pub target: TargetType,
}

/// Copies a row of voxels into a row of the Imaris file (little-endian), converting the type.
///
/// `start` is the element index of the first voxel, `stride` the distance to the next in elements;
/// `out` is a whole number of target voxels and says how many there are. A stride of 0 repeats one
/// voxel, which is how a fill value is spread.
///
/// # Panics
/// When the row leaves `from`, which the planner's arithmetic excludes.
pub fn copy_row(from: Pixels<'_>, start: usize, stride: usize, out: &mut [u8]) {
    let bytes = from.bytes;
    match from.source_type {
        SourceType::Bool => map::<1, 1>(bytes, start, stride, out, |v| [u8::from(v[0] != 0)]),
        SourceType::U8 => map::<1, 1>(bytes, start, stride, out, |v| v),
        SourceType::U16 => map::<2, 2>(bytes, start, stride, out, |v| v),
        SourceType::F32 => map::<4, 4>(bytes, start, stride, out, |v| v),
        SourceType::I16 if from.target == TargetType::I16 => {
            map::<2, 2>(bytes, start, stride, out, |v| v);
        }
        // Turning the sign bit over adds 32768 without a carry out.
        SourceType::I16 if from.target == TargetType::U16 => {
            map::<2, 2>(bytes, start, stride, out, |[low, high]| [low, high ^ 0x80]);
        }
        SourceType::U32 if from.target == TargetType::U32 => {
            map::<4, 4>(bytes, start, stride, out, |v| v);
        }
        SourceType::I8 => {
            map::<1, 4>(bytes, start, stride, out, |v| {
                f32::from(i8::from_le_bytes(v)).to_le_bytes()
            });
        }
        SourceType::I16 => {
            map::<2, 4>(bytes, start, stride, out, |v| {
                f32::from(i16::from_le_bytes(v)).to_le_bytes()
            });
        }
        SourceType::F16 => map::<2, 4>(bytes, start, stride, out, |v| {
            half::f16::from_le_bytes(v).to_f32().to_le_bytes()
        }),
        #[expect(clippy::cast_precision_loss, reason = "documented rounding beyond 2^24")]
        SourceType::I32 => {
            map::<4, 4>(bytes, start, stride, out, |v| {
                (i32::from_le_bytes(v) as f32).to_le_bytes()
            });
        }
        #[expect(clippy::cast_precision_loss, reason = "documented rounding beyond 2^24")]
        SourceType::U32 => {
            map::<4, 4>(bytes, start, stride, out, |v| {
                (u32::from_le_bytes(v) as f32).to_le_bytes()
            });
        }
        #[expect(clippy::cast_precision_loss, reason = "documented rounding beyond 2^24")]
        SourceType::I64 => {
            map::<8, 4>(bytes, start, stride, out, |v| {
                (i64::from_le_bytes(v) as f32).to_le_bytes()
            });
        }
        #[expect(clippy::cast_precision_loss, reason = "documented rounding beyond 2^24")]
        SourceType::U64 => {
            map::<8, 4>(bytes, start, stride, out, |v| {
                (u64::from_le_bytes(v) as f32).to_le_bytes()
            });
        }
        #[expect(clippy::cast_possible_truncation, reason = "IEEE rounding to float32")]
        SourceType::F64 => {
            map::<8, 4>(bytes, start, stride, out, |v| {
                (f64::from_le_bytes(v) as f32).to_le_bytes()
            });
        }
    }
}

/// `S` bytes in, `D` bytes out, for every voxel of the row.
fn map<const S: usize, const D: usize>(
    bytes: &[u8],
    start: usize,
    stride: usize,
    out: &mut [u8],
    convert: impl Fn([u8; S]) -> [u8; D],
) {
    let (from, _) = bytes.as_chunks::<S>();
    let (to, _) = out.as_chunks_mut::<D>();
    if stride == 1 {
        let from = &from[start..start + to.len()];
        for (to, from) in to.iter_mut().zip(from) {
            *to = convert(*from);
        }
    } else if stride == 0 {
        to.fill(convert(from[start]));
    } else {
        for (i, to) in to.iter_mut().enumerate() {
            *to = convert(from[start + i * stride]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert_as(source_type: SourceType, conversions: Conversions, bytes: &[u8]) -> Vec<u8> {
        let voxels = bytes.len() / source_type.bytes();
        let target = source_type.target(conversions);
        let mut out = vec![0; voxels * target.bytes()];
        copy_row(Pixels { bytes, source_type, target }, 0, 1, &mut out);
        out
    }

    fn convert(source_type: SourceType, bytes: &[u8]) -> Vec<u8> {
        convert_as(source_type, Conversions::default(), bytes)
    }

    #[test]
    fn int16_and_uint32_on_request() {
        let values = [i16::MIN, -1, 0, 1, i16::MAX];
        let bytes = values.map(i16::to_le_bytes).concat();
        let with = |int16| Conversions { int16, ..Conversions::default() };
        assert_eq!(convert_as(SourceType::I16, with(Int16::Keep), &bytes), bytes);
        let shifted = convert_as(SourceType::I16, with(Int16::Offset), &bytes);
        assert_eq!(shifted, [0_u16, 32_767, 32_768, 32_769, 65_535].map(u16::to_le_bytes).concat());
        let exact = convert_as(SourceType::I16, with(Int16::Float32), &bytes);
        assert_eq!(exact, values.map(|value| f32::from(value).to_le_bytes()).concat());
        let keep = Conversions { uint32: Uint32::Keep, ..Conversions::default() };
        let big = (u32::MAX - 1).to_le_bytes();
        assert_eq!(convert_as(SourceType::U32, keep, &big), big);
    }

    #[test]
    fn nothing_clips_or_wraps() {
        let i8s = convert(SourceType::I8, &[0x80, 0xff, 0x7f]);
        assert_eq!(i8s, [-128.0_f32, -1.0, 127.0].map(f32::to_le_bytes).concat());
        let big = convert(SourceType::U64, &u64::MAX.to_le_bytes());
        assert_eq!(big, 18_446_744_073_709_551_615.0_f32.to_le_bytes());
        let nan = convert(SourceType::F64, &f64::NAN.to_le_bytes());
        assert!(f32::from_le_bytes([nan[0], nan[1], nan[2], nan[3]]).is_nan());
        assert_eq!(convert(SourceType::Bool, &[0, 1, 2]), [0, 1, 1]);
    }

    #[test]
    fn strides_pick_voxels() {
        let mut out = [0; 6];
        let bytes: Vec<u8> = (0..20).collect();
        let pixels =
            Pixels { bytes: &bytes, source_type: SourceType::U16, target: TargetType::U16 };
        copy_row(pixels, 1, 3, &mut out);
        assert_eq!(out, [2, 3, 8, 9, 14, 15]);
        copy_row(pixels, 2, 0, &mut out);
        assert_eq!(out, [4, 5, 4, 5, 4, 5]);
    }
}
