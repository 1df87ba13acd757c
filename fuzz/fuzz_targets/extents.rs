//! Where the bytes of a file lie: of any grid of chunks, and of what is planned for any array.
//!
//! First byte: even for grids, odd for an array that is planned; then numbers, as `Numbers` takes
//! them.

#![no_main]

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use zarrims::image::layout::{BrickGrid, FileLayout};
use zarrims::image::plan::ImagePlan;
use zarrims::image::{ChunkShape, Conversions, ImageOptions, Int16, Pyramid, Uint32};
use zarrims::ims::{
    ChunkIndex, ImsChannel, ImsFile, ImsLevel, MetadataLayout, TimeStamps, VoxelType,
};
use zarrims::source::SourceRoot;
use zarrims::source::discover::open_image;
use zarrims_fuzz::layout::{Shape, check, check_metadata};
use zarrims_fuzz::{Numbers, Scratch};

fuzz_target!(|data: &[u8]| {
    let mut input = Numbers::new(data);
    if input.byte().is_multiple_of(2) { grids(&mut input) } else { plans(&mut input) }
});

/// Most chunks that a [`ChunkIndex`] promises to take.
const MAX_CHUNKS: u64 = 1 << 48;

/// The planner makes no larger bricks.
const BRICK_LIMIT_BYTES: u64 = 1 << 40;

fn grids(input: &mut Numbers) {
    let mut shapes = Vec::new();
    let mut levels = Vec::new();
    let datasets = input.length(20);
    let (channels, name_bytes) = (input.length(8).min(datasets), input.length(10));
    for _ in 0..=input.below(8) {
        let (grid, chunk) = (input.lengths(30), input.lengths(33));
        let (brick_chunks, chunk_bytes) = (input.lengths(16), input.length(31));
        let product = |factors: [u64; 3]| factors.into_iter().try_fold(1_u64, u64::checked_mul);
        let is_indexed = product(grid).is_some_and(|chunks| chunks <= MAX_CHUNKS)
            && grid.iter().zip(chunk).all(|(&n, side)| n.checked_mul(side).is_some());
        let brick_bytes = product(brick_chunks).and_then(|n| n.checked_mul(chunk_bytes + 4096));
        let Ok(bytes) = u32::try_from(chunk_bytes) else { return };
        if !is_indexed || brick_bytes.is_none_or(|bytes| bytes > BRICK_LIMIT_BYTES) {
            return;
        }
        shapes.push(Shape { grid, chunk, chunk_bytes });
        levels.push((
            BrickGrid::new(grid, brick_chunks, chunk_bytes),
            ChunkIndex::new(grid, chunk, bytes),
        ));
    }
    let time_points = datasets / channels;
    let datasets = time_points * channels;
    let Some(metadata) =
        MetadataLayout::new(&described(&shapes, time_points, channels, name_bytes))
    else {
        return;
    };
    if let Some(file) = FileLayout::new(metadata, datasets, levels) {
        check(&file, datasets, &shapes, input);
    }
}

/// A description of a file of such datasets.
fn described(shapes: &[Shape], time_points: u64, channels: u64, name_bytes: u64) -> ImsFile {
    let size = |shape: &Shape| std::array::from_fn(|axis| shape.grid[axis] * shape.chunk[axis]);
    let channel = ImsChannel {
        name: "n".repeat(usize::try_from(name_bytes).expect("short")),
        description: "".into(),
        color: [1.0; 3],
        details: Vec::new(),
    };
    ImsFile {
        voxel_type: VoxelType::U16,
        levels: shapes
            .iter()
            .map(|shape| ImsLevel { size: size(shape), chunk: shape.chunk })
            .collect(),
        time_points,
        channels: vec![channel; usize::try_from(channels).expect("few")].into(),
        extent_min_um: [0.0; 3],
        extent_max_um: [1.0; 3],
        name: String::new(),
        description: String::new(),
        details: Vec::new(),
        recording_date: String::new(),
        time_stamps: TimeStamps::new(None, None, None, time_points),
        sections: Vec::new(),
        packing: None,
    }
}

thread_local! {
    static STORES: OnceCell<(Scratch, Arc<SourceRoot>)> = const { OnceCell::new() };
}

/// Planning takes time with each channel, and the format has room for some 65 000 time points.
const TIME_BITS: u8 = 16;
const CHANNEL_BITS: u8 = 7;

const TYPES: [&str; 8] = ["|u1", "<u2", "<i2", "<u4", "<f4", "|i1", ">f8", "<u8"];

fn plans(input: &mut Numbers) {
    let options = ImageOptions {
        pyramid: [Pyramid::Auto, Pyramid::Source, Pyramid::Imaris][usize::from(input.below(3))],
        conversions: Conversions {
            int16: [Int16::Float32, Int16::Keep, Int16::Offset][usize::from(input.below(3))],
            uint32: [Uint32::Float32, Uint32::Keep][usize::from(input.below(2))],
        },
        coarsest_bytes: input.length(24),
        ..ImageOptions::default()
    };
    let dimensions = 2 + input.below(4);
    let dtype = TYPES[usize::from(input.below(8))];
    STORES.with(|stores| {
        let (scratch, root) = stores.get_or_init(|| {
            let scratch = Scratch::new("extents");
            let root = Arc::new(SourceRoot::open(scratch.path(), false).expect("source folder"));
            (scratch, root)
        });
        let mut datasets = Vec::new();
        for level in 0..=input.below(4) {
            let lengths: Vec<(u64, u64)> = (0..dimensions)
                .map(|axis| {
                    let bits = match dimensions - axis {
                        5 => TIME_BITS,
                        4 => CHANNEL_BITS,
                        _ => 62,
                    };
                    (input.length(bits), input.length(24))
                })
                .collect();
            let (shape, chunks): (Vec<u64>, Vec<u64>) = lengths.into_iter().unzip();
            let array = json!({"zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": dtype,
                "compressor": null, "fill_value": 0, "order": "C", "filters": null});
            let name = level.to_string();
            scratch.write(&format!("s.zarr/{name}/.zarray"), array.to_string().as_bytes());
            datasets.push(name);
        }
        let datasets: Vec<Value> =
            datasets.into_iter().map(|path| json!({ "path": path })).collect();
        let attributes = json!({"multiscales": [{ "datasets": datasets }]});
        scratch.write("s.zarr/.zattrs", attributes.to_string().as_bytes());
        let Ok(source) = open_image(root, Path::new("s.zarr"), "", 0) else { return };
        // Behind all else, so that inputs from before there were such shapes mean what they meant.
        let chunk = match input.below(2) {
            0 => ChunkShape::Auto,
            _ => ChunkShape::Given(input.lengths(6)),
        };
        let options = ImageOptions { chunk, ..options };
        let Ok(plan) = ImagePlan::new(&source, &options) else { return };
        assert!(!plan.levels.is_empty() && plan.levels.len() == plan.ims.levels.len());
        plan.ims.validate().expect("a file that cannot be written is refused when it is planned");
        let shapes: Vec<Shape> = plan
            .ims
            .levels
            .iter()
            .map(|level| {
                let chunk_bytes = level.chunk.iter().product::<u64>() * plan.target.bytes() as u64;
                Shape { grid: level.grid(), chunk: level.chunk, chunk_bytes }
            })
            .collect();
        check(&plan.layout, plan.datasets(), &shapes, input);
        check_metadata(&plan.ims, &plan.layout, input);
    });
}
