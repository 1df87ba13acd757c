//! One Zarr array, opened through `zarrs` behind the fences of this layer.

use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lru::LruCache;
use zarrs::array::Array;
use zarrs::metadata::ArrayMetadata;
use zarrs::plugin::ExtensionName;
use zarrs::storage::StoreKey;

use crate::buffer::Buffer;

use super::codec::{Blob, DecodeError, IndexCache, UnitCodec};
use super::convert::SourceType;
use super::metadata::ArrayNode;
use super::root::{ChunkFile, FileStamp, SourceRoot};
use super::snapshot::{LookBudget, Since, Snapshot, Unfollowed, is_settled};
use super::{SourceError, Unsupported};

/// Memory for decoded shard indices of one array; the largest known index is 4 MiB.
const INDEX_CACHE_BYTES: usize = 8 << 20;

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
    indices: Mutex<LruCache<IndexKey, Arc<Vec<u64>>>>,
    remember: bool,
    last: Mutex<Option<LastUnit>>,
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
        let metadata = node.normalised(root)?;
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
        let codecs_v3 = match &metadata {
            ArrayMetadata::V3(v3) => Some(v3.codecs.clone()),
            ArrayMetadata::V2(_) => None,
        };
        if let ArrayMetadata::V3(v3) = &metadata {
            if v3.chunk_grid.name() != "regular" {
                let name = format!("chunk grid {:?} is not supported", v3.chunk_grid.name());
                return Err(refuse(Unsupported::Array(name)));
            }
            if let Some(transformer) = v3.storage_transformers.first() {
                let name = format!("storage transformer {:?} is not supported", transformer.name());
                return Err(refuse(Unsupported::Array(name)));
            }
        }
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
        let codec = match codecs_v3 {
            Some(codecs) => {
                UnitCodec::from_v3(&codecs, &chunk_shape, array.data_type(), array.fill_value())
            }
            None => super::codec::BoundedChain::new(
                array.codecs().as_ref(),
                &chunk_shape,
                array.data_type(),
                array.fill_value(),
            )
            .map(UnitCodec::Whole),
        }
        .map_err(refuse)?;
        let unit_shape = codec.unit_shape();
        let fill = array.fill_value().as_ne_bytes().to_vec();
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
            array,
            indices: Mutex::new(LruCache::unbounded()),
            remember: false,
            last: Mutex::default(),
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
        let (key, within) = self.place(position);
        let path = self.folder.join(key.as_str());
        let opened = self.open_chunk(&path)?;
        let stamp = opened.as_ref().map(|(_, stamp)| stamp);
        let since = self
            .snapshot
            .get()
            .map_or(Since::Same, |snapshot| snapshot.compare(Path::new(key.as_str()), stamp));
        let (file, stamp) = match (since, opened) {
            (Since::Same, Some(opened)) => opened,
            (Since::Same, None) | (Since::Added, _) => return Ok(UnitBytes::Fill),
            (Since::Changed, _) => return Err(SourceError::Changed { path }),
        };
        if let Some(bytes) = self.last_unit(position, stamp) {
            return Ok(UnitBytes::Stored { bytes, is_settled: is_settled(&stamp) });
        }
        let blob = ChunkBlob { file, len: stamp.size };
        let indices = ArrayIndices { array: self, file: key.as_str(), stamp };
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
                Ok(UnitBytes::Stored { bytes, is_settled: is_settled(&stamp) })
            }
            Ok(None) => Ok(UnitBytes::Fill),
            Err(reason) => Err(SourceError::Chunk { path, reason }),
        }
    }

    /// Waits until the file of a read unit answers, or does not; what is wrong with it is told by
    /// [`ZarrArray::read_unit`].
    pub fn await_unit(&self, position: &[u64]) {
        let path = self.folder.join(self.place(position).0.as_str());
        if let Ok((file, _)) = self.root.chunk_files().open(&path) {
            let _ = file.read_exact_at(&mut [0], 0);
        }
    }

    /// The key of the chunk that holds a unit, and the position of the unit in it.
    fn place(&self, position: &[u64]) -> (StoreKey, Vec<u64>) {
        let mut chunk = Vec::with_capacity(position.len());
        let mut within = Vec::with_capacity(position.len());
        for ((&at, &unit), &extent) in position.iter().zip(&self.unit_shape).zip(&self.chunk_shape)
        {
            let units = (extent / unit).max(1);
            chunk.push(at / units);
            within.push(at % units);
        }
        (self.array.chunk_key(&chunk), within)
    }

    /// Opens a chunk; `None` when it is absent and the array is there. A store that was deleted or
    /// unplugged has no chunks either: that is not "empty".
    fn open_chunk(&self, path: &Path) -> Result<Option<OpenChunk>, SourceError> {
        let open = || match self.root.chunk_files().open(path) {
            Ok(opened) => Ok(Some(opened)),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && !self.root.is_dangling(&self.folder, path) =>
            {
                Ok(None)
            }
            Err(error) => Err(SourceError::io(path, error)),
        };
        if let Some(opened) = open()? {
            return Ok(Some(opened));
        }
        self.check_unchanged()?;
        // The store may have come back between the two looks.
        open()
    }

    fn check_unchanged(&self) -> Result<(), SourceError> {
        if self.root.stamp(&self.metadata_file) == self.metadata_stamp {
            Ok(())
        } else {
            Err(SourceError::Changed { path: self.metadata_file.clone() })
        }
    }

    /// Lets the array remember the unit it decoded last, for units that several bricks need: those
    /// that hold more than one time point or channel.
    pub(crate) fn remember_units(&mut self) {
        self.remember = self.unit_bytes() <= REMEMBERED_LIMIT_BYTES;
    }

    fn last_unit(&self, position: &[u64], stamp: FileStamp) -> Option<Arc<Buffer>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, state, bytes) = last.as_ref()?;
        (known == position && *state == stamp).then(|| bytes.clone())
    }

    fn keep_unit(&self, position: &[u64], stamp: FileStamp, bytes: &Arc<Buffer>) {
        if self.remember {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some((position.to_vec(), stamp, bytes.clone()));
        }
    }
}

/// Largest unit that is remembered: half of the default memory budget.
const REMEMBERED_LIMIT_BYTES: u64 = 64 << 20;

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

/// An open chunk, and the state it is in.
type OpenChunk = (Box<dyn ChunkFile>, FileStamp);

/// A chunk file of known length.
struct ChunkBlob {
    file: Box<dyn ChunkFile>,
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

impl IndexCache for ArrayIndices<'_> {
    fn index(
        &self,
        shard: (u64, u64),
        decode: &mut dyn FnMut() -> Result<Vec<u64>, DecodeError>,
    ) -> Result<Arc<Vec<u64>>, DecodeError> {
        let key = IndexKey { file: self.file.to_owned(), stamp: self.stamp, shard };
        let lock = || self.array.indices.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = lock().get(&key) {
            return Ok(index.clone());
        }
        let index = Arc::new(decode()?);
        let per_index = (index.len() * 8).max(1);
        let mut indices = lock();
        let keep = NonZeroUsize::new(INDEX_CACHE_BYTES / per_index).unwrap_or(NonZeroUsize::MIN);
        while indices.len() >= keep.get() {
            indices.pop_lru();
        }
        indices.put(key, index.clone());
        Ok(index)
    }
}
