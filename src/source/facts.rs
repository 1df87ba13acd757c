//! Metadata that no other part of this program needs: where an image comes from, how it was acquired, what
//! else its store says of it.
//!
//! Sources are the attributes of the image's group, as far as OME-NGFF gives them no meaning, and the
//! OME-XML that bioformats2raw puts beside its images (OME-NGFF 0.4, "bioformats2raw.layout"). Facts carry
//! the names that these sources give them. The writer of a file maps them to the names of its
//! format.

use serde_json::{Map, Value};

use super::json::text;
use super::ome_xml;

/// Bytes of a text that is kept; a longer one is cut.
pub(crate) const TEXT_LIMIT_BYTES: usize = 16 << 10;

/// Bytes of a name that is kept; a longer one is cut.
const KEY_LIMIT_BYTES: usize = 200;

/// Bytes of all facts of one image: each opening of its file reads them all.
pub(crate) const TOTAL_LIMIT_BYTES: usize = 256 << 10;

/// Attributes whose meaning is read elsewhere, or that describe storage.
const KNOWN_ATTRIBUTES: [&str; 10] = [
    "multiscales",
    "omero",
    "ome",
    "plate",
    "well",
    "labels",
    "image-label",
    "bioformats2raw.layout",
    "version",
    "_ARRAY_DIMENSIONS",
];

/// The microscope that an image was acquired with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Microscope {
    /// Nominal magnification of the objective.
    pub lens_power: Option<f64>,
    /// Numerical aperture of the objective.
    pub numerical_aperture: Option<f64>,
    /// Manufacturer of the stand.
    pub manufacturer: Option<String>,
    /// Model of the stand.
    pub model: Option<String>,
}

/// What a store says of how it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Version of OME-NGFF.
    pub ngff_version: Option<String>,
    /// How the coarser levels were computed: `type` of the multiscales entry.
    pub method: Option<String>,
    /// Anatomical orientation of each axis (OME-NGFF RFC-4), such as `z: inferior-to-superior`.
    pub orientation: Option<String>,
}

/// A text worth keeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub subject: Subject,
    /// Attribute of the OME schema, such as `Immersion`, or members of JSON objects, joined by dots.
    pub key: String,
    /// With its unit, if it has one.
    pub value: String,
}

/// What a [`Fact`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The store as a whole: an attribute that is no object.
    Store,
    /// A part of the microscope or its surroundings.
    Part {
        /// Element of the OME schema, such as `Objective`.
        element: &'static str,
        /// The channel that the part belongs to, where it does not belong to all.
        channel: Option<usize>,
    },
    /// The attribute of this name, an object.
    Attribute(String),
}

/// Cuts a text at a character boundary.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

impl Provenance {
    /// From the attributes of a group and the number of an entry of `multiscales`.
    pub(super) fn new(multiscale: usize, attributes: &Map<String, Value>) -> Self {
        let ome = attributes.get("ome").and_then(Value::as_object).unwrap_or(attributes);
        let entry = ome.get("multiscales").and_then(Value::as_array);
        let entry = entry.and_then(|entries| entries.get(multiscale));
        let member = |name: &str| entry?.get(name).and_then(text);
        let kept = |text: String| cut(&text, TEXT_LIMIT_BYTES).to_owned();
        Self {
            ngff_version: ome.get("version").and_then(text).or_else(|| member("version")).map(kept),
            method: member("type").map(kept),
            orientation: entry.and_then(orientation).map(kept),
        }
    }
}

/// Collects facts within their limits.
#[derive(Default)]
pub(super) struct Facts {
    facts: Vec<Fact>,
    bytes: usize,
}

impl Facts {
    /// Adds what the OME-XML says of parts of the microscope.
    pub(super) fn add_parts(&mut self, channel: Option<usize>, facts: Vec<ome_xml::Fact>) {
        for ome_xml::Fact { section: element, key, value } in facts {
            self.add(Subject::Part { element, channel }, key, &value);
        }
    }

    /// Adds the attributes of a group that OME-NGFF gives no meaning.
    pub(super) fn add_attributes(&mut self, attributes: &Map<String, Value>) {
        let ome = attributes.get("ome").and_then(Value::as_object);
        for (key, value) in attributes.iter().chain(ome.into_iter().flatten()) {
            if !KNOWN_ATTRIBUTES.contains(&key.as_str()) {
                self.add_attribute(key, value);
            }
        }
    }

    pub(super) fn into_list(self) -> Vec<Fact> {
        self.facts
    }

    fn add_attribute(&mut self, name: &str, value: &Value) {
        match value {
            Value::Object(members) => self.add_members(cut(name, KEY_LIMIT_BYTES), "", members),
            other => self.add(Subject::Store, name, &plain(other)),
        }
    }

    fn add_members(&mut self, attribute: &str, prefix: &str, members: &Map<String, Value>) {
        for (key, value) in members {
            if self.bytes > TOTAL_LIMIT_BYTES {
                return;
            }
            let key = cut(key, KEY_LIMIT_BYTES);
            let key = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
            match value {
                Value::Object(members) => self.add_members(attribute, &key, members),
                other => self.add(Subject::Attribute(attribute.to_owned()), &key, &plain(other)),
            }
        }
    }

    fn add(&mut self, subject: Subject, key: &str, value: &str) {
        let key = cut(key, KEY_LIMIT_BYTES);
        let value = cut(value, TEXT_LIMIT_BYTES);
        let subject_bytes = match &subject {
            Subject::Store => 0,
            Subject::Part { element, .. } => element.len(),
            Subject::Attribute(name) => name.len(),
        };
        self.bytes += subject_bytes + key.len() + value.len();
        if self.bytes <= TOTAL_LIMIT_BYTES {
            self.facts.push(Fact { subject, key: key.to_owned(), value: value.to_owned() });
        }
    }
}

/// Anatomical orientation of each axis (OME-NGFF RFC-4), such as `z: inferior-to-superior`.
fn orientation(multiscale: &Value) -> Option<String> {
    let axes = multiscale.get("axes")?.as_array()?;
    let of = |axis: &Value| {
        let value = axis.get("orientation")?.get("value").and_then(text)?;
        Some(format!("{}: {value}", axis.get("name").and_then(text)?))
    };
    let found: Vec<String> = axes.iter().filter_map(of).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

/// A text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    text(value).unwrap_or_else(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_of_objects_are_facts_of_the_attribute() {
        let mut facts = Facts::default();
        facts.add_attribute("xyz_orientation", &json!("RAS"));
        facts.add_attribute("lab", &json!({"a": {"b": [1, 2]}, "c": null}));
        let fact = |subject: Subject, key: &str, value: &str| Fact {
            subject,
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let lab = || Subject::Attribute("lab".to_owned());
        assert_eq!(
            facts.facts,
            [
                fact(Subject::Store, "xyz_orientation", "RAS"),
                fact(lab(), "a.b", "[1,2]"),
                fact(lab(), "c", "null"),
            ]
        );
    }

    #[test]
    fn rubbish_is_bounded() {
        let mut facts = Facts::default();
        for number in 0..5000 {
            let name = format!("{number}{}", "n".repeat(100_000));
            facts.add_attribute(&name, &json!({"\u{e4}": "v".repeat(100_000)}));
        }
        let text = |fact: &Fact| match &fact.subject {
            Subject::Attribute(name) => name.len() + fact.key.len() + fact.value.len(),
            other => panic!("{other:?}"),
        };
        let bytes: usize = facts.facts.iter().map(text).sum();
        assert!((TOTAL_LIMIT_BYTES / 2..=TOTAL_LIMIT_BYTES).contains(&bytes), "{bytes}");
    }

    #[test]
    fn axes_say_where_they_point() {
        let multiscale = json!({"axes": [{"name": "z"}, {"name": "y",
            "orientation": {"type": "anatomical", "value": "posterior-to-anterior"}}]});
        assert_eq!(orientation(&multiscale).as_deref(), Some("y: posterior-to-anterior"));
    }
}
