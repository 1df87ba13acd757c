use std::time::Duration;

use super::*;
use crate::cache::ImageId;

fn slot(index: u64) -> Slot {
    let key = BrickKey { image: ImageId(7), space: 0, index };
    Slot { key, slot_bytes: 100, is_proven: false }
}

fn produced(keep: Keep) -> Produced {
    Produced::new(Arc::new(Buffer::from(vec![1; 100])), keep, false)
}

/// Without a disk, all that is kept is in memory.
fn kept() -> KeptBricks {
    KeptBricks::new(None, Shares::of(64 << 10))
}

fn has(kept: &KeptBricks, index: u64) -> bool {
    assert_eq!(kept.contains(slot(index)), kept.get(slot(index)).is_some());
    kept.get_ready(slot(index)).is_some()
}

#[test]
fn bricks_that_only_pass_through_are_not_kept() {
    let kept = kept();
    assert!(kept.hold(slot(1), Purpose::Passing, &produced(Keep::OnDisk)).is_none());
    assert!(!has(&kept, 1));
}

#[test]
fn a_brick_that_the_cache_does_not_take_stays_in_memory() {
    let kept = kept();
    let unwritten = kept.hold(slot(1), Purpose::Reader, &produced(Keep::OnDisk));
    kept.write_soon(unwritten.expect("to be written"));
    while kept.unwritten().bricks > 0 {
        assert!(has(&kept, 1), "found all the time");
        std::thread::yield_now();
    }
    // Others take its place among the recent ones.
    for index in 2..400 {
        let _ = kept.hold(slot(index), Purpose::Ahead, &produced(Keep::OnDisk));
    }
    assert!(has(&kept, 1) && !has(&kept, 2));
    let [recent, only] = kept.bytes();
    assert!(recent <= Shares::of(64 << 10).recent() && only == 100);
    kept.give_back();
    assert!(has(&kept, 1), "there is no other place for it");
}

#[test]
fn a_brick_made_ahead_is_written_once_a_reader_wants_it() {
    let kept = kept();
    assert!(kept.hold(slot(1), Purpose::Ahead, &produced(Keep::OnDisk)).is_none());
    assert_eq!(kept.unwritten(), WriteStats::default());
    assert!(has(&kept, 1));
    // It ends among those that are only in memory, since there is no disk.
    while kept.bytes()[1] == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn fleeting_bricks_expire() {
    let kept = kept();
    assert!(kept.hold(slot(1), Purpose::Reader, &produced(Keep::FLEETING)).is_none());
    let Some(Brick::Memory(whole)) = kept.get(slot(1)) else { panic!("not in memory") };
    assert!(!whole.lasting);
    let expired = produced(Keep::InMemory(Duration::ZERO));
    assert!(kept.hold(slot(1), Purpose::Reader, &expired).is_none());
    assert!(!has(&kept, 1));
    assert!(kept.hold(slot(1), Purpose::Reader, &produced(Keep::Lightly)).is_none());
    assert!(has(&kept, 1));
}
