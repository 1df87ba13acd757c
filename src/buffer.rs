//! Buffers that a thread uses again and again: to clear a new one for each read would cost as much as to
//! fill it.

use std::cell::Cell;

/// Largest buffer that a thread keeps for the next time.
const KEPT_BYTES: usize = 4 << 20;

/// Lends a buffer of `len` bytes with anything in them.
pub(crate) fn with_buffer<T>(len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local!(static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) });
    // Taken away while it is used, so that work within the work gets another one.
    let mut buffer = BUFFER.take();
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let result = work(&mut buffer[..len]);
    if buffer.len() <= KEPT_BYTES {
        BUFFER.set(buffer);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::with_buffer;

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
