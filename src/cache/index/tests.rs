use super::super::key::ImageId;
use super::*;

const CAP: u64 = 1 << 20;
const LENGTH: u64 = 100_000;

fn size() -> SlotSize {
    SlotSize::new(LENGTH).unwrap()
}

fn key(index: u64) -> BrickKey {
    BrickKey { image: ImageId(1), space: 0, index }
}

fn held(index: u64) -> Held {
    Held::new(key(index), size(), LENGTH)
}

fn stored(index: u64) -> Stored {
    Stored { key: key(index), size: size(), length: LENGTH, checksum: index, is_proven: false }
}

/// Writes a brick; it keeps the pin of its writer.
fn write(index: &mut Index, number: u64) {
    assert!(matches!(index.claim(&held(number)), Claim::Granted));
    index.seal(stored(number));
    index.publish(&stored(number));
}

fn pin(index: &mut Index, number: u64) -> Option<Found> {
    index.pin(&key(number), size(), false)
}

#[test]
fn a_slot_is_busy_while_it_is_written_and_while_it_is_released() {
    let mut index = Index::new(CAP);
    assert!(matches!(index.claim(&held(0)), Claim::Granted));
    assert!(matches!(index.claim(&held(0)), Claim::Busy));
    assert!(pin(&mut index, 0).is_none());
    assert!(index.stored_bricks().is_empty());
    index.seal(stored(0));
    assert_eq!(index.stored_bricks(), [stored(0)]);
    index.publish(&stored(0));
    assert!(matches!(index.claim(&held(0)), Claim::Busy), "its writer has it pinned");
    assert!(index.unpin(&key(0)).is_none());
    assert!(matches!(index.claim(&held(0)), Claim::Replace(_)));
    assert!(matches!(index.claim(&held(0)), Claim::Busy));
    assert!(index.released(&held(0)), "the only slot of its segment");
    index.account.close_segment(&held(0).place.segment);
    assert_eq!((index.account.used(), index.account.moving()), (0, 0));
}

#[test]
fn a_brick_that_is_not_given_up_is_removed_once_it_is_written() {
    let mut index = Index::new(CAP);
    assert!(matches!(index.claim(&held(0)), Claim::Granted));
    assert!(index.take_segments(|_| true).free.is_empty());
    index.publish(&stored(0));
    assert!(!index.contains(&key(0)));
    assert!(index.unpin(&key(0)).is_some(), "its writer releases it");
}

#[test]
fn the_last_reader_of_a_removed_brick_releases_it() {
    let mut index = Index::new(CAP);
    write(&mut index, 0);
    write(&mut index, 1);
    assert!(index.unpin(&key(1)).is_none());
    pin(&mut index, 0).unwrap();
    let free: Vec<BrickKey> =
        index.take_segments(|_| true).free.into_iter().map(|held| held.key).collect();
    assert_eq!(free, [key(1)]);
    assert!(pin(&mut index, 0).is_none());
    assert!(matches!(index.claim(&held(0)), Claim::Busy));
    assert!(!index.remove_pinned(&key(0)), "removed before");
    assert!(index.unpin(&key(0)).is_none());
    assert!(index.unpin(&key(0)).is_some());
}

#[test]
fn pinned_bricks_are_no_victims_and_leave_no_room() {
    let mut index = Index::new(CAP);
    let mut count = 0;
    while matches!(index.claim(&held(count)), Claim::Granted) {
        index.publish(&stored(count));
        count += 1;
    }
    assert!(count > 5);
    assert!(matches!(index.claim(&held(count)), Claim::NoRoom { .. }), "all are pinned");
    assert!(index.take_victims(u64::MAX).is_empty());
    for number in 2..5 {
        index.unpin(&key(number));
    }
    let Claim::Full { excess } = index.claim(&held(count)) else { panic!("not full") };
    let victims = index.take_victims(excess);
    assert_eq!(victims.iter().map(|held| held.key).collect::<Vec<_>>(), [key(2)]);
    assert_eq!(index.stats().held_bytes, index.account.in_slots() - 2 * held(3).charge());
}

#[test]
fn what_cannot_be_freed_stays_charged_until_it_is_taken_again() {
    let mut index = Index::new(CAP);
    write(&mut index, 0);
    index.unpin(&key(0));
    let used = index.account.used();
    let victims = index.take_victims(1);
    index.keep_unreleased(&victims[0]);
    assert_eq!((index.account.used(), index.account.moving()), (used, 0));
    assert!(matches!(index.claim(&held(0)), Claim::Busy));
    let again = index.take_unreleased();
    assert_eq!(again.len(), 1);
    assert!(index.take_unreleased().is_empty(), "in other hands");
    index.released(&again[0]);
    assert_eq!(index.account.moving(), 0);
    assert!(matches!(index.claim(&held(0)), Claim::Granted));
}

#[test]
fn only_verified_bricks_are_ready_at_once() {
    let mut index = Index::new(CAP);
    index.recover(&stored(0));
    let ready = |index: &mut Index| index.pin(&key(0), size(), true).is_some();
    assert!(!ready(&mut index));
    assert!(!pin(&mut index, 0).unwrap().is_verified);
    index.set_verified(&key(0));
    assert!(ready(&mut index));
    assert!(index.pin(&key(0), SlotSize::new(1).unwrap(), true).is_none(), "another slot size");
}

#[test]
fn the_last_record_of_a_slot_counts() {
    let mut index = Index::new(CAP);
    index.recover(&stored(0));
    index.recover(&Stored { length: 5, ..stored(0) });
    assert_eq!((index.bricks(), index.account.slots()), (1, 1));
    // Of another slot size: the file was created again.
    index.recover(&Stored { size: SlotSize::new(5).unwrap(), length: 5, ..stored(1) });
    assert_eq!((index.bricks(), index.account.slots()), (1, 1));
    index.forget(&key(1));
    assert_eq!((index.bricks(), index.account.used()), (0, 0));
}
