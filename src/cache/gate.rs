//! The way to a whole brick that takes no lock.
//!
//! Who has found a brick once keeps a [`Pass`], which holds nothing back: the brick may go any time, and
//! then its gate is closed for good. To read, one goes in through the gate, which only counts; a brick
//! with somebody inside is not evicted.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use lru::LruCache;

use super::segment::{Place, SegmentFile};
use super::store::Store;
use super::{BrickKey, Slot};

/// Set once the brick is to go.
const CLOSED: u32 = 1 << 31;

/// Counts those who are at a brick.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU32);

impl Gate {
    /// Goes in, unless the gate is closed.
    pub(super) fn enter(&self) -> bool {
        let entered = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |count| {
            (count & CLOSED == 0).then_some(count + 1)
        });
        entered.is_ok()
    }

    /// Goes out; true for the last one to leave through a closed gate.
    #[must_use]
    pub(super) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == CLOSED | 1
    }

    /// Closes the gate, unless somebody is inside.
    #[must_use]
    pub(super) fn close_if_empty(&self) -> bool {
        self.0.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Closes the gate behind those who are inside.
    pub(super) fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether nobody is inside.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire) & !CLOSED == 0
    }
}

/// What is needed to go in to a brick.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    pub(super) store: Weak<Store>,
    pub(super) file: Weak<SegmentFile>,
    pub(super) gate: Arc<Gate>,
    pub(super) place: Place,
    pub(super) length: u64,
    /// Bytes that the store had taken in when the brick was looked up.
    pub(super) stored: u64,
}

/// Passes that a thread keeps.
const PASSES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// After so many uses of a pass the brick is looked up, which notes that it is in use.
const USES: u32 = 32;

/// Likewise after bricks of this part of the cap were stored.
const STORED_SHARE: u64 = 64;

type Passes = LruCache<BrickKey, (Pass, u32)>;

thread_local! {
    static PASSES_HERE: RefCell<Passes> = RefCell::new(LruCache::new(PASSES));
}

impl Pass {
    /// The pass of this thread for a brick of a store.
    pub(super) fn recall(store: &Arc<Store>, slot: &Slot) -> Option<Self> {
        PASSES_HERE.with_borrow_mut(|passes| {
            let (pass, uses) = passes.get_mut(&slot.key)?;
            *uses += 1;
            let is_of_store = std::ptr::eq(pass.store.as_ptr(), Arc::as_ptr(store));
            let is_fresh = is_of_store
                && *uses < USES
                && store.stored_bytes() - pass.stored <= store.cap_bytes() / STORED_SHARE;
            if is_fresh && pass.place.size.bytes() == slot.slot_bytes {
                return Some(pass.clone());
            }
            passes.pop(&slot.key);
            None
        })
    }

    /// Keeps it for the next time.
    pub(super) fn keep(self, key: BrickKey) {
        PASSES_HERE.with_borrow_mut(|passes| passes.put(key, (self, 0)));
    }

    /// It is of no use any more.
    pub(super) fn drop_of(key: &BrickKey) {
        PASSES_HERE.with_borrow_mut(|passes| passes.pop(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_closes_once() {
        let gate = Gate::default();
        assert!(gate.enter() && gate.enter());
        assert!(!gate.close_if_empty() && !gate.leave());
        gate.close();
        assert!(!gate.enter() && !gate.is_empty());
        assert!(gate.leave(), "the last one");
        assert!(gate.is_empty() && !gate.enter());
        let gate = Gate::default();
        assert!(gate.close_if_empty() && !gate.close_if_empty() && !gate.enter());
    }
}
