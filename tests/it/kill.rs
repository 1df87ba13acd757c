//! A daemon that is killed at any moment never gives a wrong byte afterwards.
//!
//! `ZARRIMS_SEED` repeats the picks of a run; which request a kill hits differs from run to run.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use zarrims::image::{ImageOptions, Statistics};

use crate::common::disk::disk_bytes;
use crate::common::library::Library;
use crate::common::mount::{Mount, can_mount, detach, is_mounted, summary};
use crate::common::picks::Picks;
use crate::common::rest::rest;
use crate::common::store::{Codec, Dtype, Format, Step, StoreBuilder};
use crate::common::{command, eventually};

/// Kills while readers are at work.
const KILLS: u64 = 51;

/// Rounds from one daemon that is killed while it starts to the next.
const STARTS: u64 = 3;

/// Rounds from one comparison of every byte to the next.
const WHOLE: u64 = 10;

/// Readers per round; the first reads from front to back, the others anywhere.
const READERS: u64 = 6;

/// Most reads of a round before the kill.
const MOST_READS: u64 = 150;

/// The least that the program takes; the files are nearly twice as large.
const CAP: u64 = 64 << 20;

/// Kills while readers are in the metadata of a series, for each kind of statistics.
const METADATA_KILLS: u64 = 12;

/// Most reads of metadata before the kill.
const MOST_METADATA_READS: u64 = 60;

/// More than a mount takes to go.
const SOON: Duration = Duration::from_secs(30);

/// A virtual file and its true bytes.
struct Image {
    name: &'static str,
    bytes: Vec<u8>,
}

/// What outlives the daemons.
struct Bench {
    source: PathBuf,
    cache: PathBuf,
    mountpoint: PathBuf,
    images: Vec<Image>,
    args: Vec<String>,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let names = ["levels.ims", "series.ims", "sharded.ims"];
        let args = vec!["--cache-size".to_owned(), CAP.to_string()];
        Self::of(write_stores, &names, ImageOptions::default(), args)
    }

    fn of(
        write: impl FnOnce(&Path),
        names: &[&'static str],
        options: ImageOptions,
        args: Vec<String>,
    ) -> Self {
        let folder = TempDir::with_prefix("zarrims-kill-").expect("a temporary folder");
        let root = folder.path().canonicalize().expect("just made");
        let own = |name: &str| {
            fs::create_dir(root.join(name)).expect("a temporary folder takes folders");
            root.join(name)
        };
        let (source, cache, mountpoint) = (own("source"), own("cache"), own("mount"));
        write(&source);
        let library = Library::of(&source, options);
        let image = |name: &'static str| Image {
            name,
            bytes: library.bytes(&name.replace(".ims", ".zarr")),
        };
        let images = names.iter().copied().map(image).collect();
        Self { source, cache, mountpoint, images, args, _folder: folder }
    }

    fn start(&self) -> Mount {
        let starter = Mount::of(&self.source).cache(&self.cache).at(&self.mountpoint);
        starter.args(self.args.iter().map(String::as_str)).start()
    }

    /// Reads every byte of every file.
    fn compare_all(&self, when: &str) {
        for Image { name, bytes } in &self.images {
            let read = fs::read(self.mountpoint.join(name)).expect("readable");
            assert_eq!(read.len(), bytes.len(), "{when}: bytes of {name}");
            assert_same(bytes, &read, 0, &format!("{when}: {name}"));
        }
    }
}

/// Sharded, and with stored levels, and of several time points and channels: 112 MiB with the
/// levels that are computed.
fn write_stores(source: &Path) {
    let mut sharded = StoreBuilder::new(Dtype::U16, "zyx", &[64, 512, 512]);
    sharded.unit = vec![16, 128, 128];
    sharded.shard = Some(vec![2, 2, 2]);
    sharded.codec = Codec::Zstd;
    sharded.write(&source.join("sharded.zarr"));

    let mut series = StoreBuilder::new(Dtype::U8, "tczyx", &[2, 2, 24, 512, 512]);
    series.unit = vec![1, 1, 8, 256, 256];
    series.format = Format::V2('.');
    series.codec = Codec::BloscLz4;
    series.write(&source.join("series.zarr"));

    let mut levels = StoreBuilder::new(Dtype::I16, "zyx", &[40, 512, 512]);
    levels.unit = vec![8, 256, 256];
    levels.codec = Codec::Gzip;
    levels.big_endian = true;
    levels.steps = vec![vec![Step::Keep, Step::FloorHalf, Step::FloorHalf]];
    levels.write(&source.join("levels.zarr"));
    rest(source);
}

/// Compares bytes that start at `offset`; says where they begin to differ, and for how long.
#[track_caller]
fn assert_same(expected: &[u8], got: &[u8], offset: u64, what: &str) {
    if expected == got {
        return;
    }
    let differs = |at: &usize| expected[*at] != got[*at];
    let first = (0..got.len()).find(differs).unwrap_or(0) as u64;
    let count = (0..got.len()).filter(differs).count();
    panic!("{what}: {count} of {} bytes wrong, from {} on", got.len(), offset + first);
}

/// One life of a daemon, as its readers see it.
struct Round<'a> {
    bench: &'a Bench,
    mount: &'a Mount,
    number: u64,
    /// Reads until the kill.
    goal: u64,
    done: AtomicU64,
    /// Set before the signal is sent: errors from then on are the kill's.
    killed: AtomicBool,
}

impl Round<'_> {
    fn run(&self, picks: &mut Picks) {
        thread::scope(|scope| {
            for reader in 0..READERS {
                let picks = picks.fork();
                scope.spawn(move || {
                    if let Err(error) = self.read_on(reader, picks) {
                        let killed = self.killed.load(Ordering::SeqCst);
                        assert!(killed, "round {}: {error}, but nobody was killed", self.number);
                    }
                });
            }
        });
    }

    /// Reads and compares until the daemon is gone.
    fn read_on(&self, reader: u64, mut picks: Picks) -> io::Result<()> {
        let open = |image: &Image| File::open(self.mount.path().join(image.name));
        let files = self.bench.images.iter().map(open).collect::<io::Result<Vec<_>>>()?;
        let mut buffer = vec![0; 1 << 20];
        let mut next = 0;
        while !self.killed.load(Ordering::SeqCst) {
            let (at, offset) = if reader == 0 {
                (usize::try_from(self.number).unwrap_or(0) % files.len(), next)
            } else {
                let at = picks.index(files.len());
                (at, picks.index(self.bench.images[at].bytes.len()))
            };
            let image = &self.bench.images[at];
            let most = if reader == 0 { buffer.len() } else { 1 + picks.index(256 << 10) };
            let end = (offset + most).min(image.bytes.len());
            let got = &mut buffer[..end - offset];
            files[at].read_exact_at(got, offset as u64)?;
            let what = format!("round {}, {}", self.number, image.name);
            assert_same(&image.bytes[offset..end], got, offset as u64, &what);
            next = end % image.bytes.len();
            if self.done.fetch_add(1, Ordering::SeqCst) + 1 == self.goal {
                self.killed.store(true, Ordering::SeqCst);
                self.mount.signal(Signal::KILL);
            }
        }
        Ok(())
    }
}

/// A daemon that is killed before anybody waits for its mount.
struct Doomed<'a> {
    child: Child,
    bench: &'a Bench,
}

impl<'a> Doomed<'a> {
    fn start(bench: &'a Bench) -> Self {
        let mut program = command(&[]);
        program.arg(&bench.source).arg(&bench.mountpoint).arg("--cache-dir").arg(&bench.cache);
        program.args(["--cache-size", &CAP.to_string()]);
        program.stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: program.spawn().expect("the program starts"), bench }
    }

    /// Looks so often at the journal, which is a clock of a kind, and kills.
    fn kill_after(mut self, looks: u64) {
        for _ in 0..looks {
            let _ = fs::read(self.bench.cache.join(zarrims::cache::folder_name()).join("journal"));
            assert!(self.child.try_wait().expect("an own child").is_none(), "ended by itself");
        }
    }
}

impl Drop for Doomed<'_> {
    fn drop(&mut self) {
        // Fails only when it has ended, which the comparison above has told.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let at = &self.bench.mountpoint;
        eventually("a dead mount is detached", SOON, || !is_mounted(at) || detach(at));
    }
}

/// Issue: "a daemon killed at random moments during fills, at least 50 times, restarted on the same
/// cache: 0 wrong bytes".
#[test]
fn no_byte_is_wrong_after_any_number_of_kills() {
    if !can_mount() {
        return;
    }
    let mut picks = Picks::of_test("kill");
    let bench = Bench::new();
    let (mut most, mut full, mut reads) = (0, 0, 0);
    for number in 0..KILLS {
        if number.is_multiple_of(STARTS) {
            Doomed::start(&bench).kill_after(picks.below(4000));
        }
        let mount = bench.start();
        let taken = disk_bytes(&bench.cache);
        most = taken.max(most);
        full += u64::from(taken >= CAP / 8 * 7);
        if number % WHOLE == WHOLE - 1 {
            bench.compare_all(&format!("after {number} kills"));
        }
        let goal = 1 + picks.below(MOST_READS);
        let (done, killed) = (AtomicU64::new(0), AtomicBool::new(false));
        let round = Round { bench: &bench, mount: &mount, number, goal, done, killed };
        round.run(&mut picks);
        reads += round.done.load(Ordering::SeqCst);
        let (status, stderr) = mount.wait();
        assert!(!status.success(), "round {number}: not killed: {stderr:#?}");
    }
    println!("{reads} reads, cache at restarts: at most {most} bytes, {full} times nearly full");
    let mount = bench.start();
    bench.compare_all("after the last kill");
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert_eq!(summary(&stderr, "failed"), 0);
    assert!(summary(&stderr, "evicted") > 0, "never short of room: {stderr:#?}");
    assert!(full >= KILLS / 2, "the cache was full at {full} of {KILLS} restarts only");
    assert!(most <= CAP, "{most} bytes at a restart, {} over the cap", most - CAP);
}

/// A long series of small volumes, too large to be measured exactly unless that is asked for.
fn write_series(source: &Path) {
    let mut series = StoreBuilder::new(Dtype::U16, "tczyx", &[36, 2, 16, 128, 128]);
    series.unit = vec![1, 1, 16, 128, 128];
    series.codec = Codec::Zstd;
    series.write(&source.join("series.zarr"));
    rest(source);
}

/// Slots are measured by one daemon, and others are killed while they measure: no reader sees two versions of one, and
/// each is that of a daemon that measured all of them in one go.
#[test]
fn metadata_have_one_version_through_kills() {
    if !can_mount() {
        return;
    }
    let mut picks = Picks::of_test("kill-metadata");
    for (mode, statistics) in [("fast", Statistics::Fast), ("exact", Statistics::Exact)] {
        let args = ["--statistics", mode].map(str::to_owned).into();
        let options = ImageOptions { statistics, ..ImageOptions::default() };
        let mut bench = Bench::of(write_series, &["series.ims"], options, args);
        let file = Library::of(&bench.source, options).file("series.zarr");
        let metadata = usize::try_from(file.plan().layout.metadata_bytes()).expect("small");
        bench.images[0].bytes.truncate(metadata);
        for number in 0..METADATA_KILLS {
            let mount = bench.start();
            let goal = 1 + picks.below(MOST_METADATA_READS);
            let (done, killed) = (AtomicU64::new(0), AtomicBool::new(false));
            Round { bench: &bench, mount: &mount, number, goal, done, killed }.run(&mut picks);
            let (status, stderr) = mount.wait();
            assert!(!status.success(), "{mode}, round {number}: not killed: {stderr:#?}");
        }
        let mount = bench.start();
        let whole = fs::read(mount.path().join("series.ims")).expect("readable");
        assert_same(&bench.images[0].bytes, &whole[..metadata], 0, mode);
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
    }
}
