use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use hdf5_metno::types::TypeDescriptor;
use hdf5_metno::{File, H5Type};
use proptest::prelude::*;

use super::*;
use crate::ims::schema::tests::{fullest, sample};
use crate::ims::{
    ChunkIndex, ImsChannel, ImsChannels, ImsLevel, ImsSection, TimeStamps, VoxelType,
};

const THUMBNAIL: [u32; 2] = [256, 200];

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

/// The whole region; `range` for displayed ranges, pixels of one value for the thumbnail.
fn region(
    file: &ImsFile,
    eof: u64,
    histograms: Option<&ChannelHistograms>,
    index_root: &dyn Fn(usize, u64) -> u64,
) -> Vec<u8> {
    let layout = MetadataLayout::new(file).expect("small");
    let mut out = vec![9; usize::try_from(layout.bytes()).expect("small")];
    write(file, &layout, eof, histograms, index_root, 0, &mut out);
    out
}

/// A range of the region.
fn write(
    file: &ImsFile,
    layout: &MetadataLayout,
    eof: u64,
    histograms: Option<&ChannelHistograms>,
    index_root: &dyn Fn(usize, u64) -> u64,
    mut at: u64,
    mut out: &mut [u8],
) {
    file.validate().expect("a file");
    let templates = Templates::new(file, THUMBNAIL).expect("libhdf5 writes them");
    let writer = MetadataWriter { file, layout, templates: &templates, eof, index_root };
    let rgba = vec![9; 4 * 256 * 200];
    while !out.is_empty() {
        let (part, run) = layout.locate(at);
        let pixels = match part {
            MetadataPart::Fixed => Pixels::None,
            MetadataPart::Channel(_) => Pixels::Range((f64::MIN, f64::MIN)),
            MetadataPart::Dataset { .. } => Pixels::Histograms(histograms),
            MetadataPart::Thumbnail => Pixels::Thumbnail(&rgba),
        };
        let run = usize::try_from(run).unwrap_or(usize::MAX).min(out.len());
        let (head, rest) = out.split_at_mut(run);
        writer.write(at, head, pixels).expect("written");
        (at, out) = (at + run as u64, rest);
    }
}

/// Assembles a whole file the slow way: metadata, then the index of every `Data`, then chunks in a shuffled order.
fn assemble(file: &ImsFile) -> Vec<u8> {
    let channels = file.channels.len() as u64;
    let datasets = file.time_points * channels;
    let places = (0..file.levels.len()).flat_map(|level| (0..datasets).map(move |d| (level, d)));
    let index = |level: &ImsLevel| {
        let bytes = level.chunk.iter().product::<u64>() * file.voxel_type.bytes() as u64;
        ChunkIndex::new(level.grid(), level.chunk, u32::try_from(bytes).unwrap())
    };
    let mut end = MetadataLayout::new(file).expect("small").bytes();
    let mut starts = BTreeMap::new();
    for place in places.clone() {
        starts.insert(place, end);
        end += index(&file.levels[place.0]).byte_len();
    }
    let mut data = vec![];
    let mut nodes = vec![];
    let data_start = end;
    for place in places {
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
        let of_file = (place.0, place.1 / channels, usize::try_from(place.1 % channels).unwrap());
        for n in 0..chunks {
            let origin = [n / gx / gy, n / gx % gy, n % gx];
            let [_, cy, cx] = level.chunk;
            let bytes: Vec<u8> = (0..chunk_voxels)
                .flat_map(|v| {
                    let within = [v / cx / cy, v / cx % cy, v % cx];
                    let at = std::array::from_fn(|a| origin[a] * level.chunk[a] + within[a]);
                    voxel_bytes(file.voxel_type, voxel(of_file, at))
                })
                .collect();
            let at = base + usize::try_from(slot(n) * chunk_bytes).unwrap();
            data[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }
    let eof = data_start + data.len() as u64;
    let root = |level: usize, d| starts[&(level, d)] + index(&file.levels[level]).root_offset();
    [region(file, eof, Some(&fullest(file)), &root), nodes, data].concat()
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
                let name = format!("DataSet/ResolutionLevel {r}/TimePoint {t}/Channel {c}/Data");
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
    assert_eq!(opened.dataset("/Thumbnail/Data").unwrap().shape(), [200, 1024]);
    let mut groups = opened.group("/DataSet").unwrap().member_names().unwrap();
    groups.sort();
    assert_eq!(groups, ["ResolutionLevel 0", "ResolutionLevel 1"]);
}

#[test]
fn equal_input_gives_equal_bytes_on_any_thread() {
    let file = sample();
    let fullest = fullest(&file);
    let build = || region(&file, 1 << 40, Some(&fullest), &|_, _| 1 << 30);
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
fn where_nothing_was_counted_there_is_no_histogram() {
    let file = sample();
    let bytes = MetadataLayout::new(&file).unwrap().bytes();
    let on_disk = TempFile::new("bare", &region(&file, bytes, None, &|_, _| 8));
    let opened = File::open(&on_disk.0).unwrap();
    let channel = opened.group("/DataSet/ResolutionLevel 0/TimePoint 0/Channel 0").unwrap();
    assert_eq!(channel.member_names().unwrap(), ["Data"]);
    assert_eq!(channel.attr_names().unwrap(), ["ImageSizeX", "ImageSizeY", "ImageSizeZ"]);
}

#[test]
fn what_does_not_belong_is_refused() {
    let file = sample();
    let layout = MetadataLayout::new(&file).unwrap();
    let templates = Templates::new(&file, THUMBNAIL).unwrap();
    let (file, layout, templates) = (&file, &layout, &templates);
    let writer = MetadataWriter { file, layout, templates, eof: 1 << 40, index_root: &|_, _| 8 };
    let dataset = layout.levels[0].channel.at;
    let mut out = [0; 64];
    let mut histograms = fullest(file);
    assert!(writer.write(dataset, &mut out, Pixels::Histograms(Some(&histograms))).is_ok());
    histograms.histogram.bins.pop();
    let refused = writer.write(dataset, &mut out, Pixels::Histograms(Some(&histograms)));
    assert!(matches!(refused, Err(ImsError::HistogramBins { level: 0, dataset: 0, bins: 255 })));
    assert!(matches!(writer.write(dataset, &mut out, Pixels::None), Err(ImsError::Pixels { .. })));
    for sides in [[0, 9], [9, 0], [257, 9]] {
        assert!(matches!(Templates::new(file, sides), Err(ImsError::Thumbnail { .. })));
    }
}

/// A series of three time points and two channels. Another hash means other bytes for readers: then raise
/// `FORMAT_VERSION` in `src/image/identity.rs` as well.
#[test]
fn the_bytes_of_a_small_series_stay() {
    let mut file = sample();
    file.time_points = 3;
    file.time_stamps = TimeStamps::new(Some(0), Some(1.5), None, 3);
    let mut bytes = region(&file, 1 << 40, Some(&fullest(&file)), &|level, dataset| {
        (1 << 30) + (level as u64 * 6 + dataset) * 3136
    });
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let at = bytes.windows(version.len()).position(|window| window == version);
    bytes[at.expect("the version of the program")..][..version.len()].fill(b'x');
    let hash = xxhash_rust::xxh3::xxh3_128(&bytes);
    assert_eq!(format!("{} {hash:032x}", bytes.len()), "483328 e0d39bb9d23c864a06ceb4803fef3423");
}

/// A long series with many channels, of which libhdf5 reads names, stamps and members.
#[test]
fn libhdf5_finds_every_member_of_a_long_series() {
    let mut file = sample();
    file.time_points = 2311;
    file.time_stamps = TimeStamps::new(Some(0), Some(0.25), None, 2311);
    file.channels = ImsChannels::new(vec![file.channels.get(0).into_owned(); 2], 13);
    let bytes = MetadataLayout::new(&file).unwrap().bytes();
    let on_disk = TempFile::new("long", &region(&file, bytes, Some(&fullest(&file)), &|_, _| 8));
    let opened = File::open(&on_disk.0).unwrap();
    for (group, prefix, count) in [
        ("/DataSet", "ResolutionLevel", 2),
        ("/DataSet/ResolutionLevel 1", "TimePoint", 2311),
        ("/DataSet/ResolutionLevel 1/TimePoint 2310", "Channel", 13),
    ] {
        let mut expected: Vec<_> = (0..count).map(|n| format!("{prefix} {n}")).collect();
        expected.sort();
        assert_eq!(opened.group(group).unwrap().member_names().unwrap(), expected, "{group}");
    }
    let info = opened.group("/DataSetInfo/TimeInfo").unwrap();
    assert_eq!(info.attr_names().unwrap().len(), 2313);
    for (name, text) in [
        ("TimePoint1", "1970-01-01 00:00:00"),
        ("TimePoint2311", "1970-01-01 00:09:37.500"),
        ("FileTimePoints", "2311"),
    ] {
        let bytes = info.attr(name).unwrap().read_raw::<hdf5_metno::types::FixedAscii<1>>();
        let read: String =
            bytes.unwrap().iter().map(hdf5_metno::types::FixedAscii::as_str).collect();
        assert_eq!(read, text, "{name}");
    }
    for t in [0, 9, 10, 1999, 2310] {
        for c in [0, 9, 10, 12] {
            let path = format!("/DataSet/ResolutionLevel 1/TimePoint {t}/Channel {c}");
            assert_eq!(opened.dataset(&format!("{path}/Data")).unwrap().shape().len(), 3);
            let histogram = opened.dataset(&format!("{path}/Histogram1024")).unwrap();
            assert_eq!(histogram.read_raw::<u64>().unwrap(), vec![7; 1024]);
        }
    }
}

fn any_file() -> impl Strategy<Value = ImsFile> {
    let voxel = prop::sample::select(vec![VoxelType::U8, VoxelType::U16, VoxelType::F32]);
    let texts = prop::collection::vec(("[ -~]{1,60}", 0_usize..3000), 0..40);
    let shape = (voxel, 1_usize..7, 1_u64..61, 1_usize..40);
    (shape, "[ -~]{0,1000}", 0_usize..5000, texts, 1_u64..1 << 20).prop_map(
        |((voxel_type, levels, time_points, channels), name, description, texts, side)| {
            let mut file = sample();
            file.voxel_type = voxel_type;
            file.levels[0].size = [1, side, 1 << 20];
            file.levels = vec![file.levels[0]; levels];
            file.time_points = time_points;
            file.time_stamps = TimeStamps::new(Some(7), Some(0.3), None, time_points);
            let channel = ImsChannel {
                name: name.clone(),
                description: "d".repeat(description / 4).into(),
                color: [f32::MIN, 0.0, 1.0],
                details: vec![("d".repeat(description / 50 + 1), name.clone())],
            };
            file.channels = ImsChannels::new(vec![channel; channels.div_ceil(2)], channels);
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

    /// Every slot holds the longest content, slots do not overlap, and any cut gives the same bytes.
    #[test]
    fn any_range_is_that_of_the_whole(
        file in any_file(),
        cuts in prop::collection::vec((0.0_f64..1.0, 1_usize..20_000), 8),
    ) {
        let layout = MetadataLayout::new(&file).expect("small");
        let fullest = fullest(&file);
        let root = |level: usize, dataset: u64| 1000 * level as u64 + dataset;
        let whole = region(&file, 1 << 40, Some(&fullest), &root);
        for (start, len) in cuts {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a random place, clamped to the region"
            )]
            let start = ((whole.len() as f64 * start) as usize).min(whole.len() - 1);
            let len = len.min(whole.len() - start);
            let mut out = vec![3; len];
            write(&file, &layout, 1 << 40, Some(&fullest), &root, start as u64, &mut out);
            prop_assert!(out == whole[start..start + len], "{} {}", start, len);
        }
    }
}
