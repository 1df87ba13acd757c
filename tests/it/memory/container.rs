//! A container with 512 MiB, with nothing configured: the daemon and its readers share a control group.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use zarrims::image::ImageOptions;

use super::write_store;
use crate::common::corpus::Corpus;
use crate::common::group::Group;
use crate::common::library::Library;
use crate::common::mount::{Mount, can_mount};
use crate::common::picks::Picks;
use crate::common::skipped;
use crate::common::tiny::{Tiny, write_json};

const GROUP_BYTES: u64 = 512 << 20;

/// More than anything here takes on a busy machine.
const LIFE: Duration = Duration::from_mins(15);

/// More than a line takes on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// Readers that read a part of the file each.
const READERS: u64 = 8;

/// Pieces that are compared, and their length.
const PIECES: usize = 100;
const PIECE: usize = 1 << 20;

/// A daemon in the group, whose budget follows it.
fn start(source: &Path, group: &Group) -> Mount {
    let wrapper = group.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let mount = Mount::of(source).wrapper(&wrapper).life(LIFE).start();
    mount.wait_for_line(SOON, |line| line.contains("memory_bytes=128.0 MiB"));
    mount
}

/// Ends the daemon, which must have lived until now.
#[track_caller]
fn end(mount: Mount, group: &Group) {
    println!("{} KiB resident at the peak", mount.peak_memory_kib());
    assert!(mount.is_running());
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
    assert_eq!(group.kills(), 0, "killed for want of memory");
}

/// Issue: "in a cgroup of 512 MiB with two cores: ... an 8 GiB file [is] read with no OOM kill"; once from the
/// start to the end, and once by many readers.
#[test]
fn a_container_of_512_mib_is_enough_for_a_large_file() {
    if !can_mount() {
        return;
    }
    let Some(group) = Group::make(GROUP_BYTES) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    write_store(&source.join("large.zarr"));
    let mount = start(&source, &group);
    let path = mount.path().join("large.ims");
    let size = fs::metadata(&path).expect("listed").len();
    let read = |blocks: [u64; 2]| {
        let mut dd = group.command("dd");
        dd.arg(format!("if={}", path.display())).args(["of=/dev/null", "bs=1M", "status=none"]);
        let [skip, count] = blocks;
        dd.arg(format!("skip={skip}")).arg(format!("count={count}")).spawn().expect("dd starts")
    };
    let all = size.div_ceil(1 << 20);
    assert!(read([0, all]).wait().expect("ours").success(), "in sequence");
    let part = all.div_ceil(READERS);
    let readers: Vec<_> = (0..READERS).map(|number| read([number * part, part])).collect();
    for mut reader in readers {
        assert!(reader.wait().expect("ours").success(), "side by side");
    }
    let library = Library::of(&source, ImageOptions::default());
    let (expected, file) = (library.file("large.zarr"), File::open(&path).expect("opens"));
    assert_eq!(expected.size(), size);
    let mut picks = Picks::of_test("container");
    let mut got = vec![0; PIECE];
    for _ in 0..PIECES {
        let at = picks.below(size - PIECE as u64);
        file.read_exact_at(&mut got, at).expect("readable");
        assert!(got == expected.read_blocking(at, PIECE).expect("readable"), "from {at} on");
    }
    drop(file);
    end(mount, &group);
}

/// A chunk that takes more memory than there is costs its readers an error, and no one else anything.
#[test]
fn a_chunk_that_the_container_cannot_hold_is_an_error_and_the_daemon_lives() {
    /// Shape (z, y, x) of one chunk of 300 MiB: it fits, and a brick beside it does not.
    const LARGE: [u64; 3] = [75, 1024, 2048];
    if !can_mount() {
        return;
    }
    let Some(group) = Group::make(GROUP_BYTES) else { return };
    let source = tempfile::tempdir().expect("a folder");
    Tiny::default().write(&source.path().join("small.zarr"));
    let array = source.path().join("large.zarr");
    let document = json!({
        "zarr_format": 3, "node_type": "array", "shape": LARGE, "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": LARGE}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": 1, "checksum": false}}],
        "fill_value": 0, "attributes": {}, "dimension_names": ["z", "y", "x"]});
    write_json(&array.join("zarr.json"), &document);
    let bytes = vec![7; usize::try_from(LARGE.iter().product::<u64>() * 2).expect("64 bits")];
    fs::write(array.join("c.0.0.0"), zstd::encode_all(&bytes[..], 1).expect("encodes"))
        .expect("a chunk");
    let mount = start(source.path(), &group);
    let mut cat = group.command("cat");
    cat.arg(mount.path().join("large.ims")).stdout(Stdio::null());
    let output = cat.output().expect("cat starts");
    assert!(!output.status.success(), "read in {GROUP_BYTES} bytes");
    mount.wait_for_line(SOON, |line| line.contains("no memory for "));
    let small = fs::read(mount.path().join("small.ims")).expect("readable");
    let library = Library::of(source.path(), ImageOptions::default());
    assert!(small == library.bytes("small.zarr"));
    end(mount, &group);
}

/// Checksums of all files, by their paths; what cannot be read has none.
fn sums(mut find: Command, mount: &Path) -> BTreeMap<String, String> {
    find.arg(".").args(["-type", "f", "-exec", "sha256sum", "{}", "+"]).current_dir(mount);
    // The status is that of files that cannot be read.
    let Output { stdout, .. } = find.stderr(Stdio::null()).output().expect("find starts");
    let text = String::from_utf8_lossy(&stdout);
    let pair = |line: &str| line.split_once("  ").map(|(sum, path)| (path.into(), sum.into()));
    text.lines().filter_map(pair).collect()
}

/// Issue: "in a cgroup of 512 MiB with two cores: the whole corpus ... [is] read with no OOM kill".
#[test]
fn a_container_of_512_mib_is_enough_for_the_corpus() {
    if !can_mount() {
        return;
    }
    let Some(group) = Group::make(GROUP_BYTES) else { return };
    let corpus = match Corpus::unpack() {
        Ok(corpus) => corpus,
        Err(reason) => return skipped(&reason),
    };
    let mount = start(corpus.root(), &group);
    let found = sums(group.command("find"), mount.path());
    end(mount, &group);
    let mount = Mount::of(corpus.root()).start();
    let expected = sums(Command::new("find"), mount.path());
    assert!(expected.len() > corpus.stores().len() / 2, "{} files", expected.len());
    assert_eq!(found, expected);
}
