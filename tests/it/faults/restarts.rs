//! Ends of the process and of the power, and what the next start finds.

use std::collections::HashSet;
use zarrims::cache::{BrickCache, BrickKey, CacheLimits, ImageId, MinFree, Slot};

use super::mem_disk::MemDisk;
use super::rig::{FIXED, Rig, cache_stats, read_bricks, series};
use crate::common::picks::Picks;
use crate::reference::opened::assert_same;

const KIB: u64 = 1024;

/// Cuts the power many times at any operation, of the opening too, while bricks come and go and the
/// journal is rewritten. Every byte is compared after each.
#[test]
fn a_power_loss_at_any_point_costs_bricks_never_truth() {
    crash_points_of_a_cache();
    crash_points_of_an_engine();
}

const SLOT: u64 = 12 * KIB;
const BRICKS: u64 = 60;

fn slot(index: u64) -> Slot {
    // Some images, some spaces.
    let key = BrickKey {
        image: ImageId(u128::from(index % 3)),
        space: u16::try_from(index % 2).expect("0 or 1"),
        index: index / 6,
    };
    Slot { key, slot_bytes: SLOT, is_proven: index.is_multiple_of(7) }
}

fn content(index: u64) -> Vec<u8> {
    let mut picks = Picks::new((index << 8) + 77);
    let length = 1 + picks.below(SLOT);
    (0..length).map(|_| u8::try_from(picks.below(256)).expect("a byte")).collect()
}

/// Bricks that are found, all of them right.
fn compare(cache: &BrickCache, contents: &[Vec<u8>]) -> u64 {
    let mut found = 0;
    for (index, content) in (0..).zip(contents) {
        if let Some(brick) = cache.get(slot(index)) {
            let mut bytes = vec![0; content.len()];
            assert_eq!(brick.len(), content.len() as u64, "length of brick {index}");
            brick.read_at(0, &mut bytes).expect("a healthy disk");
            assert_same(content, &bytes, 0);
            found += 1;
        }
    }
    found
}

/// The same every time: enough bricks that the journal is rewritten on the way.
fn workload(cache: &BrickCache, contents: &[Vec<u8>]) {
    let mut picks = Picks::new(31);
    for round in 0..500 {
        let index = picks.below(BRICKS);
        let found = cache.get(slot(index));
        if found.is_none() {
            // Fails once the power is gone.
            let _ = cache.put(slot(index), &contents[usize::try_from(index).expect("small")]);
        }
        if round % 100 == 99 {
            cache.remove_images(&HashSet::from([ImageId(picks.below(3).into())]));
        }
    }
}

fn crash_points_of_a_cache() {
    let limits = CacheLimits { cap_bytes: FIXED + 200 * KIB, min_free: MinFree::Bytes(0) };
    let contents: Vec<Vec<u8>> = (0..BRICKS).map(content).collect();
    let open = |disk: &MemDisk| BrickCache::open(disk, &MemDisk::cache(), limits);
    let fresh = |seed| {
        let disk = MemDisk::new(seed);
        disk.set_cap(limits.cap_bytes);
        disk
    };
    let healthy = fresh(1);
    let cache = open(&healthy).expect("a healthy disk");
    let at_start = healthy.counts();
    workload(&cache, &contents);
    healthy.assert_cap_held();
    let counts = healthy.counts();
    assert!(counts.renames > at_start.renames, "no rewrite of the journal: {counts:?}");
    let mut picks = Picks::new(32);
    let mut found = 0;
    for seed in 0..200 {
        let disk = fresh(seed);
        disk.crash_after(picks.below(counts.changes));
        if let Ok(cache) = open(&disk) {
            workload(&cache, &contents);
        }
        assert!(disk.has_crashed());
        // Perhaps once more, while the cache is opened after the first loss.
        for _ in 0..=picks.below(2) {
            disk.lose_power(picks.below(u64::MAX));
            disk.crash_after(picks.below(20));
            drop(open(&disk));
        }
        disk.lose_power(picks.below(u64::MAX));
        let cache = open(&disk).expect("a healthy disk");
        assert!(disk.used() <= cache.stats().used_bytes, "{} {:?}", disk.used(), cache.stats());
        found += compare(&cache, &contents);
        workload(&cache, &contents);
        compare(&cache, &contents);
        disk.assert_cap_held();
        assert!(disk.used() <= cache.stats().used_bytes, "{} {:?}", disk.used(), cache.stats());
    }
    assert!(found > 200, "only {found} bricks survived 200 losses of power");
}

fn crash_points_of_an_engine() {
    let rig = Rig::new(&series(), 33, FIXED + 300 * KIB);
    let image = rig.expected();
    let mut picks = Picks::new(34);
    let mut survived = 0;
    for _ in 0..40 {
        rig.disk.crash_after(picks.below(120));
        let opened = rig.open();
        survived += cache_stats(&opened).bricks;
        // The power of the disk, not of this process: its reads must not suffer.
        read_bricks(&opened, &image, &mut picks, 40);
        rig.disk.lose_power(picks.below(u64::MAX));
        drop(opened);
        if picks.below(4) == 0 {
            let opened = rig.open();
            assert_same(&image, &opened.whole(), 0);
        }
        rig.disk.assert_cap_held();
    }
    assert_same(&image, &rig.open().whole(), 0);
    assert!(survived > 0, "no brick survived 40 losses of power");
}

#[test]
fn restart_reads_the_journal_and_not_the_bricks() {
    let rig = Rig::new(&series(), 35, 16 << 20);
    let opened = rig.open();
    let image = opened.whole();
    let filled = cache_stats(&opened).bricks;
    drop(opened);
    let journal = rig.disk.length("journal");
    let before = rig.disk.counts();
    let opened = rig.open();
    let read = rig.disk.counts().read_bytes - before.read_bytes;
    assert!(read <= journal, "{read} bytes read; the journal has {journal}");
    assert!(journal * 50 < rig.disk.used(), "{journal} of {}", rig.disk.used());
    assert_eq!(cache_stats(&opened).bricks, filled, "bricks known after the restart");
    assert_same(&image, &opened.whole(), 0);
    assert_eq!(opened.engine.stats().filled, 0, "bricks made again");
}

#[test]
fn no_sync_on_the_read_path() {
    let rig = Rig::new(&series(), 36, FIXED + 200 * KIB);
    let image = rig.expected();
    let mut picks = Picks::new(37);
    let opened = rig.open();
    let before = rig.disk.counts();
    assert_same(&image, &opened.whole(), 0);
    // Until the journal was rewritten.
    while rig.disk.counts().renames == before.renames {
        read_bricks(&opened, &image, &mut picks, 20);
    }
    assert!(cache_stats(&opened).evicted > 0);
    assert_eq!(rig.disk.counts().syncs, before.syncs, "syncs while reading");
    drop(opened);
    // A clean end may wait.
    assert_eq!(rig.disk.counts().syncs, before.syncs + 1);
}

/// Bytes that change on the disk cost only the brick that holds them.
#[test]
fn rotten_bricks_are_made_again() {
    let rig = Rig::new(&series(), 38, 16 << 20);
    let image = rig.expected();
    let mut picks = Picks::new(39);
    let mut rejected = 0;
    for _ in 0..10 {
        let opened = rig.open();
        assert_same(&image, &opened.whole(), 0);
        rejected += cache_stats(&opened).rejected + cache_stats(&opened).skipped_records;
        drop(opened);
        rig.disk.rot(&mut picks, 20);
    }
    assert!(rejected > 0, "nothing was noticed");
}

/// A killed process leaves a lock that blocks no other, and loses no brick it had stored.
#[test]
fn a_killed_process_loses_no_brick() {
    let rig = Rig::new(&series(), 40, 16 << 20);
    let opened = rig.open();
    let image = opened.whole();
    let stored = cache_stats(&opened).bricks;
    rig.disk.kill();
    let again = rig.open();
    assert_eq!(cache_stats(&again).bricks, stored);
    assert_same(&image, &again.whole(), 0);
    assert_eq!(again.engine.stats().filled, 0, "bricks made again");
    drop(opened);
    assert_same(&image, &again.whole(), 0);
}
