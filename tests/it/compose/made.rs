//! Compositions of stores, and what their voxels must be: the slow, obvious way.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hdf5_metno::{File, H5Type};
use tempfile::TempDir;
use zarrims::cache::{CacheLimits, MinFree};
use zarrims::image::{
    CacheConfig, Engine, EngineConfig, ImageOptions, Images, LevelOrigin, VirtualFile,
};
use zarrims::source::SourceRoot;
use zarrims::source::compose::{self, Crop};
use zarrims::source::discover::open_image;
use zarrims::source::image::ImageSource;

use crate::common::store::StoreBuilder;
use crate::reference::eager::{data_path, halvings, is_same};
use crate::reference::opened::{Brick, Opened};

/// Stores side by side in a source folder.
pub(crate) struct Stores {
    pub(crate) builders: Vec<StoreBuilder>,
    pub(crate) root: Arc<SourceRoot>,
    folder: TempDir,
}

impl Stores {
    pub(crate) fn new(builders: &[StoreBuilder]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = folder.path().join("source");
        for (number, builder) in builders.iter().enumerate() {
            builder.write(&source.join(format!("{number}.zarr")));
        }
        let root = Arc::new(SourceRoot::open(&source, false).expect("just made"));
        Self { builders: builders.to_vec(), root, folder }
    }

    pub(crate) fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("source/{number}.zarr"))
    }

    /// The image of a store, opened for one composition.
    pub(crate) fn image(&self, number: usize) -> ImageSource {
        let image = open_image(&self.root, Path::new(&format!("{number}.zarr")), "", 0);
        image.expect("an image")
    }

    /// All stores, as they are.
    pub(crate) fn all(&self) -> Vec<Made> {
        (0..self.builders.len()).map(|number| Made::store(self, number)).collect()
    }

    /// Opens an image with a cache of this size, which outlives the engine.
    pub(crate) fn open(&self, image: ImageSource, cap: Option<u64>, coarsest: u64) -> Opened {
        let cache = cap.map(|cap| (self.folder.path().join("cache"), cap));
        open(&self.root, image, cache, coarsest)
    }
}

pub(crate) fn open(
    root: &Arc<SourceRoot>,
    image: ImageSource,
    cache: Option<(PathBuf, u64)>,
    coarsest_bytes: u64,
) -> Opened {
    let config = EngineConfig {
        cache: cache.map(|(dir, cap_bytes)| CacheConfig {
            dir,
            limits: CacheLimits { cap_bytes, min_free: MinFree::Bytes(0) },
        }),
        shared: None,
        memory_bytes: 256 << 20,
        threads: 2,
    };
    let engine = Engine::start(&config).expect("an engine");
    let chunks = image.keep_to_chunks().expect("a store small enough to look at");
    let options = ImageOptions { coarsest_bytes, ..ImageOptions::default() };
    let images = Images::new(engine.clone(), options);
    let file = VirtualFile::new(root, Arc::new(image), images, Some(&chunks));
    Opened { file: Arc::new(file.expect("a plan")), engine }
}

/// What is composed.
#[derive(Debug, Clone)]
enum How {
    Store(usize),
    Crop(Box<Made>, Crop),
    Channels(Vec<Made>),
    Series(Vec<Made>),
    Mosaic(Vec<Made>),
}

/// A composition of stores.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    how: How,
    shape: [u64; 5],
    /// First voxel of the image in voxels, order (z, y, x).
    origin: [i64; 3],
}

impl Made {
    pub(crate) fn store(stores: &Stores, number: usize) -> Self {
        let store = &stores.builders[number];
        let shape = ['t', 'c', 'z', 'y', 'x'].map(|axis| store.length(&store.shape, axis));
        let origin = ['z', 'y', 'x'].map(|axis| {
            let place = store.translation.as_ref().zip(store.axes.find(axis));
            #[expect(clippy::cast_possible_truncation, reason = "small")]
            place.map_or(0, |(place, at)| (place[at] / store.scale[at]).round() as i64)
        });
        Self { how: How::Store(number), shape, origin }
    }

    pub(crate) fn shape(&self) -> [u64; 5] {
        self.shape
    }

    pub(crate) fn crop(&self, wanted: &Crop) -> Self {
        let [t, c, z, y, x] = self.shape;
        let start = |range: &Option<std::ops::Range<u64>>| range.as_ref().map_or(0, |r| r.start);
        let length = |range: &Option<std::ops::Range<u64>>, all: u64| {
            range.as_ref().map_or(all, |range| range.end - range.start)
        };
        let count = |list: &Option<Vec<u64>>, all| list.as_ref().map_or(all, |l| l.len() as u64);
        let shape = [
            count(&wanted.times, t),
            count(&wanted.channels, c),
            length(&wanted.z, z),
            length(&wanted.y, y),
            length(&wanted.x, x),
        ];
        let starts = [start(&wanted.z), start(&wanted.y), start(&wanted.x)];
        let origin = std::array::from_fn(|axis| self.origin[axis] + starts[axis].cast_signed());
        Self { how: How::Crop(Box::new(self.clone()), wanted.clone()), shape, origin }
    }

    pub(crate) fn channels(of: Vec<Self>) -> Self {
        let mut shape = of[0].shape;
        shape[1] = of.iter().map(|made| made.shape[1]).sum();
        Self { shape, origin: of[0].origin, how: How::Channels(of) }
    }

    pub(crate) fn series(of: Vec<Self>) -> Self {
        let mut shape = of[0].shape;
        shape[0] = of.iter().map(|made| made.shape[0]).sum();
        Self { shape, origin: of[0].origin, how: How::Series(of) }
    }

    pub(crate) fn mosaic(of: Vec<Self>) -> Self {
        let mut shape = of[0].shape;
        let low: [i64; 3] = std::array::from_fn(|axis| {
            of.iter().map(|made| made.origin[axis]).min().expect("tiles")
        });
        for axis in 0..3 {
            let end = |made: &Self| {
                (made.origin[axis] - low[axis]).cast_unsigned() + made.shape[axis + 2]
            };
            shape[axis + 2] = of.iter().map(end).max().expect("tiles");
        }
        Self { shape, origin: low, how: How::Mosaic(of) }
    }

    /// The image, from stores opened for it.
    pub(crate) fn image(&self, stores: &Stores) -> ImageSource {
        let images = |of: &[Self]| of.iter().map(|made| made.image(stores)).collect::<Vec<_>>();
        match &self.how {
            How::Store(number) => stores.image(*number),
            How::Crop(of, wanted) => compose::crop(&of.image(stores), wanted).expect("inside"),
            How::Channels(of) => compose::channels(&images(of)).expect("alike"),
            How::Series(of) => compose::series(&images(of)).expect("alike"),
            How::Mosaic(of) => compose::mosaic(&images(of)).expect("alike"),
        }
    }

    /// The store and its voxel that a voxel of level 0 shows; `None` where no tile is.
    fn find(&self, at: [u64; 5]) -> Option<(usize, [u64; 5])> {
        match &self.how {
            How::Store(number) => Some((*number, at)),
            How::Crop(of, wanted) => {
                let pick = |list: &Option<Vec<u64>>, index: u64| {
                    list.as_ref().map_or(index, |list| list[usize::try_from(index).expect("small")])
                };
                let shift = |range: &Option<std::ops::Range<u64>>, voxel: u64| {
                    range.as_ref().map_or(voxel, |range| range.start + voxel)
                };
                let [t, c, z, y, x] = at;
                of.find([
                    pick(&wanted.times, t),
                    pick(&wanted.channels, c),
                    shift(&wanted.z, z),
                    shift(&wanted.y, y),
                    shift(&wanted.x, x),
                ])
            }
            How::Channels(of) => nth(of, at, 1),
            How::Series(of) => nth(of, at, 0),
            How::Mosaic(of) => of.iter().rev().find_map(|tile| {
                let mut within = at;
                for axis in 0..3 {
                    let shift = (tile.origin[axis] - self.origin[axis]).cast_unsigned();
                    within[axis + 2] = at[axis + 2].checked_sub(shift)?;
                }
                (0..5).all(|axis| within[axis] < tile.shape[axis]).then(|| tile.find(within))
            })?,
        }
    }

    /// The first store that is named.
    fn first(&self) -> usize {
        match &self.how {
            How::Store(number) => *number,
            How::Crop(of, _) => of.first(),
            How::Channels(of) | How::Series(of) | How::Mosaic(of) => of[0].first(),
        }
    }
}

/// The one of several images, one behind the other along an axis, that has a voxel.
fn nth(of: &[Made], mut at: [u64; 5], axis: usize) -> Option<(usize, [u64; 5])> {
    for made in of {
        if at[axis] < made.shape[axis] {
            return made.find(at);
        }
        at[axis] -= made.shape[axis];
    }
    None
}

/// How often each axis (z, y, x) of a level of an image is halved, by its scale.
fn stated_scale(image: &ImageSource, level: usize) -> [u32; 3] {
    let scale = image.levels[level].relative_scale.unwrap_or([1.0; 3]);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
    scale.map(|scale| scale.log2().round() as u32)
}

/// For each level of a store: how often each axis (z, y, x) is halved.
fn steps_of(store: &StoreBuilder) -> Vec<[u32; 3]> {
    let shapes = store.level_shapes();
    let mut total = [0; 3];
    let mut all = vec![total];
    for (number, steps) in store.steps.iter().enumerate() {
        for (slot, axis) in ['z', 'y', 'x'].into_iter().enumerate() {
            if let Some(at) = store.axes.find(axis) {
                total[slot] += halvings(steps[at], shapes[number][at]);
            }
        }
        all.push(total);
    }
    all
}

/// All voxels of all levels of a time point and channel, C order (z, y, x).
struct Expected<'a> {
    stores: &'a Stores,
    made: &'a Made,
    opened: &'a Opened,
    levels: Vec<Vec<Vec<u8>>>,
}

impl<'a> Expected<'a> {
    fn new(stores: &'a Stores, made: &'a Made, opened: &'a Opened, [t, c]: [u64; 2]) -> Self {
        let mut all = Self { stores, made, opened, levels: Vec::new() };
        for (level, planned) in opened.file.plan().levels.iter().enumerate() {
            let mut voxels = Vec::new();
            let [depth, height, width] = planned.size;
            for z in 0..depth {
                for y in 0..height {
                    for x in 0..width {
                        voxels.push(match planned.origin {
                            LevelOrigin::Stored(number) => all.stored(number, [t, c, z, y, x]),
                            LevelOrigin::Computed => all.mean(level, [z, y, x]),
                        });
                    }
                }
            }
            all.levels.push(voxels);
        }
        all
    }

    fn get(&self, level: usize, [z, y, x]: [u64; 3]) -> &[u8] {
        let [_, height, width] = self.opened.file.plan().levels[level].size;
        &self.levels[level][usize::try_from((z * height + y) * width + x).expect("small")]
    }

    /// The voxel of a stored level, which must be that of one store, whole.
    fn stored(&self, number: usize, at: [u64; 5]) -> Vec<u8> {
        let steps = stated_scale(self.opened.file.source(), number);
        let (mut first, mut last) = (at, at);
        for axis in 0..3 {
            first[axis + 2] = at[axis + 2] << steps[axis];
            last[axis + 2] = first[axis + 2] + (1 << steps[axis]) - 1;
        }
        // The first store says what is where no tile is.
        let first_store = &self.stores.builders[self.made.first()];
        let Some((store, mut within)) = self.made.find(first) else {
            assert_eq!(self.made.find(last), None, "a voxel that is partly in a tile");
            return first_store.dtype.to_imaris(first_store.dtype.fill(first_store.fill));
        };
        let (last_store, last) = self.made.find(last).expect("a voxel that is partly in a tile");
        assert_eq!(store, last_store, "a voxel of two tiles");
        for axis in 0..3 {
            let side = 1 << steps[axis];
            assert_eq!(last[axis + 2] - within[axis + 2], side - 1);
            assert_eq!(within[axis + 2] % side, 0, "a voxel of the level begins here");
            within[axis + 2] >>= steps[axis];
        }
        let builder = &self.stores.builders[store];
        let level = steps_of(builder).iter().position(|own| *own == steps);
        let level = level.expect("a level with these steps");
        builder.voxel(level, &builder.level_shapes()[level], within)
    }

    /// The voxel of a computed level: the mean of what lies on it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the mean of a type lies within its range"
    )]
    fn mean(&self, level: usize, at: [u64; 3]) -> Vec<u8> {
        let levels = &self.opened.file.plan().levels;
        let halved = levels[level].halved(&levels[level - 1]);
        let step = halved.map(|halved| if halved { 2 } else { 1 });
        let (mut sum, mut count, mut bytes) = (0.0_f32, 0.0_f32, 0);
        for z in 0..step[0] {
            for y in 0..step[1] {
                for x in 0..step[2] {
                    let within = [z, y, x];
                    let place = std::array::from_fn(|axis| at[axis] * step[axis] + within[axis]);
                    let voxel = self.get(level - 1, place);
                    bytes = voxel.len();
                    sum += match *voxel {
                        [a] => f32::from(a),
                        [a, b] => f32::from(u16::from_le_bytes([a, b])),
                        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                        _ => panic!("no voxel"),
                    };
                    count += 1.0;
                }
            }
        }
        let mean = sum / count;
        match bytes {
            1 => vec![mean.trunc() as u8],
            2 => (mean.trunc() as u16).to_le_bytes().to_vec(),
            _ => mean.to_le_bytes().to_vec(),
        }
    }
}

/// Visits the voxels of a brick that exist, with their places.
pub(crate) fn each_voxel(
    opened: &Opened,
    brick: &Brick,
    bytes: &[u8],
    mut visit: impl FnMut([u64; 3], &[u8]),
) {
    let plan = opened.file.plan();
    let planned = &plan.levels[brick.level];
    let voxel_bytes = plan.target.bytes();
    let layout = &plan.layout;
    let dataset = brick.tc[0] * plan.ims.channels.len() as u64 + brick.tc[1];
    for z in brick.voxels[0].clone() {
        for y in brick.voxels[1].clone() {
            for x in brick.voxels[2].clone() {
                let place = [z, y, x];
                let chunk = std::array::from_fn(|axis| place[axis] / planned.chunk[axis]);
                let within = [0, 1, 2].map(|axis| place[axis] % planned.chunk[axis]);
                let [_, height, width] = planned.chunk;
                let voxel = (within[0] * height + within[1]) * width + within[2];
                let start = layout.chunk_address(brick.level, dataset, chunk) - brick.address
                    + voxel * voxel_bytes as u64;
                let start = usize::try_from(start).expect("small");
                visit(place, &bytes[start..start + voxel_bytes]);
            }
        }
    }
}

/// Compares all voxels of all bricks.
pub(crate) fn check(stores: &Stores, made: &Made) {
    let coarsest = stores.builders[0].coarsest_bytes;
    compare(stores, made, &stores.open(made.image(stores), None, coarsest));
}

/// The same, with a cache that is used again.
pub(crate) fn check_cached(stores: &Stores, made: &Made) {
    let coarsest = stores.builders[0].coarsest_bytes;
    compare(stores, made, &stores.open(made.image(stores), Some(64 << 20), coarsest));
}

fn compare(stores: &Stores, made: &Made, opened: &Opened) {
    let shape = opened.file.source().levels[0].shape();
    assert_eq!(shape, made.shape, "shape");
    let mut expected = HashMap::new();
    for brick in opened.bricks() {
        let expected = expected
            .entry(brick.tc)
            .or_insert_with(|| Expected::new(stores, made, opened, brick.tc));
        let bytes = opened.read(brick.address, brick.bytes);
        each_voxel(opened, &brick, &bytes, |place, found| {
            let wanted = expected.get(brick.level, place);
            assert!(
                is_same(wanted, found),
                "level {} {:?} {place:?}: {wanted:?} expected, {found:?} read of {:?}",
                brick.level,
                brick.tc,
                opened.file.source().levels[0].parts()
            );
        });
    }
}

/// Compares all voxels that libhdf5 reads of the file.
pub(crate) fn check_with_libhdf5(stores: &Stores, made: &Made) {
    let coarsest = stores.builders[0].coarsest_bytes;
    let opened = stores.open(made.image(stores), None, coarsest);
    let path = stores.folder.path().join("whole.ims");
    std::fs::write(&path, opened.whole()).expect("a file");
    let file = File::open(&path).expect("libhdf5 opens the file");
    match opened.file.plan().target.bytes() {
        1 => compare_datasets(&file, stores, made, &opened, |v: &u8| v.to_le_bytes()),
        2 => compare_datasets(&file, stores, made, &opened, |v: &u16| v.to_le_bytes()),
        _ => compare_datasets(&file, stores, made, &opened, |v: &f32| v.to_le_bytes()),
    }
}

fn compare_datasets<T: H5Type, const N: usize>(
    file: &File,
    stores: &Stores,
    made: &Made,
    opened: &Opened,
    bytes: impl Fn(&T) -> [u8; N],
) {
    let [times, channels, ..] = made.shape;
    for (t, c) in (0..times).flat_map(|t| (0..channels).map(move |c| (t, c))) {
        let expected = Expected::new(stores, made, opened, [t, c]);
        for (level, planned) in opened.file.plan().levels.iter().enumerate() {
            let dataset = file.dataset(&data_path(level, t, c)).expect("a data set");
            let [_, height, width] = dataset.shape()[..] else { panic!("not of rank 3") };
            let read = dataset.read_raw::<T>().expect("readable voxels");
            let [depth, rows, columns] = planned.size;
            for z in 0..depth {
                for y in 0..rows {
                    for x in 0..columns {
                        let [at_z, at_y, at_x] =
                            [z, y, x].map(|at| usize::try_from(at).expect("small"));
                        let found = bytes(&read[(at_z * height + at_y) * width + at_x]);
                        assert!(is_same(expected.get(level, [z, y, x]), &found), "{level} {t} {c}");
                    }
                }
            }
        }
    }
}
