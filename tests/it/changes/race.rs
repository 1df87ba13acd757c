//! A store that never comes to rest, and readers that open and close it all the time.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::io::Errno;

use super::{SOON, Scene, eventually};
use crate::common::planes::{Planes, replace, write_in_place};

const PLANES: Planes = Planes { times: 6 };

/// Versions of each chunk.
const VERSIONS: u16 = 240;

const READERS: usize = 3;

/// What is being written, in the order of the planes: all are in one version, then the first ones in
/// the next.
#[derive(Default)]
struct Progress {
    begun: [AtomicU16; PLANES.times as usize],
    done: [AtomicU16; PLANES.times as usize],
    ended: AtomicBool,
    openings: AtomicUsize,
}

impl Progress {
    fn now(counts: &[AtomicU16]) -> Vec<u16> {
        counts.iter().map(|count| count.load(Ordering::SeqCst)).collect()
    }
}

/// What the readers of the race have seen.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    handles: usize,
    versions: usize,
    stale: usize,
    /// A chunk was empty for a moment when the file was opened.
    torn: usize,
}

/// Writes all versions. Every fourth waits until a reader has opened the file, and every eighth
/// leaves that reader time to read it, too.
fn write_all(scene: &Scene, progress: &Progress) {
    for version in 2..=VERSIONS {
        for time in 0..PLANES.times {
            progress.begun[usize::from(time)].store(version, Ordering::SeqCst);
            let write = if version % 2 == 0 { replace } else { write_in_place };
            write(&scene.chunk(time), time, version);
            progress.done[usize::from(time)].store(version, Ordering::SeqCst);
        }
        if version % 4 == 0 {
            let before = progress.openings.load(Ordering::SeqCst);
            if version % 8 == 0 {
                let is_open = || progress.openings.load(Ordering::SeqCst) > before;
                eventually("an opening", SOON, is_open);
            }
            // At once, so that the next change meets the reads of that opening.
            let deadline = Instant::now() + SOON;
            while progress.openings.load(Ordering::SeqCst) == before {
                assert!(Instant::now() < deadline, "nobody opens the file");
                thread::yield_now();
            }
        }
    }
    progress.ended.store(true, Ordering::SeqCst);
}

/// Opens the file, reads its planes several times, and compares them with what was there then.
fn read_once(scene: &Scene, progress: &Progress, seen: &mut Seen) {
    let oldest = Progress::now(&progress.done);
    let opened = super::Shown::open(&scene.path(), &scene.places);
    let newest = Progress::now(&progress.begun);
    progress.openings.fetch_add(1, Ordering::SeqCst);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            // It has changed between the look-up of its name and the opening, each time.
            assert_eq!(Errno::from_io_error(&error), Some(Errno::STALE), "{error}");
            return;
        }
    };
    seen.handles += 1;
    let mut shown = [None; PLANES.times as usize];
    for round in 0..3 {
        for (time, known) in (0..).zip(&mut shown) {
            match file.version(time) {
                Ok(version) => {
                    let (oldest, newest) = (oldest[usize::from(time)], newest[usize::from(time)]);
                    assert!(
                        (oldest..=newest).contains(&version),
                        "plane {time}: {version}, opened between {oldest} and {newest}"
                    );
                    let before = known.get_or_insert(version);
                    assert_eq!(*before, version, "plane {time} in round {round}");
                    seen.versions += 1;
                }
                Err(Errno::STALE) => seen.stale += 1,
                Err(Errno::IO) => {
                    let at = usize::from(time);
                    assert!(oldest[at] < newest[at], "plane {time}: nobody wrote it then");
                    seen.torn += 1;
                }
                Err(other) => panic!("plane {time}: {other}"),
            }
        }
    }
    // The planes together are a state that the store was in.
    let together: Vec<u16> = shown.iter().flatten().copied().collect();
    let (first, last) = (together.first().copied(), together.last().copied());
    assert!(together.is_sorted_by(|a, b| a >= b), "never at one time: {shown:?}");
    assert!(first.unwrap_or(0) <= last.unwrap_or(0) + 1, "never at one time: {shown:?}");
}

#[test]
fn what_a_file_shows_is_one_state_of_the_store_however_often_that_changes() {
    let Some(scene) = Scene::new(PLANES) else { return };
    let progress = Progress::default();
    for count in progress.begun.iter().chain(&progress.done) {
        count.store(1, Ordering::SeqCst);
    }
    let seen: Vec<Seen> = thread::scope(|scope| {
        let read = || {
            let mut seen = Seen::default();
            while !progress.ended.load(Ordering::SeqCst) {
                read_once(&scene, &progress, &mut seen);
            }
            seen
        };
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read)).collect();
        write_all(&scene, &progress);
        readers.into_iter().map(|reader| reader.join().expect("a reader")).collect()
    });
    println!("{seen:?}");
    let total = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>();
    assert!(total(|seen| seen.handles) >= 20, "{seen:?}");
    assert!(total(|seen| seen.versions) >= 100, "{seen:?}");
    let stderr = scene.mount.stderr();
    assert!(!stderr.iter().any(|line| line.contains("will not be noticed")), "{stderr:#?}");
    // At rest, everything is in the last version.
    let versions = scene.open().versions();
    assert_eq!(versions, vec![Ok(VERSIONS); usize::from(PLANES.times)]);
}
