//! The bytes that virtual files must have, from an engine in this process that has no cache.

use std::path::Path;
use std::sync::Arc;

use zarrims::image::{Engine, EngineConfig, ImageOptions, Images, VirtualFile};
use zarrims::source::{SourceRoot, discover};

/// Virtual files of a source folder without a mount. The daemon must be given the same path.
pub struct Library {
    root: Arc<SourceRoot>,
    images: Arc<Images>,
}

/// The bytes of one brick.
#[derive(Debug, Clone, Copy)]
pub struct BrickBytes {
    pub offset: u64,
    pub len: u64,
}

impl Library {
    pub fn of(source: &Path, options: ImageOptions) -> Self {
        let config =
            EngineConfig { cache: None, shared: None, memory_bytes: 128 << 20, threads: 2 };
        let root = Arc::new(SourceRoot::open(source, false).expect("a folder"));
        let engine = Engine::start(&config).expect("an engine");
        Self { root, images: Images::new(engine, options) }
    }

    /// The virtual file of a store with one image.
    #[track_caller]
    pub fn file(&self, store: &str) -> Arc<VirtualFile> {
        let image = discover::open_image(&self.root, Path::new(store), "", 0).expect("an image");
        let file = VirtualFile::new(&self.root, Arc::new(image), self.images.clone(), None);
        Arc::new(file.expect("a plan"))
    }

    /// All bytes of the virtual file of a store.
    #[track_caller]
    pub fn bytes(&self, store: &str) -> Vec<u8> {
        let file = self.file(store);
        let size = usize::try_from(file.size()).expect("64 bits");
        let bytes = file.read_blocking(0, size).expect("readable");
        assert_eq!(bytes.len(), size, "{store}");
        bytes
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        self.images.engine().stop();
    }
}

/// Where the brick of a level lies that holds a voxel (z, y, x) of the first channel.
pub fn brick_at(file: &VirtualFile, level: usize, voxel: [u64; 3]) -> BrickBytes {
    let plan = file.plan();
    let chunk = plan.levels[level].chunk;
    let layout = &plan.layout;
    let bricks = &layout.levels()[level].bricks;
    let wanted: [u64; 3] = std::array::from_fn(|axis| voxel[axis] / chunk[axis]);
    let count = bricks.bricks().iter().product();
    let holds = |brick: &u64| {
        bricks.brick_box(*brick).iter().zip(wanted).all(|(range, at)| range.contains(&at))
    };
    let brick = (0..count).find(holds).expect("a voxel of the image");
    let first = bricks.brick_box(brick).each_ref().map(|range| range.start);
    BrickBytes { offset: layout.chunk_address(level, 0, first), len: bricks.brick_bytes(brick) }
}
