//! The verb `evict`.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::common::disk::disk_bytes;
use crate::common::mount::can_mount;
use crate::process::daemon::read_all;

use super::kept::{World, number, read_past_pages, right, stdout};

#[test]
fn what_is_evicted_takes_no_room_and_is_decoded_again() {
    if !can_mount() {
        return;
    }
    let world = World::of_series();
    let right = right(world.source.path(), "a");
    let warm = number(&world.told("warm", "a.ims", &[]), "/made_bytes");
    let before = disk_bytes(world.cache.path());
    let told = world.told("evict", "a.ims", &[]);
    let freed = number(&told, "/freed_bytes") + number(&told, "/pinned_bytes");
    assert!(freed >= warm, "{told}");
    assert!(world.cached().iter().all(|percent| *percent < 0.1), "{:?}", world.cached());
    assert!(disk_bytes(world.cache.path()) + number(&told, "/freed_bytes") <= before + (64 << 10));
    let decoded = world.decoded();
    assert_eq!(read_past_pages(&world.path("a.ims")), right);
    assert!(world.decoded() > decoded, "it is decoded again");
    assert_eq!(
        world.status()["engine"]["recent_bytes"].as_u64().map(|bytes| bytes > 0),
        Some(true)
    );
    // Bricks that were made ahead of the reader may come a moment later.
    crate::common::eventually("memory is free as well", crate::process::daemon::SOON, || {
        world.told("evict", "", &[]);
        number(&world.status(), "/engine/recent_bytes") == 0
    });
    let output = world.run("evict", "b.ims", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = world.run("evict", "a.ims", &[]);
    let text = stdout(&output);
    assert!(text.contains("a.ims: ") && text.contains(" freed on disk, "), "{text}");
}

/// Readers with open files, past the kernel's pages, while all is dropped again and again.
#[test]
fn readers_get_right_bytes_whatever_is_evicted() {
    if !can_mount() {
        return;
    }
    let world = World::of_series();
    let right = right(world.source.path(), "a");
    let (ended, read) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for reader in 0..8_usize {
            let (world, right, ended, read) = (&world, &right, &ended, &read);
            scope.spawn(move || {
                let file = fs::File::open(world.path("a.ims")).expect("a file");
                let mut buffer = vec![0; 100_000];
                let mut at = reader * 777_777;
                while !ended.load(Ordering::Relaxed) {
                    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)
                        .expect("an open file");
                    at = (at + 1_234_567) % (right.len() - buffer.len());
                    file.read_exact_at(&mut buffer, at as u64).expect("bytes");
                    assert!(buffer == right[at..at + buffer.len()], "at {at}");
                    read.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..20 {
            let before = read.load(Ordering::Relaxed);
            world.told("evict", "a.ims", &[]);
            crate::common::eventually("readers go on", crate::process::daemon::SOON, || {
                read.load(Ordering::Relaxed) > before + 8
            });
        }
        ended.store(true, Ordering::Relaxed);
    });
    let stats = world.status();
    assert_eq!(number(&stats, "/engine/cache/rejected"), 0);
    assert_eq!(read_all(&world.path("a.ims")), right);
}
