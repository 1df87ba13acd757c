//! Writing the metadata skeleton.
//!
//! Attributes are written right after their group and before its members: as long as nothing else
//! was allocated since, the library extends the group's header block in place, and the layout
//! stays free of holes (see [`metadata_capacity`](super::metadata_capacity), which relies on it).

use super::describe::{Histogram, ImsFile, PixelMetadata, Thumbnail};
use super::hdf5::{Element, Group, MemoryFile};
use super::packing::Packing;
use super::schema::{self, InfoGroup};
use super::{ImsError, graft, text};

/// Bounds of the step in which the library's buffer grows.
const GROWTH_BYTES: std::ops::RangeInclusive<usize> = 1 << 16..=1 << 24;

/// A `Data` dataset whose chunk index is still undefined.
pub(super) struct DataHeader {
    address: u64,
    level: usize,
    t: u64,
    c: usize,
}

/// Builds the metadata of a virtual file: exactly `capacity` bytes, padded with zeros.
///
/// `eof` is the length of the whole file in bytes; `index_root` gives the absolute file address
/// of the root node of the chunk index of (level, time point, channel). Equal input gives equal
/// bytes.
///
/// # Errors
///
/// Those of [`ImsFile::validate`]; [`ImsError::Count`], [`ImsError::HistogramBins`] or
/// [`ImsError::Thumbnail`] if `pixels` does not belong to `file`; [`ImsError::Capacity`] if
/// `capacity` is too small, which
/// [`metadata_capacity`](super::metadata_capacity) never is; [`ImsError::Hdf5`] and
/// [`ImsError::Graft`] if the HDF5 library fails or writes what it should not.
pub fn build_skeleton(
    file: &ImsFile,
    pixels: &PixelMetadata,
    capacity: u64,
    eof: u64,
    index_root: &dyn Fn(usize, u64, usize) -> u64,
) -> Result<Vec<u8>, ImsError> {
    file.validate()?;
    file.validate_names()?;
    pixels.validate(file)?;
    let (mut image, headers) = write(file, pixels, capacity)?;
    let needed = image.len() as u64;
    let padded = usize::try_from(capacity).ok().filter(|_| needed <= capacity);
    let Some(padded) = padded else {
        return Err(ImsError::Capacity { needed, capacity });
    };
    for DataHeader { address, level, t, c } in headers {
        graft::set_chunk_index(&mut image, address, index_root(level, t, c))?;
    }
    graft::set_end_of_file(&mut image, eof)?;
    image.resize(padded, 0);
    Ok(image)
}

/// The skeleton as the library leaves it, and the headers to graft.
pub(super) fn write(
    file: &ImsFile,
    pixels: &PixelMetadata,
    expected_len: u64,
) -> Result<(Vec<u8>, Vec<DataHeader>), ImsError> {
    let growth = usize::try_from(expected_len / 8).unwrap_or(usize::MAX);
    let memory = MemoryFile::create(growth.clamp(*GROWTH_BYTES.start(), *GROWTH_BYTES.end()))?;
    let root = memory.root();
    for (name, value) in schema::ROOT_ATTRIBUTES {
        root.write_attribute(name, Element::Text, &text::value_bytes(value))?;
    }
    root.write_attribute(schema::NUMBER_OF_DATA_SETS, Element::U32, &1_u32.to_le_bytes())?;

    let mut headers = vec![];
    write_data_set(&root, file, pixels, &mut headers)?;
    write_info(&root, &schema::info_groups(file, &pixels.color_ranges))?;
    if let Some(thumbnail) = &pixels.thumbnail {
        write_thumbnail(&root, thumbnail)?;
    }
    drop(root);
    Ok((memory.into_image()?, headers))
}

/// `/DataSet/ResolutionLevel r/TimePoint t/Channel c` (Imaris5FileFormat.pdf 3.1).
fn write_data_set(
    root: &Group,
    file: &ImsFile,
    pixels: &PixelMetadata,
    headers: &mut Vec<DataHeader>,
) -> Result<(), ImsError> {
    let heap = schema::heap_bytes;
    let levels = file.levels.len();
    let data_set =
        root.create_group(schema::DATA_SET, heap((0..levels).map(schema::level_name)))?;
    let level_heap = schema::heap_bytes((0..file.time_points).map(schema::time_point_name));
    let time_heap = schema::heap_bytes((0..file.channels.len()).map(schema::channel_name));
    for level in 0..levels {
        let level_group = data_set.create_group(&schema::level_name(level), level_heap)?;
        for t in 0..file.time_points {
            let time_group = level_group.create_group(&schema::time_point_name(t), time_heap)?;
            for c in 0..file.channels.len() {
                let address = write_channel(&time_group, file, pixels, (level, t, c))?;
                headers.push(DataHeader { address, level, t, c });
            }
        }
    }
    Ok(())
}

/// Writes a channel group and returns the address of the object header of its `Data`.
fn write_channel(
    time_group: &Group,
    file: &ImsFile,
    pixels: &PixelMetadata,
    (level, t, c): (usize, u64, usize),
) -> Result<u64, ImsError> {
    let shape = &file.levels[level];
    let found = pixels.histograms(level, t, c);
    let histograms: [Option<&Histogram>; 2] = [
        found.map(|found| &found.histogram),
        found.and_then(|found| found.histogram_1024.as_ref()),
    ];

    let group = time_group.create_group(&schema::channel_name(c), schema::channel_heap_bytes())?;
    for (name, value) in schema::size_attributes(shape) {
        group.write_attribute(name, Element::Text, &text::value_bytes(&value))?;
    }
    for ([min, max], histogram) in schema::RANGE_ATTRIBUTES.into_iter().zip(histograms) {
        if let Some(histogram) = histogram {
            let range = text::range(histogram.min, histogram.max);
            for (name, value) in [min, max].into_iter().zip(range) {
                group.write_attribute(name, Element::Text, value.as_bytes())?;
            }
        }
    }
    let filter = file.packing.map(Packing::filter);
    let header =
        group.create_chunked(schema::DATA, file.voxel_type, shape.padded(), shape.chunk, filter)?;
    for (name, histogram) in [schema::HISTOGRAM, schema::HISTOGRAM_1024].into_iter().zip(histograms)
    {
        if let Some(Histogram { bins, .. }) = histogram {
            let data: Vec<u8> = bins.iter().flat_map(|bin| bin.to_le_bytes()).collect();
            group.write_dataset(name, Element::U64, &[bins.len()], &data)?;
        }
    }
    Ok(header)
}

fn write_info(root: &Group, groups: &[InfoGroup]) -> Result<(), ImsError> {
    let heap = schema::heap_bytes(groups.iter().map(|group| &group.name));
    let info = root.create_group(schema::DATA_SET_INFO, heap)?;
    for InfoGroup { name, entries } in groups {
        let datasets = || entries.iter().filter(|entry| entry.is_dataset());
        let heap = schema::heap_bytes(datasets().map(schema::InfoEntry::name));
        let group = info.create_group(name, heap)?;
        for entry in entries.iter().filter(|entry| !entry.is_dataset()) {
            group.write_attribute(&entry.name(), Element::Text, &entry.value)?;
        }
        for entry in datasets() {
            group.write_dataset(
                &entry.name(),
                Element::Text,
                &[entry.value.len()],
                &entry.value,
            )?;
        }
    }
    Ok(())
}

/// `/Thumbnail/Data`: shape (height, 4 * width), bytes red, green, blue, alpha (`ImarisWriter`
/// `bpWriterHDF5.cxx`, `WriteThumbnail`).
fn write_thumbnail(root: &Group, thumbnail: &Thumbnail) -> Result<(), ImsError> {
    let group = root.create_group(schema::THUMBNAIL, schema::heap_bytes([schema::DATA]))?;
    let height = thumbnail.height as usize;
    let shape = [height, thumbnail.rgba.len() / height];
    let byte = Element::Voxel(super::VoxelType::U8);
    group.write_dataset(schema::DATA, byte, &shape, &thumbnail.rgba)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use hdf5_metno::types::TypeDescriptor;
    use hdf5_metno::{File, H5Type};

    use super::*;
    use crate::ims::schema::tests::{fullest_pixels, sample};
    use crate::ims::{ChunkIndex, ImsLevel, VoxelType, metadata_capacity};

    /// A file on disk that is removed at the end of the test.
    struct TempFile(PathBuf);

    impl TempFile {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let name = format!("zarrims-{}-{name}.ims", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::write(&path, bytes).unwrap();
            Self(path)
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// A value that tells apart every voxel of a neighbourhood, level, time point and channel.
    fn voxel((level, t, c): (usize, u64, usize), zyx: [u64; 3]) -> u64 {
        let position: u64 = zyx.iter().zip([7, 5, 3]).map(|(at, step)| at * step).sum();
        position + 1000 * c as u64 + 4000 * t + 9 * level as u64
    }

    fn voxel_bytes(voxel_type: VoxelType, value: u64) -> Vec<u8> {
        let bytes = value.to_le_bytes();
        bytes[..voxel_type.bytes()].to_vec()
    }

    /// Assembles a whole file the slow way: skeleton, then the index of every `Data`, then chunks
    /// in a shuffled order.
    fn assemble(file: &ImsFile) -> Vec<u8> {
        let capacity = metadata_capacity(file);
        let mut places = vec![];
        for level in 0..file.levels.len() {
            for t in 0..file.time_points {
                places.extend((0..file.channels.len()).map(|c| (level, t, c)));
            }
        }
        let index = |level: &ImsLevel| {
            let bytes = level.chunk.iter().product::<u64>() * file.voxel_type.bytes() as u64;
            ChunkIndex::new(level.grid(), level.chunk, u32::try_from(bytes).unwrap())
        };
        let mut end = capacity;
        let mut starts = std::collections::BTreeMap::new();
        for &place in &places {
            starts.insert(place, end);
            end += index(&file.levels[place.0]).byte_len();
        }
        let mut data = vec![];
        let mut nodes = vec![];
        let data_start = end;
        for &place in &places {
            let level = &file.levels[place.0];
            let (index, [gz, gy, gx]) = (index(level), level.grid());
            let chunks = gz * gy * gx;
            let chunk_voxels = level.chunk.iter().product::<u64>();
            let chunk_bytes = chunk_voxels * file.voxel_type.bytes() as u64;
            let first = data_start + data.len() as u64;
            // 7919 is prime, so this permutes the chunks unless it divides their number.
            assert_ne!(chunks % 7919, 0);
            let slot = |n: u64| n * 7919 % chunks;
            let address = |[z, y, x]: [u64; 3]| first + slot((z * gy + y) * gx + x) * chunk_bytes;
            for node in 0..index.node_count() {
                let mut bytes = vec![0; 3136];
                index.write_node(node, starts[&place], &address, &mut bytes);
                nodes.extend(bytes);
            }
            let base = data.len();
            data.resize(base + usize::try_from(chunks * chunk_bytes).unwrap(), 0);
            for n in 0..chunks {
                let origin = [n / gx / gy, n / gx % gy, n % gx];
                let [_, cy, cx] = level.chunk;
                let bytes: Vec<u8> = (0..chunk_voxels)
                    .flat_map(|v| {
                        let within = [v / cx / cy, v / cx % cy, v % cx];
                        let at = std::array::from_fn(|a| origin[a] * level.chunk[a] + within[a]);
                        voxel_bytes(file.voxel_type, voxel(place, at))
                    })
                    .collect();
                let at = base + usize::try_from(slot(n) * chunk_bytes).unwrap();
                data[at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        let eof = data_start + data.len() as u64;
        let root =
            |level: usize, t, c| starts[&(level, t, c)] + index(&file.levels[level]).root_offset();
        let skeleton = build_skeleton(file, &fullest_pixels(file), capacity, eof, &root).unwrap();
        [skeleton, nodes, data].concat()
    }

    fn compare_voxels<T: H5Type + PartialEq + std::fmt::Debug>(
        path: &PathBuf,
        file: &ImsFile,
        value: impl Fn(u64) -> T,
    ) {
        let opened = File::open(path).unwrap();
        for (r, level) in file.levels.iter().enumerate() {
            for t in 0..file.time_points {
                for c in 0..file.channels.len() {
                    let name =
                        format!("DataSet/ResolutionLevel {r}/TimePoint {t}/Channel {c}/Data");
                    let dataset = opened.dataset(&name).unwrap();
                    let shape = level.padded();
                    assert_eq!(dataset.shape(), shape.map(|side| usize::try_from(side).unwrap()));
                    let [_, height, width] = shape;
                    let read = dataset.read_raw::<T>().unwrap();
                    assert_eq!(read.len() as u64, shape.iter().product::<u64>());
                    for (n, read) in (0_u64..).zip(read) {
                        let at = [n / width / height, n / width % height, n % width];
                        assert_eq!(read, value(voxel((r, t, c), at)), "{name} {at:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn libhdf5_reads_every_voxel_through_the_computed_index() {
        let file = sample();
        assert!(file.levels[0].grid().iter().product::<u64>() > 600);
        let on_disk = TempFile::new("two-levels", &assemble(&file));
        #[expect(clippy::cast_possible_truncation, reason = "stored the same way")]
        compare_voxels(&on_disk.0, &file, |value| value as u16);
    }

    #[test]
    fn libhdf5_reads_through_an_index_of_three_levels() {
        let mut file = sample();
        file.voxel_type = VoxelType::U8;
        file.levels = vec![ImsLevel { size: [33, 31, 50], chunk: [2, 2, 3] }];
        assert!(file.levels[0].grid().iter().product::<u64>() > 64 * 64);
        let on_disk = TempFile::new("three-levels", &assemble(&file));
        #[expect(clippy::cast_possible_truncation, reason = "stored the same way")]
        compare_voxels(&on_disk.0, &file, |value| value as u8);
    }

    #[test]
    fn the_tree_has_the_form_the_maker_writes() {
        let file = sample();
        let on_disk = TempFile::new("form", &assemble(&file));
        let opened = File::open(&on_disk.0).unwrap();
        let text = |group: &str, name: &str| {
            let attribute = opened.group(group).unwrap().attr(name).unwrap();
            let stored = attribute.dtype().unwrap().to_descriptor().unwrap();
            assert_eq!(stored, TypeDescriptor::FixedAscii(1), "{group} {name}");
            assert_eq!(attribute.ndim(), 1);
            attribute.size()
        };
        assert_eq!(text("/", "ImarisDataSet"), 13);
        assert_eq!(text("/DataSet/ResolutionLevel 1/TimePoint 1/Channel 0", "ImageSizeX"), 3);
        assert_eq!(text("/DataSetInfo/Image", "ExtMin0"), "10.000000000".len());
        assert_eq!(text("/DataSetInfo/Custom%sSection 100%p", "a key"), "a value".len());
        assert_eq!(text("/DataSetInfo/TimeInfo", "TimePoint2"), "2022-01-01 08:30:02.500".len());
        let number = opened.attr("NumberOfDataSets").unwrap();
        assert_eq!(number.read_raw::<u32>().unwrap(), [1]);

        let long = opened.dataset("/DataSetInfo/Custom%sSection 100%p/long").unwrap();
        assert_eq!(long.shape(), [1500]);
        let stored = long.dtype().unwrap().to_descriptor().unwrap();
        assert_eq!(stored, TypeDescriptor::FixedAscii(1));
        let channel = "/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0";
        let histogram = opened.dataset(&format!("{channel}/Histogram1024")).unwrap();
        assert_eq!(histogram.read_raw::<u64>().unwrap(), vec![7; 1024]);
        assert_eq!(opened.dataset("/Thumbnail/Data").unwrap().shape(), [256, 1024]);
        let mut groups = opened.group("/DataSet").unwrap().member_names().unwrap();
        groups.sort();
        assert_eq!(groups, ["ResolutionLevel 0", "ResolutionLevel 1"]);
    }

    #[test]
    fn equal_input_gives_equal_bytes_on_any_thread() {
        let file = sample();
        let pixels = fullest_pixels(&file);
        let capacity = metadata_capacity(&file);
        let build =
            || build_skeleton(&file, &pixels, capacity, 1 << 40, &|_, _, _| 1 << 30).unwrap();
        let first = build();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..4).map(|_| scope.spawn(build)).collect();
            for other in others {
                assert!(other.join().unwrap() == first);
            }
        });
        assert_eq!(first[8], 0, "superblock version");
        assert_eq!(first[40..48], (1_u64 << 40).to_le_bytes(), "end of file");
    }

    #[test]
    fn nothing_known_of_the_pixels_is_written_as_nothing() {
        let file = sample();
        let pixels =
            PixelMetadata { color_ranges: vec![(0.0, 255.0); 2], ..PixelMetadata::default() };
        let capacity = metadata_capacity(&file);
        let image = build_skeleton(&file, &pixels, capacity, capacity, &|_, _, _| 8).unwrap();
        let on_disk = TempFile::new("bare", &image);
        let opened = File::open(&on_disk.0).unwrap();
        let channel = opened.group("/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0").unwrap();
        assert_eq!(channel.member_names().unwrap(), ["Data"]);
        assert_eq!(channel.attr_names().unwrap(), ["ImageSizeX", "ImageSizeY", "ImageSizeZ"]);
        assert!(!opened.link_exists("Thumbnail"));
    }

    #[test]
    fn what_does_not_fit_or_belong_is_refused() {
        let file = sample();
        let build = |pixels: &PixelMetadata, capacity| {
            build_skeleton(&file, pixels, capacity, 1 << 40, &|_, _, _| 8)
        };
        let mut pixels = fullest_pixels(&file);
        assert!(matches!(build(&pixels, 4096), Err(ImsError::Capacity { capacity: 4096, .. })));
        pixels.color_ranges.pop();
        assert!(matches!(build(&pixels, 1 << 22), Err(ImsError::Count { .. })));
        let mut pixels = fullest_pixels(&file);
        pixels.thumbnail.as_mut().unwrap().rgba.pop();
        assert!(matches!(build(&pixels, 1 << 22), Err(ImsError::Thumbnail { .. })));
        let mut pixels = fullest_pixels(&file);
        let first = pixels.histograms.get_mut(&(0, 0, 0)).unwrap();
        std::sync::Arc::make_mut(first).histogram.bins.pop();
        assert!(matches!(build(&pixels, 1 << 22), Err(ImsError::HistogramBins { .. })));
    }
}
