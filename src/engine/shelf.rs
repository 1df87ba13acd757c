//! Bricks in memory, under a limit of bytes.

use std::sync::Arc;
use std::time::Instant;

use lru::LruCache;

use crate::cache::BrickKey;
use crate::resources::buffer::Buffer;

/// Bricks kept in memory, least recently used first to go.
#[derive(Debug)]
pub(super) struct Shelf {
    bricks: LruCache<BrickKey, Kept>,
    bytes: u64,
    limit: u64,
}

#[derive(Debug)]
struct Kept {
    bytes: Arc<Buffer>,
    /// No reader has asked for it yet.
    is_ahead: bool,
    /// When the source is to be read again.
    expires: Option<Instant>,
}

impl Shelf {
    pub(super) fn new(limit: u64) -> Self {
        Self { bricks: LruCache::unbounded(), bytes: 0, limit }
    }

    /// The bytes of a brick, and whether they are true for as long as the image.
    pub(super) fn get(&mut self, key: &BrickKey) -> Option<(Arc<Buffer>, bool)> {
        let found = self.bricks.get(key)?;
        if found.expires.is_none_or(|expires| Instant::now() < expires) {
            return Some((found.bytes.clone(), found.expires.is_none()));
        }
        self.remove(key);
        None
    }

    /// Notes that a reader asks for a brick; its bytes, if it is the first one and they `fit`.
    pub(super) fn want(
        &mut self,
        key: &BrickKey,
        fit: impl FnOnce(u64) -> bool,
    ) -> Option<Arc<Buffer>> {
        let kept = self.bricks.peek_mut(key)?;
        if !kept.is_ahead || !fit(kept.bytes.len() as u64) {
            return None;
        }
        kept.is_ahead = false;
        Some(kept.bytes.clone())
    }

    pub(super) fn put(&mut self, key: BrickKey, bytes: &Arc<Buffer>, expires: Option<Instant>) {
        self.insert(key, Kept { bytes: bytes.clone(), is_ahead: false, expires });
    }

    /// As [`Shelf::put`], of a brick that no reader has asked for yet.
    pub(super) fn put_ahead(&mut self, key: BrickKey, bytes: &Arc<Buffer>) {
        self.insert(key, Kept { bytes: bytes.clone(), is_ahead: true, expires: None });
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Drops the bricks that match; their bytes.
    pub(super) fn forget(&mut self, matches: impl Fn(&BrickKey) -> bool) -> u64 {
        let before = self.bytes;
        let keys: Vec<BrickKey> = self.bricks.iter().map(|(key, _)| *key).collect();
        keys.iter().filter(|key| matches(key)).for_each(|key| self.remove(key));
        before - self.bytes
    }

    fn insert(&mut self, key: BrickKey, kept: Kept) {
        self.remove(&key);
        self.bytes += kept.bytes.len() as u64;
        self.bricks.put(key, kept);
        // The newest stays even if it is larger than all there is room for: it is being read.
        while self.bytes > self.limit && self.bricks.len() > 1 {
            let Some((oldest, _)) = self.bricks.peek_lru() else { break };
            let oldest = *oldest;
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &BrickKey) {
        if let Some(old) = self.bricks.pop(key) {
            self.bytes -= old.bytes.len() as u64;
        }
    }
}
