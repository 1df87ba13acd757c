//! The plan of a virtual file: everything that follows from a store's metadata alone.

mod brick_grid;
mod chunking;
mod describe;
mod given_chunk;
pub mod layout;
mod makers_chunk;
pub mod pyramid;

use std::path::Path;

use crate::ims::{
    ChunkIndex, ImsChannel, ImsChannels, ImsError, ImsFile, ImsLevel, MetadataLayout,
    NO_DESCRIPTION, TimeStamps, VoxelType, channel_color, channel_name, validate_counts,
};
use crate::source::SourceType;
use crate::source::halving::StoredLevel;
use crate::source::image::{
    ChannelSource, ImageSource, LevelSource, NAME_LIMIT_BYTES, Role, Title,
};
use crate::source::store_name::stem;

use crate::engine::error::ImageError;

use super::options::{ChunkShape, ImageOptions};
use super::reduce::Reduction;
use layout::{BrickGrid, FileLayout};
use makers_chunk::makers_chunk;
use pyramid::{Level, LevelOrigin};

/// A brick of a level that others are computed from may become this large by joining odd units.
const EVEN_UNIT_LIMIT_BYTES: u64 = 64 << 20;

/// Everything that is known of a virtual file before a voxel is read.
#[derive(Debug)]
pub struct ImagePlan {
    /// The Imaris schema.
    pub ims: ImsFile,
    /// Where the voxels of each published level come from, finest first.
    pub levels: Vec<PlannedLevel>,
    /// Type of the voxels in the file.
    pub target: VoxelType,
    /// What the voxels in the file are higher than those in the store.
    pub(super) shift: f64,
    /// Where the bytes lie.
    pub layout: FileLayout,
    /// How voxels of each channel are joined to those of a coarser level.
    pub(super) reductions: Reductions,
}

/// How voxels of each channel are joined.
#[derive(Debug)]
pub(super) struct Reductions {
    /// Of the first channels.
    pub(super) first: Vec<Reduction>,
    /// Of the others.
    pub(super) others: Reduction,
}

/// One published level. Triples are in voxels, order (z, y, x).
#[derive(Debug)]
pub struct PlannedLevel {
    /// Where its voxels come from.
    pub origin: LevelOrigin,
    /// Published size: what the source has, or one less where it rounds halves up.
    pub size: [u64; 3],
    /// HDF5 chunk shape.
    pub chunk: [u64; 3],
    /// Brick shape, in whole chunks. Along an axis that is halved in a computed level below, it is
    /// even or covers the whole axis: no voxel there is made from two bricks.
    pub brick: [u64; 3],
}

impl PlannedLevel {
    /// Which axes are half of those of the level above.
    #[must_use]
    pub fn halved(&self, above: &Self) -> [bool; 3] {
        std::array::from_fn(|axis| self.size[axis] != above.size[axis])
    }

    /// Number of voxels.
    #[must_use]
    pub fn voxels(&self) -> u64 {
        self.size.iter().product()
    }
}

impl ImagePlan {
    /// Plans the virtual file of an image.
    ///
    /// # Errors
    /// [`ImageError::TooLarge`] when it would exceed what a file can be, [`ImageError::Ims`] for what the format cannot
    /// hold, such as too many time points.
    pub fn new(source: &ImageSource, options: &ImageOptions) -> Result<Self, ImageError> {
        let target = options.conversions.target(source.source_type());
        let voxel_bytes = target.bytes() as u64;
        let [time_points, channels, ..] = source.levels[0].shape();
        let levels = published_levels(source, options, voxel_bytes);
        // Before anything is made for each of them: a store may declare any number.
        validate_counts(time_points, channels, levels.len() as u64)?;
        let Levels { planned, grids, ims: ims_levels } =
            plan_levels(source, &levels, (time_points, voxel_bytes), options.chunk)?;
        let [z, y, x] = planned[0].size;
        let (extent_min_um, extent_max_um) = extents(source, options, [x, y, z]);
        let times = source.times_s.as_deref();
        let stamps = TimeStamps::new(source.acquired_ms, source.time_step_s, times, time_points);
        let (described, reductions) = self::channels(source, channels);
        let mut ims = ImsFile {
            voxel_type: target,
            levels: ims_levels,
            time_points,
            channels: described,
            extent_min_um,
            extent_max_um,
            name: shorten(&image_name(source)),
            description: source.description.clone().unwrap_or_else(|| NO_DESCRIPTION.to_owned()),
            details: describe::image_details(&source.microscope),
            // ImarisWriter leaves it empty where it does not know, too.
            recording_date: source.acquired_ms.map_or_else(String::new, TimeStamps::start),
            time_stamps: stamps,
            sections: describe::sections(source),
            packing: None,
        };
        // Foreign text whose names clash must not cost the file.
        if matches!(ims.validate_foreign_names(), Err(ImsError::Name { .. })) {
            ims.sections.clear();
        }
        ims.validate()?;
        let layout = MetadataLayout::new(&ims)
            .and_then(|metadata| FileLayout::new(metadata, time_points * channels, grids))
            .ok_or(ImageError::TooLarge)?;
        let is_shifted = source.source_type() == SourceType::I16 && target == VoxelType::U16;
        let shift = if is_shifted { 32_768.0 } else { 0.0 };
        Ok(Self { ims, levels: planned, target, shift, layout, reductions })
    }

    /// Time point and channel of a dataset number.
    #[must_use]
    pub fn time_and_channel(&self, dataset: u64) -> (u64, u64) {
        let channels = self.ims.channels.len() as u64;
        (dataset / channels, dataset % channels)
    }

    /// How voxels of a dataset are joined to those of a coarser level.
    pub(super) fn reduction(&self, dataset: u64) -> Reduction {
        let (_, channel) = self.time_and_channel(dataset);
        let Reductions { first, others } = &self.reductions;
        let channel = usize::try_from(channel).ok();
        channel.and_then(|channel| first.get(channel)).copied().unwrap_or(*others)
    }

    /// Number of datasets of each level: time points times channels.
    #[must_use]
    pub fn datasets(&self) -> u64 {
        self.ims.time_points * self.ims.channels.len() as u64
    }

    /// The stored level that a level is, or is computed from.
    #[must_use]
    pub fn base(&self, level: usize) -> usize {
        let is_stored = |level: &usize| self.levels[*level].origin != LevelOrigin::Computed;
        // Level 0 is always stored.
        (0..=level).rev().find(is_stored).unwrap_or(0)
    }

    /// Number of the last level.
    #[must_use]
    pub fn coarsest(&self) -> usize {
        self.levels.len() - 1
    }

    /// The finest level that fits into `bytes` together with all coarser ones; the number of levels where
    /// none does.
    #[must_use]
    pub fn finest_within(&self, bytes: u64) -> usize {
        let mut left = bytes;
        let mut finest = self.levels.len();
        while finest > 0 {
            let level = &self.layout.levels()[finest - 1];
            let Some(rest) = left.checked_sub(level.data_bytes() * self.datasets()) else { break };
            left = rest;
            finest -= 1;
        }
        finest
    }
}

/// The planned levels, and what the layout and the schema need of them.
struct Levels {
    planned: Vec<PlannedLevel>,
    grids: Vec<(BrickGrid, ChunkIndex)>,
    ims: Vec<ImsLevel>,
}

/// Chooses the chunks and bricks of each level.
///
/// # Errors
/// [`ImageError::TooLarge`] when a level has more chunks than an index can have.
fn plan_levels(
    source: &ImageSource,
    levels: &[Level],
    (time_points, voxel_bytes): (u64, u64),
    shape: ChunkShape,
) -> Result<Levels, ImageError> {
    let (mut planned, mut grids, mut ims) = (Vec::<PlannedLevel>::new(), Vec::new(), Vec::new());
    let mut makers_above = None;
    for (number, Level { origin, size }) in levels.iter().copied().enumerate() {
        let unit = match (origin, planned.last()) {
            (LevelOrigin::Stored(number), _) => source.levels[number].unit_grid(),
            (LevelOrigin::Computed, above) => unit_below(above, size),
        };
        let below = levels.get(number + 1);
        let unit = even_unit(unit, size, below, voxel_bytes);
        let chunking = match shape {
            ChunkShape::Auto => {
                // As if ImarisWriter had written the levels above.
                let makers = makers_chunk(size, time_points, voxel_bytes, makers_above);
                makers_above = Some((size, makers));
                let joins = origin == LevelOrigin::Computed;
                chunking::choose(size, unit, voxel_bytes, makers, joins)
            }
            ChunkShape::Given(chunk) => {
                let is_even = halved_to_compute(size, below);
                given_chunk::choose(size, unit, voxel_bytes, chunk, is_even)
            }
        };
        let level = ImsLevel { size, chunk: chunking.chunk };
        let chunk_bytes = chunking.chunk.iter().product::<u64>() * voxel_bytes;
        let bricks = BrickGrid::new(level.grid(), chunking.brick_chunks, chunk_bytes);
        let chunk_bytes = u32::try_from(chunk_bytes).map_err(|_| ImageError::TooLarge)?;
        let index = ChunkIndex::checked(level.grid(), chunking.chunk, chunk_bytes);
        grids.push((bricks, index.ok_or(ImageError::TooLarge)?));
        let brick = std::array::from_fn(|axis| chunking.chunk[axis] * chunking.brick_chunks[axis]);
        planned.push(PlannedLevel { origin, size, chunk: chunking.chunk, brick });
        ims.push(level);
    }
    Ok(Levels { planned, grids, ims })
}

/// The levels of the file.
fn published_levels(source: &ImageSource, options: &ImageOptions, voxel_bytes: u64) -> Vec<Level> {
    let stored: Vec<StoredLevel> = source.levels.iter().map(LevelSource::stored).collect();
    let coarsest_voxels = (options.coarsest_bytes / voxel_bytes).max(1);
    pyramid::levels(&stored, options.pyramid, coarsest_voxels)
}

/// What a brick of a computed level is a multiple of: then it is made of whole bricks of the level
/// above, and no brick is needed by two.
fn unit_below(above: Option<&PlannedLevel>, size: [u64; 3]) -> [u64; 3] {
    let Some(above) = above else { return size };
    std::array::from_fn(|axis| {
        if above.brick[axis] >= above.size[axis] {
            size[axis]
        } else if above.size[axis] == size[axis] {
            above.brick[axis]
        } else {
            above.brick[axis] / 2
        }
    })
}

/// Along which axes a level that is computed from one of `size` is half of it.
fn halved_to_compute(size: [u64; 3], below: Option<&Level>) -> [bool; 3] {
    let below = below.filter(|below| below.origin == LevelOrigin::Computed);
    std::array::from_fn(|axis| below.is_some_and(|below| below.size[axis] != size[axis]))
}

/// The unit with odd lengths doubled along axes that the level below is half of and computed. Very
/// large odd units are cut instead, and some of them then read for two bricks.
fn even_unit(unit: [u64; 3], size: [u64; 3], below: Option<&Level>, voxel_bytes: u64) -> [u64; 3] {
    let halved = halved_to_compute(size, below);
    let odd: [bool; 3] =
        std::array::from_fn(|axis| halved[axis] && unit[axis] < size[axis] && unit[axis] % 2 == 1);
    let doubled: [u64; 3] =
        std::array::from_fn(|axis| if odd[axis] { unit[axis] * 2 } else { unit[axis] });
    let bytes =
        (0..3).map(|axis| doubled[axis].min(size[axis])).fold(voxel_bytes, u64::saturating_mul);
    if bytes <= EVEN_UNIT_LIMIT_BYTES {
        return doubled;
    }
    std::array::from_fn(
        |axis| {
            if odd[axis] { (1 << unit[axis].ilog2()).max(2) } else { unit[axis] }
        },
    )
}

/// Outer faces of the image: from the translation of level 0, by voxels.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53 voxels per axis")]
fn extents(
    source: &ImageSource,
    options: &ImageOptions,
    size_xyz: [u64; 3],
) -> ([f64; 3], [f64; 3]) {
    let mut low = source.origin_um;
    let mut high = [0.0; 3];
    for axis in 0..3 {
        let unit = if source.lacks_unit[axis] { options.default_unit_um } else { 1.0 };
        low[axis] *= unit;
        let length = source.voxel_um[axis] * unit * size_xyz[axis] as f64;
        // A far origin would swallow a small extent in the nine decimals of the text.
        if (low[axis] + length) - low[axis] < length * 0.999_999 {
            low[axis] = 0.0;
        }
        high[axis] = low[axis] + length;
    }
    (low, high)
}

/// What a viewer shows as the name of the image: of a field of a plate, plate, well and field.
fn image_name(source: &ImageSource) -> String {
    if let Some(title @ Title::Field(field)) = &source.title {
        let plate = Path::new(&field.plate).file_name().or(source.store.file_name());
        let mut name =
            plate.map(|plate| stem(plate).to_string_lossy()).unwrap_or_default().into_owned();
        for part in [title.text(" ")].into_iter().chain(further_name(source)) {
            name.push(' ');
            name.push_str(&part);
        }
        return name.trim_start().to_owned();
    }
    source.name.clone().unwrap_or_else(|| {
        let path = if source.image.is_empty() {
            source.store.clone()
        } else {
            source.image.clone().into()
        };
        path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    })
}

/// What tells a further entry of `multiscales` from the first.
fn further_name(source: &ImageSource) -> Option<String> {
    let own = || source.name.clone().unwrap_or_else(|| source.multiscale.to_string());
    (source.multiscale > 0).then(own)
}

/// The channels, and how the voxels of each are joined to those of a coarser level.
fn channels(source: &ImageSource, channels: u64) -> (ImsChannels, Reductions) {
    let channels = usize::try_from(channels).unwrap_or(usize::MAX);
    let given = source.channels.iter().take(channels).enumerate();
    let described = given.map(|(c, given)| ImsChannel {
        name: shorten(given.name.as_ref().unwrap_or(&channel_name(c))),
        description: NO_DESCRIPTION.into(),
        color: match given.color {
            Some(color) => color.map(|component| f32::from(component) / 255.0),
            None => channel_color(c, channels),
        },
        details: describe::channel_details(given),
    });
    let others = if source.role == Role::Label { Reduction::MostFrequent } else { Reduction::Mean };
    let of = |given: &ChannelSource| if given.is_label { Reduction::MostFrequent } else { others };
    let first = source.channels.iter().take(channels).map(of).collect();
    (ImsChannels::new(described.collect(), channels), Reductions { first, others })
}

/// Cuts a name at a character boundary: the format keeps longer texts in datasets, where readers do not
/// look for names (`ImarisWriter` `bpWriterHDF5.cxx`, attributes over 1024 bytes).
fn shorten(name: &str) -> String {
    let mut end = name.len().min(NAME_LIMIT_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceRoot;
    use crate::source::discover::open_image;

    /// Found by the fuzz target `extents`: a plane as thin has more chunks than an index can have.
    #[test]
    fn plan_thin_plane() {
        let dir = tempfile::tempdir().unwrap();
        let array = r#"{"zarr_format": 2, "shape": [1, 576460752303423488], "chunks": [1, 64],
            "dtype": "|u1", "compressor": null, "fill_value": 0, "order": "C", "filters": null}"#;
        std::fs::write(dir.path().join(".zarray"), array).unwrap();
        let root = std::sync::Arc::new(SourceRoot::open(dir.path(), false).unwrap());
        let source = open_image(&root, Path::new(""), "", 0).unwrap();
        let refused = ImagePlan::new(&source, &ImageOptions::default());
        assert!(matches!(refused, Err(ImageError::TooLarge)));
    }

    #[test]
    fn more_than_a_file_holds_is_refused_before_it_is_listed() {
        for (shape, what) in [
            ("[70000, 1, 8, 8, 8]", "time points is 70000, above the limit of 65532"),
            ("[1, 100001, 8, 8, 8]", "channels is 100001, above the limit of 100000"),
            ("[1, 1000000000000000, 8, 8, 8]", "channels is 1000000000000000"),
            ("[20000, 6000, 8, 8, 8]", "datasets (time points x channels x levels) is 120000000"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let array = format!(
                r#"{{"zarr_format": 2, "shape": {shape}, "chunks": [1, 1, 8, 8, 8], "dtype": "|u1",
                "compressor": null, "fill_value": 0, "order": "C", "filters": null}}"#
            );
            std::fs::write(dir.path().join(".zarray"), array).unwrap();
            let root = std::sync::Arc::new(SourceRoot::open(dir.path(), false).unwrap());
            let source = open_image(&root, Path::new(""), "", 0).unwrap();
            let refused = ImagePlan::new(&source, &ImageOptions::default()).expect_err("too many");
            assert!(refused.to_string().contains(what), "{refused}");
        }
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        let name = shorten(&"\u{e4}".repeat(100_000));
        assert_eq!(name.len(), 1024);
        assert_eq!(shorten(&format!("a{}", "\u{e4}".repeat(1000))).len(), 1023);
    }
}
