//! OME-NGFF metadata of a group, versions 0.1 to 0.6, read whatever version it claims to have. A member of
//! the wrong type counts as absent.
//!
//! Sources: OME-NGFF 0.1 to 0.5, "multiscales", "omero" and "axes"; 0.6 (RFC-5),
//! "coordinateSystems" and "coordinateTransformations".

use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::axes::{Axes, Axis, parse_axes};
use super::conventions;
use super::json::text;
use super::omero::Omero;
use super::transform::Transform;

/// Entries of `multiscales` that are looked at; real groups have one, or a few.
const MULTISCALES_LIMIT: usize = 256;

/// Levels of an image that are looked at: each halves some axis, and lengths have 64 bits.
pub(crate) const LEVELS_LIMIT: usize = 64;

/// One entry of `multiscales`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Multiscale {
    pub(crate) name: Option<String>,
    /// In stored order; `None` where the metadata states none (0.1, 0.2).
    pub(crate) axes: Option<Vec<Axis>>,
    /// As listed.
    pub(crate) datasets: Vec<Dataset>,
    /// Datasets beyond [`LEVELS_LIMIT`].
    pub(crate) left_out: usize,
    pub(crate) omero: Omero,
    /// Transforms of all datasets, after their own.
    whole: Vec<Value>,
}

/// One level of a multiscale image.
#[derive(Debug, Default, Clone)]
pub(crate) struct Dataset {
    /// Path relative to the group.
    pub(crate) path: String,
    /// Its own transforms.
    steps: Vec<Value>,
    /// The member `transform` of COSEM.
    cosem: Option<Value>,
}

impl Multiscale {
    /// From array index to axis units, for a level with these axes; identity where nothing usable is
    /// stated.
    pub(crate) fn transform(&self, dataset: &Dataset, axes: &Axes) -> Transform {
        let found = Transform::of(dataset.steps.iter().chain(&self.whole), axes);
        let cosem = || conventions::cosem(dataset.cosem.as_ref()?, axes);
        if found.is_scaled() {
            return found;
        }
        cosem().filter(Transform::is_scaled).map_or(found, |mut transform| {
            let note = || "voxel size is that of \"transform\" in the dataset".to_owned();
            transform.assumed.get_or_insert_with(note);
            transform
        })
    }
}

impl Dataset {
    /// Names of the axes, where the dataset states them itself (COSEM).
    pub(crate) fn axis_names(&self) -> Option<Vec<String>> {
        conventions::names(self.cosem.as_ref()?.get("axes"))
    }
}

/// The attributes that hold OME metadata: below `ome` since 0.5, else at the top.
fn ome_attributes(attributes: &Map<String, Value>) -> &Map<String, Value> {
    match attributes.get("ome") {
        Some(Value::Object(ome)) if ome.contains_key("multiscales") => ome,
        _ => attributes,
    }
}

fn multiscale_entries(
    attributes: &Map<String, Value>,
) -> impl Iterator<Item = &Map<String, Value>> {
    let entries = ome_attributes(attributes).get("multiscales").and_then(Value::as_array);
    entries.into_iter().flatten().filter_map(Value::as_object)
}

/// How many entries of `multiscales` there are beyond those that [`multiscales`] gives.
pub(crate) fn multiscales_left_out(attributes: &Map<String, Value>) -> usize {
    multiscale_entries(attributes).skip(MULTISCALES_LIMIT).count()
}

/// The usable entries of `multiscales`, as many as any real group has; empty when the group holds no
/// image.
pub(crate) fn multiscales(attributes: &Map<String, Value>) -> Vec<Multiscale> {
    let ome = attributes.get("ome").and_then(Value::as_object);
    let group = Omero::find(ome.into_iter().chain([attributes]));
    multiscale_entries(attributes)
        .take(MULTISCALES_LIMIT)
        .map(|entry| {
            let mut multiscale = parse_multiscale(entry);
            if multiscale.omero == Omero::default() {
                multiscale.omero.clone_from(&group);
            }
            multiscale
        })
        .collect()
}

/// The entry of `multiscales` in the attributes of an array that names the array itself, and which
/// of its datasets does.
pub(crate) fn own_multiscale(attributes: &Map<String, Value>) -> Option<(Multiscale, usize)> {
    multiscales(attributes).into_iter().find_map(|multiscale| {
        let at = multiscale.datasets.iter().position(|dataset| is_here(&dataset.path))?;
        Some((multiscale, at))
    })
}

/// Whether a path leads to where it starts.
fn is_here(path: &str) -> bool {
    Path::new(path).components().all(|part| part == Component::CurDir)
}

/// Names in the `labels` list of a `labels` group.
pub(crate) fn label_names(attributes: &Map<String, Value>) -> Vec<String> {
    let ome = match attributes.get("ome") {
        Some(Value::Object(ome)) => ome,
        _ => attributes,
    };
    let labels = ome.get("labels").and_then(Value::as_array);
    labels.map(|names| names.iter().filter_map(text).collect()).unwrap_or_default()
}

/// Whether the group says that it is a label image.
pub(crate) fn is_label(attributes: &Map<String, Value>) -> bool {
    attributes.contains_key("image-label")
        || attributes.get("ome").is_some_and(|ome| ome.get("image-label").is_some())
}

/// Whether the group holds a table (`AnnData` specification, "encoding-type"), whose arrays are no
/// images.
pub(crate) fn is_table(attributes: &Map<String, Value>) -> bool {
    attributes.contains_key("encoding-type")
}

fn parse_multiscale(entry: &Map<String, Value>) -> Multiscale {
    // Entries with an output name alternative coordinate systems (spatialdata, 0.6): not a chain.
    let whole: Vec<Value> = transforms(entry.get("coordinateTransformations"))
        .into_iter()
        .filter(|transform| transform.get("output").is_none())
        .collect();
    let mut datasets = Vec::new();
    let mut system = None;
    let listed = entry.get("datasets").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for dataset in &listed[..listed.len().min(LEVELS_LIMIT)] {
        let Some(path) = dataset.get("path").and_then(text) else { continue };
        let steps = transforms(dataset.get("coordinateTransformations"));
        if system.is_none() {
            system = steps.first().and_then(output_name);
        }
        datasets.push(Dataset { path, steps, cosem: dataset.get("transform").cloned() });
    }
    let axes = parse_axes(entry.get("axes")).or_else(|| {
        let systems = entry.get("coordinateSystems").and_then(Value::as_array)?;
        let named = systems
            .iter()
            .find(|candidate| system.is_some() && candidate.get("name").and_then(text) == system);
        parse_axes(named.or_else(|| systems.first())?.get("axes"))
    });
    let nested = entry.get("metadata").and_then(Value::as_object);
    Multiscale {
        name: entry.get("name").and_then(text).filter(|name| !name.is_empty()),
        axes,
        datasets,
        left_out: listed.len().saturating_sub(LEVELS_LIMIT),
        omero: Omero::find([entry].into_iter().chain(nested)),
        whole,
    }
}

/// A list of transforms; some writers leave the brackets out around a single one.
fn transforms(value: Option<&Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(list)) => list.clone(),
        Some(single @ Value::Object(_)) => vec![single.clone()],
        _ => Vec::new(),
    }
}

/// `output` is a string in 0.6.dev1 and an object with a name since.
fn output_name(transform: &Value) -> Option<String> {
    let output = transform.get("output")?;
    text(output).or_else(|| output.get("name").and_then(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &Value) -> Vec<Multiscale> {
        multiscales(value.as_object().expect("object"))
    }

    fn yx() -> Axes {
        Axes::of_array(None, &[8, 8]).expect("axes")
    }

    #[test]
    fn transforms_of_the_image_follow_those_of_the_level() {
        let found = parse(&json!({"multiscales": [{
            "datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [2.0, 0.5]},
                {"type": "translation", "translation": [4.0, 1.0]}]}],
            "coordinateTransformations": [{"type": "scale", "scale": [10.0, 10.0]},
                {"type": "identity", "output": {"name": "global"}}]}]}));
        let transform = found[0].transform(&found[0].datasets[0], &yx());
        assert_eq!(transform.scale, [Some(20.0), Some(5.0)]);
        assert_eq!(transform.translation, [Some(40.0), Some(10.0)]);
    }

    #[test]
    fn a_single_transform_and_that_of_cosem() {
        let scale = json!({"type": "scale", "scale": [2, 3]});
        let cosem = json!({"axes": ["x", "y"], "scale": [3, 2], "units": ["nm", "nm"]});
        let found = parse(&json!({"multiscales": [{"datasets": [
            {"path": "0", "coordinateTransformations": scale},
            {"path": "1", "transform": cosem},
            {"path": "2", "transform": cosem, "coordinateTransformations": [
                {"type": "scale", "scale": [4, 5]}]}]}]}));
        let scales = found[0].datasets.iter().map(|d| found[0].transform(d, &yx()).scale);
        let yx = |y: f64, x: f64| vec![Some(y), Some(x)];
        assert_eq!(scales.collect::<Vec<_>>(), [yx(2.0, 3.0), yx(2.0, 3.0), yx(4.0, 5.0)]);
        assert_eq!(found[0].datasets[1].axis_names(), Some(vec!["x".into(), "y".into()]));
    }

    #[test]
    fn rubbish_members_count_as_absent() {
        let found = parse(&json!({"multiscales": [{"name": 7, "axes": [], "datasets": [
            {"path": 0}, {"path": null}, 3]}]}));
        assert_eq!(found[0].name.as_deref(), Some("7"));
        assert!(found[0].axes.is_none());
        assert_eq!(found[0].datasets.len(), 1);
        assert_eq!(found[0].datasets[0].path, "0");
    }

    #[test]
    fn display_settings_are_found_wherever_they_are() {
        let omero = json!({"channels": [{"label": "DNA"}]});
        let image = json!({"datasets": [{"path": "0"}]});
        let with = |key: &str, value: &Value| {
            let mut image = image.clone();
            image[key] = value.clone();
            image
        };
        for attributes in [
            json!({"ome": {"multiscales": [image], "omero": omero}}),
            json!({"ome": {"multiscales": [image]}, "omero": omero}),
            json!({"multiscales": [image], "omero": omero}),
            json!({"multiscales": [image], "ome": {"omero": omero}}),
            json!({"multiscales": [with("omero", &omero)], "omero": {"channels": [{}]}}),
            json!({"multiscales": [with("metadata", &json!({"omero": omero}))]}),
        ] {
            let found = parse(&attributes);
            assert_eq!(found[0].omero.channels[0].label.as_deref(), Some("DNA"), "{attributes}");
        }
    }

    #[test]
    fn an_array_may_name_itself() {
        let own = |path: &str| {
            let attributes = json!({"multiscales": [{"datasets": [{"path": path}]}]});
            own_multiscale(attributes.as_object().expect("an object")).is_some()
        };
        assert!(own(".") && own("") && own("./"));
        assert!(!own("0") && !own("..") && !own("/"));
    }
}
