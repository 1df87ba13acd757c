//! Buffers that are used again and again: to get a new one from the system, page by page, and to clear it
//! would cost as much as to fill it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::headroom::{self, NoMemory};
use super::shares::{DEFAULT_BUDGET_BYTES, KEPT_BUFFER_BYTES, POOLED_BUFFER_BYTES, Shares};
use crate::sync::lock;

/// Most bytes that threads keep, and most that the pool has.
static LIMIT: AtomicU64 = AtomicU64::new(Shares::of(DEFAULT_BUDGET_BYTES).buffers());

/// Bytes of the buffers that threads keep now.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// Sets how many bytes threads keep, and the pool as many again.
pub(crate) fn keep_at_most(bytes: u64) {
    LIMIT.store(bytes, Ordering::Relaxed);
}

/// Bytes of all buffers that are kept now.
pub(crate) fn kept_bytes() -> u64 {
    let pooled: usize = lock(&POOL).iter().map(Vec::capacity).sum();
    KEPT.load(Ordering::Relaxed) + pooled as u64
}

/// Drops the buffers of the pool.
pub(crate) fn give_back() {
    let dropped = std::mem::take(&mut *lock(&POOL));
    drop(dropped);
}

/// The buffer that a thread keeps.
#[derive(Default)]
struct Kept(Vec<u8>);

impl Kept {
    /// Keeps a buffer, if it is small, and all threads together do not keep too much.
    fn new(buffer: Vec<u8>) -> Self {
        let bytes = buffer.capacity() as u64;
        let before = KEPT.fetch_add(bytes, Ordering::Relaxed);
        if buffer.capacity() <= KEPT_BUFFER_BYTES && before + bytes <= LIMIT.load(Ordering::Relaxed)
        {
            return Self(buffer);
        }
        KEPT.fetch_sub(bytes, Ordering::Relaxed);
        Self::default()
    }

    fn take(mut self) -> Vec<u8> {
        KEPT.fetch_sub(self.0.capacity() as u64, Ordering::Relaxed);
        std::mem::take(&mut self.0)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0.capacity() as u64, Ordering::Relaxed);
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

/// Large buffers that are not in use.
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
        if len < POOLED_BUFFER_BYTES {
            return None;
        }
        let mut pool = lock(&POOL);
        let fits = |known: &Vec<u8>| (len..=len.saturating_mul(2)).contains(&known.len());
        let at = pool.iter().position(fits)?;
        let mut bytes = pool.swap_remove(at);
        bytes.truncate(len);
        Some(bytes)
    }
}

/// In tests, bytes that are not written show.
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
        if !self.is_from_here || self.bytes.len() < POOLED_BUFFER_BYTES {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let mut pool = lock(&POOL);
        let waiting: usize = pool.iter().map(Vec::capacity).sum();
        if (waiting + bytes.capacity()) as u64 <= LIMIT.load(Ordering::Relaxed) {
            pool.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::POOLED_BUFFER_BYTES;
    use super::{Buffer, with_buffer};

    const POOL_BYTES: usize = 16 << 20;

    #[test]
    fn large_buffers_are_used_again_at_their_length() {
        for len in [10, POOLED_BUFFER_BYTES, POOLED_BUFFER_BYTES + 100, POOL_BYTES, POOL_BYTES + 1]
        {
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
