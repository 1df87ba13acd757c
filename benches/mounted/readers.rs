//! Readers of a file, one or many at a time.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::interrupt;
use crate::limits::{Cost, timed};

/// Size of the reads of a program that reads whole files.
pub(crate) const REQUEST: usize = 1 << 20;

/// Page size; buffers start at a multiple of it.
const PAGE: usize = 4096;

/// Opens a file once for each reader: each has its own read-ahead.
pub(crate) fn open(path: &Path, readers: usize) -> Vec<File> {
    (0..readers).map(|_| File::open(path).expect("opens")).collect()
}

/// Opens a file for reads that pass by the kernel's page cache.
pub(crate) fn open_direct(path: &Path) -> File {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).expect("opens")
}

/// Each reader reads its own part, which together are all bytes of the file.
pub(crate) fn sequential(files: &[File]) -> Cost {
    let size = files[0].metadata().expect("a size").len();
    let part = size.div_ceil(files.len() as u64).next_multiple_of(REQUEST as u64);
    timed(|| {
        thread::scope(|scope| {
            for (number, file) in (0_u64..).zip(files) {
                let end = size.min((number + 1) * part);
                scope.spawn(move || read_range(file, number * part..end));
            }
        });
    })
}

/// Every reader reads the same bytes.
pub(crate) fn crowd(files: &[File], range: &std::ops::Range<u64>) -> Cost {
    timed(|| {
        thread::scope(|scope| {
            for file in files {
                scope.spawn(move || read_range(file, range.clone()));
            }
        });
    })
}

fn read_range(file: &File, range: std::ops::Range<u64>) {
    let mut buffer = vec![1; REQUEST + PAGE];
    let start = buffer.as_ptr().align_offset(PAGE);
    let buffer = &mut buffer[start..start + REQUEST];
    let mut at = range.start;
    while at < range.end {
        interrupt::check();
        let want = REQUEST.min(usize::try_from(range.end - at).unwrap_or(REQUEST));
        // With O_DIRECT, a file on a disk takes whole pages only; the end of it is then short.
        let got = file.read_at(&mut buffer[..want.next_multiple_of(PAGE)], at).expect("reads");
        assert!(got > 0, "the file ends at {at}");
        black_box(&mut *buffer);
        at += got as u64;
    }
}

/// The readers take the places by turns, `len` bytes each. `keep` is called with the number of a place
/// and its bytes.
pub(crate) fn random(
    files: &[File],
    places: &[u64],
    len: usize,
    keep: &(dyn Fn(usize, &[u8]) + Sync),
) -> Cost {
    let next = AtomicUsize::new(0);
    timed(|| {
        thread::scope(|scope| {
            for file in files {
                scope.spawn(|| {
                    let mut buffer = vec![1; len];
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(place) = places.get(number) else { return };
                        file.read_exact_at(&mut buffer, *place).expect("reads");
                        keep(number, &buffer);
                        black_box(&mut buffer);
                    }
                });
            }
        });
    })
}
