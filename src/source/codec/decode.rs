//! What every codec does here: undo itself, within bounds.

use std::borrow::Cow;
use std::fmt;

/// Largest decoded size of one read unit. Real ones are 32 KiB to 64 MiB.
pub(super) const UNIT_LIMIT_BYTES: u64 = 1 << 30;

/// Undoes one step of a codec chain.
pub(super) trait Decode: fmt::Debug + Send + Sync {
    /// The size that encoded bytes have, from the size of what they decode to; `None` where the codec
    /// does not fit.
    fn encoded(&self, decoded: Size) -> Option<Size>;

    /// Memory needed besides the bytes that go in and come out.
    fn working_bytes(&self, _encoded: &[u8]) -> u64 {
        0
    }

    /// Decodes to at most `limit` bytes, or to one more: the caller compares the length.
    ///
    /// # Errors
    /// What is wrong with the bytes, in words for the log.
    fn decode<'a>(&self, encoded: Cow<'a, [u8]>, limit: u64) -> Result<Cow<'a, [u8]>, String>;
}

/// A step of a codec chain, undone.
pub(super) type Decoder = Box<dyn Decode>;

/// A size in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Size {
    Exactly(u64),
    AtMost(u64),
}

impl Size {
    pub(super) fn limit(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::AtMost(bytes) => bytes,
        }
    }

    pub(super) fn map(self, change: impl Fn(u64) -> Option<u64>) -> Option<Self> {
        match self {
            Self::Exactly(bytes) => change(bytes).map(Self::Exactly),
            Self::AtMost(bytes) => change(bytes).map(Self::AtMost),
        }
    }

    /// The most that a compressor makes of it, with room to spare.
    pub(super) fn compressed(self) -> Self {
        Self::AtMost((self.limit().saturating_mul(2) + (1 << 20)).min(UNIT_LIMIT_BYTES * 4))
    }
}
