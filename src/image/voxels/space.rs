//! The spaces of an image in the cache.

/// What the bricks of a space are. All have one slot size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "records are not kept yet"))]
pub(crate) enum Space {
    /// Voxels of a resolution level.
    Level(usize),
    /// The metadata region.
    Metadata,
    /// The metadata region with exact statistics.
    ExactMetadata,
    /// Records of the histograms of datasets, of large images from a part of their voxels.
    FastStatistics,
    /// The same from all voxels.
    ExactStatistics,
    /// Records of the displayed ranges of channels.
    DisplayRanges,
    /// The thumbnail.
    Thumbnail,
}

const METADATA: u16 = u16::MAX;
const EXACT_METADATA: u16 = u16::MAX - 1;
const FAST_STATISTICS: u16 = u16::MAX - 2;
const EXACT_STATISTICS: u16 = u16::MAX - 3;
const DISPLAY_RANGES: u16 = u16::MAX - 4;
const THUMBNAIL: u16 = u16::MAX - 5;

impl Space {
    /// The number of the space.
    ///
    /// # Panics
    /// For a level that no plan has: each level halves an axis, so there are some hundreds at most.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Metadata => METADATA,
            Self::ExactMetadata => EXACT_METADATA,
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
        assert_eq!([0, 7, 65_529].map(|level| Space::Level(level).number()), [0, 7, 65_529]);
        let others = [
            Space::Thumbnail,
            Space::DisplayRanges,
            Space::ExactStatistics,
            Space::FastStatistics,
            Space::ExactMetadata,
            Space::Metadata,
        ];
        assert!(others.into_iter().map(Space::number).eq(65_530..=65_535));
        for level in [65_530, 65_535, 1 << 40] {
            assert!(std::panic::catch_unwind(|| Space::Level(level).number()).is_err());
        }
    }
}
