//! A source that answers no call: the daemon still serves what it has cached.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fuser::{MountOption, Session};
use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;
use zarrims::fs::{FileSystem, Tree, TreeConfig};
use zarrims::fuse::Adapter;
use zarrims::image::{Engine, EngineConfig, ImageOptions, Images};
use zarrims::source::storage::{FolderName, Links, Meta, OpenFile, OpenFolder, Space};
use zarrims::source::{SourceRoot, Stamp, Storage};

use crate::common::mount::{can_mount, detach, is_mounted};
use crate::common::rest::rest;
use crate::common::tiny::Tiny;

const IMAGE: Tiny = Tiny { shape: [8, 64, 64], chunk: [4, 32, 32], seed: 3 };

/// More than there are threads that talk to the kernel.
const CALLS: usize = 12;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Lets calls pass, or holds them up.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_shut: bool,
    waiting: usize,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self) {
        let mut state = self.lock();
        if !state.is_shut {
            return;
        }
        state.waiting += 1;
        self.changed.notify_all();
        let waited = self.changed.wait_while(state, |state| state.is_shut);
        waited.unwrap_or_else(PoisonError::into_inner).waiting -= 1;
    }

    fn set(&self, is_shut: bool) {
        self.lock().is_shut = is_shut;
        self.changed.notify_all();
    }

    /// Waits until `count` calls are held up.
    fn holds_up(&self, count: usize) -> bool {
        let few = |state: &mut State| state.waiting < count;
        let waited = self.changed.wait_timeout_while(self.lock(), PATIENCE, few);
        waited.unwrap_or_else(PoisonError::into_inner).0.waiting >= count
    }
}

#[derive(Debug)]
struct Gated<T> {
    inner: T,
    gate: Arc<Gate>,
}

impl Storage for Gated<Arc<dyn Storage>> {
    fn open(&self, path: &Path) -> io::Result<(Box<dyn OpenFile>, Stamp)> {
        self.gate.pass();
        let (inner, stamp) = self.inner.open(path)?;
        Ok((Box::new(Gated { inner, gate: self.gate.clone() }), stamp))
    }

    fn stat(&self, path: &Path, links: Links) -> io::Result<Meta> {
        self.gate.pass();
        self.inner.stat(path, links)
    }

    fn access(&self, path: &Path) -> io::Result<Meta> {
        self.gate.pass();
        self.inner.access(path)
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn OpenFolder>> {
        self.gate.pass();
        let inner = self.inner.open_folder(path)?;
        Ok(Box::new(Gated { inner, gate: self.gate.clone() }))
    }

    fn space(&self) -> io::Result<Space> {
        self.gate.pass();
        self.inner.space()
    }
}

impl OpenFile for Gated<Box<dyn OpenFile>> {
    fn stamp(&self) -> io::Result<Stamp> {
        self.gate.pass();
        self.inner.stamp()
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.gate.pass();
        self.inner.read_exact_at(out, offset)
    }
}

impl OpenFolder for Gated<Box<dyn OpenFolder>> {
    fn meta(&self) -> io::Result<Meta> {
        self.gate.pass();
        self.inner.meta()
    }

    fn next_names(&mut self) -> io::Result<Vec<FolderName>> {
        self.gate.pass();
        self.inner.next_names()
    }

    fn stat(&self, name: &OsStr) -> io::Result<Meta> {
        self.gate.pass();
        self.inner.stat(name)
    }
}

/// A mount of this process, which goes away at the end.
struct Mounted {
    mountpoint: TempDir,
    gate: Arc<Gate>,
    engine: Arc<Engine>,
}

impl Mounted {
    fn of(source: &Path) -> Self {
        let mountpoint = TempDir::with_prefix("zarrims-test-").expect("a temporary folder");
        let gate = Arc::new(Gate::default());
        let root = SourceRoot::open(source, false).expect("a folder");
        let root = root.with_storage(|inner| Arc::new(Gated { inner, gate: gate.clone() }));
        let config = EngineConfig { cache: None, shared: None, memory_bytes: 64 << 20, threads: 4 };
        let engine = Engine::start(&config).expect("an engine");
        let images = Images::new(engine.clone(), ImageOptions::default());
        let tree = Tree::new(Arc::new(root), images, TreeConfig::default());
        let adapter = Adapter::new(Arc::new(FileSystem::new(tree.expect("threads"))), || {})
            .expect("threads");
        let mut options = fuser::Config::default();
        options.mount_options =
            vec![MountOption::RO, MountOption::FSName("zarrims-stalled".to_owned())];
        options.n_threads = Some(4);
        let session = Session::new(adapter, mountpoint.path(), &options).expect("mounted");
        // Its own tear-down gives up where a mount is busy.
        std::mem::forget(session.spawn().expect("a thread"));
        Self { mountpoint, gate, engine }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.gate.set(false);
        let at = self.mountpoint.path();
        if is_mounted(at) {
            detach(at);
        }
        self.engine.stop();
    }
}

#[test]
fn a_source_of_which_no_call_answers_stops_no_read_of_what_is_at_hand() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    IMAGE.write(&source.path().join("a.zarr"));
    rest(source.path());
    let mounted = Mounted::of(source.path());
    let at = mounted.mountpoint.path().to_path_buf();
    let file = File::open(at.join("a.ims")).expect("opens");
    let size = usize::try_from(file.metadata().expect("attributes").len()).expect("64 bits");
    let mut before = vec![0; size];
    FileExt::read_exact_at(&file, &mut before, 0).expect("readable");

    mounted.gate.set(true);
    // `df` and unknown names: each asks the source.
    let asking: Vec<_> = (0..CALLS)
        .flat_map(|number| {
            let (statfs, name) = (at.clone(), at.join(format!("unknown-{number}")));
            [
                thread::spawn(move || rustix::fs::statvfs(&statfs).is_ok()),
                thread::spawn(move || name.symlink_metadata().is_err()),
            ]
        })
        .collect();
    assert!(mounted.gate.holds_up(4), "calls are held up");
    let (sender, answer) = mpsc::channel();
    let reading = thread::spawn(move || {
        let mut after = vec![0; size];
        // Pages that the kernel has are not asked for.
        fadvise(&file, 0, None, Advice::DontNeed).expect("a hint");
        let read = FileExt::read_exact_at(&file, &mut after, 0).map(|()| after);
        // The test may have given up.
        let _ = sender.send(read);
    });
    let answered = answer.recv_timeout(PATIENCE);
    mounted.gate.set(false);
    let after = answered.expect("an answer while no call answers").expect("readable");
    assert!(after == before, "other bytes");
    reading.join().expect("no panic");
    for thread in asking {
        assert!(thread.join().expect("no panic"), "an answer once the source gives one");
    }
}
