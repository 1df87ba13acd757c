//! The thumbnail: a maximum projection on a small grid, built row by row.
//!
//! Source: `ImarisWriter` `bpThumbnailBuilder.cxx`. Longer side 256, aspect of isotropic pixels, nearest
//! neighbour (source index = i * source / target), time point 0, each channel through its colour and
//! range, channels combined by maximum. Of the maker's two candidates this is the projection.

use std::collections::BTreeMap;

use crate::ims::Thumbnail;
use crate::source::TargetType;

use super::plan::ImagePlan;

/// Longer side in pixels.
const SIDE: u64 = 256;

/// The level a thumbnail is made from: the coarsest that is as large, else the finest.
pub(super) fn level_for(plan: &ImagePlan) -> usize {
    let is_large = |level: &usize| {
        let [_, y, x] = plan.levels[*level].size;
        y >= SIDE && x >= SIDE
    };
    (0..plan.levels.len()).rev().find(is_large).unwrap_or(0)
}

/// The largest value along z of every pixel of the thumbnail.
pub(super) struct Projection {
    pub(super) level: usize,
    target: TargetType,
    width: usize,
    height: usize,
    /// Source column of each thumbnail column.
    columns: Vec<u64>,
    /// Thumbnail rows that show source row y.
    rows_of: BTreeMap<u64, Vec<usize>>,
    /// Per channel, row by row; `NEG_INFINITY` where nothing was seen.
    values: Vec<Vec<f32>>,
}

impl Projection {
    pub(super) fn new(plan: &ImagePlan, level: usize) -> Self {
        let [_, size_y, size_x] = plan.levels[level].size;
        let length = |axis: usize| plan.ims.extent_max_um[axis] - plan.ims.extent_min_um[axis];
        let ratio = length(1) / length(0);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the side of the thumbnail"
        )]
        let shorter = |ratio: f64| (ratio * SIDE as f64).round().clamp(1.0, SIDE as f64) as u64;
        let (width, height) =
            if ratio <= 1.0 { (SIDE, shorter(ratio)) } else { (shorter(1.0 / ratio), SIDE) };
        let mut rows_of: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        // In 128 bits: sizes may be declared up to 2^60.
        let nearest = |at: u64, size: u64, length: u64| {
            u64::try_from(u128::from(at) * u128::from(size) / u128::from(length)).unwrap_or(0)
        };
        for (row, y) in (0..height).map(|row| nearest(row, size_y, height)).enumerate() {
            rows_of.entry(y).or_default().push(row);
        }
        let columns: Vec<u64> = (0..width).map(|column| nearest(column, size_x, width)).collect();
        let height = usize::try_from(height).unwrap_or(1);
        let pixels = columns.len() * height;
        Self {
            level,
            target: plan.target,
            width: columns.len(),
            height,
            columns,
            rows_of,
            values: vec![vec![f32::NEG_INFINITY; pixels]; plan.ims.channels.len()],
        }
    }

    /// Takes a row of voxels in, in any order.
    pub(super) fn add(&mut self, channel: usize, start: [u64; 3], row: &[u8]) {
        let Some(rows) = self.rows_of.get(&start[1]) else { return };
        let bytes = self.target.bytes();
        let end = start[2] + (row.len() / bytes) as u64;
        let first = self.columns.partition_point(|&x| x < start[2]);
        let last = self.columns.partition_point(|&x| x < end);
        for column in first..last {
            let at = usize::try_from(self.columns[column] - start[2]).unwrap_or(0) * bytes;
            #[expect(clippy::cast_precision_loss, reason = "a pixel has 8 bits")]
            let value = match (self.target, &row[at..at + bytes]) {
                (TargetType::U16, &[a, b]) => f32::from(u16::from_le_bytes([a, b])),
                (TargetType::I16, &[a, b]) => f32::from(i16::from_le_bytes([a, b])),
                (TargetType::U32, &[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]) as f32,
                (TargetType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
                (_, voxel) => f32::from(voxel[0]),
            };
            for &row in rows {
                let known = &mut self.values[channel][row * self.width + column];
                // NaN compares false and is passed over.
                if value > *known {
                    *known = value;
                }
            }
        }
    }

    /// Each channel through its colour and range, channels combined by maximum.
    pub(super) fn render(&self, plan: &ImagePlan, ranges: &[(f64, f64)]) -> Thumbnail {
        let mut rgba = vec![0; self.width * self.height * 4];
        for (pixel, out) in rgba.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for (channel, (low, high)) in ranges.iter().enumerate() {
                let value = f64::from(self.values[channel][pixel]);
                let intensity = ((value - low) / (high - low)).clamp(0.0, 1.0);
                for (component, color) in out.iter_mut().zip(plan.ims.channels[channel].color) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "0..=255"
                    )]
                    let shade = (intensity * f64::from(color) * 255.0).round() as u8;
                    *component = (*component).max(shade);
                }
            }
            out[3] = 255;
        }
        let side = |n: usize| u32::try_from(n).unwrap_or(1);
        Thumbnail { width: side(self.width), height: side(self.height), rgba }
    }
}
