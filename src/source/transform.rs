//! From array index to physical place: coordinate transformations, as far as they lie along the axes.
//!
//! Sources: OME-NGFF 0.4 and 0.5, "coordinateTransformations"; 0.6 (RFC-5), whose further types are
//! read for their part along the axes. Writers state lists with more or fewer numbers than there are
//! axes, numbers as text, and one number for all; a list that can have only one meaning is used.

use serde_json::Value;

use super::axes::Axes;
use super::json::{finite, number, text};

/// `coordinate = scale * index + translation`, per stored axis; `None` where nothing is stated.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Transform {
    pub(crate) scale: Vec<Option<f64>>,
    pub(crate) translation: Vec<Option<f64>>,
    /// Units that the transform states itself; those of the axes come first.
    pub(crate) units: Vec<Option<String>>,
    /// A rotation or shear was left out.
    pub(crate) simplified: bool,
    /// How numbers were given to axes where their count is another.
    pub(crate) assumed: Option<String>,
}

impl Transform {
    /// The steps of `coordinateTransformations`, one after the other.
    pub(crate) fn of<'a>(steps: impl IntoIterator<Item = &'a Value>, axes: &Axes) -> Self {
        steps.into_iter().fold(Self::default(), |whole, step| whole.then(Self::parse(step, axes)))
    }

    fn parse(value: &Value, axes: &Axes) -> Self {
        let mut found = Self::default();
        match value.get("type").and_then(Value::as_str).unwrap_or_default() {
            "scale" => found.scale = found.numbers(value.get("scale"), axes),
            "translation" => {
                // "translate" is how COSEM has it.
                let list = value.get("translation").or_else(|| value.get("translate"));
                found.translation = found.numbers(list, axes);
            }
            "affine" => found = Self::from_matrix(value.get("affine"), true, axes),
            "rotation" => found = Self::from_matrix(value.get("rotation"), false, axes),
            "sequence" => {
                let steps = value.get("transformations").and_then(Value::as_array);
                return Self::of(steps.into_iter().flatten(), axes);
            }
            "" | "identity" => {}
            _ => found.simplified = true,
        }
        found.units = units(value.get("unit").or_else(|| value.get("units")), axes);
        found
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

    /// The axis-aligned part of a matrix: the diagonal where it is one, else the length of each
    /// column, which is the voxel's edge.
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
            return Self { simplified: true, ..Self::default() };
        }
        let off_diagonal = |i: usize, j: usize| i != j && rows[i][j].abs() > f64::EPSILON;
        let aligned = !(0..size).any(|i| (0..size).any(|j| off_diagonal(i, j)));
        let column = |j: usize| rows.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt();
        let scale: Vec<f64> =
            (0..size).map(|j| if aligned { rows[j][j] } else { column(j) }).collect();
        let translation: Vec<f64> = if with_translation && rows.iter().all(|row| row.len() > size) {
            rows.iter().map(|row| row[size]).collect()
        } else {
            Vec::new()
        };
        let mut found = Self { simplified: !aligned, ..Self::default() };
        found.scale = found.align(&scale, axes);
        found.translation = found.align(&translation, axes);
        found
    }

    /// First `self`, then `next`.
    fn then(self, next: Self) -> Self {
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
            simplified: self.simplified || next.simplified,
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
        let axes = Axes::of_array(Some(stored), &shape).expect("axes");
        Transform::of(steps.as_array().expect("a list"), &axes)
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
            of(&json!([{"type": "affine", "affine": [[0.0, 3.0, 7.0], [4.0, 0.0, 8.0]]}]), "yx");
        assert_eq!(found.scale, [Some(4.0), Some(3.0)]);
        assert_eq!(found.translation, [Some(7.0), Some(8.0)]);
        assert!(found.simplified);
        let square = json!([{"type": "affine", "affine": [[2, 0, 5], [0, 3, 6], [0, 0, 1]]}]);
        let found = of(&square, "zyx");
        assert_eq!(found.scale, [None, Some(2.0), Some(3.0)]);
        assert_eq!(found.translation, [None, Some(5.0), Some(6.0)]);
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
