//! From array index to physical place: coordinate transformations, as far as they lie along the axes.
//!
//! Sources: OME-NGFF 0.4 and 0.5, "coordinateTransformations"; 0.6 (RFC-5, state of July 2026),
//! "Transformation types". Writers state lists with more or fewer numbers than there are axes, numbers as
//! text, and one number for all; a list that can have only one meaning is used.
//!
//! | Type | What is used |
//! |---|---|
//! | `identity`, `scale`, `translation`, `sequence` | all |
//! | `mapAxis`; `affine` and `rotation` with one number in each row and column | the order of axes, and the numbers |
//! | any other `affine` or `rotation` | the length of each column as the voxel's edge, the translation; noted |
//! | `byDimension`, `bijection` | their parts; the `forward` one |
//! | `projectAxis`, `coordinates`, `displacements`, numbers in an array, anything else | nothing; noted |

mod by_axis;
mod matrix;
mod order;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;

use super::axes::Axes;
use super::json::{whole, whole_numbers};
use by_axis::align;
use matrix::Matrix;
use order::{is_permutation, kept, spread};

pub(super) use by_axis::{numbers, units};

/// `coordinate = scale * index + translation`, per dimension of the array; `None` where nothing is
/// stated.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Transform {
    pub(crate) scale: Vec<Option<f64>>,
    pub(crate) translation: Vec<Option<f64>>,
    /// Units that the transform states itself; those of the axes come first.
    pub(crate) units: Vec<Option<String>>,
    /// Which dimension of the array each coordinate comes from; empty where each has its own place.
    pub(crate) order: Vec<usize>,
    /// What could not be used.
    pub(crate) left_out: Option<String>,
    /// How numbers were given to axes where their count is another.
    pub(crate) assumed: Option<String>,
}

/// A transform as the metadata states it, and the direction in which it is applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    pub(crate) value: Value,
    pub(crate) is_inverse: bool,
}

impl Step {
    pub(crate) fn forward(value: Value) -> Self {
        Self { value, is_inverse: false }
    }
}

impl Transform {
    /// Steps, one after the other, for an array with these axes. The axes name the dimensions of the array;
    /// behind a step that permutes them, they stand in the new order.
    pub(crate) fn of<'a>(steps: impl IntoIterator<Item = &'a Step>, axes: &Axes) -> Self {
        steps.into_iter().fold(Self::default(), |whole, step| {
            let here = whole.axes_behind(axes);
            let found = Self::parse(&step.value, &here);
            let found = if step.is_inverse { found.inverse(here.stored.len()) } else { found };
            whole.then(found)
        })
    }

    fn sequence(steps: Option<&Value>, axes: &Axes) -> Self {
        let steps = steps.and_then(Value::as_array).into_iter().flatten();
        steps.fold(Self::default(), |whole, step| {
            let found = Self::parse(step, &whole.axes_behind(axes));
            whole.then(found)
        })
    }

    fn axes_behind<'a>(&self, axes: &'a Axes) -> Cow<'a, Axes> {
        if self.order.is_empty() {
            Cow::Borrowed(axes)
        } else {
            Cow::Owned(axes.picked(&self.order))
        }
    }

    fn parse(value: &Value, axes: &Axes) -> Self {
        let mut found = Self::default();
        let kind = kind(value);
        match kind.as_str() {
            "scale" => {
                found.scale = numbers(value.get("scale"), axes, &mut found.assumed);
            }
            "translation" => {
                // "translate" is how COSEM has it.
                let list = value.get("translation").or_else(|| value.get("translate"));
                found.translation = numbers(list, axes, &mut found.assumed);
            }
            "affine" => found = Self::from_matrix(value.get("affine"), true, axes),
            "rotation" => found = Self::from_matrix(value.get("rotation"), false, axes),
            "mapaxis" => found = Self::map_axis(value.get("mapAxis"), axes),
            "sequence" => return Self::sequence(value.get("transformations"), axes),
            "bydimension" => return Self::by_dimension(value.get("transformations"), axes),
            "bijection" => match value.get("forward") {
                Some(forward) => return Self::parse(forward, axes),
                None => found = Self::unused(&kind),
            },
            "" | "identity" => {}
            _ => found = Self::unused(&kind),
        }
        if value.get("path").is_some_and(Value::is_string) && found == Self::default() {
            found = Self::unused(&format!("{kind}, whose numbers are in an array,"));
        }
        found.units = units(value.get("unit").or_else(|| value.get("units")), axes);
        found
    }

    /// A transform that is not used at all.
    fn unused(kind: &str) -> Self {
        let kind: String = kind.chars().take(QUOTED_CHARS).collect();
        let left_out = Some(format!("a transform of type {kind} is not applied"));
        Self { left_out, ..Self::default() }
    }

    /// A permutation of axes: the list has the input axis of each output axis.
    fn map_axis(value: Option<&Value>, axes: &Axes) -> Self {
        let order: Option<Vec<usize>> = value.and_then(indices);
        match order.filter(|order| is_permutation(order, axes.stored.len())) {
            Some(order) => Self { order: kept(order), ..Self::default() },
            None => Self::unused("mapAxis that is no permutation of the axes"),
        }
    }

    /// Transforms of some axes each, put together.
    fn by_dimension(parts: Option<&Value>, axes: &Axes) -> Self {
        let refused = || Self::unused("byDimension that is not understood");
        let dimensions = axes.stored.len();
        let mut order = vec![usize::MAX; dimensions];
        let mut found = Self::default();
        for part in parts.and_then(Value::as_array).into_iter().flatten() {
            let picked = |member: &str| {
                let list = part.get(member)?.as_array()?;
                let at = |axis: &Value| match axis {
                    Value::String(name) if whole(axis).is_none() => axes.dimension(name),
                    number => usize::try_from(whole(number)?).ok(),
                };
                let list: Vec<usize> = list.iter().map(at).collect::<Option<_>>()?;
                list.iter().all(|&axis| axis < dimensions).then_some(list)
            };
            let (Some(inputs), Some(outputs)) = (picked("inputAxes"), picked("outputAxes")) else {
                return refused();
            };
            if inputs.len() != outputs.len() {
                return refused();
            }
            // Before 0.6rc0, the members stood in the transform itself.
            let own =
                Self::parse(part.get("transformation").unwrap_or(part), &axes.picked(&inputs));
            for (at, &output) in outputs.iter().enumerate() {
                order[output] = inputs[own.order.get(at).copied().unwrap_or(at)];
            }
            found.scale.resize(dimensions, None);
            found.translation.resize(dimensions, None);
            for (at, &input) in inputs.iter().enumerate() {
                found.scale[input] = own.scale_of(at);
                found.translation[input] = own.translation.get(at).copied().flatten();
            }
            found.left_out = found.left_out.or(own.left_out);
            found.assumed = found.assumed.or(own.assumed);
        }
        if !is_permutation(&order, dimensions) {
            return refused();
        }
        found.order = kept(order);
        found
    }

    /// The part of a matrix that lies along the axes.
    fn from_matrix(rows: Option<&Value>, with_translation: bool, axes: &Axes) -> Self {
        let Some(Matrix { scale, translation, order }) = Matrix::parse(rows, with_translation)
        else {
            return Self::unused("affine, whose numbers of axes differ,");
        };
        let mut found = Self::default();
        let (space, dimensions) = (axes.space(), axes.stored.len());
        match order {
            Some(order) if order.len() == dimensions => found.order = kept(order),
            Some(order) if order.len() == space.len() => {
                let mut whole: Vec<usize> = (0..dimensions).collect();
                order.iter().zip(&space).for_each(|(&from, &at)| whole[at] = space[from]);
                found.order = kept(whole);
            }
            Some(_) => {}
            None => found.left_out = Some(NOT_ALIGNED.to_owned()),
        }
        found.scale = align(&scale, axes, &mut found.assumed);
        found.translation = align(&translation, axes, &mut found.assumed);
        found
    }

    /// The inverse transform.
    fn inverse(&self, dimensions: usize) -> Self {
        if self.left_out.is_some() {
            return Self { left_out: self.left_out.clone(), ..Self::default() };
        }
        let from = |i: usize| self.order.get(i).copied().unwrap_or(i);
        let scale = |i: usize| self.scale_of(from(i)).map(f64::recip);
        let shift = |i: usize| {
            let shift = self.translation_of(from(i))?;
            Some(-shift * scale(i).unwrap_or(1.0))
        };
        let mut order = vec![0; dimensions];
        (0..dimensions).for_each(|i| order[from(i)] = i);
        Self {
            scale: (0..dimensions).map(scale).collect(),
            translation: (0..dimensions).map(shift).collect(),
            units: Vec::new(),
            order: kept(order),
            left_out: None,
            assumed: self.assumed.clone(),
        }
    }

    /// The same transform, by the dimensions that its axes had before an earlier step put them into this order.
    fn relabelled(self, order: &[usize]) -> Self {
        if order.is_empty() {
            return self;
        }
        let behind = |i: usize| order[self.order.get(i).copied().unwrap_or(i)];
        Self {
            scale: spread(&self.scale, order),
            translation: spread(&self.translation, order),
            units: spread(&self.units, order),
            order: kept((0..order.len()).map(behind).collect()),
            ..self
        }
    }

    /// First `self`, then `next`.
    fn then(self, next: Self) -> Self {
        let next = next.relabelled(&self.order);
        let both = |a: Option<f64>, b: Option<f64>, of: fn(f64, f64) -> f64, none: f64| {
            (a.is_some() || b.is_some()).then(|| of(a.unwrap_or(none), b.unwrap_or(none)))
        };
        let times = |a, b| both(a, b, |a, b| a * b, 1.0);
        let at = |list: &[Option<f64>], i: usize| list.get(i).copied().flatten();
        let axes = self.scale.len().max(next.scale.len());
        let scale = (0..axes).map(|i| times(at(&self.scale, i), at(&next.scale, i))).collect();
        let axes = self.translation.len().max(next.translation.len());
        let moved = |i: usize| {
            let scaled = at(&self.translation, i).map(|t| t * at(&next.scale, i).unwrap_or(1.0));
            both(scaled, at(&next.translation, i), |a, b| a + b, 0.0)
        };
        let translation = (0..axes).map(moved).collect();
        let axes = self.units.len().max(next.units.len());
        let unit = |i: usize| {
            next.units.get(i).cloned().flatten().or_else(|| self.units.get(i).cloned().flatten())
        };
        Self {
            scale,
            translation,
            units: (0..axes).map(unit).collect(),
            order: next.order,
            left_out: self.left_out.or(next.left_out),
            assumed: self.assumed.or(next.assumed),
        }
    }

    /// Scale of stored axis `i`; `None` where none is stated.
    pub(crate) fn scale_of(&self, i: usize) -> Option<f64> {
        self.scale.get(i).copied().flatten()
    }

    /// Translation of stored axis `i`; `None` where none is stated that can be used.
    pub(crate) fn translation_of(&self, i: usize) -> Option<f64> {
        self.translation.get(i).copied().flatten().filter(|t| t.is_finite())
    }

    /// Unit of stored axis `i`, as far as the transform states it itself.
    pub(crate) fn unit_of(&self, i: usize) -> Option<&str> {
        self.units.get(i)?.as_deref()
    }

    /// Whether a scale is stated for any axis.
    pub(crate) fn is_scaled(&self) -> bool {
        self.scale.iter().any(Option::is_some)
    }
}

/// Characters of a type that a note quotes.
const QUOTED_CHARS: usize = 60;

const NOT_ALIGNED: &str = "rotation or shear of the image is not applied";

/// The type of a transform in small letters; where it is missing, by the member that only one type has.
fn kind(value: &Value) -> String {
    const MEMBERS: [&str; 5] = ["scale", "translation", "affine", "rotation", "mapAxis"];
    if let Some(stated) = value.get("type").and_then(Value::as_str) {
        return stated.to_ascii_lowercase();
    }
    let mut own = MEMBERS.into_iter().filter(|name| value.get(*name).is_some());
    match (own.next(), own.next()) {
        (Some(only), None) => only.to_ascii_lowercase(),
        _ => String::new(),
    }
}

fn indices(value: &Value) -> Option<Vec<usize>> {
    whole_numbers(value)?.into_iter().map(|n| usize::try_from(n).ok()).collect()
}
