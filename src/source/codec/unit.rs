//! Read units: whole chunks, and chunks inside shards, which an index finds.
//!
//! Source: Zarr v3, codec `sharding_indexed`, version 1.0. Codecs in front of a shard are undone for each unit by
//! itself, so they must transpose, or encode number by number.

use std::num::NonZeroU64;
use std::ops::Range;

use ndarray::{ArrayViewD, IxDyn};
use serde_json::Value;

use super::array::transpose_order;
use super::blob::{Blob, IndexCache, SubBlob};
use super::chain::{BoundedChain, encoded_kind};
use super::named::NamedCodec;
use crate::resources::headroom;
use crate::source::decode_error::DecodeError;
use crate::source::error::Unsupported;
use crate::source::json::whole_numbers;
use crate::source::source_type::SourceType;
use crate::source::storage::Index;

/// Nesting of `sharding_indexed` within itself; the specification sets no limit, writers use one.
const SHARD_DEPTH_LIMIT: usize = 4;

/// An entry of a shard index without a chunk: offset and length are both 2^64 - 1.
const ABSENT: u64 = u64::MAX;

/// How to get a read unit out of a chunk file.
#[derive(Debug)]
pub(crate) enum UnitCodec {
    /// The chunk itself is the unit.
    Whole(BoundedChain),
    /// The chunk is a shard; the unit is inside.
    Sharded(Box<Sharding>),
}

impl UnitCodec {
    /// Turns a list of codecs, in the order of encoding, into decoders.
    ///
    /// # Errors
    /// [`Unsupported`] when a codec is unknown or the shapes do not fit together.
    pub(crate) fn new(
        codecs: &[NamedCodec],
        shape: &[NonZeroU64],
        kind: SourceType,
    ) -> Result<Self, Unsupported> {
        Self::nested(codecs, shape, kind, 0)
    }

    fn nested(
        codecs: &[NamedCodec],
        shape: &[NonZeroU64],
        kind: SourceType,
        depth: usize,
    ) -> Result<Self, Unsupported> {
        let is_sharding = |codec: &NamedCodec| codec.name.eq_ignore_ascii_case("sharding_indexed");
        let Some(at) = codecs.iter().position(is_sharding) else {
            return BoundedChain::new(codecs, shape, kind).map(Self::Whole);
        };
        if depth >= SHARD_DEPTH_LIMIT {
            return Err(Unsupported::TooDeep(SHARD_DEPTH_LIMIT));
        }
        if let Some(after) = codecs.get(at + 1) {
            return Err(Unsupported::Codec(format!("{} after sharding_indexed", after.name)));
        }
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        let mut of_numbers = Vec::new();
        for codec in &codecs[..at] {
            if codec.name.eq_ignore_ascii_case("transpose") {
                let order = transpose_order(codec, shape.len())?;
                axes = order.iter().map(|&axis| axes[axis]).collect();
            } else {
                of_numbers.push(codec.clone());
            }
        }
        let shard_shape: Vec<NonZeroU64> = axes.iter().map(|&axis| shape[axis]).collect();
        let encoded = encoded_kind(&of_numbers, kind)?;
        let mut sharding = Sharding::new(&codecs[at], axes, &shard_shape, encoded, depth)?;
        if !of_numbers.is_empty() {
            let unit: Vec<_> = sharding.inner.unit_shape();
            let unit: Vec<_> = unit.into_iter().filter_map(NonZeroU64::new).collect();
            sharding.numbers = Some(BoundedChain::of_numbers(&of_numbers, &unit, kind)?);
        }
        Ok(Self::Sharded(Box::new(sharding)))
    }

    /// Shape of the read unit, in the axis order of the chunk given to [`UnitCodec::new`].
    pub(crate) fn unit_shape(&self) -> Vec<u64> {
        match self {
            Self::Whole(chain) => chain.shape().collect(),
            Self::Sharded(sharding) => {
                let inner = sharding.inner.unit_shape();
                let mut shape = vec![0; inner.len()];
                for (encoded, &axis) in sharding.axes.iter().enumerate() {
                    shape[axis] = inner[encoded];
                }
                shape
            }
        }
    }

    /// Where the index of a chunk file lies; `None` where the chunk is one unit.
    pub(crate) fn index(&self) -> Option<Index> {
        let Self::Sharded(sharding) = self else { return None };
        let len = sharding.index_len;
        Some(if sharding.index_at_start { Index::AtStart(len) } else { Index::AtEnd(len) })
    }

    /// Where in the shard the bytes of a unit lie; `None` where it has none, or shards are nested.
    ///
    /// # Errors
    /// [`DecodeError`] when the index is not what the metadata says.
    pub(crate) fn range_of(
        &self,
        blob: &dyn Blob,
        position: &[u64],
        indices: &dyn IndexCache,
    ) -> Result<Option<Range<u64>>, DecodeError> {
        let Self::Sharded(sharding) = self else { return Ok(None) };
        if matches!(sharding.inner, Self::Sharded(_)) {
            return Ok(None);
        }
        let found = sharding.find(blob, 0, position, indices)?;
        Ok(found.map(|(offset, length, _)| offset..offset + length))
    }

    /// Whether the index of a chunk file lists the unit at `position`. What an index does not tell, as within
    /// nested shards, counts as listed.
    ///
    /// # Errors
    /// [`DecodeError`] when the index is not what the metadata says.
    pub(crate) fn has_unit(
        &self,
        blob: &dyn Blob,
        position: &[u64],
        indices: &dyn IndexCache,
    ) -> Result<bool, DecodeError> {
        match self {
            Self::Sharded(sharding) if !matches!(sharding.inner, Self::Sharded(_)) => {
                Ok(sharding.find(blob, 0, position, indices)?.is_some())
            }
            Self::Sharded(_) | Self::Whole(_) => Ok(true),
        }
    }

    /// Decodes the unit at `position` (in units, within the chunk, chunk axis order) to C-order
    /// bytes in native byte order; `None` where the shard has no such chunk.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not what the metadata says.
    pub(crate) fn read_unit(
        &self,
        blob: &dyn Blob,
        shard_offset: u64,
        position: &[u64],
        indices: &dyn IndexCache,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        match self {
            Self::Whole(chain) => chain.decode_blob(blob).map(Some),
            Self::Sharded(sharding) => sharding.read_unit(blob, shard_offset, position, indices),
        }
    }
}

/// A shard: where its index is, how it is decoded, and what the chunks inside are made of.
#[derive(Debug)]
pub(crate) struct Sharding {
    /// Encoded axis `i` is axis `axes[i]` of the chunk.
    axes: Vec<usize>,
    /// Inner chunks per shard, encoded axis order.
    grid: Vec<u64>,
    index: BoundedChain,
    index_len: u64,
    index_at_start: bool,
    inner: UnitCodec,
    /// Codecs in front of the shard, which encode number by number.
    numbers: Option<BoundedChain>,
    /// Units of `inner` per inner chunk, encoded axis order; all 1 unless shards are nested.
    units_per_chunk: Vec<u64>,
    voxel_bytes: usize,
}

impl Sharding {
    fn new(
        codec: &NamedCodec,
        axes: Vec<usize>,
        shard_shape: &[NonZeroU64],
        kind: SourceType,
        depth: usize,
    ) -> Result<Self, Unsupported> {
        let chunk_shape = codec.members.get("chunk_shape").and_then(whole_numbers);
        let chunk_shape: Option<Vec<NonZeroU64>> =
            chunk_shape.and_then(|shape| shape.into_iter().map(NonZeroU64::new).collect());
        let chunk_shape = chunk_shape.ok_or(Unsupported::Member("chunk_shape"))?;
        let fits = chunk_shape.len() == shard_shape.len()
            && std::iter::zip(shard_shape, &chunk_shape).all(|(s, c)| s.get() % c.get() == 0);
        if !fits {
            return Err(Unsupported::ChunkShape(chunk_shape.iter().map(|n| n.get()).collect()));
        }
        let grid: Vec<u64> =
            std::iter::zip(shard_shape, &chunk_shape).map(|(s, c)| s.get() / c.get()).collect();
        let index_at_start = match codec.members.get("index_location").map(Value::as_str) {
            None | Some(Some("end")) => false,
            Some(Some("start")) => true,
            Some(_) => return Err(Unsupported::Member("index_location")),
        };
        let mut index_shape: Vec<NonZeroU64> =
            grid.iter().filter_map(|&n| NonZeroU64::new(n)).collect();
        index_shape.extend(NonZeroU64::new(2));
        let index_codecs = inner_codecs(codec, "index_codecs", &["bytes", "crc32c"])?;
        let index = BoundedChain::new(&index_codecs, &index_shape, SourceType::U64)?;
        let index_len = index
            .encoded_len()
            .ok_or_else(|| Unsupported::Codec("index codec of variable length".to_owned()))?;
        let codecs = inner_codecs(codec, "codecs", &["bytes"])?;
        let inner = UnitCodec::nested(&codecs, &chunk_shape, kind, depth + 1)?;
        let units_per_chunk = std::iter::zip(&chunk_shape, inner.unit_shape())
            .map(|(chunk, unit)| chunk.get() / unit)
            .collect();
        let voxel_bytes = kind.bytes();
        Ok(Self {
            axes,
            grid,
            index,
            index_len,
            index_at_start,
            inner,
            numbers: None,
            units_per_chunk,
            voxel_bytes,
        })
    }

    fn read_unit(
        &self,
        shard: &dyn Blob,
        shard_offset: u64,
        position: &[u64],
        indices: &dyn IndexCache,
    ) -> Result<Option<Vec<u8>>, DecodeError> {
        let found = self.find(shard, shard_offset, position, indices)?;
        let Some((offset, len, within)) = found else { return Ok(None) };
        let chunk = SubBlob { outer: shard, offset, len };
        let unit = self.inner.read_unit(&chunk, shard_offset + offset, &within, indices)?;
        let Some(unit) = unit else { return Ok(None) };
        let unit = self.to_chunk_axes(unit)?;
        match &self.numbers {
            None => Ok(Some(unit)),
            Some(numbers) => numbers.decode_bytes(unit).map(Some),
        }
    }

    /// Offset and length of the inner chunk that holds a unit, and the position of the unit in it.
    fn find(
        &self,
        shard: &dyn Blob,
        shard_offset: u64,
        position: &[u64],
        indices: &dyn IndexCache,
    ) -> Result<Option<(u64, u64, Vec<u64>)>, DecodeError> {
        let index = indices.index((shard_offset, shard.len()), &mut || self.read_index(shard))?;
        let encoded: Vec<u64> = self.axes.iter().map(|&axis| position[axis]).collect();
        let mut entry = 0;
        let mut within = Vec::with_capacity(encoded.len());
        for ((&at, &units), &chunks) in encoded.iter().zip(&self.units_per_chunk).zip(&self.grid) {
            entry = entry * chunks + at / units;
            within.push(at % units);
        }
        let entry = usize::try_from(entry).unwrap_or(usize::MAX).saturating_mul(2);
        let (Some(&offset), Some(&length)) = (index.get(entry), index.get(entry.saturating_add(1)))
        else {
            return Err(DecodeError::ShardTooShort { len: shard.len(), index: self.index_len });
        };
        if offset == ABSENT && length == ABSENT {
            return Ok(None);
        }
        if offset.checked_add(length).is_none_or(|end| end > shard.len()) {
            return Err(DecodeError::ShardRange { offset, length, len: shard.len() });
        }
        Ok(Some((offset, length, within)))
    }

    fn read_index(&self, shard: &dyn Blob) -> Result<Vec<u64>, DecodeError> {
        let Some(last) = shard.len().checked_sub(self.index_len) else {
            return Err(DecodeError::ShardTooShort { len: shard.len(), index: self.index_len });
        };
        let offset = if self.index_at_start { 0 } else { last };
        let bytes =
            self.index.decode_blob(&SubBlob { outer: shard, offset, len: self.index_len })?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|entry| native_u64(*entry)).collect())
    }

    /// Undoes the transposes in front of the shard for the one unit.
    fn to_chunk_axes(&self, bytes: Vec<u8>) -> Result<Vec<u8>, DecodeError> {
        if self.axes.is_sorted() {
            return Ok(bytes);
        }
        let _claim = headroom::claim(bytes.len() as u64)?;
        let mut shape: Vec<usize> = self
            .inner
            .unit_shape()
            .iter()
            .map(|&n| usize::try_from(n).unwrap_or(usize::MAX))
            .collect();
        shape.push(self.voxel_bytes);
        let mut order: Vec<usize> = vec![0; self.axes.len()];
        for (encoded, &axis) in self.axes.iter().enumerate() {
            order[axis] = encoded;
        }
        order.push(self.axes.len());
        Ok(match ArrayViewD::from_shape(IxDyn(&shape), &bytes) {
            Ok(view) => view.permuted_axes(IxDyn(&order)).iter().copied().collect(),
            // The chain has compared the length with the shape already.
            Err(_) => bytes,
        })
    }
}

/// The codecs of a member, or those that zarr-python takes where it is missing.
fn inner_codecs(
    codec: &NamedCodec,
    member: &'static str,
    usual: &[&str],
) -> Result<Vec<NamedCodec>, Unsupported> {
    match codec.members.get(member) {
        Some(codecs) => NamedCodec::list_v3(codecs),
        None => Ok(usual.iter().map(|name| NamedCodec::new(name, Value::Null)).collect()),
    }
}

/// `zarrs` decodes to the byte order of the machine.
fn native_u64(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

#[cfg(target_endian = "big")]
compile_error!("zarrims is written for little-endian machines, as Imaris files are little-endian");
