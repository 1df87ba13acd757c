//! A cache that may come and go, for callers that want to go on without one.
//!
//! Whatever happens to the disk, a lookup finds nothing and a brick is not stored; the log says so
//! once when it begins and once when it is over. While a fault lasts, the disk is tried again after
//! a while, and less and less often. A directory that was removed is made anew.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::{BrickCache, BrickKey, CacheError, CacheLimits, CacheStats, PinnedBrick, Slot, lock};

/// Time from a fault to the first try, and the longest time between two.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub struct SteadyCache {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: CacheLimits,
    cache: RwLock<Option<Arc<BrickCache>>>,
    fault: Mutex<Option<Fault>>,
    /// The counters of directories that are gone.
    past: Mutex<CacheStats>,
}

/// What is wrong with the disk.
#[derive(Debug)]
struct Fault {
    next_try: Instant,
    pause: Duration,
}

impl Fault {
    fn new() -> Self {
        Self { next_try: Instant::now() + FIRST_RETRY, pause: FIRST_RETRY }
    }

    /// The try said nothing of the disk: the next brick is another one.
    fn try_at_once(&mut self) {
        self.pause = (self.pause / 2).max(FIRST_RETRY);
        self.next_try = Instant::now();
    }

    fn put_off(&mut self) {
        self.pause = (self.pause * 2).min(LONGEST_RETRY);
        self.next_try = Instant::now() + self.pause;
    }
}

impl SteadyCache {
    /// Opens the cache in `dir`. If the disk is to blame that there is none, it begins without one.
    ///
    /// # Errors
    /// [`CacheError::InUse`] if somebody else owns the directory.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, limits: CacheLimits) -> Result<Self, CacheError> {
        let (cache, fault) = match BrickCache::open(&*disk, dir, limits) {
            Ok(cache) => (Some(cache), None),
            Err(error) if error.is_fault() => {
                begins(&error);
                (None, Some(Fault::new()))
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            disk,
            dir: dir.into(),
            limits,
            cache: RwLock::new(cache),
            fault: Mutex::new(fault),
            past: Mutex::default(),
        })
    }

    /// The cap.
    #[must_use]
    pub fn cap_bytes(&self) -> u64 {
        self.limits.cap_bytes
    }

    fn cache(&self) -> Option<Arc<BrickCache>> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// See [`BrickCache::get`].
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<PinnedBrick> {
        self.cache()?.get(slot)
    }

    /// See [`BrickCache::get_ready`].
    #[must_use]
    pub fn get_ready(&self, slot: Slot) -> Option<PinnedBrick> {
        self.cache()?.get_ready(slot)
    }

    /// See [`BrickCache::contains`].
    #[must_use]
    pub fn contains(&self, key: &BrickKey) -> bool {
        self.cache().is_some_and(|cache| cache.contains(key))
    }

    /// Stores a brick, if that can be done now; whether it was.
    pub fn put(&self, slot: Slot, data: &[u8]) -> bool {
        let Some(cache) = self.usable() else { return false };
        match cache.put(slot, data) {
            Ok(_) => {
                self.works();
                true
            }
            Err(error) => {
                if error.is_fault() {
                    self.fails(&error, &cache);
                } else {
                    tracing::debug!(%error, "brick not cached");
                    if let Some(known) = &mut *lock(&self.fault) {
                        known.try_at_once();
                    }
                }
                false
            }
        }
    }

    /// The cache, unless a fault lasts and the next try is not due.
    fn usable(&self) -> Option<Arc<BrickCache>> {
        let mut fault = lock(&self.fault);
        let Some(known) = &mut *fault else { return self.cache() };
        if Instant::now() < known.next_try {
            return None;
        }
        // Others go on without while this one tries.
        known.put_off();
        drop(fault);
        if let Some(cache) = self.cache() {
            return Some(cache);
        }
        match BrickCache::open(&*self.disk, &self.dir, self.limits) {
            Ok(cache) => {
                let mut known = self.cache.write().unwrap_or_else(PoisonError::into_inner);
                *known = Some(cache.clone());
                Some(cache)
            }
            Err(error) => {
                tracing::debug!(%error, "still no cache");
                None
            }
        }
    }

    fn works(&self) {
        // Nearly always there is nothing to do, and nobody to wait for.
        if lock(&self.fault).take().is_some() {
            tracing::info!("the cache takes bricks again");
        }
    }

    fn fails(&self, error: &CacheError, cache: &Arc<BrickCache>) {
        lock(&self.fault).get_or_insert_with(|| {
            begins(error);
            Fault::new()
        });
        if cache.is_gone() {
            // What is pinned in there can still be read: only the names are gone.
            let taken = self.cache.write().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(gone) = taken {
                *lock(&self.past) += gone.stats();
            }
        }
    }

    /// What the cache holds, and what happened since the start.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let past = *lock(&self.past);
        let mut stats = self.cache().map_or_else(CacheStats::default, |cache| cache.stats());
        stats += CacheStats { used_bytes: 0, held_bytes: 0, bricks: 0, segments: 0, ..past };
        stats.cap_bytes = self.limits.cap_bytes;
        stats
    }

    /// See [`BrickCache::sync`].
    pub fn sync(&self) {
        if let Some(cache) = self.cache() {
            cache.sync();
        }
    }
}

fn begins(error: &CacheError) {
    tracing::warn!(%error, "cannot cache bricks; serving uncached until it works again");
}
