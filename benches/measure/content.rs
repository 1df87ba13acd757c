//! Voxels that look like those of a light-sheet camera: bright spots on a sloping background, with noise
//! in every voxel. Every run gives the same voxels, and no two chunks are the same.

use super::hash::hash;

/// Side of the cells of which each has one spot.
const CELL: u64 = 48;

/// Brightness by distance from the middle of a spot.
type Falloff = [f32; 48];

/// Camera offset of the background.
const OFFSET: f32 = 110.0;

/// Which voxels: a box of one level of one channel of one time point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Position of its first voxel, order (z, y, x).
    pub(crate) origin: [u64; 3],
    /// Lengths of the level, order (z, y, x).
    pub(crate) size: [u64; 3],
    pub(crate) level: u32,
    /// Makes time points and channels differ.
    pub(crate) seed: u64,
}

/// The voxels of a box of `shape` voxels; what lies outside of the level is zero.
pub(crate) fn voxels(place: Place, shape: [u64; 3]) -> Vec<u16> {
    let length = |n: u64| usize::try_from(n).expect("64 bits");
    let mut out = vec![0; length(shape.iter().product())];
    let falloff: Falloff = std::array::from_fn(|d| (-((d * d) as f32) / 90.0).exp());
    let width = shape[2].min(place.size[2].saturating_sub(place.origin[2]));
    for (number, row) in out.chunks_exact_mut(length(shape[2])).enumerate() {
        let z = place.origin[0] + number as u64 / shape[1];
        let y = place.origin[1] + number as u64 % shape[1];
        if z < place.size[0] && y < place.size[1] {
            fill_row(&mut row[..length(width)], place, [z, y], &falloff);
        }
    }
    out
}

/// Coarser levels are the same picture in steps of two, four and so on, with noise of their own.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a picture, not a measurement"
)]
fn fill_row(row: &mut [u16], place: Place, [z, y]: [u64; 2], falloff: &Falloff) {
    let Place { origin, size, level, seed } = place;
    let mut noise = hash(z, y, origin[2], seed * 64 + u64::from(level));
    let background = OFFSET + 40.0 * (y as f32 / size[1] as f32);
    let mut cell = u64::MAX;
    let (mut centre, mut brightness) = (0, 0.0);
    for (x, voxel) in row.iter_mut().enumerate() {
        let [full_z, full_y, full_x] = [z, y, origin[2] + x as u64].map(|at| at << level);
        if full_x / CELL != cell {
            cell = full_x / CELL;
            let spot = hash(full_z / CELL, full_y / CELL, cell, seed);
            // Spots stay within their cells.
            let middle = |shift: u32| 12 + (spot >> shift & 0xff) * 24 / 255;
            let at =
                |position: u64, shift| falloff[(position % CELL).abs_diff(middle(shift)) as usize];
            centre = middle(16);
            brightness = (400 + (spot >> 24 & 0x7ff)) as f32 * at(full_z, 0) * at(full_y, 8);
        }
        noise =
            noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let signal = brightness * falloff[(full_x % CELL).abs_diff(centre) as usize];
        *voxel = (background + signal) as u16 + (noise >> 59) as u16;
    }
}
