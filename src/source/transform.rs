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

use std::borrow::Cow;

use serde_json::Value;

use super::axes::Axes;
use super::json::{finite, number, text, whole, whole_numbers};

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
            "scale" => found.scale = found.numbers(value.get("scale"), axes),
            "translation" => {
                // "translate" is how COSEM has it.
                let list = value.get("translation").or_else(|| value.get("translate"));
                found.translation = found.numbers(list, axes);
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

    /// A transform of which nothing is used.
    fn unused(kind: &str) -> Self {
        let kind: String = kind.chars().take(QUOTED_CHARS).collect();
        let left_out = Some(format!("a transform of type {kind} is not applied"));
        Self { left_out, ..Self::default() }
    }

    /// Numbers by axis: from a list, from an object whose members are axes, or one for all of space.
    pub(super) fn numbers(&mut self, value: Option<&Value>, axes: &Axes) -> Vec<Option<f64>> {
        match value {
            Some(Value::Array(list)) => {
                // A member that is no number leaves its axis as it is, not the whole transform.
                let list: Vec<f64> = list.iter().map(|n| number(n).unwrap_or(f64::NAN)).collect();
                self.align(&list, axes)
            }
            Some(Value::Object(members)) => {
                let mut aligned = vec![None; axes.stored.len()];
                for (name, value) in members {
                    if let Some(at) = axes.dimension(name) {
                        aligned[at] = number(value);
                    }
                }
                aligned
            }
            Some(single) => match number(single) {
                Some(single) => self.align(&vec![single; axes.space().len()], axes),
                None => Vec::new(),
            },
            None => Vec::new(),
        }
    }

    /// Gives numbers to axes. As many as there are axes of space are theirs; of any other count, the last
    /// number is that of the last axis.
    fn align(&mut self, list: &[f64], axes: &Axes) -> Vec<Option<f64>> {
        let dimensions = axes.stored.len();
        if list.len() == dimensions || list.is_empty() {
            return list.iter().copied().map(Some).collect();
        }
        let space = axes.space();
        let mut aligned = vec![None; dimensions];
        let numbers = list.len();
        if numbers == space.len() {
            space.into_iter().zip(list).for_each(|(at, value)| aligned[at] = Some(*value));
        } else {
            let pairs = aligned.iter_mut().rev().zip(list.iter().rev());
            pairs.for_each(|(slot, value)| *slot = Some(*value));
        }
        let of = if numbers == axes.space().len() { " of space" } else { "" };
        self.assumed = Some(format!(
            "a transform has {numbers} numbers for {dimensions} axes: the last is that of the last axis{of}"
        ));
        aligned
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

    /// The part of a matrix that lies along the axes: where each row and column has one number, these and
    /// the order of the axes; else the length of each column, which is the voxel's edge.
    fn from_matrix(rows: Option<&Value>, with_translation: bool, axes: &Axes) -> Self {
        let mut rows: Vec<Vec<f64>> = rows
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|row| {
                let row = row.as_array().into_iter().flatten();
                row.map(|n| finite(n).unwrap_or(0.0)).collect()
            })
            .collect();
        if with_translation && is_homogeneous(&rows) {
            rows.pop();
        }
        let size = rows.len();
        if size > MATRIX_LIMIT || rows.iter().any(|row| row.len() < size) {
            return Self::unused("affine, whose numbers of axes differ,");
        }
        let order = order_of(&rows);
        let column = |j: usize| rows.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt();
        let mut scale: Vec<f64> = (0..size).map(column).collect();
        let mut translation: Vec<f64> = Vec::new();
        if with_translation && rows.iter().all(|row| row.len() > size) {
            translation = rows.iter().map(|row| row[size]).collect();
        }
        let mut found = Self::default();
        if let Some(order) = order {
            let given = translation.clone();
            for (i, &j) in order.iter().enumerate() {
                scale[j] = rows[i][j];
                if let Some(shift) = given.get(i) {
                    translation[j] = *shift;
                }
            }
            let space = axes.space();
            let dimensions = axes.stored.len();
            if size == dimensions {
                found.order = kept(order);
            } else if size == space.len() {
                let mut whole: Vec<usize> = (0..dimensions).collect();
                order.iter().zip(&space).for_each(|(&from, &at)| whole[at] = space[from]);
                found.order = kept(whole);
            }
        } else {
            found.left_out = Some(NOT_ALIGNED.to_owned());
        }
        found.scale = found.align(&scale, axes);
        found.translation = found.align(&translation, axes);
        found
    }

    /// The way back.
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

    /// The same, of the dimensions that its axes had before an earlier step put them into this order.
    fn relabelled(self, order: &[usize]) -> Self {
        if order.is_empty() {
            return self;
        }
        fn spread<T: Clone>(list: &[Option<T>], order: &[usize]) -> Vec<Option<T>> {
            let mut spread = vec![None; order.len()];
            for (value, &at) in list.iter().zip(order) {
                spread[at].clone_from(value);
            }
            spread
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

/// Most rows of a matrix that is looked at; arrays have at most 16 dimensions.
const MATRIX_LIMIT: usize = 17;

/// A number of a matrix that is smaller than the largest of its row by this factor is zero: over 10^5
/// voxels it moves nothing by a voxel.
const NEARLY_ZERO: f64 = 1e-9;

/// Characters of a type that a note quotes.
const QUOTED_CHARS: usize = 60;

const NOT_ALIGNED: &str = "rotation or shear of the image is not applied";

/// The type of a transform in small letters; where it is missing, by the member that only one type has.
fn kind(value: &Value) -> String {
    if let Some(stated) = value.get("type").and_then(Value::as_str) {
        return stated.to_ascii_lowercase();
    }
    const MEMBERS: [&str; 5] = ["scale", "translation", "affine", "rotation", "mapAxis"];
    let mut own = MEMBERS.into_iter().filter(|name| value.get(*name).is_some());
    match (own.next(), own.next()) {
        (Some(only), None) => only.to_ascii_lowercase(),
        _ => String::new(),
    }
}

fn indices(value: &Value) -> Option<Vec<usize>> {
    whole_numbers(value)?.into_iter().map(|n| usize::try_from(n).ok()).collect()
}

fn is_permutation(order: &[usize], dimensions: usize) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..dimensions)
}

/// An order worth keeping: none where each axis stays in its place.
fn kept(order: Vec<usize>) -> Vec<usize> {
    if order.iter().copied().eq(0..order.len()) { Vec::new() } else { order }
}

/// The column of the only number in each row, where each column has only one, too.
fn order_of(rows: &[Vec<f64>]) -> Option<Vec<usize>> {
    let size = rows.len();
    let largest = |row: &[f64]| row[..size].iter().fold(0.0_f64, |most, n| most.max(n.abs()));
    let only = |row: &Vec<f64>| {
        let limit = largest(row) * NEARLY_ZERO;
        let mut there = (0..size).filter(|&j| row[j].abs() > limit);
        there.next().filter(|_| there.next().is_none())
    };
    let is_diagonal = |(i, row): (usize, &Vec<f64>)| (0..size).all(|j| i == j || row[j] == 0.0);
    if rows.iter().enumerate().all(is_diagonal) {
        return Some((0..size).collect());
    }
    let order: Vec<usize> = rows.iter().map(only).collect::<Option<_>>()?;
    is_permutation(&order, size).then_some(order)
}

/// Whether a square matrix ends in a row of zeros and a one.
fn is_homogeneous(rows: &[Vec<f64>]) -> bool {
    let Some((last, above)) = rows.split_last() else { return false };
    let size = rows.len();
    let is_unit = |(j, value): (usize, &f64)| (value - f64::from(u8::from(j + 1 == size))) == 0.0;
    !above.is_empty()
        && rows.iter().all(|row| row.len() == size)
        && last.iter().enumerate().all(is_unit)
}

/// Units by axis, from one for all of space or a list.
pub(super) fn units(value: Option<&Value>, axes: &Axes) -> Vec<Option<String>> {
    let dimensions = axes.stored.len();
    let mut found = vec![None; dimensions];
    match value {
        Some(Value::Array(list)) => {
            let space = axes.space();
            let places: Vec<usize> =
                if list.len() == space.len() { space } else { (0..dimensions).collect() };
            let pairs = places.into_iter().rev().zip(list.iter().rev());
            pairs.for_each(|(at, unit)| found[at] = text(unit));
        }
        Some(single) => {
            if let Some(unit) = text(single) {
                axes.space().into_iter().for_each(|at| found[at] = Some(unit.clone()));
            }
        }
        None => return Vec::new(),
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(steps: &Value, names: &str) -> Transform {
        let shape = vec![8; names.len()];
        let stored: Vec<String> = names.chars().map(String::from).collect();
        let axes = Axes::of_array(Some(stored), &shape, false).expect("axes");
        Transform::sequence(Some(steps), &axes)
    }

    #[test]
    fn scale_and_translation_compose_in_their_order() {
        let scale = json!({"type": "scale", "scale": [2.0, 0.5]});
        let shift = json!({"type": "translation", "translation": [4.0, 1.0]});
        let found = of(&json!([scale, shift]), "yx");
        assert_eq!(found.scale, [Some(2.0), Some(0.5)]);
        assert_eq!(found.translation, [Some(4.0), Some(1.0)]);
        let found = of(&json!([shift, scale]), "yx");
        assert_eq!(found.translation, [Some(8.0), Some(0.5)]);
        assert_eq!(found.assumed, None);
    }

    #[test]
    fn rotated_affine_gives_column_lengths() {
        let found =
            of(&json!([{"type": "affine", "affine": [[3.0, 3.0, 7.0], [4.0, -4.0, 8.0]]}]), "yx");
        assert_eq!(found.scale, [Some(5.0), Some(5.0)]);
        assert_eq!(found.translation, [Some(7.0), Some(8.0)]);
        assert_eq!(found.left_out.as_deref(), Some(NOT_ALIGNED));
        assert!(found.order.is_empty());
        let square = json!([{"type": "affine", "affine": [[2, 0, 5], [0, 3, 6], [0, 0, 1]]}]);
        let found = of(&square, "zyx");
        assert_eq!(found.scale, [None, Some(2.0), Some(3.0)]);
        assert_eq!(found.translation, [None, Some(5.0), Some(6.0)]);
    }

    /// The dimension, scale and translation of each coordinate.
    fn coordinates(found: &Transform, dimensions: usize) -> Vec<(usize, f64, f64)> {
        let one = |i: usize| {
            let at = found.order.get(i).copied().unwrap_or(i);
            let scale = found.scale_of(at).unwrap_or(1.0);
            (at, scale, found.translation_of(at).unwrap_or(0.0))
        };
        (0..dimensions).map(one).collect()
    }

    #[test]
    fn axes_in_another_order_take_their_numbers_along() {
        let map = json!({"type": "mapAxis", "mapAxis": [2, 0, 1]});
        let scale = json!({"type": "scale", "scale": [2, 3, 4]});
        let shift = json!({"type": "translation", "translation": [10, 20, 30]});
        let found = of(&json!([scale, map]), "zyx");
        assert_eq!(coordinates(&found, 3), [(2, 4.0, 0.0), (0, 2.0, 0.0), (1, 3.0, 0.0)]);
        let found = of(&json!([map, scale, shift]), "zyx");
        assert_eq!(coordinates(&found, 3), [(2, 2.0, 10.0), (0, 3.0, 20.0), (1, 4.0, 30.0)]);
        let twice = of(&json!([map, map]), "zyx");
        assert_eq!(twice.order, [1, 2, 0]);
        assert!(of(&json!([map, map, map]), "zyx").order.is_empty());
        for bad in [json!([0, 0, 1]), json!([0, 1]), json!([1, 2, 3]), json!({"x": "y"})] {
            let found = of(&json!([{"type": "mapAxis", "mapAxis": bad}]), "zyx");
            assert!(found.order.is_empty() && found.left_out.is_some(), "{bad}");
        }
    }

    #[test]
    fn matrices_that_only_permute_axes() {
        let affine = json!([[0, 0, 3, 1], [0, 2, 0, 2], [1, 0, 0, 3]]);
        let found = of(&json!([{"type": "affine", "affine": affine}]), "zyx");
        assert_eq!(coordinates(&found, 3), [(2, 3.0, 1.0), (1, 2.0, 2.0), (0, 1.0, 3.0)]);
        assert_eq!(found.left_out, None);
        // A quarter turn, as a program computes it.
        let turn = json!([[6e-17, -1.0], [1.0, 6e-17]]);
        let found = of(&json!([{"type": "rotation", "rotation": turn}]), "yx");
        assert_eq!(coordinates(&found, 2), [(1, -1.0, 0.0), (0, 1.0, 0.0)]);
        // Of space only.
        let found = of(&json!([{"type": "rotation", "rotation": [[0, 1], [1, 0]]}]), "cyx");
        assert_eq!(found.order, [0, 2, 1]);
        let flat = of(&json!([{"type": "affine", "affine": [[1, 0, 0]]}]), "yx");
        assert_eq!(flat.scale, [None, Some(1.0)]);
    }

    #[test]
    fn parts_by_dimension_are_put_together() {
        let part = |transform: Value, inputs: Value, outputs: Value| json!({"transformation": transform, "inputAxes": inputs, "outputAxes": outputs});
        let scale = |list: Value| json!({"type": "scale", "scale": list});
        let whole =
            |parts: Value| of(&json!([{"type": "byDimension", "transformations": parts}]), "zyx");
        let found = whole(json!([
            part(scale(json!([3])), json!([0]), json!([2])),
            part(scale(json!([5, 7])), json!([2, 1]), json!([0, 1])),
        ]));
        assert_eq!(coordinates(&found, 3), [(2, 5.0, 0.0), (1, 7.0, 0.0), (0, 3.0, 0.0)]);
        let by_name = json!([{"type": "scale", "scale": [2], "inputAxes": ["y"], "outputAxes": ["y"]},
            {"type": "identity", "inputAxes": ["z", "x"], "outputAxes": ["z", "x"]}]);
        assert_eq!(whole(by_name).scale, [None, Some(2.0), None]);
        for bad in [
            json!([part(scale(json!([3])), json!([0]), json!([0]))]),
            json!([part(scale(json!([3, 3, 3])), json!([0, 1, 2]), json!([0, 1, 1]))]),
            json!([part(scale(json!([3])), json!([0]), json!([7]))]),
            json!("x"),
        ] {
            let found = whole(bad.clone());
            assert!(found.left_out.is_some() && !found.is_scaled(), "{bad}");
        }
    }

    #[test]
    fn transforms_that_are_not_understood_are_told() {
        for (step, told) in [
            (json!({"type": "displacements", "path": "d"}), "type displacements is"),
            (json!({"type": "scale", "path": "numbers"}), "in an array"),
            (json!({"type": "warp"}), "type warp is"),
            (json!({"type": "bijection"}), "type bijection is"),
            (json!({"type": "affine", "affine": [[1, 0], [0, 1], [0, 0]]}), "affine"),
        ] {
            let left_out = of(&json!([step]), "yx").left_out.expect("told");
            assert!(left_out.contains(told), "{left_out}");
        }
        let scale = json!({"scale": [2, 3]});
        let bijection = json!({"type": "bijection", "forward": scale, "inverse": {}});
        for step in [scale, bijection, json!({"type": "Scale", "scale": [2, 3]})] {
            assert_eq!(of(&json!([step]), "yx").scale, [Some(2.0), Some(3.0)], "{step}");
        }
    }

    #[test]
    fn the_way_back_undoes_the_way_there() {
        let steps = json!([{"type": "mapAxis", "mapAxis": [2, 0, 1]},
            {"type": "scale", "scale": [2, 4, 8]}, {"type": "translation", "translation": [1, 2, 3]}]);
        let there = of(&steps, "zyx");
        let back = there.clone().then(there.inverse(3));
        assert!(back.order.is_empty());
        assert_eq!(coordinates(&back, 3), [(0, 1.0, 0.0), (1, 1.0, 0.0), (2, 1.0, 0.0)]);
        let back = there.inverse(3).then(there);
        assert_eq!(coordinates(&back, 3), [(0, 1.0, 0.0), (1, 1.0, 0.0), (2, 1.0, 0.0)]);
    }

    #[test]
    fn fewer_and_more_numbers_than_axes_are_aligned_at_the_end() {
        let scale = |numbers: Value, names: &str| {
            let found = of(&json!([{"type": "scale", "scale": numbers}]), names);
            assert!(found.assumed.is_some(), "{names}");
            found.scale
        };
        assert_eq!(scale(json!([1.0, 0.3, 0.2]), "czyx"), [None, Some(1.0), Some(0.3), Some(0.2)]);
        assert_eq!(scale(json!([0.3, 0.2]), "tzyx"), [None, None, Some(0.3), Some(0.2)]);
        assert_eq!(scale(json!([1, 1, 3, 0.3, 0.2]), "zyx"), [Some(3.0), Some(0.3), Some(0.2)]);
        // The numbers are those of space, wherever it lies.
        assert_eq!(scale(json!([0.3, 0.2]), "yxc"), [Some(0.3), Some(0.2), None]);
        let found = of(&json!([{"type": "translation", "translation": [5, 6, 7]}]), "tczyx");
        assert_eq!(found.translation, [None, None, Some(5.0), Some(6.0), Some(7.0)]);
    }

    #[test]
    fn scales_by_name_as_text_and_one_for_all() {
        let scale = |scale: Value| of(&json!([{"type": "scale", "scale": scale}]), "czyx").scale;
        let zyx = [None, Some(3.0), Some(0.5), Some(0.25)];
        assert_eq!(scale(json!({"x": 0.25, "Y": "0.5", "z": 3})), zyx);
        assert_eq!(scale(json!(["1", "3", " 0.5", "0.25"]))[1..], zyx[1..]);
        assert_eq!(scale(json!(2)), [None, Some(2.0), Some(2.0), Some(2.0)]);
        assert_eq!(scale(json!("2")), [None, Some(2.0), Some(2.0), Some(2.0)]);
        assert_eq!(scale(json!(null)), []);
        assert!(scale(json!([1, "three", 1, 1]))[1].is_some_and(f64::is_nan));
    }

    #[test]
    fn a_transform_may_have_a_unit_of_its_own() {
        let found =
            of(&json!([{"type": "scale", "scale": [1, 1, 1, 1], "unit": "angstrom"}]), "czyx");
        let units: Vec<Option<&str>> = (0..4).map(|i| found.unit_of(i)).collect();
        assert_eq!(units, [None, Some("angstrom"), Some("angstrom"), Some("angstrom")]);
        let units = json!(["nm", "um", "mm"]);
        let found = of(&json!([{"type": "scale", "scale": [1, 1, 1, 1], "units": units}]), "czyx");
        assert_eq!((found.unit_of(0), found.unit_of(1)), (None, Some("nm")));
    }
}
