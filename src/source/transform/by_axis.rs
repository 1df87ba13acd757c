//! Gives the numbers and units of a transform to the axes of the array.

use serde_json::Value;

use crate::source::axes::Axes;
use crate::source::json::{number, text};

/// Numbers by axis: from a list, from an object whose members are axes, or one for all of space. `assumed` is
/// set as [`align`] does.
pub(in crate::source) fn numbers(
    value: Option<&Value>,
    axes: &Axes,
    assumed: &mut Option<String>,
) -> Vec<Option<f64>> {
    match value {
        Some(Value::Array(list)) => {
            // A member that is no number leaves its axis as it is, not the whole transform.
            let list: Vec<f64> = list.iter().map(|n| number(n).unwrap_or(f64::NAN)).collect();
            align(&list, axes, assumed)
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
            Some(single) => align(&vec![single; axes.space().len()], axes, assumed),
            None => Vec::new(),
        },
        None => Vec::new(),
    }
}

/// Gives numbers to axes. As many as there are axes of space are theirs; of any other count, the last
/// number is that of the last axis. Where there are more or fewer than axes, `assumed` is set to a sentence
/// on that.
pub(super) fn align(list: &[f64], axes: &Axes, assumed: &mut Option<String>) -> Vec<Option<f64>> {
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
    *assumed = Some(format!(
        "a transform has {numbers} numbers for {dimensions} axes: the last is that of the last axis{of}"
    ));
    aligned
}

/// Units by axis, from one for all of space or a list.
pub(in crate::source) fn units(value: Option<&Value>, axes: &Axes) -> Vec<Option<String>> {
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
