//! Buffers that are used again and again: to get a new one from the system, page by page, and to clear it
//! would cost as much as to fill it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::headroom::{self, NoMemory};

/// Largest buffer that a thread keeps for the next time.
pub(crate) const KEPT_BYTES: usize = 4 << 20;

/// Part of the memory budget for buffers that threads keep, and as much again for those in the pool.
const SHARE: u64 = 16;

/// Bytes of either at most; a budget sets it.
static LIMIT: AtomicUsize = AtomicUsize::new(8 << 20);

/// Bytes of the buffers that threads keep now.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Sets how much is kept, by a memory budget of so many bytes.
pub(crate) fn keep_at_most(budget_bytes: u64) {
    LIMIT.store(usize::try_from(budget_bytes / SHARE).unwrap_or(usize::MAX), Ordering::Relaxed);
}

/// Drops the buffers of the pool.
pub(crate) fn give_back() {
    let dropped = std::mem::take(&mut *POOL.lock().unwrap_or_else(PoisonError::into_inner));
    drop(dropped);
}

/// The buffer that a thread keeps.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Kept {
    /// Keeps a buffer, if it is small, and all threads together do not keep too much.
    fn new(buffer: Vec<u8>) -> Self {
        let bytes = buffer.capacity();
        let before = KEPT.fetch_add(bytes, Ordering::Relaxed);
        if bytes <= KEPT_BYTES && before + bytes <= LIMIT.load(Ordering::Relaxed) {
            return Self(buffer);
        }
        KEPT.fetch_sub(bytes, Ordering::Relaxed);
        Self::default()
    }

    fn take(mut self) -> Vec<u8> {
        KEPT.fetch_sub(self.0.capacity(), Ordering::Relaxed);
        std::mem::take(&mut self.0)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0.capacity(), Ordering::Relaxed);
    }
}

/// Lends a buffer of `len` bytes with anything in them.
pub(crate) fn with_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local!(static BUFFER: Cell<Kept> = const { Cell::new(Kept(Vec::new())) });
    // Taken away while it is used, so that work within the work gets another one.
    let mut buffer = BUFFER.take().take();
    if buffer.len() < len {
        // What it holds is of no use: not to be copied.
        buffer.clear();
        buffer.resize(len, 0);
    }
    spoil(&mut buffer[..len]);
    let result = work(&mut buffer[..len]);
    BUFFER.set(Kept::new(buffer));
    result
}

/// Smaller buffers are left to the allocator, which keeps them at hand as well.
const POOLED_FROM_BYTES: usize = 4 << 20;

/// Large buffers that nobody uses now.
static POOL: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes of a unit or of a brick. A large one that was got here is used again when it is dropped.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    is_from_here: bool,
}

impl Buffer {
    /// A buffer of `len` bytes with anything in them.
    pub(crate) fn of(len: usize) -> Self {
        let bytes = Self::find(len).unwrap_or_else(|| vec![0; len]);
        let mut buffer = Self { bytes, is_from_here: true };
        spoil(&mut buffer);
        buffer
    }

    /// The same, unless there is no memory for it.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn try_of(len: usize) -> Result<Self, NoMemory> {
        // Once it is there it is counted by the system.
        let _claim = headroom::claim(u64::try_from(len).unwrap_or(u64::MAX))?;
        Ok(Self::of(len))
    }

    fn find(len: usize) -> Option<Vec<u8>> {
        if len < POOLED_FROM_BYTES {
            return None;
        }
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |known: &Vec<u8>| (len..=len.saturating_mul(2)).contains(&known.len());
        let at = pool.iter().position(fits)?;
        let mut bytes = pool.swap_remove(at);
        bytes.truncate(len);
        Some(bytes)
    }
}

/// In tests, what nobody writes shows.
fn spoil(bytes: &mut [u8]) {
    if cfg!(debug_assertions) {
        bytes.fill(0xa5);
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, is_from_here: false }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.is_from_here || self.bytes.len() < POOLED_FROM_BYTES {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: usize = pool.iter().map(Vec::capacity).sum();
        if waiting + bytes.capacity() <= LIMIT.load(Ordering::Relaxed) {
            pool.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, POOLED_FROM_BYTES, with_buffer};

    const POOL_BYTES: usize = 16 << 20;

    #[test]
    fn large_buffers_are_used_again_at_their_length() {
        for len in [10, POOLED_FROM_BYTES, POOLED_FROM_BYTES + 100, POOL_BYTES, POOL_BYTES + 1] {
            for _ in 0..3 {
                let mut buffer = Buffer::of(len);
                assert_eq!(buffer.len(), len);
                buffer.fill(7);
            }
        }
    }

    #[test]
    fn work_within_the_work_has_a_buffer_of_its_own() {
        with_buffer(10, |outer| {
            outer.fill(1);
            with_buffer(20, |inner| inner.fill(2));
            assert_eq!(outer, [1; 10]);
        });
        assert_eq!(with_buffer(5, |buffer| buffer.len()), 5);
    }
}
