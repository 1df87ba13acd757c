//! The part of a matrix that lies along the axes.

use serde_json::Value;

use super::order::is_permutation;
use crate::source::json::finite;

/// Most rows of a matrix that is looked at; arrays have at most 16 dimensions.
const MATRIX_LIMIT: usize = 17;

/// A number of a matrix that is smaller than the largest of its row by this factor is zero: over 10^5
/// voxels it moves nothing by a voxel.
const NEARLY_ZERO: f64 = 1e-9;

/// A square matrix, as far as it lies along the axes.
pub(super) struct Matrix {
    /// By column: the only number where each row and column has one; else the length of the column, which is
    /// the voxel's edge.
    pub(super) scale: Vec<f64>,
    /// By column; empty where the matrix states none.
    pub(super) translation: Vec<f64>,
    /// The column of the only number in each row; `None` where a row or a column has more.
    pub(super) order: Option<Vec<usize>>,
}

impl Matrix {
    /// Reads the rows of a matrix, the translation at the end of each if there may be one; `None` where rows are
    /// too many or too short.
    pub(super) fn parse(rows: Option<&Value>, with_translation: bool) -> Option<Self> {
        let rows = rows.and_then(Value::as_array).into_iter().flatten();
        let numbers = |row: &Value| {
            let row = row.as_array().into_iter().flatten();
            row.map(|n| finite(n).unwrap_or(0.0)).collect()
        };
        let mut rows: Vec<Vec<f64>> = rows.map(numbers).collect();
        if with_translation && is_homogeneous(&rows) {
            rows.pop();
        }
        let size = rows.len();
        if size > MATRIX_LIMIT || rows.iter().any(|row| row.len() < size) {
            return None;
        }
        let has_translation = with_translation && rows.iter().all(|row| row.len() > size);
        let shifts: Vec<f64> =
            if has_translation { rows.iter().map(|row| row[size]).collect() } else { Vec::new() };
        let Some(order) = order_of(&rows) else {
            let length = |j: usize| rows.iter().map(|row| row[j] * row[j]).sum::<f64>().sqrt();
            let scale = (0..size).map(length).collect();
            return Some(Self { scale, translation: shifts, order: None });
        };
        let (mut scale, mut translation) = (vec![0.0; size], shifts.clone());
        for (i, &j) in order.iter().enumerate() {
            scale[j] = rows[i][j];
            if let Some(shift) = shifts.get(i) {
                translation[j] = *shift;
            }
        }
        Some(Self { scale, translation, order: Some(order) })
    }
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
