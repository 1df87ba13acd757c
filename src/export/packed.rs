//! Files with compressed chunks.
//!
//! ```text
//! 0 ... metadata, then the chunk indices      as long as in the virtual file, written last
//! D ... chunks, each as its filter has left it, without gaps, in the order of the virtual file
//! ```
//!
//! Threads that produce bricks compress their chunks, and one writes them in order: a piece of the journal is a
//! chunk, and its ends say where it lies and how long it is.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::image::layout::{BrickGrid, LevelLayout};
use crate::image::plan::ImagePlan;
use crate::image::{BrickId, ImageError, VirtualFile};
use crate::ims::{ChunkIndex, Packing, StoredChunk};

use super::commits::Commits;
use super::error::ExportError;
use super::journal::{Record, sum};
use super::output::{Output, Start};
use super::target::Target;
use super::{Copying, Watcher};

/// Time between two looks at whether the user wants an end.
const LOOK_TIME: Duration = Duration::from_millis(100);

/// A file with compressed chunks that is being written.
pub struct Packed {
    output: Output,
    packing: Packing,
    /// The first brick that is not written.
    next: u64,
    /// Bytes of voxels that are written, before compression.
    done: u64,
}

/// Chunks of a brick, compressed.
type Chunks = Vec<Vec<u8>>;

impl Packed {
    /// Begins a file, or goes on. What is there is counted in bytes of voxels, before compression.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn open(
        target: &Target,
        file: &VirtualFile,
        packing: Packing,
    ) -> Result<(Self, Start), ExportError> {
        let identity = format!("{} {packing:?}", file.content());
        let plan = file.plan();
        let (mut output, start) = Output::open_growing(target, identity, end_of_indices(plan))?;
        let chunks = output.journal.pieces()?;
        let (mut next, mut kept, mut done) = (0, 0, 0);
        while let Some(place) = brick_at(plan, next) {
            let grid = &plan.layout.levels()[place.level].bricks;
            let end = kept + chunks_of(grid, place.brick);
            if end > chunks {
                break;
            }
            (next, kept, done) = (next + 1, end, done + grid.brick_bytes(place.brick));
        }
        if kept < chunks {
            output.keep_pieces(kept)?;
        }
        let start = match start {
            Start::Resumed(_) => Start::Resumed(done),
            other => other,
        };
        Ok((Self { output, packing, next, done }, start))
    }

    /// Bytes of voxels, before compression.
    #[must_use]
    pub fn total(file: &VirtualFile) -> u64 {
        let grids = file.plan().layout.levels().iter().map(|level| &level.bricks);
        let bytes = grids.map(|grid| grid.chunk_count() * grid.chunk_stride());
        bytes.sum::<u64>() * file.plan().datasets()
    }

    /// The level of the brick that is written next; coarser levels come before finer ones.
    #[must_use]
    pub fn next_level(&self, file: &VirtualFile) -> Option<usize> {
        brick_at(file.plan(), self.next).map(|place| place.level)
    }

    /// Writes the chunks of the next levels, as long as `wanted` chooses them.
    ///
    /// # Errors
    /// [`ExportError`]. What was written before is in the journal.
    pub fn write(
        &mut self,
        image: &Arc<VirtualFile>,
        wanted: impl Fn(usize) -> bool,
        how: Copying,
        watcher: &dyn Watcher,
    ) -> Result<(), ExportError> {
        let Self { output, packing, next, done } = self;
        let (file, path) = (output.file.try_clone(), output.path.clone());
        let failed = |error| ExportError::file(&path, error);
        let (file, packing, plan) = (file.map_err(failed)?, *packing, image.plan());
        Commits::run(output, |commits| {
            let (sender, arrived) = channel();
            let mut early: BTreeMap<u64, Chunks> = BTreeMap::new();
            let mut asked = *next;
            let is_wanted = |place: &BrickId| wanted(place.level);
            loop {
                if watcher.is_stopped() {
                    return Err(ExportError::Stopped);
                }
                while asked - *next < how.at_a_time.max(1) as u64
                    && let Some(place) = brick_at(plan, asked).filter(is_wanted)
                {
                    let (number, sender) = (asked, sender.clone());
                    asked += 1;
                    ask(image, place, packing, move |chunks| {
                        // The receiver may have met an error.
                        let _ = sender.send((number, chunks));
                    });
                }
                if *next == asked {
                    return Ok(());
                }
                match arrived.recv_timeout(LOOK_TIME) {
                    Ok((number, chunks)) => drop(early.insert(number, chunks?)),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
                }
                while let Some(chunks) = early.remove(next) {
                    for chunk in chunks {
                        let start = commits.end();
                        file.write_all_at(&chunk, start).map_err(failed)?;
                        let end = start + chunk.len() as u64;
                        commits.push(Record { end, sum: sum(&chunk, start) });
                    }
                    if let Some(place) = brick_at(plan, *next) {
                        *done += plan.layout.levels()[place.level].bricks.brick_bytes(place.brick);
                    }
                    *next += 1;
                }
                watcher.written(*done);
                commits.commit_soon();
            }
        })
    }

    /// Compares the chunks on the disk with the checksums of what was written.
    ///
    /// # Errors
    /// [`ExportError::Differs`]: the next run writes that chunk again, and all behind it.
    pub fn verify(&mut self, watcher: &dyn Watcher) -> Result<(), ExportError> {
        self.output.end_here();
        self.output.verify(watcher)
    }

    /// Bytes of the chunks that are written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.output.done
    }

    /// Writes metadata and indices, and gives the complete file its name. Voxels are read for the metadata.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn finish(mut self, image: &Arc<VirtualFile>) -> Result<(), ExportError> {
        let plan = image.plan();
        self.output.end_here();
        let mut first = 0;
        for level in (0..plan.levels.len()).rev() {
            for dataset in 0..plan.datasets() {
                let of_level = &plan.layout.levels()[level];
                let count = of_level.bricks.chunk_count();
                let ends = self.output.journal.ends(first, count)?;
                let start = plan.layout.index_address(level, dataset);
                self.write_index(of_level, start, &ends)?;
                first += count;
            }
        }
        let (file, end) = (&self.output.file, self.output.done);
        image.each_packed_metadata(self.packing, end, |at, bytes| {
            // What is not written reads as zero.
            let is_zero = bytes.iter().all(|&byte| byte == 0);
            let written = if is_zero { Ok(()) } else { file.write_all_at(bytes, at) };
            written.map_err(|error| self.output.failed(error))
        })?;
        self.output.finish()
    }

    /// Writes the index of a dataset, whose chunks lie between `ends`.
    fn write_index(
        &self,
        level: &LevelLayout,
        start: u64,
        ends: &[u64],
    ) -> Result<(), ExportError> {
        let chunk = |position| {
            let number = usize::try_from(level.bricks.chunks_before(position));
            let number = number.expect("a number of what is in memory");
            let bytes = u32::try_from(ends[number + 1] - ends[number]);
            // A packed chunk is hardly longer than the chunk, which has fewer than 4 GiB.
            StoredChunk { address: ends[number], bytes: bytes.expect("a chunk") }
        };
        let mut node_bytes = vec![0; usize::try_from(ChunkIndex::NODE_BYTES).expect("small")];
        for node in 0..level.index.node_count() {
            level.index.write_filtered_node(node, start, &chunk, &mut node_bytes);
            let at = start + node * ChunkIndex::NODE_BYTES;
            let written = self.output.file.write_all_at(&node_bytes, at);
            written.map_err(|error| self.output.failed(error))?;
        }
        Ok(())
    }
}

/// Where metadata and indices end.
fn end_of_indices(plan: &ImagePlan) -> u64 {
    let last = plan.levels.len() - 1;
    plan.layout.index_address(last, plan.datasets())
}

/// The brick with a number in the order of the file; `None` behind the last one.
fn brick_at(plan: &ImagePlan, mut number: u64) -> Option<BrickId> {
    for level in (0..plan.levels.len()).rev() {
        let bricks = plan.layout.levels()[level].bricks.count();
        let of_level = bricks * plan.datasets();
        if number < of_level {
            return Some(BrickId { level, dataset: number / bricks, brick: number % bricks });
        }
        number -= of_level;
    }
    None
}

/// Chunks of a brick.
fn chunks_of(grid: &BrickGrid, brick: u64) -> u64 {
    grid.brick_bytes(brick) / grid.chunk_stride()
}

/// Reads a brick and compresses its chunks, on the thread that produces it.
fn ask(
    image: &Arc<VirtualFile>,
    place: BrickId,
    packing: Packing,
    done: impl FnOnce(Result<Chunks, ExportError>) + Send + 'static,
) {
    let plan = image.plan();
    let grid = &plan.layout.levels()[place.level].bricks;
    let [z, y, x] = grid.brick_box(place.brick).map(|range| range.start);
    let start = plan.layout.chunk_address(place.level, place.dataset, [z, y, x]);
    let range = start..start + grid.brick_bytes(place.brick);
    let in_memory = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let (len, stride) = (in_memory(range.end - range.start), in_memory(grid.chunk_stride()));
    let voxels = plan.levels[place.level].chunk.iter().product::<u64>();
    let bytes = in_memory(voxels) * plan.target.bytes();
    let answer = Answer(Some(Box::new(done)));
    let pack = move |read: Result<&[u8], ImageError>| {
        let read = read.map_err(|cause| ExportError::Image { range, cause })?;
        let packed = read.chunks(stride).map(|stored| packing.pack(&stored[..bytes]));
        packed.collect::<std::io::Result<Chunks>>().map_err(ExportError::Filter)
    };
    image.read(start, len, Box::new(move |read| answer.give(pack(read))));
}

type Done = Box<dyn FnOnce(Result<Chunks, ExportError>) + Send>;

/// Whoever waits gets an answer, even if the read is dropped.
struct Answer(Option<Done>);

impl Answer {
    fn give(mut self, chunks: Result<Chunks, ExportError>) {
        if let Some(done) = self.0.take() {
            done(chunks);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(ExportError::Image { range: 0..0, cause: ImageError::Abandoned }));
        }
    }
}
