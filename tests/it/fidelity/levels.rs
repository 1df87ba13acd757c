//! Resolution levels: which there are, where their voxels come from, and that nothing computes them
//! twice.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::{
    Join, Shown, array_json, assert_chain, assert_voxels, join_level, ome, source, write_array,
    write_group,
};
use crate::common::mount::{Mount, can_mount, summary};
use crate::common::rest::rest;
use crate::common::store::{Dtype, Step, StoreBuilder};
use crate::common::tiny::{group_json, write_json};
use crate::common::{files, list_json};

/// Shape (z, y, x) of a label image large enough for a computed level.
const LABELS: [u64; 3] = [20, 200, 200];

/// Objects with borders at odd places; 0 between them.
fn label(at: &[u64]) -> u16 {
    let object = [at[0] / 3, at[1] / 5, at[2] / 7];
    let number = (object[0] * 40 + object[1]) * 29 + object[2] + 1;
    if number.is_multiple_of(4) { 0 } else { u16::try_from(number).expect("at most 8120") }
}

fn write_labelled(store: &Path) {
    let voxel = |at: &[u64]| u16::try_from(at[1] * 256 + at[2]).expect("below 2^16").to_le_bytes();
    write_array(&store.join("0"), "uint16", &LABELS, &[20, 100, 100], voxel);
    let nuclei = store.join("labels/nuclei");
    let voxel = |at: &[u64]| label(at).to_le_bytes();
    write_array(&nuclei.join("0"), "uint16", &LABELS, &[7, 64, 90], voxel);
    let mut labels = ome("zyx", &[1.0; 3]);
    labels["image-label"] = json!({"source": {"image": "../../"}});
    write_group(&nuclei, &labels);
    let list = json!({"ome": {"version": "0.5", "labels": ["nuclei"]}});
    write_json(&store.join("labels/zarr.json"), &group_json(&list));
    write_group(store, &ome("zyx", &[1.0; 3]));
}

#[test]
fn labels_are_shown_on_request_and_keep_their_numbers() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_labelled(&source.path().join("cells.zarr"));
    let rows = list_json(source.path(), &[]);
    assert_eq!(files(&rows), ["cells.ims"]);
    let skipped = rows.iter().find(|row| row["skipped"] == "cells.zarr/labels/nuclei");
    let reason = skipped.and_then(|row| row["reason"].as_str());
    assert!(reason.is_some_and(|reason| reason.contains("label")), "{rows:#?}");

    let mount = Mount::of(source.path()).args(["--labels", "files"]).start();
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(mount.path().join(folder)).expect("a folder");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("a name").file_name();
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect()
    };
    // The image has the path that it has without its labels.
    assert_eq!(names(""), BTreeSet::from(["cells.ims".to_owned(), "cells_labels".to_owned()]));
    assert_eq!(names("cells_labels"), BTreeSet::from(["nuclei.ims".to_owned()]));
    let image = Shown::open(&mount, "cells.ims");
    assert_chain(&image, 1, Join::Whole);

    let shown = Shown::open(&mount, "cells_labels/nuclei.ims");
    assert_eq!(shown.sizes(), [[20, 200, 200], [20, 100, 100]]);
    let mut expected = Vec::new();
    super::each_position(&LABELS, &mut |at| expected.push(f64::from(label(at))));
    let finest = shown.values(0, 0, 0);
    assert_voxels(&finest, &expected, "labels");
    assert_chain(&shown, 1, Join::MostFrequent);
    let numbers =
        |values: &[f64]| -> BTreeSet<u64> { values.iter().map(|v| v.to_bits()).collect() };
    let coarse = numbers(&shown.values(1, 0, 0));
    assert!(coarse.len() > 1000, "few objects are left: {}", coarse.len());
    assert!(coarse.is_subset(&numbers(&finest)), "objects that do not exist");
}

#[test]
fn labels_as_channels_keep_their_numbers_and_others_are_named() {
    if !can_mount() {
        return;
    }
    let source = source();
    let store = source.path().join("cells.zarr");
    write_labelled(&store);
    // A type that the image's does not hold.
    let wide = store.join("labels/wide");
    write_array(&wide.join("0"), "int32", &LABELS, &[20, 200, 200], |_| 70_000_i32.to_le_bytes());
    let mut labels = ome("zyx", &[1.0; 3]);
    labels["image-label"] = json!({});
    write_group(&wide, &labels);
    rest(source.path());
    let rows = list_json(source.path(), &["--labels", "channels"]);
    assert_eq!(files(&rows), ["cells.ims"]);
    let skipped = rows.iter().find(|row| row["skipped"] == "cells.zarr/labels/wide");
    let reason = "not shown as a channel: labels cells.zarr/labels/wide are int32, which does not \
                  fit the image's uint16 without loss; --labels files shows it";
    assert_eq!(skipped.and_then(|row| row["reason"].as_str()), Some(reason), "{rows:#?}");

    let cache = tempfile::tempdir().expect("a cache folder");
    // By its metadata, then by what the first run has left.
    for _ in 0..2 {
        let mount = Mount::of(source.path()).args(["--labels", "channels"]);
        let mount = mount.cache(cache.path()).start();
        let shown = Shown::open(&mount, "cells.ims");
        assert_eq!(shown.ims.channels(0).expect("channels"), 2);
        assert_eq!(shown.ims.text("DataSetInfo/Channel 1", "Name").expect("a name"), "nuclei");
        let mut expected = [Vec::new(), Vec::new()];
        super::each_position(&LABELS, &mut |at| {
            #[expect(clippy::cast_precision_loss, reason = "below 2^16")]
            expected[0].push((at[1] * 256 + at[2]) as f64);
            expected[1].push(f64::from(label(at)));
        });
        for (c, join) in [(0, Join::Whole), (1, Join::MostFrequent)] {
            assert_voxels(&shown.values(0, 0, c), &expected[c], "level 0");
            let sizes = shown.sizes();
            let joined = join_level(&expected[c], sizes[0], sizes[1], join);
            assert_voxels(&shown.values(1, 0, c), &joined, "level 1");
        }
        drop(shown);
        mount.stop();
    }
}

#[test]
fn pyramid_options() {
    if !can_mount() {
        return;
    }
    let source = source();
    let mut store = StoreBuilder::new(Dtype::U16, "zyx", &[20, 400, 400]);
    store.unit = vec![20, 100, 100];
    store.steps = vec![vec![Step::Keep, Step::Quarter, Step::Quarter]];
    store.write(&source.path().join("a.zarr"));
    let stored = |level: usize| {
        let shape = &store.level_shapes()[level];
        let mut voxels = Vec::new();
        super::each_position(shape, &mut |at| {
            let voxel = store.voxel(level, shape, [0, 0, at[0], at[1], at[2]]);
            voxels.push(f64::from(u16::from_le_bytes(voxel.try_into().expect("two bytes"))));
        });
        voxels
    };
    let sizes = [[20, 400, 400], [20, 200, 200], [20, 100, 100]];
    for (pyramid, levels) in [("auto", 3), ("source", 1), ("imaris", 3)] {
        let mount = Mount::of(source.path()).args(["--pyramid", pyramid]).start();
        let shown = Shown::open(&mount, "a.ims");
        assert_eq!(shown.sizes(), sizes[..levels], "{pyramid}");
        assert_voxels(&shown.values(0, 0, 0), &stored(0), pyramid);
        if pyramid == "imaris" {
            assert_chain(&shown, 1, Join::Whole);
            assert_ne!(shown.values(2, 0, 0), stored(1), "the store's level is another");
        } else if pyramid == "auto" {
            let between = join_level(&stored(0), sizes[0], sizes[1], Join::Whole);
            assert_voxels(&shown.values(1, 0, 0), &between, "computed between stored levels");
            assert_voxels(&shown.values(2, 0, 0), &stored(1), "the store's level");
        }
    }
}

/// Shape (z, y, x) of 192 MiB without a pyramid, and of its 768 chunks.
const LARGE: [u64; 3] = [96, 1024, 1024];
const CHUNK: [u64; 3] = [16, 128, 64];

fn chunk_voxel(at: &[u64]) -> u16 {
    u16::try_from(((at[0] * CHUNK[1] + at[1]) * CHUNK[2] + at[2]) * 31 % 65_521)
        .expect("below 2^16")
}

/// Every chunk is a name of one file.
fn write_large(store: &Path) {
    let array = store.join("0");
    fs::create_dir_all(&array).expect("a folder");
    let mut bytes = Vec::new();
    super::each_position(&CHUNK, &mut |at| bytes.extend(chunk_voxel(at).to_le_bytes()));
    let one = array.join("one-chunk");
    fs::write(&one, bytes).expect("a chunk");
    let grid: Vec<u64> = LARGE.iter().zip(CHUNK).map(|(side, chunk)| side / chunk).collect();
    super::each_position(&grid, &mut |at| {
        let path = array.join(format!("c/{}/{}/{}", at[0], at[1], at[2]));
        fs::create_dir_all(path.parent().expect("a chunk in a folder")).expect("a folder");
        fs::hard_link(&one, path).expect("a link");
    });
    write_json(&array.join("zarr.json"), &array_json("uint16", &LARGE, &CHUNK));
    write_group(store, &ome("zyx", &[1.0; 3]));
}

/// The coarsest level of the large image. Halves never cross the borders of its chunks, so it is
/// that of one chunk, over and over.
fn coarsest_of_large() -> Vec<f64> {
    let mut voxels = Vec::new();
    super::each_position(&CHUNK, &mut |at| voxels.push(f64::from(chunk_voxel(at))));
    let mut size = [16, 128, 64];
    for below in [[16, 64, 32], [8, 32, 16], [4, 16, 8]] {
        voxels = join_level(&voxels, size, below, Join::Whole);
        size = below;
    }
    let mut expected = Vec::new();
    super::each_position(&[24, 128, 128], &mut |at| {
        let at = (at[0] % 4 * 16 + at[1] % 16) * 8 + at[2] % 8;
        expected.push(voxels[usize::try_from(at).expect("small")]);
    });
    expected
}

#[test]
fn a_pyramid_is_resumed_after_a_restart() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_large(&source.path().join("a.zarr"));
    rest(source.path());
    let kept = tempfile::tempdir().expect("a temporary folder");
    let expected = coarsest_of_large();
    // Reads the coarsest level; returns the number of bricks produced.
    let read_coarsest = |cache: &Path| {
        let mount = Mount::of(source.path()).cache(cache).start();
        let shown = Shown::open(&mount, "a.ims");
        let sizes = [[96, 1024, 1024], [96, 512, 512], [48, 256, 256], [24, 128, 128]];
        assert_eq!(shown.sizes(), sizes);
        assert_voxels(&shown.values(3, 0, 0), &expected, "the coarsest level");
        drop(shown);
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{status}: {stderr:#?}");
        assert_eq!(summary(&stderr, "failed"), 0);
        summary(&stderr, "passed")
    };

    let mount = Mount::of(source.path()).cache(kept.path()).start();
    let shown = Shown::open(&mount, "a.ims");
    shown.values_in(2, 0, 0, [0..1, 0..1, 0..1]);
    drop(shown);
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    let before = summary(&stderr, "passed");
    let resumed = read_coarsest(kept.path());

    let empty = tempfile::tempdir().expect("a temporary folder");
    let fresh = read_coarsest(empty.path());
    println!("passed: {before}, then {resumed}; at once {fresh}");
    assert!(before > 0, "a part of the work is done");
    assert!(resumed < fresh, "{resumed} after {before}, {fresh} at once");
    assert!(fresh > 256, "few enough to take part in a small pass: {fresh}");
    assert_eq!(read_coarsest(empty.path()), 0, "nothing is left to do");
}
