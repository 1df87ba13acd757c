//! A source that does not answer holds up only the readers of the missing chunks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};
use rustix::process::Signal;
use tempfile::TempDir;
use zarrims::image::ImageOptions;

use super::SOON;
use super::gate::{GatedFolder, OpenAtEnd};
use crate::common::library::{BrickBytes, Library, brick_at};
use crate::common::mount::{Mount, can_mount, summary};
use crate::common::rest::rest;
use crate::common::tiny::Tiny;

/// Chunks that do not come: more than the daemon has threads by default on a small machine.
const STALLED: usize = 12;

/// Threads that the daemon has at least, of which each can wait for a chunk.
pub(crate) const WORKERS: usize = 8;

/// Readers of each chunk that does not come.
const READERS: usize = 2;

/// Issue: "SIGTERM drains within a stated time".
const DRAINED: Duration = Duration::from_secs(30);

/// Sides of a chunk, which is a brick; each chunk is a layer of the image.
const CHUNK: [usize; 3] = [32, 128, 128];

/// Images of which no chunk comes: more than the daemon has threads for metadata.
const STALLED_IMAGES: usize = 40;

/// Half of the chunks stall, the others do not.
const IMAGE: Tiny =
    Tiny { shape: [2 * STALLED * CHUNK[0], CHUNK[1], CHUNK[2]], chunk: CHUNK, seed: 1 };

/// Has computed levels, too.
const OTHER: Tiny = Tiny { shape: [64, 200, 200], chunk: CHUNK, seed: 2 };

/// Stores behind a gate, which is open, and the true bytes of their virtual files.
struct Stalling {
    source: GatedFolder,
    image: Vec<u8>,
    other: Vec<u8>,
    small: Vec<u8>,
    /// Where the bytes of each chunk lie in the virtual file.
    bricks: Vec<BrickBytes>,
    /// Where the bytes of the coarsest level begin, which is made from all chunks.
    coarsest: BrickBytes,
    metadata_bytes: usize,
    _folder: TempDir,
}

impl Stalling {
    fn new() -> Self {
        let folder = TempDir::with_prefix("zarrims-stalling-").expect("a temporary folder");
        IMAGE.write(&folder.path().join("image.zarr"));
        OTHER.write(&folder.path().join("other.zarr"));
        for number in 0..STALLED_IMAGES {
            Tiny::default().write(&folder.path().join(small(number)).with_extension("zarr"));
        }
        rest(folder.path());
        let source = GatedFolder::over(folder.path());
        // Through the gate as well: the path is a part of a file's identity.
        let library = Library::of(source.path(), ImageOptions::default());
        let file = library.file("image.zarr");
        let [image, other] = ["image.zarr", "other.zarr"].map(|store| library.bytes(store));
        let small = library.bytes("small0.zarr");
        let layer = |chunk: usize| brick_at(&file, 0, [(chunk * CHUNK[0]) as u64, 0, 0]);
        let bricks: Vec<_> = (0..2 * STALLED).map(layer).collect();
        let levels = |store: &str| library.file(store).plan().levels.len();
        assert!(levels("other.zarr") > 1 && levels("image.zarr") > 1, "no computed levels");
        let coarsest = brick_at(&file, levels("image.zarr") - 1, [0; 3]);
        let metadata_bytes = file.plan().layout.metadata_bytes();
        let metadata_bytes = usize::try_from(metadata_bytes).expect("64 bits");
        let mut offsets: Vec<u64> = bricks.iter().map(|brick| brick.offset).collect();
        offsets.dedup();
        assert_eq!(offsets.len(), bricks.len(), "a brick of several chunks");
        Self { source, image, other, small, bricks, coarsest, metadata_bytes, _folder: folder }
    }

    /// Holds up every second chunk; returns the numbers of the chunks.
    fn shut(&self) -> Vec<usize> {
        let chunks: Vec<usize> = (0..STALLED).map(|number| 2 * number).collect();
        let path = |chunk: &usize| PathBuf::from(format!("image.zarr/0/c/{chunk}/0/0"));
        self.source.gate().shut(chunks.iter().map(path));
        chunks
    }

    fn mount(&self) -> Mount {
        Mount::of(self.source.path()).args(["--threads", &WORKERS.to_string()]).start()
    }

    /// Reads a chunk that may be held up, or that may not.
    fn read_chunk(&self, mount: &Path, chunk: usize) -> io::Result<()> {
        self.read_brick(mount, self.bricks[chunk])
    }

    fn read_brick(&self, mount: &Path, brick: BrickBytes) -> io::Result<()> {
        let BrickBytes { offset, len } = brick;
        let start = usize::try_from(offset).expect("64 bits");
        let len = usize::try_from(len).expect("64 bits");
        let got = read_exactly(&mount.join("image.ims"), offset, len)?;
        assert!(got == self.image[start..start + len], "wrong bytes from {start} on");
        Ok(())
    }

    /// Reads another file whole, its computed levels included.
    fn read_other(&self, mount: &Path) {
        let read = read_exactly(&mount.join("other.ims"), 0, self.other.len());
        assert!(read.expect("readable") == self.other, "wrong bytes");
    }
}

/// Name of a small image, without an extension.
fn small(number: usize) -> String {
    format!("small{number}")
}

/// Reads just these bytes, without read-ahead, which would join chunks. It reads through the page
/// cache: a direct read that waits cannot be killed, nor could this program, which holds the gate.
pub(crate) fn read_exactly(path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    fadvise(&file, 0, None, Advice::Random)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Does something on another thread, so that a hang is a failure and not a hang of the test.
#[track_caller]
pub(crate) fn without_hanging(what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        // Nobody waits any more once this counts as hanging.
        let _ = done.send(());
    });
    match finished.recv_timeout(SOON) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: {what}"),
        _ => assert!(worker.join().is_ok(), "fails: {what}"),
    }
}

/// Issue: "a stalled source (a chunk read that takes 60 s) holds up only those who need that chunk".
#[test]
fn a_stalled_chunk_holds_up_only_those_who_need_it() {
    if !can_mount() {
        return;
    }
    let stalling = Arc::new(Stalling::new());
    let mount = stalling.mount();
    let at = mount.path().to_path_buf();
    // Statistics are made from all chunks, and are a part of the metadata.
    let metadata = read_exactly(&at.join("image.ims"), 0, stalling.metadata_bytes);
    assert!(metadata.expect("readable") == stalling.image[..stalling.metadata_bytes]);
    let chunks = stalling.shut();
    thread::scope(|scope| {
        let gate = stalling.source.gate();
        let _open = OpenAtEnd(gate);
        let waiting: Vec<_> = (0..READERS * STALLED)
            .map(|reader| {
                let (stalling, at, chunk) = (&stalling, &at, chunks[reader % STALLED]);
                scope.spawn(move || stalling.read_chunk(at, chunk))
            })
            .collect();
        let held_up = gate.held_up(STALLED.min(WORKERS), SOON);
        assert!(held_up >= STALLED.min(WORKERS), "only {held_up} chunks are asked for");

        let (folder, all) = (at.clone(), stalling.clone());
        without_hanging("ls -l", move || {
            let output = Command::new("ls").arg("-l").arg(&folder).output().expect("ls starts");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("other.ims"), "{text}");
        });
        let folder = at.clone();
        without_hanging("other chunks of the same file", move || {
            for chunk in (1..2 * STALLED).step_by(2) {
                all.read_chunk(&folder, chunk).expect("readable");
            }
        });
        let (folder, all) = (at.clone(), stalling.clone());
        without_hanging("opening and reading another file", move || {
            all.read_other(&folder);
        });
        assert!(waiting.iter().all(|reader| !reader.is_finished()), "a chunk came from nowhere");

        gate.open();
        for reader in waiting {
            reader.join().expect("right bytes").expect("readable");
        }
    });
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert_eq!(summary(&stderr, "failed"), 0);
}

/// A pass over all chunks of an image that waits for one of them lets the passes over others go by.
#[test]
fn a_stalled_pass_over_an_image_holds_up_no_other() {
    if !can_mount() {
        return;
    }
    let stalling = Arc::new(Stalling::new());
    let mount = stalling.mount();
    let at = mount.path().to_path_buf();
    stalling.shut();
    thread::scope(|scope| {
        let gate = stalling.source.gate();
        let _open = OpenAtEnd(gate);
        let waiting = scope.spawn(|| stalling.read_brick(&at, stalling.coarsest));
        assert!(gate.held_up(1, SOON) > 0, "no chunk is asked for");
        let (folder, all) = (at.clone(), stalling.clone());
        without_hanging("computing the levels of another file", move || all.read_other(&folder));
        assert!(!waiting.is_finished(), "a chunk came from nowhere");
        gate.open();
        waiting.join().expect("right bytes").expect("readable");
    });
}

/// The metadata of an image holds statistics of its voxels: many images may wait for theirs.
#[test]
fn many_stalled_images_hold_up_no_other() {
    if !can_mount() {
        return;
    }
    let stalling = Arc::new(Stalling::new());
    let mount = stalling.mount();
    let at = mount.path().to_path_buf();
    let gate = stalling.source.gate();
    let chunks = Tiny::default().chunk_paths();
    for number in 0..STALLED_IMAGES {
        let store = PathBuf::from(small(number)).with_extension("zarr");
        gate.shut(chunks.iter().map(|chunk| store.join("0").join(chunk)));
    }
    thread::scope(|scope| {
        let _open = OpenAtEnd(gate);
        let waiting: Vec<_> = (0..STALLED_IMAGES)
            .map(|number| {
                let path = at.join(small(number)).with_extension("ims");
                let (size, gate) = (stalling.small.len(), gate);
                let reader = scope.spawn(move || read_exactly(&path, 0, size));
                // One after the other, so that none is asked for after the others below.
                gate.held_up((number + 1).min(WORKERS), SOON);
                reader
            })
            .collect();
        let (folder, all) = (at.clone(), stalling.clone());
        without_hanging("opening and reading another file", move || all.read_other(&folder));
        assert!(waiting.iter().all(|reader| !reader.is_finished()), "a chunk came from nowhere");
        gate.open();
        for reader in waiting {
            let read = reader.join().expect("a reader").expect("readable");
            assert_eq!(read.len(), stalling.small.len());
        }
    });
}

/// Issue: "SIGTERM drains within a stated time", also if the source never answers.
#[test]
fn a_signal_ends_a_daemon_whose_source_is_stalled() {
    if !can_mount() {
        return;
    }
    let stalling = Stalling::new();
    let mount = stalling.mount();
    let at = mount.path().to_path_buf();
    let chunks = stalling.shut();
    thread::scope(|scope| {
        let gate = stalling.source.gate();
        let _open = OpenAtEnd(gate);
        let waiting: Vec<_> = chunks
            .iter()
            .map(|chunk| {
                let (stalling, at) = (&stalling, &at);
                scope.spawn(move || stalling.read_chunk(at, *chunk))
            })
            .collect();
        assert!(gate.held_up(1, SOON) > 0, "no chunk is asked for");
        mount.signal(Signal::TERM);
        let (status, stderr) = mount.wait_for(DRAINED);
        assert!(status.success(), "{status}: {stderr:#?}");
        for reader in waiting {
            let read = reader.join().expect("no wrong bytes");
            assert!(read.is_err(), "bytes of a chunk that never came");
        }
    });
}
