//! A fast wrong answer is worth nothing: compares what was read with what `zarrs` decodes.

use std::ops::Range;
use std::path::Path;

use crate::limits::Decoder;
use crate::measure::common::ims::Ims;
use crate::measure::common::picks::Picks;
use crate::places::Place;

/// Side of the boxes that are compared.
const SIDE: u64 = 40;

/// Boxes of each level.
const BOXES: usize = 3;

/// Compares boxes at random places of the levels that a store holds, as libhdf5 reads them.
pub(crate) fn boxes(file: &Path, decoder: &Decoder, seed: u64) {
    let ims = Ims::open(file).expect("libhdf5 opens it");
    let mut picks = Picks::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for level in 0..decoder.levels() {
        for _ in 0..BOXES {
            let ranges: Vec<Range<u64>> = decoder
                .shape(level)
                .iter()
                .enumerate()
                .map(|(axis, n)| {
                    let is_space = axis + 3 >= decoder.shape(level).len();
                    let side = if is_space { SIDE.min(*n) } else { 1 };
                    let start = picks.below(n - side + 1);
                    start..start + side
                })
                .collect();
            let read = pixels(&ims, level, &ranges);
            assert!(read == decoder.voxels(level, &ranges), "other voxels at {level} {ranges:?}");
        }
    }
}

/// Compares voxels of the first computed level with the mean of eight, and of all levels stored.
pub(crate) fn means(file: &Path, decoder: &Decoder, seed: u64) {
    boxes(file, decoder, seed);
    let ims = Ims::open(file).expect("libhdf5 opens it");
    let mut picks = Picks::new(seed | 1);
    for _ in 0..BOXES {
        let half = |n: &u64| (picks.below(n / 2 - SIDE + 1), SIDE);
        let at: Vec<(u64, u64)> = decoder.shape(0).iter().map(half).collect();
        let coarse: Vec<Range<u64>> = at.iter().map(|(start, n)| *start..start + n).collect();
        let fine: Vec<Range<u64>> = coarse.iter().map(|r| r.start * 2..r.end * 2).collect();
        let above = words(&decoder.voxels(0, &fine));
        let side = usize::try_from(SIDE).expect("small");
        let voxel = |number: usize| {
            let [z, y, x] = [number / side / side, number / side % side, number % side];
            let sum = (0..8).map(|corner| {
                let [z, y, x] = [z * 2 + corner / 4, y * 2 + corner / 2 % 2, x * 2 + corner % 2];
                u32::from(above[(z * side * 2 + y) * side * 2 + x])
            });
            u16::try_from(sum.sum::<u32>() / 8).expect("a mean")
        };
        let expected: Vec<u16> = (0..side.pow(3)).map(voxel).collect();
        assert!(words(&pixels(&ims, 1, &coarse)) == expected, "other means at {coarse:?}");
    }
}

/// Compares chunks as they were read from the file.
pub(crate) fn chunks(read: &[(usize, Vec<u8>)], places: &[Place], decoder: &Decoder) {
    for (number, bytes) in read {
        let voxels = decoder.voxels(0, &places[*number].ranges);
        // At the far edges a chunk is longer than the image.
        let is_whole = voxels.len() == bytes.len();
        assert!(!is_whole || voxels == *bytes, "other bytes at {:?}", places[*number]);
    }
}

fn pixels(ims: &Ims, level: usize, ranges: &[Range<u64>]) -> Vec<u8> {
    let length = |n: u64| usize::try_from(n).expect("64 bits");
    let (outer, space) = ranges.split_at(ranges.len() - 3);
    // The axes before z are none, time, or time and channel.
    let outer = |axis: usize| outer.get(axis).map_or(0, |range| length(range.start));
    let space = std::array::from_fn(|axis| length(space[axis].start)..length(space[axis].end));
    ims.pixels_in(level, outer(0), outer(1), space).expect("libhdf5 reads it")
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}
