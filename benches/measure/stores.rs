//! The stores to measure: made once, and marked as complete at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

use super::content::{self, Place};
use super::declare::{COARSEST_BYTES, Declared, blosc, zstd};
use super::machine;
use super::progress::Progress;

/// Changes whenever the stores would become others.
const RECIPE: &str = "recipe 1";

/// Name of the store in its folder, and of its virtual file.
pub(crate) const STORE: &str = "image.ome.zarr";
pub(crate) const FILE: &str = "image.ims";

/// Where stores of a size in MiB are, with all that is written to measure them: one disk for all.
pub(crate) fn folder(mebibytes: u64) -> PathBuf {
    let given = std::env::var_os("ZARRIMS_BENCH_DIR").map(PathBuf::from);
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench-stores");
    given.unwrap_or_else(built).join(format!("{mebibytes} MiB"))
}

/// A store with chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    axes: &'static str,
    /// Lengths when the voxels take 256 MiB; each doubling doubles one of z, y and x.
    base: &'static [u64],
    /// Axes that are doubled, in turn.
    doubled: &'static [usize],
    chunk: &'static [u64],
    shard: Option<&'static [u64]>,
    data_type: &'static str,
    compressor: Compressor,
    pyramid: bool,
}

/// Compression of the chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compressor {
    Blosc,
    Zstd,
}

const VOLUME: Kind = Kind {
    name: "",
    axes: "zyx",
    base: &[256, 512, 1024],
    doubled: &[0, 1, 2],
    chunk: &[64, 64, 64],
    shard: None,
    data_type: "uint16",
    compressor: Compressor::Blosc,
    pyramid: true,
};

const PLANES: Kind = Kind {
    axes: "tczyx",
    base: &[1, 2, 16, 2048, 2048],
    doubled: &[2],
    chunk: &[1, 1, 1, 1024, 1024],
    ..VOLUME
};

/// The stores of which whole files and random chunks are read.
pub(crate) const KINDS: [Kind; 8] = [
    Kind { name: "blosc-64", ..VOLUME },
    Kind { name: "blosc-128", chunk: &[128, 128, 128], ..VOLUME },
    Kind { name: "zstd-64", compressor: Compressor::Zstd, ..VOLUME },
    Kind { name: "zstd-128", chunk: &[128, 128, 128], compressor: Compressor::Zstd, ..VOLUME },
    Kind { name: "planes-blosc", ..PLANES },
    Kind { name: "planes-zstd", compressor: Compressor::Zstd, ..PLANES },
    Kind {
        name: "shards-zstd",
        shard: Some(&[512, 512, 512]),
        compressor: Compressor::Zstd,
        ..VOLUME
    },
    Kind { name: "float-blosc", base: &[256, 512, 512], data_type: "float32", ..VOLUME },
];

/// Many time points.
pub(crate) const SERIES: Kind = Kind {
    name: "series",
    axes: "tzyx",
    base: &[200, 20, 128, 256],
    doubled: &[1, 2, 3],
    chunk: &[1, 20, 128, 128],
    ..VOLUME
};

/// One level only.
pub(crate) const FLAT: Kind = Kind { name: "flat", pyramid: false, ..VOLUME };

impl Kind {
    pub(crate) fn compressor(&self) -> Compressor {
        self.compressor
    }

    /// The metadata, at a size in MiB.
    fn declared(&self, mebibytes: u64) -> Declared<'static> {
        let mut shape = self.base.to_vec();
        let doublings = (mebibytes / 256).max(1).ilog2() as usize;
        for axis in self.doubled.iter().cycle().take(doublings) {
            shape[*axis] *= 2;
        }
        let voxel_bytes = if self.data_type == "float32" { 4 } else { 2 };
        Declared {
            axes: self.axes,
            shape,
            chunk: self.chunk.to_vec(),
            shard: self.shard.map(<[u64]>::to_vec),
            data_type: self.data_type,
            compressor: Some(match self.compressor {
                Compressor::Blosc => blosc(voxel_bytes),
                Compressor::Zstd => zstd(),
            }),
            fill_value: 0,
            separator: "/",
            coarsest_bytes: self.pyramid.then_some(COARSEST_BYTES),
        }
    }
}

/// A store on the disk.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) kind: Kind,
    pub(crate) declared: Declared<'static>,
    /// The folder that holds the store and nothing else.
    pub(crate) source: PathBuf,
}

impl Store {
    /// The store, made if it is not there.
    pub(crate) fn ensure(folder: &Path, kind: Kind, mebibytes: u64, progress: &Progress) -> Self {
        let declared = kind.declared(mebibytes);
        let store = Self { kind, declared, source: folder.join(kind.name) };
        once(&store.source, &format!("{RECIPE} {:?}", store.declared), |source| {
            store.write(&source.join(STORE), progress);
        });
        store
    }

    /// The store itself.
    pub(crate) fn path(&self) -> PathBuf {
        self.source.join(STORE)
    }

    /// Bytes of the voxels of all levels.
    pub(crate) fn bytes(&self) -> u64 {
        self.declared.bytes()
    }

    /// Bytes of a decoded chunk.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.declared.chunk.iter().product::<u64>() * self.declared.voxel_bytes()
    }

    fn write(&self, path: &Path, progress: &Progress) {
        self.declared.write(path);
        for level in 0..self.declared.levels().len() {
            let storage = Arc::new(FilesystemStore::new(path).expect("a folder"));
            let array = Array::open(storage, &format!("/{level}")).expect("metadata zarrs takes");
            let chunks = array.chunk_grid_shape().iter().product::<u64>();
            progress.begin(&format!("making {} {level}", self.kind.name), chunks);
            let next = AtomicU64::new(0);
            thread::scope(|scope| {
                for _ in 0..machine::cores() {
                    scope.spawn(|| {
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= chunks {
                                return;
                            }
                            self.write_chunk(&array, level, number);
                            progress.step();
                        }
                    });
                }
            });
        }
    }

    fn write_chunk(&self, array: &Array<FilesystemStore>, level: usize, number: u64) {
        let at = position(array.chunk_grid_shape(), number);
        let chunk = self.declared.shard.as_ref().unwrap_or(&self.declared.chunk);
        let first = at.len() - 3;
        let space = |all: &[u64]| -> [u64; 3] { std::array::from_fn(|axis| all[first + axis]) };
        let (shape, grid) = (space(chunk), space(&at));
        let place = Place {
            origin: std::array::from_fn(|axis| grid[axis] * shape[axis]),
            size: space(array.shape()),
            level: u32::try_from(level).expect("few levels"),
            seed: at[..first].iter().fold(1, |seed, n| seed * 1000 + n),
        };
        let voxels = content::voxels(place, shape);
        let stored = if self.declared.data_type == "float32" {
            // As after a correction for an uneven field: a mantissa that does not end early.
            let voxels = voxels.iter().map(|voxel| f32::from(*voxel) * 0.7321);
            array.store_chunk(&at, voxels.collect::<Vec<_>>())
        } else {
            array.store_chunk(&at, voxels)
        };
        stored.expect("a chunk zarrs can encode");
    }
}

/// Ten thousand stores of one small image without chunks, in folders of a hundred.
pub(crate) fn ensure_tree(folder: &Path, progress: &Progress) -> PathBuf {
    let source = folder.join("tree");
    once(&source, RECIPE, |source| {
        progress.begin("making the tree", TREE);
        for number in 0..TREE {
            let path = format!("plate {:02}/well {:02}.ome.zarr", number / 100, number % 100);
            let shape = [64, 256 + number % 7, 256];
            Declared::volume(shape, false).write(&source.join(path));
            progress.step();
        }
    });
    source
}

/// Stores in [`ensure_tree`].
pub(crate) const TREE: u64 = 10_000;

/// A store with a pyramid and without a chunk.
pub(crate) fn ensure_declared(folder: &Path, name: &str, shape: [u64; 3]) -> PathBuf {
    let source = folder.join(name);
    once(&source, &format!("{RECIPE} {shape:?}"), |source| {
        Declared::volume(shape, true).write(&source.join(STORE));
    });
    source
}

/// Makes what is to be in a folder, unless a mark says that it is there.
fn once(source: &Path, recipe: &str, make: impl FnOnce(&Path)) {
    let mark = source.with_extension("complete");
    if fs::read_to_string(&mark).is_ok_and(|text| text == recipe) {
        return;
    }
    let _ = fs::remove_file(&mark);
    if source.exists() {
        fs::remove_dir_all(source).expect("an incomplete store goes");
    }
    fs::create_dir_all(source).expect("a folder");
    make(source);
    // What is still to be written would disturb what is measured.
    rustix::fs::sync();
    fs::write(&mark, recipe).expect("a mark");
}

/// The position of a number in a grid, the last axis fastest.
pub(crate) fn position(grid: &[u64], number: u64) -> Vec<u64> {
    let mut rest = number;
    let mut at = vec![0; grid.len()];
    for axis in (0..grid.len()).rev() {
        at[axis] = rest % grid[axis];
        rest /= grid[axis];
    }
    at
}

/// Names of [`KINDS`].
pub(crate) fn names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}
