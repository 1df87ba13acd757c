//! Which brick is evicted first: a segmented list of least recently used bricks, which a scan cannot
//! flush.
//!
//! A new brick is on **trial**. One that is used again after others were stored is **proven**; so is,
//! from the start, a brick that every opening of its file reads, as its caller knows. Bricks on trial
//! go first, so one long copy replaces its own bricks and leaves the proven ones alone. Those may
//! take [`PROVEN_SHARE`] of the cap; beyond it, the least recently used one is on trial again. (Segmented LRU: Karedla, Love, Wherry, IEEE Computer 27(3), 1994. What is
//! counted as a second use: the correlated reference period of LRU-K, O'Neil et al., SIGMOD 1993.)

use std::hash::Hash;

use lru::LruCache;

/// Parts of the cap, out of four, that proven bricks may take.
const PROVEN_SHARE: u64 = 3;

/// A brick is read in many small pieces. Uses during which less than this part of the cap is newly
/// stored count as one use.
const SAME_USE: u64 = 16;

/// Entries by key, in the order in which they are to be evicted.
#[derive(Debug)]
pub(super) struct Recency<K: Hash + Eq, V> {
    trial: LruCache<K, Aged<V>>,
    proven: LruCache<K, Aged<V>>,
    proven_bytes: u64,
    /// Bytes stored so far.
    clock: u64,
    cap: u64,
}

#[derive(Debug)]
struct Aged<V> {
    value: V,
    bytes: u64,
    /// The clock at the first use of the last series of uses.
    used: u64,
}

impl<K: Hash + Eq + Copy, V> Recency<K, V> {
    pub(super) fn new(cap: u64) -> Self {
        Self {
            trial: LruCache::unbounded(),
            proven: LruCache::unbounded(),
            proven_bytes: 0,
            clock: 0,
            cap,
        }
    }

    pub(super) fn set_cap(&mut self, cap: u64) {
        self.cap = cap;
    }

    pub(super) fn len(&self) -> usize {
        self.trial.len() + self.proven.len()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.trial.contains(key) || self.proven.contains(key)
    }

    pub(super) fn peek(&self, key: &K) -> Option<&V> {
        self.trial.peek(key).or_else(|| self.proven.peek(key)).map(|aged| &aged.value)
    }

    pub(super) fn peek_mut(&mut self, key: &K) -> Option<&mut V> {
        let found = self.trial.peek_mut(key).or_else(|| self.proven.peek_mut(key));
        found.map(|aged| &mut aged.value)
    }

    pub(super) fn is_proven(&self, key: &K) -> bool {
        self.proven.contains(key)
    }

    /// Finds an entry and notes the use.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        let same_use = self.cap / SAME_USE;
        if let Some(aged) = self.trial.peek(key)
            && self.clock - aged.used >= same_use
            && let Some(mut aged) = self.trial.pop(key)
        {
            aged.used = self.clock;
            self.prove(*key, aged);
        }
        if let Some(aged) = self.trial.get_mut(key) {
            return Some(&mut aged.value);
        }
        let clock = self.clock;
        self.proven.get_mut(key).map(|aged| {
            aged.used = clock;
            &mut aged.value
        })
    }

    /// Adds an entry that counts for `bytes`, in place of one with the same key.
    pub(super) fn put(&mut self, key: K, value: V, bytes: u64, is_proven: bool) {
        self.pop(&key);
        self.clock = self.clock.saturating_add(bytes);
        let aged = Aged { value, bytes, used: self.clock };
        if is_proven {
            self.prove(key, aged);
        } else {
            self.trial.put(key, aged);
        }
    }

    fn prove(&mut self, key: K, aged: Aged<V>) {
        self.proven_bytes += aged.bytes;
        self.proven.put(key, aged);
        while self.proven_bytes > self.cap / 4 * PROVEN_SHARE && self.proven.len() > 1 {
            let Some((key, mut aged)) = self.proven.pop_lru() else { break };
            self.proven_bytes -= aged.bytes;
            aged.used = self.clock;
            self.trial.put(key, aged);
        }
    }

    pub(super) fn pop(&mut self, key: &K) -> Option<V> {
        if let Some(aged) = self.trial.pop(key) {
            return Some(aged.value);
        }
        let aged = self.proven.pop(key)?;
        self.proven_bytes -= aged.bytes;
        Some(aged.value)
    }

    /// All entries, in the order in which they are to be evicted.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let all = self.trial.iter().rev().chain(self.proven.iter().rev());
        all.map(|(key, aged)| (key, &aged.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps a model cache of `cap` bytes with entries of one byte.
    fn store(recency: &mut Recency<u32, ()>, key: u32, is_proven: bool) {
        while recency.len() as u64 >= recency.cap {
            let key = *recency.iter().next().expect("not empty").0;
            recency.pop(&key);
        }
        recency.put(key, (), 1, is_proven);
    }

    #[test]
    fn a_scan_flushes_neither_what_is_proven_nor_what_was_used_again() {
        let mut recency = Recency::new(64);
        for key in 0..8 {
            store(&mut recency, key, true);
        }
        for key in 8..16 {
            store(&mut recency, key, false);
        }
        for key in 100..104 {
            store(&mut recency, key, false);
        }
        for key in 8..12 {
            assert!(recency.get(&key).is_some());
        }
        for key in 1000..5000 {
            store(&mut recency, key, false);
            // Small reads of one brick do not prove it.
            for _ in 0..8 {
                assert!(recency.get(&key).is_some());
            }
        }
        let kept: Vec<u32> = (0..16).filter(|key| recency.contains(key)).collect();
        assert_eq!(kept, (0..12).collect::<Vec<_>>());
        assert_eq!(recency.len(), 64);
    }

    #[test]
    fn proven_entries_take_no_more_than_their_share() {
        let mut recency = Recency::new(64);
        for key in 0..200 {
            store(&mut recency, key, true);
        }
        assert_eq!(recency.proven_bytes, 48);
        assert!((152..200).all(|key| recency.is_proven(&key)));
        // The others go in their order.
        let order: Vec<u32> = recency.iter().map(|(key, ())| *key).collect();
        assert_eq!(order, (136..200).collect::<Vec<_>>());
    }

    #[test]
    fn without_second_uses_it_is_least_recently_used() {
        let mut recency = Recency::new(1000);
        for key in 0..4 {
            recency.put(key, (), 1, false);
        }
        recency.get(&0);
        recency.pop(&2);
        assert_eq!(recency.iter().map(|(key, ())| *key).collect::<Vec<_>>(), [1, 3, 0]);
    }

    /// Hits and lookups, of all bricks and of those that every opening reads.
    #[derive(Debug, Default, PartialEq)]
    struct Rates {
        all: [u64; 2],
        openings: [u64; 2],
    }

    impl Rates {
        fn count(&mut self, is_hit: bool, is_proven: bool) {
            let counted = u64::from(is_proven);
            let hit = u64::from(is_hit);
            self.all = [self.all[0] + hit, self.all[1] + 1];
            self.openings = [self.openings[0] + hit * counted, self.openings[1] + counted];
        }
    }

    /// Visits the lookups of the trace that `benches/traces/record.py` has recorded: brick, bytes, and
    /// whether every opening reads it.
    fn each_lookup(visit: &mut dyn FnMut([u64; 3], u64, bool)) {
        for line in include_str!("../../benches/traces/mixed.txt").lines() {
            let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            let [image, level, first, count, bytes, is_proven] = numbers[..] else {
                panic!("{line}")
            };
            for brick in first..first + count {
                visit([image, level, brick], bytes, is_proven == 1);
            }
        }
    }

    fn segmented(cap: u64) -> Rates {
        let (mut recency, mut used, mut rates) = (Recency::new(cap), 0, Rates::default());
        each_lookup(&mut |key, bytes, is_proven| {
            let is_hit = recency.get(&key).is_some();
            rates.count(is_hit, is_proven);
            if !is_hit {
                while used + bytes > cap {
                    let key = *recency.iter().next().unwrap().0;
                    used -= recency.pop(&key).unwrap();
                }
                recency.put(key, bytes, bytes, is_proven);
                used += bytes;
            }
        });
        rates
    }

    fn plain(cap: u64) -> Rates {
        let (mut lru, mut used, mut rates) = (LruCache::unbounded(), 0, Rates::default());
        each_lookup(&mut |key, bytes, is_proven| {
            let is_hit = lru.get(&key).is_some();
            rates.count(is_hit, is_proven);
            if !is_hit {
                while used + bytes > cap {
                    used -= lru.pop_lru().unwrap().1;
                }
                lru.put(key, bytes);
                used += bytes;
            }
        });
        rates
    }

    /// The figures of `doc/NOTEBOOK.md`, "Which brick to evict".
    #[test]
    fn a_mixed_day_hits_more_often_and_opens_from_the_cache() {
        let first_times = segmented(u64::MAX);
        for cap in [256, 512, 1024, 2048, 4096].map(|mib: u64| mib << 20) {
            let (segmented, plain) = (segmented(cap), plain(cap));
            println!("{} MiB: segmented {segmented:?}, plain {plain:?}", cap >> 20);
            assert!(segmented.all[0] >= plain.all[0], "{cap} bytes");
            // Nothing that every opening reads was looked up twice in the source.
            assert_eq!(segmented.openings, first_times.openings, "{cap} bytes");
        }
    }
}
