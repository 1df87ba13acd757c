//! What must hold for the layout of any file.

use zarrims::image::layout::{Extent, FileLayout};
use zarrims::ims::{
    ChannelHistograms, ChunkIndex, Histogram, ImsFile, MetadataPart, MetadataWriter, Pixels,
    Templates, VoxelType,
};

use crate::numbers::Numbers;

/// Shape of the datasets of one level, order (z, y, x).
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Chunks.
    pub grid: [u64; 3],
    /// Voxels of a chunk.
    pub chunk: [u64; 3],
    /// Bytes of a chunk.
    pub chunk_bytes: u64,
}

/// Looks at the borders of the regions, and at chunks and offsets that `input` picks.
///
/// # Panics
/// If the layout is wrong.
pub fn check(file: &FileLayout, datasets: u64, shapes: &[Shape], input: &mut Numbers) {
    assert_eq!(file.levels().len(), shapes.len());
    assert!(i64::try_from(file.file_bytes()).is_ok());
    assert_eq!(file.locate(file.file_bytes()), None);
    assert_eq!(file.locate(u64::MAX), None);
    for offset in [0, file.metadata_bytes(), file.file_bytes() - 1] {
        check_around(file, offset);
    }
    for (number, shape) in shapes.iter().enumerate() {
        let last = shape.grid.map(|n| n - 1);
        check_chunk(file, number, 0, shape, [0; 3]);
        check_chunk(file, number, datasets - 1, shape, last);
        let dataset = input.number() % datasets;
        let chunk = shape.grid.map(|n| input.number() % n);
        check_chunk(file, number, dataset, shape, chunk);
        look_up(file, number, dataset, shape, chunk);
        check_around(file, file.index_address(number, dataset));
    }
    for _ in 0..8 {
        check_around(file, input.number() % file.file_bytes());
        check_around(file, input.number() % file.metadata_bytes());
    }
}

/// Most bytes of metadata that are written at once.
const WRITTEN_BYTES: u64 = 1 << 14;

/// Writes ranges of the metadata that `input` picks, in one piece and in two.
///
/// # Panics
/// If they differ, or cannot be written.
pub fn check_metadata(file: &ImsFile, layout: &FileLayout, input: &mut Numbers) {
    let templates = Templates::new(file, [256, 200]).expect("libhdf5 writes them");
    let writer = MetadataWriter {
        file,
        layout: layout.metadata(),
        templates: &templates,
        eof: layout.file_bytes(),
        index_root: &|level, dataset| layout.index_root(level, dataset),
    };
    // The longest that pixels can say.
    let histogram = |bins| Histogram { min: f64::MIN, max: f64::MIN, bins: vec![u64::MAX; bins] };
    let histograms = ChannelHistograms {
        histogram: histogram(256),
        histogram_1024: (file.voxel_type != VoxelType::U8).then(|| histogram(1024)),
    };
    let rgba = vec![7; 4 * 256 * 200];
    let write = |from: u64, to: u64| {
        let mut bytes = vec![0xaa; usize::try_from(to - from).expect("few")];
        let mut at = from;
        while at < to {
            let (part, run) = layout.metadata().locate(at);
            assert!(run > 0);
            let end = to.min(at + run);
            let pixels = match part {
                MetadataPart::Fixed => Pixels::None,
                MetadataPart::Channel(_) => Pixels::Range((f64::MIN, f64::MIN)),
                MetadataPart::Dataset { .. } => Pixels::Histograms(Some(&histograms)),
                MetadataPart::Thumbnail => Pixels::Thumbnail(&rgba),
            };
            let place = |at: u64| usize::try_from(at - from).expect("few");
            let out = &mut bytes[place(at)..place(end)];
            writer.write(at, out, pixels).expect("there is room for all that pixels can say");
            at = end;
        }
        bytes
    };
    for _ in 0..4 {
        let from = input.number() % layout.metadata_bytes();
        let to = layout.metadata_bytes().min(from + 1 + input.number() % WRITTEN_BYTES);
        let cut = from + input.number() % (to - from);
        assert_eq!(
            write(from, to),
            [write(from, cut), write(cut, to)].concat(),
            "{from} {cut} {to}"
        );
    }
}

/// The extent at `offset` ends where the next begins, and begins where the one before ends.
fn check_around(file: &FileLayout, offset: u64) {
    let (extent, len) = file.locate(offset).expect("inside");
    assert!(len > 0);
    let end = offset.checked_add(len).expect("no file is so long");
    assert!(end <= file.file_bytes());
    assert_eq!(file.locate(end - 1), Some((moved(extent, len - 1), 1)));
    match file.locate(end) {
        Some((next, _)) => assert!(begins(next), "{extent:?} is cut by {next:?}"),
        None => assert_eq!(end, file.file_bytes()),
    }
    let Some(within) = within(extent) else { return };
    let start = offset.checked_sub(within).expect("extents begin inside");
    assert_eq!(file.locate(start), Some((moved(extent, within.wrapping_neg()), len + within)));
    if let Some(before) = start.checked_sub(1) {
        let (before, left) = file.locate(before).expect("inside");
        assert_eq!(left, 1, "{before:?} overlaps {extent:?}");
    }
}

fn within(extent: Extent) -> Option<u64> {
    match extent {
        Extent::IndexNode { within, .. } | Extent::Brick { within, .. } => Some(within),
        Extent::Metadata { .. } | Extent::Zero => None,
    }
}

fn begins(extent: Extent) -> bool {
    within(extent).is_none_or(|within| within == 0)
}

/// The place in the same extent, `by` bytes further on.
fn moved(mut extent: Extent, by: u64) -> Extent {
    match &mut extent {
        Extent::IndexNode { within, .. } | Extent::Brick { within, .. } => {
            *within = within.wrapping_add(by);
        }
        Extent::Metadata { .. } | Extent::Zero => {}
    }
    extent
}

/// The address of a chunk leads back to the chunk.
fn check_chunk(file: &FileLayout, level: usize, dataset: u64, shape: &Shape, chunk: [u64; 3]) {
    let bricks = &file.levels()[level].bricks;
    let address = file.chunk_address(level, dataset, chunk);
    let (extent, left) = file.locate(address).expect("inside");
    let Extent::Brick { level: found, dataset: of, brick, within } = extent else {
        panic!("chunk {chunk:?} lies in {extent:?}");
    };
    assert_eq!((found, of), (level, dataset));
    let [z, y, x] = bricks.brick_box(brick);
    for (range, at) in [&z, &y, &x].into_iter().zip(chunk) {
        assert!(range.contains(&at), "chunk {chunk:?} is not in brick {brick}");
    }
    let (height, width) = (y.end - y.start, x.end - x.start);
    let before = ((chunk[0] - z.start) * height + chunk[1] - y.start) * width + chunk[2] - x.start;
    assert_eq!(within, before * bricks.chunk_stride());
    assert_eq!(within + left, bricks.brick_bytes(brick));
    assert!(bricks.brick_bytes(brick) <= bricks.full_brick_bytes());
    assert!(shape.chunk_bytes <= bricks.chunk_stride() && bricks.chunk_stride() <= left);
    check_around(file, address);
}

/// Goes from the root of the index to a chunk, as a reader does.
fn look_up(file: &FileLayout, level: usize, dataset: u64, shape: &Shape, chunk: [u64; 3]) {
    let index = &file.levels()[level].index;
    let start = file.index_address(level, dataset);
    let wanted: [u64; 3] = std::array::from_fn(|axis| chunk[axis] * shape.chunk[axis]);
    let address_of = |chunk| file.chunk_address(level, dataset, chunk);
    let mut address = file.index_root(level, dataset);
    let mut above = None;
    let mut node = [0xaa; NODE_BYTES];
    loop {
        let offset = address.checked_sub(start).expect("not before the index");
        assert!(offset.is_multiple_of(ChunkIndex::NODE_BYTES));
        let number = offset / ChunkIndex::NODE_BYTES;
        let extent = Extent::IndexNode { level, dataset, node: number, within: 0 };
        assert_eq!(file.locate(address), Some((extent, ChunkIndex::NODE_BYTES)));
        index.write_node(number, start, &address_of, &mut node);
        assert_eq!(node[..5], *b"TREE\x01");
        let height = node[5];
        assert!(above.is_none_or(|above: u8| above == height + 1));
        above = Some(height);
        let used = usize::from(u16::from_le_bytes([node[6], node[7]]));
        assert!((1..=64).contains(&used));
        let entry = (0..used)
            .find(|&entry| key(&node, entry) <= wanted && wanted < key(&node, entry + 1))
            .expect("the keys enclose every chunk");
        address = u64_at(&node, 24 + entry * 48 + 40);
        if height == 0 {
            assert_eq!(key(&node, entry), wanted);
            assert_eq!(address, address_of(chunk));
            return;
        }
    }
}

const NODE_BYTES: usize = 3136;

/// The offset in voxels of a key.
fn key(node: &[u8; NODE_BYTES], entry: usize) -> [u64; 3] {
    std::array::from_fn(|axis| u64_at(node, 24 + entry * 48 + 8 + 8 * axis))
}

fn u64_at(node: &[u8; NODE_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(node[at..at + 8].try_into().expect("eight bytes"))
}
