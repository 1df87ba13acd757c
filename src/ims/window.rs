//! A part of a file that is being filled.

/// The bytes of a file from `start` on that somebody wants. What is never put is zero.
pub(super) struct Window<'a> {
    start: u64,
    out: &'a mut [u8],
}

impl<'a> Window<'a> {
    /// The bytes from file address `start` on; clears `out`.
    pub(super) fn new(start: u64, out: &'a mut [u8]) -> Self {
        out.fill(0);
        Self { start, out }
    }

    fn end(&self) -> u64 {
        self.start + self.out.len() as u64
    }

    /// Whether any of the `len` bytes at `at` is wanted.
    pub(super) fn wants(&self, at: u64, len: u64) -> bool {
        at < self.end() && at + len > self.start
    }

    /// Which of `count` things of `stride` bytes each, from `at` on, are wanted, half-open.
    pub(super) fn wanted(&self, at: u64, stride: u64, count: u64) -> std::ops::Range<u64> {
        let first = self.start.saturating_sub(at) / stride;
        let end = self.end().saturating_sub(at).div_ceil(stride).min(count);
        first.min(end)..end
    }

    /// Puts what is wanted of `bytes`, which stand at `at` in the file.
    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        let (start, end) = (at.max(self.start), (at + bytes.len() as u64).min(self.end()));
        if start < end {
            let place = |from: u64| usize::try_from(from).expect("within a buffer");
            let len = place(end - start);
            self.out[place(start - self.start)..][..len]
                .copy_from_slice(&bytes[place(start - at)..][..len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_is_put() {
        let mut out = [9; 4];
        let mut window = Window::new(10, &mut out);
        assert!(window.wants(8, 3) && !window.wants(8, 2) && !window.wants(14, 9));
        assert_eq!(window.wanted(0, 4, 100), 2..4);
        assert_eq!(window.wanted(0, 4, 3), 2..3);
        assert_eq!(window.wanted(20, 4, 3), 0..0);
        window.put(8, &[1, 2, 3]);
        window.put(12, &[4, 5, 6]);
        window.put(14, &[7]);
        window.put(0, &[8; 10]);
        assert_eq!(out, [3, 0, 4, 5]);
    }
}
