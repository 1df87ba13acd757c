//! Which listings were used lately, and what they take: those used longest ago are the first to be forgotten.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::fs::view::Ino;
use crate::resources::Account;
use crate::sync::lock;

/// A listing stays for this many times as long as it took to make: to make it again takes a part of the time only.
const STAYS: u32 = 10;

/// Listings that are looked at to be forgotten, each time.
const AT_ONCE: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Recent {
    listings: Mutex<LruCache<Ino, Listed>>,
    /// What the listings of all mounts take.
    account: Arc<Account>,
}

#[derive(Debug, Clone, Copy)]
struct Listed {
    bytes: u64,
    /// How long it took.
    cost: Duration,
    used: Instant,
}

impl Recent {
    pub(super) fn new(account: Arc<Account>) -> Self {
        Self { listings: Mutex::new(LruCache::unbounded()), account }
    }

    /// Whether something should be forgotten.
    pub(super) fn are_too_many(&self) -> bool {
        self.account.is_over()
    }

    /// Notes that a listing is used.
    pub(super) fn touch(&self, folder: Ino) {
        if let Some(listed) = lock(&self.listings).get_mut(&folder) {
            listed.used = Instant::now();
        }
    }

    /// Notes what a listing takes, and what it took to make it.
    pub(super) fn note(&self, folder: Ino, bytes: u64, cost: Duration) {
        let listed = Listed { bytes, cost, used: Instant::now() };
        let old = lock(&self.listings).put(folder, listed);
        self.account.change(old.map_or(0, |old| old.bytes), bytes);
    }

    /// Notes that there is no listing of a folder.
    pub(super) fn remove(&self, folder: Ino) {
        let old = lock(&self.listings).pop(&folder);
        self.account.change(old.map_or(0, |old| old.bytes), 0);
    }

    /// Notes that less is left of a listing.
    pub(super) fn shrink(&self, folder: Ino, bytes: u64) {
        if let Some(listed) = lock(&self.listings).get_mut(&folder) {
            let old = std::mem::replace(&mut listed.bytes, bytes);
            self.account.change(old, bytes);
        }
    }

    /// Some listings that may be forgotten, those used longest ago first.
    pub(super) fn idle(&self) -> Vec<Ino> {
        let listings = lock(&self.listings);
        let oldest = listings.iter().rev().take(AT_ONCE);
        let is_idle = |listed: &Listed| listed.used.elapsed() >= STAYS * listed.cost;
        oldest.filter(|(_, listed)| is_idle(listed)).map(|(ino, _)| *ino).collect()
    }
}

impl Drop for Recent {
    /// The listings of a mount go with it.
    fn drop(&mut self) {
        let bytes = lock(&self.listings).iter().map(|(_, listed)| listed.bytes).sum();
        self.account.change(bytes, 0);
    }
}
