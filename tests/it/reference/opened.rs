//! A store on disk, opened as a virtual file.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use zarrims::cache::{CacheLimits, MinFree};
use zarrims::image::{
    CacheConfig, Engine, EngineConfig, ImageError, ImageOptions, Images, LevelOrigin, VirtualFile,
};
use zarrims::source::SourceRoot;
use zarrims::source::discover::{Folder, inspect, open_image};
use zarrims::source::image::ImageSource;

use super::eager::reference_image;
use crate::common::store::StoreBuilder;

/// Name of the store below the source folder.
const STORE: &str = "image.zarr";

/// A store in a folder of its own, with room for a cache beside it.
pub(crate) struct OnDisk {
    pub(crate) store: StoreBuilder,
    root: Arc<SourceRoot>,
    folder: TempDir,
}

/// A virtual file and the engine behind it, which is stopped at the end.
pub(crate) struct Opened {
    pub(crate) file: Arc<VirtualFile>,
    pub(crate) engine: Arc<Engine>,
}

/// One brick of the file.
#[derive(Debug, Clone)]
pub(crate) struct Brick {
    pub(crate) level: usize,
    /// Time point and channel.
    pub(crate) tc: [u64; 2],
    /// Voxels that exist, along (z, y, x).
    pub(crate) voxels: [Range<u64>; 3],
    /// Address of its first byte, and number of bytes.
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    /// Made from the level above.
    pub(crate) is_computed: bool,
}

impl OnDisk {
    pub(crate) fn new(store: &StoreBuilder) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = folder.path().join("source");
        store.write(&source.join(STORE));
        let root = Arc::new(SourceRoot::open(&source, false).expect("just made"));
        Self { store: store.clone(), root, folder }
    }

    /// The folder of the store.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("source").join(STORE)
    }

    /// A path outside the source folder, on the same file system.
    pub(crate) fn elsewhere(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Finds the one image and reads its metadata.
    pub(crate) fn image(&self) -> ImageSource {
        let found = inspect(&self.root, Path::new(STORE), false).expect("a readable folder");
        let Folder::Store(found) = found else { panic!("not taken for a store") };
        assert!(found.skipped.is_empty(), "skipped: {:?}", found.skipped);
        assert_eq!(found.images.len(), 1, "images");
        let notes = found.images[0].notes.iter();
        // Bytes side by side for each pixel are taken for colours.
        let known = ["lengths without a unit", "channels are taken for red", "the fourth channel"];
        let is_known = |note: &String| known.iter().any(|start| note.starts_with(start));
        let odd: Vec<_> = notes.filter(|note| !is_known(note)).collect();
        assert!(odd.is_empty(), "notes {odd:?}");
        open_image(&self.root, Path::new(STORE), "", 0).expect("just inspected")
    }

    /// Opens the virtual file; `cap` is the size of the cache, which outlives the engine.
    pub(crate) fn open(&self, cap: Option<u64>) -> Opened {
        self.open_with(cap, ImageOptions::default())
    }

    /// As [`OnDisk::open`], with options; where computed levels end is the store's to say.
    pub(crate) fn open_with(&self, cap: Option<u64>, options: ImageOptions) -> Opened {
        let options = ImageOptions { coarsest_bytes: self.store.coarsest_bytes, ..options };
        let config = EngineConfig {
            cache: cap.map(|cap_bytes| CacheConfig {
                dir: self.elsewhere("cache"),
                limits: CacheLimits { cap_bytes, min_free: MinFree::Bytes(0) },
            }),
            shared: None,
            memory_bytes: 256 << 20,
            threads: 2,
        };
        let engine = Engine::start(&config).expect("an engine");
        let image = self.image();
        let chunks = image.keep_to_chunks().ok();
        assert!(chunks.is_some(), "a store small enough to look at");
        let images = Images::new(engine.clone(), options);
        let file = VirtualFile::new(&self.root, Arc::new(image), images, chunks.as_ref());
        Opened { file: Arc::new(file.expect("a plan")), engine }
    }

    /// The whole file as an engine without a cache gives it, after a comparison with the eager
    /// reference image.
    pub(crate) fn checked_image(&self) -> Vec<u8> {
        self.checked_image_with(ImageOptions::default())
    }

    /// As [`OnDisk::checked_image`], with options.
    pub(crate) fn checked_image_with(&self, options: ImageOptions) -> Vec<u8> {
        let opened = self.open_with(None, options);
        let file = opened.whole();
        let metadata_bytes = opened.file.plan().layout.metadata_bytes();
        assert_same(&reference_image(&file, metadata_bytes, &self.store), &file, 0);
        file
    }

    /// The files of chunks and shards below the store's folder.
    pub(crate) fn chunk_files(&self) -> Vec<PathBuf> {
        let is_metadata = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == "zarr.json" || name.starts_with(".z")
        };
        let mut files = Vec::new();
        let mut folders = vec![self.path()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a readable folder") {
                let path = entry.expect("a readable folder").path();
                if path.is_dir() {
                    folders.push(path);
                } else if !is_metadata(&path) {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }
}

impl Opened {
    pub(crate) fn try_read(&self, offset: u64, len: u64) -> Result<Vec<u8>, ImageError> {
        self.file.read_blocking(offset, usize::try_from(len).expect("a length in memory"))
    }

    pub(crate) fn read(&self, offset: u64, len: u64) -> Vec<u8> {
        let read = self.try_read(offset, len);
        read.unwrap_or_else(|error| panic!("{len} bytes from {offset}: {error}"))
    }

    pub(crate) fn whole(&self) -> Vec<u8> {
        let whole = self.read(0, self.file.size());
        assert_eq!(whole.len() as u64, self.file.size(), "bytes of the whole file");
        whole
    }

    /// Fails if the cache holds more than it may.
    pub(crate) fn assert_within_cap(&self) {
        if let Some(cache) = self.engine.stats().cache.map(|cache| cache.stats) {
            assert!(cache.used_bytes <= cache.cap_bytes, "over the cap: {cache:?}");
        }
    }

    /// All bricks, finest level first.
    pub(crate) fn bricks(&self) -> Vec<Brick> {
        let plan = self.file.plan();
        let mut found = Vec::new();
        let datasets = plan.datasets();
        for (level, planned) in plan.levels.iter().enumerate() {
            let grid = &plan.layout.levels()[level].bricks;
            for dataset in 0..datasets {
                for brick in 0..grid.bricks().iter().product() {
                    let chunks = grid.brick_box(brick);
                    let first = chunks.each_ref().map(|range| range.start);
                    let voxels = std::array::from_fn(|axis| {
                        let chunk = planned.chunk[axis];
                        let end = (chunks[axis].end * chunk).min(planned.size[axis]);
                        first[axis] * chunk..end
                    });
                    let (t, c) = plan.time_and_channel(dataset);
                    let address = plan.layout.chunk_address(level, dataset, first);
                    let bytes = grid.brick_bytes(brick);
                    let is_computed = planned.origin == LevelOrigin::Computed;
                    found.push(Brick { level, tc: [t, c], voxels, address, bytes, is_computed });
                }
            }
        }
        found
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Workers still hold the cache directory until they are joined.
        self.engine.stop();
    }
}

/// Compares bytes that start at `offset` in the file; says where they begin to differ.
pub(crate) fn assert_same(expected: &[u8], got: &[u8], offset: u64) {
    assert_eq!(expected.len(), got.len(), "length of the bytes from {offset}");
    if let Some(at) = expected.iter().zip(got).position(|(expected, got)| expected != got) {
        let end = expected.len().min(at + 16);
        let (expected, got) = (&expected[at..end], &got[at..end]);
        panic!("byte {}: {expected:?} expected, {got:?} read", offset + at as u64);
    }
}

/// The part of the file's bytes that a read of `len` from `offset` must give.
pub(crate) fn slice(file: &[u8], offset: u64, len: u64) -> &[u8] {
    let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(file.len());
    &file[clamp(offset)..clamp(offset.saturating_add(len))]
}
