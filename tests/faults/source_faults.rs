//! Chunks that fail, do not answer, or bring a worker down.

use std::sync::mpsc;
use std::time::Duration;

use super::cases::Picks;
use super::faulty_chunks::ChunkFaults;
use super::opened::{Brick, assert_same, slice};
use super::rig::{FIXED, Rig, read_bricks, tiles};

#[test]
fn a_panic_costs_one_error() {
    let rig = Rig::new(&tiles(), 50, FIXED + (400 << 10));
    let image = rig.expected();
    let opened = rig.open();
    let bricks = opened.bricks();
    // A brick of the store, and one that is made from others.
    for brick in [&bricks[3], bricks.last().expect("bricks")] {
        rig.chunks.panic_in(1);
        opened.try_read(brick.address, brick.bytes).expect_err("a panic");
        for Brick { address, bytes, .. } in &bricks {
            assert_same(slice(&image, *address, *bytes), &opened.read(*address, *bytes), *address);
        }
    }
    assert_same(&image, &opened.whole(), 0);
}

/// More chunks hang than there are threads, and their bricks would take more memory than there is.
#[test]
fn a_stalled_chunk_holds_up_only_its_readers() {
    const STALLED: usize = 6;
    let mut rig = Rig::new(&tiles(), 51, 16 << 20);
    rig.threads = 2;
    rig.memory_bytes = 64 << 10;
    let image = rig.expected();
    let opened = rig.open();
    let bricks: Vec<Brick> = opened.bricks().into_iter().filter(|b| !b.is_computed).collect();
    let chunks = rig.chunk_paths();
    let metadata_bytes = opened.file.plan().layout.metadata_bytes();
    opened.read(0, metadata_bytes);
    assert!(bricks.len() > 2 * STALLED);
    assert!(bricks[0].bytes * STALLED as u64 > rig.memory_bytes);
    println!("{} bricks {} chunks", bricks.len(), chunks.len());
    rig.chunks.close_gate(&chunks[..8]);
    rig.chunks.open_gate();
}

/// A source that fails now and then gives errors, never wrong bytes, and nothing of it stays.
#[test]
fn a_failing_source_is_an_error_and_leaves_no_trace() {
    let rig = Rig::new(&tiles(), 52, FIXED + (800 << 10));
    let image = rig.expected();
    let opened = rig.open();
    opened.read(0, opened.file.plan().layout.metadata_bytes());
    let bricks = opened.bricks();
    let mut picks = Picks::new(53);
    let mut failed = 0;
    for faults in [
        ChunkFaults { eio: 100, ..ChunkFaults::default() },
        ChunkFaults { eof: 100, ..ChunkFaults::default() },
        ChunkFaults { panics: 100, ..ChunkFaults::default() },
    ] {
        rig.chunks.set_faults(faults);
        for _ in 0..60 {
            let Brick { address, bytes, .. } = bricks[picks.index(bricks.len())];
            match opened.try_read(address, bytes) {
                Ok(got) => assert_same(slice(&image, address, bytes), &got, address),
                Err(_) => failed += 1,
            }
        }
        rig.chunks.set_faults(ChunkFaults::default());
        read_bricks(&opened, &image, &mut picks, 30);
    }
    assert!(failed > 0 && rig.chunks.failed() >= failed);
    assert_same(&image, &opened.whole(), 0);
}

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn _later() -> (mpsc::Sender<()>, Duration) {
    (mpsc::channel().0, PATIENCE)
}
