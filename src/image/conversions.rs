//! Which voxel type a file has for each type that a store holds.
//!
//! Imaris has uint8, uint16 and float32. A type that fits exactly is kept, every other becomes float32. On
//! request int16 and uint32 are kept, which some readers understand, or int16 is shifted to uint16.
//!
//! Not known here: how voxels are converted (`voxels/convert.rs`).

use crate::ims::VoxelType;
use crate::source::SourceType;

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
    /// uint32: exact, and known to `ImarisWriter`, but not to all readers.
    Keep,
}

/// What the user chose for types that Imaris does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names are the types")]
pub struct Conversions {
    pub int16: Int16,
    pub uint32: Uint32,
}

impl Conversions {
    /// The type in the Imaris file of voxels that a store holds as `source`.
    #[must_use]
    pub fn target(self, source: SourceType) -> VoxelType {
        match source {
            SourceType::Bool | SourceType::U8 => VoxelType::U8,
            SourceType::U16 => VoxelType::U16,
            SourceType::I16 if self.int16 == Int16::Keep => VoxelType::I16,
            SourceType::I16 if self.int16 == Int16::Offset => VoxelType::U16,
            SourceType::U32 if self.uint32 == Uint32::Keep => VoxelType::U32,
            SourceType::I8
            | SourceType::I16
            | SourceType::F16
            | SourceType::I32
            | SourceType::U32
            | SourceType::F32
            | SourceType::I64
            | SourceType::U64
            | SourceType::F64 => VoxelType::F32,
        }
    }
}
