//! What callers hold: a brick pinned for reading, and a brick being written.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::account::Held;
use super::error::CacheError;
use super::index::Found;
use super::journal::Stored;
use super::key::{BrickKey, Slot};
use super::segment::{Place, SegmentFile, SlotSize};
use super::store::Store;

/// Keeps a brick on disk.
#[derive(Debug)]
struct Pin {
    store: Arc<Store>,
    key: BrickKey,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.unpin(&self.key);
    }
}

/// The pin comes last: dropping it may release the brick, so the file is closed before.
#[derive(Debug)]
struct Pinned {
    file: Arc<SegmentFile>,
    place: Place,
    length: u64,
    pin: Pin,
}

/// A whole brick that stays on disk, and can be read, for as long as a clone of this lives.
///
/// Dropping the last clone of a brick that was removed meanwhile releases its bytes.
#[derive(Clone, Debug)]
pub struct PinnedBrick(Arc<Pinned>);

impl PinnedBrick {
    /// Looks a brick up; see [`super::BrickCache::get`] and, for `only_verified`,
    /// [`super::BrickCache::get_ready`].
    pub(super) fn open(store: &Arc<Store>, slot: Slot, only_verified: bool) -> Option<Self> {
        let Slot { key, slot_bytes, is_proven } = slot;
        let size = SlotSize::new(slot_bytes)?;
        tracing::trace!(brick = %key, bytes = slot_bytes, proven = is_proven, "lookup");
        let found = store.pin(&key, size, only_verified)?;
        let pin = Pin { store: Arc::clone(store), key };
        let opened = store.open_pinned(&found).unwrap_or_else(|error| {
            if let Some(suppressed) = store.told.is_due("unreadable") {
                tracing::warn!(brick = %key, %error, suppressed, "cached brick cannot be read");
            }
            None
        });
        let Some(file) = opened else {
            store.reject_at_lookup(&key);
            return None;
        };
        let place = Place::of(&key, size);
        Some(Self(Arc::new(Pinned { file, place, length: found.stored.length, pin })))
    }

    /// See [`super::BrickCache::check`].
    pub(super) fn check(store: &Arc<Store>, slot: Slot) -> Check {
        let Slot { key, slot_bytes, .. } = slot;
        let Some(size) = SlotSize::new(slot_bytes) else { return Check::Absent };
        let pinned = store.index().pin_unused(&key, size);
        let Some(found) = pinned else { return Check::Absent };
        let pin = Pin { store: Arc::clone(store), key };
        let found = Found { is_verified: false, ..found };
        let reason = match store.open_pinned(&found) {
            Ok(Some(file)) => {
                let place = Place::of(&key, size);
                let length = found.stored.length;
                return Check::Right(Self(Arc::new(Pinned { file, place, length, pin })));
            }
            Ok(None) => "does not match its checksum".to_owned(),
            Err(error) => error.to_string(),
        };
        store.reject(&key);
        Check::Wrong(reason)
    }

    /// Stops the cache from serving the brick, which its caller knows to be wrong.
    pub fn reject(&self) {
        let Pin { store, key } = &self.0.pin;
        store.reject(key);
    }

    /// The brick's length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "there is no empty brick")]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.length
    }

    /// Fills `buf` with the brick's bytes from `offset` (relative to the brick) on.
    ///
    /// # Errors
    ///
    /// [`CacheError::OutOfRange`] for a range beyond the end of the brick. [`CacheError::Segment`]
    /// when the disk fails; the brick is not returned again then.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), CacheError> {
        let Pinned { file, place, length, pin } = &*self.0;
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > *length) {
            let (key, bytes, length) = (pin.key, buf.len(), *length);
            return Err(CacheError::OutOfRange { key, offset, bytes, length });
        }
        file.read_exact_at(buf, place.offset + offset).map_err(|source| {
            pin.store.reject(&pin.key);
            Store::at(&place.segment)(source)
        })
    }
}

/// What has become of the comparison of a brick with its checksum.
#[derive(Clone, Debug)]
pub enum Check {
    /// There is no such brick.
    Absent,
    /// It is as it was written.
    Right(PinnedBrick),
    /// It is not, for this reason, and is forgotten.
    Wrong(String),
}

/// A brick being written, in order, from its first byte to its last.
///
/// Its bytes are reserved. Dropping it unfinished releases them.
pub struct BrickWriter {
    store: Arc<Store>,
    file: Arc<SegmentFile>,
    held: Held,
    length: u64,
    is_proven: bool,
    written: u64,
    hasher: Xxh3,
    published: bool,
}

impl BrickWriter {
    /// Claims a slot; see [`super::BrickCache::begin`].
    pub(super) fn begin(store: &Arc<Store>, slot: Slot, length: u64) -> Result<Self, CacheError> {
        let Slot { key, slot_bytes, is_proven } = slot;
        let size = SlotSize::new(slot_bytes).ok_or(CacheError::SlotSize { key, slot_bytes })?;
        if !(1..=slot_bytes).contains(&length) {
            return Err(CacheError::BadLength { key, length, slot_bytes });
        }
        let held = Held::new(key, size, length);
        let file = store.begin(&held)?;
        Ok(Self {
            store: Arc::clone(store),
            file,
            held,
            length,
            is_proven,
            written: 0,
            hasher: Xxh3::new(),
            published: false,
        })
    }

    /// Appends to the brick. After an error the same bytes may be tried again.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongLength`] beyond the announced length, [`CacheError::Segment`] when the
    /// disk fails or is full.
    pub fn write(&mut self, data: &[u8]) -> Result<(), CacheError> {
        let written = self.written.saturating_add(data.len() as u64);
        if written > self.length {
            let (key, length) = (self.held.key, self.length);
            return Err(CacheError::WrongLength { key, written, length });
        }
        let Place { segment, offset, .. } = self.held.place;
        self.file.write_all_at(data, offset + self.written).map_err(|source| {
            self.store.count_write_error();
            Store::at(&segment)(source)
        })?;
        self.hasher.update(data);
        self.written = written;
        Ok(())
    }

    /// Makes the brick known, to others and to later runs.
    ///
    /// # Errors
    ///
    /// [`CacheError::WrongLength`] when bytes are missing, [`CacheError::Journal`] when the journal
    /// cannot be written. The bytes are released then.
    pub fn finish(mut self) -> Result<PinnedBrick, CacheError> {
        let Held { key, place, .. } = self.held;
        let (written, length) = (self.written, self.length);
        if written != length {
            return Err(CacheError::WrongLength { key, written, length });
        }
        let (size, is_proven) = (place.size, self.is_proven);
        let checksum = self.hasher.digest();
        let stored = Stored { key, size, length, checksum, is_proven };
        self.store.publish(&stored, &self.file)?;
        self.published = true;
        let pin = Pin { store: Arc::clone(&self.store), key };
        Ok(PinnedBrick(Arc::new(Pinned { file: Arc::clone(&self.file), place, length, pin })))
    }
}

impl Drop for BrickWriter {
    fn drop(&mut self) {
        if !self.published {
            self.store.abandon(&self.held);
        }
    }
}

impl fmt::Debug for BrickWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrickWriter")
            .field("held", &self.held)
            .field("length", &self.length)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
