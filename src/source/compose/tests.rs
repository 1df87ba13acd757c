use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::source::SourceRoot;
use crate::source::discover::open_image;
use crate::source::image::ImageSource;
use crate::source::storage::Memory;

/// A store of one level; `change` changes the metadata of the array and of the image.
fn image(name: &str, change: impl FnOnce(&mut Value, &mut Value)) -> ImageSource {
    let mut array = json!({"zarr_format": 2, "shape": [2, 3, 4, 6, 8], "chunks": [1, 1, 4, 6, 8],
        "dtype": "<u2", "compressor": null, "fill_value": 0, "order": "C", "filters": null});
    let space = |name: &str| json!({"name": name, "type": "space", "unit": "micrometer"});
    let mut attributes = json!({
        "multiscales": [{
            "axes": [{"name": "t", "type": "time", "unit": "second"}, {"name": "c"}, space("z"),
                space("y"), space("x")],
            "datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [5.0, 1.0, 2.0, 0.5, 0.5]},
                {"type": "translation", "translation": [0.0, 0.0, 10.0, 20.0, 30.0]}]}]}],
        "omero": {"channels": [{"label": "a", "color": "FF0000"}, {"label": "b"}, {}]}});
    change(&mut array, &mut attributes);
    let files = Memory::default();
    files.put(format!("{name}/.zgroup"), br#"{"zarr_format": 2}"#);
    files.put(format!("{name}/.zattrs"), attributes.to_string().as_bytes());
    files.put(format!("{name}/0/.zarray"), array.to_string().as_bytes());
    let root: Arc<SourceRoot> = SourceRoot::in_memory(files);
    open_image(&root, Path::new(name), "", 0).expect("an image")
}

fn plain(name: &str) -> ImageSource {
    image(name, |_, _| ())
}

/// An image of one time point and channel, whose translation along x is this, in voxels.
fn tile(name: &str, x: f64) -> ImageSource {
    image(name, |array, attributes| {
        array["shape"] = json!([1, 1, 4, 6, 8]);
        let transforms = &mut attributes["multiscales"][0]["datasets"][0];
        transforms["coordinateTransformations"][1]["translation"][4] = json!(x * 0.5);
    })
}

/// An image of which all lengths but these are those of [`plain`].
fn of_shape(name: &str, shape: [u64; 5]) -> ImageSource {
    image(name, |array, _| array["shape"] = json!(shape))
}

fn message<T>(result: Result<T, ComposeError>) -> String {
    result.err().expect("refused").to_string()
}

#[test]
fn a_crop_outside_the_image_names_axis_and_limits() {
    let whole = plain("a.zarr");
    let refused = |wanted: &Crop| message(crop(&whole, wanted));
    let none = Crop::default;
    for (wanted, line) in [
        (Crop { x: Some(3..9), ..none() }, "x 3..9 is outside the image, which has x 0..8"),
        (
            Crop { z: Some(9..u64::MAX), ..none() },
            "z 9..18446744073709551615 is outside the image, which has z 0..4",
        ),
        (Crop { y: Some(3..3), ..none() }, "y 3..3 holds no voxel"),
        #[expect(clippy::reversed_empty_ranges, reason = "as a user may write it")]
        (Crop { y: Some(5..3), ..none() }, "y 5..3 holds no voxel"),
        (
            Crop { channels: Some(vec![0, 3]), ..none() },
            "channel 3 is outside the image, which has channels 0..3",
        ),
        (Crop { channels: Some(vec![2, 0, 2]), ..none() }, "channel 2 is chosen twice"),
        (Crop { channels: Some(vec![]), ..none() }, "no channel is chosen"),
        (
            Crop { times: Some(vec![2]), ..none() },
            "time point 2 is outside the image, which has time points 0..2",
        ),
    ] {
        assert_eq!(refused(&wanted), line);
    }
}

#[test]
fn a_crop_has_the_place_the_times_and_the_channels_it_has_in_the_image() {
    let whole = plain("a.zarr");
    let wanted = Crop {
        x: Some(2..6),
        z: Some(1..4),
        times: Some(vec![1]),
        channels: Some(vec![2, 0]),
        ..Crop::default()
    };
    let part = crop(&whole, &wanted).expect("inside");
    assert_eq!(part.levels[0].shape(), [1, 2, 3, 6, 4]);
    assert_eq!(format!("{:?}", part.origin_um), "[31.0, 20.0, 12.0]");
    assert_eq!(part.times_s, Some(vec![5.0]));
    let names: Vec<_> = part.channels.iter().map(|channel| channel.name.as_deref()).collect();
    assert_eq!(names, [Some("Channel 2"), Some("a")]);
    assert_eq!(part.channels[1].color, Some([255, 0, 0]));
    assert_eq!(part.facts[0].value, "x 2..6; z 1..4; channels 2, 0; time points 1");
    // Times that go back cannot be shown.
    let back = Crop { times: Some(vec![1, 0]), ..Crop::default() };
    let back = crop(&whole, &back).expect("inside");
    assert_eq!((back.times_s.as_ref(), back.time_step_s), (None, None));
    assert!(back.notes.join("").contains("not in the order of time"), "{:?}", back.notes);
    // All of it is as it was.
    let same = crop(&whole, &Crop { times: Some(vec![0, 1]), ..Crop::default() }).expect("all");
    assert_eq!((same.times_s.as_ref(), same.time_step_s), (None, Some(5.0)));
}

#[test]
fn images_that_do_not_agree_are_refused_by_name() {
    let first = plain("a.zarr");
    let other_voxels = image("b.zarr", |_, attributes| {
        let transforms = &mut attributes["multiscales"][0]["datasets"][0];
        transforms["coordinateTransformations"][0]["scale"][4] = json!(0.25);
    });
    let other_unit = image("b.zarr", |_, attributes| {
        attributes["multiscales"][0]["axes"][4] = json!({"name": "x", "type": "space"});
    });
    let other_type = image("b.zarr", |array, _| array["dtype"] = json!("|u1"));
    let flipped = image("b.zarr", |_, attributes| {
        let transforms = &mut attributes["multiscales"][0]["datasets"][0];
        transforms["coordinateTransformations"][0]["scale"][4] = json!(-0.5);
    });
    let line = |what: &str, own: &str, first: &str| {
        format!("image 2 (b.zarr) has another {what} than image 1: {own} instead of {first}")
    };
    let size = of_shape("b.zarr", [2, 3, 4, 6, 9]);
    let micro = "x 0.5 um, y 0.5 um, z 2 um";
    for (other, expected) in [
        (&size, line("x size", "9", "8")),
        (&other_voxels, line("voxel size", "x 0.25 um, y 0.5 um, z 2 um", micro)),
        (&other_unit, line("voxel size", "x 0.5 without unit, y 0.5 um, z 2 um", micro)),
        (&other_type, line("type", "uint8", "uint16")),
        (
            &flipped,
            line(
                "direction of axes (x, y, z backwards)",
                "[true, false, false]",
                "[false, false, false]",
            ),
        ),
    ] {
        assert_eq!(message(channels(&[&first, other])), expected);
        assert_eq!(message(series(&[&first, other])), expected);
    }
    let times = of_shape("b.zarr", [3, 3, 4, 6, 8]);
    assert_eq!(message(channels(&[&first, &times])), line("number of time points", "3", "2"));
    let more = of_shape("b.zarr", [2, 2, 4, 6, 8]);
    assert_eq!(message(series(&[&first, &more])), line("number of channels", "2", "3"));
    assert_eq!(message(mosaic(&[&first, &more])), line("number of channels", "2", "3"));
    assert_eq!(message(mosaic::<ImageSource>(&[])), "no image is given");
}

#[test]
fn channels_keep_what_is_known_of_each() {
    let both = channels(&[plain("a.zarr"), of_shape("b.zarr", [2, 1, 4, 6, 8])]).expect("alike");
    assert_eq!(both.levels[0].shape(), [2, 4, 4, 6, 8]);
    let names: Vec<_> = both.channels.iter().map(|channel| channel.name.as_deref()).collect();
    assert_eq!(names, [Some("a"), Some("b"), None, Some("a")]);
    let colors: Vec<_> = both.channels.iter().map(|channel| channel.color).collect();
    assert_eq!(colors, [Some([255, 0, 0]), None, None, Some([255, 0, 0])]);
    assert_eq!(both.others, [Path::new("b.zarr")]);
    let made_of = &both.facts[0];
    assert_eq!((made_of.key.as_str(), made_of.value.as_str()), ("MadeOf", "a.zarr, b.zarr"));
    let samples: Vec<_> = both.samples().collect();
    for file in ["a.zarr/0/0.0.0.0.0", "b.zarr/.zattrs", "b.zarr/0/.zarray", "b.zarr/0/0.0.0.0.0"] {
        assert!(samples.iter().any(|sample| sample == Path::new(file)), "{file}");
    }
}

/// Three stores of one channel are each shown white; together they would look the same.
#[test]
fn channels_of_one_colour_are_told_apart() {
    let grey = |name: &str| {
        image(name, |array, attributes| {
            array["shape"] = json!([1, 1, 4, 6, 8]);
            attributes["omero"] = json!({"channels": [{"label": name, "color": "FFFFFF"}]});
        })
    };
    let both = channels(&[grey("a.zarr"), grey("b.zarr")]).expect("alike");
    assert!(both.channels.iter().all(|channel| channel.color.is_none()));
    assert!(both.notes.iter().any(|note| note.contains("one colour")), "{:?}", both.notes);
}

#[test]
fn a_series_has_the_times_of_its_images() {
    let at = |name: &str, acquired_ms: Option<i64>| {
        let mut image = of_shape(name, [1, 1, 4, 6, 8]);
        image.acquired_ms = acquired_ms;
        image
    };
    let times = |images: &[ImageSource]| {
        let whole = series(images).expect("alike");
        (whole.times_s, whole.time_step_s)
    };
    let all = [at("a", Some(500)), at("b", Some(2_500)), at("c", Some(9_000))];
    assert_eq!(times(&all), (Some(vec![0.0, 2.0, 8.5]), None));
    // Times that do not increase say nothing; the step does.
    let same = [at("a", Some(500)), at("b", Some(500))];
    assert_eq!(times(&same), (None, Some(5.0)));
    assert_eq!(times(&[at("a", Some(500)), at("b", None)]), (None, Some(5.0)));
}

#[test]
fn tiles_off_the_grid_and_hidden_tiles_are_noted() {
    let tiles = [tile("a", 0.0), tile("b", 7.25), tile("c", 0.0), tile("d", -4.0)];
    let whole = mosaic(&tiles).expect("tiles");
    assert_eq!(whole.levels[0].shape(), [1, 1, 4, 6, 19]);
    assert_eq!(format!("{:?}", whole.origin_um), "[-2.0, 20.0, 10.0]");
    let notes = whole.notes.join("; ");
    assert!(notes.contains("tile 2 is moved by 0.25 voxels"), "{notes}");
    assert!(notes.contains("tile 1 is hidden by tile 3"), "{notes}");
    assert!(!notes.contains("tile 4"), "{notes}");
    for far in [1e30, 1e17, f64::NAN] {
        let mut tiles = [tile("a", 0.0), tile("b", 0.0)];
        tiles[1].origin_um[2] = far;
        assert_eq!(message(mosaic(&tiles)), "the whole would be larger than a file can be");
    }
    // Each distance fits, and all together do not.
    let mut tiles = [tile("a", 0.0), tile("b", 0.0)];
    tiles[1].origin_um = [1e9; 3];
    assert_eq!(message(mosaic(&tiles)), "the whole would be larger than a file can be");
}

#[test]
fn labels_become_channels_where_type_size_and_levels_allow_it() {
    let labels = |name: &str, dtype: &str| {
        image(name, |array, attributes| {
            array["dtype"] = json!(dtype);
            array["shape"] = json!([2, 1, 4, 6, 8]);
            attributes["omero"] = json!({});
        })
    };
    let whole = plain("a.zarr");
    let with = labels_as_channels(&whole, &[labels("cells", "|u1"), labels("b", "<u2")]);
    let with = with.expect("alike");
    assert_eq!((with.levels[0].shape()[1], with.source_type().name()), (5, "uint16"));
    let known: Vec<_> =
        with.channels.iter().map(|channel| (channel.name.as_deref(), channel.is_label)).collect();
    let expected = [
        (Some("a"), false),
        (Some("b"), false),
        (None, false),
        (Some("cells"), true),
        (Some("b"), true),
    ];
    assert_eq!(known, expected);
    assert_eq!(
        message(labels_as_channels(&whole, &[labels("cells", "<i4")])),
        "labels cells are int32, which does not fit the image's uint16 without loss"
    );
    let small = image("cells", |array, _| array["shape"] = json!([2, 1, 4, 6, 7]));
    let refused = message(labels_as_channels(&whole, &[small]));
    assert!(refused.contains("another x size"), "{refused}");
    let mut pyramid = whole;
    pyramid.levels.push(of_shape("c.zarr", [2, 3, 2, 3, 4]).levels.remove(0));
    assert_eq!(
        message(labels_as_channels(&pyramid, &[labels("cells", "|u1")])),
        "labels cells lack levels that the image has"
    );
}

#[test]
fn parts_have_a_limit() {
    let tiles: Vec<_> = (0..2048).map(|number| tile("a", f64::from(number) * 8.0)).collect();
    let row = mosaic(&tiles).expect("tiles");
    let rows: Vec<_> = std::iter::repeat_n(row, 200).collect();
    assert_eq!(message(series(&rows)), "more than 262144 parts");
}

#[test]
fn bricks_follow_the_units_of_all_parts_and_stay_small() {
    let with = |name: &str, chunk: [u64; 5]| {
        image(name, |array, _| {
            array["shape"] = json!([1, 1, 2048, 4096, 4096]);
            array["chunks"] = json!(chunk);
        })
    };
    let cubes = || with("a.zarr", [1, 1, 64, 64, 64]);
    let grid = |image: ImageSource| image.levels[0].unit_grid();
    let part = |x: std::ops::Range<u64>| {
        grid(crop(&cubes(), &Crop { x: Some(x), ..Crop::default() }).expect("inside"))
    };
    assert_eq!(grid(cubes()), [64, 64, 64]);
    assert_eq!(part(128..1000), [64, 64, 64], "at a border");
    assert_eq!(part(100..1000), [64, 64, 128], "shifted");
    assert_eq!(part(70..120), [64, 64, 64], "within one unit");
    let both = |other: [u64; 5]| grid(channels(&[cubes(), with("b.zarr", other)]).expect("alike"));
    assert_eq!(both([1, 1, 128, 32, 64]), [128, 64, 64]);
    assert_eq!(both([1, 1, 96, 64, 64]), [192, 64, 64], "64 and 96 share no border before 192");
    assert_eq!(both([1, 1, 2048, 4, 4]), [2048, 64, 64], "16 MiB");
    // Each unit is small, and what is as long as the longest of each is not.
    assert_eq!(both([1, 1, 1, 4096, 4096]), [64, 64, 64]);
    // Nothing but a gap between two tiles.
    let tiles = [tile("a", 0.0), tile("b", 1e9)];
    let between = Crop { x: Some(100..900_000_000), ..Crop::default() };
    let gap = crop(&mosaic(&tiles).expect("tiles"), &between).expect("inside");
    assert!(gap.levels[0].parts().is_empty());
    assert_eq!(grid(gap), [64; 3]);
}
