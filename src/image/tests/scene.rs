//! A store of raw chunks, and the image it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::cache::{CacheLimits, MinFree};
use crate::engine::{CacheConfig, Engine, EngineConfig};
use crate::image::plan::ImagePlan;
use crate::image::voxels::image::Image;
use crate::image::{ImageOptions, Images, VirtualFile};
use crate::source::SourceRoot;
use crate::source::discover::open_image;
use crate::source::image::ImageSource;

const STORE: &str = "scene.zarr";

/// A store in a folder of its own, and an engine without a cache.
pub(crate) struct Scene {
    top: TempDir,
    pub(crate) root: SourceRoot,
    pub(crate) images: Arc<Images>,
}

impl Scene {
    /// A store with all chunks; `voxel` gives the bytes of each voxel, by its number within its chunk and
    /// its place (z, y, x).
    pub(crate) fn new(
        options: ImageOptions,
        data_type: &str,
        size: [u64; 3],
        chunk: [u64; 3],
        voxel: impl Fn([u64; 3]) -> Vec<u8>,
    ) -> Self {
        let top = TempDir::new().expect("a folder");
        let store = top.path().join(STORE);
        fs::create_dir(&store).expect("a folder");
        let array = format!(
            r#"{{"zarr_format": 2, "shape": {size:?}, "chunks": {chunk:?}, "dtype": "{data_type}",
                "compressor": null, "fill_value": 0, "order": "C", "filters": null}}"#
        );
        fs::write(store.join(".zarray"), array).expect("a file");
        for [z, y, x] in places([0, 1, 2].map(|axis| size[axis].div_ceil(chunk[axis]))) {
            let start = [z * chunk[0], y * chunk[1], x * chunk[2]];
            let at = |within: [u64; 3]| [0, 1, 2].map(|axis| start[axis] + within[axis]);
            let bytes: Vec<u8> = places(chunk).flat_map(|within| voxel(at(within))).collect();
            fs::write(store.join(format!("{z}.{y}.{x}")), bytes).expect("a file");
        }
        let config = EngineConfig { cache: None, shared: None, memory_bytes: 64 << 20, threads: 2 };
        let engine = Engine::start(&config).expect("an engine");
        let root = SourceRoot::open(top.path(), false).expect("a folder");
        Self { top, root, images: Images::new(engine, options) }
    }

    /// The same with a cache.
    pub(crate) fn cached(mut self) -> Self {
        let cache = CacheConfig {
            dir: self.top.path().join("cache"),
            limits: CacheLimits { cap_bytes: 64 << 20, min_free: MinFree::Bytes(0) },
        };
        let config =
            EngineConfig { cache: Some(cache), shared: None, memory_bytes: 64 << 20, threads: 2 };
        self.images.engine().stop();
        let engine = Engine::start(&config).expect("an engine");
        self.images = Images::new(engine, *self.images.options());
        self
    }

    /// The file in the state that its chunks have now.
    pub(crate) fn followed(&self) -> Arc<VirtualFile> {
        let source = self.source();
        let state = source.keep_to_chunks().expect("few chunks");
        let file = VirtualFile::new(&self.root, source, self.images.clone(), Some(&state));
        Arc::new(file.expect("a plan"))
    }

    /// The file of a chunk, or of the metadata.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(STORE).join(name)
    }

    pub(crate) fn source(&self) -> Arc<ImageSource> {
        let root = Arc::new(SourceRoot::open(self.top.path(), false).expect("a folder"));
        Arc::new(open_image(&root, Path::new(STORE), "", 0).expect("an image"))
    }

    pub(crate) fn image(&self) -> Arc<Image> {
        let source = self.source();
        let plan = ImagePlan::new(&source, self.images.options()).expect("a plan");
        Arc::new(Image::new(self.images.clone(), &self.root, source, plan, None))
    }

    pub(crate) fn file(&self) -> Arc<VirtualFile> {
        let file = VirtualFile::new(&self.root, self.source(), self.images.clone(), None);
        Arc::new(file.expect("a plan"))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.images.engine().stop();
    }
}

/// All places of a box, in C order.
pub(crate) fn places([depth, height, width]: [u64; 3]) -> impl Iterator<Item = [u64; 3]> {
    let rows = (0..depth).flat_map(move |z| (0..height).map(move |y| (z, y)));
    rows.flat_map(move |(z, y)| (0..width).map(move |x| [z, y, x]))
}

/// A number that no arithmetic on places leaves alone.
pub(crate) fn mixed([z, y, x]: [u64; 3]) -> u64 {
    let at = (z << 20 | y << 10 | x) + 1;
    at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

/// The same, in one byte.
pub(crate) fn mixed_byte(place: [u64; 3]) -> Vec<u8> {
    vec![mixed(place).to_le_bytes()[0]]
}
