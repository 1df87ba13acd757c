//! How long the metadata can become, from the description alone.
//!
//! The sum of the lengths of all structures the library writes, each with the longest content the
//! pixels could call for. The skeleton is packed (see [`hdf5`](super::hdf5)), so this is close to
//! the length of the fullest skeleton; it is an upper bound because every structure whose number
//! depends on the library's splitting of nodes is counted as if each split left the fewest
//! entries. A margin stands for what other versions of the library may do differently.

use super::describe::{ImsFile, ImsLevel};
use super::schema::{self, InfoGroup};
use super::text::LONGEST_DECIMALS_3;

/// The length reserved is a multiple of this, so that what follows starts on a page.
const PAGE_BYTES: u64 = 4096;

/// Superblock version 0 with the root group's symbol table entry (HDF5 specification, II.A).
const SUPERBLOCK_BYTES: u64 = 96;

/// Object header version 1: prefix, and one symbol table message (IV.A.1.a, IV.A.2.r).
const GROUP_HEADER_BYTES: u64 = 16 + MESSAGE_PREFIX_BYTES + 16;

/// Object header of a dataset: prefix and the 256 bytes the library starts with, in which the
/// dataspace, datatype, fill value and layout messages of this schema find room.
const DATASET_HEADER_BYTES: u64 = 16 + 256;

const MESSAGE_PREFIX_BYTES: u64 = 8;

/// Node of a group's B-tree: header, 32 children, 33 keys (III.A.1).
const GROUP_NODE_BYTES: u64 = 24 + 32 * 8 + 33 * 8;

/// Fewest children the library leaves in a node it splits: it moves a tenth to one side when the
/// new entry is the first or last, and a node has 32.
const GROUP_NODE_MIN_CHILDREN: u64 = 3;

/// Symbol table node: header, 8 entries of 40 bytes (III.B).
const SYMBOL_NODE_BYTES: u64 = 8 + 8 * 40;

/// Fewest entries left in a symbol table node when a full one is split in half.
const SYMBOL_NODE_MIN_ENTRIES: u64 = 4;

/// Local heap: header before its data segment (III.D).
const HEAP_HEADER_BYTES: u64 = 32;

/// The root group's heap has the library's default size.
const ROOT_HEAP_BYTES: u64 = 96;

/// Dataspace message version 1 of rank 1 with maximum dimensions (IV.A.2.b).
const DATASPACE_RANK_1_BYTES: u64 = 8 + 2 * 8;

/// Datatype message of a string or an integer, padded (IV.A.2.d).
const DATATYPE_BYTES: u64 = 16;

/// An upper bound on the length in bytes of the skeleton of `file`, whatever its pixels are; a
/// multiple of 4096.
///
/// This is arithmetic: it calls no library, and takes time in proportion to the texts of `file`,
/// not to the number of its groups. For a description that
/// [`ImsFile::validate`] refuses, the result is meaningless, but it does not panic.
#[must_use]
pub fn metadata_capacity(file: &ImsFile) -> u64 {
    let total = sum([
        SUPERBLOCK_BYTES,
        root_group(),
        data_set(file),
        info(&schema::info_groups(file, &[])),
        thumbnail(),
    ]);
    let margin = (total / 64).saturating_add(PAGE_BYTES / 4);
    let total = total.saturating_add(margin);
    total.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX / PAGE_BYTES * PAGE_BYTES)
}

fn root_group() -> u64 {
    let texts = schema::ROOT_ATTRIBUTES.map(|(name, value)| attribute(name.len(), value.len()));
    let count = attribute(schema::NUMBER_OF_DATA_SETS.len(), 4);
    group(3, ROOT_HEAP_BYTES, sum(texts).saturating_add(count))
}

fn data_set(file: &ImsFile) -> u64 {
    let levels = file.levels.len() as u64;
    let level_heap = schema::heap_bytes((0..file.levels.len()).map(schema::level_name));
    let channels = file.channels.len() as u64;
    let time_heap = schema::heap_bytes((0..file.channels.len()).map(schema::channel_name));
    let time_group = group(channels, time_heap as u64, 0);
    let level_group = group(file.time_points, time_point_names(file.time_points), 0);

    let level_bytes = file.levels.iter().map(|level| {
        let per_time_point =
            channel(file, level).saturating_mul(channels).saturating_add(time_group);
        per_time_point.saturating_mul(file.time_points).saturating_add(level_group)
    });
    sum(level_bytes).saturating_add(group(levels, level_heap as u64, 0))
}

/// Upper bound of the heap of a level group: as if all names were as long as the last.
fn time_point_names(time_points: u64) -> u64 {
    let last = schema::time_point_name(time_points.saturating_sub(1));
    let longest = (last.len() as u64 + 1).next_multiple_of(8);
    let none: [&str; 0] = [];
    time_points.saturating_mul(longest).saturating_add(schema::heap_bytes(none) as u64)
}

/// A channel group with its datasets and histograms of the most bins.
fn channel(file: &ImsFile, level: &ImsLevel) -> u64 {
    let sizes =
        schema::size_attributes(level).map(|(name, value)| attribute(name.len(), value.len()));
    let bins: &[usize] = if file.voxel_type.has_histogram_1024() {
        &[schema::HISTOGRAM_BINS, schema::HISTOGRAM_1024_BINS]
    } else {
        &[schema::HISTOGRAM_BINS]
    };
    let mut attributes = sum(sizes);
    let mut datasets = DATASET_HEADER_BYTES;
    for (names, &bins) in schema::RANGE_ATTRIBUTES.iter().zip(bins) {
        attributes += sum(names.map(|name| attribute(name.len(), LONGEST_DECIMALS_3)));
        datasets += dataset(8 * bins);
    }
    group(1 + bins.len() as u64, schema::channel_heap_bytes() as u64, attributes) + datasets
}

fn info(groups: &[InfoGroup]) -> u64 {
    let heap = schema::heap_bytes(groups.iter().map(|group| &group.name));
    sum(groups.iter().map(info_group)).saturating_add(group(groups.len() as u64, heap as u64, 0))
}

fn info_group(content: &InfoGroup) -> u64 {
    let datasets = || content.entries.iter().filter(|entry| entry.is_dataset());
    let heap = schema::heap_bytes(datasets().map(schema::InfoEntry::name)) as u64;
    let attributes = content.entries.iter().filter(|entry| !entry.is_dataset());
    let attributes = sum(attributes.map(|entry| attribute(entry.name().len(), entry.value.len())));
    sum(datasets().map(|entry| dataset(entry.value.len()))).saturating_add(group(
        datasets().count() as u64,
        heap,
        attributes,
    ))
}

fn thumbnail() -> u64 {
    let side = schema::THUMBNAIL_SIDE as usize;
    group(1, schema::heap_bytes([schema::DATA]) as u64, 0) + dataset(4 * side * side)
}

/// A group: header, heap, B-tree with symbol table nodes, and a header block for its attributes.
fn group(links: u64, heap: u64, attributes: u64) -> u64 {
    let symbol_nodes = links / SYMBOL_NODE_MIN_ENTRIES + 1;
    let symbols = symbol_nodes.saturating_mul(SYMBOL_NODE_BYTES);
    let nodes = (symbol_nodes / (GROUP_NODE_MIN_CHILDREN - 1)).saturating_mul(GROUP_NODE_BYTES);
    let tree = if symbol_nodes <= 32 { GROUP_NODE_BYTES } else { GROUP_NODE_BYTES + nodes };
    // The symbol table message moves to make room for the continuation message.
    let moved = if attributes == 0 { 0 } else { MESSAGE_PREFIX_BYTES + 16 };
    sum([GROUP_HEADER_BYTES, HEAP_HEADER_BYTES + heap, symbols, tree, moved, attributes])
}

/// A contiguous dataset of `bytes`.
fn dataset(bytes: usize) -> u64 {
    DATASET_HEADER_BYTES + bytes as u64
}

/// Attribute message version 1 of rank 1 (IV.A.2.m): the name is NUL-terminated and padded to 8,
/// and so is the message.
fn attribute(name: usize, value: usize) -> u64 {
    let name = (name as u64 + 1).next_multiple_of(8);
    let body = 8 + name + DATATYPE_BYTES + DATASPACE_RANK_1_BYTES + value as u64;
    MESSAGE_PREFIX_BYTES + body.next_multiple_of(8)
}

fn sum(parts: impl IntoIterator<Item = u64>) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ims::schema::tests::{fullest_pixels, sample};
    use crate::ims::skeleton::write;
    use crate::ims::{ImsChannel, ImsSection, VoxelType};
    use proptest::prelude::*;

    /// Length of the fullest skeleton, and its ratio to the capacity in percent.
    fn check(file: &ImsFile) -> (u64, u64) {
        let capacity = metadata_capacity(file);
        let (image, _) = write(file, &fullest_pixels(file), capacity).unwrap();
        let len = image.len() as u64;
        assert!(len <= capacity, "{len} > {capacity}");
        assert!(capacity.is_multiple_of(PAGE_BYTES));
        (len, capacity * 100 / len)
    }

    #[test]
    fn the_bound_is_close() {
        for voxel_type in [VoxelType::U8, VoxelType::U16, VoxelType::F32] {
            let mut file = sample();
            file.voxel_type = voxel_type;
            let (len, percent) = check(&file);
            println!("{voxel_type:?}: {len} bytes, capacity {percent} %");
            assert!(percent <= 120);
        }
    }

    #[test]
    fn many_time_points_stay_within_the_bound() {
        let mut file = sample();
        file.voxel_type = VoxelType::U8;
        file.time_points = 1100;
        file.levels.truncate(1);
        file.channels.truncate(1);
        file.time_stamps = vec!["2022-01-01 08:30:02.500".into(); 1100];
        let (len, percent) = check(&file);
        println!("1100 time points: {len} bytes, capacity {percent} %");
        assert!(percent <= 120);
    }

    fn any_file() -> impl Strategy<Value = ImsFile> {
        let voxel = prop::sample::select(vec![
            VoxelType::U8,
            VoxelType::U16,
            VoxelType::U32,
            VoxelType::F32,
        ]);
        let texts = prop::collection::vec(("[ -~]{1,60}", 0_usize..3000), 0..40);
        let shape = (voxel, 1_usize..7, 1_u64..61, 1_usize..13);
        (shape, "[ -~]{0,1000}", 0_usize..5000, texts, 1_u64..1 << 20).prop_map(
            |((voxel_type, levels, time_points, channels), name, description, texts, side)| {
                let mut file = sample();
                file.voxel_type = voxel_type;
                file.levels[0].size = [1, side, side * side];
                file.levels = vec![file.levels[0]; levels];
                file.time_points = time_points;
                file.time_stamps = (0..time_points).map(|t| format!("2022-01-01 {t}")).collect();
                let channel = ImsChannel {
                    name: name.clone(),
                    description: "d".repeat(description / 4),
                    color: [f32::MIN, 0.0, 1.0],
                    details: vec![("d".repeat(description / 50 + 1), name.clone())],
                };
                file.channels = vec![channel; channels];
                file.name = name;
                file.description = "d".repeat(description);
                file.sections = texts
                    .chunks(7)
                    .enumerate()
                    .map(|(section, texts)| ImsSection {
                        name: format!("{section}{}", texts[0].0),
                        entries: texts
                            .iter()
                            .enumerate()
                            .map(|(n, (key, len))| (format!("{n}{key}"), "v".repeat(*len)))
                            .collect(),
                    })
                    .collect();
                file
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_bound_holds(file in any_file()) {
            let (_, percent) = check(&file);
            prop_assert!(percent <= 120, "{}", percent);
        }
    }
}
