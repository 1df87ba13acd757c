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

/// Edges of a voxel of a level along x and y.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53 voxels per axis")]
fn voxel_um(plan: &ImagePlan, level: usize) -> [f64; 2] {
    let [_, y, x] = plan.levels[level].size;
    [(0, x), (1, y)].map(|(axis, size)| {
        (plan.ims.extent_max_um[axis] - plan.ims.extent_min_um[axis]) / size as f64
    })
}

/// Width and height in pixels: the image in square pixels as small as the shorter edge of a voxel, a
/// last part of one cut off (`bpComputeThumbnailSizeXY`), scaled to the longer side.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the side of the thumbnail"
)]
fn grid(size_x: u64, size_y: u64, [edge_x, edge_y]: [f64; 2]) -> (u64, u64) {
    let pixel = edge_x.min(edge_y);
    // Float noise must not cost a whole pixel.
    let pixels =
        |size: u64, edge: f64| (size as f64 * (edge / pixel) * (1.0 + 1e-9)).floor().max(1.0);
    let (x, y) = (pixels(size_x, edge_x), pixels(size_y, edge_y));
    let side =
        |length: f64| (length / x.max(y) * SIDE as f64).round().clamp(1.0, SIDE as f64) as u64;
    (side(x), side(y))
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
        let (width, height) = grid(size_x, size_y, voxel_um(plan, level));
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
                        reason = "0..=255, cut as the maker does"
                    )]
                    let shade = (intensity * f64::from(color) * 255.0) as u8;
                    *component = (*component).max(shade);
                }
            }
            out[3] = 255;
        }
        let side = |n: usize| u32::try_from(n).unwrap_or(1);
        Thumbnail { width: side(self.width), height: side(self.height), rgba }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_of_the_makers_files() {
        // Sizes of level 0 and voxels in the reference files, and the shape of their thumbnails.
        assert_eq!(grid(161, 151, [0.8, 0.8]), (256, 240));
        assert_eq!(grid(40, 30, [2.0, 3.0]), (228, 256));
        assert_eq!(grid(215, 199, [0.5, 0.5]), (256, 237));
        assert_eq!(grid(133, 97, [0.5, 0.25]), (256, 93));
        assert_eq!(grid(65, 33, [2.0, 3.0]), (256, 193));
        assert_eq!(grid(550, 452, [0.65, 0.65]), (256, 210));
        assert_eq!(grid(301, 201, [0.65, 0.65]), (256, 171));
        assert_eq!(grid(1, 1_000_000, [1.0, 1.0]), (1, 256));
    }
}
