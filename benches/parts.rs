//! The parts of a read, without a mount: a brick from the store, a brick from the cache, arithmetic on
//! offsets, opening.
//!
//! ```text
//! cargo bench --bench parts
//! ```
//!
//! The stores are those of `cargo bench --bench mounted -- --quick`.

#![allow(missing_docs, reason = "a program, not an interface")]
#![allow(clippy::cast_precision_loss, reason = "figures are for people")]

mod measure;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use zarrs::array::{Array, ArrayBytes};
use zarrs::filesystem::FilesystemStore;

use measure::progress::Progress;
use measure::stores::{self, KINDS, STORE, Store};
use zarrims::cache::{CacheLimits, MinFree};
use zarrims::image::layout::Extent;
use zarrims::image::{CacheConfig, Engine, EngineConfig, ImageOptions, Images, VirtualFile};
use zarrims::source::{SourceRoot, discover};

/// Stores of which bricks are produced.
const MEASURED: [&str; 4] = ["blosc-64", "blosc-128", "zstd-64", "float-blosc"];

/// A virtual file in this process, and what makes it.
struct Opened {
    images: Arc<Images>,
    file: Arc<VirtualFile>,
}

impl Opened {
    fn new(source: &Path, cache: Option<&Path>) -> Self {
        let limits = CacheLimits { cap_bytes: 2 << 30, min_free: MinFree::Bytes(0) };
        let cache = cache.map(|dir| CacheConfig { dir: dir.to_path_buf(), limits });
        let config = EngineConfig { cache, shared: None, memory_bytes: 128 << 20, threads: 2 };
        let engine = Engine::start(&config).expect("an engine");
        let images = Images::new(engine, ImageOptions::default());
        let root = Arc::new(SourceRoot::open(source, false).expect("a folder"));
        let image = discover::open_image(&root, Path::new(STORE), "", 0).expect("an image");
        let file = VirtualFile::new(&root, Arc::new(image), images.clone(), None);
        Self { images, file: Arc::new(file.expect("a plan")) }
    }

    /// Offsets and lengths of bricks of the finest level.
    fn bricks(&self) -> Vec<(u64, usize)> {
        let layout = &self.file.plan().layout;
        let mut at = layout.chunk_address(0, 0, [0; 3]);
        let mut bricks = Vec::new();
        while let Some((extent, len)) = layout.locate(at) {
            if let Extent::Brick { .. } = extent {
                bricks.push((at, usize::try_from(len).expect("64 bits")));
            }
            at += len;
        }
        bricks
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.images.engine().stop();
    }
}

fn quick_stores() -> std::path::PathBuf {
    let folder = stores::folder(256);
    std::fs::create_dir_all(&folder).expect("a folder for the stores");
    folder
}

/// A brick from the store, beside its chunk by `zarrs`.
fn produce(criterion: &mut Criterion) {
    let folder = quick_stores();
    let progress = Progress::new();
    for kind in KINDS.iter().filter(|kind| MEASURED.contains(&kind.name)) {
        let store = Store::ensure(&folder, *kind, 256, &progress);
        let storage = Arc::new(FilesystemStore::new(store.path()).expect("a folder"));
        let array = Array::open(storage, "/0").expect("metadata zarrs takes");
        let grid = array.chunk_grid_shape().to_vec();
        let opened = Opened::new(&store.source, None);
        // In turn, so that none is still in memory when it comes again.
        let bricks = opened.bricks();
        let mut group = criterion.benchmark_group(format!("produce {}", kind.name));
        group.throughput(Throughput::Bytes(store.chunk_bytes()));
        let mut next = (0..grid.iter().product::<u64>()).cycle();
        group.bench_function("chunk by zarrs", |bencher| {
            bencher.iter(|| {
                let at = stores::position(&grid, next.next().expect("a cycle"));
                let bytes: ArrayBytes<'_> = array.retrieve_chunk(&at).expect("decodes");
                black_box(bytes);
            });
        });
        let mut next = bricks.iter().cycle();
        group.bench_function("brick", |bencher| {
            bencher.iter(|| {
                let (offset, len) = next.next().expect("a cycle");
                black_box(opened.file.read_blocking(*offset, *len).expect("reads"));
            });
        });
        group.finish();
    }
}

/// A brick that is in the cache.
fn cached(criterion: &mut Criterion) {
    let folder = quick_stores();
    let store = Store::ensure(&folder, KINDS[0], 256, &Progress::new());
    let cache = tempfile::tempdir_in(&folder).expect("a folder for the cache");
    let opened = Opened::new(&store.source, Some(cache.path()));
    let bricks = opened.bricks();
    for (offset, len) in &bricks {
        opened.file.read_blocking(*offset, *len).expect("reads");
    }
    let mut group = criterion.benchmark_group("cached blosc-64");
    for bytes in [4 << 10, 128 << 10, bricks[0].1] {
        let mut next = bricks.iter().cycle();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{} KiB", bytes >> 10), |bencher| {
            bencher.iter(|| {
                let (offset, _) = next.next().expect("a cycle");
                black_box(opened.file.read_blocking(*offset, bytes).expect("reads"));
            });
        });
    }
    group.finish();
}

/// What needs no voxel.
fn arithmetic(criterion: &mut Criterion) {
    let source = stores::ensure_declared(&quick_stores(), "1 TiB", [8192, 8192, 8192]);
    let root = Arc::new(SourceRoot::open(&source, false).expect("a folder"));
    let opened = Opened::new(&source, None);
    let layout = &opened.file.plan().layout;
    let mut group = criterion.benchmark_group("1 TiB");
    group.bench_function("metadata of the store", |bencher| {
        bencher.iter(|| discover::open_image(&root, Path::new(STORE), "", 0).expect("an image"));
    });
    group.bench_function("plan", |bencher| {
        let open = || discover::open_image(&root, Path::new(STORE), "", 0).expect("an image");
        let plan = |image| {
            VirtualFile::new(&root, Arc::new(image), opened.images.clone(), None).expect("a plan")
        };
        bencher.iter_batched(open, plan, BatchSize::SmallInput);
    });
    let mut offset = 0;
    group.bench_function("what an offset belongs to", |bencher| {
        bencher.iter(|| {
            offset = (offset + 0x1234_5678_9000) % layout.file_bytes();
            black_box(layout.locate(offset))
        });
    });
    let nodes = layout.levels()[0].index.node_count();
    let mut node = 0;
    group.bench_function("index node", |bencher| {
        bencher.iter(|| {
            node = (node + 7919) % nodes;
            let offset = layout.index_address(0, 0) + node * 3136;
            black_box(opened.file.read_blocking(offset, 3136).expect("reads"))
        });
    });
    group.finish();
}

criterion_group! {
    name = parts;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = produce, cached, arithmetic
}
criterion_main!(parts);
