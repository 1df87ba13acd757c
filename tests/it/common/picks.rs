//! Numbers for shuffles and picks, repeatable from their seed alone.

use std::hash::{BuildHasher, RandomState};

/// Numbers by xorshift.
#[derive(Debug)]
pub(crate) struct Picks(u64);

impl Picks {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Numbers for the whole of a test; `ZARRIMS_SEED` repeats the run whose seed was printed.
    pub(crate) fn of_test(name: &str) -> Self {
        let given = std::env::var("ZARRIMS_SEED").ok();
        let seed = given.map_or_else(
            // The only randomness of the standard library.
            || RandomState::new().hash_one(name),
            |text| text.parse().expect("ZARRIMS_SEED is a number"),
        );
        println!("{name}: ZARRIMS_SEED={seed}");
        Self::new(seed)
    }

    /// Numbers for another thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.below(u64::MAX))
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % end
    }

    /// The same for an index.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length")
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (2..=items.len()).rev() {
            items.swap(end - 1, self.index(end));
        }
    }
}
