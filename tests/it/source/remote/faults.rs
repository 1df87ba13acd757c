//! Faults while a mount is in use: the bytes concerned fail or come late, no others are wrong, and all is well
//! again without a new mount.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::server::{Asked, Fault, Kind};
use crate::common::store::{Codec, DTYPES, Format, StoreBuilder};
use crate::common::tiny::Tiny;

use super::rig::{Remote, file_names};

const IMAGE: Tiny = Tiny { shape: [4, 32, 32], chunk: [1, 16, 16], seed: 3 };

/// Chunks at these places are not stored.
const ABSENT: &str = "x.zarr/0/c/1/1/1";

struct World {
    remote: Remote,
    mount: Mount,
}

impl World {
    fn new(kind: Kind, args: &[&str]) -> Self {
        let remote = Remote::new(kind, |folder| {
            IMAGE.write(&folder.join("x.zarr"));
            fs::remove_file(folder.join(ABSENT)).expect("a chunk");
        });
        let source = match kind {
            Kind::S3 => "s3://bucket".to_owned(),
            Kind::Web => format!("{}/x.zarr", remote.server.url()),
        };
        let args = [args, &["--request-timeout", "2s"]].concat();
        let mount = remote.mount(&source, &args);
        Self { remote, mount }
    }

    fn path(&self) -> PathBuf {
        self.mount.path().join("x.ims")
    }

    /// All voxels of the image as they must be.
    fn right() -> Vec<u8> {
        let mut pixels = IMAGE.pixels();
        for y in 16..32 {
            let start = ((32 + y) * 32 + 16) * 2;
            pixels[start..start + 32].fill(0);
        }
        pixels
    }

    /// Reads all voxels; never wrong ones.
    fn read(&self) -> Result<(), String> {
        let read = Ims::open(&self.path()).and_then(|ims| ims.pixels(0, 0, 0));
        let pixels = read.map_err(|error| format!("{error:?}"))?;
        assert!(pixels == Self::right(), "wrong voxels");
        Ok(())
    }

    /// Reads until all is well again.
    fn recovers(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.read() {
            assert!(Instant::now() < until, "not well again: {error}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Log lines of warnings and errors.
    fn complaints(&self) -> Vec<String> {
        let is_one = |line: &String| line.contains("WARN") || line.contains("ERROR");
        self.mount.stderr().into_iter().filter(is_one).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_chunk(asked: &Asked) -> bool {
    asked.key.contains("/c/") || asked.key.starts_with("0/c/")
}

#[test]
fn a_storm_of_503_costs_reads_and_one_line_and_passes() {
    if !can_mount() {
        return;
    }
    let world = World::new(Kind::S3, &[]);
    world.remote.server.judge(|asked| is_chunk(asked).then_some(Fault::Status(503, "SlowDown")));
    let began = Instant::now();
    let error = world.read().expect_err("nothing can be read");
    eprintln!("a storm: {error} after {:?}", began.elapsed());
    world.remote.server.mend();
    world.recovers();
    world.mount.wait_for_lines(1, |line| line.contains("does not answer"));
    let complaints = world.complaints();
    let told = complaints.iter().filter(|line| line.contains("does not answer")).count();
    assert_eq!((told, complaints.len()), (1, 1), "{complaints:#?}");
}

#[test]
fn answers_that_fail_now_and_then_are_tried_again() {
    if !can_mount() {
        return;
    }
    for fault in [
        Fault::Status(503, "SlowDown"),
        Fault::Status(500, "InternalError"),
        Fault::Cut(100),
        Fault::Stall(100),
    ] {
        let world = World::new(Kind::S3, &["--request-timeout", "6s"]);
        // The first request for each chunk.
        let (seen, of_fault) = (Mutex::new(BTreeSet::new()), fault.clone());
        world.remote.server.judge(move |request| {
            let is_hit = is_chunk(request) && lock(&seen).insert(request.key.clone());
            is_hit.then(|| of_fault.clone())
        });
        assert_eq!(world.read(), Ok(()), "{fault:?}");
        assert_eq!(world.complaints(), Vec::<String>::new(), "{fault:?}");
    }
}

#[test]
fn what_is_no_part_of_the_object_becomes_no_voxel() {
    if !can_mount() {
        return;
    }
    for kind in [Kind::S3, Kind::Web] {
        for fault in [Fault::Page, Fault::Cut(511), Fault::Status(418, "Teapot")] {
            let world = World::new(kind, &[]);
            let of_fault = fault.clone();
            world.remote.server.judge(move |asked| {
                let is_hit = is_chunk(asked) && asked.key.ends_with("c/0/0/1");
                is_hit.then(|| of_fault.clone())
            });
            assert!(world.read().is_err(), "{kind:?} {fault:?}");
            // The other chunks are sound.
            let bytes = fs::read(world.path());
            assert!(bytes.is_err(), "{kind:?} {fault:?}");
            world.remote.server.mend();
            world.recovers();
        }
    }
}

#[test]
fn a_server_that_sends_other_parts_gives_errors() {
    if !can_mount() {
        return;
    }
    let store = StoreBuilder {
        unit: vec![2, 8, 8],
        shard: Some(vec![2, 2, 2]),
        format: Format::V3,
        codec: Codec::None,
        ..StoreBuilder::new(DTYPES[1], "zyx", &[4, 16, 16])
    };
    for kind in [Kind::S3, Kind::Web] {
        for fault in [Fault::WholeFile, Fault::OtherPart] {
            let remote = Remote::new(kind, |folder| store.write(&folder.join("x.zarr")));
            let source = match kind {
                Kind::S3 => "s3://bucket".to_owned(),
                Kind::Web => format!("{}/x.zarr", remote.server.url()),
            };
            let mount = remote.mount(&source, &["--request-timeout", "2s"]);
            let read =
                || Ims::open(&mount.path().join("x.ims")).and_then(|ims| ims.pixels(0, 0, 0));
            let of_fault = fault.clone();
            remote.server.judge(move |asked| asked.range.is_some().then(|| of_fault.clone()));
            assert!(read().is_err(), "{kind:?} {fault:?}");
            remote.server.mend();
            let until = Instant::now() + Duration::from_secs(20);
            while read().is_err() {
                assert!(Instant::now() < until, "{kind:?} {fault:?}: not well again");
            }
        }
    }
}

#[test]
fn forbidden_is_absent_only_where_listing_is_refused_and_metadata_can_be_read() {
    if !can_mount() {
        return;
    }
    let denied = || Some(Fault::Status(403, "AccessDenied"));
    // The bucket may be listed: a chunk that is denied is there.
    let world = World::new(Kind::S3, &[]);
    world
        .remote
        .server
        .judge(move |asked| (asked.key == "x.zarr/0/c/0/0/0").then(denied).flatten());
    assert!(world.read().is_err());
    world.remote.server.mend();
    world.recovers();

    // It may not, from the start: a store by its name, and 403 for all that is not there.
    let remote = Remote::new(Kind::S3, |folder| {
        IMAGE.write(&folder.join("x.zarr"));
        fs::remove_file(folder.join(ABSENT)).expect("a chunk");
    });
    let folder = remote.folder.path().to_path_buf();
    remote.server.judge(move |asked| {
        let is_absent = asked.method == "LIST" || !folder.join(&asked.key).is_file();
        is_absent.then(denied).flatten()
    });
    let mount = remote.mount("s3://bucket/x.zarr", &["--request-timeout", "2s"]);
    let world = World { remote, mount };
    assert_eq!(world.read(), Ok(()));
    world.mount.wait_for_lines(1, |line| line.contains("count as absent"));

    // All is denied from now on: that is no empty image.
    let fresh = World::new(Kind::Web, &[]);
    fresh
        .remote
        .server
        .judge(move |asked| (is_chunk(asked) || asked.method == "HEAD").then(denied).flatten());
    assert!(fresh.read().is_err());
    fresh.remote.server.mend();
    fresh.recovers();
}

#[test]
fn expired_credentials_cost_reads_and_one_line_and_the_tree_stays() {
    if !can_mount() {
        return;
    }
    let world = World::new(Kind::S3, &[]);
    assert_eq!(file_names(world.mount.path()), ["x.ims"]);
    world.remote.server.judge(|_| Some(Fault::Status(400, "ExpiredToken")));
    let error = world.read().expect_err("nothing can be read");
    eprintln!("expired: {error}");
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        // Older than what the kernel and the program remember.
        let listed: Vec<_> = fs::read_dir(world.mount.path())
            .map(|names| names.flatten().map(|name| name.file_name()).collect())
            .unwrap_or_default();
        assert_eq!(listed, ["x.ims"], "the tree is not emptied");
    }
    world.remote.server.mend();
    world.recovers();
    let is_complaint = |line: &str| line.contains("WARN") || line.contains("ERROR");
    world.mount.wait_for_lines(1, |line| is_complaint(line) && line.contains("credentials"));
}
