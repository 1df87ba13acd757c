//! File servers (smbd, NFS) look a name up first, with `O_PATH`, and open what they found a moment later,
//! through `/proc/self/fd`. The kernel does not look the name up again for them.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{AT_EACH_OPENING, SOON, Scene, eventually};
use crate::common::planes::{ABSENT, Planes, Shown, replace};

const PLANES: Planes = Planes { times: 6 };

/// Openings under each way of writing.
const OPENINGS: usize = 100;

/// A pause between two writes, between a look-up and the opening, and after each opening.
const WRITES_EVERY: Duration = Duration::from_millis(500);
const LATENCY: Duration = Duration::from_millis(7);
const OPENS_EVERY: Duration = Duration::from_millis(45);

fn pause(time: Duration) {
    thread::park_timeout(time);
}

/// Looks a name up, and opens what it stood for as a server does.
fn open_as_a_server(scene: &Scene) -> (OwnedFd, std::io::Result<File>) {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::open(scene.path(), flags, Mode::empty()).expect("a name");
    pause(LATENCY);
    let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd()));
    (found, file)
}

/// Writes for as long as the test runs, in steps numbered from 2 on; `write` does one.
fn while_written(
    scene: &Scene,
    write: impl Fn(&Scene, u16) + Sync,
    mut check: impl FnMut(&Scene, usize),
) {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for step in 2.. {
                if ends.load(Ordering::Relaxed) {
                    return step;
                }
                write(scene, step);
                pause(WRITES_EVERY);
            }
            0
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..OPENINGS {
                check(scene, number);
                pause(OPENS_EVERY);
            }
        }));
        ends.store(true, Ordering::Relaxed);
        let steps = writer.join().expect("no panic");
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        println!("{OPENINGS} openings, {steps} writes");
    });
}

fn scene(options: &'static [&'static str]) -> Option<Scene> {
    Scene::with(PLANES, |_| {}, |starter| starter.args(options))
}

/// In turn one chunk after the other is written, so that the versions of any two planes are less than a
/// round apart.
#[test]
fn no_opening_fails_while_chunks_are_rewritten() {
    for options in [&AT_EACH_OPENING[..], &["--revalidate", "2s"]] {
        let Some(scene) = scene(options) else { return };
        let write = |scene: &Scene, step: u16| {
            let time = step % PLANES.times;
            replace(&scene.chunk(time), time, step);
        };
        let mut newest = 1;
        while_written(&scene, write, |scene, number| {
            let (_found, file) = open_as_a_server(scene);
            let file = file.unwrap_or_else(|error| panic!("opening {number}: {error}"));
            let shown = Shown::of(file, &scene.places);
            let versions = shown.versions();
            assert!(
                versions.iter().all(|v| matches!(v, Ok(_) | Err(Errno::STALE))),
                "{versions:?}"
            );
            let known: Vec<u16> = versions.into_iter().flatten().collect();
            let last = known.iter().copied().max().unwrap_or(newest);
            for version in known.iter().filter(|version| **version > 1) {
                assert!(last - version < PLANES.times, "two states: {known:?}");
            }
            newest = newest.max(last);
        });
        assert!(newest > 2, "no new state was ever seen");
    }
}

#[test]
fn no_opening_fails_while_chunks_come_and_go() {
    let Some(scene) = scene(&[]) else { return };
    let write = |scene: &Scene, step: u16| {
        let chunk = scene.chunk(3);
        if step.is_multiple_of(2) {
            fs::remove_file(chunk).expect("a chunk");
        } else {
            replace(&chunk, 3, step);
        }
    };
    let (mut absent, mut there) = (0, 0);
    while_written(&scene, write, |scene, number| {
        let (_found, file) = open_as_a_server(scene);
        let file = file.unwrap_or_else(|error| panic!("opening {number}: {error}"));
        let shown = Shown::of(file, &scene.places);
        match shown.version(3) {
            Ok(ABSENT) => absent += 1,
            Ok(_) => there += 1,
            Err(error) => assert_eq!(error, Errno::STALE),
        }
        assert_eq!(shown.version(2), Ok(1), "nothing has happened to it");
    });
    assert!(absent > 0 && there > 0, "{absent} absent, {there} there");
}

/// Changed metadata makes another file, of another size; opening the old inode gives that file.
#[test]
fn no_opening_fails_while_metadata_is_rewritten() {
    let Some(scene) = scene(&[]) else { return };
    // From now on the image is shown.
    open_as_a_server(&scene).1.expect("opens");
    // As most programs do it: in place, first cut to nothing, then written in pieces.
    let write = |scene: &Scene, step: u16| {
        let text = Planes::group_json(f64::from(step) * 1.25).to_string();
        let (head, tail) = text.as_bytes().split_at(text.len() / 2);
        let mut file = File::create(scene.store().join("zarr.json")).expect("an own file");
        for part in [head, tail] {
            thread::park_timeout(Duration::from_millis(10));
            file.write_all(part).expect("room");
        }
    };
    let mut others = 0;
    while_written(&scene, write, |scene, number| {
        let (found, file) = open_as_a_server(scene);
        let file = file.unwrap_or_else(|error| panic!("opening {number}: {error}"));
        let found = rustix::fs::fstat(&found).expect("attributes");
        let opened = file.metadata().expect("attributes");
        assert_eq!(opened.ino(), found.st_ino, "another file than was looked up");
        let mut bytes = Vec::new();
        let read = std::io::Read::read_to_end(&mut { file }, &mut bytes);
        match read {
            Ok(length) => assert_eq!(length as u64, opened.len(), "opening {number}"),
            Err(error) => assert_eq!(Errno::from_io_error(&error), Some(Errno::STALE)),
        }
        others += usize::from(found.st_size.cast_unsigned() != opened.len());
    });
    println!("{others} files were of another size by then");
}

/// A client that comes back to a file long after its store has changed (as over NFS).
#[test]
fn an_inode_of_before_opens_the_file_that_is_at_its_path() {
    let Some(scene) = scene(&[]) else { return };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let before = rustix::fs::open(scene.path(), flags, Mode::empty()).expect("a name");
    let old = rustix::fs::fstat(&before).expect("attributes").st_ino;
    PLANES.write_metadata(&scene.store(), 17.5);
    eventually("another inode", SOON, || {
        fs::metadata(scene.path()).is_ok_and(|now| now.ino() != old)
    });
    let begun = Instant::now();
    let file = File::open(format!("/proc/self/fd/{}", before.as_raw_fd())).expect("opens");
    println!("{:?}", begun.elapsed());
    let by_name = fs::read(scene.path()).expect("readable");
    assert_eq!(file.metadata().expect("attributes").len(), by_name.len() as u64);
    let mut bytes = vec![0; by_name.len()];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).expect("readable");
    assert!(bytes == by_name, "another state");
}
