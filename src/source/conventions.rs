//! Voxel sizes that other conventions than OME-NGFF put into the attributes of arrays and groups.
//!
//! | Attribute | Order of its numbers | Convention |
//! |---|---|---|
//! | `transform` {`axes`, `units`, `scale`, `translate`} | as `axes` says | COSEM (`janelia-cosem/schemas`, "multiscale") |
//! | `pixelResolution` {`dimensions`, `unit`}, or a list | x, y, z | n5-viewer (`saalfeldlab/n5-viewer` README) |
//! | `voxel_size` or `resolution`, `offset`, `units`, `axis_names` | as `axis_names` says, else of the array | funlib, daisy (`funkelab/funlib.persistence` `arrays/metadata.py`) |
//! | `voxel_zyx_um`, `voxel_size_um`, `pixel_size_x_um`, `element_size_um`, `physical_size_x` with `..._unit`, and their like | as the name says, else of the array | acquisition software; HDF5 of `ImageJ`; OME-XML |
//! | `scale`, `translation` or `translate`, `units` | of the array; only with `units` | napari and others |
//! | `spacing`, `origin` | by name; a list where x and y are equal: the other number is z. ITK has x first, numpy z | ITK and others |
//!
//! Names may be written in camel case (`voxelSize`, `PhysicalSizeX`). A size without a unit has none here
//! either: funlib has no default.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::axes::Axes;
use super::json::{number, text};
use super::transform::{Transform, numbers, units};
use super::units::micrometres;

/// Bytes of a name of an attribute that is looked at.
const NAME_LIMIT_BYTES: usize = 40;

/// Numbers of a list that may be voxel sizes; arrays have at most 16 dimensions.
const LIST_LIMIT: usize = 16;

/// The statements of a convention.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Convention {
    /// The attribute that it was found by.
    pub(crate) name: String,
    /// From array index to place.
    pub(crate) transform: Transform,
}

/// Attributes by their names in small letters with `_` between words.
struct Attributes<'a>(BTreeMap<String, (&'a str, &'a Value)>);

impl<'a> Attributes<'a> {
    fn new(attributes: &'a Map<String, Value>) -> Self {
        let named = attributes.iter().filter(|(name, _)| name.len() <= NAME_LIMIT_BYTES);
        Self(named.map(|(name, value)| (snake(name), (name.as_str(), value))).collect())
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).map(|(_, value)| *value)
    }

    /// The first of several that is there.
    fn any(&self, names: &[&str]) -> Option<&'a Value> {
        names.iter().find_map(|name| self.get(name))
    }

    /// A unit that belongs to all lengths.
    fn unit(&self) -> Option<&'a Value> {
        let names = ["units", "unit", "voxel_unit", "voxel_units", "voxel_size_unit"];
        self.any(&names)
            .or_else(|| self.any(&["voxel_size_units", "pixel_size_unit", "pixel_unit"]))
    }
}

/// `voxelSizeUm` as `voxel_size_um`.
fn snake(name: &str) -> String {
    let mut found = String::with_capacity(name.len() + 4);
    let mut is_small = false;
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        // `sizeX`, and the `U` of `sizeXUnit`.
        let begins_word = letters.peek().is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && !found.is_empty() && (is_small || begins_word) {
            found.push('_');
        }
        is_small = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        found.push(if matches!(letter, '-' | ' ' | '.') {
            '_'
        } else {
            letter.to_ascii_lowercase()
        });
    }
    found
}

/// Whether attributes state a length for each of so many dimensions.
pub(crate) fn has_lengths(attributes: &Map<String, Value>, dimensions: usize) -> bool {
    const NAMES: [&str; 7] = [
        "voxel_size",
        "resolution",
        "spacing",
        "offset",
        "element_size_um",
        "voxel_size_um",
        "scale",
    ];
    let attributes = Attributes::new(attributes);
    let nested = attributes.get("transform").and_then(|transform| transform.get("scale"));
    let lists = NAMES.iter().filter_map(|name| attributes.get(name)).chain(nested);
    lists.filter_map(Value::as_array).any(|list| list.len() == dimensions)
}

/// The first convention that attributes follow.
pub(crate) fn find(
    attributes: &Map<String, Value>,
    axes: &Axes,
    notes: &mut Vec<String>,
) -> Option<Convention> {
    let names = axis_names(attributes).or_else(|| names(attributes.get("_ARRAY_DIMENSIONS")));
    let attributes = &Attributes::new(attributes);
    let named = |name: &str, transform: Option<Transform>| {
        let transform = transform.filter(Transform::is_scaled)?;
        Some(Convention { name: name.to_owned(), transform })
    };
    let funlib = |size: &str| named(size, funlib(attributes, size, names.as_deref(), axes));
    let found = named("transform", attributes.get("transform").and_then(|t| cosem(t, axes)))
        .or_else(|| named("pixelResolution", n5_viewer(attributes, axes)))
        .or_else(|| funlib("voxel_size"))
        .or_else(|| funlib("resolution"))
        .or_else(|| named_units(attributes, axes))
        .or_else(|| attributes.unit().and_then(|_| funlib("scale")))
        .or_else(|| named("spacing", spacing(attributes, names, axes, notes)));
    if found.is_none() && attributes.get("spacing").is_some_and(Value::is_array) {
        let note = "\"spacing\" is not used: its order of axes is not told";
        // The attributes of an array by itself are those of the image, too.
        if !notes.iter().any(|known| known == note) {
            notes.push(note.to_owned());
        }
    }
    found
}

/// Names of axes that these conventions state; those of channels end in `^` (funlib).
pub(crate) fn axis_names(attributes: &Map<String, Value>) -> Option<Vec<String>> {
    names(attributes.get("axis_names")).or_else(|| names(attributes.get("transform")?.get("axes")))
}

/// The member `transform` of a dataset or an array (COSEM).
pub(crate) fn cosem(transform: &Value, axes: &Axes) -> Option<Transform> {
    let members = transform.as_object()?;
    let order = names(members.get("axes"));
    Some(by_order(
        members.get("scale")?,
        members.get("translate").or_else(|| members.get("translation")),
        members.get("units").or_else(|| members.get("unit")),
        order.as_deref(),
        axes,
    ))
}

/// A list of names of axes.
pub(crate) fn names(value: Option<&Value>) -> Option<Vec<String>> {
    let list = value?.as_array().filter(|list| list.len() <= LIST_LIMIT)?;
    let names: Option<Vec<String>> = list.iter().map(text).collect();
    Some(names?.into_iter().map(|name| name.trim_end_matches('^').to_owned()).collect())
}

/// A transform whose lists are in the order of `names`; without them, in that of the array.
fn by_order(
    scale: &Value,
    translation: Option<&Value>,
    unit: Option<&Value>,
    names: Option<&[String]>,
    axes: &Axes,
) -> Transform {
    let mut found = Transform::default();
    let ordered = |value: &Value| -> Option<Vec<Option<Value>>> {
        let list = value.as_array()?;
        let names = names.filter(|names| names.len() == list.len())?;
        let mut ordered = vec![None; axes.stored.len()];
        for (name, value) in names.iter().zip(list) {
            ordered[axes.dimension(name)?] = Some(value.clone());
        }
        Some(ordered)
    };
    let mut by_axis = |value: Option<&Value>| match value.and_then(ordered) {
        Some(ordered) => ordered.iter().map(|value| number(value.as_ref()?)).collect(),
        None => numbers(value.filter(|value| is_short(value)), axes, &mut found.assumed),
    };
    let (scale, translation) = (by_axis(Some(scale)), by_axis(translation));
    found.units = match unit.and_then(ordered) {
        Some(ordered) => ordered.iter().map(|unit| text(unit.as_ref()?)).collect(),
        None => units(unit, axes),
    };
    Transform { scale, translation, ..found }
}

fn is_short(value: &Value) -> bool {
    value.as_array().is_none_or(|list| list.len() <= LIST_LIMIT)
}

fn funlib(
    attributes: &Attributes<'_>,
    size: &str,
    names: Option<&[String]>,
    axes: &Axes,
) -> Option<Transform> {
    let scale = attributes.get(size).filter(|value| value.is_array() || value.is_object())?;
    let offset = attributes.any(&["offset", "translation", "translate"]);
    Some(by_order(scale, offset, attributes.unit(), names, axes))
}

fn n5_viewer(attributes: &Attributes<'_>, axes: &Axes) -> Option<Transform> {
    let value = attributes.get("pixel_resolution")?;
    let (list, unit) = match value {
        Value::Object(members) => (members.get("dimensions")?, members.get("unit")),
        list => (list, attributes.unit()),
    };
    let order = ["x", "y", "z"].map(str::to_owned);
    let known = order.get(..list.as_array()?.len())?;
    let known: Vec<String> =
        known.iter().filter(|name| axes.dimension(name).is_some()).cloned().collect();
    let list = Value::Array(list.as_array()?.iter().take(known.len()).cloned().collect());
    Some(by_order(&list, None, unit, Some(&known), axes))
}

fn spacing(
    attributes: &Attributes<'_>,
    names: Option<Vec<String>>,
    axes: &Axes,
    notes: &mut Vec<String>,
) -> Option<Transform> {
    let scale = attributes.get("spacing")?;
    let own = || attributes.any(&["axes", "dims"]).and_then(|list| self::names(Some(list)));
    let mut order = names.or_else(own);
    let is_clear = scale.is_object()
        || scale.as_array().zip(order.as_ref()).is_some_and(|(list, names)| {
            list.len() == names.len() && names.iter().all(|name| axes.dimension(name).is_some())
        });
    if !is_clear {
        let (letters, note) = order_by_plane(scale, axes)?;
        order = Some(letters.chars().map(String::from).collect());
        notes.push(note);
    }
    let origin = attributes.any(&["origin", "translation"]);
    Some(by_order(scale, origin, attributes.unit(), order.as_deref(), axes))
}

/// The order of lengths of which two are equal: those are x and y, in nearly all images.
fn order_by_plane(lengths: &Value, axes: &Axes) -> Option<(&'static str, String)> {
    let list: Vec<f64> = lengths.as_array()?.iter().map(number).collect::<Option<_>>()?;
    let is_same = |a: f64, b: f64| (a - b).abs() <= a.abs() * 1e-6;
    let letters = match (list.as_slice(), axes.space().len()) {
        ([y, x], 2) if is_same(*y, *x) => "yx",
        ([_, y, x], 3) if is_same(*y, *x) => "zyx",
        ([x, y, _], 3) if is_same(*x, *y) => "xyz",
        _ => return None,
    };
    Some((
        letters,
        format!("the order of \"spacing\" is taken for {letters}, as x and y are equal"),
    ))
}

/// Attributes whose names say the unit, the order or both, such as `voxel_zyx_um`.
fn named_units(attributes: &Attributes<'_>, axes: &Axes) -> Option<Convention> {
    let mut name = None;
    let mut found = Transform::default();
    let dimensions = axes.stored.len();
    for (key, &(stated, value)) in &attributes.0 {
        let Some(Words { order, unit, is_plane }) = words(key) else { continue };
        let beside = || attributes.any(&[&format!("{key}_unit"), &format!("{key}_units")]);
        let beside = || beside().or_else(|| attributes.unit()).and_then(text);
        let unit = unit.map(str::to_owned).or_else(beside);
        let mut own = Transform::default();
        let sizes = match (value, order) {
            (Value::Array(_), Some(order)) => {
                let names: Vec<String> = order.chars().map(String::from).collect();
                if value.as_array().is_none_or(|list| list.len() != names.len()) {
                    continue;
                }
                by_order(value, None, None, Some(&names), axes).scale
            }
            (Value::Array(_) | Value::Object(_), _) if is_short(value) => {
                numbers(Some(value), axes, &mut own.assumed)
            }
            (single, order) => {
                let Some(size) = number(single) else { continue };
                let letters = order.unwrap_or(if is_plane { "yx" } else { "zyx" });
                let mut sizes = vec![None; dimensions];
                for letter in letters.chars() {
                    if let Some(at) = axes.dimension(&letter.to_string()) {
                        sizes[at] = Some(size);
                    }
                }
                sizes
            }
        };
        found.scale.resize(dimensions, None);
        found.units.resize(dimensions, None);
        for (at, size) in sizes.into_iter().enumerate() {
            if found.scale[at].is_none() && size.is_some() {
                found.scale[at] = size;
                found.units[at].clone_from(&unit);
                name.get_or_insert_with(|| stated.to_owned());
            }
        }
        found.assumed = found.assumed.or(own.assumed);
    }
    Some(Convention { name: name?, transform: found })
}

/// The meaning of the words of an attribute's name.
struct Words<'a> {
    order: Option<&'a str>,
    unit: Option<&'a str>,
    /// A pixel, which has no depth.
    is_plane: bool,
}

/// Reads a name such as `voxel_zyx_um`; `None` for names with other words, or that say neither the order,
/// nor the unit, nor that it is a size.
fn words(key: &str) -> Option<Words<'_>> {
    let mut words = key.split('_');
    let (is_plane, mut is_size) = match words.next()? {
        "voxel" | "element" | "physical" => (false, false),
        "voxelsize" => (false, true),
        "pixel" => (true, false),
        "pixelsize" => (true, true),
        _ => return None,
    };
    let (mut order, mut unit) = (None, None);
    for word in words {
        let is_order = word.chars().all(|letter| "zyx".contains(letter));
        match word {
            "size" | "sizes" => is_size = true,
            "spacing" | "resolution" => {}
            word if is_order && !word.is_empty() && order.is_none() => order = Some(word),
            word if micrometres(word).is_some() && unit.is_none() => unit = Some(word),
            _ => return None,
        }
    }
    let is_told = order.is_some() || unit.is_some() || is_size;
    is_told.then_some(Words { order, unit, is_plane })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn axes(names: &str) -> Axes {
        let shape = vec![8; names.len()];
        let names = names.chars().map(String::from).collect();
        Axes::of_array(Some(names), &shape, false).expect("axes")
    }

    fn found(attributes: &Value, names: &str) -> Convention {
        let attributes = attributes.as_object().expect("an object");
        find(attributes, &axes(names), &mut Vec::new()).unwrap_or_else(|| panic!("{attributes:?}"))
    }

    fn nothing(attributes: &Value) -> Vec<String> {
        let mut notes = Vec::new();
        let attributes = attributes.as_object().expect("an object");
        assert_eq!(find(attributes, &axes("zyx"), &mut notes), None, "{attributes:?}");
        notes
    }

    const ZYX: [Option<f64>; 3] = [Some(40.0), Some(8.0), Some(4.0)];

    #[test]
    fn funlib_and_daisy() {
        let own = json!({"resolution": [40, 8, 4], "offset": [0, 80, 160], "units": ["nm", "nm", "nm"],
            "axis_names": ["z", "y", "x"]});
        let found_one = found(&own, "zyx").transform;
        assert_eq!(found_one.scale, ZYX);
        assert_eq!(found_one.translation, [Some(0.0), Some(80.0), Some(160.0)]);
        assert_eq!(found_one.unit_of(1), Some("nm"));
        let other = json!({"voxel_size": [4, 8, 40], "axis_names": ["x", "y", "z"]});
        let found_one = found(&other, "zyx").transform;
        assert_eq!(found_one.scale, ZYX);
        assert_eq!(found_one.unit_of(1), None);
        let channels =
            json!({"voxel_size": [40, 8, 4], "axis_names": ["c^", "z", "y", "x"], "units": "nm"});
        assert_eq!(found(&channels, "czyx").transform.scale[1..], ZYX);
        let bare = json!({"voxel_size": [40, 8, 4]});
        assert_eq!(found(&bare, "czyx").transform.scale[1..], ZYX);
    }

    #[test]
    fn cosem_and_n5_viewer() {
        let cosem = json!({"transform": {"axes": ["x", "y", "z"], "units": ["nm", "nm", "um"],
            "scale": [4, 8, 40], "translate": [1, 2, 3]}});
        let transform = found(&cosem, "zyx").transform;
        assert_eq!(transform.scale, ZYX);
        assert_eq!(transform.translation, [Some(3.0), Some(2.0), Some(1.0)]);
        assert_eq!((transform.unit_of(0), transform.unit_of(2)), (Some("um"), Some("nm")));
        let viewer = json!({"pixelResolution": {"dimensions": [4, 8, 40], "unit": "um"},
            "downsamplingFactors": [2, 2, 2]});
        let transform = found(&viewer, "zyx").transform;
        assert_eq!((&transform.scale[..], transform.unit_of(0)), (&ZYX[..], Some("um")));
    }

    #[test]
    fn names_that_say_the_unit_and_the_order() {
        for (attributes, unit) in [
            (json!({"voxel_zyx_um": [40, 8, 4]}), Some("um")),
            (json!({"voxel_size_xyz_nm": [4, 8, 40]}), Some("nm")),
            (json!({"voxel_size_um": [40, 8, 4]}), Some("um")),
            (json!({"voxel_size_um": {"x": 4, "y": 8, "z": 40}}), Some("um")),
            (
                json!({"pixel_size_x_um": 4, "pixel_size_y_um": 8, "voxel_size_z_um": 40}),
                Some("um"),
            ),
            (json!({"voxel_size_zyx": [40, 8, 4]}), None),
            (json!({"voxelSizeUm": [40, 8, 4]}), Some("um")),
            (json!({"element_size_um": [40, 8, 4]}), Some("um")),
            (json!({"voxelSize": [40, 8, 4], "voxelUnit": "nm"}), Some("nm")),
            (
                json!({"PhysicalSizeX": 4, "PhysicalSizeY": 8, "PhysicalSizeZ": "40",
                    "PhysicalSizeZUnit": "mm"}),
                Some("mm"),
            ),
            (json!({"scale": [40, 8, 4], "units": "um"}), Some("um")),
        ] {
            let transform = found(&attributes, "zyx").transform;
            assert_eq!(transform.scale, ZYX, "{attributes}");
            assert_eq!(transform.unit_of(0), unit, "{attributes}");
        }
        for plane in [json!({"pixel_size_um": 0.1}), json!({"pixelSize": 0.1})] {
            let plane = found(&plane, "zyx").transform;
            assert_eq!(plane.scale, [None, Some(0.1), Some(0.1)]);
        }
    }

    #[test]
    fn spacing_is_used_where_its_order_is_clear() {
        let by_name = json!({"spacing": {"x": 4, "y": 8, "z": 40}, "unit": "nm"});
        assert_eq!(found(&by_name, "zyx").transform.scale, ZYX);
        let listed = json!({"spacing": [4, 8, 40], "origin": [1, 2, 3], "dims": ["x", "y", "z"]});
        assert_eq!(found(&listed, "zyx").transform.scale, ZYX);
        assert_eq!(found(&listed, "zyx").transform.translation_of(0), Some(3.0));
        assert_eq!(nothing(&json!({"spacing": [4, 8, 40]})).len(), 1);
        for (list, z, x) in [([9, 4, 4], 9.0, 4.0), ([4, 4, 9], 9.0, 4.0), ([3, 3, 3], 3.0, 3.0)] {
            let equal = found(&json!({"spacing": list}), "czyx").transform;
            assert_eq!((equal.scale_of(1), equal.scale_of(3)), (Some(z), Some(x)), "{list:?}");
        }
    }

    #[test]
    fn rubbish_states_nothing() {
        for rubbish in [
            json!({"resolution": "high"}),
            json!({"resolution": 300}),
            json!({"scale": [2, 2, 2]}),
            json!({"spacing": [2, 2]}),
            json!({"physical": 3}),
            json!({"voxel_size": []}),
            json!({"voxel_size": vec![1.0; 1000]}),
            json!({"transform": {"type": "scale"}}),
            json!({"transform": "none"}),
            json!({"voxel_zyx_um": [1, 2]}),
            json!({"voxel_count_um": [1, 2, 3]}),
            json!({"pixelResolution": {"unit": "um"}}),
            json!({"pixelResolution": [1, 2, 3, 4]}),
            json!({"voxel_size": null, "offset": [0, 0, 0]}),
        ] {
            nothing(&rubbish);
        }
    }
}
