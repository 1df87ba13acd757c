//! The plan of a virtual file: everything that follows from a store's metadata alone.

use crate::ims::{ChunkIndex, ImsChannel, ImsFile, ImsLevel, VoxelType, metadata_capacity};
use crate::source::TargetType;
use crate::source::image::{ImageSource, LevelSource};

use super::ImageError;
use super::chunking;
use super::layout::{BrickGrid, FileLayout};

/// Longest name stored as an attribute; the format keeps longer texts in datasets, where readers do
/// not look for names (`ImarisWriter` `bpWriterHDF5.cxx`, attributes over 1024 bytes).
const NAME_LIMIT_BYTES: usize = 1024;

/// Most `Data` datasets of a file. Each takes 0.3 ms and up to 13 KB of metadata, so a file with more
/// would take longer to open and more memory than anybody waits for.
const DATASET_LIMIT: u64 = 50_000;

/// Time of the first time point: OME-NGFF states none.
const EPOCH: (i64, u32, u32) = (2000, 1, 1);

/// Everything that is known of a virtual file before a voxel is read.
#[derive(Debug)]
pub struct ImagePlan {
    /// The Imaris schema.
    pub ims: ImsFile,
    /// Where the voxels of each published level come from, finest first.
    pub levels: Vec<PlannedLevel>,
    /// Where the bytes lie.
    pub layout: FileLayout,
}

/// Source of one published level.
#[derive(Debug)]
pub struct PlannedLevel {
    /// Number of the level in [`ImageSource::levels`].
    pub source: usize,
    /// Published size in voxels, order (z, y, x): what the source has, or one less where it rounds
    /// halves up.
    pub size: [u64; 3],
    /// HDF5 chunk shape in voxels, order (z, y, x).
    pub chunk: [u64; 3],
}

impl ImagePlan {
    /// Plans the virtual file of an image.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] when it would exceed what a file can be.
    pub fn new(source: &ImageSource) -> Result<Self, ImageError> {
        let target = source.source_type().target();
        let voxel_bytes = target.bytes() as u64;
        let [time_points, channels, ..] = source.levels[0].shape();
        let levels = published_levels(&source.levels);
        let datasets = time_points.saturating_mul(channels).saturating_mul(levels.len() as u64);
        if datasets > DATASET_LIMIT {
            return Err(ImageError::TooManyDatasets { datasets, limit: DATASET_LIMIT });
        }
        let mut planned = Vec::new();
        let mut grids = Vec::new();
        let mut ims_levels = Vec::new();
        for (number, size) in levels {
            let [_, _, uz, uy, ux] = source.levels[number].unit_shape();
            let chunking = chunking::choose(size, [uz, uy, ux], voxel_bytes);
            let level = ImsLevel { size, chunk: chunking.chunk };
            let chunk_bytes = chunking.chunk.iter().product::<u64>() * voxel_bytes;
            let bricks = BrickGrid::new(level.grid(), chunking.brick_chunks, chunk_bytes);
            let chunk_bytes = u32::try_from(chunk_bytes).map_err(|_| ImageError::TooLarge)?;
            grids.push((bricks, ChunkIndex::new(level.grid(), chunking.chunk, chunk_bytes)));
            planned.push(PlannedLevel { source: number, size, chunk: chunking.chunk });
            ims_levels.push(level);
        }
        let [z, y, x] = planned[0].size;
        let (extent_min_um, extent_max_um) = extents(source, [x, y, z]);
        let ims = ImsFile {
            voxel_type: match target {
                TargetType::U8 => VoxelType::U8,
                TargetType::U16 => VoxelType::U16,
                TargetType::F32 => VoxelType::F32,
            },
            levels: ims_levels,
            time_points,
            channels: (0..channels).map(|c| channel(source, c, channels)).collect(),
            extent_min_um,
            extent_max_um,
            name: shorten(&image_name(source)),
            description: String::new(),
            recording_date: time_stamp(0.0),
            time_stamps: time_stamps(source.time_step_s, time_points),
            sections: Vec::new(),
        };
        let layout = time_points
            .checked_mul(channels)
            .and_then(|datasets| FileLayout::new(metadata_capacity(&ims), datasets, grids))
            .ok_or(ImageError::TooLarge)?;
        Ok(Self { ims, levels: planned, layout })
    }

    /// Time point and channel of a dataset number.
    #[must_use]
    pub fn time_and_channel(&self, dataset: u64) -> (u64, u64) {
        let channels = self.ims.channels.len() as u64;
        (dataset / channels, dataset % channels)
    }
}

/// The levels of the source that Imaris can be shown, with their published sizes.
///
/// The maker's code knows one kind of step: an axis is halved, rounded down, or kept (`ImarisWriter`
/// `bpOptimalBlockLayout.cxx`, imglib2-imaris-bridge `ImarisDataset.java`). A level whose halves are
/// rounded up, or padded to whole shards, is shown without the surplus.
fn published_levels(levels: &[LevelSource]) -> Vec<(usize, [u64; 3])> {
    let spatial = |level: &LevelSource| {
        let [_, _, z, y, x] = level.shape();
        [z, y, x]
    };
    let mut above_stored = spatial(&levels[0]);
    let mut above = above_stored;
    let mut above_scale = Some([1.0; 3]);
    let mut published = vec![(0, above)];
    for (number, level) in levels.iter().enumerate().skip(1) {
        let own = spatial(level);
        let step: Option<Vec<u64>> = (0..3)
            .map(|axis| {
                let scales = level.relative_scale.zip(above_scale);
                let ratio =
                    scales.map(|(own, above): ([f64; 3], [f64; 3])| own[axis] / above[axis]);
                published_length(above[axis], above_stored[axis], own[axis], ratio)
            })
            .collect();
        let Some(size) = step.and_then(|step| <[u64; 3]>::try_from(step).ok()) else { continue };
        // Bio-Formats cannot read planes of width or height one below level 0.
        if size == above || size[1] < 2 || size[2] < 2 {
            continue;
        }
        published.push((number, size));
        above = size;
        above_stored = own;
        above_scale = level.relative_scale;
    }
    published
}

/// Published length of an axis of `own` voxels below a level that shows `shown` of its `stored`
/// voxels; `ratio` is the step of the scale, where stated. The step is found among the stored
/// lengths: where one half was rounded up, the levels below follow it.
fn published_length(shown: u64, stored: u64, own: u64, ratio: Option<f64>) -> Option<u64> {
    if own == stored {
        return Some(shown);
    }
    let half = (shown / 2).max(1);
    if own == stored / 2 || own == stored.div_ceil(2) {
        return Some(half);
    }
    let halved = ratio.is_some_and(|ratio| (ratio - 2.0).abs() < 0.02);
    (halved && own > half).then_some(half)
}

/// Outer faces of the image: from the translation of level 0, by voxels.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53 voxels per axis")]
fn extents(source: &ImageSource, size_xyz: [u64; 3]) -> ([f64; 3], [f64; 3]) {
    let mut low = source.origin_um;
    let mut high = [0.0; 3];
    for axis in 0..3 {
        let length = source.voxel_um[axis] * size_xyz[axis] as f64;
        // A far origin would swallow a small extent in the nine decimals of the text.
        if (low[axis] + length) - low[axis] < length * 0.999_999 {
            low[axis] = 0.0;
        }
        high[axis] = low[axis] + length;
    }
    (low, high)
}

fn image_name(source: &ImageSource) -> String {
    source.name.clone().unwrap_or_else(|| {
        let path = if source.image.is_empty() {
            source.store.clone()
        } else {
            source.image.clone().into()
        };
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    })
}

fn channel(source: &ImageSource, c: u64, channels: u64) -> ImsChannel {
    let given = usize::try_from(c).ok().and_then(|c| source.channels.get(c));
    let name = given.and_then(|given| given.name.clone()).unwrap_or_else(|| format!("Channel {c}"));
    let color = given.and_then(|given| given.color).unwrap_or_else(|| palette(c, channels));
    ImsChannel {
        name: shorten(&name),
        description: String::new(),
        color: color.map(|component| f32::from(component) / 255.0),
    }
}

/// Colours for channels without one: white alone, else primaries first, then hues by the golden
/// angle, which stay distinct for any number of channels.
fn palette(c: u64, channels: u64) -> [u8; 3] {
    const FIRST: [[u8; 3]; 6] =
        [[0, 255, 0], [255, 0, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]];
    if channels == 1 {
        return [255; 3];
    }
    if let Some(color) = usize::try_from(c).ok().and_then(|c| FIRST.get(c)) {
        return *color;
    }
    // 0.618 is the golden ratio; the offset keeps the first hue off the primaries.
    #[expect(clippy::cast_precision_loss, reason = "a hue needs no exact channel number")]
    let hue = ((c as f64) * 0.618_033_988_749_895 + 0.08).fract() * 6.0;
    let ramp = |shift: f64| {
        let distance = ((hue + shift).rem_euclid(6.0) - 3.0).abs() - 1.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255")]
        let component = (distance.clamp(0.0, 1.0) * 255.0) as u8;
        component
    };
    [ramp(0.0), ramp(-2.0), ramp(2.0)]
}

/// Cuts a name at a character boundary.
fn shorten(name: &str) -> String {
    let mut end = name.len().min(NAME_LIMIT_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// One stamp per time point, strictly increasing at a resolution of a millisecond.
fn time_stamps(step_s: Option<f64>, time_points: u64) -> Vec<String> {
    // The calendar ends at 9999; a step that would pass it is cut.
    #[expect(clippy::cast_precision_loss, reason = "time points are far below 2^53")]
    let longest = 200e9 / time_points.max(1) as f64;
    let step = step_s.unwrap_or(1.0).clamp(0.001, longest);
    #[expect(clippy::cast_precision_loss, reason = "time points are far below 2^53")]
    let stamps = (0..time_points).map(|t| time_stamp(t as f64 * step));
    stamps.collect()
}

/// `YYYY-MM-DD HH:MM:SS.mmm`, `seconds` after the epoch of this program.
fn time_stamp(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to the calendar by the caller")]
    let total_ms = (seconds * 1000.0).round() as i64;
    let (days, ms) = (total_ms.div_euclid(86_400_000), total_ms.rem_euclid(86_400_000));
    let (year, month, day) = date_after_epoch(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03}", ms % 1000)
}

/// Gregorian date some days after the epoch.
fn date_after_epoch(mut days: i64) -> (i64, u32, u32) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let (mut year, mut month, mut day) = EPOCH;
    year += days.div_euclid(DAYS_IN_400_YEARS) * 400;
    days = days.rem_euclid(DAYS_IN_400_YEARS);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    for length in [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    day += u32::try_from(days).unwrap_or(0);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_pyramid() {
        assert_eq!(published_length(215, 215, 107, None), Some(107));
        assert_eq!(published_length(215, 215, 108, None), Some(107));
        assert_eq!(published_length(215, 215, 215, None), Some(215));
        assert_eq!(published_length(215, 215, 53, None), None);
        assert_eq!(published_length(215, 215, 71, Some(3.0)), None);
        assert_eq!(published_length(96, 96, 64, Some(1.5)), None);
        assert_eq!(published_length(96, 96, 64, Some(2.0)), Some(48));
        assert_eq!(published_length(1, 1, 1, None), Some(1));
        // Below a half that was rounded up: 7 stored as 4, shown as 3.
        assert_eq!(published_length(3, 4, 4, None), Some(3));
        assert_eq!(published_length(3, 4, 2, None), Some(1));
        assert_eq!(published_length(2, 3, 2, None), Some(1));
    }

    #[test]
    fn stamps_increase_and_roll_over() {
        assert_eq!(time_stamp(0.0), "2000-01-01 00:00:00.000");
        assert_eq!(time_stamp(2.5), "2000-01-01 00:00:02.500");
        assert_eq!(time_stamp(86_400.0 * 59.0), "2000-02-29 00:00:00.000");
        assert_eq!(time_stamp(86_400.0 * 366.0), "2001-01-01 00:00:00.000");
        for step in [None, Some(1e-9), Some(30.0), Some(1e30)] {
            let stamps = time_stamps(step, 500);
            assert!(stamps.is_sorted_by(|a, b| a < b), "{step:?} {:?}", &stamps[498..]);
            assert!(stamps.iter().all(|stamp| stamp.len() == 23));
        }
    }

    #[test]
    fn palette_colours_are_distinct() {
        let colours: std::collections::HashSet<_> = (0..24).map(|c| palette(c, 24)).collect();
        assert_eq!(colours.len(), 24);
        assert_eq!(palette(0, 1), [255; 3]);
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        let name = shorten(&"\u{e4}".repeat(100_000));
        assert_eq!(name.len(), 1024);
        assert_eq!(shorten(&format!("a{}", "\u{e4}".repeat(1000))).len(), 1023);
    }
}
