//! Reads of byte ranges of one virtual file.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};

use xxhash_rust::xxh3::xxh3_128;

use crate::cache::{BrickKey, ImageId, Slot};
use crate::ims::{ChunkIndex, build_skeleton};
use crate::source::SourceRoot;
use crate::source::image::ImageSource;

use super::ImageError;
use super::engine::{Brick, Engine, Mode, Produced};
use super::fill::BrickJob;
use super::layout::Extent;
use super::pixels;
use super::plan::ImagePlan;

/// Changes whenever equal stores would give other bytes than before; part of every image's identity.
const FORMAT_VERSION: u32 = 1;

/// The cache space of the metadata region; resolution levels take the spaces from 0.
const METADATA_SPACE: u16 = u16::MAX;

/// Receives the bytes of a read, possibly on another thread.
pub type ReadDone = Box<dyn FnOnce(Result<Vec<u8>, ImageError>) + Send>;

/// One virtual `.ims` file in one state of its store.
#[derive(Debug)]
pub struct VirtualFile {
    source: Arc<ImageSource>,
    plan: ImagePlan,
    id: ImageId,
    engine: Arc<Engine>,
    /// Set once bytes were served that the source may complete any time.
    fleeting: Arc<AtomicBool>,
    /// The metadata region, where it may not be kept on disk: readers of one opening must see one.
    metadata: OnceLock<Arc<Vec<u8>>>,
}

/// A part of a read that waits for a brick.
struct Missing {
    brick: Wanted,
    /// Offset within the brick.
    within: u64,
    /// Where the bytes go in the reader's buffer.
    out: std::ops::Range<usize>,
}

/// What a worker can produce.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Metadata,
    Voxels { level: usize, dataset: u64, brick: u64 },
}

/// A read of which parts are still being produced.
struct PendingRead {
    state: Mutex<(Vec<u8>, Option<ImageError>)>,
    missing: AtomicUsize,
    done: Mutex<Option<ReadDone>>,
}

impl VirtualFile {
    /// The virtual file of an image; nothing is read.
    ///
    /// # Errors
    /// [`ImageError`] when no file can be made of it.
    pub fn new(
        root: &SourceRoot,
        source: Arc<ImageSource>,
        engine: Arc<Engine>,
    ) -> Result<Self, ImageError> {
        let plan = ImagePlan::new(&source)?;
        plan.ims.validate()?;
        let id = identity(root, &source, &plan);
        let fleeting = Arc::default();
        Ok(Self { source, plan, id, engine, fleeting, metadata: OnceLock::new() })
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.plan.layout.file_bytes()
    }

    /// Identity of the image in the state its metadata had: other content, other identity.
    #[must_use]
    pub fn id(&self) -> ImageId {
        self.id
    }

    /// Lets this and later openings of the same inode share the knowledge that bytes were served
    /// which the kernel must not keep.
    pub(crate) fn share_fleeting(&mut self, fleeting: &Arc<AtomicBool>) {
        self.fleeting = fleeting.clone();
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &ImagePlan {
        &self.plan
    }

    /// The image behind the file.
    #[must_use]
    pub fn source(&self) -> &ImageSource {
        &self.source
    }

    /// Reads `len` bytes from `offset`, fewer at the end of the file. `done` is called before this
    /// returns if all bytes are at hand, else by a worker.
    pub fn read(self: &Arc<Self>, offset: u64, len: usize, done: ReadDone) {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; len.min(left)];
        let missing = self.read_ready(offset, &mut buffer);
        if missing.is_empty() {
            done(Ok(buffer));
            return;
        }
        let pending = Arc::new(PendingRead {
            state: Mutex::new((buffer, None)),
            missing: AtomicUsize::new(missing.len()),
            done: Mutex::new(Some(done)),
        });
        for part in missing {
            self.request(part, pending.clone(), false);
        }
    }

    /// As [`VirtualFile::read`], but waits for the bytes.
    ///
    /// # Errors
    /// [`ImageError`] when they cannot be produced.
    pub fn read_blocking(self: &Arc<Self>, offset: u64, len: usize) -> Result<Vec<u8>, ImageError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = move |result| {
            // The receiver waits below.
            let _ = sender.send(result);
        };
        self.read(offset, len, Box::new(done));
        receiver.recv().unwrap_or(Err(ImageError::Abandoned))
    }

    /// Fills what is at hand and returns what is not.
    fn read_ready(&self, offset: u64, buffer: &mut [u8]) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut at = 0;
        while at < buffer.len() {
            let Some((extent, run)) = self.plan.layout.locate(offset + at as u64) else { break };
            let run = usize::try_from(run).unwrap_or(usize::MAX).min(buffer.len() - at);
            let out = at..at + run;
            at += run;
            let (brick, within) = match extent {
                Extent::Zero => continue,
                Extent::IndexNode { level, dataset, node, within } => {
                    self.read_index_node(level, dataset, node, within, &mut buffer[out]);
                    continue;
                }
                Extent::Metadata { within } => (Wanted::Metadata, within),
                Extent::Brick { level, dataset, brick, within } => {
                    (Wanted::Voxels { level, dataset, brick }, within)
                }
            };
            let ready = self
                .at_hand(brick)
                .is_some_and(|found| found.read_at(within, &mut buffer[out.clone()]).is_ok());
            if !ready {
                missing.push(Missing { brick, within, out });
            }
        }
        missing
    }

    fn at_hand(&self, brick: Wanted) -> Option<Brick> {
        match (brick, self.metadata.get()) {
            (Wanted::Metadata, Some(bytes)) => Some(Brick::Memory(bytes.clone())),
            _ => {
                let found = self.engine.get_ready(self.slot(brick));
                found.map(|found| self.settled(brick, found))
            }
        }
    }

    fn read_index_node(&self, level: usize, dataset: u64, node: u64, within: u64, out: &mut [u8]) {
        let mut bytes = [0; NODE_BYTES];
        let layout = &self.plan.layout;
        let index = &layout.levels()[level].index;
        let start = layout.index_address(level, dataset);
        let address = |chunk| layout.chunk_address(level, dataset, chunk);
        index.write_node(node, start, &address, &mut bytes);
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        out.copy_from_slice(&bytes[within..within + out.len()]);
    }

    fn slot(&self, brick: Wanted) -> Slot {
        let (space, index, slot_bytes) = match brick {
            Wanted::Metadata => (METADATA_SPACE, 0, self.plan.layout.metadata_bytes()),
            Wanted::Voxels { level, dataset, brick } => {
                let bricks = &self.plan.layout.levels()[level].bricks;
                let per_dataset: u64 = bricks.bricks().iter().product();
                // There are never 65535 levels: each halves an axis.
                let space = u16::try_from(level).unwrap_or(METADATA_SPACE - 1);
                (space, dataset * per_dataset + brick, bricks.full_brick_bytes())
            }
        };
        Slot { key: BrickKey { image: self.id, space, index }, slot_bytes }
    }

    fn request(self: &Arc<Self>, part: Missing, pending: Arc<PendingRead>, unreadable: bool) {
        let Missing { brick, within, out } = part;
        let slot = self.slot(brick);
        let file = self.clone();
        let again = self.clone();
        let done = move |result: Result<Brick, ImageError>| match result {
            Ok(found) => {
                let found = again.settled(brick, found);
                let mut bytes = vec![0; out.len()];
                match found.read_at(within, &mut bytes) {
                    Ok(()) => pending.part_done(out, Ok(bytes)),
                    // The cache failed between the look and the read: produce it anew.
                    Err(_) => again.request(Missing { brick, within, out }, pending, true),
                }
            }
            Err(error) => pending.part_done(out, Err(error)),
        };
        let produce = move |engine: &Engine| file.produce(engine, brick);
        let mode = Mode { keep_in_memory: matches!(brick, Wanted::Metadata), unreadable };
        self.engine.request(slot, mode, produce, Box::new(done));
    }

    fn produce(&self, engine: &Engine, brick: Wanted) -> Result<Produced, ImageError> {
        let result = match brick {
            Wanted::Metadata => self.produce_metadata(engine),
            Wanted::Voxels { level, dataset, brick } => {
                let source = &self.source.levels[self.plan.levels[level].source];
                let job = BrickJob { plan: &self.plan, level, source, dataset, brick };
                engine.with_memory(job.memory_bytes(), || job.produce())
            }
        };
        if result.as_ref().is_ok_and(|produced| !produced.keep) {
            self.fleeting.store(true, Ordering::Relaxed);
        }
        if let Err(error) = &result {
            let store = self.source.folder();
            tracing::error!(store = %store.display(), ?brick, %error, "cannot produce voxels");
        }
        result
    }

    /// The first metadata region of an opening is the one for all its readers.
    fn settled(&self, brick: Wanted, found: Brick) -> Brick {
        match (brick, found) {
            (Wanted::Metadata, Brick::Memory(bytes)) if self.fleeting.load(Ordering::Relaxed) => {
                Brick::Memory(self.metadata.get_or_init(|| bytes).clone())
            }
            (_, found) => found,
        }
    }

    fn produce_metadata(&self, engine: &Engine) -> Result<Produced, ImageError> {
        let with_memory = |bytes: u64, work: &mut dyn FnMut() -> Result<Produced, ImageError>| {
            engine.with_memory(bytes, work)
        };
        let measured = pixels::measure(&self.plan, &self.source, &with_memory)?;
        let layout = &self.plan.layout;
        let channels = self.plan.ims.channels.len() as u64;
        let index_root =
            |level: usize, t: u64, c: usize| layout.index_root(level, t * channels + c as u64);
        let bytes = build_skeleton(
            &self.plan.ims,
            &measured.metadata,
            layout.metadata_bytes(),
            layout.file_bytes(),
            &index_root,
        )?;
        Ok(Produced { bytes, keep: measured.keep })
    }
}

/// Size of an index node as an array length.
const NODE_BYTES: usize = 3136;
const _: () = assert!(NODE_BYTES as u64 == ChunkIndex::NODE_BYTES);

impl PendingRead {
    /// Takes one part in; the last one ends the read.
    fn part_done(&self, out: std::ops::Range<usize>, result: Result<Vec<u8>, ImageError>) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(bytes) => state.0[out].copy_from_slice(&bytes),
                Err(error) => state.1 = Some(error),
            }
        }
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let result = match state.1.take() {
                Some(error) => Err(error),
                None => Ok(std::mem::take(&mut state.0)),
            };
            drop(state);
            let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(done) = done {
                done(result);
            }
        }
    }
}

/// Hash of everything the bytes depend on: the plan, and the state of the files it was made from.
fn identity(root: &SourceRoot, source: &ImageSource, plan: &ImagePlan) -> ImageId {
    let described = format!(
        "{FORMAT_VERSION}\0{:?}\0{}\0{:?}\0{:?}\0{:?}\0{:?}",
        (root.path(), &source.store, &source.image),
        source.multiscale,
        source.channels,
        plan.ims,
        plan.levels,
        source.fingerprint.entries().collect::<Vec<_>>(),
    );
    ImageId(xxh3_128(described.as_bytes()))
}
