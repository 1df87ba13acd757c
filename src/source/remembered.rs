//! Memory of arrays for their chunks: one limit for all of them, as thousands may be open.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

use lru::LruCache;

use crate::sync::lock;

/// Least recently used first to go. The newest stays, however large it is.
pub(super) struct Remembered<K: Hash + Eq + 'static, V: 'static> {
    entries: LazyLock<Mutex<Entries<K, V>>>,
    limit: AtomicU64,
}

struct Entries<K: Hash + Eq, V> {
    entries: LruCache<K, (V, u64)>,
    bytes: u64,
}

impl<K: Hash + Eq, V: Clone> Remembered<K, V> {
    /// `limit`: bytes, until another one is set.
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            entries: LazyLock::new(|| {
                Mutex::new(Entries { entries: LruCache::unbounded(), bytes: 0 })
            }),
            limit: AtomicU64::new(limit),
        }
    }

    pub(super) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Entries<K, V>> {
        lock(&self.entries)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.lock().entries.get(key).map(|(value, _)| value.clone())
    }

    pub(super) fn put(&self, key: K, value: V, bytes: u64) {
        let mut gone = Vec::new();
        let mut known = self.lock();
        known.bytes += bytes;
        let old = known.entries.push(key, (value, bytes));
        gone.extend(old.map(|(_, old)| old));
        known.bytes -= gone.iter().map(|(_, bytes)| bytes).sum::<u64>();
        while known.bytes > self.limit.load(Ordering::Relaxed) && known.entries.len() > 1 {
            let Some((_, old)) = known.entries.pop_lru() else { break };
            known.bytes -= old.1;
            gone.push(old);
        }
        // Large ones are not dropped while others wait.
        drop(known);
        drop(gone);
    }

    pub(super) fn forget(&self, key: &K) {
        let mut known = self.lock();
        let gone = known.entries.pop(key);
        known.bytes -= gone.as_ref().map_or(0, |(_, bytes)| *bytes);
        drop(known);
        drop(gone);
    }

    pub(super) fn clear(&self) {
        let mut known = self.lock();
        known.bytes = 0;
        let gone = std::mem::replace(&mut known.entries, LruCache::unbounded());
        drop(known);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_stay_under_the_limit_and_the_newest_stays() {
        let known: Remembered<u32, u32> = Remembered::new(100);
        for key in 0..10 {
            known.put(key, key, 30);
        }
        assert_eq!((0..10).filter(|key| known.get(key).is_some()).collect::<Vec<_>>(), [7, 8, 9]);
        known.put(8, 80, 60);
        assert_eq!((known.get(&8), known.get(&9), known.get(&7)), (Some(80), Some(9), None));
        known.put(20, 20, 1000);
        assert_eq!((known.get(&20), known.get(&8)), (Some(20), None));
        known.forget(&20);
        known.set_limit(10);
        known.put(1, 1, 5);
        known.put(2, 2, 5);
        assert_eq!((known.get(&1), known.get(&2)), (Some(1), Some(2)));
        known.clear();
        assert_eq!(known.get(&2), None);
    }
}
