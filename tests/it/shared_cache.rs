//! Several daemons with one shared cache: what one has made the others read, and whatever is wrong with it, or
//! with an object of it, costs time only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::common::ims::Ims;
use crate::common::mount::{Mount, Starter, can_mount};
use crate::common::server::{Fault, Kind, Server};
use crate::common::store::{Codec, DTYPES, Format, StoreBuilder};

/// An image without coarser levels.
fn write_store(folder: &Path) {
    StoreBuilder {
        unit: vec![16, 64, 64],
        format: Format::V3,
        codec: Codec::Zstd,
        ..StoreBuilder::new(DTYPES[1], "zyx", &[40, 300, 320])
    }
    .write(&folder.join("x.zarr"));
}

/// A source with the image, and a folder for the cache.
struct Scene {
    source: TempDir,
    shared: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            source: TempDir::with_prefix("zarrims-test-").expect("a folder"),
            shared: TempDir::with_prefix("zarrims-test-").expect("a folder"),
        };
        write_store(scene.source.path());
        scene
    }

    fn starter(&self) -> Starter {
        Mount::of(self.source.path()).args(["--shared-cache"]).args([self.shared.path()])
    }

    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_below(self.shared.path(), &mut found);
        found
    }

    /// The bytes of the whole file, without a shared cache.
    fn alone(&self) -> Vec<u8> {
        bytes(&Mount::of(self.source.path()).start())
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

fn bytes(mount: &Mount) -> Vec<u8> {
    fs::read(mount.path().join("x.ims")).expect("readable")
}

/// Reads all levels but the finest, as a viewer does that shows the whole image.
fn read_coarse(mount: &Mount) {
    let ims = Ims::open(&mount.path().join("x.ims")).expect("it opens");
    let levels = ims.levels().expect("levels");
    assert!(levels >= 2, "{levels} levels");
    for level in 1..levels {
        ims.pixels(level, 0, 0).expect("readable");
    }
}

/// Stops a daemon, and returns the counters of its last line.
fn counters(mount: Mount) -> BTreeMap<String, u64> {
    let (status, lines) = mount.stop();
    assert!(status.success(), "{lines:#?}");
    let last = lines.iter().rev().find(|line| line.contains("unmounted")).expect("a last line");
    let pairs = last.split_whitespace().filter_map(|word| word.split_once('='));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[test]
fn a_second_daemon_reads_what_the_first_has_computed() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let first = scene.starter().start();
    read_coarse(&first);
    let first = counters(first);
    assert!(first["shared_puts"] > 0 && first["passed"] > 0, "{first:?}");
    assert_eq!((first["shared_hits"], first["shared_failed"], first["shared_dropped"]), (0, 0, 0));
    assert_eq!(scene.objects().len() as u64, first["shared_puts"]);

    let second = scene.starter().start();
    read_coarse(&second);
    let second = counters(second);
    // The kernel may have read on into the finest level.
    assert_eq!(second["passed"], 0, "no chunk is decoded for a coarse level: {second:?}");
    assert!(second["shared_hits"] > 0 && second["shared_misses"] == 0, "{second:?}");
    assert_eq!(second["shared_puts"], 0);

    // The source lies at another path: on another machine, for example.
    let elsewhere = TempDir::with_prefix("zarrims-test-").expect("a folder");
    let moved = elsewhere.path().join("data");
    fs::rename(scene.source.path(), &moved).expect("on one file system");
    let third = Mount::of(&moved).args(["--shared-cache"]).args([scene.shared.path()]).start();
    read_coarse(&third);
    let third = counters(third);
    fs::rename(&moved, scene.source.path()).expect("on one file system");
    assert_eq!(third["passed"], 0, "{third:?}");
}

#[test]
fn all_bricks_are_shared_on_request() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let alone = scene.alone();
    let all = || scene.starter().args(["--shared-cache-keeps", "all"]).start();
    let first = all();
    assert!(bytes(&first) == alone);
    let first = counters(first);
    assert_eq!((first["shared_failed"], first["shared_damaged"]), (0, 0), "{first:?}");
    // Bricks that waited too long behind others were not put.
    if first["shared_dropped"] > 0 {
        println!("{} of the bricks were not put", first["shared_dropped"]);
    }
    let second = all();
    assert!(bytes(&second) == alone);
    let second = counters(second);
    assert!(second["shared_hits"] > 0, "{second:?}");
    assert!(second["filled"] <= first["shared_dropped"], "{first:?} {second:?}");
}

#[test]
fn a_store_that_has_changed_is_not_shown_as_it_was() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let first = scene.starter().start();
    let before = bytes(&first);
    drop(first);
    // Another chunk takes the place of one: the metadata stays.
    let chunk = |name: &str| scene.source.path().join("x.zarr/0/c/0/0").join(name);
    let chunk =
        |name: &str| if chunk(name).exists() { chunk(name) } else { find_chunk(&scene, name) };
    fs::copy(chunk("1"), chunk("0")).expect("a chunk");
    let alone = scene.alone();
    assert!(alone != before, "the change shows");
    let second = scene.starter().start();
    assert!(bytes(&second) == alone);
    assert_eq!(counters(second)["shared_hits"], 0);
}

/// The first chunk file of a name.
fn find_chunk(scene: &Scene, name: &str) -> PathBuf {
    let mut files = Vec::new();
    files_below(scene.source.path(), &mut files);
    files.sort();
    let is_it = |file: &&PathBuf| file.file_name().is_some_and(|own| own == name);
    files.iter().find(is_it).expect("a chunk of this name").clone()
}

#[test]
fn objects_that_are_damaged_or_exchanged_are_misses() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let alone = scene.alone();
    assert!(bytes(&scene.starter().start()) == alone);
    let objects = scene.objects();
    assert!(objects.len() > 4, "{objects:?}");
    let contents: Vec<Vec<u8>> =
        objects.iter().map(|object| fs::read(object).expect("readable")).collect();
    for (at, object) in objects.iter().enumerate() {
        let mut content = contents[at].clone();
        let middle = content.len() / 2;
        match at % 4 {
            0 => content[middle] ^= 0x10,
            1 => content.truncate(middle),
            // A whole object, of another brick.
            2 => content.clone_from(&contents[(at + 1) % contents.len()]),
            _ => content.extend([0; 100]),
        }
        fs::write(object, content).expect("written");
    }
    let mount = scene.starter().start();
    assert!(bytes(&mount) == alone);
    let counters = counters(mount);
    assert_eq!(counters["shared_hits"], 0, "{counters:?}");
    assert!(counters["shared_damaged"] > 0, "{counters:?}");
    // They were put in their places again.
    let mount = scene.starter().start();
    assert!(bytes(&mount) == alone);
    assert!(self::counters(mount)["shared_hits"] > 0);
}

#[test]
fn a_bucket_may_fail_and_come_back() {
    if !can_mount() {
        return;
    }
    let scene = Scene::new();
    let alone = scene.alone();
    let server = Server::start(Kind::S3, scene.shared.path());
    let in_bucket = || {
        Mount::of(scene.source.path())
            .wrapper(&["env", "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=geheim"])
            .args(["--shared-cache", "s3://bucket/of/bricks", "--shared-cache-region", "r"])
            .args(["--shared-cache-endpoint", &server.url()])
    };
    // Away from the start on.
    server.judge(|_| Some(Fault::Status(403, "AccessDenied")));
    let mount = in_bucket().start();
    assert!(bytes(&mount) == alone);
    mount.wait_for_line(Duration::from_secs(10), |line| {
        line.contains("the shared cache fails") && line.contains("s3://bucket/of/bricks")
    });
    let lines = mount.stderr();
    assert_eq!(lines.iter().filter(|line| line.contains("shared cache fails")).count(), 1);
    assert!(!lines.iter().any(|line| line.contains("geheim")), "{lines:#?}");
    let away = counters(mount);
    assert!(away["shared_failed"] > 0 && away["shared_puts"] == 0, "{away:?}");

    server.mend();
    let mount = in_bucket().start();
    read_coarse(&mount);
    assert!(counters(mount)["shared_puts"] > 0);
    let mount = in_bucket().start();
    read_coarse(&mount);
    let found = counters(mount);
    assert_eq!(found["passed"], 0, "{found:?}");
    // The middle of an answer is missing: the brick is made here.
    server.judge(|asked| (asked.method == "GET").then_some(Fault::Cut(20)));
    let mount = in_bucket().start();
    assert!(bytes(&mount) == alone);
    assert_eq!(counters(mount)["shared_hits"], 0);
}

#[test]
fn mistakes_in_its_place_end_the_start() {
    let scene = Scene::new();
    for (place, status, word) in [
        ("/no/such/folder", 1, "no such file"),
        ("https://host/x", 2, "web server"),
        ("s3://key:geheim@bucket", 2, "environment"),
        ("s3://", 2, "bucket"),
    ] {
        let refused = Mount::of(scene.source.path()).args(["--shared-cache", place]).try_start();
        let refused = refused.expect_err("a mistake");
        let lines = refused.stderr.join("\n");
        assert_eq!(refused.status.code(), Some(status), "{lines}");
        assert!(lines.to_lowercase().contains(word), "{place}: {lines}");
        assert!(lines.contains("shared-cache") && !lines.contains("geheim"), "{lines}");
    }
}
