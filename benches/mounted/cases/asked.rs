//! How soon a busy daemon says what it does, and what that costs its readers.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bench::Bench;
use crate::interrupt;
use crate::measure::common::picks::Picks;
use crate::measure::common::process::allow_descriptors;
use crate::measure::figures::{Figures, Table, milliseconds};
use crate::measure::stores;
use crate::readers;

pub(crate) const NAME: &str = "asked";

/// Images that are open, files of each, and threads that read them.
const IMAGES: usize = 100;
const HANDLES: usize = 1000;
const READERS: usize = 64;

/// Bytes of a read, and what its place and its buffer are multiples of.
const REQUEST: usize = 128 << 10;
const PAGE: usize = 4096;

/// How long each round reads, and the time between two questions.
const TIME: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Milliseconds that an answer may take, and what readers are to keep of their speed.
const MOST_MS: f64 = 50.0;
const LEAST_KEPT: f64 = 0.95;

/// What a time of reading has shown.
#[derive(Default)]
struct Read {
    /// Megabytes a second, of all readers together.
    rate: f64,
    /// Milliseconds of each answer.
    answers: Figures,
}

pub(crate) fn run(bench: &Bench) {
    if !allow_descriptors(4 * HANDLES as u64) {
        return;
    }
    let source = stores::ensure_tree(&bench.folder, &bench.progress);
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("socket");
    let socket_text = socket.display().to_string();
    let (mut idle, mut busy, mut longest) = Default::default();
    let [mut alone, mut asked]: [Figures; 2] = Default::default();
    bench.progress.begin(NAME, bench.rounds());
    for round in 0..bench.rounds() {
        let daemon = bench.daemon(&source, &["--socket", &socket_text]);
        let files = open(daemon.path());
        // Most bricks are made before anything is measured.
        read_for(&files, round, None);
        let mut still = Figures::default();
        for _ in 0..20 {
            still.push(ask(&socket));
        }
        alone.push(read_for(&files, round, None).rate);
        let Read { rate, answers } = read_for(&files, round, Some(&socket));
        asked.push(rate);
        Figures::push(&mut idle, still.median());
        Figures::push(&mut busy, answers.median());
        Figures::push(&mut longest, answers.most());
        drop(files);
        bench.end(daemon, NAME, "tree", 0);
        bench.progress.step();
    }
    let mut table = Table::new([
        "at rest, ms",
        "64 readers at work, ms",
        "longest, ms",
        "readers, MB/s",
        "of the same, not asked",
    ]);
    table.row([
        idle.at_most(1, MOST_MS),
        busy.at_most(1, MOST_MS),
        longest.cell(1),
        asked.cell(0),
        asked.over(&alone).at_least(2, LEAST_KEPT),
    ]);
    bench.publish(
        NAME,
        "1000 handles of 100 images; `status` on the control socket ten times a second, from connecting to the \
         end of the answer; 64 readers of 128 KiB at random places past the kernel's page cache",
        &table,
    );
}

/// The handles, past the kernel's page cache: each read asks the daemon.
fn open(mount: &Path) -> Vec<File> {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("listed");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("listed").path()).collect();
        paths.sort();
        paths
    };
    let first = names(mount).into_iter().next().expect("a folder");
    let images: Vec<_> = names(&first).into_iter().take(IMAGES).collect();
    images.iter().cycle().take(HANDLES).map(|path| readers::open_direct(path)).collect()
}

/// One question, in milliseconds.
fn ask(socket: &Path) -> f64 {
    let began = Instant::now();
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.write_all(b"{\"v\":1,\"ask\":\"status\"}\n").expect("it listens");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    let taken = milliseconds(began);
    assert!(
        line.contains(&format!("\"open_handles\":{HANDLES}")),
        "{}",
        &line[..line.len().min(900)]
    );
    taken
}

/// Reads with all readers for a time; meanwhile asks on a socket, if there is one.
fn read_for(files: &[File], seed: u64, socket: Option<&Path>) -> Read {
    let (stop, bytes) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut answers = Figures::default();
    let began = Instant::now();
    thread::scope(|scope| {
        for reader in 0..READERS as u64 {
            let mut picks = Picks::new(seed * 1000 + reader);
            let (stop, bytes) = (&stop, &bytes);
            scope.spawn(move || {
                let mut buffer = vec![0; REQUEST + PAGE];
                let start = buffer.as_ptr().align_offset(PAGE);
                let buffer = &mut buffer[start..start + REQUEST];
                while !stop.load(Ordering::Relaxed) {
                    let file = &files[picks.index(files.len())];
                    let size = file.metadata().expect("open").len();
                    let at = picks.below((size - REQUEST as u64) / PAGE as u64) * PAGE as u64;
                    file.read_exact_at(buffer, at).expect("readable");
                    bytes.fetch_add(REQUEST as u64, Ordering::Relaxed);
                }
            });
        }
        while began.elapsed() < TIME {
            interrupt::check();
            thread::sleep(PAUSE);
            if let Some(socket) = socket {
                answers.push(ask(socket));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let rate = bytes.into_inner() as f64 / 1e6 / began.elapsed().as_secs_f64();
    Read { rate, answers }
}
