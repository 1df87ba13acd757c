//! Buffers that are used again and again: to get a new one from the system, page by page, and to clear it
//! would cost as much as to fill it.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::headroom::{self, NoMemory};

/// Largest buffer that a thread keeps for the next time.
pub(crate) const KEPT_BYTES: usize = 4 << 20;

/// Lends a buffer of `len` bytes with anything in them.
pub(crate) fn with_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local!(static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });
    // Taken away while it is used, so that work within the work gets another one.
    let mut buffer = BUFFER.take();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    spoil(&mut buffer[..len]);
    let result = work(&mut buffer[..len]);
    if buffer.len() <= KEPT_BYTES {
        BUFFER.set(buffer);
    }
    result
}

/// Smaller buffers are left to the allocator, which keeps them at hand as well.
const POOLED_FROM_BYTES: usize = 4 << 20;

/// Bytes of buffers that wait to be used again.
const POOL_BYTES: usize = 16 << 20;

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
        let waiting: usize = pool.iter().map(Vec::len).sum();
        if waiting + bytes.len() <= POOL_BYTES {
            pool.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, POOL_BYTES, POOLED_FROM_BYTES, with_buffer};

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
