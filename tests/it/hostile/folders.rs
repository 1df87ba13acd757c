//! Folders that are too deep, too full, circular, or oddly named.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use super::source::{PLANES, Source};

/// The start of a line that only a name could have written.
pub(crate) const FORGED: &str = "forged line";

/// Folders within folders.
const DEPTH: usize = 1_990;

/// Files beside a store; the issue says a million.
fn many() -> usize {
    let asked = std::env::var("ZARRIMS_HOSTILE_FILES").ok();
    asked.map_or(200_000, |text| text.parse().expect("a number of files"))
}

/// Names that stores have, without their ending, and what the virtual files are called.
fn odd_stores() -> Vec<(Vec<u8>, Vec<u8>)> {
    let odd = [
        (format!("new\n{FORGED}").into_bytes(), format!("new_{FORGED}.ims").into_bytes()),
        (b"not \xff utf8".to_vec(), b"not \xff utf8.ims".to_vec()),
        (b"\x1b[31mred".to_vec(), b"_[31mred.ims".to_vec()),
        (b"aux".to_vec(), b"aux_.ims".to_vec()),
    ];
    let mut odd = odd.to_vec();
    // 255 bytes in the source.
    odd.push((vec![b'l'; 250], [&[b'l'; 250][..], b".ims"].concat()));
    odd
}

/// Names of virtual files whose stores have odd ones.
pub(crate) fn odd_names() -> Vec<Vec<u8>> {
    odd_stores().into_iter().map(|(_, shown)| shown).collect()
}

/// Writes the folders; the names that must be found however deep they are.
pub(crate) fn write(source: &Source) -> Vec<Vec<u8>> {
    for (stem, _) in odd_stores() {
        let store = source.path().join(OsStr::from_bytes(&[&stem[..], b".zarr"].concat()));
        PLANES.write(&store);
    }
    // Without an ending there is no room for one.
    PLANES.write(&source.at(&"m".repeat(255)));
    fs::create_dir(source.at("many")).expect("a folder");
    for number in 0..many() {
        File::create(source.at("many").join(number.to_string())).expect("a file");
    }
    PLANES.write(&source.at("many/good.zarr"));

    let mut deep = source.at("deep");
    deep.extend(std::iter::repeat_n("d", DEPTH - 1));
    fs::create_dir_all(&deep).expect("folders");

    let circles = source.at("circles");
    fs::create_dir_all(circles.join("inside")).expect("folders");
    for (target, link) in [
        (".", "self"),
        ("..", "up"),
        ("a", "b"),
        ("b", "a"),
        ("c.zarr", "c.zarr"),
        ("inside/back", "inside/back"),
        ("..", "inside/above"),
        ("../../circles", "inside/round"),
    ] {
        symlink(target, circles.join(link)).expect("a link");
    }
    let deepest = deep.strip_prefix(source.path()).expect("below");
    vec![b"circles".to_vec(), deepest.as_os_str().as_bytes().to_vec()]
}
