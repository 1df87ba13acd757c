//! One Zarr array, opened through `zarrs` behind the fences of this layer.

use std::io;
use std::num::NonZeroU64;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use zarrs::array::Array;
use zarrs::metadata::ArrayMetadata;
use zarrs::metadata::v3::MetadataV3;
use zarrs::plugin::ExtensionName;

use crate::resources::buffer::Buffer;
use crate::resources::shares::{DEFAULT_BUDGET_BYTES, REMEMBERED_UNIT_BYTES, Shares};

use super::chunk_files::{ChunkFiles, FoundChunk};
use super::chunk_keys::ChunkNames;
use super::codec::{Blob, IndexCache, UnitCodec};
use super::decode_error::DecodeError;
use super::error::{SourceError, Unsupported};
use super::metadata::{ArrayDescription, ArrayNode};
use super::remembered::Remembered;
use super::root::SourceRoot;
use super::source_type::SourceType;
use super::storage::{self, Stamp};

/// Until an engine sets the budget.
const DEFAULT: Shares = Shares::of(DEFAULT_BUDGET_BYTES);

/// The shard indices that were decoded lately, by the number of the array.
static INDICES: Remembered<(u64, IndexKey), Arc<Vec<u64>>> =
    Remembered::new(DEFAULT.shard_indices());

/// The unit that each array has decoded last, for arrays that remember it.
static UNITS: Remembered<u64, LastUnit> = Remembered::new(DEFAULT.last_units());

/// Numbers of arrays.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Sets how much arrays remember.
pub(crate) fn remember_at_most(shares: Shares) {
    INDICES.set_limit(shares.shard_indices());
    UNITS.set_limit(shares.last_units());
    storage::remember_at_most(shares);
}

/// Forgets what arrays remember.
pub(crate) fn forget_remembered() {
    INDICES.clear();
    UNITS.clear();
    storage::forget_remembered();
}

/// Bytes of one read unit in C order of the array's axes, native byte order.
#[derive(Debug)]
pub enum UnitBytes {
    /// The unit is stored.
    Stored {
        /// Its voxels.
        bytes: Arc<Buffer>,
        /// A later change of its file will have another stamp.
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
    files: ChunkFiles,
    codec: UnitCodec,
    chunk_shape: Vec<u64>,
    unit_shape: Vec<u64>,
    source_type: SourceType,
    zarr_format: u8,
    fill: Vec<u8>,
    number: u64,
    remember: bool,
}

/// Names a shard index: the file, its state, and the place within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct IndexKey {
    file: String,
    stamp: Stamp,
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
        Self::of_dimensions(root, folder, node, 2..=MAX_DIMENSIONS)
    }

    /// The same for an array of one dimension, which is no image.
    ///
    /// # Errors
    /// As for [`ZarrArray::open`].
    pub(crate) fn open_line(
        root: &Arc<SourceRoot>,
        folder: &Path,
        node: &ArrayNode,
    ) -> Result<Self, SourceError> {
        Self::of_dimensions(root, folder, node, 1..=1)
    }

    fn of_dimensions(
        root: &Arc<SourceRoot>,
        folder: &Path,
        node: &ArrayNode,
        dimensions: RangeInclusive<usize>,
    ) -> Result<Self, SourceError> {
        let refuse = |reason: Unsupported| SourceError::unsupported(folder, reason);
        let ArrayDescription { metadata, codecs, states_chunk_names, subfolders } =
            node.described()?;
        let shape = match &metadata {
            ArrayMetadata::V2(v2) => v2.shape.clone(),
            ArrayMetadata::V3(v3) => v3.shape.clone(),
        };
        if !dimensions.contains(&shape.len()) {
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
        let metadata = (node.file.clone(), node.stamp);
        let index = codec.index();
        Ok(Self {
            files: ChunkFiles::new(root.clone(), folder, metadata, array, chunk_names, index),
            chunk_shape: chunk_shape.iter().map(|n| n.get()).collect(),
            unit_shape,
            codec,
            source_type,
            zarr_format: node.zarr_format,
            fill,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            remember: false,
        })
    }

    /// Length of each dimension in voxels, stored axis order.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        self.files.array().shape()
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

    /// The files of the chunks.
    pub(super) fn files(&self) -> &ChunkFiles {
        &self.files
    }

    /// Whether each read is a request to another machine.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.files.is_remote()
    }

    /// Path of the array below the source folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.files.folder()
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
    /// cannot be opened, [`SourceError::Changed`] when the array has changed since the image was planned, or
    /// the chunk since the image was opened.
    pub fn read_unit(&self, position: &[u64]) -> Result<UnitBytes, SourceError> {
        let (chunk, within) = self.place(position);
        match self.files.open(&chunk)? {
            Some(chunk) => self.read_unit_of(position, &within, &chunk, &*chunk),
            None => Ok(UnitBytes::Fill),
        }
    }

    /// Decodes some units of one chunk. Where the source is remote, all their bytes are fetched with one call.
    ///
    /// # Errors
    /// As for [`ZarrArray::read_unit`], each unit its own.
    pub fn read_units(&self, positions: &[&[u64]]) -> Vec<Result<UnitBytes, SourceError>> {
        let one_by_one = || positions.iter().map(|position| self.read_unit(position)).collect();
        let [first, _, ..] = positions else { return one_by_one() };
        let (chunk, _) = self.place(first);
        // Each unit fails by itself, with its own error.
        let Ok(Some(chunk)) = self.files.open(&chunk) else { return one_by_one() };
        let indices = ArrayIndices { array: self, file: &chunk.key, stamp: chunk.stamp };
        let range = |position: &&[u64]| {
            self.codec.range_of(&*chunk, &self.place(position).1, &indices).ok().flatten()
        };
        let ranges: Vec<Range<u64>> = positions.iter().filter_map(range).collect();
        let Ok(parts) = chunk.file.read_ranges(&ranges) else { return one_by_one() };
        let fetched = Fetched { outer: &*chunk, parts: ranges.into_iter().zip(parts).collect() };
        let read = |position: &&[u64]| {
            self.read_unit_of(position, &self.place(position).1, &chunk, &fetched)
        };
        positions.iter().map(read).collect()
    }

    /// Whether a read unit is stored, without decoding it.
    ///
    /// # Errors
    /// As for [`ZarrArray::read_unit`]; of a chunk, only its index is decoded.
    pub(super) fn has_unit(&self, position: &[u64]) -> Result<bool, SourceError> {
        let (at, within) = self.place(position);
        let Some(chunk) = self.files.open(&at)? else { return Ok(false) };
        let indices = ArrayIndices { array: self, file: &chunk.key, stamp: chunk.stamp };
        let has = self.codec.has_unit(&*chunk, &within, &indices);
        has.map_err(|reason| SourceError::Chunk { path: self.folder().join(&chunk.key), reason })
    }

    /// The shard that holds a unit; `None` where chunks are no shards.
    #[must_use]
    pub fn shard_of(&self, position: &[u64]) -> Option<Vec<u64>> {
        self.codec.index().map(|_| self.place(position).0)
    }

    /// Decodes a unit from `blob`, which holds bytes of the chunk.
    fn read_unit_of(
        &self,
        position: &[u64],
        within: &[u64],
        chunk: &FoundChunk,
        blob: &dyn Blob,
    ) -> Result<UnitBytes, SourceError> {
        let (path, stamp) = (self.folder().join(&chunk.key), chunk.stamp);
        if let Some(bytes) = self.last_unit(position, stamp) {
            return Ok(UnitBytes::Stored { bytes, is_settled: stamp.is_settled() });
        }
        let indices = ArrayIndices { array: self, file: &chunk.key, stamp };
        let decoded = self.codec.read_unit(blob, 0, within, &indices);
        // Rewritten while it was read?
        if chunk.file.stamp().ok() != Some(stamp) {
            self.files.forget_opened(&chunk.key);
            return Err(SourceError::Changed { path });
        }
        // Decoded as the metadata said when the image was planned: is that still so?
        self.files.check_unchanged_after(&stamp)?;
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
            // The source did not answer: that says nothing of the chunk.
            Err(DecodeError::Io(error)) if self.is_remote() => Err(SourceError::io(path, error)),
            Err(reason) => Err(SourceError::Chunk { path, reason }),
        }
    }

    /// Waits until the file of a read unit answers or fails; [`ZarrArray::read_unit`] reports the failure.
    pub fn await_unit(&self, position: &[u64]) {
        let (chunk, _) = self.place(position);
        self.files.await_chunk(&chunk);
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

    /// Path below the source folder that the file of a read unit should have.
    pub(crate) fn file_of_unit(&self, position: &[u64]) -> PathBuf {
        let (chunk, _) = self.place(position);
        self.folder().join(self.files.chunk_path(&chunk))
    }

    /// Lets the array remember the unit it decoded last, for units that several bricks need: those
    /// that hold more than one time point or channel.
    pub(crate) fn remember_units(&mut self) {
        self.remember = self.unit_bytes() <= REMEMBERED_UNIT_BYTES;
    }

    fn last_unit(&self, position: &[u64], stamp: Stamp) -> Option<Arc<Buffer>> {
        let (known, state, bytes) = self.remember.then(|| UNITS.get(&self.number)).flatten()?;
        (known == position && state == stamp).then_some(bytes)
    }

    fn keep_unit(&self, position: &[u64], stamp: Stamp, bytes: &Arc<Buffer>) {
        if self.remember {
            let unit = (position.to_vec(), stamp, bytes.clone());
            UNITS.put(self.number, unit, bytes.len() as u64);
        }
    }
}

/// Refuses extensions through which chunks are not read here.
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

/// Bytes of an index beside its entries.
const INDEX_ENTRY_BYTES: u64 = 256;

/// A decoded unit: its position, the state of its file, its bytes.
type LastUnit = (Vec<u64>, Stamp, Arc<Buffer>);

/// Dimensions accepted before axes of length one are dropped.
const MAX_DIMENSIONS: usize = 16;

/// Keeps every later sum of sizes within a signed 64-bit file offset, padding included.
const LARGEST_ARRAY_BYTES: u64 = 1 << 60;

/// `zarrs` messages may span lines; a log line may not.
fn one_line(error: &impl std::fmt::Display) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A chunk of which some parts were fetched already.
struct Fetched<'a> {
    outer: &'a dyn Blob,
    parts: Vec<(Range<u64>, Vec<u8>)>,
}

impl Blob for Fetched<'_> {
    fn len(&self) -> u64 {
        self.outer.len()
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let is_it =
            |range: &Range<u64>| range.start == offset && range.end - offset == out.len() as u64;
        match self.parts.iter().find(|(range, _)| is_it(range)) {
            Some((_, bytes)) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => self.outer.read_exact_at(out, offset),
        }
    }
}

/// The index cache of an array, seen from one chunk file.
struct ArrayIndices<'a> {
    array: &'a ZarrArray,
    file: &'a str,
    stamp: Stamp,
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
