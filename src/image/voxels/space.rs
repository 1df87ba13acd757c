//! The spaces of an image in the cache.

/// What the bricks of a space are. All have one slot size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Voxels of a resolution level.
    Level(usize),
    /// Records of the histograms of datasets, of large images from a part of their voxels.
    FastStatistics,
    /// The same from all voxels.
    ExactStatistics,
    /// Records of the displayed ranges of channels.
    DisplayRanges,
    /// The thumbnail.
    Thumbnail,
}

const FAST_STATISTICS: u16 = u16::MAX;
const EXACT_STATISTICS: u16 = u16::MAX - 1;
const DISPLAY_RANGES: u16 = u16::MAX - 2;
const THUMBNAIL: u16 = u16::MAX - 3;

impl Space {
    /// The number of the space.
    ///
    /// # Panics
    /// For a level that no plan has: each level halves an axis, so there are some hundreds at most.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::FastStatistics => FAST_STATISTICS,
            Self::ExactStatistics => EXACT_STATISTICS,
            Self::DisplayRanges => DISPLAY_RANGES,
            Self::Thumbnail => THUMBNAIL,
            Self::Level(level) => {
                let number = u16::try_from(level).ok().filter(|number| *number < THUMBNAIL);
                number.expect("a file has fewer levels than the cache has spaces")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_has_the_number_of_another_space() {
        assert_eq!([0, 7, 65_531].map(|level| Space::Level(level).number()), [0, 7, 65_531]);
        let others =
            [Space::Thumbnail, Space::DisplayRanges, Space::ExactStatistics, Space::FastStatistics];
        assert!(others.into_iter().map(Space::number).eq(65_532..=65_535));
        for level in [65_532, 65_535, 1 << 40] {
            assert!(std::panic::catch_unwind(|| Space::Level(level).number()).is_err());
        }
    }
}
