//! Converts voxels from the types that Zarr stores to the types of an Imaris file, which `conversions.rs` chooses.
//!
//! Nothing is clipped, and nothing wraps: int8, int16 and float16 become float32 exactly, 32-bit and 64-bit
//! integers exactly up to 2^24 and rounded beyond, float64 by IEEE rounding. NaN stays NaN.

use half::slice::HalfFloatSliceExt;

use crate::ims::VoxelType;
use crate::source::SourceType;

/// Voxels in source type and native byte order, addressed by element index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pixels<'a> {
    /// The bytes of all voxels.
    pub(super) bytes: &'a [u8],
    /// Their type.
    pub(super) source_type: SourceType,
    /// The type of the level that they belong to: the same, or one that holds it without loss.
    pub(super) level_type: SourceType,
    /// The type they are converted to: what [`Conversions::target`](crate::image::Conversions::target) gives for the level.
    pub(super) target: VoxelType,
}

impl Pixels<'_> {
    /// Whether voxels have the same bytes in the Imaris file.
    pub(super) fn is_same(&self) -> bool {
        use {SourceType as From, VoxelType as To};
        self.source_type == self.level_type
            && matches!(
                (self.source_type, self.target),
                (From::U8, To::U8)
                    | (From::U16, To::U16)
                    | (From::I16, To::I16)
                    | (From::U32, To::U32)
                    | (From::F32, To::F32)
            )
    }
}

/// Voxels in a block of memory: the index of the first one, and the distances in voxels between
/// neighbours along (z, y, x).
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided {
    /// Element index of the first voxel.
    pub(super) start: usize,
    /// Distances between neighbours.
    pub(super) strides: [usize; 3],
}

/// Voxels that are copied side by side where their source is in another axis order: each line of the
/// source that comes into the processor's cache is then used up before it goes.
const TILE: usize = 32;

/// Copies a box of voxels of `shape` (z, y, x) into the Imaris file, whose x neighbours lie side by side.
/// What lies side by side in both is copied at once. Strides of 0 repeat one voxel.
///
/// # Panics
/// When the box leaves `from` or `out`, which the planner's arithmetic excludes.
pub(super) fn copy_box(
    pixels: Pixels<'_>,
    from: Strided,
    out: &mut [u8],
    to: Strided,
    shape: [usize; 3],
) {
    let [mut nz, mut ny, mut nx] = shape;
    let [from_z, from_y, from_x] = from.strides;
    let [to_z, to_y, _] = to.strides;
    let voxel_bytes = pixels.target.bytes();
    if ny == 1 || (from_y == nx * from_x && to_y == nx) {
        nx *= ny;
        ny = 1;
        if nz == 1 || (from_z == nx * from_x && to_z == nx) {
            nx *= nz;
            nz = 1;
        }
    }
    let mut row = |z: usize, y: usize, x: usize, len: usize| {
        let start = (to.start + z * to_z + y * to_y + x) * voxel_bytes;
        let out = &mut out[start..start + len * voxel_bytes];
        copy_row(pixels, from.start + z * from_z + y * from_y + x * from_x, from_x, out);
    };
    if from_x <= 1 {
        for z in 0..nz {
            for y in 0..ny {
                row(z, y, 0, nx);
            }
        }
        return;
    }
    // The axis whose neighbours are nearest in the source goes innermost.
    let z_is_inner = from_z < from_y;
    let (outer, inner) = if z_is_inner { (ny, nz) } else { (nz, ny) };
    for a in 0..outer {
        for x in (0..nx).step_by(TILE) {
            let len = TILE.min(nx - x);
            for b in 0..inner {
                let (z, y) = if z_is_inner { (b, a) } else { (a, b) };
                row(z, y, x, len);
            }
        }
    }
}

/// Copies a row of voxels into a row of the Imaris file (little-endian), converting the type.
///
/// `start` is the element index of the first voxel, `stride` the distance to the next in elements;
/// `out` is a whole number of target voxels and says how many there are. A stride of 0 repeats one
/// voxel, which is how a fill value is spread.
///
/// # Panics
/// When the row leaves `from`, which the planner's arithmetic excludes.
fn copy_row(from: Pixels<'_>, start: usize, stride: usize, out: &mut [u8]) {
    let bytes = from.bytes;
    if stride == 1 && from.is_same() {
        let start = start * from.source_type.bytes();
        out.copy_from_slice(&bytes[start..start + out.len()]);
        return;
    }
    if from.source_type != from.level_type {
        widen(from, start, stride, out);
        return;
    }
    match from.source_type {
        SourceType::Bool => map::<1, 1>(bytes, start, stride, out, |v| [u8::from(v[0] != 0)]),
        SourceType::U8 => map::<1, 1>(bytes, start, stride, out, |v| v),
        SourceType::U16 => map::<2, 2>(bytes, start, stride, out, |v| v),
        SourceType::F32 => map::<4, 4>(bytes, start, stride, out, |v| v),
        SourceType::I16 if from.target == VoxelType::I16 => {
            map::<2, 2>(bytes, start, stride, out, |v| v);
        }
        // Turning the sign bit over adds 32768 without a carry out.
        SourceType::I16 if from.target == VoxelType::U16 => {
            map::<2, 2>(bytes, start, stride, out, |[low, high]| [low, high ^ 0x80]);
        }
        SourceType::U32 if from.target == VoxelType::U32 => {
            map::<4, 4>(bytes, start, stride, out, |v| v);
        }
        SourceType::F16 if stride == 1 => widen_halves(&bytes[2 * start..], out),
        other => map_to_float(other, bytes, start, stride, out),
    }
}

/// Converts a row of voxels of a type that the type of their level holds without loss.
fn widen(from: Pixels<'_>, start: usize, stride: usize, out: &mut [u8]) {
    let bytes = from.bytes;
    // 32768 more, as all voxels of the level.
    let raised = if from.level_type == SourceType::I16 { 0x80 } else { 0 };
    let is_bool = from.source_type == SourceType::Bool;
    let byte = |v: u8| if is_bool { u8::from(v != 0) } else { v };
    let sign = |v: u8| if from.source_type == SourceType::I8 && v > 0x7f { 0xff } else { 0 };
    match (from.source_type.bytes(), from.target) {
        (1, VoxelType::U8) => map::<1, 1>(bytes, start, stride, out, |[v]| [byte(v)]),
        (1, VoxelType::U16) => {
            map::<1, 2>(bytes, start, stride, out, |[v]| [byte(v), sign(v) ^ raised]);
        }
        (1, VoxelType::I16) => map::<1, 2>(bytes, start, stride, out, |[v]| [byte(v), sign(v)]),
        (1, VoxelType::U32) => map::<1, 4>(bytes, start, stride, out, |[v]| [byte(v), 0, 0, 0]),
        (2, VoxelType::U32) => map::<2, 4>(bytes, start, stride, out, |[a, b]| [a, b, 0, 0]),
        _ => map_to_float(from.source_type, bytes, start, stride, out),
    }
}

/// Converts a row of voxels of any type that float32 holds exactly, or rounded.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "documented rounding beyond 2^24, and IEEE rounding of float64"
)]
fn map_to_float(from: SourceType, bytes: &[u8], start: usize, stride: usize, out: &mut [u8]) {
    macro_rules! each {
        ($type:ty, $number:pat => $float:expr) => {
            map::<{ size_of::<$type>() }, 4>(bytes, start, stride, out, |voxel| {
                let $number = <$type>::from_le_bytes(voxel);
                f32::to_le_bytes($float)
            })
        };
    }
    match from {
        SourceType::Bool => each!(u8, n => f32::from(u8::from(n != 0))),
        SourceType::U8 => each!(u8, n => f32::from(n)),
        SourceType::I8 => each!(i8, n => f32::from(n)),
        SourceType::I16 => each!(i16, n => f32::from(n)),
        SourceType::U16 => each!(u16, n => f32::from(n)),
        SourceType::F16 => each!(half::f16, n => n.to_f32()),
        SourceType::I32 => each!(i32, n => n as f32),
        SourceType::U32 => each!(u32, n => n as f32),
        SourceType::F32 => each!(f32, n => n),
        SourceType::I64 => each!(i64, n => n as f32),
        SourceType::U64 => each!(u64, n => n as f32),
        SourceType::F64 => each!(f64, n => n as f32),
    }
}

/// `S` bytes in, `D` bytes out, for every voxel of the row.
fn map<const S: usize, const D: usize>(
    bytes: &[u8],
    start: usize,
    stride: usize,
    out: &mut [u8],
    convert: impl Fn([u8; S]) -> [u8; D],
) {
    let (from, _) = bytes.as_chunks::<S>();
    let (to, _) = out.as_chunks_mut::<D>();
    if stride == 1 {
        let from = &from[start..start + to.len()];
        for (to, from) in to.iter_mut().zip(from) {
            *to = convert(*from);
        }
    } else if stride == 0 {
        to.fill(convert(from[start]));
    } else {
        for (i, to) in to.iter_mut().enumerate() {
            *to = convert(from[start + i * stride]);
        }
    }
}

/// Converts as many float16 as fit `out`, by the processor's own instruction where it has one: asked for
/// one value at a time, that costs more than the conversion.
fn widen_halves(from: &[u8], out: &mut [u8]) {
    const BLOCK: usize = 128;
    let mut halves = [half::f16::ZERO; BLOCK];
    let mut floats = [0.0; BLOCK];
    let (from, _) = from.as_chunks::<2>();
    let (out, _) = out.as_chunks_mut::<4>();
    for (from, out) in from.chunks(BLOCK).zip(out.chunks_mut(BLOCK)) {
        let (halves, floats) = (&mut halves[..out.len()], &mut floats[..out.len()]);
        for (half, bytes) in halves.iter_mut().zip(from) {
            *half = half::f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(floats);
        for (out, float) in out.iter_mut().zip(floats) {
            *out = float.to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Conversions, Int16, Uint32};

    fn convert_as(source_type: SourceType, conversions: Conversions, bytes: &[u8]) -> Vec<u8> {
        let voxels = bytes.len() / source_type.bytes();
        let target = conversions.target(source_type);
        let mut out = vec![0; voxels * target.bytes()];
        copy_row(Pixels { bytes, source_type, level_type: source_type, target }, 0, 1, &mut out);
        out
    }

    fn convert(source_type: SourceType, bytes: &[u8]) -> Vec<u8> {
        convert_as(source_type, Conversions::default(), bytes)
    }

    #[test]
    fn int16_and_uint32_on_request() {
        let values = [i16::MIN, -1, 0, 1, i16::MAX];
        let bytes = values.map(i16::to_le_bytes).concat();
        let with = |int16| Conversions { int16, ..Conversions::default() };
        assert_eq!(convert_as(SourceType::I16, with(Int16::Keep), &bytes), bytes);
        let shifted = convert_as(SourceType::I16, with(Int16::Offset), &bytes);
        assert_eq!(shifted, [0_u16, 32_767, 32_768, 32_769, 65_535].map(u16::to_le_bytes).concat());
        let exact = convert_as(SourceType::I16, with(Int16::Float32), &bytes);
        assert_eq!(exact, values.map(|value| f32::from(value).to_le_bytes()).concat());
        let keep = Conversions { uint32: Uint32::Keep, ..Conversions::default() };
        let big = (u32::MAX - 1).to_le_bytes();
        assert_eq!(convert_as(SourceType::U32, keep, &big), big);
    }

    #[test]
    fn nothing_clips_or_wraps() {
        let i8s = convert(SourceType::I8, &[0x80, 0xff, 0x7f]);
        assert_eq!(i8s, [-128.0_f32, -1.0, 127.0].map(f32::to_le_bytes).concat());
        let big = convert(SourceType::U64, &u64::MAX.to_le_bytes());
        assert_eq!(big, 18_446_744_073_709_551_615.0_f32.to_le_bytes());
        let nan = convert(SourceType::F64, &f64::NAN.to_le_bytes());
        assert!(f32::from_le_bytes([nan[0], nan[1], nan[2], nan[3]]).is_nan());
        assert_eq!(convert(SourceType::Bool, &[0, 1, 2]), [0, 1, 1]);
    }

    #[test]
    fn rows_of_float16_are_what_each_value_is() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let one_by_one = (0..=u16::MAX).map(half::f16::from_bits);
        let expected: Vec<u8> = one_by_one.flat_map(|half| half.to_f32().to_le_bytes()).collect();
        assert!(convert(SourceType::F16, &bytes) == expected);
        assert!(convert(SourceType::F16, &bytes[2..600]) == expected[4..1200]);
    }

    /// Boxes of any axis order, against one voxel at a time.
    #[test]
    fn boxes_are_copied_voxel_by_voxel() {
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let (unit, shape) = ([5, 7, 70], [4, 6, 67]);
        for source_type in [SourceType::U8, SourceType::U16, SourceType::I16, SourceType::F16] {
            let target = Conversions::default().target(source_type);
            let size = source_type.bytes();
            let bytes: Vec<u8> = (0..=250).cycle().step_by(31).take(5 * 7 * 70 * size).collect();
            let pixels = Pixels { bytes: &bytes, source_type, level_type: source_type, target };
            for order in orders {
                // The last axis of the order lies side by side.
                let mut strides = [0; 3];
                let mut stride = 1;
                for axis in order.into_iter().rev() {
                    strides[axis] = stride;
                    stride *= unit[axis];
                }
                let from = Strided { start: strides.iter().sum(), strides };
                for to_strides in [[6 * 67, 67, 1], [7 * 70, 70, 1], [9 * 67, 67, 1]] {
                    let to = Strided { start: 3, strides: to_strides };
                    let mut out = vec![0; 4 * 9 * 70 * target.bytes()];
                    copy_box(pixels, from, &mut out, to, shape);
                    let mut expected = vec![0; out.len()];
                    for (z, y, x) in (0..4)
                        .flat_map(|z| (0..6).flat_map(move |y| (0..67).map(move |x| (z, y, x))))
                    {
                        let index = |at: Strided| {
                            at.start + z * at.strides[0] + y * at.strides[1] + x * at.strides[2]
                        };
                        let at = index(to) * target.bytes();
                        let voxel = &mut expected[at..at + target.bytes()];
                        copy_row(pixels, index(from), 1, voxel);
                    }
                    assert!(out == expected, "{source_type:?} {order:?} {to_strides:?}");
                }
            }
        }
    }

    #[test]
    fn strides_pick_voxels() {
        let mut out = [0; 6];
        let bytes: Vec<u8> = (0..20).collect();
        let source_type = SourceType::U16;
        let target = VoxelType::U16;
        let pixels = Pixels { bytes: &bytes, source_type, level_type: source_type, target };
        copy_row(pixels, 1, 3, &mut out);
        assert_eq!(out, [2, 3, 8, 9, 14, 15]);
        copy_row(pixels, 2, 0, &mut out);
        assert_eq!(out, [4, 5, 4, 5, 4, 5]);
    }

    #[test]
    fn a_narrower_type_has_its_values_in_the_type_of_its_level() {
        use {SourceType as From, VoxelType as To};
        let convert = |bytes: &[u8], source_type: From, level_type: From, target: To| {
            assert!(level_type.holds(source_type));
            let mut out = vec![0; bytes.len() / source_type.bytes() * target.bytes()];
            copy_row(Pixels { bytes, source_type, level_type, target }, 0, 1, &mut out);
            out
        };
        let float = |value: f32| value.to_le_bytes().to_vec();
        assert_eq!(convert(&[0, 7], From::Bool, From::U8, To::U8), [0, 1]);
        assert_eq!(convert(&[200, 3], From::U8, From::U16, To::U16), [200, 0, 3, 0]);
        assert_eq!(convert(&[2], From::Bool, From::U16, To::U16), [1, 0]);
        assert_eq!(convert(&[200], From::U8, From::I16, To::I16), 200_i16.to_le_bytes());
        assert_eq!(convert(&[0xff], From::I8, From::I16, To::I16), (-1_i16).to_le_bytes());
        // 32768 higher, as the int16 beside them.
        assert_eq!(convert(&[200], From::U8, From::I16, To::U16), 32_968_u16.to_le_bytes());
        assert_eq!(convert(&[0xff], From::I8, From::I16, To::U16), 32_767_u16.to_le_bytes());
        assert_eq!(convert(&[9], From::U8, From::U32, To::U32), 9_u32.to_le_bytes());
        assert_eq!(convert(&[1, 2], From::U16, From::U32, To::U32), 513_u32.to_le_bytes());
        for level_type in [From::I16, From::I32, From::F32, From::F64, From::F16] {
            assert_eq!(convert(&[0xff], From::I8, level_type, To::F32), float(-1.0));
            assert_eq!(convert(&[0xff], From::U8, level_type, To::F32), float(255.0));
            assert_eq!(convert(&[9], From::Bool, level_type, To::F32), float(1.0));
        }
        assert_eq!(convert(&[1, 2], From::U16, From::I32, To::F32), float(513.0));
        for (wide, narrow) in [(From::U16, From::I8), (From::F32, From::U32), (From::U8, From::U16)]
        {
            assert!(!wide.holds(narrow), "{narrow:?} in {wide:?}");
        }
    }
}
