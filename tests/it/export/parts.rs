//! Parts that are written apart are joined to the same file.

use std::fs;

use super::{Bench, assert_equal, export, must_export, stderr};
use crate::common::mount::{Mount, can_mount};
use crate::common::store::{Codec, Dtype, StoreBuilder};
use crate::common::tiny::Tiny;

/// Issue: "`--part` of 7 parts joins to the same file".
#[test]
fn seven_parts_are_joined_to_the_same_file() {
    if !can_mount() {
        return;
    }
    let bench = Bench::new();
    let mut store = StoreBuilder::new(Dtype::U16, "czyx", &[2, 40, 300, 300]);
    store.unit = vec![1, 8, 64, 64];
    store.codec = Codec::Zstd;
    store.write(&bench.store("a.zarr"));
    let mount = Mount::of(&bench.source).start();
    let expected = fs::read(mount.path().join("a.ims")).expect("readable");
    let (store, out) = (bench.store("a.zarr"), bench.out("a.ims"));
    for number in [3, 1, 7, 2, 6, 5] {
        must_export(&[&store, &out, &"--part", &format!("{number}/7")]);
    }
    let output = export(&[&"--join", &out]);
    assert!(stderr(&output).contains("a.ims.part-4-of-7: is missing"), "{}", stderr(&output));
    must_export(&[&store, &out, &"--part", &"4/7", &"--verify"]);

    // A byte that changes on the way is found.
    let part = bench.out("a.ims.part-5-of-7");
    let good = fs::read(&part).expect("there");
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&part, &bad).expect("writable");
    let output = export(&[&"--join", &out]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("part-5-of-7: bytes "), "{}", stderr(&output));
    assert!(stderr(&output).contains("make it again with the same --part"), "{}", stderr(&output));
    let text = must_export(&[&store, &out, &"--part", &"5/7"]);
    assert!(text.contains("goes on; "), "{text}");
    assert!(fs::read(&part).expect("there") == good, "made again");

    must_export(&[&"--join", &out, &"--verify"]);
    assert_equal(&out, &expected, "joined");
    assert_eq!(bench.left(), ["a.ims"]);
}

#[test]
fn parts_of_two_states_are_not_joined() {
    let bench = Bench::new();
    let (store, out) = (bench.store("a.zarr"), bench.out("a.ims"));
    Tiny::default().write(&store);
    must_export(&[&store, &out, &"--part", &"1/2"]);
    fs::remove_dir_all(&store).expect("ours");
    Tiny { seed: 5, ..Tiny::default() }.write(&store);
    must_export(&[&store, &out, &"--part", &"2/2"]);
    let output = export(&[&"--join", &out]);
    let text = stderr(&output);
    assert!(text.contains("part-2-of-2: is of another state of the image"), "{text}");
    assert!(!out.exists());
    must_export(&[&store, &out, &"--part", &"1/2"]);
    must_export(&[&"--join", &out]);
    assert_eq!(bench.left(), ["a.ims"]);
}
