//! OME-NGFF metadata of a group, versions 0.1 to 0.6, read whatever version it claims to have. A member of
//! the wrong type counts as absent.
//!
//! Sources: OME-NGFF 0.1 to 0.5, "multiscales", "omero" and "axes"; 0.6 (RFC-5),
//! "coordinateSystems" and "coordinateTransformations".

use std::borrow::Cow;
use std::path::{Component, Path};

use serde_json::{Map, Value, json};

use super::axes::{Axes, Axis, parse_axes};
use super::conventions;
use super::json::text;
use super::nodes::{self, Nodes};
use super::omero::Omero;
use super::scene::Placement;
use super::systems::{self, Alternative, Systems, name_of};
use super::transform::{Step, Transform};

/// Entries of `multiscales` that are looked at; real groups have one, or a few.
const MULTISCALES_LIMIT: usize = 256;

/// Levels of an image that are looked at: each halves some axis, and lengths have 64 bits.
pub(crate) const LEVELS_LIMIT: usize = 64;

/// One entry of `multiscales`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Multiscale {
    pub(crate) name: Option<String>,
    /// Of the intrinsic coordinates; `None` where the metadata states none (0.1, 0.2).
    axes: Option<Vec<Axis>>,
    /// As listed.
    pub(crate) datasets: Vec<Dataset>,
    /// Datasets beyond [`LEVELS_LIMIT`].
    pub(crate) left_out: usize,
    pub(crate) omero: Omero,
    /// The entry says that it is a label image (RFC-8).
    pub(crate) is_label: bool,
    /// What was assumed, for the log.
    pub(crate) notes: Vec<String>,
    /// Transforms of all datasets, after their own.
    whole: Vec<Step>,
    /// The coordinate system that counts, where it is not the intrinsic one.
    chosen: Option<Alternative>,
    /// Transforms of the scene that the image is a part of, after those.
    place: Vec<Step>,
    systems: Systems,
}

/// One level of a multiscale image.
#[derive(Debug, Default, Clone)]
pub(crate) struct Dataset {
    /// Path relative to the group.
    pub(crate) path: String,
    /// Its own transforms.
    steps: Vec<Step>,
    /// The member `transform` of COSEM.
    cosem: Option<Value>,
}

impl Multiscale {
    /// The axes of a level's array, in stored order, where they are stated.
    pub(crate) fn stored_axes(&self, dataset: &Dataset) -> Option<Vec<Axis>> {
        let axes = self.axes_behind()?;
        let nameless = Axes::nameless(axes.len());
        let found = Transform::of(self.steps(dataset), &nameless);
        // What is not along the axes is not applied, and then neither is their order.
        if found.left_out.is_some() {
            return self.axes.clone();
        }
        let order = found.order;
        let mut stored = axes.clone();
        for (axis, at) in axes.iter().zip(order) {
            stored[at].clone_from(axis);
        }
        Some(stored)
    }

    /// From array index to axis units, for a level with these axes; identity where nothing usable is
    /// stated.
    pub(crate) fn transform(&self, dataset: &Dataset, axes: &Axes) -> Transform {
        let mut found = Transform::of(self.steps(dataset).chain(&self.place), axes);
        if found.left_out.is_some() {
            found.order.clear();
        }
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

    /// The transforms of a level up to the system that counts.
    fn steps<'a>(&'a self, dataset: &'a Dataset) -> impl Iterator<Item = &'a Step> {
        let chosen = self.chosen.iter().map(|chosen| &chosen.step);
        dataset.steps.iter().chain(&self.whole).chain(chosen)
    }

    /// The axes of the system that counts.
    fn axes_behind(&self) -> Option<&Vec<Axis>> {
        let chosen = self.chosen.as_ref().and_then(|chosen| chosen.axes.as_ref());
        chosen.or(self.axes.as_ref())
    }

    /// The same image where a scene places it.
    pub(crate) fn placed(&self, place: &Placement) -> Self {
        let mut placed = self.clone();
        match self.systems.named(&place.system) {
            Some(chosen) => placed.chosen = Some(chosen),
            None if self.systems.is_intrinsic(&place.system) => placed.chosen = None,
            None if self.systems.is_named() && !place.system.is_empty() => {
                let system: String = place.system.chars().take(64).collect();
                let note = format!("the scene names a system {system:?} that the image lacks");
                placed.notes.push(note);
            }
            None => {}
        }
        placed.place.clone_from(&place.steps);
        let axes = placed.axes_behind().cloned();
        if let (Some(mut axes), Some(scene)) = (axes, &place.axes)
            && axes.len() == scene.len()
        {
            let is_other =
                |(own, scene): (&Axis, &Axis)| !own.name.eq_ignore_ascii_case(&scene.name);
            if axes.iter().zip(scene).any(is_other) {
                let note = "the scene names its axes otherwise; the image's order is used";
                placed.notes.push(note.to_owned());
            }
            for (own, scene) in axes.iter_mut().zip(scene) {
                own.unit = scene.unit.clone().or_else(|| own.unit.take());
            }
            match &mut placed.chosen {
                Some(chosen) => chosen.axes = Some(axes),
                None => placed.axes = Some(axes),
            }
        }
        placed.notes.push("the place of the image is that in its scene".to_owned());
        placed
    }
}

impl Dataset {
    /// Names of the axes, where the dataset states them itself (COSEM).
    pub(crate) fn axis_names(&self) -> Option<Vec<String>> {
        conventions::names(self.cosem.as_ref()?.get("axes"))
    }

    /// Whether it states no transform: its array may.
    pub(crate) fn is_bare(&self) -> bool {
        self.steps.is_empty() && self.cosem.is_none()
    }
}

/// The attributes that hold OME metadata: below `ome` since 0.5, else at the top.
fn ome_attributes(attributes: &Map<String, Value>) -> &Map<String, Value> {
    match attributes.get("ome") {
        Some(Value::Object(ome)) if ome.contains_key("multiscales") => ome,
        _ => attributes,
    }
}

/// The entries of `multiscales`, and nodes that stand for such (RFC-8).
fn multiscale_entries(attributes: &Map<String, Value>) -> Vec<Cow<'_, Map<String, Value>>> {
    let entries = match ome_attributes(attributes).get("multiscales") {
        Some(Value::Array(entries)) => entries.as_slice(),
        Some(single @ Value::Object(_)) => std::slice::from_ref(single),
        _ => &[],
    };
    if entries.is_empty() {
        return nodes(attributes).images.into_iter().map(Cow::Owned).collect();
    }
    entries.iter().filter_map(Value::as_object).map(Cow::Borrowed).collect()
}

/// How many entries of `multiscales` there are beyond those that [`multiscales`] gives.
pub(crate) fn multiscales_left_out(attributes: &Map<String, Value>) -> usize {
    multiscale_entries(attributes).len().saturating_sub(MULTISCALES_LIMIT)
}

/// The usable entries of `multiscales`, as many as any real group has; empty when the group holds no
/// image.
pub(crate) fn multiscales(attributes: &Map<String, Value>) -> Vec<Multiscale> {
    let ome = attributes.get("ome").and_then(Value::as_object);
    let group = Omero::find(ome.into_iter().chain([attributes]));
    multiscale_entries(attributes)
        .iter()
        .take(MULTISCALES_LIMIT)
        .map(|entry| {
            let mut multiscale = parse_multiscale(entry, ome);
            multiscale.chosen = multiscale.systems.choose(multiscale.axes.as_deref());
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
    let ome = attributes.get("ome").and_then(Value::as_object);
    let is_stated = |ome: &Map<String, Value>| {
        ome.contains_key("image-label") || (ome.contains_key("type") && nodes::is_label(ome))
    };
    attributes.contains_key("image-label") || ome.is_some_and(is_stated)
}

/// The nodes of a group (RFC-8).
pub(crate) fn nodes(attributes: &Map<String, Value>) -> Nodes {
    attributes.get("ome").and_then(Value::as_object).map(Nodes::of).unwrap_or_default()
}

/// Whether the group holds a table (`AnnData` specification, "encoding-type"), whose arrays are no
/// images.
pub(crate) fn is_table(attributes: &Map<String, Value>) -> bool {
    attributes.contains_key("encoding-type")
}

fn parse_multiscale(entry: &Map<String, Value>, ome: Option<&Map<String, Value>>) -> Multiscale {
    let (named, chain) = systems::split(systems::transforms(entry));
    let listed = match entry.get("datasets") {
        Some(Value::Array(list)) => list.as_slice(),
        Some(single @ (Value::Object(_) | Value::String(_))) => std::slice::from_ref(single),
        _ => &[],
    };
    let shown = &listed[..listed.len().min(LEVELS_LIMIT)];
    let datasets: Vec<Dataset> = shown.iter().filter_map(parse_dataset).collect();
    let outputs = datasets.iter().flat_map(|dataset| &dataset.steps);
    let intrinsic = outputs.filter_map(|step| step.value.get("output")).find_map(name_of);
    let stated = entry.get("coordinateSystems").filter(|stated| !stated.is_null());
    let systems = systems::list(stated.or_else(|| ome?.get("coordinateSystems")));
    let axes = parse_axes(entry.get("axes")).or_else(|| {
        let own = intrinsic.as_ref().and_then(|name| systems::find(&systems, name));
        own.or_else(|| systems.first()).map(|system| system.axes.clone())
    });
    let nested = entry.get("metadata").and_then(Value::as_object);
    Multiscale {
        name: entry.get("name").and_then(text).filter(|name| !name.is_empty()),
        axes,
        datasets,
        left_out: listed.len() - shown.len(),
        omero: Omero::find([entry].into_iter().chain(nested)),
        is_label: entry.contains_key("image-label"),
        notes: Vec::new(),
        chosen: None,
        whole: chain.into_iter().map(Step::forward).collect(),
        place: Vec::new(),
        systems: Systems::new(intrinsic, &systems, named),
    }
}

/// A dataset; some writers put its path alone, or its numbers without `coordinateTransformations`.
fn parse_dataset(dataset: &Value) -> Option<Dataset> {
    let Value::Object(members) = dataset else {
        let path = dataset.as_str()?.to_owned();
        return Some(Dataset { path, ..Dataset::default() });
    };
    let mut steps = systems::transforms(members);
    if steps.is_empty() {
        let own = ["scale", "translation"].into_iter();
        let own = own.filter_map(|name| Some(json!({"type": name, name: members.get(name)?})));
        steps.extend(own);
    }
    Some(Dataset {
        path: members.get("path").and_then(text)?,
        steps: steps.into_iter().map(Step::forward).collect(),
        cosem: members.get("transform").cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &Value) -> Vec<Multiscale> {
        multiscales(value.as_object().expect("object"))
    }

    fn yx() -> Axes {
        Axes::of_array(None, &[8, 8], false).expect("axes")
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
