//! Damaged chunks behind a mount: what readers get, and what the log says.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::corpus::Corpus;
use crate::common::mount::{Mount, Starter, can_mount, summary};
use crate::common::planes::{ABSENT, PLANE_BYTES, Planes, Shown, chunk, write_in_place};
use crate::common::rest::rest;
use crate::common::skipped;
use rustix::io::Errno;
use tempfile::TempDir;

/// More than anything in these tests takes on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// What the issue allows the daemon after all damaged stores were read, in KiB.
const MEMORY_LIMIT_KIB: u64 = 400 << 10;

/// What is read of a file that declares more than anybody can read.
const MOST_BLOCKS: u64 = 200;
const BLOCK: usize = 1 << 20;

/// A mounted store of planes of which some have lost a byte.
struct Damaged {
    places: Vec<u64>,
    mount: Mount,
    source: TempDir,
}

impl Damaged {
    fn new(planes: Planes, damaged: &[u16], start: impl FnOnce(Starter) -> Starter) -> Self {
        let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
        let store = source.path().join("deep/a.zarr");
        planes.write(&store);
        for &time in damaged {
            cut(&chunk(&store, time));
        }
        let places = planes.places(source.path(), "deep/a.zarr");
        rest(source.path());
        let mount = start(Mount::of(source.path())).start();
        Self { places, mount, source }
    }

    fn open(&self) -> Shown {
        Shown::open(&self.mount.path().join("deep/a.ims"), &self.places).expect("opens")
    }

    fn chunk(&self, time: u16) -> PathBuf {
        chunk(&self.source.path().join("deep/a.zarr"), time)
    }

    /// Ends the daemon; its lines on damaged chunks, and how many it has counted.
    fn end(self) -> (Vec<String>, u64) {
        let (status, stderr) = self.mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
        let count = summary(&stderr, "damaged");
        (stderr.into_iter().filter(|line| line.contains("chunk damaged")).collect(), count)
    }
}

fn cut(chunk: &Path) {
    let file = File::options().write(true).open(chunk).expect("a chunk");
    file.set_len(PLANE_BYTES as u64 - 1).expect("a chunk");
}

/// Planes in version 1 but for some.
fn versions(planes: Planes, others: &[u16], other: Result<u16, Errno>) -> Vec<Result<u16, Errno>> {
    (0..planes.times).map(|time| if others.contains(&time) { other } else { Ok(1) }).collect()
}

const PLANES: Planes = Planes { times: 8 };

#[test]
fn a_damaged_chunk_is_an_error_for_the_reads_that_touch_it_and_for_no_other() {
    if !can_mount() {
        return;
    }
    let scene = Damaged::new(PLANES, &[3, 6], |starter| starter);
    let file = scene.open();
    for _ in 0..2 {
        assert_eq!(file.versions(), versions(PLANES, &[3, 6], Err(Errno::IO)));
    }
    // One byte of the plane is enough, and the bytes beside it are well.
    let places = &scene.places;
    for (at, is_well) in [
        (places[3], false),
        (places[3] + PLANE_BYTES as u64 - 1, false),
        (places[2] + PLANE_BYTES as u64 - 1, true),
        (places[4], true),
    ] {
        let direct = rustix::fs::open(
            scene.mount.path().join("deep/a.ims"),
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECT,
            rustix::fs::Mode::empty(),
        );
        let read = File::from(direct.expect("opens")).read_at(&mut [0], at);
        assert_eq!(read.is_ok(), is_well, "byte {at}: {read:?}");
    }
    write_in_place(&scene.chunk(3), 3, 2);
    assert_eq!(file.version(6), Err(Errno::IO), "is as it was");
    assert_eq!(file.version(3), Err(Errno::STALE), "is whole, and not what was opened");
    let next = scene.open();
    assert_eq!(next.version(3), Ok(2), "repaired");
    assert_eq!(next.version(6), Err(Errno::IO));
    let (lines, count) = scene.end();
    assert!(count >= 2, "{count}");
    assert!(lines.iter().all(|line| line.contains("readers get an error")), "{lines:#?}");
}

#[test]
fn on_error_fill_gives_the_fill_value_for_the_damaged_chunk_and_tells_of_it() {
    if !can_mount() {
        return;
    }
    let fill = |starter: Starter| starter.args(["--on-error", "fill"]);
    let scene = Damaged::new(PLANES, &[3], fill);
    let file = scene.open();
    assert_eq!(file.versions(), versions(PLANES, &[3], Ok(ABSENT)));
    scene.mount.wait_for_line(SOON, |line| line.contains("chunk damaged"));
    write_in_place(&scene.chunk(3), 3, 2);
    let next = scene.open();
    assert_eq!(next.versions(), versions(PLANES, &[3], Ok(2)), "repaired");
    let late = file.version(3);
    assert!(late == Ok(ABSENT) || late == Err(Errno::STALE), "{late:?}: opened when damaged");
    let (lines, count) = scene.end();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for word in ["deep/a.zarr", "array=\"0\"", "c.3.0.0.0", "cause=", "readers get the fill value"]
    {
        assert!(lines[0].contains(word), "no {word}: {}", lines[0]);
    }
    assert!(count >= 1);
}

#[test]
fn five_hundred_damaged_chunks_are_counted_and_not_all_told() {
    if !can_mount() {
        return;
    }
    let planes = Planes { times: 510 };
    let damaged: Vec<u16> = (0..500).collect();
    let scene = Damaged::new(planes, &damaged, |starter| starter.args(["--on-error", "fill"]));
    assert_eq!(scene.open().versions(), versions(planes, &damaged, Ok(ABSENT)));
    let (lines, count) = scene.end();
    assert!(count >= 500, "{count} counted");
    assert!((1..=60).contains(&lines.len()), "{} lines", lines.len());
}

/// Everything of a file, or of one that is too large some blocks from everywhere. Errors are what
/// damaged stores are for.
fn read_through(path: &Path) -> (u64, u64) {
    let Ok(file) = File::open(path) else { return (0, 1) };
    let size = file.metadata().expect("attributes").len();
    let blocks = size.div_ceil(BLOCK as u64);
    let (step, mut block) = (blocks.div_ceil(MOST_BLOCKS).max(1), vec![0; BLOCK]);
    let (mut read, mut failed) = (0, 0);
    for number in (0..blocks).step_by(usize::try_from(step).expect("64 bits")) {
        match file.read_at(&mut block, number * BLOCK as u64) {
            Ok(got) => {
                read += got as u64;
                // A read ends where the error begins.
                let wanted = (size - number * BLOCK as u64).min(BLOCK as u64);
                failed += u64::from((got as u64) < wanted);
            }
            Err(_) => failed += 1,
        }
    }
    (read, failed)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of the mount") {
        let path = entry.expect("a name").path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn reading_all_damaged_stores_of_the_corpus_takes_little_memory() {
    let corpus = match Corpus::unpack() {
        Ok(corpus) => corpus,
        Err(reason) => return skipped(&reason),
    };
    if !can_mount() {
        return;
    }
    let mount = Mount::of(&corpus.root().join("bad")).start();
    let mut files = Vec::new();
    files_below(mount.path(), &mut files);
    let (mut read, mut failed) = (0, 0);
    for path in &files {
        let (more, errors) = read_through(path);
        read += more;
        failed += errors;
    }
    let peak = mount.peak_memory_kib();
    println!("{} files, {read} bytes, {failed} errors, {peak} KiB at most", files.len());
    assert!(files.len() > 20 && failed > 0, "{} files, {failed} errors", files.len());
    assert!(peak < MEMORY_LIMIT_KIB, "{peak} KiB");
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert!(!stderr.iter().any(|line| line.contains("panicked")), "{stderr:#?}");
}
