//! Joining the voxels of bricks: where they lie, row by row.

use std::ops::Range;

use crate::image::bricks::Image;
use crate::image::frame::BrickFrame;
use crate::image::reduce::join_rows;

/// Joins the voxels of a brick to those of one in the next coarser level, as far as they overlap.
pub(super) fn join(
    image: &Image,
    (to, out): (&BrickFrame, &mut [u8]),
    (from, bytes): (&BrickFrame, &[u8]),
    halved: [bool; 3],
) {
    let step = halved.map(|halved| if halved { 2 } else { 1 });
    let inside: [Range<u64>; 3] = std::array::from_fn(|axis| {
        // Bricks begin at even voxels along halved axes; an odd last one is dropped.
        let start = to.voxels[axis].start.max(from.voxels[axis].start / step[axis]);
        start..to.voxels[axis].end.min(from.voxels[axis].end / step[axis])
    });
    let [zs, ys, xs] = inside;
    if xs.is_empty() {
        return;
    }
    let mut scratch: [Vec<u8>; 4] = std::array::from_fn(|_| Vec::new());
    for z in zs {
        for y in ys.clone() {
            let mut rows: [&[u8]; 4] = [&[]; 4];
            let mut count = 0;
            for (row, scratch) in rows.iter_mut().zip(&mut scratch) {
                let (dz, dy) = (count / step[1], count % step[1]);
                if dz >= step[0] {
                    break;
                }
                let first = [z * step[0] + dz, y * step[1] + dy, xs.start * step[2]];
                *row = from.row(bytes, first, xs.end * step[2], scratch);
                count += 1;
            }
            let rows = &rows[..usize::try_from(count).unwrap_or(0)];
            join_row(image, (to, &mut *out), rows, (z, y, xs.clone()), halved[2]);
        }
    }
}

/// Writes one row of joined voxels, chunk by chunk.
fn join_row(
    image: &Image,
    (to, out): (&BrickFrame, &mut [u8]),
    rows: &[&[u8]],
    (z, y, xs): (u64, u64, Range<u64>),
    half_x: bool,
) {
    let index = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let voxel_bytes = to.voxel_bytes();
    let per_voxel = if half_x { 2 * voxel_bytes } else { voxel_bytes };
    let mut x = xs.start;
    while x < xs.end {
        let stop = to.run_end(x, xs.end);
        let from = index(x - xs.start) * per_voxel;
        let mut parts: [&[u8]; 4] = [&[]; 4];
        for (part, row) in parts.iter_mut().zip(rows) {
            *part = &row[from..from + index(stop - x) * per_voxel];
        }
        let at = to.offset([z, y, x]);
        let out = &mut out[at..at + index(stop - x) * voxel_bytes];
        let plan = &image.plan;
        join_rows(plan.reduction, plan.target, &parts[..rows.len()], half_x, out);
        x = stop;
    }
}
