//! Reads of byte ranges of one virtual file.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::cache::{ImageId, Slot};
use crate::engine::Engine;
use crate::engine::brick::{Brick, BrickDone, Mode, Whole};
use crate::engine::error::ImageError;
use crate::image::images::Images;
use crate::image::levels;
use crate::image::options::ImageOptions;
use crate::image::plan::ImagePlan;
use crate::image::plan::layout::Extent;
use crate::image::voxels::frame::BrickId;
use crate::image::voxels::image::Image;
use crate::ims::ChunkIndex;
use crate::resources::Resources;
use crate::resources::buffer::with_buffer;
use crate::resources::memory::Held;
use crate::resources::shares::{OPEN_FILE_BYTES, OPEN_LEVEL_BYTES};
use crate::source::image::{ImageSource, LevelSource};
use crate::source::{ChunkState, SourceRoot};
use crate::sync::lock;

use super::metadata::{Metadata, Record};
use super::read_ahead::ReadAhead;
use super::records::MOST_LOST;

/// Receives the bytes of a read, possibly on another thread.
type ReadDone = Box<dyn FnOnce(Result<&[u8], ImageError>) + Send>;

/// One virtual `.ims` file in one state of its store.
#[derive(Debug)]
pub struct VirtualFile {
    image: Arc<Image>,
    /// Set once bytes were served that the source may complete any time.
    fleeting: Arc<AtomicBool>,
    /// A reader has met a change of the store.
    is_outdated: AtomicBool,
    metadata: Arc<Metadata>,
    read_ahead: ReadAhead,
    /// What all this takes.
    _held: Held,
}

/// A part of a read that is made from one brick.
#[derive(Clone, Copy)]
struct Part {
    brick: Wanted,
    /// Offset within a brick of voxels; of the metadata, offset within the file.
    at: u64,
    len: usize,
}

/// What a worker can produce.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Record(Record),
    Voxels(BrickId),
}

/// Why a brick does not give the bytes of a part.
enum Miss {
    /// It cannot be read any more.
    Lost,
    Failed(ImageError),
}

/// A read of which parts are still being produced.
struct PendingRead {
    state: Mutex<(Vec<u8>, Option<ImageError>)>,
    missing: AtomicUsize,
    done: Mutex<Option<ReadDone>>,
}

impl VirtualFile {
    /// The virtual file of an image; nothing is read. `chunks` is the state of the chunk files that
    /// the image keeps to, where it does.
    ///
    /// # Errors
    /// [`ImageError`] when no file can be made of it.
    pub fn new(
        root: &SourceRoot,
        source: Arc<ImageSource>,
        images: Arc<Images>,
        chunks: Option<&ChunkState>,
    ) -> Result<Self, ImageError> {
        let options = *images.options();
        Self::planned(root, source, &options, images, chunks)
    }

    /// The same, planned with options of its own.
    ///
    /// # Errors
    /// As for [`VirtualFile::new`].
    pub fn planned(
        root: &SourceRoot,
        source: Arc<ImageSource>,
        options: &ImageOptions,
        images: Arc<Images>,
        chunks: Option<&ChunkState>,
    ) -> Result<Self, ImageError> {
        let plan = ImagePlan::new(&source, options)?;
        let read_ahead = ReadAhead::new(&plan, images.engine().resources().threads + 2);
        let image = Arc::new(Image::new(images, root, source, plan, chunks));
        // A composed image has more arrays than levels.
        let described = image.plan.levels.len().max(image.source.arrays().count());
        let open_bytes =
            OPEN_FILE_BYTES + OPEN_LEVEL_BYTES * described as u64 + image.source.snapshot_bytes();
        let held = image.engine().resources().memory.hold(open_bytes);
        let metadata = Arc::new(Metadata::new(&image));
        let (fleeting, is_outdated) = (Arc::default(), AtomicBool::new(false));
        Ok(Self { image, fleeting, is_outdated, metadata, read_ahead, _held: held })
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        self.image.engine()
    }

    pub(super) fn image(&self) -> &Arc<Image> {
        &self.image
    }

    pub(super) fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.plan().layout.file_bytes()
    }

    /// Identity of the image in the state its metadata had: other content, other identity.
    #[must_use]
    pub fn id(&self) -> ImageId {
        self.image.id
    }

    /// Identity of the image in the state its metadata and its chunks had.
    #[must_use]
    pub fn content(&self) -> ImageId {
        self.image.content
    }

    /// Lets this and later openings of the same inode share the knowledge that bytes were served
    /// which the kernel must not keep.
    pub(crate) fn share_fleeting(&mut self, fleeting: &Arc<AtomicBool>) {
        self.fleeting = fleeting.clone();
    }

    /// Notes that a reader has met a change of the store: whoever opens it next gets a newer state.
    pub(crate) fn outdate(&self) {
        self.is_outdated.store(true, Ordering::Relaxed);
    }

    /// Whether a reader has met a change of the store.
    pub(crate) fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Relaxed)
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &ImagePlan {
        &self.image.plan
    }

    /// The image behind the file.
    #[must_use]
    pub fn source(&self) -> &ImageSource {
        &self.image.source
    }

    /// Reads `len` bytes from `offset`, fewer at the end of the file. `done` is called before this
    /// returns if all bytes are at hand, else by a worker.
    pub fn read(self: &Arc<Self>, offset: u64, len: usize, done: ReadDone) {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let located = self.plan().layout.locate(offset);
        match located.map(|(extent, run)| (self.wanted(extent, offset), run)) {
            Some((Some((brick, at)), run)) if run >= len as u64 => {
                self.read_part(Part { brick, at, len }, done);
            }
            _ => self.read_parts(offset, len, done),
        }
    }

    /// As [`VirtualFile::read`], but waits for the bytes.
    ///
    /// # Errors
    /// [`ImageError`] when they cannot be produced.
    pub fn read_blocking(self: &Arc<Self>, offset: u64, len: usize) -> Result<Vec<u8>, ImageError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = move |result: Result<&[u8], ImageError>| {
            // The receiver waits below.
            let _ = sender.send(result.map(<[u8]>::to_vec));
        };
        self.read(offset, len, Box::new(done));
        receiver.recv().unwrap_or(Err(ImageError::Abandoned))
    }

    /// A read that is made from one brick: no byte of voxels is copied that is in memory.
    fn read_part(self: &Arc<Self>, part: Part, done: ReadDone) {
        match self.at_hand(part.brick) {
            Some(found) => self.serve(part, &found, done, 0),
            None => self.request(part, done, 0),
        }
    }

    /// Gives a part that is made from what was `found`; `lost`: how often that could not be read before.
    fn serve(self: &Arc<Self>, part: Part, found: &Brick, done: ReadDone, lost: u32) {
        if let (Wanted::Voxels(_), Brick::Memory(whole)) = (part.brick, found) {
            return done(Ok(whole.slice(part.at, part.len)));
        }
        with_buffer(part.len, |buffer| match self.fill(part, found, buffer) {
            Ok(()) => done(Ok(buffer)),
            Err(Miss::Failed(error)) => done(Err(error)),
            Err(Miss::Lost) if lost == MOST_LOST => done(Err(ImageError::Abandoned)),
            // The cache failed between the look and the read. Produced again, the brick is in memory, unless
            // another reader has had it stored before this one asked.
            Err(Miss::Lost) => self.request(part, done, lost + 1),
        });
    }

    fn fill(&self, part: Part, found: &Brick, out: &mut [u8]) -> Result<(), Miss> {
        let Wanted::Record(_) = part.brick else {
            return match found {
                Brick::Memory(whole) => {
                    out.copy_from_slice(whole.slice(part.at, part.len));
                    Ok(())
                }
                Brick::Cached(cached) => cached.read_at(part.at, out).map_err(|_| Miss::Lost),
            };
        };
        let record = found.bytes().map_err(|_| Miss::Lost)?;
        match self.metadata.write(&self.image, part.at, out, &record) {
            Err(ImageError::BadRecord) => Err(Miss::Lost),
            result => result.map_err(Miss::Failed),
        }
    }

    /// A read of more than one brick, or of what is no brick.
    fn read_parts(self: &Arc<Self>, offset: u64, len: usize, done: ReadDone) {
        let filled = with_buffer(len, |buffer| {
            let missing = match self.read_ready(offset, buffer) {
                Ok(missing) if missing.is_empty() => {
                    done(Ok(buffer));
                    return None;
                }
                Ok(missing) => missing,
                Err(error) => {
                    done(Err(error));
                    return None;
                }
            };
            Some((missing, buffer.to_vec(), done))
        });
        let Some((missing, buffer, done)) = filled else { return };
        let pending = Arc::new(PendingRead {
            state: Mutex::new((buffer, None)),
            missing: AtomicUsize::new(missing.len()),
            done: Mutex::new(Some(done)),
        });
        for (part, at) in missing {
            let pending = pending.clone();
            let done = move |result: Result<&[u8], ImageError>| pending.part_done(at, result);
            self.request(part, Box::new(done), 0);
        }
    }

    /// Fills what is at hand and returns what is not, with its place in the buffer.
    fn read_ready(
        self: &Arc<Self>,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<Vec<(Part, usize)>, ImageError> {
        let mut missing = Vec::new();
        let mut at = 0;
        while at < buffer.len() {
            let place = offset + at as u64;
            let Some((extent, run)) = self.plan().layout.locate(place) else { break };
            let run = usize::try_from(run).unwrap_or(usize::MAX).min(buffer.len() - at);
            let start = at;
            at += run;
            let out = &mut buffer[start..at];
            let Some((brick, within)) = self.wanted(extent, place) else {
                match extent {
                    Extent::IndexNode { level, dataset, node, within } => {
                        self.read_index_node(level, dataset, node, within, out);
                    }
                    Extent::Metadata { .. } => self.metadata.write(&self.image, place, out, &[])?,
                    Extent::Brick { .. } | Extent::Zero => out.fill(0),
                }
                continue;
            };
            let part = Part { brick, at: within, len: run };
            match self.at_hand(brick).map(|found| self.fill(part, &found, out)) {
                Some(Ok(())) => {}
                Some(Err(Miss::Failed(error))) => return Err(error),
                Some(Err(Miss::Lost)) | None => missing.push((part, start)),
            }
        }
        Ok(missing)
    }

    /// What bytes of an extent, which are at `offset`, are made from, but for what is made on the spot.
    fn wanted(&self, extent: Extent, offset: u64) -> Option<(Wanted, u64)> {
        match extent {
            Extent::Metadata { part } => {
                self.metadata.record_of(part).map(|record| (Wanted::Record(record), offset))
            }
            Extent::Brick { level, dataset, brick, within } => {
                Some((Wanted::Voxels(BrickId { level, dataset, brick }), within))
            }
            Extent::IndexNode { .. } | Extent::Zero => None,
        }
    }

    fn at_hand(self: &Arc<Self>, brick: Wanted) -> Option<Brick> {
        if let Wanted::Record(record) = brick
            && let Some(seen) = self.metadata.seen(record)
        {
            return Some(seen);
        }
        let found = self.engine().kept().get_ready(self.slot(brick))?;
        match brick {
            Wanted::Record(record) => self.measure_ahead(record),
            Wanted::Voxels(brick) if matches!(found, Brick::Memory(_)) => {
                let most = self.most_ahead(brick.level);
                if let Some(next) = self.read_ahead.found(brick, most) {
                    self.make_ahead(next);
                }
            }
            Wanted::Voxels(_) => {}
        }
        Some(self.settled(brick, found, false))
    }

    /// Bricks of a level that may be in memory before anybody wants them.
    fn most_ahead(&self, level: usize) -> u64 {
        self.engine().kept().ahead_bytes()
            / self.plan().layout.levels()[level].bricks.full_brick_bytes()
    }

    /// Makes bricks that no reader has asked for yet, when workers have nothing else to do.
    fn make_ahead(self: &Arc<Self>, bricks: Vec<BrickId>) {
        for brick in bricks {
            let file = self.clone();
            let stored = self.image.stored(brick.level);
            let is_remote = stored.is_some_and(LevelSource::is_remote);
            let Resources { workers, fetchers, .. } = &**self.engine().resources();
            let workers = if is_remote { fetchers } else { workers };
            workers.spawn_when_idle(move || {
                let image = &file.image;
                let produce = || image.produce(brick);
                let is_stored = image.stored(brick.level).is_some();
                let slot = image.slot(brick);
                let shared = image.shared_key(slot.key, true);
                if !is_stored || !file.engine().make_ahead(slot, shared, produce) {
                    file.read_ahead.not_made(brick);
                }
            });
        }
    }

    fn read_index_node(&self, level: usize, dataset: u64, node: u64, within: u64, out: &mut [u8]) {
        let mut bytes = [0; NODE_BYTES];
        let layout = &self.plan().layout;
        let index = &layout.levels()[level].index;
        let start = layout.index_address(level, dataset);
        let address = |chunk| layout.chunk_address(level, dataset, chunk);
        index.write_node(node, start, &address, &mut bytes);
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        out.copy_from_slice(&bytes[within..within + out.len()]);
    }

    /// Where a brick is kept.
    fn slot(&self, brick: Wanted) -> Slot {
        match brick {
            Wanted::Voxels(brick) => self.image.slot(brick),
            Wanted::Record(record) => self.metadata.slot(&self.image, record),
        }
    }

    /// Requests a part; `lost`: how often it was there and could not be read.
    fn request(self: &Arc<Self>, part: Part, done: ReadDone, lost: u32) {
        let unreadable = lost > 0;
        let again = self.clone();
        let done = move |result: Result<Brick, ImageError>| match result {
            Ok(found) => {
                let found = again.settled(part.brick, found, unreadable);
                again.serve(part, &found, done, lost);
            }
            Err(error) => done(Err(error)),
        };
        let mode = Mode { unreadable, ..Mode::default() };
        match part.brick {
            Wanted::Record(record) => {
                self.request_record(record, mode, Box::new(done));
                self.measure_ahead(record);
            }
            Wanted::Voxels(brick) if self.image.stored(brick.level).is_some() => {
                let image = self.image.clone();
                let produce = move || image.produce(brick);
                let slot = self.image.slot(brick);
                let mode = Mode { shared: self.image.shared_key(slot.key, true), ..mode };
                let is_under_way = self.engine().is_under_way(slot);
                self.engine().request(slot, mode, produce, Box::new(done));
                let most = self.most_ahead(brick.level);
                self.make_ahead(self.read_ahead.missed(brick, is_under_way, most));
            }
            Wanted::Voxels(brick) => {
                levels::request(&self.image, brick, Box::new(done));
            }
        }
    }

    pub(super) fn request_record(&self, record: Record, mode: Mode, done: BrickDone) {
        self.metadata.request(&self.image, record, mode, done);
    }

    /// Has the records made that a reader of this one will probably want.
    fn measure_ahead(self: &Arc<Self>, record: Record) {
        for record in self.metadata.ahead(self.plan(), record) {
            let slot = self.metadata.slot(&self.image, record);
            if !self.engine().is_under_way(slot) && !self.engine().kept().is_cached(slot) {
                // Whoever reads it later sees the error.
                self.request_record(record, Mode::default(), Box::new(drop));
            }
        }
    }

    /// Remembers that bytes were served which the source may complete any time.
    pub(super) fn note(&self, fleeting: bool) {
        if fleeting {
            self.fleeting.store(true, Ordering::Relaxed);
        }
    }

    /// Notes what is served: bytes that may be others at the next opening, and records, of which the first one is the
    /// one for all readers of an opening, unless it was `lost`.
    fn settled(&self, brick: Wanted, found: Brick, lost: bool) -> Brick {
        let is_fleeting = matches!(found, Brick::Memory(Whole { lasting: false, .. }));
        // Only a chunk need change to give another one.
        let is_derived = match brick {
            Wanted::Voxels(brick) => self.image.stored(brick.level).is_none(),
            Wanted::Record(record) => Metadata::is_exact(record),
        };
        self.note(is_fleeting || (is_derived && !self.image.follows_chunks));
        match brick {
            Wanted::Voxels(_) => found,
            Wanted::Record(record) => self.metadata.settled(record, found, lost),
        }
    }
}

/// Size of an index node as an array length.
const NODE_BYTES: usize = 3136;
const _: () = assert!(NODE_BYTES as u64 == ChunkIndex::NODE_BYTES);

impl PendingRead {
    /// Takes the bytes of one part in, which go to `at`; the last one ends the read.
    fn part_done(&self, at: usize, result: Result<&[u8], ImageError>) {
        {
            let mut state = lock(&self.state);
            match result {
                Ok(bytes) => state.0[at..at + bytes.len()].copy_from_slice(bytes),
                Err(error) => state.1 = Some(error),
            }
        }
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let (bytes, error) = std::mem::take(&mut *lock(&self.state));
            if let Some(done) = lock(&self.done).take() {
                done(error.map_or(Ok(&bytes), Err));
            }
        }
    }
}

#[cfg(test)]
mod tests;
