//! What is measured of whole scenes.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use crate::image::ImageOptions;
use crate::image::options::Statistics;
use crate::image::tests::scene::{Scene, mixed, places};
use crate::image::voxels::image::Image;
use crate::ims::Histogram;
use crate::resources::Aside;

use super::datasets::Datasets;
use super::ranges::{DisplayRanges, Measured};
use super::sketch::{Sketch, channels};
use super::thumbnail;

fn aside(image: &Image) -> Arc<Aside> {
    Arc::new(image.engine().resources().reserve_aside(1 << 20))
}

fn options(statistics: Statistics) -> ImageOptions {
    ImageOptions { statistics, coarsest_bytes: 4 << 10, ..ImageOptions::default() }
}

/// The record of a run of channels.
fn displayed(display: &DisplayRanges, image: &Arc<Image>, run: u64) -> (Vec<u8>, bool) {
    let measure = |run| {
        let datasets = display.datasets();
        let (record, is_lasting) =
            datasets.measure(image, run, &Arc::default(), &aside(image)).expect("readable");
        let ranges = datasets.ranges(&record, run).expect("a record");
        Measured { ranges, is_lasting }
    };
    let sources: Vec<Measured> = display.sources(image, run).into_iter().map(measure).collect();
    display.record(image, run, &sources)
}

fn paint(image: &Arc<Image>) -> (Vec<u8>, bool) {
    let display = DisplayRanges::new(image);
    let measured = |run| {
        let (record, is_lasting) = displayed(&display, image, run);
        Measured { ranges: display.ranges(&record, run).expect("a record"), is_lasting }
    };
    let last = display.run_of(channels(&image.plan) - 1);
    let ranges: Vec<Measured> = (0..=last).map(measured).collect();
    thumbnail::measure(image, &ranges, &Sketch::default(), &aside(image)).expect("readable")
}

/// All records of an image, runs in any order, and whether all may be kept.
fn records(image: &Arc<Image>, order: impl Fn(u64) -> Vec<u64>) -> (Vec<Vec<u8>>, bool) {
    let (memory, plan) = (aside(image), &image.plan);
    let datasets = Datasets::new(image, image.images.options().statistics);
    let display = DisplayRanges::new(image);
    let mut records = Vec::new();
    let mut all_kept = true;
    let mut take = |(record, keep): (Vec<u8>, bool), most: u64| {
        assert!(record.len() as u64 <= most, "longer than its slot");
        records.push(record);
        all_kept &= keep;
    };
    let runs = datasets.run_of(plan.datasets() - 1) + 1;
    let mut measured: Vec<_> = order(runs)
        .into_iter()
        .map(|run| (run, datasets.measure(image, run, &Arc::default(), &memory).expect("readable")))
        .collect();
    measured.sort_by_key(|(run, _)| *run);
    assert_eq!(measured.len() as u64, runs);
    for (_, found) in measured {
        take(found, datasets.record_bytes());
    }
    for run in 0..=display.run_of(plan.ims.channels.len() as u64 - 1) {
        take(displayed(&display, image, run), display.record_bytes());
    }
    let (width, height) = thumbnail::size(plan);
    let painted = paint(image);
    assert_eq!(painted.0.len() as u64, u64::from(width) * u64::from(height) * 4);
    take(painted, 1 << 18);
    (records, all_kept)
}

fn fine(image: &Arc<Image>, dataset: u64, level: usize) -> Histogram {
    let datasets = Datasets::new(image, image.images.options().statistics);
    let run = datasets.run_of(dataset);
    let (record, _) =
        datasets.measure(image, run, &Arc::default(), &aside(image)).expect("readable");
    let found = datasets.histograms(&record, dataset, level).expect("a record").expect("counted");
    if let Some(fine) = found.histogram_1024 {
        assert_eq!(fine.bins.iter().sum::<u64>(), found.histogram.bins.iter().sum::<u64>());
        return fine;
    }
    found.histogram
}

fn number(level: usize, [t, c, z, y, x]: [u64; 5]) -> u64 {
    mixed([z, y, x]).rotate_left(7) % (50 + 40 * t + 20 * c) + (x + y) / 4 + level as u64
}

/// Two bytes for each voxel.
fn wide(level: usize, at: [u64; 5]) -> Vec<u8> {
    u16::try_from(number(level, at) * 9).expect("below 2^16").to_le_bytes().to_vec()
}

fn byte(level: usize, at: [u64; 5]) -> Vec<u8> {
    vec![u8::try_from(number(level, at) % 256).expect("a byte")]
}

/// With a smallest value that is 0 and -0.
fn float(level: usize, at: [u64; 5]) -> Vec<u8> {
    let number = number(level, at);
    let zero = if at[4].is_multiple_of(2) { 0.0 } else { -0.0 };
    let value = u16::try_from(number).map_or(zero, |n| if n < 9 { zero } else { f32::from(n) });
    value.to_le_bytes().to_vec()
}

/// Two levels, small enough to be read whole.
fn small(data_type: &str, voxel: fn(usize, [u64; 5]) -> Vec<u8>) -> Scene {
    let sizes = [[6, 70, 90], [6, 35, 45]];
    let options = options(Statistics::Fast);
    Scene::series(options, data_type, [3, 2], (&sizes, [3, 32, 64]), |_, _| true, voxel)
}

const LONG_SIZES: [[u64; 3]; 2] = [[4, 256, 256], [4, 128, 128]];

/// More than 16 Mi voxels; of level 0, only time point 0 is there.
fn long(statistics: Statistics) -> Scene {
    let chunks = (&LONG_SIZES[..], [4, 128, 128]);
    Scene::series(
        options(statistics),
        "|u1",
        [50, 2],
        chunks,
        |level, at| level == 1 || at[0] == 0,
        byte,
    )
}

/// More than 16 Mi voxels of one level, too many to be counted whole; three time points are there.
fn large() -> Scene {
    let is_there = |_, [t, ..]: [u64; 5]| [0, 6, 11].contains(&t);
    let chunks = (&[[8, 400, 500]][..], [4, 100, 100]);
    Scene::series(options(Statistics::Fast), "<u2", [12, 1], chunks, is_there, wide)
}

#[test]
fn true_counts_are_those_of_whole_arrays() {
    let scene = small("<u2", wide);
    let image = scene.image();
    for (level, size) in [(0, [6, 70, 90]), (1, [6, 35, 45])] {
        for dataset in 0..6 {
            let found = fine(&image, dataset, level);
            let [depth, height, width] = size;
            let count = found.bins.len();
            let mut bins = vec![0_u64; count];
            for at in places([depth, height, width]) {
                let value = number(level, [dataset / 2, dataset % 2, at[0], at[1], at[2]]) * 9;
                let bin = usize::try_from(value).expect("small") * count / values(&found);
                bins[bin] += 1;
            }
            assert!(bins == found.bins, "level {level}, dataset {dataset}");
        }
    }
    // A computed level has all of its voxels, too.
    let coarsest = image.plan.coarsest();
    assert!(coarsest > 1);
    let sum: u64 = fine(&image, 3, coarsest).bins.iter().sum();
    assert_eq!(sum, image.plan.levels[coarsest].voxels());
}

/// Values between the first and the last bin.
fn values(histogram: &Histogram) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "16-bit numbers")]
    let values = (histogram.max - histogram.min) as usize + 1;
    values
}

#[test]
fn the_same_store_gives_the_same_records() {
    let scenes: [fn() -> Scene; 4] =
        [|| small("<u2", wide), || small("<f4", float), || long(Statistics::Fast), large];
    for scene in scenes {
        let mut scene = scene();
        let image = scene.image();
        let (first, _) = records(&image, |runs| (0..runs).collect());
        let (again, _) = records(&image, |runs| (0..runs).rev().collect());
        assert!(first == again, "in another order");
        for threads in [1, 7] {
            scene = scene.with_threads(threads);
            let (others, _) = records(&scene.image(), |runs| (0..runs).collect());
            assert!(first == others, "with {threads} threads");
        }
    }
}

#[test]
fn the_smallest_value_is_never_minus_zero() {
    let scene = small("<f4", float);
    let min = fine(&scene.image(), 0, 0).min;
    assert_eq!(min.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn scaled_counts_sum_to_the_voxels_of_each_level() {
    for (scene, datasets) in [(long(Statistics::Fast), [0, 51, 99]), (large(), [0, 6, 11])] {
        let image = scene.image();
        for dataset in datasets {
            let mut first = None;
            for (level, planned) in image.plan.levels.iter().enumerate() {
                let found = fine(&image, dataset, level);
                assert_eq!(found.bins.iter().sum::<u64>(), planned.voxels());
                let range = (found.min, found.max);
                assert_eq!(*first.get_or_insert(range), range);
            }
        }
        assert!(fine(&image, datasets[0], 0) != fine(&image, datasets[2], 0), "each its own");
    }
}

/// A level within the budget is counted whole, for each time point by itself.
#[test]
fn each_time_point_is_counted_by_itself() {
    let scene = long(Statistics::Fast);
    let image = scene.image();
    for dataset in [0, 37, 99] {
        let mut bins = vec![0; 256];
        for [z, y, x] in places(LONG_SIZES[1]) {
            bins[usize::from(byte(1, [dataset / 2, dataset % 2, z, y, x])[0])] += 1;
        }
        assert!(fine(&image, dataset, 1).bins == bins, "dataset {dataset}");
    }
}

#[test]
fn a_run_reads_its_datasets_and_no_others() {
    let scene = long(Statistics::Fast);
    let image = scene.image();
    let datasets = Datasets::new(&image, Statistics::Fast);
    let run = datasets.datasets(datasets.run_of(50));
    assert!((2..=16).contains(&(run.end - run.start)), "{run:?}");
    let before = image.engine().stats().decoded_bytes;
    datasets
        .measure(&image, datasets.run_of(50), &Arc::default(), &aside(&image))
        .expect("readable");
    let decoded = image.engine().stats().decoded_bytes - before;
    assert_eq!(decoded, (run.end - run.start) * (4 * 128 * 128));
}

#[test]
fn exact_and_fast_files_differ_in_histograms_alone() {
    let mut found = Vec::new();
    for statistics in [Statistics::Fast, Statistics::Exact] {
        let scene = long(statistics);
        let image = scene.image();
        let display = DisplayRanges::new(&image);
        let (ranges, _) = displayed(&display, &image, 0);
        let (rgba, _) = paint(&image);
        found.push((ranges, rgba, thumbnail::size(&image.plan)));
        // Level 0 is absent: exactly, all of its voxels are 0.
        let zeros = fine(&image, 2, 0).bins[0];
        assert_eq!(zeros == 4 * 256 * 256, statistics == Statistics::Exact, "{zeros}");
    }
    assert!(found[0] == found[1]);
}

#[test]
fn ranges_are_those_of_the_first_the_middle_and_the_last_time_point() {
    let scene = long(Statistics::Fast);
    let image = scene.image();
    let display = DisplayRanges::new(&image);
    for channel in 0..2 {
        let run = display.run_of(channel);
        let (record, _) = displayed(&display, &image, run);
        let mut expected = (f64::INFINITY, f64::NEG_INFINITY);
        for t in [0, 25, 49] {
            let mut values: Vec<u8> = places(LONG_SIZES[1])
                .flat_map(|[z, y, x]| byte(1, [t, channel, z, y, x]))
                .collect();
            values.sort_unstable();
            let tail = values.len() / 1000;
            let (low, high) = (values[tail], values[values.len() - 1 - tail]);
            expected = (expected.0.min(low.into()), expected.1.max(high.into()));
        }
        assert_eq!(display.range(&record, channel), Ok(expected));
        assert!(display.range(&record, 2).is_err());
        assert!(display.range(&record[1..], channel).is_err());
        assert!(display.range(&[0xff; 32], channel).is_err(), "not a number");
    }
}

#[test]
fn no_voxel_is_read_for_ranges_that_are_stated() {
    let scene = small("<u2", wide);
    let attributes = fs::read_to_string(scene.path(".zattrs")).expect("a file");
    let windows = r#"{"omero": {"channels": [{"window": {"start": 3, "end": 90}, "color": "FF0000"},
        {"window": {"start": 5, "end": 70}, "color": "00FF00"}]}, "#;
    fs::write(scene.path(".zattrs"), attributes.replacen('{', windows, 1)).expect("a file");
    let image = scene.image();
    let display = DisplayRanges::new(&image);
    let (record, keep) = displayed(&display, &image, 0);
    assert_eq!([0, 1].map(|c| display.range(&record, c)), [Ok((3.0, 90.0)), Ok((5.0, 70.0))]);
    assert!(keep);
    assert_eq!(image.engine().stats().decoded_bytes, 0);
}

#[test]
fn what_may_change_is_not_kept() {
    let scene = small("<u2", wide);
    // All chunks are there, and may be kept once their stamps are settled.
    let image = scene.image();
    assert!((0..1000).any(|_| records(&image, |runs| (0..runs).collect()).1), "never kept");
    fs::remove_file(scene.path("0/0.0.0.0.0")).expect("a file");
    let (absent, keep) = records(&scene.image(), |runs| (0..runs).collect());
    assert!(!keep, "a chunk may come");
    let (followed, keep) = records(&scene.followed_image(), |runs| (0..runs).collect());
    assert!(keep, "the chunk is absent for good");
    assert!(absent == followed);
    for chunk in ["0.0.0.0.0", "0.0.1.0.0", "0.1.0.0.0", "0.1.1.0.0"] {
        fs::write(scene.path("0").join(chunk), [1, 2, 3]).expect("a file");
    }
    let (damaged, keep) = records(&scene.image(), |runs| (0..runs).collect());
    assert!(!keep, "a chunk may be mended");
    let image = scene.image();
    let whole: u64 = image.plan.levels[0].voxels();
    let counted: u64 = fine(&image, 0, 0).bins.iter().sum();
    assert!((1..whole).contains(&counted), "all but the damaged part: {counted}");
    let rgba = damaged.last().expect("the thumbnail");
    assert!(rgba.starts_with(&[0, 0, 0, 255].repeat(100)) && shades(rgba) > 20);
}

fn shades(rgba: &[u8]) -> usize {
    assert!(rgba.chunks(4).all(|pixel| pixel[3] == 255), "opaque");
    rgba.chunks(4).collect::<BTreeSet<_>>().len()
}

#[test]
fn there_is_always_a_thumbnail() {
    for scene in [small("|u1", byte), long(Statistics::Fast), large()] {
        let image = scene.image();
        let (rgba, _) = paint(&image);
        assert!(shades(&rgba) > 20);
    }
}

/// A sketch that was drawn for histograms gives the thumbnail, and nothing is read for it.
#[test]
fn a_sketch_gives_the_same_thumbnail() {
    for scene in [small("<u2", wide), small("<f4", float)] {
        let image = scene.followed_image();
        let (display, sketch) = (DisplayRanges::new(&image), Arc::default());
        let datasets = display.datasets();
        let last = datasets.run_of(1);
        for run in (0..=last).rev() {
            assert!(datasets.measure(&image, run, &sketch, &aside(&image)).expect("readable").1);
        }
        let ranges = vec![Measured { ranges: vec![Some((1.0, 900.0)); 2], is_lasting: true }];
        let paint = |sketch: &Sketch| {
            let before = image.engine().stats().decoded_bytes;
            let painted = thumbnail::measure(&image, &ranges, sketch, &aside(&image));
            (painted.expect("readable"), image.engine().stats().decoded_bytes - before)
        };
        let (sketched, decoded) = paint(&sketch);
        assert_eq!(decoded, 0);
        let (painted, decoded) = paint(&sketch);
        assert!(decoded > 0, "a sketch is used once");
        assert!(sketched == painted && painted.1);
    }
}

/// Channels beyond the first 64 change neither the thumbnail nor what it costs.
#[test]
fn a_thumbnail_shows_64_channels() {
    let of_channels = |channels: u64| {
        let voxel = |_, at: [u64; 5]| vec![if at[1] < 64 { byte(0, at)[0] / 4 } else { 255 }];
        let chunks = (&[[1, 40, 50]][..], [1, 40, 50]);
        let options = options(Statistics::Fast);
        let scene = Scene::series(options, "|u1", [1, channels], chunks, |_, _| true, voxel);
        let window = r#""window": {"start": 0, "end": 300}"#;
        let others = format!(r#", {{"color": "FFFFFF", {window}}}"#).repeat(69);
        let first = format!(r#"{{"color": "FFFF00", {window}}}"#);
        let omero = format!(r#"{{"omero": {{"channels": [{first}{others}]}}, "#);
        let attributes = fs::read_to_string(scene.path(".zattrs")).expect("a file");
        fs::write(scene.path(".zattrs"), attributes.replacen('{', &omero, 1)).expect("a file");
        let image = scene.image();
        let (rgba, _) = paint(&image);
        (rgba, image.engine().stats().decoded_bytes)
    };
    assert!(of_channels(70) == of_channels(64));
}

#[test]
fn a_record_of_another_image_is_refused() {
    let scene = small("<u2", wide);
    let image = scene.image();
    let datasets = Datasets::new(&image, Statistics::Fast);
    let (record, _) =
        datasets.measure(&image, 0, &Arc::default(), &aside(&image)).expect("readable");
    assert!(datasets.histograms(&record, 0, image.plan.levels.len()).is_err(), "no such level");
    assert!(datasets.histograms(&record, 6, 0).is_err(), "no such dataset");
    assert!(datasets.histograms(&record[..record.len() - 1], 0, 0).is_err(), "torn");
    assert!(datasets.histograms(&[], 0, 0).is_err());
    // The levels of one that is larger have more voxels than this one has.
    let larger = Scene::series(
        options(Statistics::Fast),
        "<u2",
        [3, 2],
        (&[[6, 140, 180], [6, 70, 90]], [3, 32, 64]),
        |_, _| true,
        wide,
    );
    let larger = larger.image();
    let theirs = Datasets::new(&larger, Statistics::Fast);
    let (record, _) =
        theirs.measure(&larger, 0, &Arc::default(), &aside(&larger)).expect("readable");
    assert!(datasets.histograms(&record, 0, 0).is_err());
}
