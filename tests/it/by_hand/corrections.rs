//! Each key of `[[store]]`, as libhdf5 reads it.

use std::fs;

use serde_json::json;

use super::{Scene, open, pixels, small};
use crate::common::ims::Voxel;
use crate::common::mount::can_mount;
use crate::common::row_of;
use crate::common::store::{Dtype, Step, StoreBuilder};
use crate::common::tiny::{Tiny, group_json, write_json};

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
}

#[test]
fn sizes_times_names_colours_and_ranges_are_those_that_a_person_says() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mut store = small("tczyx", &[3, 2, 4, 20, 30], 0);
    store.omero = vec![("one".into(), "FF0000".into()), ("two".into(), "00FF00".into())];
    scene.store("a.ome.zarr", &store);
    scene.store("deep/b.ome.zarr", &store);
    scene.configure(
        "[[store]]\npath = \"**/*.ome.zarr\"\nvoxel_size = { x = 7, y = 200, z = 500 }\nunit = \"nm\"\n\
         origin = { x = -1000, z = 2000 }\ntime_step = 1.5\ntime_unit = \"min\"\nname = \"embryo\"\n\
         channels = [{}, { name = \"GFP\", color = \"#0000FF\", range = [5, 700] }]\n\
         [[store]]\npath = \"a.*\"\nvoxel_size = { x = 0.1 }\n",
    );
    // The file beside a store counts more than the configuration.
    scene.beside("a.ome.zarr", "[[store]]\nname = \"beside\"\n");
    let mount = scene.start().start();
    for (file, x, name) in [("a.ims", 0.1, "beside"), ("deep/b.ims", 0.007, "embryo")] {
        let ims = open(&mount.path().join(file));
        let [xs, ys, zs] = ims.extents().expect("extents");
        near(xs.0, -1.0);
        near(xs.1, -1.0 + 30.0 * x);
        near(ys.1 - ys.0, 20.0 * 0.2);
        near(zs.0, 2.0);
        near(zs.1 - zs.0, 4.0 * 0.5);
        let text = |group: &str, name: &str| ims.text(&format!("DataSetInfo/{group}"), name);
        assert_eq!(text("Image", "Name").expect("a name"), name);
        assert_eq!(text("Channel 0", "Name").expect("a name"), "one");
        assert_eq!(text("Channel 1", "Name").expect("a name"), "GFP");
        assert_eq!(
            ims.numbers("DataSetInfo/Channel 0", "Color").expect("a colour"),
            [1.0, 0.0, 0.0]
        );
        assert_eq!(
            ims.numbers("DataSetInfo/Channel 1", "Color").expect("a colour"),
            [0.0, 0.0, 1.0]
        );
        assert_eq!(
            ims.numbers("DataSetInfo/Channel 0", "ColorRange").expect("a range"),
            [2.0, 200.0]
        );
        assert_eq!(
            ims.numbers("DataSetInfo/Channel 1", "ColorRange").expect("a range"),
            [5.0, 700.0]
        );
        let time = |point: u32| text("TimeInfo", &format!("TimePoint{point}")).expect("a time");
        assert!(time(1).ends_with("00:00:00") && time(3).ends_with("00:03:00"), "{}", time(3));
        assert_eq!(ims.pixels(0, 2, 1).expect("voxels"), pixels(&store, 2, 1));
    }
}

#[test]
fn a_unit_alone_is_that_of_lengths_without_one() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mut store = small("zyx", &[4, 20, 30], 0);
    (store.length_unit, store.scale) = (None, vec![3.0, 2.0, 2.0]);
    scene.store("a.zarr", &store);
    store.length_unit = Some("micrometer");
    scene.store("b.zarr", &store);
    scene.configure("[[store]]\npath = \"*\"\nunit = \"mm\"\n");
    let mount = scene.start().start();
    let length = |file: &str| {
        let [x, ..] = open(&mount.path().join(file)).extents().expect("extents");
        x.1 - x.0
    };
    near(length("a.ims"), 60_000.0);
    near(length("b.ims"), 60.0);
}

#[test]
fn dimensions_are_what_a_person_says() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    // No names at all: three dimensions are z, y, x.
    let plain = Tiny { shape: [3, 21, 35], chunk: [1, 16, 16], seed: 1 };
    for name in ["c.zarr", "t.zarr", "x.zarr", "long.zarr"] {
        plain.write_array(&scene.source(name));
    }
    scene.store("stated.zarr", &small("zyx", &[4, 20, 30], 0));
    scene.configure(
        "[[store]]\npath = \"c.zarr\"\naxes = \"cyx\"\n[[store]]\npath = \"t.zarr\"\naxes = \"tyx\"\n\
         [[store]]\npath = \"x.zarr\"\naxes = \"xzy\"\n[[store]]\npath = \"stated.zarr\"\naxes = \"tyx\"\n\
         [[store]]\npath = \"long.zarr\"\naxes = \"_yx\"\n",
    );
    let mount = scene.start().start();
    let ims = open(&mount.path().join("c.ims"));
    let shape = |ims: &crate::common::ims::Ims| {
        let size = ims.info_size().expect("a size");
        (ims.time_points(0).expect("time points"), ims.channels(0).expect("channels"), size)
    };
    assert_eq!(shape(&ims), (1, 3, [1, 21, 35]));
    near(ims.voxel_at(0, 0, 2, [0, 7, 8]).expect("a voxel"), f64::from(plain.voxel([2, 7, 8])));
    let ims = open(&mount.path().join("t.ims"));
    assert_eq!(shape(&ims), (3, 1, [1, 21, 35]));
    near(ims.voxel_at(0, 1, 0, [0, 7, 8]).expect("a voxel"), f64::from(plain.voxel([1, 7, 8])));
    let ims = open(&mount.path().join("x.ims"));
    assert_eq!(shape(&ims), (1, 1, [21, 35, 3]));
    near(ims.voxel_at(0, 0, 0, [7, 8, 2]).expect("a voxel"), f64::from(plain.voxel([2, 7, 8])));
    assert_eq!(shape(&open(&mount.path().join("stated.ims"))), (4, 1, [1, 20, 30]));
    let skipped = scene.skipped();
    let reason = "@config.toml:15: axes = \"_yx\": _ stands for a dimension of length 3, not 1";
    assert_eq!(skipped, [("long.zarr".to_owned(), reason.to_owned())]);
}

#[test]
fn levels_and_types_are_chosen_per_store() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mut store = small("zyx", &[16, 512, 512], 0);
    store.steps = vec![vec![Step::Keep, Step::FloorHalf, Step::FloorHalf]; 2];
    store.unit = vec![16, 256, 256];
    store.codec = crate::common::store::Codec::Zstd;
    for name in ["all.zarr", "some.zarr", "none.zarr"] {
        scene.store(name, &store);
    }
    for (name, dtype) in
        [("i.zarr", Dtype::I16), ("u.zarr", Dtype::U32), ("as-is.zarr", Dtype::U32)]
    {
        scene.store(name, &StoreBuilder::new(dtype, "zyx", &[4, 20, 30]));
    }
    scene.configure(
        "[[store]]\npath = \"some.zarr\"\nlevels = [0, 2]\n\
         [[store]]\npath = \"none.zarr\"\npyramid = \"imaris\"\n\
         [[store]]\npath = \"{i,u}.zarr\"\nint16 = \"offset\"\nuint32 = \"keep\"\n",
    );
    let rows = scene.list(&[]);
    let origins = |file: &str| {
        let pyramid = row_of(&rows, file)["pyramid"].as_array().expect("levels").clone();
        pyramid.iter().map(|level| level["origin"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(origins("all.ims"), [json!("stored"), json!("stored"), json!("stored")]);
    assert_eq!(origins("some.ims"), [json!("stored"), json!("computed"), json!("stored")]);
    assert_eq!(origins("none.ims"), [json!("stored"), json!("computed"), json!("computed")]);
    let mount = scene.start().start();
    let voxel = |file: &str| open(&mount.path().join(file)).voxel(0, 0, 0).expect("a type");
    assert_eq!(voxel("i.ims"), Voxel::U16);
    assert_eq!(voxel("u.ims"), Voxel::U32);
    assert_eq!(voxel("as-is.ims"), Voxel::F32);
}

#[test]
fn a_table_may_be_about_one_image_of_a_store() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let store = scene.source("s.zarr");
    for name in ["0", "1", "2"] {
        Tiny::default().write(&store.join(name));
    }
    write_json(&store.join("zarr.json"), &group_json(&json!({})));
    scene.beside(
        "s.zarr",
        "[[store]]\nimage = \"1\"\nvoxel_size = { x = 9 }\n[[store]]\nimage = \"2\"\nhidden = true\n",
    );
    let mount = scene.start().start();
    let length = |file: &str| {
        let [x, ..] = open(&mount.path().join(file)).extents().expect("extents");
        x.1 - x.0
    };
    near(length("s/0.ims"), 35.0 * 0.25);
    near(length("s/1.ims"), 35.0 * 9.0);
    assert!(!mount.path().join("s/2.ims").exists());
    let hidden = "hidden by hand: s.zarr.zarrims.toml:6".to_owned();
    assert_eq!(scene.skipped(), [("s.zarr/2".to_owned(), hidden)]);
}

/// Mistakes of files beside stores, and what does not fit an image: a line, and no file.
#[test]
fn what_is_wrong_hides_the_store_with_a_line() {
    let scene = Scene::new();
    let store = small("zyx", &[4, 20, 30], 0);
    scene.store("a.zarr", &store);
    for (text, reason) in [
        (
            "[[store]]\nvoxel_sise = 1\n",
            "2: voxel_sise: no such key in [[store]]; similar: voxel_size",
        ),
        ("[[store]]\npath = \"*\"\n", "2: path: no such key in [[store]]"),
        ("[[store]\n", "1: "),
        ("[[store]]\nchannels = [\"a\", \"b\"]\n", "2: channels: 2 are named, the image has 1"),
        ("[[store]]\nlevels = [0, 1]\n", "2: levels: there is no level 1, the store has 1"),
        ("[[store]]\naxes = \"tzyx\"\n", "2: axes = \"tzyx\": 4 axes for an array of 3 dimensions"),
        (
            "[[store]]\nimage = \"7\"\nname = \"n\"\n",
            "1: image = \"7\": the store has no such image",
        ),
        (&"#".repeat(70_000), " is larger than 64 KiB"),
    ] {
        scene.beside("a.zarr", text);
        let skipped = scene.skipped();
        let [(path, found)] = &skipped[..] else { panic!("{text}: {skipped:?}") };
        assert_eq!(path, "a.zarr", "{text}");
        let wanted =
            if reason.starts_with(' ') { "a.zarr.zarrims.toml" } else { "a.zarr.zarrims.toml:" };
        assert!(found.starts_with(&format!("{wanted}{reason}")), "{text}: {found}");
        assert!(scene.list(&[]).iter().all(|row| row.get("file").is_none()), "{text}");
    }
    fs::remove_file(scene.source("a.zarr.zarrims.toml")).expect("a file");
    assert!(scene.skipped().is_empty());
}

#[test]
fn tables_about_nothing_have_a_line() {
    let scene = Scene::new();
    scene.store("a.zarr", &small("zyx", &[4, 20, 30], 0));
    scene.configure(
        "[[store]]\npath = \"a.*\"\nname = \"n\"\n[[store]]\npath = \"A.zarr\"\nname = \"n\"\n",
    );
    scene.beside("b.zarr", "[[store]]\nname = \"n\"\n");
    let skipped = scene.skipped();
    let wanted = [
        ("b.zarr.zarrims.toml", "corrects nothing: there is no store b.zarr beside it"),
        ("A.zarr", "@config.toml:4: [[store]] is about no store that is there"),
    ];
    assert_eq!(skipped, wanted.map(|(path, reason)| (path.to_owned(), reason.to_owned())));
}
