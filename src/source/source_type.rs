//! The types of voxel that a Zarr array holds.

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

    /// Whether every value of another type is one of this type, also in an Imaris file, which holds most
    /// types as float32. Of types of four and eight bytes that is only known of the same one.
    pub(crate) fn holds(self, other: Self) -> bool {
        use SourceType::{Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
        self == other
            || match other {
                Bool => true,
                U8 => !matches!(self, Bool | I8),
                I8 => matches!(self, I16 | I32 | I64 | F16 | F32 | F64),
                U16 => matches!(self, U32 | U64 | I32 | I64 | F32 | F64),
                I16 => matches!(self, I32 | I64 | F32 | F64),
                F16 => matches!(self, F32 | F64),
                I32 | U32 | F32 | I64 | U64 | F64 => false,
            }
    }
}
