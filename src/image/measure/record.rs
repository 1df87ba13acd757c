//! The bytes in which counts are kept: cells, one after the other.
//!
//! A cell has the histogram of one dataset at one level, or at all of them. All numbers are little-endian.
//!
//! | Bytes | Meaning |
//! |---|---|
//! | 2 | length of what follows; 0: nothing was counted, and the cell ends here |
//! | 2 | number of bins |
//! | 8, 8 | values of the first and of the last bin, binary64 |
//! | 8, 8 | the displayed range: the values between which all but the tails lie, binary64 |
//! | rest | the bins in LEB128; a 0 and a number stand for as many empty bins; empty ones at the end are left out |
//!
//! Records come back from a disk, so nothing of them is trusted: bytes that are no record are an error, and no more
//! memory is taken than the bins of the plan need.

use thiserror::Error;

use crate::engine::error::ImageError;
use crate::ims::{Histogram, VoxelType};

use super::histogram::{LEAST_FINE_BINS, most_bins};

/// The bytes are no record of what was measured.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("not a record of what was measured of this image")]
pub(crate) struct BadRecord;

impl From<BadRecord> for ImageError {
    fn from(_: BadRecord) -> Self {
        Self::BadRecord
    }
}

/// Bytes of a cell before its bins, with and without its length.
const LENGTH_BYTES: usize = 2;
const HEADER_BYTES: usize = 34;

/// Length of the longest cell of at most `voxels` voxels.
pub(super) fn longest_cell(target: VoxelType, voxels: u64) -> u64 {
    let bins = most_bins(target) as u64;
    // A number takes one byte more for each 7 bits: only so many can be as large.
    let counts: u64 = (0..64).step_by(7).map(|bits| bins.min(voxels >> bits)).sum();
    // A full bin follows each run of empty ones. Runs of 128 and more take three bytes, others two.
    let runs = 2 * voxels.min(bins / 2) + bins / 128;
    (LENGTH_BYTES + HEADER_BYTES) as u64 + counts + runs
}

/// What a cell says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) histogram: Histogram,
    /// The values between which all but the tails lie.
    pub(super) range: (f64, f64),
}

/// Appends a cell; `None`: nothing was counted.
pub(super) fn put(record: &mut Vec<u8>, counted: Option<&Cell>) {
    let start = record.len();
    record.extend([0; LENGTH_BYTES]);
    let Some(Cell { histogram: Histogram { min, max, bins }, range }) = counted else { return };
    let short = |number: usize| u16::try_from(number).expect("1024 bins of 10 bytes").to_le_bytes();
    record.extend(short(bins.len()));
    record.extend([*min, *max, range.0, range.1].into_iter().flat_map(f64::to_le_bytes));
    let mut empty = 0;
    for &count in bins {
        if count == 0 {
            empty += 1;
            continue;
        }
        if empty > 0 {
            put_number(record, 0);
            put_number(record, std::mem::take(&mut empty));
        }
        put_number(record, count);
    }
    let length = short(record.len() - start - LENGTH_BYTES);
    record[start..start + LENGTH_BYTES].copy_from_slice(&length);
}

/// The cell of a number, of a record that has as many as `cells`; `None`: nothing was counted.
///
/// # Errors
/// [`BadRecord`].
pub(super) fn get(
    mut record: &[u8],
    number: u64,
    cells: u64,
    target: VoxelType,
) -> Result<Option<Cell>, BadRecord> {
    let mut found = None;
    for at in 0..cells {
        let length = u16::from_le_bytes(take(&mut record)?);
        let (cell, rest) = record.split_at_checked(length.into()).ok_or(BadRecord)?;
        record = rest;
        if at == number {
            found = Some(cell);
        }
    }
    match found {
        Some(cell) if record.is_empty() => read(cell, target),
        _ => Err(BadRecord),
    }
}

fn read(mut cell: &[u8], target: VoxelType) -> Result<Option<Cell>, BadRecord> {
    if cell.is_empty() {
        return Ok(None);
    }
    let count = usize::from(u16::from_le_bytes(take(&mut cell)?));
    let mut number = || take(&mut cell).map(f64::from_le_bytes);
    let (min, max, range) = (number()?, number()?, (number()?, number()?));
    let most = most_bins(target);
    let is_sound = (most.min(LEAST_FINE_BINS)..=most).contains(&count)
        && min.is_finite()
        && max.is_finite()
        && min <= max
        && range.0.is_finite()
        && range.1.is_finite();
    let bins = if is_sound { bins(cell, count)? } else { return Err(BadRecord) };
    let total = bins.iter().try_fold(0_u64, |total, &count| total.checked_add(count));
    match total {
        None | Some(0) => Err(BadRecord),
        Some(_) => Ok(Some(Cell { histogram: Histogram { min, max, bins }, range })),
    }
}

fn bins(mut bytes: &[u8], count: usize) -> Result<Vec<u64>, BadRecord> {
    let mut bins = Vec::with_capacity(count);
    while !bytes.is_empty() {
        let (number, times) = match take_number(&mut bytes)? {
            0 => (0, usize::try_from(take_number(&mut bytes)?).map_err(|_| BadRecord)?),
            number => (number, 1),
        };
        if times > count - bins.len() {
            return Err(BadRecord);
        }
        bins.resize(bins.len() + times, number);
    }
    bins.resize(count, 0);
    Ok(bins)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], BadRecord> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(BadRecord)?;
    *bytes = rest;
    Ok(*taken)
}

#[expect(clippy::cast_possible_truncation, reason = "the lowest 7 bits")]
fn put_number(record: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        record.push(number as u8 | 0x80);
        number >>= 7;
    }
    record.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Result<u64, BadRecord> {
    let mut number = 0;
    for bits in (0..64).step_by(7) {
        let [byte] = take(bytes)?;
        let part = u64::from(byte & 0x7f);
        if (part << bits) >> bits != part {
            break;
        }
        number |= part << bits;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(BadRecord)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bins as there are of a type, at least one of them full.
    fn bins(target: VoxelType) -> impl Strategy<Value = Vec<u64>> {
        let most = most_bins(target);
        let count = prop_oneof![
            3 => Just(0_u64),
            2 => 1_u64..300,
            1 => (0..40_u32).prop_map(|bits| 1 << bits),
        ];
        let bins = prop::collection::vec(count, most.min(LEAST_FINE_BINS)..=most);
        (bins, any::<prop::sample::Index>()).prop_map(|(mut bins, at)| {
            let full = at.index(bins.len());
            bins[full] = bins[full].max(1);
            bins
        })
    }

    fn cell_of(min: f64, max: f64, bins: Vec<u64>) -> Cell {
        Cell { histogram: Histogram { min, max, bins }, range: (min, max / 2.0) }
    }

    const TYPES: [VoxelType; 3] = [VoxelType::U8, VoxelType::U16, VoxelType::F32];

    fn cell() -> impl Strategy<Value = (VoxelType, Option<Cell>)> {
        prop::sample::select(TYPES.to_vec()).prop_flat_map(|target| {
            let histogram = (bins(target), -1e38..1e38_f64, 0.0..1e38_f64)
                .prop_map(|(bins, min, more)| cell_of(min, min + more, bins));
            (Just(target), prop::option::weighted(0.8, histogram))
        })
    }

    proptest! {
        #[test]
        fn a_cell_comes_back_among_others((target, counted) in cell(), before in 0_u64..3, after in 0_u64..3) {
            let other = cell_of(1.0, 2.0, vec![7; most_bins(target)]);
            let mut record = Vec::new();
            (0..before).for_each(|_| put(&mut record, Some(&other)));
            let start = record.len();
            put(&mut record, counted.as_ref());
            let length = (record.len() - start) as u64;
            (0..after).for_each(|_| put(&mut record, None));
            let cells = before + 1 + after;
            prop_assert_eq!(get(&record, before, cells, target), Ok(counted.clone()));
            prop_assert_eq!(get(&record, cells, cells, target), Err(BadRecord));
            prop_assert_eq!(get(&record, 0, cells + 1, target), Err(BadRecord));
            prop_assert_eq!(get(&record, 0, cells - 1, target), Err(BadRecord));
            let voxels = counted.map_or(0, |counted| counted.histogram.bins.iter().sum());
            prop_assert!(length <= longest_cell(target, voxels), "{} voxels in {} bytes", voxels, length);
        }

        #[test]
        fn bytes_that_are_no_record_are_an_error_or_sound(
            (target, counted) in cell(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in 0_usize..4,
        ) {
            let mut record = Vec::new();
            put(&mut record, counted.as_ref());
            for (at, byte) in damage {
                let at = at.index(record.len());
                record[at] = byte;
            }
            record.truncate(record.len().saturating_sub(cut));
            if let Ok(Some(Cell { histogram: found, range })) = get(&record, 0, 1, target) {
                prop_assert!(range.0.is_finite() && range.1.is_finite());
                prop_assert!(found.bins.len() <= most_bins(target) && found.min <= found.max);
                prop_assert!(found.bins.iter().any(|&count| count > 0));
            }
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..200), number in 0_u64..9) {
            // What follows the length of a cell, as random lengths lead nowhere.
            drop(read(&bytes, VoxelType::U8));
            drop(super::bins(&bytes, 257));
            drop(get(&bytes, number, 9, VoxelType::U16));
        }

        #[test]
        fn numbers_come_back(number in any::<u64>(), bits in 0..64_u32) {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number >> bits);
            prop_assert_eq!(take_number(&mut &*bytes), Ok(number >> bits));
        }
    }

    #[test]
    fn an_image_of_one_value_takes_a_few_bytes() {
        let mut bins = vec![0; 1024];
        bins[600] = 1 << 20;
        let counted = cell_of(0.0, 5000.0, bins);
        let mut record = Vec::new();
        put(&mut record, Some(&counted));
        put(&mut record, None);
        assert_eq!(record.len(), 2 + 34 + 3 + 3 + 2);
        assert_eq!(get(&record, 1, 2, VoxelType::U16), Ok(None));
    }

    #[test]
    fn what_no_counts_give_is_refused() {
        let refused = |min: f64, max: f64, bins: &[u64]| {
            let mut record = Vec::new();
            put(&mut record, Some(&cell_of(min, max, bins.to_vec())));
            assert_eq!(get(&record, 0, 1, VoxelType::U16), Err(BadRecord), "{min} {max}");
        };
        let full = [1; 257];
        refused(0.0, 256.0, &[1; 256]);
        refused(0.0, 1024.0, &[1; 1025]);
        refused(0.0, 256.0, &[0; 257]);
        refused(1.0, 0.0, &full);
        refused(f64::NAN, 1.0, &full);
        refused(0.0, f64::INFINITY, &full);
        refused(0.0, 256.0, &[u64::MAX; 257]);
        // An eleventh byte, and a tenth that is too large.
        assert_eq!(take_number(&mut &[0x80; 11][..]), Err(BadRecord));
        assert_eq!(take_number(&mut &[[0xff; 9].as_slice(), &[2]].concat()[..]), Err(BadRecord));
        assert_eq!(take_number(&mut &[[0xff; 9].as_slice(), &[1]].concat()[..]), Ok(u64::MAX));
    }
}
