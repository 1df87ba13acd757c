use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use super::*;
use crate::cache::ImageId;

const BRICK_BYTES: usize = 100;

/// A disk that writes a brick when it is let, and tells of each.
struct Disk {
    let_in: Mutex<Receiver<()>>,
    written: Sender<u64>,
    given_up: Mutex<Vec<u64>>,
}

impl Destination for Disk {
    fn write(&self, brick: &Unwritten) {
        // At the end of a test nobody lets it any more.
        let _ = lock(&self.let_in).recv();
        assert_ne!(brick.slot.key.index, PANICS, "on purpose");
        let _ = self.written.send(brick.slot.key.index);
    }

    fn give_up(&self, brick: &Unwritten) {
        lock(&self.given_up).push(brick.slot.key.index);
    }
}

/// Number of the brick that brings the disk down.
const PANICS: u64 = 99;

struct Scene {
    queue: WriteQueue<Disk>,
    door: Sender<()>,
    written: Receiver<u64>,
}

impl Scene {
    /// A queue for so many bricks.
    fn new(bricks: usize) -> Self {
        let ((door, let_in), (told, written)) = (mpsc::channel(), mpsc::channel());
        let (let_in, given_up) = (Mutex::new(let_in), Mutex::default());
        let disk = Arc::new(Disk { let_in, written: told, given_up });
        let queue = WriteQueue::new(disk, (bricks * BRICK_BYTES) as u64);
        Self { queue, door, written }
    }

    fn push(&self, index: u64) {
        self.queue.push(self.add(index));
    }

    fn add(&self, index: u64) -> Unwritten {
        let bytes = Arc::new(Buffer::from(vec![0; BRICK_BYTES]));
        self.queue.add(slot(index), Purpose::Reader, &bytes, None).expect("a new brick")
    }

    /// Lets the disk write the next brick; its number.
    fn let_one(&self) -> u64 {
        self.door.send(()).expect("the disk lives");
        self.written.recv().expect("written")
    }

    /// Waits until this many bricks are left.
    fn await_left(&self, bricks: usize) -> WriteStats {
        loop {
            let stats = self.queue.stats();
            if stats.bricks == bricks {
                return stats;
            }
            std::thread::yield_now();
        }
    }

    fn given_up(&self) -> Vec<u64> {
        lock(&self.queue.shared.destination.given_up).clone()
    }
}

fn slot(index: u64) -> Slot {
    let key = BrickKey { image: ImageId(7), space: 0, index };
    Slot { key, slot_bytes: BRICK_BYTES as u64, is_proven: false }
}

#[test]
fn bricks_are_found_until_they_are_written_and_written_in_order() {
    let scene = Scene::new(10);
    (0..4).for_each(|index| scene.push(index));
    assert!((0..4).all(|index| scene.queue.get(&slot(index).key).is_some()));
    let bytes = Arc::new(Buffer::from(vec![0; BRICK_BYTES]));
    let again = scene.queue.add(slot(2), Purpose::Reader, &bytes, None);
    assert!(again.is_none(), "a brick is queued once");
    let stats = scene.queue.stats();
    assert_eq!((stats.bricks, stats.bytes), (4, 4 * BRICK_BYTES as u64));
    assert_eq!((0..4).map(|_| scene.let_one()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(scene.await_left(0), WriteStats::default());
    assert!(scene.queue.get(&slot(0).key).is_none());
}

#[test]
fn a_producer_waits_for_room_and_goes_on_with_the_disk() {
    let scene = Scene::new(2);
    scene.push(0);
    scene.push(1);
    assert!(!scene.queue.has_room(BRICK_BYTES as u64, 0));
    assert!(scene.queue.has_room(BRICK_BYTES as u64, BRICK_BYTES as u64));
    std::thread::scope(|scope| {
        let (queue, brick) = (&scene.queue, scene.add(2));
        let producer = scope.spawn(move || queue.push(brick));
        scene.let_one();
        producer.join().expect("no panic");
    });
    assert_eq!(scene.given_up(), [0; 0], "there was room in time");
    assert_eq!([scene.let_one(), scene.let_one()], [1, 2]);
}

#[test]
fn a_brick_is_given_up_after_a_while_and_the_queue_recovers() {
    let scene = Scene::new(1);
    scene.push(0);
    let begun = Instant::now();
    scene.push(1);
    assert!(begun.elapsed() >= LONGEST_WAIT && !scene.queue.wait_for_room(1));
    assert_eq!(scene.given_up(), [1]);
    let stats = scene.queue.stats();
    assert_eq!((stats.bricks, stats.given_up, stats.is_stalled), (1, 1, true));
    assert_eq!(scene.let_one(), 0);
    assert!(!scene.await_left(0).is_stalled);
    scene.push(2);
    assert_eq!(scene.let_one(), 2);
}

#[test]
fn a_brick_larger_than_the_queue_is_written_alone_and_a_wanted_one_without_a_wait() {
    let scene = Scene::new(0);
    scene.push(0);
    scene.queue.push_at_once(scene.add(1));
    assert_eq!(scene.queue.stats().bricks, 2);
    assert_eq!([scene.let_one(), scene.let_one()], [0, 1]);
    scene.await_left(0);
    assert_eq!(scene.given_up(), [0; 0]);
}

#[test]
fn a_disk_that_panics_costs_one_brick() {
    let scene = Scene::new(2);
    scene.push(PANICS);
    scene.door.send(()).expect("the disk lives");
    scene.await_left(0);
    assert_eq!(scene.given_up(), [PANICS]);
    scene.push(3);
    assert_eq!(scene.let_one(), 3);
}
