//! Bricks on their way to the cache.
//!
//! One thread writes: a file takes one writer at a time, and the kernel burns processor time where there are
//! two. Until a brick is written, readers find it here. A producer waits while much is queued, so that bricks
//! are not produced faster than the disk takes them; but not for long: if the disk hangs, its brick is given up.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::cache::{BrickKey, ImageId, Slot};
use crate::resources::buffer::Buffer;
use crate::resources::memory::Reserved;
use crate::resources::workers::Workers;
use crate::sync::lock;

use super::brick::Purpose;

/// Longest time that a producer waits for room: less than memory may be held before its holder counts as
/// hanging.
const LONGEST_WAIT: Duration = Duration::from_millis(300);

/// Where bricks are written.
pub(super) trait Destination: Send + Sync + 'static {
    /// Writes a brick, to be found there from now on. Called by one thread.
    fn write(&self, brick: &Unwritten);

    /// Takes a brick that will not be written.
    fn give_up(&self, brick: &Unwritten);
}

/// A brick that is to be written.
#[derive(Debug)]
#[must_use = "it would stay in memory for ever"]
pub(super) struct Unwritten {
    pub(super) slot: Slot,
    pub(super) purpose: Purpose,
    pub(super) bytes: Arc<Buffer>,
    /// Part of the memory budget, until the brick is written.
    pub(super) reserved: Option<Arc<Reserved>>,
}

/// The queue now, and what has become of bricks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WriteStats {
    /// Bricks that are not yet written.
    pub bricks: usize,
    /// Bytes of those that the writing thread has been given.
    pub bytes: u64,
    /// Bricks that were given up since the start, because the disk did not take them in time.
    pub given_up: u64,
    /// The last producer waited in vain, and nothing was written since.
    pub is_stalled: bool,
}

#[derive(Debug)]
pub(super) struct WriteQueue<D> {
    shared: Arc<Shared<D>>,
    writer: Workers,
    limit: u64,
}

#[derive(Debug)]
struct Shared<D> {
    destination: Arc<D>,
    state: Mutex<State>,
    /// Something was written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bricks that are not yet written, for their readers.
    bricks: HashMap<BrickKey, Arc<Buffer>>,
    /// Bytes that the writing thread has been given.
    bytes: u64,
    given_up: u64,
    is_stalled: bool,
}

impl State {
    /// Whether the writing thread may be given `bytes` more: one brick always, however large.
    fn has_room(&self, bytes: u64, limit: u64) -> bool {
        self.bytes == 0 || self.bytes + bytes <= limit
    }
}

impl<D: Destination> WriteQueue<D> {
    /// `limit`: bytes that may be queued before producers wait.
    pub(super) fn new(destination: Arc<D>, limit: u64) -> Self {
        let (state, written) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { destination, state, written });
        Self { shared, writer: Workers::new("cache-write", 1), limit }
    }

    /// The bytes of a brick that is not yet written.
    pub(super) fn get(&self, key: &BrickKey) -> Option<Arc<Buffer>> {
        lock(&self.shared.state).bricks.get(key).cloned()
    }

    /// Whether bricks of an image are not yet written.
    pub(super) fn has_any_of(&self, image: ImageId) -> bool {
        lock(&self.shared.state).bricks.keys().any(|key| key.image == image)
    }

    /// Lets readers find a brick; `None` if they already do. The caller pushes it afterwards.
    pub(super) fn add(
        &self,
        slot: Slot,
        purpose: Purpose,
        bytes: &Arc<Buffer>,
        reserved: Option<Arc<Reserved>>,
    ) -> Option<Unwritten> {
        let old = lock(&self.shared.state).bricks.insert(slot.key, bytes.clone());
        old.is_none().then(|| Unwritten { slot, purpose, bytes: bytes.clone(), reserved })
    }

    /// Has a brick written. Waits, but not for long, while much is queued; then gives the brick up.
    pub(super) fn push(&self, brick: Unwritten) {
        match self.wait(brick.bytes.len() as u64) {
            (state, true) => self.spawn(state, brick),
            (state, false) => {
                drop(state);
                self.shared.give_up(&brick);
            }
        }
    }

    /// Has a brick written, without a wait.
    pub(super) fn push_at_once(&self, brick: Unwritten) {
        self.spawn(lock(&self.shared.state), brick);
    }

    /// Runs a task when what was pushed so far is written; never after the end.
    pub(super) fn then(&self, task: impl FnOnce() + Send + 'static) {
        self.writer.spawn(task);
    }

    /// Whether `bytes` more may be queued, beyond the limit by `more`.
    pub(super) fn has_room(&self, bytes: u64, more: u64) -> bool {
        lock(&self.shared.state).has_room(bytes, self.limit + more)
    }

    /// Waits as [`WriteQueue::push`] does. Whether `bytes` more may be queued now.
    pub(super) fn wait_for_room(&self, bytes: u64) -> bool {
        self.wait(bytes).1
    }

    fn wait(&self, bytes: u64) -> (MutexGuard<'_, State>, bool) {
        let is_full = |state: &mut State| !state.has_room(bytes, self.limit);
        let state = lock(&self.shared.state);
        let waited = self.shared.written.wait_timeout_while(state, LONGEST_WAIT, is_full);
        let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_stalled |= timeout.timed_out();
        // There may be room for the next producer as well.
        self.shared.written.notify_one();
        (state, !timeout.timed_out())
    }

    fn spawn(&self, mut state: MutexGuard<'_, State>, brick: Unwritten) {
        state.bytes += brick.bytes.len() as u64;
        // Under the lock, so that bricks are written in the order in which room was given.
        let shared = self.shared.clone();
        self.writer.spawn(move || shared.write(brick));
    }

    pub(super) fn stats(&self) -> WriteStats {
        let State { bricks, bytes, given_up, is_stalled } = &*lock(&self.shared.state);
        WriteStats {
            bricks: bricks.len(),
            bytes: *bytes,
            given_up: *given_up,
            is_stalled: *is_stalled,
        }
    }

    /// Writes what is queued, unless that takes long, and ends.
    pub(super) fn finish(&self) {
        self.writer.finish();
    }
}

impl<D: Destination> Shared<D> {
    fn write(&self, brick: Unwritten) {
        // Whatever happens to the disk, producers wait for this brick no longer.
        if catch_unwind(AssertUnwindSafe(|| self.destination.write(&brick))).is_err() {
            self.destination.give_up(&brick);
        }
        let mut state = lock(&self.state);
        state.bytes -= brick.bytes.len() as u64;
        state.bricks.remove(&brick.slot.key);
        state.is_stalled = false;
        drop(state);
        // One: all but the first would mostly find the room taken again.
        self.written.notify_one();
        drop(brick.reserved);
    }

    fn give_up(&self, brick: &Unwritten) {
        // First there, then gone from here: a reader finds it in one place or the other.
        self.destination.give_up(brick);
        let mut state = lock(&self.state);
        state.bricks.remove(&brick.slot.key);
        state.given_up += 1;
    }
}

#[cfg(test)]
mod tests;
