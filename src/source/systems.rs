//! Coordinate systems of an image: which of several its size and place are taken from.
//!
//! The *intrinsic* system is the one that the transforms of the levels lead to. Transforms of the whole image
//! that name where they lead to are alternatives to it, not links of a chain (OME-NGFF 0.6, "multiscales":
//! one end of each is the intrinsic system; spatialdata, "coordinate systems"). The first that applies
//! counts:
//!
//! 1. the intrinsic system, if it has a unit of length;
//! 2. the first alternative that has one;
//! 3. the first alternative that is called like one (`um`): spatialdata writes `"unit": "unit"` for all axes;
//! 4. the alternative `global`, with axes of its own: the system that spatialdata shows by default;
//! 5. the intrinsic system.
//!
//! A system is named by a string (0.6.dev1), by `name` (0.6), by `id` (RFC-8) or by `ref` (early RFC-8).

use serde_json::{Map, Value};

use super::axes::{Axis, parse_axes, slot_of};
use super::json::text;
use super::transform::Step;
use super::units::{self, Unit};

/// Systems and alternatives that are looked at.
const SYSTEMS_LIMIT: usize = 256;

/// The name of spatialdata's default system.
const GLOBAL: &str = "global";

/// A named system.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct System {
    pub(crate) name: String,
    /// Another name of the same (RFC-8: the `name` beside the `id`).
    other_name: Option<String>,
    pub(crate) axes: Vec<Axis>,
}

/// Another system than the intrinsic one, and the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Alternative {
    name: String,
    /// Axes: as many as the intrinsic system has.
    pub(crate) axes: Option<Vec<Axis>>,
    /// From the intrinsic system.
    pub(crate) step: Step,
    /// The transform states the axes itself, as spatialdata has it.
    is_own: bool,
}

/// The systems of one image.
#[derive(Debug, Default, Clone)]
pub(crate) struct Systems {
    /// Name of the intrinsic system, where there are names.
    intrinsic: Option<String>,
    alternatives: Vec<Alternative>,
}

/// The systems in a member `coordinateSystems`.
pub(crate) fn list(value: Option<&Value>) -> Vec<System> {
    let entries = value.and_then(Value::as_array).into_iter().flatten().take(SYSTEMS_LIMIT);
    let one = |entry: &Value| {
        let member = |name: &str| entry.get(name).and_then(text);
        let id = member("id");
        Some(System {
            name: id.clone().or_else(|| member("name"))?,
            other_name: id.and_then(|_| member("name")),
            axes: parse_axes(entry.get("axes"))?,
        })
    };
    entries.filter_map(one).collect()
}

/// The name in an `input` or `output`.
pub(crate) fn name_of(reference: &Value) -> Option<String> {
    let member = |name: &str| reference.get(name).and_then(text);
    text(reference).or_else(|| member("id")).or_else(|| member("name")).or_else(|| member("ref"))
}

/// The system of a name.
pub(crate) fn find<'a>(systems: &'a [System], name: &str) -> Option<&'a System> {
    let is_named =
        |system: &&System| system.name == name || system.other_name.as_deref() == Some(name);
    systems.iter().find(is_named)
}

impl Systems {
    /// The systems that the transforms of a whole image lead to. `intrinsic` is the name that the transforms
    /// of its levels give.
    pub(crate) fn new(
        intrinsic: Option<String>,
        listed: &[System],
        transforms: Vec<Value>,
    ) -> Self {
        let known = intrinsic.clone();
        let other_end = |transform: Value| {
            let is_intrinsic =
                |side: &str| known.is_some() && transform.get(side).and_then(name_of) == known;
            let is_inverse = is_intrinsic("output");
            if !is_inverse && known.is_some() && !is_intrinsic("input") {
                return None;
            }
            let other = transform.get(if is_inverse { "input" } else { "output" })?;
            if other.get("path").is_some_and(|path| !path.is_null()) {
                // The system of a label image.
                return None;
            }
            let name = name_of(other)?;
            let own = parse_axes(other.get("axes"));
            let is_own = own.is_some();
            let axes = own.or_else(|| find(listed, &name).map(|system| system.axes.clone()));
            Some(Alternative { name, axes, is_own, step: Step { value: transform, is_inverse } })
        };
        let alternatives = transforms.into_iter().take(SYSTEMS_LIMIT).filter_map(other_end);
        Self { intrinsic, alternatives: alternatives.collect() }
    }

    /// The system that counts, `axes` being those of the intrinsic one; `None` stands for that.
    pub(crate) fn choose(&self, axes: Option<&[Axis]>) -> Option<Alternative> {
        if axes.is_some_and(has_length) {
            return None;
        }
        let all = &self.alternatives;
        let fits = |one: &Alternative| {
            axes.is_none_or(|axes| one.axes.as_ref().is_none_or(|own| own.len() == axes.len()))
        };
        let first = |wanted: &dyn Fn(&Alternative) -> bool| {
            all.iter().find(|one| fits(one) && wanted(one)).cloned()
        };
        let is_length = |name: &str| matches!(units::length(Some(name)), Unit::Factor(_));
        first(&|one| one.axes.as_deref().is_some_and(has_length))
            .or_else(|| {
                let mut found = first(&|one| is_length(&one.name))?;
                let unit = found.name.clone();
                found.axes = found.axes.or_else(|| axes.map(<[Axis]>::to_vec));
                for axis in found.axes.iter_mut().flatten().filter(|axis| is_space(axis)) {
                    axis.unit = Some(unit.clone());
                }
                Some(found)
            })
            .or_else(|| first(&|one| one.is_own && one.name == GLOBAL))
    }

    /// Whether the systems have names at all.
    pub(crate) fn is_named(&self) -> bool {
        self.intrinsic.is_some()
    }

    /// Whether a name is that of the intrinsic system.
    pub(crate) fn is_intrinsic(&self, name: &str) -> bool {
        self.intrinsic.as_deref() == Some(name)
    }

    /// The alternative of a name.
    pub(crate) fn named(&self, name: &str) -> Option<Alternative> {
        self.alternatives.iter().find(|one| one.name == name).cloned()
    }
}

fn is_space(axis: &Axis) -> bool {
    axis.kind.as_deref() == Some("space") || slot_of(&axis.name).is_some_and(|slot| slot >= 2)
}

/// Whether an axis of space has a unit of length.
fn has_length(axes: &[Axis]) -> bool {
    let is_length = |axis: &Axis| matches!(units::length(axis.unit.as_deref()), Unit::Factor(_));
    axes.iter().any(|axis| is_space(axis) && is_length(axis))
}

/// The transforms in a member: those that lead to a named system, and those that are links of a chain.
pub(crate) fn split(transforms: Vec<Value>) -> (Vec<Value>, Vec<Value>) {
    transforms.into_iter().partition(|transform| transform.get("output").is_some())
}

/// A list of transforms; some writers leave the brackets out around a single one.
pub(crate) fn transforms(members: &Map<String, Value>) -> Vec<Value> {
    let stated = ["coordinateTransformations", "coordinate_transformations"];
    match stated.iter().find_map(|name| members.get(*name)) {
        Some(Value::Array(list)) => list.clone(),
        Some(single @ Value::Object(_)) => vec![single.clone()],
        _ => Vec::new(),
    }
}
