//! A brick on its way from its producer to its readers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::{BrickKey, CacheError, PinnedBrick, Ticket};
use crate::resources::Resources;
use crate::resources::buffer::Buffer;
use crate::resources::memory::Reserved;

use super::error::ImageError;

/// Bytes of a brick, wherever they are.
#[derive(Debug, Clone)]
pub(crate) enum Brick {
    /// In the cache, and pinned there.
    Cached(PinnedBrick),
    /// In memory.
    Memory(Whole),
}

/// A brick in memory.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) bytes: Arc<Buffer>,
    /// They may be kept: no part of the source was absent.
    pub(crate) lasting: bool,
    /// All bytes are known to be zero, as where a store has no chunks.
    pub(crate) is_zero: bool,
}

/// What was produced, and how long it may be kept.
#[derive(Debug)]
pub(crate) struct Produced {
    pub(crate) bytes: Arc<Buffer>,
    pub(crate) keep: Keep,
    /// All bytes are known to be zero.
    pub(crate) is_zero: bool,
    /// Part of the memory budget, held until the bytes are where they are to be kept.
    pub(super) reserved: Option<Arc<Reserved>>,
}

/// How long bytes are true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As long as the identity of the image is the same.
    OnDisk,
    /// As long, but they cost nothing to produce: all chunks are absent.
    Lightly,
    /// The source may complete them any time: chunks are absent of an image that may still be
    /// written.
    InMemory(Duration),
}

/// How a request is treated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mode {
    /// The cache has the brick but cannot read it: do not ask it again.
    pub(crate) unreadable: bool,
    pub(crate) purpose: Purpose,
    /// Its name in the shared cache, if it may be there.
    pub(crate) shared: Option<BrickKey>,
}

/// What a brick is requested for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Purpose {
    /// A reader asked for it.
    #[default]
    Reader,
    /// Other bricks are made from it: it is kept only if a reader asks meanwhile.
    Passing,
    /// It is a record that metadata are made from: read in many small pieces, so also kept in memory, and produced by a
    /// thread that waits for other bricks.
    Metadata,
    /// No reader has asked for it yet: it stays in memory for one that may.
    Ahead,
    /// It is made to be in the cache.
    Warming,
}

pub(crate) type FlightResult = Result<Brick, ImageError>;

/// Receives a brick or the reason why there is none.
pub(crate) type BrickDone = Box<dyn FnOnce(FlightResult) + Send>;

/// The duty to produce a brick.
pub(crate) type BrickTicket = Ticket<BrickKey, FlightResult>;

impl Whole {
    /// `len` bytes from `offset` on.
    pub(crate) fn slice(&self, offset: u64, len: usize) -> &[u8] {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        &self.bytes[start..start + len]
    }
}

impl Brick {
    /// All bytes of a small brick, read if they are on disk.
    ///
    /// # Errors
    /// [`CacheError`] when the cache file cannot be read: the brick must then be produced again.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>, CacheError> {
        match self {
            Self::Memory(whole) => Ok(Cow::Borrowed(&whole.bytes)),
            Self::Cached(brick) => {
                let mut bytes = vec![0; usize::try_from(brick.len()).unwrap_or(usize::MAX)];
                brick.read_at(0, &mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// The brick in memory, with the part of the budget that it takes if it has to be read. For threads
    /// that hold none of the budget yet.
    ///
    /// # Errors
    /// [`CacheError`] when the cache file cannot be read: the brick must then be produced again.
    pub(crate) fn whole(
        &self,
        resources: &Resources,
    ) -> Result<(Whole, Option<Reserved>), CacheError> {
        match self {
            Self::Memory(whole) => Ok((whole.clone(), None)),
            Self::Cached(brick) => {
                let reserved = resources.memory.reserve(brick.len());
                let mut bytes = Buffer::try_of(usize::try_from(brick.len()).unwrap_or(usize::MAX))?;
                brick.read_at(0, &mut bytes)?;
                let whole = Whole { bytes: Arc::new(bytes), lasting: true, is_zero: false };
                Ok((whole, Some(reserved)))
            }
        }
    }
}

impl Produced {
    pub(crate) fn new(bytes: Arc<Buffer>, keep: Keep, is_zero: bool) -> Self {
        Self { bytes, keep, is_zero, reserved: None }
    }

    /// Keeps as much of `reserved` as the bytes take.
    pub(crate) fn holding(self, reserved: Reserved) -> Self {
        reserved.shrink_to(self.bytes.len() as u64);
        Self { reserved: Some(Arc::new(reserved)), ..self }
    }

    pub(crate) fn whole(&self) -> Whole {
        let (bytes, is_zero) = (self.bytes.clone(), self.is_zero);
        Whole { bytes, lasting: self.keep.is_lasting(), is_zero }
    }
}

impl Keep {
    /// For bytes that cost little.
    pub(crate) const FLEETING: Self = Self::InMemory(Self::FLEETING_TIME);

    /// Readers see chunks that come late after this time.
    pub(crate) const FLEETING_TIME: Duration = Duration::from_secs(5);

    /// Whether bytes are true for as long as the identity of the image is the same.
    pub(crate) fn is_lasting(self) -> bool {
        !matches!(self, Self::InMemory(_))
    }
}
