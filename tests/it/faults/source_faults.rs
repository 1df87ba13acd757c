//! Chunks that fail, do not answer, or make a worker panic.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use zarrims::image::ImageError;
use zarrims::ims::MetadataPart;

use super::faulty_chunks::ChunkFaults;
use super::rig::{FIXED, Rig, poll, read_bricks, series};
use crate::common::picks::Picks;
use crate::reference::opened::{Brick, Opened, assert_same, slice};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_panic_costs_one_error() {
    let rig = Rig::new(&series(), 50, FIXED + (200 << 10));
    let image = rig.expected();
    let bricks = rig.open().bricks();
    // A brick of the store, and one that is made from others.
    for brick in [&bricks[3], bricks.last().expect("bricks")] {
        rig.disk.remove_cache();
        let opened = rig.open();
        rig.chunks.panic_in(1);
        let answer = opened.try_read(brick.address, brick.bytes);
        assert!(matches!(answer, Err(ImageError::Fault)), "no panic");
        for Brick { address, bytes, .. } in &bricks {
            assert_same(slice(&image, *address, *bytes), &opened.read(*address, *bytes), *address);
        }
        assert_same(&image, &opened.whole(), 0);
    }
    assert_eq!(rig.chunks.failed(), 2);
}

/// A pass over the whole image holds bricks that others wait for: they need not the one whose chunk
/// brought a worker down.
#[test]
fn regression_a_panic_in_a_pass_is_no_error_of_its_other_bricks() {
    let rig = Rig::new(&series(), 54, 16 << 20);
    let image = rig.expected();
    let opened = rig.open();
    let mut chunks = rig.chunk_paths();
    chunks.sort_by_key(|path| time_point(path));
    // Of the first time point alone displayed ranges are measured; the next ones are counted in one pass.
    rig.chunks.close_gate(&chunks[1..2]);
    rig.chunks.panic_at(&chunks[2]);
    let (sender, metadata) = mpsc::channel();
    let answer = move |result: Result<&[u8], ImageError>| {
        sender.send(result.map(<[u8]>::to_vec)).expect("the test waits");
    };
    opened.file.read(histograms_of(&opened, 1), 100, Box::new(answer));
    rig.chunks.await_stalled(1);
    // Made from the chunk of the second time point alone.
    let bricks = opened.bricks();
    let brick = bricks.iter().filter(|brick| brick.is_computed).nth(1).expect("a computed brick");
    let (sender, answers) = mpsc::channel();
    let answer = move |result: Result<&[u8], ImageError>| {
        sender.send(result.map(<[u8]>::to_vec)).expect("the test waits");
    };
    let len = usize::try_from(brick.bytes).expect("small");
    opened.file.read(brick.address, len, Box::new(answer));
    poll("the panic", || (rig.chunks.failed() > 0).then_some(()));
    rig.chunks.open_gate();
    let got = answers.recv_timeout(PATIENCE).expect("an answer").expect("right bytes");
    assert_same(slice(&image, brick.address, brick.bytes), &got, brick.address);
    metadata.recv_timeout(PATIENCE).expect("an answer").expect("metadata without that brick");
}

/// Where the histograms of a dataset lie.
fn histograms_of(opened: &Opened, wanted: u64) -> u64 {
    let layout = opened.file.plan().layout.metadata();
    let mut at = 0;
    loop {
        match layout.locate(at) {
            (MetadataPart::Dataset { dataset, .. }, _) if dataset == wanted => return at,
            (_, run) => at += run,
        }
    }
}

/// More chunks hang than there are threads, and their bricks would take more memory than there is.
#[test]
fn a_stalled_chunk_holds_up_only_its_readers() {
    const STALLED: usize = 8;
    let rig = Rig::new(&series(), 51, 16 << 20);
    let image = rig.expected();
    let opened = rig.open();
    // One chunk each, in the same order.
    let bricks: Vec<Brick> = opened.bricks().into_iter().filter(|b| !b.is_computed).collect();
    let mut chunks = rig.chunk_paths();
    chunks.sort_by_key(|path| time_point(path));
    assert_eq!(chunks.len(), bricks.len());
    assert!(bricks[0].bytes * STALLED as u64 > rig.memory_bytes && STALLED > rig.threads);
    rig.chunks.close_gate(&chunks[..STALLED]);
    let (sender, answers) = mpsc::channel();
    for brick in &bricks[..STALLED] {
        let (sender, address) = (sender.clone(), brick.address);
        let answer = move |result: Result<&[u8], ImageError>| {
            sender.send((address, result.map(<[u8]>::to_vec))).expect("the test waits");
        };
        let len = usize::try_from(brick.bytes).expect("small");
        opened.file.read(brick.address, len, Box::new(answer));
    }
    rig.chunks.await_stalled(STALLED);
    for Brick { address, bytes, .. } in &bricks[STALLED..] {
        assert_same(slice(&image, *address, *bytes), &opened.read(*address, *bytes), *address);
    }
    assert!(answers.try_recv().is_err(), "an answer before the gate was opened");
    rig.chunks.open_gate();
    for _ in 0..STALLED {
        let (address, answer) = answers.recv_timeout(PATIENCE).expect("an answer");
        let got = answer.expect("right bytes, if late");
        assert_same(slice(&image, address, got.len() as u64), &got, address);
        assert_eq!(got.len() as u64, bricks[0].bytes);
    }
    assert_same(&image, &opened.whole(), 0);
}

/// The number in a chunk's path, `image.zarr/0/c/<t>/0/0/0`.
fn time_point(path: &Path) -> u64 {
    let part = path.iter().nth(3).expect("a time point").to_str().expect("digits");
    part.parse().expect("digits")
}

/// A source that fails now and then gives errors, never wrong bytes, and nothing of it stays.
#[test]
fn a_failing_source_is_an_error_and_leaves_no_trace() {
    let rig = Rig::new(&series(), 52, FIXED + (300 << 10));
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
