//! How many requests there are, how many at a time, and for how many bytes.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::ims::Ims;
use crate::common::mount::can_mount;
use crate::common::server::Kind;
use crate::common::store::{Codec, DTYPES, Format, Step, StoreBuilder};
use crate::source::zips::{Members, zipped};

use super::rig::{Remote, file_names};

/// As far away as a cloud on the same continent.
const LATENCY: Duration = Duration::from_millis(50);

/// An image with units of 128 KiB and three coarser levels.
fn image(format: Format, shard: Option<Vec<u64>>) -> StoreBuilder {
    StoreBuilder {
        unit: vec![8, 128, 128],
        format,
        shard,
        codec: Codec::None,
        steps: vec![vec![Step::FloorHalf; 3]; 3],
        ..StoreBuilder::new(DTYPES[1], "zyx", &[64, 512, 512])
    }
}

#[test]
fn the_first_coarse_slice_comes_soon_and_a_reader_keeps_requests_in_flight() {
    if !can_mount() {
        return;
    }
    for (kind, format, shard) in [
        (Kind::S3, Format::V2('/'), None),
        (Kind::S3, Format::V3, Some(vec![2, 4, 4])),
        (Kind::Web, Format::V3, None),
    ] {
        let store = image(format, shard.clone());
        let remote = Remote::new(kind, |folder| store.write(&folder.join("x.zarr")));
        remote.server.delay(LATENCY);
        let url = remote.server.url();
        let source = match kind {
            Kind::S3 => "s3://bucket".to_owned(),
            Kind::Web => format!("{url}/x.zarr"),
        };
        let mount = remote.mount(&source, &[]);
        remote.server.take_asked();
        let began = Instant::now();
        let path = mount.path().join("x.ims");
        let ims = Ims::open(&path).expect("an image");
        let coarse = ims.pixels(store.steps.len(), 0, 0).expect("readable");
        let (first, asked) = (began.elapsed(), remote.server.take_asked());
        assert_eq!(coarse.len(), 8 * 64 * 64);
        let (is_sharded, requests) = (shard.is_some(), asked.len());
        eprintln!(
            "{kind:?}, sharded {is_sharded}: first coarse slice after {first:?}, {requests} requests"
        );

        let bytes_of_store = bytes_below(&remote.folder.path().join("x.zarr"));
        let mut file = fs::File::open(&path).expect("a file");
        let began = Instant::now();
        let mut buffer = vec![0; 1 << 20];
        while file.read(&mut buffer).expect("readable") > 0 {}
        let (all, in_flight) = (began.elapsed(), remote.server.most_in_flight());
        let (body, requests) = (remote.server.body_bytes(), remote.server.take_asked().len());
        eprintln!(
            "{kind:?}, sharded {is_sharded}: all after {all:?}, {requests} requests, {in_flight} in flight, {body} of {bytes_of_store} bytes"
        );
        assert!(in_flight >= 8, "{in_flight} in flight");
        assert!(in_flight <= 40, "{in_flight} in flight");
        assert!(body * 100 <= bytes_of_store * 105, "{body} of {bytes_of_store}");
    }
}

fn bytes_below(folder: &std::path::Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            let entry = entry.expect("a name");
            let file = entry.metadata().expect("there");
            if file.is_dir() { bytes_below(&entry.path()) } else { file.len() }
        })
        .sum()
}

#[test]
fn ten_thousand_objects_are_listed_without_a_request_each() {
    if !can_mount() {
        return;
    }
    let store =
        StoreBuilder { unit: vec![1, 8, 8], ..StoreBuilder::new(DTYPES[0], "zyx", &[100, 80, 80]) };
    let remote = Remote::new(Kind::S3, |folder| store.write(&folder.join("many.zarr")));
    let mount = remote.mount("s3://bucket", &[]);
    remote.server.take_asked();
    let _file = fs::File::open(mount.path().join("many.ims")).expect("opens");
    let asked = remote.server.take_asked();
    let lists = asked.iter().filter(|asked| asked.method == "LIST").count();
    eprintln!("10 000 objects: {} requests, {lists} of them listings", asked.len());
    assert!(lists >= 10 && asked.len() < 60, "{} requests: {asked:?}", asked.len());
}

#[test]
fn a_chunk_in_a_zip_file_costs_one_request_and_no_byte_twice() {
    if !can_mount() {
        return;
    }
    let store = image(Format::V2('/'), None);
    let mut members = 0;
    let remote = Remote::new(Kind::S3, |folder| {
        let unpacked = TempDir::with_prefix("zarrims-unpacked-").expect("a temporary folder");
        store.write(unpacked.path());
        members = file_names(unpacked.path()).len();
        let packed = zipped(unpacked.path(), "", Members::Stored);
        fs::write(folder.join("x.zarr.zip"), packed).expect("a file");
    });
    let mount = remote.mount("s3://bucket", &[]);
    let mut file = fs::File::open(mount.path().join("x.ims")).expect("a file");
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer).expect("readable") > 0 {}
    let (body, size) = (remote.server.body_bytes(), bytes_below(remote.folder.path()));
    let asked = remote.server.take_asked();
    let gets = asked.iter().filter(|asked| asked.method == "GET").count();
    eprintln!("{} requests for {members} members, {body} of {size} bytes", asked.len());
    assert!(gets <= members + 20, "{gets} for {members} members: {asked:?}");
    assert!(body <= size / 10 * 11 + 1_000_000, "{body} of {size} bytes");
}

#[test]
fn a_replaced_object_is_noticed_at_the_next_opening() {
    if !can_mount() {
        return;
    }
    let store =
        StoreBuilder { unit: vec![5, 8, 8], ..StoreBuilder::new(DTYPES[1], "zyx", &[10, 16, 16]) };
    let remote = Remote::new(Kind::S3, |folder| store.write(&folder.join("x.zarr")));
    let mount = remote.mount("s3://bucket", &[]);
    let pixels = || Ims::open(&mount.path().join("x.ims")).and_then(|ims| ims.pixels(0, 0, 0));
    let before = pixels().expect("readable");
    let chunk = remote.folder.path().join("x.zarr/0/c/1/1/1");
    fs::write(chunk, [7; 5 * 8 * 8]).expect("a chunk");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let read = pixels();
        if read.as_ref().is_ok_and(|pixels| pixels.ends_with(&[7; 8])) {
            return;
        }
        assert!(read.is_err() || read.is_ok_and(|pixels| pixels == before), "a mix of two states");
        assert!(Instant::now() < until, "a replaced object is not noticed");
    }
}
