//! A thousand open files and many readers.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use tempfile::TempDir;
use zarrims::image::ImageOptions;

use crate::common::library::Library;
use crate::common::mount::{Mount, can_mount, summary};
use crate::common::picks::Picks;
use crate::common::process::allow_descriptors;
use crate::common::rest::rest;
use crate::common::store::{Codec, Dtype, Format, Step, StoreBuilder};
use crate::control::asked::status;

/// Files that are open at once, and the threads that read them.
const HANDLES: usize = 1000;
const READERS: usize = 64;
const STORES: usize = 20;

/// Reads of each thread.
const READS: usize = 60;

/// The longest read.
const MOST: usize = 128 << 10;

/// Descriptors that this test needs, and those that the daemon gets: its files are not those of
/// its readers.
const OWN_DESCRIPTORS: u64 = 4096;
const DAEMONS_DESCRIPTORS: &str = "--nofile=512:512";

/// More than the default memory budget, threads, and the kernel's requests take.
const RESIDENT_LIMIT_KIB: u64 = 400 << 10;

/// Half a megabyte to two, of all kinds.
fn write_stores(source: &Path) {
    for number in 0..STORES {
        let dtype = [Dtype::U16, Dtype::U8, Dtype::F32, Dtype::I16][number % 4];
        let mut store = StoreBuilder::new(dtype, "zyx", &[16, 128, 150 + 5 * number as u64]);
        store.unit = vec![8, 64, 64];
        store.codec = [Codec::Zstd, Codec::BloscLz4, Codec::Gzip][number % 3];
        match number % 5 {
            0 => store.shard = Some(vec![1, 2, 2]),
            1 => store.format = Format::V2('/'),
            2 => store.steps = vec![vec![Step::Keep, Step::FloorHalf, Step::FloorHalf]],
            _ => {}
        }
        store.write(&source.join(format!("store{number}.zarr")));
    }
    rest(source);
}

/// Every second handle reads past the page cache, and so asks the daemon every time.
fn open(path: &Path, number: usize) -> File {
    let flags = if number.is_multiple_of(2) { libc::O_DIRECT } else { 0 };
    OpenOptions::new().read(true).custom_flags(flags).open(path).expect("one more handle")
}

/// Issue: "1000 open handles and 64 concurrent readers".
#[test]
fn a_thousand_handles_are_read_by_many_at_once() {
    if !can_mount() || !allow_descriptors(OWN_DESCRIPTORS) {
        return;
    }
    let mut picks = Picks::of_test("handles");
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    write_stores(source.path());
    let library = Library::of(source.path(), ImageOptions::default());
    let images: Vec<Vec<u8>> =
        (0..STORES).map(|number| library.bytes(&format!("store{number}.zarr"))).collect();
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("s");
    let wrapper = ["prlimit", DAEMONS_DESCRIPTORS];
    let mount = Mount::of(source.path()).args(["--socket"]).args([&socket]).wrapper(&wrapper);
    let mount = mount.start();
    let path = |image: usize| mount.path().join(format!("store{image}.ims"));
    let handles: Vec<(usize, File)> = (0..HANDLES)
        .map(|number| (number % STORES, open(&path(number % STORES), number / STORES)))
        .collect();
    let together = Barrier::new(READERS);
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut picks = picks.fork();
            let (handles, images, together) = (&handles, &images, &together);
            readers.push(scope.spawn(move || {
                together.wait();
                let mut buffer = vec![0; MOST];
                for _ in 0..READS {
                    let (image, file) = &handles[picks.index(HANDLES)];
                    let bytes = &images[*image];
                    let start = picks.index(bytes.len());
                    let end = (start + 1 + picks.index(MOST)).min(bytes.len());
                    let got = &mut buffer[..end - start];
                    file.read_exact_at(got, start as u64).expect("a read");
                    assert!(*got == bytes[start..end], "store{image}: wrong from {start} on");
                }
            }));
        }
        // Issue: "`status` answers ... with 1000 handles and 64 readers at work".
        loop {
            let mount = &status(&socket)["mounts"][0];
            assert_eq!(mount["open_handles"], HANDLES);
            assert_eq!(mount["images"].as_array().map(Vec::len), Some(STORES));
            if readers.iter().all(thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
    });
    let peak = mount.peak_memory_kib();
    drop(handles);
    for (number, bytes) in images.iter().enumerate() {
        assert!(fs::read(path(number)).expect("readable") == *bytes, "store{number} afterwards");
    }
    let (status, stderr) = mount.stop();
    println!("peak resident: {peak} KiB");
    assert!(status.success(), "{status}: {stderr:#?}");
    assert_eq!(summary(&stderr, "failed"), 0);
    assert!(peak < RESIDENT_LIMIT_KIB, "{peak} KiB resident at the peak");
}
