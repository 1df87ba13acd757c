//! One Zarr array, opened through `zarrs` behind the fences of this layer.

use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use zarrs::array::Array;
use zarrs::metadata::ArrayMetadata;
use zarrs::metadata::v3::MetadataV3;
use zarrs::plugin::ExtensionName;

use crate::buffer::Buffer;
use crate::resources::shares::{DEFAULT_BUDGET_BYTES, REMEMBERED_UNIT_BYTES, Shares};

use super::chunk_keys::{ChunkNames, Found, Scheme};
use super::codec::{Blob, DecodeError, IndexCache, UnitCodec};
use super::error::{SourceError, Unsupported};
use super::metadata::{ArrayDescription, ArrayNode};
use super::remembered::Remembered;
use super::root::{Absence, SourceRoot};
use super::snapshot::{LookBudget, Since, Snapshot, Unfollowed};
use super::source_type::SourceType;
use super::storage::{FileStamp, OpenFile};

/// Until an engine sets the budget.
const DEFAULT: Shares = Shares::of(DEFAULT_BUDGET_BYTES);

/// The shard indices that were decoded lately, by the number of the array.
static INDICES: Remembered<(u64, IndexKey), Arc<Vec<u64>>> =
    Remembered::new(DEFAULT.shard_indices());

/// The unit that each array has decoded last, where it is to remember it.
static UNITS: Remembered<u64, LastUnit> = Remembered::new(DEFAULT.last_units());

/// Numbers of arrays.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Sets how much arrays remember.
pub(crate) fn remember_at_most(shares: Shares) {
    INDICES.set_limit(shares.shard_indices());
    UNITS.set_limit(shares.last_units());
}

/// Forgets what arrays remember.
pub(crate) fn forget_remembered() {
    INDICES.clear();
    UNITS.clear();
}

/// Bytes of one read unit in C order of the array's axes, native byte order.
#[derive(Debug)]
pub enum UnitBytes {
    /// The unit is stored.
    Stored {
        /// Its voxels.
        bytes: Arc<Buffer>,
        /// A later change of its file will bear another time.
        is_settled: bool,
    },
    /// The unit is absent: every voxel has the fill value.
    Fill,
}

impl UnitBytes {
    /// Whether a later change would be noticed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Stored { is_settled: true, .. })
    }
}

/// A Zarr array that can be read unit by unit.
///
/// A *read unit* is the smallest piece that can be decoded by itself: the inner chunk where the array
/// is sharded, else the chunk. Units form a regular grid from the origin; those at the far edges are
/// stored in full.
#[derive(Debug)]
pub struct ZarrArray {
    root: Arc<SourceRoot>,
    folder: PathBuf,
    metadata_file: PathBuf,
    metadata_stamp: Option<FileStamp>,
    array: Array<()>,
    codec: UnitCodec,
    chunk_shape: Vec<u64>,
    unit_shape: Vec<u64>,
    source_type: SourceType,
    zarr_format: u8,
    fill: Vec<u8>,
    chunk_names: ChunkNames,
    number: u64,
    remember: bool,
    snapshot: OnceLock<Snapshot>,
}

/// Which shard index: the file, the state it was in, and the place within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct IndexKey {
    file: String,
    stamp: FileStamp,
    shard: (u64, u64),
}

impl ZarrArray {
    /// Builds an array from its metadata; reads no chunk.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] for everything that cannot be shown as voxels.
    pub(crate) fn open(
        root: &Arc<SourceRoot>,
        folder: &Path,
        node: &ArrayNode,
    ) -> Result<Self, SourceError> {
        let refuse = |reason: Unsupported| SourceError::unsupported(folder, reason);
        let ArrayDescription { metadata, codecs, states_chunk_names, subfolders } =
            node.described()?;
        let shape = match &metadata {
            ArrayMetadata::V2(v2) => v2.shape.clone(),
            ArrayMetadata::V3(v3) => v3.shape.clone(),
        };
        if !(2..=MAX_DIMENSIONS).contains(&shape.len()) {
            return Err(refuse(Unsupported::Dimensions(shape.len())));
        }
        if shape.contains(&0) {
            return Err(refuse(Unsupported::ZeroLength));
        }
        check_extensions(&metadata).map_err(refuse)?;
        let array: Array<()> = Array::new_with_metadata(Arc::new(()), "/", metadata)
            .map_err(|error| refuse(Unsupported::Array(one_line(&error))))?;
        let type_name = array.data_type().name_v3().unwrap_or_default().into_owned();
        let source_type = SourceType::from_zarr_v3(&type_name)
            .ok_or_else(|| refuse(Unsupported::DataType(type_name)))?;
        let voxels_fit = shape
            .iter()
            .try_fold(source_type.bytes() as u64, |bytes, &n| bytes.checked_mul(n))
            .is_some_and(|bytes| bytes < LARGEST_ARRAY_BYTES);
        if !voxels_fit {
            return Err(refuse(Unsupported::TooLarge(shape)));
        }
        let chunk_shape: Vec<NonZeroU64> = array
            .chunk_shape(&vec![0; shape.len()])
            .map_err(|error| refuse(Unsupported::Array(one_line(&error))))?;
        let codec = UnitCodec::new(&codecs, &chunk_shape, source_type).map_err(refuse)?;
        let unit_shape = codec.unit_shape();
        let fill = array.fill_value().as_ne_bytes().to_vec();
        let chunk_names = ChunkNames::new(&array, subfolders, states_chunk_names);
        Ok(Self {
            root: root.clone(),
            folder: folder.to_path_buf(),
            metadata_file: node.file.clone(),
            metadata_stamp: Some(node.stamp),
            chunk_shape: chunk_shape.iter().map(|n| n.get()).collect(),
            unit_shape,
            codec,
            source_type,
            zarr_format: node.zarr_format,
            fill,
            chunk_names,
            array,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            remember: false,
            snapshot: OnceLock::new(),
        })
    }

    /// Length of each dimension in voxels, stored axis order.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        self.array.shape()
    }

    /// Shape of a read unit in voxels, stored axis order.
    #[must_use]
    pub fn unit_shape(&self) -> &[u64] {
        &self.unit_shape
    }

    /// Shape of a chunk (a shard, where there are shards) in voxels, stored axis order.
    #[must_use]
    pub fn chunk_shape(&self) -> &[u64] {
        &self.chunk_shape
    }

    /// Type of the stored voxels.
    #[must_use]
    pub fn source_type(&self) -> SourceType {
        self.source_type
    }

    /// The fill value, in native byte order.
    #[must_use]
    pub fn fill_value(&self) -> &[u8] {
        &self.fill
    }

    /// Zarr format of the metadata: 2 or 3.
    #[must_use]
    pub fn zarr_format(&self) -> u8 {
        self.zarr_format
    }

    /// Looks at all files of the array as they are now.
    pub(super) fn look(&self, budget: &mut LookBudget) -> Result<Snapshot, Unfollowed> {
        Snapshot::take(&self.root, &self.folder, budget)
    }

    /// From now on, chunks are given as they were then, or not at all. The first snapshot counts.
    pub(super) fn keep_to(&self, snapshot: Snapshot) {
        self.snapshot.get_or_init(|| snapshot);
    }

    /// Whether the folders of the chunks are as they were when the image was opened, as far as they were
    /// looked at.
    pub(super) fn has_same_folders(&self) -> bool {
        let snapshot = self.snapshot.get();
        snapshot.is_none_or(|snapshot| snapshot.has_same_folders(&self.root, &self.folder))
    }

    /// Path of the array below the source folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Size in bytes of a decoded read unit.
    #[must_use]
    pub fn unit_bytes(&self) -> u64 {
        self.unit_shape.iter().product::<u64>() * self.source_type.bytes() as u64
    }

    /// Decodes the read unit at `position`, counted in units along each axis.
    ///
    /// # Errors
    /// [`SourceError::Chunk`] when the chunk exists but is damaged, [`SourceError::Io`] when it
    /// cannot be opened, [`SourceError::Changed`] when the array is not as it was when the image was
    /// planned, or the chunk not as it was when the image was opened.
    pub fn read_unit(&self, position: &[u64]) -> Result<UnitBytes, SourceError> {
        let (chunk, within) = self.place(position);
        let Some(FoundChunk { key, file, stamp }) = self.find_chunk(&chunk)? else {
            return Ok(UnitBytes::Fill);
        };
        let path = self.folder.join(&key);
        if let Some(bytes) = self.last_unit(position, stamp) {
            return Ok(UnitBytes::Stored { bytes, is_settled: stamp.is_settled() });
        }
        let blob = ChunkBlob { file, len: stamp.size };
        let indices = ArrayIndices { array: self, file: &key, stamp };
        let decoded = self.codec.read_unit(&blob, 0, &within, &indices);
        // Rewritten while it was read?
        if blob.file.stamp().ok() != Some(stamp) {
            return Err(SourceError::Changed { path });
        }
        // Decoded as the metadata said when the image was planned: is that still so?
        self.check_unchanged()?;
        match decoded {
            Ok(Some(bytes)) => {
                let bytes = Arc::new(Buffer::from(bytes));
                self.keep_unit(position, stamp, &bytes);
                Ok(UnitBytes::Stored { bytes, is_settled: stamp.is_settled() })
            }
            Ok(None) => Ok(UnitBytes::Fill),
            // It may be there the next time.
            Err(DecodeError::NoMemory(error)) => {
                Err(SourceError::io(path, io::Error::new(io::ErrorKind::OutOfMemory, error)))
            }
            Err(reason) => Err(SourceError::Chunk { path, reason }),
        }
    }

    /// Waits until the file of a read unit answers, or does not; what is wrong with it is told by
    /// [`ZarrArray::read_unit`].
    pub fn await_unit(&self, position: &[u64]) {
        let (chunk, _) = self.place(position);
        let answers = |scheme: &Scheme| {
            let path = self.folder.join(scheme.key(&self.array, &chunk));
            let opened = self.root.storage().open(&path);
            opened.map(|(file, _)| file.read_exact_at(&mut [0], 0)).is_ok()
        };
        let is_known = self.chunk_names.found.get().is_some();
        if (is_known || !answers(&self.chunk_names.primary))
            && let Ok(found) = self.found_names()
        {
            found.schemes.iter().any(answers);
        }
    }

    /// The chunk that holds a unit, and the position of the unit in it.
    fn place(&self, position: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let mut chunk = Vec::with_capacity(position.len());
        let mut within = Vec::with_capacity(position.len());
        for ((&at, &unit), &extent) in position.iter().zip(&self.unit_shape).zip(&self.chunk_shape)
        {
            let units = (extent / unit).max(1);
            chunk.push(at / units);
            within.push(at % units);
        }
        (chunk, within)
    }

    /// Opens the file of a chunk as it was when the image was opened, under whatever name it has.
    fn find_chunk(&self, chunk: &[u64]) -> Result<Option<FoundChunk>, SourceError> {
        if self.chunk_names.found.get().is_none()
            && let Some(found) = self.open_named(&self.chunk_names.primary, chunk)?
        {
            return Ok(Some(found));
        }
        let names = self.found_names()?;
        for scheme in &names.schemes {
            if let Some(found) = self.open_named(scheme, chunk)? {
                return Ok(Some(found));
            }
        }
        names.absent().map(|()| None).map_err(|reason| {
            let key = self.chunk_names.primary.key(&self.array, chunk);
            SourceError::Chunk { path: self.folder.join(key), reason }
        })
    }

    fn open_named(
        &self,
        scheme: &Scheme,
        chunk: &[u64],
    ) -> Result<Option<FoundChunk>, SourceError> {
        let key = scheme.key(&self.array, chunk);
        let path = self.folder.join(&key);
        let opened = self.open_chunk(&path)?;
        let stamp = opened.as_ref().map(|(_, stamp)| stamp);
        let since = self
            .snapshot
            .get()
            .map_or(Since::Same, |snapshot| snapshot.compare(Path::new(&key), stamp));
        match (since, opened) {
            (Since::Same, Some((file, stamp))) => Ok(Some(FoundChunk { key, file, stamp })),
            (Since::Same, None) | (Since::Added, _) => Ok(None),
            (Since::Changed, _) => Err(SourceError::Changed { path }),
        }
    }

    /// The names that the chunk files have, looked at when the first one is absent.
    fn found_names(&self) -> Result<&Found, SourceError> {
        if let Some(found) = self.chunk_names.found.get() {
            return Ok(found);
        }
        let found = self.chunk_names.look(&self.root, &self.folder, &self.array)?;
        // Of an array that is being deleted, the look has shown less than there was.
        self.check_unchanged()?;
        Ok(self.chunk_names.keep(found, &self.folder))
    }

    /// Opens a chunk; `None` when it is absent and the array is there. A store that was deleted or
    /// unplugged has no chunks either: that is not "empty".
    fn open_chunk(&self, path: &Path) -> Result<Option<OpenChunk>, SourceError> {
        if let Some(opened) = self.open_if_there(path)? {
            return Ok(Some(opened));
        }
        self.check_unchanged()?;
        // The store may have come back between the two looks.
        match self.open_if_there(path)? {
            // What is absent may be on its way, and no snapshot tells what was there.
            None if self.snapshot.get().is_none() => self.open_at_rest(path),
            opened => Ok(opened),
        }
    }

    fn open_if_there(&self, path: &Path) -> Result<Option<OpenChunk>, SourceError> {
        let fail = |error: io::Error| SourceError::io(path, error);
        let missing = match self.root.storage().open(path) {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => error,
            Err(error) => return Err(fail(error)),
        };
        match self.root.absence(&self.folder, path).map_err(fail)? {
            Absence::Absent => Ok(None),
            Absence::Dangling => Err(fail(missing)),
            Absence::Present => self.root.storage().open(path).map(Some).map_err(fail),
        }
    }

    /// Opens a chunk that was absent, unless it still is when the folder it belongs into has been at rest
    /// for a moment: a folder of chunks may just be exchanged for another one.
    fn open_at_rest(&self, path: &Path) -> Result<Option<OpenChunk>, SourceError> {
        for _ in 0..REST_LOOKS {
            let before = self.folder_above(path)?;
            let opened = self.open_if_there(path)?;
            if opened.is_some() || (self.folder_above(path)? == before && before.is_settled()) {
                return Ok(opened);
            }
            std::thread::sleep(REST_TIME);
        }
        // It changes all the time. What is asked for here is written later, if ever.
        self.open_if_there(path)
    }

    /// The state of the nearest folder above a chunk that is there.
    fn folder_above(&self, path: &Path) -> Result<FileStamp, SourceError> {
        for folder in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.folder)) {
            let found = self.root.stamp(folder).map_err(|error| SourceError::io(folder, error))?;
            if let Some(stamp) = found {
                return Ok(stamp);
            }
        }
        Err(SourceError::Changed { path: self.folder.clone() })
    }

    fn check_unchanged(&self) -> Result<(), SourceError> {
        let file = &self.metadata_file;
        let now = self.root.stamp(file).map_err(|error| SourceError::io(file, error))?;
        if now == self.metadata_stamp {
            Ok(())
        } else {
            Err(SourceError::Changed { path: file.clone() })
        }
    }

    /// The chunk at the origin, by its path relative to the folder of the array. It stands for all
    /// where they cannot all be looked at.
    pub(super) fn first_chunk(&self) -> PathBuf {
        let origin = vec![0; self.shape().len()];
        PathBuf::from(self.chunk_names.primary.key(&self.array, &origin))
    }

    /// Lets the array remember the unit it decoded last, for units that several bricks need: those
    /// that hold more than one time point or channel.
    pub(crate) fn remember_units(&mut self) {
        self.remember = self.unit_bytes() <= REMEMBERED_UNIT_BYTES;
    }

    fn last_unit(&self, position: &[u64], stamp: FileStamp) -> Option<Arc<Buffer>> {
        let (known, state, bytes) = self.remember.then(|| UNITS.get(&self.number)).flatten()?;
        (known == position && state == stamp).then_some(bytes)
    }

    fn keep_unit(&self, position: &[u64], stamp: FileStamp, bytes: &Arc<Buffer>) {
        if self.remember {
            let unit = (position.to_vec(), stamp, bytes.clone());
            UNITS.put(self.number, unit, bytes.len() as u64);
        }
    }
}

/// How often, and after which time, a folder that was changed just now is looked at again.
const REST_LOOKS: usize = 4;
const REST_TIME: Duration = Duration::from_millis(20);

/// Refuses what chunks are not read through here.
fn check_extensions(metadata: &ArrayMetadata) -> Result<(), Unsupported> {
    let ArrayMetadata::V3(v3) = metadata else { return Ok(()) };
    if v3.chunk_grid.name() != "regular" {
        let name = v3.chunk_grid.name();
        return Err(Unsupported::Array(format!("chunk grid {name:?} is not supported")));
    }
    match v3.storage_transformers.first().map(MetadataV3::name) {
        Some(name) => {
            Err(Unsupported::Array(format!("storage transformer {name:?} is not supported")))
        }
        None => Ok(()),
    }
}

/// What an index takes beside its places.
const INDEX_ENTRY_BYTES: u64 = 256;

/// A decoded unit: its position, the state of its file, its bytes.
type LastUnit = (Vec<u64>, FileStamp, Arc<Buffer>);

/// Dimensions accepted before axes of length one are dropped.
const MAX_DIMENSIONS: usize = 16;

/// Keeps every later sum of sizes within a signed 64-bit file offset, padding included.
const LARGEST_ARRAY_BYTES: u64 = 1 << 60;

/// `zarrs` messages may span lines; a log line may not.
fn one_line(error: &impl std::fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An open chunk under its key, in the state it was opened in.
struct FoundChunk {
    key: String,
    file: Box<dyn OpenFile>,
    stamp: FileStamp,
}

/// An open chunk, and the state it is in.
type OpenChunk = (Box<dyn OpenFile>, FileStamp);

/// A chunk file of known length.
struct ChunkBlob {
    file: Box<dyn OpenFile>,
    len: u64,
}

impl Blob for ChunkBlob {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
}

/// The index cache of an array, seen from one chunk file.
struct ArrayIndices<'a> {
    array: &'a ZarrArray,
    file: &'a str,
    stamp: FileStamp,
}

impl Drop for ZarrArray {
    fn drop(&mut self) {
        if self.remember {
            UNITS.forget(&self.number);
        }
    }
}

impl IndexCache for ArrayIndices<'_> {
    fn index(
        &self,
        shard: (u64, u64),
        decode: &mut dyn FnMut() -> Result<Vec<u64>, DecodeError>,
    ) -> Result<Arc<Vec<u64>>, DecodeError> {
        let key = IndexKey { file: self.file.to_owned(), stamp: self.stamp, shard };
        let key = (self.array.number, key);
        if let Some(index) = INDICES.get(&key) {
            return Ok(index);
        }
        let index = Arc::new(decode()?);
        let bytes = (index.len() * 8 + key.1.file.len()) as u64 + INDEX_ENTRY_BYTES;
        INDICES.put(key, index.clone(), bytes);
        Ok(index)
    }
}
