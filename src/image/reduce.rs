//! Joining the voxels of one level to those of the next coarser one.
//!
//! `ImarisWriter`'s rule (`ResampleBlock`): the mean of the 2, 4 or 8 voxels, accumulated in
//! float32 in the order of z, y, x, divided, and for integers truncated; an odd last plane, row or
//! column is dropped. Label images would get numbers of objects that do not exist: they take the
//! most frequent of the voxels, and of equally frequent ones the first.

use std::ops::Add;

use crate::ims::VoxelType;

/// How voxels are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reduction {
    /// Intensities: the mean.
    Mean,
    /// Labels: the most frequent.
    MostFrequent,
}

/// Voxels of the output that are summed up side by side.
const BLOCK: usize = 256;

/// Joins rows of voxels to one row. `rows` are the bytes of the rows that lie on each other, order
/// (z, y): one, two or four of them; `half_x` joins pairs along the rows as well. `out` has room for
/// the voxels wanted, and every row has theirs.
///
/// # Panics
/// When a row is too short, which the caller's arithmetic excludes.
pub(super) fn join_rows(
    reduction: Reduction,
    target: VoxelType,
    rows: &[&[u8]],
    half_x: bool,
    out: &mut [u8],
) {
    match reduction {
        Reduction::MostFrequent => match target {
            VoxelType::U8 => most_frequent::<1>(rows, half_x, out),
            VoxelType::U16 | VoxelType::I16 => most_frequent::<2>(rows, half_x, out),
            VoxelType::U32 | VoxelType::F32 => most_frequent::<4>(rows, half_x, out),
        },
        Reduction::Mean => mean_rows(target, rows, half_x, out),
    }
}

/// The sums of 8 and 16-bit integers are exact, in integers as in float32, and so are their halves: what
/// is cheaper is taken.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a mean lies within the range of its type; truncation and float32 are the rule"
)]
fn mean_rows(target: VoxelType, rows: &[&[u8]], half_x: bool, out: &mut [u8]) {
    let count = if half_x { 2 * rows.len() } else { rows.len() };
    // One, two, four or eight.
    let (halvings, divisor) = (count.trailing_zeros(), count as f32);
    match target {
        VoxelType::U8 => {
            mean(rows, half_x, out, |[v]| u32::from(v), |sum| [(sum >> halvings) as u8]);
        }
        VoxelType::U16 => {
            let read = |v| u32::from(u16::from_le_bytes(v));
            mean(rows, half_x, out, read, |sum| ((sum >> halvings) as u16).to_le_bytes());
        }
        VoxelType::I16 => {
            let read = |v| f32::from(i16::from_le_bytes(v));
            mean(rows, half_x, out, read, |sum| ((sum / divisor) as i16).to_le_bytes());
        }
        VoxelType::U32 => {
            let read = |v| u32::from_le_bytes(v) as f32;
            mean(rows, half_x, out, read, |sum| ((sum / divisor) as u32).to_le_bytes());
        }
        VoxelType::F32 => {
            mean(rows, half_x, out, f32::from_le_bytes, |sum| (sum / divisor).to_le_bytes());
        }
    }
}

fn mean<const B: usize, S: Copy + Default + Add<Output = S>>(
    rows: &[&[u8]],
    half_x: bool,
    out: &mut [u8],
    read: impl Fn([u8; B]) -> S,
    write: impl Fn(S) -> [u8; B],
) {
    let (out, _) = out.as_chunks_mut::<B>();
    let step = if half_x { 2 } else { 1 };
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let mut sums = [S::default(); BLOCK];
        let sums = &mut sums[..out.len()];
        for row in rows {
            let (voxels, _) = row.as_chunks::<B>();
            let voxels = &voxels[block * BLOCK * step..][..out.len() * step];
            if half_x {
                for (sum, [first, second]) in sums.iter_mut().zip(voxels.as_chunks::<2>().0) {
                    *sum = *sum + read(*first) + read(*second);
                }
            } else {
                for (sum, voxel) in sums.iter_mut().zip(voxels) {
                    *sum = *sum + read(*voxel);
                }
            }
        }
        for (sum, out) in sums.iter().zip(out) {
            *out = write(*sum);
        }
    }
}

fn most_frequent<const B: usize>(rows: &[&[u8]], half_x: bool, out: &mut [u8]) {
    let step = if half_x { 2 } else { 1 };
    for (at, out) in out.as_chunks_mut::<B>().0.iter_mut().enumerate() {
        // In the order of z, y, x, so that the first of equals wins.
        let voxels = || rows.iter().flat_map(|row| &row.as_chunks::<B>().0[at * step..][..step]);
        let count = |wanted: &[u8; B]| voxels().filter(|voxel| *voxel == wanted).count();
        let best =
            voxels().reduce(|best, next| if count(next) > count(best) { next } else { best });
        if let Some(best) = best {
            *out = *best;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join<const B: usize>(
        reduction: Reduction,
        target: VoxelType,
        rows: &[Vec<[u8; B]>],
        half_x: bool,
    ) -> Vec<[u8; B]> {
        let bytes: Vec<Vec<u8>> = rows.iter().map(|row| row.concat()).collect();
        let rows: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let voxels = rows[0].len() / B / if half_x { 2 } else { 1 };
        let mut out = vec![[0; B]; voxels];
        join_rows(reduction, target, &rows, half_x, out.as_flattened_mut());
        out
    }

    #[test]
    fn means_are_truncated_towards_zero() {
        let u8s = |row: &[u8]| row.iter().map(|&v| [v]).collect::<Vec<_>>();
        // An odd last voxel is dropped.
        let found = join(Reduction::Mean, VoxelType::U8, &[u8s(&[1, 2, 255, 255, 9])], true);
        assert_eq!(found, [[1], [255]]);
        let rows = [u8s(&[0, 1]), u8s(&[1, 1]), u8s(&[0, 255]), u8s(&[3, 255])];
        assert_eq!(join(Reduction::Mean, VoxelType::U8, &rows, false), [[1], [128]]);
        let i16s = |row: &[i16]| row.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let found = join(Reduction::Mean, VoxelType::I16, &[i16s(&[-3, -4, 3, 4])], true);
        assert_eq!(found, i16s(&[-3, 3]));
        let floats = |row: &[f32]| row.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        let found = join(Reduction::Mean, VoxelType::F32, &[floats(&[-3.0, -4.0])], true);
        assert_eq!(found, floats(&[-3.5]));
    }

    #[test]
    fn floats_are_added_in_float32_in_the_order_of_the_voxels() {
        let floats = |row: &[f32]| row.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        // 2^24 swallows a 1 that comes after it, not one that comes with another.
        let rows = [floats(&[16_777_216.0, 1.0]), floats(&[1.0, 1.0])];
        let found = join(Reduction::Mean, VoxelType::F32, &rows, true);
        assert_eq!(found, floats(&[4_194_304.0]));
        let rows = [floats(&[1.0, 1.0]), floats(&[16_777_216.0, 1.0])];
        let found = join(Reduction::Mean, VoxelType::F32, &rows, true);
        assert_eq!(found, floats(&[4_194_305.0]));
        let nan = join(Reduction::Mean, VoxelType::F32, &[floats(&[f32::NAN, 1.0])], true);
        assert!(f32::from_le_bytes(nan[0]).is_nan());
    }

    #[test]
    fn long_rows_are_summed_block_by_block() {
        let row: Vec<[u8; 2]> = (0..1301_u16).map(u16::to_le_bytes).collect();
        let found = join(Reduction::Mean, VoxelType::U16, &[row.clone(), row], true);
        let expected: Vec<[u8; 2]> = (0..650_u16).map(|v| (2 * v).to_le_bytes()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn labels_stay_labels() {
        let u8s = |row: &[u8]| row.iter().map(|&v| [v]).collect::<Vec<_>>();
        let rows = [u8s(&[7, 0, 1, 2]), u8s(&[0, 7, 3, 2])];
        assert_eq!(join(Reduction::MostFrequent, VoxelType::U8, &rows, true), [[7], [2]]);
        let rows = [u8s(&[4, 9, 5]), u8s(&[6, 9, 5]), u8s(&[6, 1, 5]), u8s(&[8, 1, 5])];
        assert_eq!(join(Reduction::MostFrequent, VoxelType::U8, &rows, false), [[6], [9], [5]]);
    }
}
