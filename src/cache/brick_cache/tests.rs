use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::super::testing::{
    FIXED, KIB, MIB, assert_within_cap, content, files, private, put, read, reopen, slot,
};
use super::super::{BrickKey, CacheError, ImageId, PinnedBrick, Slot};

#[derive(Clone, Debug)]
enum Step {
    Put { slot: Slot, length: u64 },
    Abandon { slot: Slot, length: u64 },
    Get { slot: Slot },
    Pin { slot: Slot },
    Unpin,
    Remove { image: u128 },
    Reopen { cap: u64 },
}

/// Few keys, so that they meet; one space with four slots in a segment, so that files come and go.
fn any_slot() -> impl Strategy<Value = Slot> {
    (0..3_u128, 0..3_u16, 0..12_u64).prop_map(|(image, space, index)| match space {
        0 => slot(image, 0, index, 40_000),
        1 => slot(image, 1, index, 1 << 38),
        _ => slot(image, 2, index << 47, 4096),
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let sized = || {
        any_slot().prop_flat_map(|slot| {
            (1..=slot.slot_bytes.min(60_000)).prop_map(move |length| (slot, length))
        })
    };
    prop_oneof![
        10 => sized().prop_map(|(slot, length)| Step::Put { slot, length }),
        1 => sized().prop_map(|(slot, length)| Step::Abandon { slot, length }),
        10 => any_slot().prop_map(|slot| Step::Get { slot }),
        2 => any_slot().prop_map(|slot| Step::Pin { slot }),
        2 => Just(Step::Unpin),
        1 => (0..3_u128).prop_map(|image| Step::Remove { image }),
        1 => (20_000..600_000_u64).prop_map(|cap| Step::Reopen { cap }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_history_gives_right_bytes_or_none(steps in prop::collection::vec(any_step(), 1..120)) {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = reopen(dir.path(), 300_000);
        let mut model: HashMap<BrickKey, Vec<u8>> = HashMap::new();
        let mut pins: Vec<(PinnedBrick, Vec<u8>)> = Vec::new();
        for (version, step) in (0_u64..).zip(steps) {
            match step {
                Step::Put { slot, length } => {
                    let bytes = content(&slot.key, version, length);
                    match cache.put(slot, &bytes) {
                        Ok(brick) => {
                            prop_assert!(read(&brick) == bytes);
                            drop(brick);
                            prop_assert!(cache.get(slot).is_some());
                            model.insert(slot.key, bytes);
                        }
                        Err(CacheError::NoRoom { .. } | CacheError::Busy { .. }) => {}
                        Err(error) => prop_assert!(false, "{}", error),
                    }
                }
                Step::Abandon { slot, length } => {
                    if let Ok(mut writer) = cache.begin(slot, length) {
                        let half = usize::try_from(length / 2).unwrap();
                        writer.write(&content(&slot.key, version, length)[..half]).unwrap();
                        model.remove(&slot.key);
                    }
                }
                Step::Get { slot } => {
                    if let Some(brick) = cache.get(slot) {
                        prop_assert!(Some(&read(&brick)) == model.get(&slot.key));
                    }
                }
                Step::Pin { slot } => {
                    if let Some(brick) = cache.get(slot) {
                        pins.push((brick, model[&slot.key].clone()));
                    }
                }
                Step::Unpin => drop(pins.pop()),
                Step::Remove { image } => {
                    cache.remove_images(&HashSet::from([ImageId(image)]));
                    model.retain(|key, _| key.image != ImageId(image));
                }
                Step::Reopen { cap } => {
                    pins.clear();
                    let before = cache.stats();
                    drop(cache);
                    cache = reopen(dir.path(), cap);
                    let after = cache.stats();
                    prop_assert!(after.bricks == before.bricks || cap + FIXED < before.used_bytes);
                    prop_assert_eq!(after.skipped_records, 0);
                }
            }
            for (brick, bytes) in &pins {
                prop_assert!(&read(brick) == bytes);
            }
            assert_within_cap(&cache, dir.path());
        }
        let stats = cache.stats();
        prop_assert_eq!((stats.rejected, stats.write_errors), (0, 0));
        drop(pins);
        prop_assert_eq!(cache.stats().held_bytes, 0);
    }

    #[test]
    fn any_damage_gives_right_bytes_or_none(
        damage in prop::collection::vec((0..4_u8, any::<u64>(), 1..=255_u8), 1..8),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let cache = reopen(dir.path(), MIB);
        let all: Vec<Slot> =
            (0..24_u64).map(|n| slot(u128::from(n % 3), 0, n, 9000)).collect();
        for slot in &all {
            let older = content(&slot.key, 1, 5000 + slot.key.index * 100);
            cache.put(*slot, &older).unwrap();
            put(&cache, *slot, 8999 - slot.key.index * 100).unwrap();
        }
        drop(cache);
        let journal = private(dir.path()).join("journal");
        for (kind, place, mask) in damage {
            let mut paths = files(dir.path());
            if kind < 2 || paths.is_empty() {
                paths = vec![journal.clone()];
            }
            let path = &paths[usize::try_from(place % paths.len() as u64).unwrap()];
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            let end = file.metadata().unwrap().len().clamp(1, 40 * 12 * KIB);
            let offset = (place >> 8) % end;
            if kind % 2 == 0 {
                let mut byte = [0];
                let _ = file.read_at(&mut byte, offset).unwrap();
                file.write_all_at(&[byte[0] ^ mask], offset).unwrap();
            } else {
                file.set_len(offset).unwrap();
            }
        }
        for _ in 0..2 {
            let cache = reopen(dir.path(), MIB);
            assert_within_cap(&cache, dir.path());
            for slot in &all {
                if let Some(brick) = cache.get(*slot) {
                    // A lost journal tail may claim the older brick, whose bytes are gone.
                    let expected = content(&slot.key, 0, 8999 - slot.key.index * 100);
                    prop_assert!(read(&brick) == expected, "wrong bytes in {}", slot.key);
                }
            }
            for slot in &all {
                put(&cache, *slot, 8999 - slot.key.index * 100).unwrap();
                assert!(cache.get(*slot).is_some());
            }
            assert_within_cap(&cache, dir.path());
        }
    }
}
