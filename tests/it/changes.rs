//! Stores that change while they are shown: an open file never shows two states of its store, and the
//! next opening shows the new one.

mod chunks;
mod levels;
mod metadata;
mod race;
mod restart;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::eventually;
use crate::common::mount::{Mount, Starter, can_mount};
use crate::common::planes::{Planes, Shown, chunk};
use crate::common::rest::rest;
use rustix::io::Errno;
use tempfile::TempDir;

/// More than anything in these tests takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Most of these tests open a file again at once.
const AT_EACH_OPENING: [&str; 2] = ["--revalidate", "open"];

/// A mounted source of one store of planes.
struct Scene {
    places: Vec<u64>,
    mount: Mount,
    source: TempDir,
}

impl Scene {
    /// `None` where nothing can be mounted.
    fn new(planes: Planes) -> Option<Self> {
        Self::with(planes, |_| {}, |starter| starter)
    }

    /// Changes the store before the daemon starts, and how it does.
    fn with(
        planes: Planes,
        change: impl FnOnce(&Path),
        start: impl FnOnce(Starter) -> Starter,
    ) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
        planes.write(&source.path().join("a.zarr"));
        change(&source.path().join("a.zarr"));
        let places = planes.places(source.path(), "a.zarr");
        rest(source.path());
        let mount = start(Mount::of(source.path()).args(AT_EACH_OPENING)).start();
        Some(Self { places, mount, source })
    }

    fn store(&self) -> PathBuf {
        self.source.path().join("a.zarr")
    }

    fn chunk(&self, time: u16) -> PathBuf {
        chunk(&self.store(), time)
    }

    fn path(&self) -> PathBuf {
        self.mount.path().join("a.ims")
    }

    #[track_caller]
    fn open(&self) -> Shown {
        Shown::open(&self.path(), &self.places).expect("opens")
    }
}

/// An open file goes on showing what it has shown, or says that it cannot.
#[track_caller]
fn assert_old(read: Result<u16, Errno>, old: u16) {
    assert!(read == Ok(old) || read == Err(Errno::STALE), "{read:?}, version {old} was opened");
}
