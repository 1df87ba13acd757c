//! What the metadata of a store becomes: sizes, names, colours, ranges, and what was acquired how.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Shown, assert_close, ome, source, write_group};
use crate::common::mount::{Mount, can_mount};
use crate::common::tiny::{Tiny, group_json, write_json};
use crate::common::{files, list_json};

/// A store that is good but for one thing.
struct Odd {
    name: &'static str,
    change: Box<dyn Fn(&mut Value)>,
    /// Whether the log says so.
    is_told: bool,
    check: Box<dyn Fn(&Shown)>,
}

/// Changes the scale of a store; `voxel_um` is what becomes of it, order (x, y, z).
fn scale(name: &'static str, scale: Value, voxel_um: [f64; 3]) -> Odd {
    let change = move |ome: &mut Value| {
        let transform = &mut ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0];
        transform["scale"] = scale.clone();
    };
    let check = move |shown: &Shown| assert_close(&shown.voxel_um(), &voxel_um, name);
    Odd { name, change: Box::new(change), is_told: true, check: Box::new(check) }
}

/// Changes a member of the only channel.
fn channel(
    name: &'static str,
    member: &'static str,
    value: Value,
    is_told: bool,
    check: impl Fn(&Shown) + 'static,
) -> Odd {
    let change = move |ome: &mut Value| ome["omero"]["channels"][0][member] = value.clone();
    Odd { name, change: Box::new(change), is_told, check: Box::new(check) }
}

/// Gives the only channel a colour; `rgb` is what becomes of it, 0 to 255.
fn color(name: &'static str, color: &str, is_told: bool, rgb: [u8; 3]) -> Odd {
    channel(name, "color", json!(color), is_told, move |shown| {
        let found = shown.ims.numbers("DataSetInfo/Channel 0", "Color").expect("a colour");
        let same = |(found, part): (&f64, u8)| (found - f64::from(part) / 255.0).abs() < 6e-4;
        assert!(found.len() == 3 && found.iter().zip(rgb).all(same), "{name}: {found:?}");
    })
}

fn odd_stores() -> Vec<Odd> {
    let long = || "\u{e4}".repeat(100_000);
    let cut = |shown: &Shown, group: &str| {
        assert_eq!(shown.ims.text(group, "Name").expect("a name"), "\u{e4}".repeat(512), "{group}");
    };
    let named = move |ome: &mut Value| ome["multiscales"][0]["name"] = json!(long());
    let unit = |ome: &mut Value| ome["multiscales"][0]["axes"][2]["unit"] = json!("furlong");
    let is_measured = |shown: &Shown| {
        let [low, high] = shown.color_range(0);
        assert!(low < high && high > 1.0, "{low} to {high}");
    };
    let range = |low: f64, high: f64| {
        move |shown: &Shown| assert_close(&shown.color_range(0), &[low, high], "range")
    };
    vec![
        scale("negative", json!([-2.0, 0.5, 0.25]), [0.25, 0.5, 2.0]),
        scale("two_of_three", json!([0.5, 0.25]), [0.25, 0.5, 1.0]),
        scale("five_for_three", json!([1, 1, 2.0, 0.5, 0.25]), [0.25, 0.5, 2.0]),
        scale("zero", json!([2.0, 0.0, 0.25]), [0.25, 1.0, 2.0]),
        scale("not_a_number", json!([2.0, 0.5, "NaN"]), [1.0, 0.5, 2.0]),
        Odd {
            name: "unit",
            change: Box::new(unit),
            is_told: true,
            check: Box::new(|shown| assert_close(&shown.voxel_um(), &[0.25, 0.5, 2.0], "unit")),
        },
        Odd {
            name: "long_name",
            change: Box::new(named),
            is_told: true,
            check: Box::new(move |shown| cut(shown, "DataSetInfo/Image")),
        },
        channel("long_label", "label", json!(long()), true, move |shown| {
            cut(shown, "DataSetInfo/Channel 0");
        }),
        color("colour_3", "0f8", false, [0, 255, 136]),
        color("colour_6", "0080FF", false, [0, 128, 255]),
        color("colour_8", "ff8000CC", false, [255, 128, 0]),
        color("colour_rubbish", "greenish", true, [255; 3]),
        channel("window", "window", json!({"start": 7, "end": 900}), false, range(7.0, 900.0)),
        channel("reversed", "window", json!({"start": 900, "end": 7}), true, is_measured),
        channel("unit_window", "window", json!({"start": 0, "end": 1}), false, is_measured),
    ]
}

#[test]
fn bad_metadata_gives_defaults_and_one_log_line() {
    if !can_mount() {
        return;
    }
    let source = source();
    let stores = odd_stores();
    for odd in &stores {
        let store = source.path().join(format!("{}.zarr", odd.name));
        Tiny::default().write_array(&store.join("0"));
        let mut ome = ome("zyx", &[2.0, 0.5, 0.25]);
        ome["omero"] = json!({"channels": [{"label": "DNA", "color": "00FF00", "active": true,
            "window": {"min": 0, "max": 65_535, "start": 3, "end": 4000}}]});
        (odd.change)(&mut ome);
        // Bare, as Python writes it.
        let document = group_json(&json!({"ome": ome})).to_string().replace("\"NaN\"", "NaN");
        fs::write(store.join("zarr.json"), document).expect("metadata");
    }
    let mut listed = files(&list_json(source.path(), &[]));
    listed.sort();
    let mut expected: Vec<String> = stores.iter().map(|odd| format!("{}.ims", odd.name)).collect();
    expected.sort();
    assert_eq!(listed, expected);

    let mount = Mount::of(source.path()).start();
    for odd in &stores {
        let shown = Shown::open(&mount, &format!("{}.ims", odd.name));
        assert_eq!(shown.ims.info_size().expect("a size"), [3, 21, 35], "{}", odd.name);
        let pixels = shown.ims.pixels(0, 0, 0).expect("voxels");
        assert!(pixels == Tiny::default().pixels(), "{}: other voxels", odd.name);
        (odd.check)(&shown);
    }
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    for odd in &stores {
        let path = format!("{}.zarr", odd.name);
        let names_it = |line: &&String| {
            let level = line.contains(" INFO ") || line.contains(" WARN ");
            level && line.split(['=', ' ', ':']).any(|word| word == path)
        };
        let lines: Vec<&String> = stderr.iter().filter(names_it).collect();
        assert_eq!(lines.len(), usize::from(odd.is_told), "{path}: {lines:#?} of {stderr:#?}");
        assert!(lines.iter().all(|line| line.len() < 1000), "{path}: a long line");
    }
    assert!(!stderr.iter().any(|line| line.contains(" ERROR ")), "{stderr:#?}");
}

#[test]
fn default_unit_applies_to_lengths_without_a_unit() {
    if !can_mount() {
        return;
    }
    let source = source();
    let write = |name: &str, units: [Option<&str>; 3]| {
        let store = source.path().join(name);
        Tiny::default().write_array(&store.join("0"));
        let mut ome = ome("zyx", &[2.0, 0.5, 0.25]);
        let image = &mut ome["multiscales"][0];
        for (axis, unit) in units.iter().enumerate() {
            image["axes"][axis]["unit"] = json!(unit);
        }
        image["datasets"][0]["coordinateTransformations"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"type": "translation", "translation": [10.0, 20.0, 30.0]}));
        write_group(&store, &ome);
    };
    write("bare.zarr", [None; 3]);
    write("mixed.zarr", [None, Some("nanometer"), Some("micrometer")]);
    Tiny::default().write_array(&source.path().join("plain.zarr"));

    let look = |args: &[&str]| {
        let mount = Mount::of(source.path()).args(args).start();
        ["bare.ims", "mixed.ims", "plain.ims"].map(|name| {
            let shown = Shown::open(&mount, name);
            assert_eq!(shown.ims.text("DataSetInfo/Image", "Unit").expect("a unit"), "um");
            (shown.voxel_um(), shown.ims.extents().expect("extents").map(|(low, _)| low))
        })
    };
    let expected = |bare: f64| {
        [
            ([0.25, 0.5, 2.0].map(|um| um * bare), [30.0, 20.0, 10.0].map(|um| um * bare)),
            ([0.25, 0.0005, 2.0 * bare], [30.0, 0.02, 10.0 * bare]),
            ([1.0; 3], [0.0; 3]),
        ]
    };
    for (args, unit) in
        [(&[][..], 1.0), (&["--default-unit", "mm"], 1000.0), (&["--default-unit=nanometer"], 1e-3)]
    {
        for ((voxel, origin), (want_voxel, want_origin)) in look(args).iter().zip(expected(unit)) {
            assert_close(voxel, &want_voxel, &format!("voxels with {args:?}"));
            assert_close(origin, &want_origin, &format!("origin with {args:?}"));
        }
    }
}

const OME_XML: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
  <Instrument ID="Instrument:0">
    <Microscope Manufacturer="Maker" Model="Stand 7" Type="Inverted"/>
    <Objective ID="Objective:0" NominalMagnification="63" LensNA="1.4" Immersion="Oil"/>
  </Instrument>
  <Image ID="Image:0" Name="embryo 12">
    <AcquisitionDate>2021-03-04T05:06:07</AcquisitionDate>
    <Description>third of five</Description>
    <InstrumentRef ID="Instrument:0"/>
    <ObjectiveSettings ID="Objective:0"/>
    <Pixels ID="Pixels:0" Type="uint16" SizeX="35" SizeY="21" SizeZ="3" SizeC="1" SizeT="1"
        DimensionOrder="XYZCT">
      <Channel ID="Channel:0:0" Name="GFP" EmissionWavelength="525" ExcitationWavelength="488"
          SamplesPerPixel="1" Color="16711935"/>
    </Pixels>
  </Image>
</OME>
"#;

/// The layout of bioformats2raw: images are numbered, and an OME-XML lies beside them.
fn write_series(store: &Path) {
    Tiny::default().write_array(&store.join("0/0"));
    let mut ome = ome("zyx", &[2.0, 0.5, 0.25]);
    ome["multiscales"][0].as_object_mut().expect("an object").remove("name");
    let attributes = json!({"ome": ome, "xyz_orientation": "RAS",
        "acquisition": {"operator": "somebody", "laser": {"power": 12}}});
    write_json(&store.join("0/zarr.json"), &group_json(&attributes));
    fs::create_dir_all(store.join("OME")).expect("a folder");
    fs::write(store.join("OME/METADATA.ome.xml"), OME_XML).expect("OME-XML");
    let series = json!({"ome": {"version": "0.5", "series": ["0"]}});
    write_json(&store.join("OME/zarr.json"), &group_json(&series));
    let root = json!({"ome": {"version": "0.5", "bioformats2raw.layout": 3}});
    write_json(&store.join("zarr.json"), &group_json(&root));
}

#[test]
fn acquisition_metadata_is_kept() {
    if !can_mount() {
        return;
    }
    let source = source();
    write_series(&source.path().join("deep/series.zarr"));
    let mount = Mount::of(source.path()).start();
    let shown = Shown::open(&mount, "deep/series.ims");
    for (group, name, expected) in [
        ("Image", "Name", "embryo 12"),
        ("Image", "Description", "third of five"),
        ("Image", "RecordingDate", "2021-03-04 05:06:07"),
        ("TimeInfo", "TimePoint1", "2021-03-04 05:06:07"),
        ("Image", "LensPower", "63"),
        ("Image", "NumericalAperture", "1.4"),
        ("Image", "ManufactorString", "Maker"),
        ("Image", "ManufactorType", "Stand 7"),
        ("Objective", "Immersion", "Oil"),
        ("Channel 0", "Name", "GFP"),
        ("Channel 0", "Color", "0.000 1.000 0.000"),
        ("Channel 0", "LSMEmissionWavelength", "525"),
        ("Channel 0", "LSMExcitationWavelength", "488"),
        ("OME-Zarr", "Store", "deep/series.zarr"),
        ("OME-Zarr", "Image", "0"),
        ("OME-Zarr", "NGFFVersion", "0.5"),
        ("OME-Zarr", "ZarrFormat", "3"),
        ("OME-Zarr", "DataType", "uint16"),
        ("OME-Zarr", "xyz_orientation", "RAS"),
        ("acquisition", "operator", "somebody"),
        ("acquisition", "laser.power", "12"),
    ] {
        let found = shown.ims.text(&format!("DataSetInfo/{group}"), name);
        let found = found.unwrap_or_else(|error| panic!("{group} {name}: {error}"));
        assert_eq!(found, expected, "{group} {name}");
    }
}
