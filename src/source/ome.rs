//! OME-NGFF metadata of a group, versions 0.1 to 0.6, read for what it says and not for what it
//! claims to be: version strings are no gate, a member of the wrong type counts as absent.
//!
//! Sources: OME-NGFF 0.1 to 0.5, "multiscales", "omero" and "axes"; 0.6 (RFC-5),
//! "coordinateSystems" and "coordinateTransformations".

use serde_json::{Map, Value};

use super::json::{finite, text};

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
    /// Finest first, as listed.
    pub(crate) datasets: Vec<Dataset>,
    /// Datasets beyond [`LEVELS_LIMIT`].
    pub(crate) left_out: usize,
    pub(crate) channels: Vec<Channel>,
}

/// One axis.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) unit: Option<String>,
}

/// One level of a multiscale image.
#[derive(Debug, Default, Clone)]
pub(crate) struct Dataset {
    /// Path relative to the group.
    pub(crate) path: String,
    /// From array index to axis units; identity where nothing usable is stated.
    pub(crate) transform: Transform,
}

/// `coordinate = scale * index + translation`, per stored axis. Empty vectors mean identity.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Transform {
    pub(crate) scale: Vec<f64>,
    pub(crate) translation: Vec<f64>,
    /// A rotation or shear was left out.
    pub(crate) simplified: bool,
}

/// One entry of `omero.channels`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Channel {
    pub(crate) label: Option<String>,
    pub(crate) color: Option<[u8; 3]>,
    pub(crate) window: Option<(f64, f64)>,
    /// Wavelengths, with the names that Imaris has for them.
    pub(crate) details: Vec<(String, String)>,
    /// Members that are there and cannot be used.
    pub(crate) unusable: Vec<&'static str>,
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
    let group_channels = omero_channels(ome_attributes(attributes).get("omero"));
    multiscale_entries(attributes)
        .take(MULTISCALES_LIMIT)
        .map(|entry| {
            let mut multiscale = parse_multiscale(entry);
            if multiscale.channels.is_empty() {
                multiscale.channels.clone_from(&group_channels);
            }
            multiscale
        })
        .collect()
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
    let transforms = |value: Option<&Value>| -> Vec<Value> {
        value.and_then(Value::as_array).cloned().unwrap_or_default()
    };
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
        let own = transforms(dataset.get("coordinateTransformations"));
        if system.is_none() {
            system = own.first().and_then(output_name);
        }
        let mut transform = Transform::default();
        for step in own.iter().chain(&whole) {
            transform = transform.then(&Transform::parse(step));
        }
        datasets.push(Dataset { path, transform });
    }
    let axes = parse_axes(entry.get("axes")).or_else(|| {
        let systems = entry.get("coordinateSystems").and_then(Value::as_array)?;
        let named = systems
            .iter()
            .find(|candidate| system.is_some() && candidate.get("name").and_then(text) == system);
        parse_axes(named.or_else(|| systems.first())?.get("axes"))
    });
    let nested = entry.get("metadata").and_then(|metadata| metadata.get("omero"));
    Multiscale {
        name: entry.get("name").and_then(text).filter(|name| !name.is_empty()),
        axes,
        datasets,
        left_out: listed.len().saturating_sub(LEVELS_LIMIT),
        channels: omero_channels(nested),
    }
}

/// `output` is a string in 0.6.dev1 and an object with a name since.
fn output_name(transform: &Value) -> Option<String> {
    let output = transform.get("output")?;
    text(output).or_else(|| output.get("name").and_then(text))
}

/// Strings (0.3) or objects (0.4 on); an empty list states nothing.
fn parse_axes(value: Option<&Value>) -> Option<Vec<Axis>> {
    let entries = value?.as_array()?;
    let axes: Vec<Axis> = entries
        .iter()
        .map(|entry| match entry {
            Value::Object(members) => {
                let member = |name: &str| members.get(name).and_then(text);
                Axis {
                    name: member("name").unwrap_or_default(),
                    kind: member("type"),
                    unit: member("unit"),
                }
            }
            other => Axis { name: text(other).unwrap_or_default(), ..Axis::default() },
        })
        .collect();
    (!axes.is_empty()).then_some(axes)
}

impl Transform {
    fn parse(value: &Value) -> Self {
        let numbers = |name: &str| -> Vec<f64> {
            let list = value.get(name).and_then(Value::as_array);
            // A member that is no number leaves its axis as it is, not the whole transform.
            list.map(|list| list.iter().map(|n| finite(n).unwrap_or(f64::NAN)).collect())
                .unwrap_or_default()
        };
        match value.get("type").and_then(Value::as_str).unwrap_or_default() {
            "scale" => Self { scale: numbers("scale"), ..Self::default() },
            "translation" => Self { translation: numbers("translation"), ..Self::default() },
            "affine" => Self::from_matrix(value.get("affine"), true),
            "rotation" => Self::from_matrix(value.get("rotation"), false),
            "sequence" => value
                .get("transformations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .fold(Self::default(), |whole, step| whole.then(&Self::parse(step))),
            "" | "identity" => Self::default(),
            _ => Self { simplified: true, ..Self::default() },
        }
    }

    /// The axis-aligned part of a matrix: the diagonal where it is one, else the length of each
    /// column, which is the voxel's edge.
    fn from_matrix(rows: Option<&Value>, with_translation: bool) -> Self {
        let rows: Vec<Vec<f64>> = rows
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|row| {
                let row = row.as_array().into_iter().flatten();
                row.map(|n| finite(n).unwrap_or(0.0)).collect()
            })
            .collect();
        let axes = rows.len();
        if rows.iter().any(|row| row.len() < axes) {
            return Self { simplified: true, ..Self::default() };
        }
        let off_diagonal = |i: usize, j: usize| i != j && rows[i][j].abs() > f64::EPSILON;
        let aligned = !(0..axes).any(|i| (0..axes).any(|j| off_diagonal(i, j)));
        let column = |j: usize| rows.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt();
        let scale = (0..axes).map(|j| if aligned { rows[j][j] } else { column(j) }).collect();
        let translation = if with_translation && rows.iter().all(|row| row.len() > axes) {
            rows.iter().map(|row| row[axes]).collect()
        } else {
            Vec::new()
        };
        Self { scale, translation, simplified: !aligned }
    }

    /// First `self`, then `next`.
    fn then(&self, next: &Self) -> Self {
        let axes = [&self.scale, &self.translation, &next.scale, &next.translation]
            .iter()
            .map(|list| list.len())
            .max()
            .unwrap_or(0);
        let at = |list: &[f64], i: usize, default: f64| list.get(i).copied().unwrap_or(default);
        Self {
            scale: (0..axes).map(|i| at(&self.scale, i, 1.0) * at(&next.scale, i, 1.0)).collect(),
            translation: (0..axes)
                .map(|i| {
                    at(&self.translation, i, 0.0) * at(&next.scale, i, 1.0)
                        + at(&next.translation, i, 0.0)
                })
                .collect(),
            simplified: self.simplified || next.simplified,
        }
    }

    /// Scale of stored axis `i`; `None` where none is stated.
    pub(crate) fn scale_of(&self, i: usize) -> Option<f64> {
        self.scale.get(i).copied()
    }

    /// Translation of stored axis `i`.
    pub(crate) fn translation_of(&self, i: usize) -> f64 {
        self.translation.get(i).copied().filter(|t| t.is_finite()).unwrap_or(0.0)
    }
}

fn omero_channels(omero: Option<&Value>) -> Vec<Channel> {
    let channels = omero.and_then(|omero| omero.get("channels")).and_then(Value::as_array);
    channels
        .into_iter()
        .flatten()
        .map(|channel| {
            let bound = |name: &str| channel.get("window")?.get(name).and_then(finite);
            let window = bound("start").zip(bound("end")).filter(|(start, end)| end > start);
            let color = channel.get("color").and_then(Value::as_str).and_then(parse_color);
            let label = channel.get("label").and_then(text).filter(|label| !label.is_empty());
            let is_there = |name: &str| channel.get(name).is_some_and(|value| !value.is_null());
            let unusable = [
                ("label", label.is_none()),
                ("color", color.is_none()),
                ("window", window.is_none()),
            ];
            let unusable =
                unusable.into_iter().filter(|(name, missing)| *missing && is_there(name));
            Channel {
                label,
                color,
                window,
                details: wavelengths(channel),
                unusable: unusable.map(|(name, _)| name).collect(),
            }
        })
        .collect()
}

/// Wavelengths in nanometres. OME-NGFF has no member for them; writers that state them do it under
/// these names, spelt in various ways.
fn wavelengths(channel: &Value) -> Vec<(String, String)> {
    let members = channel.as_object().into_iter().flatten();
    let known = members.filter_map(|(name, value)| {
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        let imaris = match name.to_lowercase().as_str() {
            "emissionwavelength" | "emissionwavelengthnm" => "LSMEmissionWavelength",
            "excitationwavelength" | "excitationwavelengthnm" => "LSMExcitationWavelength",
            _ => return None,
        };
        let value = finite(value).filter(|nm| *nm > 0.0)?;
        Some((imaris.to_owned(), value.to_string()))
    });
    let mut found: Vec<(String, String)> = known.collect();
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

/// `RRGGBB`, also with `#`, with alpha behind, or three digits.
fn parse_color(color: &str) -> Option<[u8; 3]> {
    let digits = color.trim().trim_start_matches('#');
    let doubled: String;
    let digits = match digits.len() {
        6 => digits,
        8 => digits.get(..6)?,
        3 => {
            doubled = digits.chars().flat_map(|digit| [digit, digit]).collect();
            &doubled
        }
        _ => return None,
    };
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let value = u32::from_str_radix(digits, 16).ok()?;
    let [_, red, green, blue] = value.to_be_bytes();
    Some([red, green, blue])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &Value) -> Vec<Multiscale> {
        multiscales(value.as_object().expect("object"))
    }

    #[test]
    fn scale_and_translation_compose() {
        let found = parse(&json!({"multiscales": [{
            "datasets": [{"path": "0", "coordinateTransformations": [
                {"type": "scale", "scale": [2.0, 0.5]},
                {"type": "translation", "translation": [4.0, 1.0]}]}],
            "coordinateTransformations": [{"type": "scale", "scale": [10.0, 10.0]},
                {"type": "identity", "output": {"name": "global"}}]}]}));
        let transform = &found[0].datasets[0].transform;
        assert_eq!(transform.scale, [20.0, 5.0]);
        assert_eq!(transform.translation, [40.0, 10.0]);
    }

    #[test]
    fn rotated_affine_gives_column_lengths() {
        let transform = Transform::parse(&json!({"type": "affine",
            "affine": [[0.0, 3.0, 7.0], [4.0, 0.0, 8.0]]}));
        assert_eq!(transform.scale, [4.0, 3.0]);
        assert_eq!(transform.translation, [7.0, 8.0]);
        assert!(transform.simplified);
    }

    #[test]
    fn rubbish_members_count_as_absent() {
        let found = parse(&json!({"multiscales": [{"name": 7, "axes": [], "datasets": [
            {"path": 0}, {"path": null}, 3]}], "omero": {"channels": [
            {"label": 1, "color": "zz00ff", "window": {"start": 5, "end": 5}},
            {"label": "", "color": "#F00", "window": {"start": 0, "end": 9}}]}}));
        assert_eq!(found[0].name.as_deref(), Some("7"));
        assert!(found[0].axes.is_none());
        assert_eq!(found[0].datasets.len(), 1);
        assert_eq!(found[0].datasets[0].path, "0");
        let unusable = vec!["color", "window"];
        let expected = Channel { label: Some("1".into()), unusable, ..Channel::default() };
        assert_eq!(found[0].channels[0], expected);
        assert_eq!(found[0].channels[1].unusable, ["label"]);
        assert_eq!(found[0].channels[1].color, Some([255, 0, 0]));
        assert_eq!(found[0].channels[1].window, Some((0.0, 9.0)));
    }

    #[test]
    fn colours_of_every_length() {
        assert_eq!(parse_color("00ff7F"), Some([0, 255, 127]));
        assert_eq!(parse_color("#00ff7f80"), Some([0, 255, 127]));
        assert_eq!(parse_color("0f8"), Some([0, 255, 136]));
        for bad in ["", "12345", "+12345", "\u{e9}\u{e9}\u{e9}", "red"] {
            assert_eq!(parse_color(bad), None, "{bad:?}");
        }
    }
}
