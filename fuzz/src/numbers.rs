/// Takes numbers of all magnitudes from the front of an input. An input that has ended gives zeros.
#[derive(Debug)]
pub struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    /// From an input.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// A number below `end`, from one byte.
    pub fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    /// Up to eight bytes, little-endian, as many as the number before them says.
    pub fn number(&mut self) -> u64 {
        let bytes = self.below(9);
        (0..bytes).fold(0, |number, at| number | u64::from(self.byte()) << (8 * at))
    }

    /// A number from 1 to about `2^bits`: small ones are as likely as large ones.
    pub fn length(&mut self, bits: u8) -> u64 {
        let bits = self.below(bits.min(62) + 1);
        let low = self.number() & ((1 << bits) - 1);
        (1 << bits) | low
    }

    /// Three lengths of up to `bits` bits.
    pub fn lengths(&mut self, bits: u8) -> [u64; 3] {
        std::array::from_fn(|_| self.length(bits))
    }
}
