//! A cache that survives faults of its disk, for callers that go on without one.
//!
//! Whatever happens to the disk, a lookup finds nothing and a brick is not stored; the log says so
//! once when it begins and once when it is over. While a fault lasts, the disk is tried again after
//! a while, and less and less often. A folder that was removed is created again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use super::brick::{Check, PinnedBrick};
use super::brick_cache::BrickCache;
use super::disk::Disk;
use super::error::CacheError;
use super::health::{CacheStatus, Fault, Health};
use super::key::{BrickKey, ImageId, Slot};
use super::limits::CacheLimits;
use super::stats::{CacheStats, Removed, Tally};
use super::trouble::Troubles;
use crate::sync::lock;

/// How often written segment files are synced, to learn whether the disk takes them.
const WRITE_BACK_INTERVAL: Duration = Duration::from_secs(20);

/// Longest time the end waits for the disk.
const LONGEST_STOP: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub struct SteadyCache {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: Mutex<CacheLimits>,
    cache: Arc<RwLock<Option<Arc<BrickCache>>>>,
    /// `None` while the cache works; it is there then.
    fault: Mutex<Option<Fault>>,
    troubles: Arc<Troubles>,
    /// What happened in folders that are gone.
    past: Mutex<CacheStats>,
    /// Dropping the sender ends the thread that writes back; the receiver hears when it has ended.
    write_back: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl SteadyCache {
    /// Opens the cache in `dir`. If the disk fails, it begins without a cache.
    ///
    /// # Errors
    /// [`CacheError::InUse`] if another process or cache owns the directory.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, limits: CacheLimits) -> Result<Self, CacheError> {
        let troubles = Arc::<Troubles>::default();
        let (cache, fault) = match BrickCache::open(&*disk, dir, limits) {
            Ok(cache) => (Some(cache), None),
            Err(error) if error.is_fault() => {
                troubles.begins(&error);
                (None, Some(Fault::new(&error, false)))
            }
            Err(error) => return Err(error),
        };
        let cache = Arc::new(RwLock::new(cache));
        let write_back = match start_write_back(&cache, &troubles) {
            Ok(write_back) => Some(write_back),
            Err(error) => {
                tracing::warn!(%error, "late failures of the cache disk may be missed");
                None
            }
        };
        Ok(Self {
            disk,
            dir: dir.into(),
            limits: Mutex::new(limits),
            cache,
            fault: Mutex::new(fault),
            troubles,
            past: Mutex::default(),
            write_back: Mutex::new(write_back),
        })
    }

    /// The cap.
    #[must_use]
    pub fn cap_bytes(&self) -> u64 {
        self.limits().cap_bytes
    }

    fn limits(&self) -> CacheLimits {
        *lock(&self.limits)
    }

    /// Sets other limits, also while the cache does not work.
    pub fn set_limits(&self, limits: CacheLimits) {
        *lock(&self.limits) = limits;
        if let Some(cache) = self.cache()
            && let Err(error) = cache.set_limits(limits)
        {
            tracing::debug!(%error, "the cache disk does not tell its free space");
        }
    }

    fn cache(&self) -> Option<Arc<BrickCache>> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// See [`BrickCache::note`]; `None` as well where it cannot be read.
    #[must_use]
    pub fn note(&self, name: &str) -> Option<Vec<u8>> {
        self.cache()?.note(name).unwrap_or_else(|error| {
            tracing::debug!(%error, "going on without the note");
            None
        })
    }

    /// See [`BrickCache::most_note_bytes`]; 0 while there is no cache.
    #[must_use]
    pub fn most_note_bytes(&self) -> u64 {
        self.cache().map_or(0, |cache| cache.most_note_bytes())
    }

    /// Stores a note, if that can be done now; returns whether it was.
    pub fn put_note(&self, name: &str, bytes: &[u8]) -> bool {
        let Some(cache) = self.cache() else { return false };
        let stored = cache.put_note(name, bytes);
        stored.inspect_err(|error| tracing::debug!(%error, "note not stored")).is_ok()
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

    /// See [`BrickCache::check`]; absent while there is no cache.
    #[must_use]
    pub fn check(&self, slot: Slot) -> Check {
        self.cache().map_or(Check::Absent, |cache| cache.check(slot))
    }

    /// See [`BrickCache::remove_images`].
    pub fn remove_images(&self, images: &HashSet<ImageId>) -> Removed {
        self.cache().map_or_else(Removed::default, |cache| cache.remove_images(images))
    }

    /// See [`BrickCache::contains`].
    #[must_use]
    pub fn contains(&self, key: &BrickKey) -> bool {
        self.cache().is_some_and(|cache| cache.contains(key))
    }

    /// See [`BrickCache::tally`]; nothing while there is no cache.
    #[must_use]
    pub fn tally(&self, image: ImageId, space: u16, slots: u64, slot_bytes: u64) -> Tally {
        let cache = self.cache();
        cache.map_or_else(Tally::default, |cache| cache.tally(image, space, slots, slot_bytes))
    }

    /// Stores a brick, if that can be done now; whether it was.
    pub fn put(&self, slot: Slot, data: &[u8]) -> bool {
        let Some(cache) = self.usable() else { return false };
        match cache.put(slot, data) {
            Ok(_) => {
                self.works(&cache);
                true
            }
            Err(error) => {
                if error.is_fault() {
                    self.fails(&error, &cache);
                } else {
                    self.note_squeeze(&error);
                    tracing::debug!(%error, "brick not cached");
                    if let Some(known) = &mut *lock(&self.fault) {
                        known.try_at_once();
                    }
                }
                false
            }
        }
    }

    /// Logs once that others have left no room on the disk.
    fn note_squeeze(&self, error: &CacheError) {
        if let CacheError::NoRoom { limit_bytes, .. } = *error
            && limit_bytes < self.limits().cap_bytes
            && self.troubles.squeeze.begins()
        {
            tracing::warn!(
                limit_bytes,
                "others have filled the cache disk up to --min-free; serving uncached until there is \
                 room again"
            );
        }
    }

    /// The cache, unless a fault lasts and the next try is not due.
    fn usable(&self) -> Option<Arc<BrickCache>> {
        let mut fault = lock(&self.fault);
        let cache = self.cache();
        if let Some(known) = &mut *fault
            && !known.take_try()
        {
            return None;
        }
        // Other threads go on without a cache while this one tries.
        drop(fault);
        if cache.is_some() {
            return cache;
        }
        match BrickCache::open(&*self.disk, &self.dir, self.limits()) {
            Ok(cache) => {
                let mut current = self.cache.write().unwrap_or_else(PoisonError::into_inner);
                *current = Some(cache.clone());
                Some(cache)
            }
            Err(error) => {
                tracing::debug!(%error, "still no cache");
                if let Some(known) = &mut *lock(&self.fault) {
                    known.again(&error, false);
                }
                None
            }
        }
    }

    /// Whether this is the cache in use: one that is gone may still take a brick that was begun.
    fn is_current(&self, cache: &Arc<BrickCache>) -> bool {
        self.cache().is_some_and(|current| Arc::ptr_eq(&current, cache))
    }

    fn works(&self, cache: &Arc<BrickCache>) {
        // Nearly always there is nothing to do.
        let mut fault = lock(&self.fault);
        if fault.is_some() && self.is_current(cache) {
            *fault = None;
            if self.troubles.fault.is_over() {
                tracing::info!("the cache takes bricks again");
            }
        }
        if self.troubles.squeeze.is_over() {
            tracing::info!("the cache has room again");
        }
    }

    fn fails(&self, error: &CacheError, cache: &Arc<BrickCache>) {
        let mut fault = lock(&self.fault);
        if !self.is_current(cache) {
            return;
        }
        let is_gone = cache.is_gone();
        if let Some(known) = &mut *fault {
            known.again(error, is_gone);
        } else {
            self.troubles.begins(error);
            *fault = Some(Fault::new(error, is_gone));
        }
        if is_gone {
            // Pinned bricks in there can still be read: only the names are gone.
            *self.cache.write().unwrap_or_else(PoisonError::into_inner) = None;
            lock(&self.past).add_events(&cache.stats());
        }
    }

    /// Whether the cache takes bricks.
    #[must_use]
    pub fn health(&self) -> Health {
        lock(&self.fault).as_ref().map_or(Health::Works, Fault::health)
    }

    /// Health and use.
    #[must_use]
    pub fn status(&self) -> CacheStatus {
        CacheStatus { health: self.health(), stats: self.stats() }
    }

    /// What the cache holds, and what happened since the start.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let mut stats = self.cache().map_or_else(CacheStats::default, |cache| cache.stats());
        stats.add_events(&lock(&self.past));
        stats.cap_bytes = self.limits().cap_bytes;
        stats
    }

    /// Syncs the journal, unless the disk takes long over it. For a clean end.
    pub fn stop(&self) {
        let Some((ask, ended)) = lock(&self.write_back).take() else { return };
        drop(ask);
        if ended.recv_timeout(LONGEST_STOP) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the cache disk does not answer; left behind");
        }
    }
}

/// Starts the thread that syncs segment files now and then, and the journal at the end.
fn start_write_back(
    cache: &Arc<RwLock<Option<Arc<BrickCache>>>>,
    troubles: &Arc<Troubles>,
) -> std::io::Result<(mpsc::Sender<()>, mpsc::Receiver<()>)> {
    let (ask, asked) = mpsc::channel::<()>();
    let (end, ended) = mpsc::channel();
    // The thread holds no cache when it reports its end: the directory may be wanted then.
    let cache = Arc::downgrade(cache);
    let current = move || {
        let cache = cache.upgrade()?;
        cache.read().unwrap_or_else(PoisonError::into_inner).clone()
    };
    let troubles = troubles.clone();
    let task = move || {
        while asked.recv_timeout(WRITE_BACK_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
            if let Some(cache) = current() {
                troubles.note_write_back(cache.write_back());
            }
        }
        if let Some(cache) = current() {
            cache.sync();
        }
        // The receiver may be gone.
        let _ = end.send(());
    };
    thread::Builder::new().name("cache".to_owned()).spawn(task)?;
    Ok((ask, ended))
}

impl Troubles {
    fn begins(&self, error: &CacheError) {
        if self.fault.begins() {
            tracing::warn!(%error, "cannot cache bricks; serving uncached until it works again");
        }
    }

    fn note_write_back(&self, result: Result<(), CacheError>) {
        match result {
            Err(error) if self.late.begins() => {
                tracing::warn!(%error, "the cache disk did not take what was written; it is made again");
            }
            Err(error) => tracing::debug!(%error, "the cache disk did not take what was written"),
            Ok(()) if self.late.is_over() => {
                tracing::info!("the cache disk takes what is written again");
            }
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests;
