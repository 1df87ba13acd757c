//! Files made of what is there, compared with the files of the stores, as libhdf5 reads them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::json;

use super::{Scene, open, pixels, small};
use crate::common::mount::can_mount;
use crate::common::row_of;
use crate::common::tiny::{Tiny, group_json, write_json};

#[test]
fn three_one_channel_stores_are_the_channels_of_one_image() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let stores: Vec<_> = (0..3).map(|salt| small("zyx", &[5, 33, 40], salt)).collect();
    for (name, store) in ["a", "b", "c"].iter().zip(&stores) {
        scene.store(&format!("{name}.ome.zarr"), store);
    }
    scene.configure(
        "[[view]]\nname = \"merged.ims\"\nof = [\"a.ome.zarr\", \"b.ome.zarr\", \"c.ome.zarr\"]\n\
         as = \"channels\"\nchannels = [{ channel = 2, name = \"last\" }, 0, 1]\n",
    );
    let rows = scene.list(&[]);
    assert_eq!(
        row_of(&rows, "merged.ims")["of"],
        json!(["a.ome.zarr", "b.ome.zarr", "c.ome.zarr"])
    );
    let mount = scene.start().start();
    let merged = open(&mount.path().join("merged.ims"));
    assert_eq!(merged.channels(0).expect("channels"), 3);
    for (c, name, of) in [(0, "c.ims", 2), (1, "a.ims", 0), (2, "b.ims", 1)] {
        let own = open(&mount.path().join(name)).pixels(0, 0, 0).expect("voxels");
        assert_eq!(own, pixels(&stores[of], 0, 0));
        assert_eq!(merged.pixels(0, 0, c).expect("voxels"), own, "{name}");
    }
    assert_eq!(merged.text("DataSetInfo/Channel 0", "Name").expect("a name"), "last");
    assert_eq!(merged.text("DataSetInfo/Image", "Name").expect("a name"), "merged");
}

#[test]
fn a_crop_is_the_slice_with_its_place() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mut store = small("tczyx", &[4, 3, 6, 33, 40], 0);
    store.scale = vec![1.0, 1.0, 2.0, 0.5, 0.5];
    store.omero = ["x", "y", "z"].map(|name| (name.to_owned(), "FF0000".to_owned())).to_vec();
    scene.store("deep/a.ome.zarr", &store);
    fs::write(
        scene.source("deep/a.ome.zarr.zarrims.toml"),
        "[[view]]\nname = \"crop\"\nx = [7, 23]\ny = [5, 33]\nz = [1, 4]\nt = [1, 3]\n\
         channels = [\"z\", 0]\n[[view]]\nname = \"times\"\ntime_points = [3, 0]\n",
    )
    .expect("a file");
    let mount = scene.start().start();
    let [whole, crop, times] =
        ["a.ims", "crop.ims", "times.ims"].map(|name| open(&mount.path().join("deep").join(name)));
    assert_eq!(crop.info_size().expect("a size"), [3, 28, 16]);
    assert_eq!(crop.time_points(0).expect("time points"), 2);
    for (t, of_t) in [(0, 1), (1, 2)] {
        for (c, of_c) in [(0, 2), (1, 0)] {
            let slice = whole.pixels_in(0, of_t, of_c, [1..4, 5..33, 7..23]).expect("voxels");
            assert_eq!(crop.pixels(0, t, c).expect("voxels"), slice, "{t} {c}");
        }
    }
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
    let [x, y, z] = crop.extents().expect("extents");
    near(x.0, 3.5);
    near(y.0, 2.5);
    near(z.0, 2.0);
    near(z.1, 8.0);
    assert_eq!(times.pixels(0, 0, 1).expect("voxels"), whole.pixels(0, 3, 1).expect("voxels"));
    assert_eq!(times.pixels(0, 1, 2).expect("voxels"), whole.pixels(0, 0, 2).expect("voxels"));
}

#[test]
fn stores_become_time_points_in_the_order_of_their_numbers_and_tiles_a_mosaic() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let numbers = [0, 2, 10];
    for number in numbers {
        scene.store(&format!("run/t{number}.zarr"), &small("zyx", &[2, 20, 30], number));
    }
    for (number, place) in [(0, 0.0), (1, 25.0)] {
        let mut tile = small("zyx", &[2, 20, 30], number);
        tile.translation = Some(vec![0.0, 0.0, place]);
        scene.store(&format!("tiles/{number}.zarr"), &tile);
    }
    scene.configure(
        "[[view]]\nname = \"run/series\"\nof = \"run/t*.zarr\"\nas = \"time points\"\ntime_step = 30\n\
         [[view]]\nname = \"mosaic\"\nof = \"tiles/*.zarr\"\nas = \"mosaic\"\n",
    );
    let mount = scene.start().start();
    let series = open(&mount.path().join("run/series.ims"));
    for (t, number) in numbers.into_iter().enumerate() {
        let own = pixels(&small("zyx", &[2, 20, 30], number), 0, 0);
        assert_eq!(series.pixels(0, t, 0).expect("voxels"), own, "{t}");
    }
    let last = series.text("DataSetInfo/TimeInfo", "TimePoint3").expect("a time");
    assert!(last.ends_with("00:01:00"), "{last}");
    let mosaic = open(&mount.path().join("mosaic.ims"));
    assert_eq!(mosaic.info_size().expect("a size"), [2, 20, 55]);
    let [first, second] = ["tiles/0.ims", "tiles/1.ims"].map(|name| open(&mount.path().join(name)));
    // The later tile covers what both have.
    assert_eq!(
        mosaic.pixels_in(0, 0, 0, [0..2, 0..20, 25..55]).expect("voxels"),
        second.pixels(0, 0, 0).expect("voxels")
    );
    assert_eq!(
        mosaic.pixels_in(0, 0, 0, [0..2, 0..20, 0..25]).expect("voxels"),
        first.pixels_in(0, 0, 0, [0..2, 0..20, 0..25]).expect("voxels")
    );
}

#[test]
fn views_lie_within_views_and_use_what_is_corrected_or_hidden() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let mut stores = Vec::new();
    for (number, x) in [(0, 0.0), (1, 30.0), (2, 0.0), (3, 30.0)] {
        let store = small("zyx", &[2, 20, 30], number);
        scene.store(&format!("p{number}.zarr"), &store);
        // The store does not say where it lies.
        scene.beside(
            &format!("p{number}.zarr"),
            &format!(
                "[[store]]\nhidden = true\norigin = {{ x = {x} }}\nchannels = [\"c{number}\"]\n"
            ),
        );
        stores.push(store);
    }
    scene.configure(
        "[[view]]\nname = \"p0\"\nas = \"channels\"\nof = [\n\
         { of = [\"p0.zarr\", \"p1.zarr\"], as = \"mosaic\" },\n\
         { of = \"p{2,3}.zarr\", as = \"mosaic\" }]\nx = [10, 50]\n",
    );
    let mount = scene.start().start();
    let names: Vec<_> = fs::read_dir(mount.path())
        .expect("a folder")
        .map(|entry| entry.expect("a name").file_name())
        .collect();
    assert_eq!(names, ["p0.ims"]);
    let ims = open(&mount.path().join("p0.ims"));
    assert_eq!(
        (ims.channels(0).expect("channels"), ims.info_size().expect("a size")),
        (2, [2, 20, 40])
    );
    for (c, at, of, of_x) in [(0, 5, 0, 15), (0, 25, 1, 5), (1, 5, 2, 15), (1, 25, 3, 5)] {
        let wanted = stores[of].voxel(0, &stores[of].shape, [0, 0, 1, 7, of_x]);
        let found = ims.pixels_in(0, 0, c, [1..2, 7..8, at..at + 1]).expect("a voxel");
        assert_eq!(found, wanted, "{c} {at}");
    }
    assert_eq!(ims.text("DataSetInfo/Channel 1", "Name").expect("a name"), "c2");
}

#[test]
fn views_that_cannot_be_made_have_a_line_and_no_file() {
    let scene = Scene::new();
    scene.store("a.zarr", &small("zyx", &[4, 20, 30], 0));
    scene.store("b.zarr", &small("zyx", &[4, 20, 31], 0));
    scene.store("two.zarr", &small("czyx", &[2, 4, 20, 30], 0));
    for name in ["0", "1"] {
        Tiny::default().write(&scene.source("many.zarr").join(name));
    }
    write_json(&scene.source("many.zarr/zarr.json"), &group_json(&json!({})));
    fs::create_dir(scene.source("plain")).expect("a folder");
    for (rest, reason) in [
        ("of = \"none.zarr\"", "3: of = \"none.zarr\": there is no store none.zarr"),
        ("of = \"plain\"", "3: of = \"plain\": there is no store plain"),
        ("of = \"t*.zip\"\nas = \"mosaic\"", "3: of = \"t*.zip\": no store has such a name"),
        (
            "of = \"many.zarr\"",
            "3: of = \"many.zarr\": holds 2 images; name one: many.zarr/0, many.zarr/1",
        ),
        ("of = \"many.zarr/7\"", "3: of = \"many.zarr/7\": "),
        ("of = \"a.zarr\"\nx = [0, 31]", "4: x 0..31 is outside the image, which has x 0..30"),
        (
            "of = \"a.zarr\"\ny = [0, 5]\nz = [4, 5]",
            "5: z 4..5 is outside the image, which has z 0..4",
        ),
        (
            "of = \"a.zarr\"\nt = [0, 2]",
            "4: t 0..2 is outside the image, which has time points 0..1",
        ),
        (
            "of = \"a.zarr\"\ntime_points = [1]",
            "4: time point 1 is outside the image, which has time points 0..1",
        ),
        ("of = \"two.zarr\"\nchannels = [1, 1]", "4: channel 1 is chosen twice"),
        ("of = \"two.zarr\"\nchannels = [\"GFP\"]", "4: channels: no channel is called \"GFP\""),
        (
            "of = [\"a.zarr\", \"b.zarr\"]\nas = \"channels\"",
            "4: as: image 2 (b.zarr) has another ",
        ),
    ] {
        scene.configure(&format!("[[view]]\nname = \"v\"\n{rest}\n"));
        let skipped = scene.skipped();
        let [(path, found)] = &skipped[..] else { panic!("{rest}: {skipped:?}") };
        assert_eq!(path, "v.ims", "{rest}");
        assert!(found.starts_with(&format!("@config.toml:{reason}")), "{rest}: {found}");
    }
    for (name, folder) in [("none/v", "none"), ("many.zarr/v", "many.zarr")] {
        scene.configure(&format!("[[view]]\nname = \"{name}\"\nof = \"a.zarr\"\n"));
        let reason =
            format!("@config.toml:1: name: {folder} is no folder in SOURCE, or is one in a store");
        assert_eq!(scene.skipped(), [(format!("{name}.ims"), reason)]);
    }
}

#[test]
fn a_view_in_a_file_beside_no_store_has_its_own_line() {
    let scene = Scene::new();
    scene.store("a.zarr", &small("zyx", &[4, 20, 30], 0));
    scene.beside("b2.zarr", "[[view]]\nname = \"v\"\n");
    assert_eq!(scene.skipped()[0].0, "v.ims");
    scene.beside("b2.zarr", "[[view]]\nname = \"v\"\nof = \"../a.zarr\"\n");
    let (path, reason) = &scene.skipped()[0];
    assert_eq!(path, "b2.zarr.zarrims.toml");
    assert!(
        reason.ends_with("3: of = \"../a.zarr\": leads out of the folder with \"..\""),
        "{reason}"
    );
}

#[test]
fn who_may_not_read_a_store_may_not_read_a_view_of_it() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    for (number, name) in ["a.zarr", "shut/b.zarr"].iter().enumerate() {
        scene.store(name, &small("zyx", &[2, 20, 30], number as u64));
    }
    scene.configure(
        "[[view]]\nname = \"both\"\nof = [\"a.zarr\", \"shut/b.zarr\"]\nas = \"channels\"\n\
         [[view]]\nname = \"shut/inside\"\nof = \"shut/b.zarr\"\n",
    );
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(scene.source(path), fs::Permissions::from_mode(mode)).expect("own");
    };
    mode("shut", 0o700);
    let mount = scene.start().start();
    let shown =
        |path: &str| fs::metadata(mount.path().join(path)).expect("attributes").mode() & 0o777;
    // The way to the store is shut to others, and the view does not lie on it.
    assert_eq!([shown("a.ims"), shown("both.ims")], [0o444, 0o400]);
    // Who is in the folder has passed it.
    assert_eq!(shown("shut/inside.ims"), 0o444);
    drop(mount);
    mode("shut", 0o755);
    mode("shut/b.zarr/0/zarr.json", 0o600);
    let mount = scene.start().start();
    let shown =
        |path: &str| fs::metadata(mount.path().join(path)).expect("attributes").mode() & 0o777;
    assert_eq!([shown("a.ims"), shown("both.ims"), shown("shut/b.ims")], [0o444, 0o400, 0o400]);
}
