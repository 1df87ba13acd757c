//! Reads of byte ranges of one virtual file.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::cache::{BrickKey, ImageId, Slot};
use crate::engine::Engine;
use crate::engine::brick::{Brick, BrickDone, Keep, Mode, Produced, Purpose, Whole};
use crate::engine::error::ImageError;
use crate::image::images::Images;
use crate::image::levels;
use crate::image::measure::statistics;
use crate::image::options::{ImageOptions, Statistics};
use crate::image::plan::ImagePlan;
use crate::image::plan::layout::Extent;
use crate::image::voxels::frame::BrickId;
use crate::image::voxels::image::Image;
use crate::image::voxels::space::Space;
use crate::ims::{ChunkIndex, PixelMetadata, build_skeleton};
use crate::resources::Resources;
use crate::resources::buffer::with_buffer;
use crate::resources::memory::Held;
use crate::resources::shares::{OPEN_FILE_BYTES, OPEN_LEVEL_BYTES};
use crate::source::image::{ImageSource, LevelSource};
use crate::source::{ChunkState, SourceRoot};
use crate::sync::lock;

use super::read_ahead::ReadAhead;

/// Times that a part of one read may be found in the cache and not be readable there.
const MOST_LOST: u32 = 16;

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
    /// The metadata region, once served: made again it might be another, and readers of one opening
    /// must see one.
    metadata: Mutex<Option<Brick>>,
    read_ahead: ReadAhead,
    /// What all this takes.
    _held: Held,
}

/// A part of a read that lies in one brick.
#[derive(Clone, Copy)]
struct Part {
    brick: Wanted,
    /// Offset within the brick.
    within: u64,
    len: usize,
}

/// What a worker can produce.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Metadata,
    Voxels(BrickId),
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
        plan.ims.validate()?;
        let read_ahead = ReadAhead::new(&plan, images.engine().resources().threads + 2);
        let image = Arc::new(Image::new(images, root, source, plan, chunks));
        // A composed image has more arrays than levels.
        let described = image.plan.levels.len().max(image.source.arrays().count());
        let open_bytes =
            OPEN_FILE_BYTES + OPEN_LEVEL_BYTES * described as u64 + image.source.snapshot_bytes();
        let held = image.engine().resources().memory.hold(open_bytes);
        let (fleeting, is_outdated, metadata) =
            (Arc::default(), AtomicBool::new(false), Mutex::default());
        Ok(Self { image, fleeting, is_outdated, metadata, read_ahead, _held: held })
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        self.image.engine()
    }

    pub(super) fn image(&self) -> &Arc<Image> {
        &self.image
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
        match self.plan().layout.locate(offset).map(|(extent, run)| (wanted(extent), run)) {
            Some((Some((brick, within)), run)) if run >= len as u64 => {
                self.read_part(Part { brick, within, len }, done);
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

    /// A read that lies in one brick: no byte is copied that is in memory.
    fn read_part(self: &Arc<Self>, part: Part, done: ReadDone) {
        match self.at_hand(part.brick) {
            Some(Brick::Memory(whole)) => done(Ok(whole.slice(part.within, part.len))),
            Some(Brick::Cached(brick)) => {
                with_buffer(part.len, |buffer| match brick.read_at(part.within, buffer) {
                    Ok(()) => done(Ok(buffer)),
                    Err(_) => self.request(part, done, 1),
                });
            }
            None => self.request(part, done, 0),
        }
    }

    /// A read of more than one brick, or of what is no brick.
    fn read_parts(self: &Arc<Self>, offset: u64, len: usize, done: ReadDone) {
        let filled = with_buffer(len, |buffer| {
            let missing = self.read_ready(offset, buffer);
            if missing.is_empty() {
                done(Ok(buffer));
                return None;
            }
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
    fn read_ready(self: &Arc<Self>, offset: u64, buffer: &mut [u8]) -> Vec<(Part, usize)> {
        let mut missing = Vec::new();
        let mut at = 0;
        while at < buffer.len() {
            let Some((extent, run)) = self.plan().layout.locate(offset + at as u64) else { break };
            let run = usize::try_from(run).unwrap_or(usize::MAX).min(buffer.len() - at);
            let start = at;
            at += run;
            let out = &mut buffer[start..at];
            let Some((brick, within)) = wanted(extent) else {
                match extent {
                    Extent::IndexNode { level, dataset, node, within } => {
                        self.read_index_node(level, dataset, node, within, out);
                    }
                    _ => out.fill(0),
                }
                continue;
            };
            let is_ready = match self.at_hand(brick) {
                Some(Brick::Memory(whole)) => {
                    out.copy_from_slice(whole.slice(within, run));
                    true
                }
                Some(Brick::Cached(brick)) => brick.read_at(within, out).is_ok(),
                None => false,
            };
            if !is_ready {
                missing.push((Part { brick, within, len: run }, start));
            }
        }
        missing
    }

    fn at_hand(self: &Arc<Self>, brick: Wanted) -> Option<Brick> {
        if let Wanted::Metadata = brick
            && let Some(known) = &*lock(&self.metadata)
        {
            return Some(known.clone());
        }
        let found = self.engine().kept().get_ready(self.slot(brick))?;
        if let (Wanted::Voxels(brick), Brick::Memory(_)) = (brick, &found) {
            let most = self.most_ahead(brick.level);
            if let Some(next) = self.read_ahead.found(brick, most) {
                self.make_ahead(next);
            }
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

    /// Where a part is kept.
    fn slot(&self, part: Wanted) -> Slot {
        let space = match part {
            Wanted::Voxels(brick) => return self.image.slot(brick),
            Wanted::Metadata if self.is_exact() => Space::ExactMetadata,
            Wanted::Metadata => Space::Metadata,
        };
        let key = BrickKey { image: self.image.content, space: space.number(), index: 0 };
        Slot { key, slot_bytes: self.plan().layout.metadata_bytes(), is_proven: true }
    }

    /// Whether the metadata region depends on all voxels.
    fn is_exact(&self) -> bool {
        self.image.images.options().statistics == Statistics::Exact
    }

    /// Requests a part; `lost`: how often it was there and could not be read.
    fn request(self: &Arc<Self>, part: Part, done: ReadDone, lost: u32) {
        let Part { brick, within, len } = part;
        let unreadable = lost > 0;
        let again = self.clone();
        let done = move |result: Result<Brick, ImageError>| {
            let found = match result {
                Ok(found) => again.settled(brick, found, unreadable),
                Err(error) => return done(Err(error)),
            };
            match found {
                Brick::Memory(whole) => done(Ok(whole.slice(within, len))),
                Brick::Cached(cached) => with_buffer(len, |buffer| {
                    match cached.read_at(within, buffer) {
                        Ok(()) => done(Ok(buffer)),
                        Err(_) if lost == MOST_LOST => done(Err(ImageError::Abandoned)),
                        // The cache failed between the look and the read. Produced again, the brick is
                        // in memory, unless another reader has had it stored before this one asked.
                        Err(_) => again.request(part, done, lost + 1),
                    }
                }),
            }
        };
        let mode = Mode { unreadable, ..Mode::default() };
        match brick {
            Wanted::Metadata => self.request_metadata(mode, Box::new(done)),
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

    fn request_metadata(self: &Arc<Self>, mode: Mode, done: BrickDone) {
        let slot = self.slot(Wanted::Metadata);
        let shared = self.image.shared_key(slot.key, false);
        let mode = Mode { purpose: Purpose::Metadata, shared, ..mode };
        let file = self.clone();
        let produce = move || file.produce_metadata();
        self.engine().request(slot, mode, produce, done);
    }

    /// Remembers that bytes were served which the source may complete any time.
    pub(super) fn note(&self, fleeting: bool) {
        if fleeting {
            self.fleeting.store(true, Ordering::Relaxed);
        }
    }

    /// Notes what is served: bytes that may be others at the next opening, and the metadata region,
    /// of which the first one is the one for all readers of an opening, unless it was `lost`.
    fn settled(&self, part: Wanted, found: Brick, lost: bool) -> Brick {
        let is_fleeting = matches!(found, Brick::Memory(Whole { lasting: false, .. }));
        match part {
            Wanted::Voxels(brick) => {
                // Only a chunk need change to give another computed brick.
                let is_computed = self.image.stored(brick.level).is_none();
                self.note(is_fleeting || (is_computed && !self.image.follows_chunks));
                found
            }
            Wanted::Metadata => {
                self.note(is_fleeting || (self.is_exact() && !self.image.follows_chunks));
                // A large region stays in memory only until it is on disk.
                let is_passing = matches!(found, Brick::Memory(Whole { lasting: true, .. }));
                let mut known = lock(&self.metadata);
                match &*known {
                    Some(known) if !lost => known.clone(),
                    _ => {
                        *known = (!is_passing || self.is_exact()).then(|| found.clone());
                        found
                    }
                }
            }
        }
    }

    /// What the metadata says of the voxels, as the file has it. Waits for voxels.
    ///
    /// # Errors
    /// [`ImageError`] when they cannot be read.
    pub fn pixel_metadata(&self) -> Result<PixelMetadata, ImageError> {
        let memory = self.engine().resources().reserve_aside(statistics::memory_bytes(&self.image));
        Ok(statistics::measure(&self.image, &Arc::new(memory))?.metadata)
    }

    fn produce_metadata(&self) -> Result<Produced, ImageError> {
        let layout = &self.plan().layout;
        // What libhdf5 writes to, which grows by doubling, and what is made of it.
        let bytes = layout.metadata_bytes().saturating_mul(3);
        let bytes = bytes.saturating_add(statistics::memory_bytes(&self.image));
        let memory = Arc::new(self.engine().resources().reserve_aside(bytes));
        let result = statistics::measure(&self.image, &memory).and_then(|measured| {
            let channels = self.plan().ims.channels.len() as u64;
            let index_root =
                |level: usize, t: u64, c: usize| layout.index_root(level, t * channels + c as u64);
            let bytes = build_skeleton(
                &self.plan().ims,
                &measured.metadata,
                layout.metadata_bytes(),
                layout.file_bytes(),
                &index_root,
            )?;
            let keep = if measured.keep { Keep::OnDisk } else { Keep::FLEETING };
            Ok(Produced::new(Arc::new(bytes.into()), keep, false))
        });
        if let Err(error) = &result {
            let store = self.source().folder();
            tracing::error!(store = %store.display(), %error, "cannot produce the metadata");
        }
        result
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

/// Where the bytes of an extent are kept, but for what is made on the spot.
fn wanted(extent: Extent) -> Option<(Wanted, u64)> {
    match extent {
        Extent::Metadata { within } => Some((Wanted::Metadata, within)),
        Extent::Brick { level, dataset, brick, within } => {
            Some((Wanted::Voxels(BrickId { level, dataset, brick }), within))
        }
        Extent::IndexNode { .. } | Extent::Zero => None,
    }
}

#[cfg(test)]
mod tests;
