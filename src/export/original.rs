//! What is copied.

use std::sync::Arc;

use crate::image::layout::Extent;
use crate::image::{LevelOrigin, VirtualFile};

use super::error::ExportError;

/// A piece that lies in one brick is at least this long, unless the brick is shorter.
const PIECE_BYTES: u64 = 1 << 20;

/// Receives the bytes of a read, possibly on another thread.
pub type ReadDone = Box<dyn FnOnce(Result<&[u8], ExportError>) + Send>;

/// Bytes that are copied, by their place in the whole file.
pub trait Original {
    /// Identity of the bytes.
    fn identity(&self) -> String;

    /// Bytes of the whole file.
    fn size(&self) -> u64;

    /// Where the piece that begins at `from` ends. Equal originals have equal pieces.
    fn end_of_piece(&self, from: u64) -> u64;

    /// Where a cut near `offset` goes, so that no brick is needed on both sides of it.
    fn cut_near(&self, offset: u64) -> u64;

    /// Reads a piece: calls `done` here if it is at hand, else later on another thread.
    fn read(&self, from: u64, to: u64, done: ReadDone);
}

impl Original for Arc<VirtualFile> {
    fn identity(&self) -> String {
        self.content().to_string()
    }

    fn size(&self) -> u64 {
        VirtualFile::size(self)
    }

    fn end_of_piece(&self, from: u64) -> u64 {
        let layout = &self.plan().layout;
        let mut end = from;
        while let Some((extent, run)) = layout.locate(end) {
            let is_large_brick = matches!(extent, Extent::Brick { .. }) && run >= PIECE_BYTES;
            if is_large_brick && end > from {
                break;
            }
            end += run;
            if is_large_brick || end - from >= PIECE_BYTES {
                break;
            }
        }
        end
    }

    fn cut_near(&self, offset: u64) -> u64 {
        match self.plan().layout.locate(offset) {
            None => VirtualFile::size(self),
            Some((
                Extent::Brick { within: 0, .. }
                | Extent::IndexNode { within: 0, .. }
                | Extent::Metadata { .. }
                | Extent::Zero,
                _,
            )) => offset,
            Some((_, run)) => offset + run,
        }
    }

    fn read(&self, from: u64, to: u64, done: ReadDone) {
        let len = usize::try_from(to - from).unwrap_or(usize::MAX);
        let failed = move |cause| ExportError::Image { range: from..to, cause };
        VirtualFile::read(self, from, len, Box::new(move |read| done(read.map_err(failed))));
    }
}

/// Where the voxels of the levels that the store lacks end in the file: making bytes before it takes passes over
/// finer levels, whose results are worth keeping. 0 where the store has all levels.
#[must_use]
pub fn computed_end(file: &VirtualFile) -> u64 {
    let plan = file.plan();
    let finest = plan.levels.iter().position(|level| level.origin == LevelOrigin::Computed);
    // Coarser levels lie before finer ones, and level 0 is always stored.
    finest.map_or(0, |level| plan.layout.chunk_address(level - 1, 0, [0; 3]))
}

/// Bytes of the levels that the store lacks.
#[must_use]
pub fn computed_bytes(file: &VirtualFile) -> u64 {
    let plan = file.plan();
    let levels = plan.levels.iter().zip(plan.layout.levels());
    let computed = levels.filter(|(level, _)| level.origin == LevelOrigin::Computed);
    computed.map(|(_, layout)| layout.data_bytes() * plan.datasets()).sum()
}
