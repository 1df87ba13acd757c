//! A folder of chunks that is exchanged for an identical copy and removed while it is listed, as on slow
//! storage: `strace` holds up each listing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::stores::{IMAGE, Version};
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::rest::rest;
use crate::common::skipped;

/// How long each listing is held up, and how often the file is read meanwhile.
const DELAY_US: u64 = 90_000;
const READS: usize = 12;

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file");
        }
    }
}

/// Exchanges the folder of all chunks for a copy of it, over and over.
fn exchange(folder: &Path, elsewhere: &Path, ends: &AtomicBool) -> usize {
    let mut times = 0;
    while !ends.load(Ordering::Relaxed) {
        let (new, old) = (elsewhere.join("new"), elsewhere.join("old"));
        copy(folder, &new);
        fs::rename(folder, &old).expect("a folder");
        fs::rename(&new, folder).expect("a folder");
        fs::remove_dir_all(&old).expect("a folder");
        times += 1;
        thread::park_timeout(Duration::from_millis(20));
    }
    times
}

/// Ends the exchanges also where an assertion fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_folder_exchanged_while_it_is_listed_never_reads_as_fill() {
    if !can_mount() {
        return;
    }
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        skipped("strace is not installed: listings cannot be held up");
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let store = source.path().join("a.zarr");
    Version::V3.write(&store);
    let elsewhere =
        TempDir::with_prefix_in("zarrims-elsewhere-", source.path().parent().expect("above"));
    let elsewhere = elsewhere.expect("a temporary folder");
    rest(source.path());
    let delay = format!("inject=getdents64:delay_enter={DELAY_US}");
    let trace = elsewhere.path().join("trace");
    let strace = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        trace.to_str().expect("UTF-8"),
        "-e",
        "trace=getdents64",
    ];
    let wrapper = [&strace[..], &["-e", &delay]].concat();
    let mount = Mount::of(source.path()).wrapper(&wrapper).start();
    let file = mount.path().join("a.ims");
    let ends = AtomicBool::new(false);
    let (mut right, mut failed) = (0, 0);
    let times = thread::scope(|scope| {
        let at_end = SetAtEnd(&ends);
        let exchanging = scope.spawn(|| exchange(&store.join("0/c"), elsewhere.path(), &ends));
        for _ in 0..READS {
            match Ims::open(&file).and_then(|ims| ims.pixels(0, 0, 0)) {
                Ok(pixels) => {
                    assert!(pixels == IMAGE.pixels(), "fill, or another wrong voxel");
                    right += 1;
                }
                Err(_) => failed += 1,
            }
        }
        drop(at_end);
        exchanging.join().expect("no panic")
    });
    println!("{times} exchanges, {right} reads right, {failed} failed");
    assert!(times > READS, "{times} exchanges");
    let pixels = Ims::open(&file).and_then(|ims| ims.pixels(0, 0, 0)).expect("at rest again");
    assert!(pixels == IMAGE.pixels());
}
