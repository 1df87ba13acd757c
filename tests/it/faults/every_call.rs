//! Every call on the source, answered with an error: right bytes or an error, never the fill value.

use std::ffi::{OsStr, OsString};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use zarrims::fs::{FsError, Ino, Tree, TreeConfig};
use zarrims::image::{Engine, EngineConfig, ImageOptions, Images, VirtualFile};
use zarrims::source::storage::{FolderName, Links, Meta, OpenFile, OpenFolder, Space};
use zarrims::source::{SourceRoot, Stamp, Storage};

use crate::common::rest::rest;
use crate::common::store::{Dtype, Format, Step, StoreBuilder, each_position};
use crate::reference::cases::Picks;
use crate::reference::opened::{Brick, OnDisk, Opened, assert_same, slice};

/// Those that a source gives, or that might be taken for something else.
const ERRNOS: [Errno; 6] =
    [Errno::NOENT, Errno::NOTDIR, Errno::IO, Errno::ACCESS, Errno::STALE, Errno::NOTCONN];

/// Largest errno of Linux.
const LAST_ERRNO: u64 = 133;

/// Others that are tried at each position.
const OTHERS: usize = 1;

/// What goes wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    /// The first call that fails, counted from 0.
    at: u64,
    errno: i32,
    /// All calls after it fail, too.
    is_lasting: bool,
}

#[derive(Debug)]
pub(super) struct Calls {
    pub(super) fault: Option<Fault>,
    pub(super) count: AtomicU64,
}

impl Calls {
    fn next(&self) -> io::Result<()> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Some(fault) if number == fault.at || (fault.is_lasting && number > fault.at) => {
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Failing<T> {
    pub(super) inner: T,
    pub(super) calls: Arc<Calls>,
}

impl<T> Failing<T> {
    /// Something that was got through this one.
    fn pass<U>(&self, inner: U) -> Failing<U> {
        Failing { inner, calls: self.calls.clone() }
    }
}

impl Storage for Failing<Arc<dyn Storage>> {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        self.calls.next()?;
        let (file, stamp) = self.inner.open(path)?;
        Ok((Box::new(self.pass(file)), stamp))
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        self.calls.next()?;
        self.inner.stat(path, links)
    }

    fn access(&self, path: &Path) -> io::Result<Meta> {
        self.calls.next()?;
        self.inner.access(path)
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        self.calls.next()?;
        Ok(Box::new(self.pass(self.inner.open_folder(path)?)))
    }

    fn space(&self) -> io::Result<Space> {
        self.calls.next()?;
        self.inner.space()
    }
}

impl OpenFile for Failing<Box<dyn OpenFile>> {
    fn stamp(&self) -> io::Result<Stamp> {
        self.calls.next()?;
        self.inner.stamp()
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.calls.next()?;
        self.inner.read_exact_at(out, offset)
    }
}

impl OpenFolder for Failing<Box<dyn OpenFolder>> {
    fn meta(&self) -> io::Result<Meta> {
        self.calls.next()?;
        self.inner.meta()
    }

    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        self.calls.next()?;
        self.inner.next_names()
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        self.calls.next()?;
        self.inner.stat(name)
    }
}

/// A store, and the right bytes of its file.
struct Scene {
    on_disk: OnDisk,
    image: Vec<u8>,
    file: OsString,
}

/// What became of the bricks.
#[derive(Debug, Default)]
struct Outcome {
    calls: u64,
    right: usize,
    failed: usize,
}

impl Scene {
    fn new(store: &StoreBuilder) -> Self {
        let on_disk = OnDisk::new(store);
        rest(&on_disk.path());
        let image = on_disk.checked_image();
        let file = on_disk.path().with_extension("ims");
        Self { on_disk, image, file: file.file_name().expect("a name").to_owned() }
    }

    /// Looks the file up, opens it and reads every brick.
    fn run(&self, fault: Option<Fault>) -> Outcome {
        let calls = Arc::new(Calls { fault, count: AtomicU64::new(0) });
        let store = self.on_disk.path();
        let source = store.parent().expect("below the source folder");
        let root = SourceRoot::open(source, false).expect("just made");
        let root =
            root.with_storage(|inner| Arc::new(Failing { inner, calls: calls.clone() }) as Arc<_>);
        let coarsest_bytes = self.on_disk.store.coarsest_bytes;
        let config = EngineConfig { cache: None, shared: None, memory_bytes: 64 << 20, threads: 2 };
        let engine = Engine::start(&config).expect("an engine");
        let shared = TreeConfig { is_shared: true, ..TreeConfig::default() };
        let options = ImageOptions { coarsest_bytes, ..ImageOptions::default() };
        let images = Images::new(engine.clone(), options);
        let tree = Tree::new(Arc::new(root), images, shared).expect("threads");
        let mut outcome = Outcome::default();
        if let Ok(file) = self.open(&tree) {
            self.read(&Opened { file, engine }, &mut outcome);
        } else {
            outcome.failed += 1;
            engine.stop();
        }
        // `df` asks for it.
        outcome.failed += usize::from(tree.source().storage().space().is_err());
        outcome.calls = calls.count.load(Ordering::Relaxed);
        outcome
    }

    /// As the kernel does it: a stale file is looked up once more.
    fn open(&self, tree: &Tree) -> Result<Arc<VirtualFile>, FsError> {
        let open = || tree.lookup(Ino::ROOT, &self.file).and_then(|found| tree.open(found.ino));
        let opened = match open() {
            Err(FsError::Stale) => open(),
            other => other,
        };
        opened.map(|opened| opened.file)
    }

    fn read(&self, opened: &Opened, outcome: &mut Outcome) {
        let file = &opened.file;
        for brick in opened.bricks() {
            let Ok(bytes) = opened.try_read(brick.address, brick.bytes) else {
                outcome.failed += 1;
                continue;
            };
            outcome.right += 1;
            if file.size() == self.image.len() as u64 {
                let right = slice(&self.image, brick.address, brick.bytes);
                assert_same(right, &bytes, brick.address);
            } else if brick.level == 0 {
                self.assert_finest(file, &brick, &bytes);
            }
        }
    }

    /// A file that lacks a level has its bytes elsewhere; the voxels must be those of the store.
    fn assert_finest(&self, file: &VirtualFile, brick: &Brick, bytes: &[u8]) {
        let store = &self.on_disk.store;
        let [chunk, grid] = {
            let chunk = file.plan().levels[0].chunk;
            let counts = std::array::from_fn(|axis| {
                (brick.voxels[axis].end - brick.voxels[axis].start).div_ceil(chunk[axis])
            });
            [chunk, counts]
        };
        let (shape, size) = (&store.shape, store.dtype.imaris_bytes());
        let mut place = 0;
        each_position(&grid, &mut |at| {
            each_position(&chunk, &mut |within| {
                let zyx: [u64; 3] = std::array::from_fn(|axis| {
                    brick.voxels[axis].start + at[axis] * chunk[axis] + within[axis]
                });
                if (0..3).all(|axis| zyx[axis] < brick.voxels[axis].end) {
                    let [t, c] = brick.tc;
                    let right = store.voxel(0, shape, [t, c, zyx[0], zyx[1], zyx[2]]);
                    assert_eq!(bytes[place..place + size], right, "voxel {zyx:?}");
                }
                place += size;
            });
        });
    }
}

/// Two levels of nested chunks, some absent, and an axis of time.
fn nested(format: Format) -> StoreBuilder {
    let mut store = StoreBuilder::new(Dtype::U16, "tzyx", &[2, 4, 16, 16]);
    store.unit = vec![1, 4, 8, 8];
    store.steps = vec![vec![Step::Keep, Step::FloorHalf, Step::FloorHalf, Step::FloorHalf]];
    store.format = format;
    store.left_out = 5;
    store.coarsest_bytes = 100;
    store
}

fn try_everything(name: &str, store: &StoreBuilder, picks: &mut Picks) {
    let scene = Scene::new(store);
    let good = scene.run(None);
    assert_eq!(good.failed, 0, "{name}: no fault");
    assert!(good.right >= 6, "{name}: {good:?}");
    println!("{name}: {} calls", good.calls);
    let (mut failed, mut right) = (0, 0);
    for at in 0..good.calls {
        let mut errnos: Vec<i32> = ERRNOS.iter().map(|errno| errno.raw_os_error()).collect();
        errnos.extend(
            (0..OTHERS)
                .map(|_| i32::try_from(1 + picks.below(LAST_ERRNO)).expect("a small number")),
        );
        for errno in errnos {
            for is_lasting in [false, true] {
                let fault = Fault { at, errno, is_lasting };
                let outcome = catch_unwind(AssertUnwindSafe(|| scene.run(Some(fault))));
                let outcome = outcome.unwrap_or_else(|_| panic!("{name}: {fault:?}"));
                failed += usize::from(outcome.failed > 0);
                right += usize::from(outcome.failed == 0);
            }
        }
    }
    println!("{name}: {failed} runs with an error, {right} without");
    assert!(failed > 0 && right > 0, "{name}: faults that reach nobody, or everybody");
}

#[test]
fn any_error_at_any_call_gives_right_bytes_or_an_error() {
    let begun = Instant::now();
    let mut picks = Picks::of_test("every call");
    let mut sharded = nested(Format::V3);
    sharded.shard = Some(vec![1, 1, 2, 2]);
    try_everything("v3 in folders", &nested(Format::V3), &mut picks);
    try_everything("v2 side by side", &nested(Format::V2('.')), &mut picks);
    try_everything("shards", &sharded, &mut picks);
    println!("{:.1} s", Duration::as_secs_f64(&begun.elapsed()));
}
