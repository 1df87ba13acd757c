//! The picture of the thumbnail: a maximum projection on a small grid, built row by row.
//!
//! Source: `ImarisWriter` `bpThumbnailBuilder.cxx`. Longer side 256, aspect of isotropic pixels, nearest
//! neighbour (source index = i * source / target), time point 0, each channel through its colour and
//! range, channels combined by maximum. Of `ImarisWriter`'s two candidates this is the projection.

use crate::image::plan::ImagePlan;
use crate::ims::VoxelType;

/// Longer side in pixels.
const SIDE: u64 = 256;

/// Upper bound of the memory of a [`Projection`] of some channels, and of what is rendered of it.
pub(super) fn memory_bytes(channels: u64) -> u64 {
    SIDE * SIDE * size_of::<f32>() as u64 * (channels + 1)
}

/// Width and height in pixels, from the level that `ImarisWriter` would take.
pub(super) fn size(plan: &ImagePlan) -> (u32, u32) {
    let level = level_for(plan);
    let [_, size_y, size_x] = plan.levels[level].size;
    let (width, height) = grid(size_x, size_y, voxel_um(plan, level));
    let side = |pixels: u64| u32::try_from(pixels).expect("at most 256 pixels");
    (side(width), side(height))
}

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

/// Which columns, or rows, of a level the pixels of the thumbnail show: one often, where it is smaller.
#[derive(Debug)]
struct Shown {
    /// In ascending order, each once.
    sources: Vec<u64>,
    /// For each pixel, which of them.
    of_pixel: Vec<usize>,
}

impl Shown {
    fn new(size: u64, pixels: u64) -> Self {
        let mut shown = Self { sources: Vec::new(), of_pixel: Vec::new() };
        for pixel in 0..pixels {
            // In 128 bits: sizes may be declared up to 2^60.
            let source = u128::from(pixel) * u128::from(size) / u128::from(pixels);
            let source = u64::try_from(source).unwrap_or(0);
            if shown.sources.last() != Some(&source) {
                shown.sources.push(source);
            }
            shown.of_pixel.push(shown.sources.len() - 1);
        }
        shown
    }
}

/// The largest value along z of every voxel that the thumbnail shows.
#[derive(Debug)]
pub(super) struct Projection {
    target: VoxelType,
    columns: Shown,
    rows: Shown,
    /// Per channel, row by row; `NEG_INFINITY` where nothing was seen.
    values: Vec<Vec<f32>>,
}

impl Projection {
    /// Of the first channels of a level.
    pub(super) fn new(plan: &ImagePlan, level: usize, channels: u64) -> Self {
        let [_, size_y, size_x] = plan.levels[level].size;
        let (width, height) = size(plan);
        let columns = Shown::new(size_x, width.into());
        let rows = Shown::new(size_y, height.into());
        let unseen = vec![f32::NEG_INFINITY; columns.sources.len() * rows.sources.len()];
        let values = vec![unseen; usize::try_from(channels).unwrap_or(usize::MAX)];
        Self { target: plan.target, columns, rows, values }
    }

    /// Takes a row of voxels in, in any order.
    pub(super) fn add(&mut self, channel: usize, start: [u64; 3], row: &[u8]) {
        let Ok(line) = self.rows.sources.binary_search(&start[1]) else { return };
        let columns = &self.columns.sources;
        let line = &mut self.values[channel][line * columns.len()..][..columns.len()];
        let end = start[2] + (row.len() / self.target.bytes()) as u64;
        let first = columns.partition_point(|&x| x < start[2]);
        let last = columns.partition_point(|&x| x < end);
        let at = columns[first..last].iter().map(|x| usize::try_from(x - start[2]).unwrap_or(0));
        let known = at.zip(&mut line[first..last]);
        #[expect(clippy::cast_precision_loss, reason = "a pixel has 8 bits")]
        match self.target {
            VoxelType::U8 => raise(known, row, |[v]| f32::from(v)),
            VoxelType::U16 => raise(known, row, |v| f32::from(u16::from_le_bytes(v))),
            VoxelType::I16 => raise(known, row, |v| f32::from(i16::from_le_bytes(v))),
            VoxelType::U32 => raise(known, row, |v| u32::from_le_bytes(v) as f32),
            VoxelType::F32 => raise(known, row, f32::from_le_bytes),
        }
    }

    /// Each channel through its colour and range, channels combined by maximum: rows of red, green, blue, alpha.
    pub(super) fn render(&self, plan: &ImagePlan, ranges: &[(f64, f64)]) -> Vec<u8> {
        let (width, height) = (self.columns.of_pixel.len(), self.rows.of_pixel.len());
        let colors: Vec<[f32; 3]> =
            (0..ranges.len()).map(|c| plan.ims.channels.get(c).color).collect();
        let mut rgba = vec![0; width * height * 4];
        for (pixel, out) in rgba.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (row, column) = (pixel / width, pixel % width);
            let line = self.rows.of_pixel[row] * self.columns.sources.len();
            let voxel = line + self.columns.of_pixel[column];
            for (channel, ((low, high), color)) in ranges.iter().zip(&colors).enumerate() {
                let value = f64::from(self.values[channel][voxel]);
                let intensity = ((value - low) / (high - low)).clamp(0.0, 1.0);
                for (component, &color) in out.iter_mut().zip(color) {
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
        rgba
    }
}

/// Replaces values that those of some voxels of a row are greater than; NaN is not.
fn raise<'a, const B: usize>(
    known: impl Iterator<Item = (usize, &'a mut f32)>,
    row: &[u8],
    read: impl Fn([u8; B]) -> f32,
) {
    let (voxels, _) = row.as_chunks::<B>();
    for (at, known) in known {
        let value = read(voxels[at]);
        if value > *known {
            *known = value;
        }
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
