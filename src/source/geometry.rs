//! Voxel size, place and frame interval of an image, from the transform of its finest level and the
//! units of its axes. What cannot be used is replaced and noted, and never stops an image.

use super::ome::{Multiscale, Transform};
use super::units;

/// Voxel edges taken at their word: from a picometre to a kilometre.
const VOXEL_RANGE_UM: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

/// Characters of a unknown unit that a note quotes.
const QUOTED_CHARS: usize = 40;

/// Lengths in the order (x, y, z).
#[derive(Debug)]
pub(super) struct Geometry {
    /// Edge of a voxel in micrometres.
    pub(super) voxel_um: [f64; 3],
    /// Translation in micrometres.
    pub(super) origin_um: [f64; 3],
    /// Axes with a scale and no unit: micrometres are a guess.
    pub(super) lacks_unit: [bool; 3],
    /// Interval between time points in seconds, where stated.
    pub(super) time_step_s: Option<f64>,
}

impl Geometry {
    /// `axes` says which stored axis is t, c, z, y, x.
    pub(super) fn new(
        multiscale: &Multiscale,
        axes: [Option<usize>; 5],
        transform: &Transform,
        notes: &mut Vec<String>,
    ) -> Self {
        let stored_axes = multiscale.axes.as_deref().unwrap_or(&[]);
        let unit = |axis: usize| stored_axes.get(axis).and_then(|axis| axis.unit.as_deref());
        let time_step_s = axes[0].and_then(|axis| {
            let factor = unit(axis).and_then(units::seconds).unwrap_or(1.0);
            transform.scale_of(axis).map(|scale| scale * factor)
        });
        let mut found = Self {
            voxel_um: [1.0; 3],
            origin_um: [0.0; 3],
            lacks_unit: [false; 3],
            time_step_s: time_step_s.filter(|step| step.is_finite() && *step > 0.0),
        };
        if time_step_s.is_some() && found.time_step_s.is_none() {
            notes.push("interval between time points replaced by 1 s".to_owned());
        }
        for (slot, axis) in [4, 3, 2].into_iter().enumerate() {
            if let Some(axis) = axes[axis] {
                found.add_axis(slot, axis, unit(axis), transform, notes);
            }
        }
        let is_length = |slot: usize| (found.voxel_um[slot] - 1.0).abs() > f64::EPSILON;
        if (0..3).any(|slot| found.lacks_unit[slot] && is_length(slot)) {
            notes.push("lengths without a unit are taken as --default-unit says".to_owned());
        }
        found
    }

    fn add_axis(
        &mut self,
        slot: usize,
        axis: usize,
        unit: Option<&str>,
        transform: &Transform,
        notes: &mut Vec<String>,
    ) {
        let factor = unit.map_or(Some(1.0), units::micrometres).unwrap_or_else(|| {
            let unit: String = unit.unwrap_or_default().chars().take(QUOTED_CHARS).collect();
            notes.push(format!("unit {unit:?} is not known; taken as micrometre"));
            1.0
        });
        if let Some(scale) = transform.scale_of(axis) {
            let voxel = scale * factor;
            if VOXEL_RANGE_UM.contains(&voxel) {
                self.voxel_um[slot] = voxel;
                self.lacks_unit[slot] = unit.is_none();
            } else {
                notes.push(format!("voxel size {voxel} um replaced by 1 um"));
            }
        }
        let origin = transform.translation_of(axis) * factor;
        if origin.abs() < *VOXEL_RANGE_UM.end() {
            self.origin_um[slot] = origin;
        }
    }
}
