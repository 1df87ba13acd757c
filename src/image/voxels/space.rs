//! The spaces of an image in the cache.

/// What the bricks of a space are. All have one slot size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Voxels of a resolution level.
    Level(usize),
    /// The metadata region.
    Metadata,
    /// The metadata region with exact statistics.
    ExactMetadata,
}

const METADATA: u16 = u16::MAX;
const EXACT_METADATA: u16 = u16::MAX - 1;

impl Space {
    /// The number of the space.
    ///
    /// # Panics
    /// For a level that no plan has: each level halves an axis, so there are some hundreds at most.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Metadata => METADATA,
            Self::ExactMetadata => EXACT_METADATA,
            Self::Level(level) => {
                let number = u16::try_from(level).ok().filter(|number| *number < EXACT_METADATA);
                number.expect("a file has fewer levels than the cache has spaces")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_has_the_number_of_the_metadata() {
        assert_eq!([0, 7, 65_533].map(|level| Space::Level(level).number()), [0, 7, 65_533]);
        assert_eq!([Space::ExactMetadata, Space::Metadata].map(Space::number), [65_534, 65_535]);
        for level in [65_534, 65_535, 1 << 40] {
            assert!(std::panic::catch_unwind(|| Space::Level(level).number()).is_err());
        }
    }
}
