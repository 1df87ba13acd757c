//! Where the voxels of a brick lie in its bytes: chunk by chunk, each chunk row by row.

use std::ops::Range;

use crate::image::plan::ImagePlan;
use crate::resources::buffer::Buffer;
use crate::resources::headroom::NoMemory;

/// One brick of one dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BrickId {
    /// Resolution level, 0 = finest.
    pub(crate) level: usize,
    /// Number of the dataset within the level: `t * channels + c`.
    pub(crate) dataset: u64,
    /// Linear number of the brick within the dataset.
    pub(crate) brick: u64,
}

/// The place of a brick in its level, and of its voxels in its bytes. Triples are (z, y, x).
#[derive(Debug, Clone)]
pub(crate) struct BrickFrame {
    /// Voxels of the brick that exist, half-open.
    pub(crate) voxels: [Range<u64>; 3],
    /// Chunks of the brick, half-open.
    chunks: [Range<u64>; 3],
    /// Chunk shape in voxels.
    chunk: [u64; 3],
    /// Distance between chunks in bytes.
    chunk_stride: u64,
    /// Bytes per voxel.
    voxel_bytes: usize,
}

/// Voxels of a brick that lie in one chunk.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Half-open, order (z, y, x).
    pub(crate) voxels: [Range<u64>; 3],
    /// Where the bytes of the first one start in the brick.
    pub(crate) offset: usize,
}

/// Sizes of bricks fit memory: they are read into it.
fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl BrickFrame {
    pub(crate) fn new(plan: &ImagePlan, BrickId { level, brick, .. }: BrickId) -> Self {
        let planned = &plan.levels[level];
        let grid = &plan.layout.levels()[level].bricks;
        let chunks = grid.brick_box(brick);
        let voxels = std::array::from_fn(|axis| {
            let chunk = planned.chunk[axis];
            let end = (chunks[axis].end * chunk).min(planned.size[axis]);
            chunks[axis].start * chunk..end
        });
        Self {
            voxels,
            chunks,
            chunk: planned.chunk,
            chunk_stride: grid.chunk_stride(),
            voxel_bytes: plan.target.bytes(),
        }
    }

    /// Bytes of the whole brick.
    pub(crate) fn bytes(&self) -> u64 {
        let chunks = self.chunks.iter().map(|range| range.end - range.start);
        chunks.product::<u64>() * self.chunk_stride
    }

    /// The bytes of the brick, all zero. Bricks fit memory: their size is bounded when planned.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn zeros(&self) -> Result<Buffer, NoMemory> {
        let mut bytes = Buffer::try_of(index(self.bytes()))?;
        bytes.fill(0);
        Ok(bytes)
    }

    /// Bytes for the brick: zero where no voxel is, anything where one is to be written.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub(crate) fn blank(&self) -> Result<Buffer, NoMemory> {
        let sides = self.chunk.iter().product::<u64>() * self.voxel_bytes as u64;
        let is_full =
            (0..3).all(|axis| self.voxels[axis].end == self.chunks[axis].end * self.chunk[axis]);
        if is_full && sides == self.chunk_stride {
            Buffer::try_of(index(self.bytes()))
        } else {
            self.zeros()
        }
    }

    /// Bytes per voxel.
    pub(crate) fn voxel_bytes(&self) -> usize {
        self.voxel_bytes
    }

    /// Where a voxel's bytes start.
    pub(crate) fn offset(&self, voxel: [u64; 3]) -> usize {
        (0..3).map(|axis| self.axis_offset(axis, voxel[axis])).sum()
    }

    /// The part of a voxel's offset that its place along one axis (z, y, x) adds.
    pub(crate) fn axis_offset(&self, axis: usize, voxel: u64) -> usize {
        let count = |axis: usize| self.chunks[axis].end - self.chunks[axis].start;
        let (chunks, voxels) = match axis {
            0 => (count(1) * count(2), self.chunk[1] * self.chunk[2]),
            1 => (count(2), self.chunk[2]),
            _ => (1, 1),
        };
        let chunk = voxel / self.chunk[axis] - self.chunks[axis].start;
        let within = voxel % self.chunk[axis];
        index(chunk * chunks * self.chunk_stride) + index(within * voxels) * self.voxel_bytes
    }

    /// How far a row that starts at `x` is contiguous: to the end of its chunk, or to `end`.
    pub(crate) fn run_end(&self, x: u64, end: u64) -> u64 {
        end.min((x / self.chunk[2] + 1) * self.chunk[2])
    }

    /// The voxels of a box that lies in the brick, chunk by chunk.
    pub(crate) fn pieces(&self, inside: &[Range<u64>; 3]) -> impl Iterator<Item = Piece> {
        let [zs, ys, xs]: [Range<u64>; 3] = std::array::from_fn(|axis| {
            let (range, chunk) = (&inside[axis], self.chunk[axis]);
            if range.is_empty() { 0..0 } else { range.start / chunk..range.end.div_ceil(chunk) }
        });
        let rows = zs.flat_map(move |z| ys.clone().map(move |y| (z, y)));
        let all = rows.flat_map(move |(z, y)| xs.clone().map(move |x| [z, y, x]));
        all.map(move |chunk| {
            let within = |axis: usize| {
                let start = chunk[axis] * self.chunk[axis];
                inside[axis].start.max(start)..inside[axis].end.min(start + self.chunk[axis])
            };
            let voxels = [within(0), within(1), within(2)];
            let first = [voxels[0].start, voxels[1].start, voxels[2].start];
            Piece { offset: self.offset(first), voxels }
        })
    }

    /// Whether the bytes of the brick are those of a block of voxels, row by row: as many as it has, from
    /// `origin` on, in chunks that lie one behind the other.
    pub(crate) fn is_plain(&self, origin: [u64; 3], shape: [u64; 3]) -> bool {
        let count = |axis: usize| self.chunks[axis].end - self.chunks[axis].start;
        let chunk_bytes = self.chunk.iter().product::<u64>() * self.voxel_bytes as u64;
        let is_stack = (count(1) == 1 || self.chunk[0] == 1) && count(2) == 1;
        (0..3).all(|axis| self.chunks[axis].start * self.chunk[axis] == origin[axis])
            && (0..3).all(|axis| count(axis) * self.chunk[axis] == shape[axis])
            // What is beyond the edge is zero in the file, and may be anything in the store.
            && (0..3).all(|axis| self.voxels[axis].end == origin[axis] + shape[axis])
            && is_stack
            && self.chunk_stride == chunk_bytes
    }

    /// Distances in voxels between neighbours along (z, y, x) within a chunk.
    pub(crate) fn strides(&self) -> [usize; 3] {
        [index(self.chunk[1] * self.chunk[2]), index(self.chunk[2]), 1]
    }

    /// The bytes of a row of voxels that starts at `first` and ends before `end`; gathered in
    /// `scratch` where it crosses chunks.
    pub(crate) fn row<'a>(
        &self,
        bytes: &'a [u8],
        first: [u64; 3],
        end: u64,
        scratch: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        let [z, y, mut x] = first;
        let piece = |x: u64, stop: u64| {
            let start = self.offset([z, y, x]);
            &bytes[start..start + index(stop - x) * self.voxel_bytes]
        };
        if self.run_end(x, end) == end {
            return piece(x, end);
        }
        scratch.clear();
        while x < end {
            let stop = self.run_end(x, end);
            scratch.extend_from_slice(piece(x, stop));
            x = stop;
        }
        scratch
    }

    /// Visits every row of voxels that exist, as far as it is contiguous: its first voxel, its bytes.
    pub(crate) fn each_row(&self, bytes: &[u8], visit: &mut dyn FnMut([u64; 3], &[u8])) {
        let mut start = 0;
        for z in self.chunks[0].clone() {
            for y in self.chunks[1].clone() {
                for x in self.chunks[2].clone() {
                    let origin = [z * self.chunk[0], y * self.chunk[1], x * self.chunk[2]];
                    let end: [u64; 3] = std::array::from_fn(|axis| {
                        (origin[axis] + self.chunk[axis]).min(self.voxels[axis].end)
                    });
                    let row_bytes = index(end[2] - origin[2]) * self.voxel_bytes;
                    for row_z in origin[0]..end[0] {
                        for row_y in origin[1]..end[1] {
                            let voxel = ((row_z - origin[0]) * self.chunk[1] + row_y - origin[1])
                                * self.chunk[2];
                            let at = start + index(voxel) * self.voxel_bytes;
                            visit([row_z, row_y, origin[2]], &bytes[at..at + row_bytes]);
                        }
                    }
                    start += index(self.chunk_stride);
                }
            }
        }
    }
}
