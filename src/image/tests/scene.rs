//! A store of raw chunks, and the image it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
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
        Self::of_store(top, options)
    }

    /// A series with levels of these sizes, the finest first; `voxel` gives the bytes of each voxel, by its level and its
    /// place (t, c, z, y, x). Chunks that `is_there` refuses, by level and place (t, c, z, y, x) in chunks, are absent.
    pub(crate) fn series(
        options: ImageOptions,
        data_type: &str,
        [times, channels]: [u64; 2],
        (sizes, chunk): (&[[u64; 3]], [u64; 3]),
        is_there: impl Fn(usize, [u64; 5]) -> bool,
        voxel: impl Fn(usize, [u64; 5]) -> Vec<u8>,
    ) -> Self {
        let top = TempDir::new().expect("a folder");
        let store = top.path().join(STORE);
        let mut datasets = Vec::new();
        for (level, size) in sizes.iter().enumerate() {
            let folder = store.join(level.to_string());
            fs::create_dir_all(&folder).expect("a folder");
            let [z, y, x] = *size;
            let (shape, [dz, dy, dx]) = ([times, channels, z, y, x], chunk);
            let array = json!({
                "zarr_format": 2, "shape": shape, "chunks": [1, 1, dz, dy, dx], "dtype": data_type,
                "compressor": null, "fill_value": 0, "order": "C", "filters": null
            });
            fs::write(folder.join(".zarray"), array.to_string()).expect("a file");
            let scale = [0, 1, 2].map(|axis| sizes[0][axis].div_ceil(size[axis]));
            let scale = [1, 1, scale[0], scale[1], scale[2]];
            datasets.push(json!({"path": level.to_string(),
                "coordinateTransformations": [{"type": "scale", "scale": scale}]}));
            let grid = [0, 1, 2].map(|axis| size[axis].div_ceil(chunk[axis]));
            let of_time = |t| (0..channels).map(move |c| [t, c]);
            for ([t, c], [z, y, x]) in
                (0..times).flat_map(of_time).flat_map(|at| places(grid).map(move |of| (at, of)))
            {
                if !is_there(level, [t, c, z, y, x]) {
                    continue;
                }
                let voxel = |[oz, oy, ox]: [u64; 3]| {
                    voxel(level, [t, c, z * dz + oz, y * dy + oy, x * dx + ox])
                };
                let bytes: Vec<u8> = places(chunk).flat_map(voxel).collect();
                fs::write(folder.join(format!("{t}.{c}.{z}.{y}.{x}")), bytes).expect("a file");
            }
        }
        let axis = |(name, kind): (&str, &str)| json!({"name": name, "type": kind});
        let axes =
            [("t", "time"), ("c", "channel"), ("z", "space"), ("y", "space"), ("x", "space")];
        let multiscales = json!([{"version": "0.4", "axes": axes.map(axis), "datasets": datasets}]);
        let write = |name: &str, text: String| fs::write(store.join(name), text).expect("a file");
        write(".zgroup", json!({"zarr_format": 2}).to_string());
        write(".zattrs", json!({"multiscales": multiscales}).to_string());
        Self::of_store(top, options)
    }

    fn of_store(top: TempDir, options: ImageOptions) -> Self {
        let root = SourceRoot::open(top.path(), false).expect("a folder");
        let images = Images::new(engine(None, 2), options);
        Self { top, root, images }
    }

    /// The same with a cache.
    pub(crate) fn cached(self) -> Self {
        let cache = CacheConfig {
            dir: self.top.path().join("cache"),
            limits: CacheLimits { cap_bytes: 64 << 20, min_free: MinFree::Bytes(0) },
        };
        self.served_by(engine(Some(cache), 2))
    }

    /// The same with another number of threads.
    pub(crate) fn with_threads(self, threads: usize) -> Self {
        self.served_by(engine(None, threads))
    }

    fn served_by(mut self, engine: Arc<Engine>) -> Self {
        self.images.engine().stop();
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

    /// The image in the state that its chunks have now.
    pub(crate) fn followed_image(&self) -> Arc<Image> {
        let source = self.source();
        let state = source.keep_to_chunks().expect("few chunks");
        let plan = ImagePlan::new(&source, self.images.options()).expect("a plan");
        Arc::new(Image::new(self.images.clone(), &self.root, source, plan, Some(&state)))
    }

    pub(crate) fn file(&self) -> Arc<VirtualFile> {
        let file = VirtualFile::new(&self.root, self.source(), self.images.clone(), None);
        Arc::new(file.expect("a plan"))
    }
}

fn engine(cache: Option<CacheConfig>, threads: usize) -> Arc<Engine> {
    let config = EngineConfig { cache, shared: None, memory_bytes: 64 << 20, threads };
    Engine::start(&config).expect("an engine")
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
