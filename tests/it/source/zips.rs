//! Stores in zip files, and one store as SOURCE.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::path::EntryPath;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use serde_json::json;
use tempfile::TempDir;

use super::stores::{IMAGE, Version, shows_image};
use crate::common::ims::Ims;
use crate::common::mount::{Mount, can_mount};
use crate::common::process::plain_user;
use crate::common::rest::rest;
use crate::common::tiny::{Tiny, group_json, write_json};
use crate::common::{eventually, files, list_json};

/// From a change to its effect.
const SOON: Duration = Duration::from_secs(30);

/// How members are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Members {
    Stored,
    Deflated,
}

/// The paths of all files below a folder, in order.
fn paths_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("a name");
        let name = entry.file_name().into_string().expect("UTF-8");
        if entry.path().is_dir() {
            found.extend(
                paths_below(&entry.path()).into_iter().map(|path| format!("{name}/{path}")),
            );
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// A zip file of everything below `folder`, each path behind `prefix`.
pub(super) fn zipped(folder: &Path, prefix: &str, how: Members) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    archive.set_comment(br#"{"ome": {"version": "0.5"}}"#.to_vec());
    for path in paths_below(folder) {
        let bytes = fs::read(folder.join(&path)).expect("a file");
        let name = EntryPath::verbatim(format!("{prefix}{path}").into_bytes());
        let method = CompressionMethod::from(if how == Members::Stored { 0 } else { 8 });
        let file = archive.new_file(name).compression_method(method);
        let (mut entry, config) = file.start().expect("a name");
        let descriptor = if how == Members::Stored {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(&bytes).expect("in memory");
            writer.finish().expect("in memory").1
        } else {
            let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
            writer.write_all(&bytes).expect("in memory");
            let (encoder, descriptor) = writer.finish().expect("in memory");
            encoder.finish().expect("in memory");
            descriptor
        };
        entry.finish(descriptor).expect("in memory");
    }
    archive.finish().expect("in memory")
}

/// The image in a zip file.
fn image(version: Version, prefix: &str, how: Members) -> Vec<u8> {
    let folder = TempDir::with_prefix("zarrims-zipped-").expect("a temporary folder");
    version.write(&folder.path().join("image"));
    zipped(&folder.path().join("image"), prefix, how)
}

fn reasons(rows: &[serde_json::Value]) -> Vec<(String, String)> {
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().map(str::to_owned);
    rows.iter().filter_map(|row| Some((text(row, "skipped")?, text(row, "reason")?))).collect()
}

#[test]
fn every_kind_of_zip_file_shows_its_images() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let put =
        |name: &str, bytes: &[u8]| fs::write(source.path().join(name), bytes).expect("a file");
    put("stored.ozx", &image(Version::V3, "", Members::Stored));
    put("deflated.OME.ZARR.ZIP", &image(Version::V2, "", Members::Deflated));
    put("nested.zarr.zip", &image(Version::V3, "nested.zarr/", Members::Deflated));
    put("no suffix", &image(Version::V2, "deep/down/x.zarr/", Members::Stored));
    let behind = [b"#!/bin/sh\n".as_slice(), &image(Version::V3, "", Members::Stored)].concat();
    put("behind.zip", &behind);
    let two = TempDir::with_prefix("zarrims-two-").expect("a temporary folder");
    Version::V3.write(&two.path().join("a.zarr"));
    Version::V2.write(&two.path().join("b.zarr"));
    put("two.zip", &zipped(two.path(), "", Members::Deflated));
    symlink("stored.ozx", source.path().join("link.ozx")).expect("a link");
    let texts = TempDir::with_prefix("zarrims-texts-").expect("a temporary folder");
    fs::write(texts.path().join("report.txt"), "text").expect("a file");
    put("documents.zip", &zipped(texts.path(), "", Members::Deflated));
    put("none.ozx", &zipped(texts.path(), "", Members::Deflated));
    put("cut.ozx", &image(Version::V3, "", Members::Stored)[..500]);
    // An archive in a store is none.
    Version::V3.write(&source.path().join("store.zarr"));
    put("store.zarr/inner.zip", &image(Version::V3, "", Members::Stored));
    rest(source.path());

    let rows = list_json(source.path(), plain_user());
    let mut names = files(&rows);
    names.sort();
    let wanted = [
        "behind.ims",
        "deflated.ims",
        "link.ims",
        "nested.ims",
        "no suffix.ims",
        "store.ims",
        "stored.ims",
        "two/a.ims",
        "two/b.ims",
    ];
    assert_eq!(names, wanted, "{rows:#?}");
    let mut skipped = reasons(&rows);
    skipped.sort();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(skipped[0].0 == "cut.ozx" && skipped[0].1.contains("no central directory"));
    assert_eq!(skipped[1], ("none.ozx".to_owned(), "no Zarr metadata".to_owned()));

    let cache = TempDir::with_prefix("zarrims-cache-").expect("a temporary folder");
    // The second time, from the memo.
    for _ in 0..2 {
        let mount = Mount::of(source.path()).cache(cache.path()).wrapper(plain_user()).start();
        for name in wanted {
            assert!(shows_image(&mount.path().join(name)), "{name}");
        }
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{stderr:#?}");
    }
}

#[test]
fn a_zip_file_that_is_replaced_or_rewritten_gives_the_new_image_and_never_a_mix() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let folder = TempDir::with_prefix("zarrims-zipped-").expect("a temporary folder");
    let path = source.path().join("a.ozx");
    let of = |seed: u16| {
        let tiny = Tiny { seed, ..IMAGE };
        let store = folder.path().join(format!("{seed}.zarr"));
        tiny.write(&store);
        // The names in the metadata are the same: only voxels differ.
        write_json(&store.join("zarr.json"), &Tiny::image_json("image"));
        (zipped(&store, "", Members::Deflated), tiny.pixels())
    };
    let states = [of(1), of(2), of(3)];
    fs::write(&path, &states[0].0).expect("a file");
    rest(source.path());
    let mount = Mount::of(source.path()).wrapper(plain_user()).start();
    let file = mount.path().join("a.ims");
    let pixels = || Ims::open(&file).and_then(|ims| ims.pixels(0, 0, 0)).ok();
    assert!(pixels().as_ref() == Some(&states[0].1));
    for (number, (bytes, wanted)) in states.iter().enumerate().skip(1) {
        if number == 1 {
            let new = source.path().join("new");
            fs::write(&new, bytes).expect("a file");
            fs::rename(&new, &path).expect("renamed");
        } else {
            fs::write(&path, bytes).expect("written in place");
        }
        eventually("the new image", SOON, || {
            let found = pixels();
            let is_known = found
                .as_ref()
                .is_none_or(|found| states[..=number].iter().any(|(_, state)| state == found));
            assert!(is_known, "voxels of no state");
            found.as_ref() == Some(wanted)
        });
    }
}

#[test]
fn a_damaged_member_is_eio_for_exactly_what_it_holds() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let folder = TempDir::with_prefix("zarrims-zipped-").expect("a temporary folder");
    let image = Tiny { shape: [8, 512, 512], chunk: [8, 256, 256], seed: 6 };
    image.write(&folder.path().join("image"));
    let other = "0/c/0/1/1";
    for how in [Members::Stored, Members::Deflated] {
        let mut bytes = zipped(&folder.path().join("image"), "", how);
        let at = bytes.windows(other.len()).position(|part| part == other.as_bytes());
        bytes[at.expect("a member") + other.len() + 40] ^= 1;
        fs::write(source.path().join(format!("{how:?}.zip")), bytes).expect("a file");
    }
    rest(source.path());
    let mount = Mount::of(source.path()).wrapper(plain_user()).start();
    for how in [Members::Stored, Members::Deflated] {
        let ims = Ims::open(&mount.path().join(format!("{how:?}.ims"))).expect("shown");
        let whole = ims.pixels(0, 0, 0).expect_err("a chunk is damaged");
        assert!(whole.is_eio(), "{how:?}: {whole}");
        for at in [[0, 0, 0], [7, 255, 511], [7, 511, 255]] {
            let voxel = ims.voxel_at(0, 0, 0, at).expect("not damaged");
            assert!((voxel - f64::from(image.voxel(at))).abs() < 0.5, "{how:?} {at:?}: {voxel}");
        }
    }
}

#[test]
fn owner_and_mode_are_those_of_the_zip_file() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let two = TempDir::with_prefix("zarrims-two-").expect("a temporary folder");
    Version::V3.write(&two.path().join("a.zarr"));
    Version::V2.write(&two.path().join("b.zarr"));
    for (name, mode) in [("shared", 0o644), ("group", 0o640), ("own", 0o600)] {
        let one = source.path().join(format!("{name}.ozx"));
        fs::write(&one, image(Version::V3, "", Members::Stored)).expect("a file");
        let both = source.path().join(format!("{name} two.zip"));
        fs::write(&both, zipped(two.path(), "", Members::Stored)).expect("a file");
        for path in [one, both] {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("ours");
        }
    }
    rest(source.path());
    let mount = Mount::of(source.path()).start();
    let mode = |name: &str| {
        let metadata = fs::metadata(mount.path().join(name)).expect("attributes");
        metadata.mode() & 0o777
    };
    assert_eq!(
        ["shared", "group", "own"].map(|name| mode(&format!("{name}.ims"))),
        [0o444, 0o440, 0o400]
    );
    assert_eq!(
        ["shared", "group", "own"].map(|name| mode(&format!("{name} two"))),
        [0o555, 0o550, 0o500]
    );
    assert_eq!(mode("group two/a.ims"), 0o440);
}

/// The name of each file, and where SOURCE is one store, that file.
#[test]
fn one_store_as_source_gives_what_it_gives_in_the_folder_above() {
    if !can_mount() {
        return;
    }
    let above = TempDir::with_prefix("zarrims-above-").expect("a temporary folder");
    let path = |name: &str| above.path().join(name);
    Version::V3.write(&path("a.ome.zarr"));
    Version::V2.write(&path("other.zarr"));
    fs::write(path("b.ozx"), image(Version::V2, "", Members::Deflated)).expect("a file");
    Version::V3.write(&path("series.zarr/0"));
    Version::V3.write(&path("series.zarr/1"));
    let layout = json!({"ome": {"bioformats2raw.layout": 3, "version": "0.5"}});
    write_json(&path("series.zarr/zarr.json"), &group_json(&layout));
    symlink("a.ome.zarr", path("link.zarr")).expect("a link");
    // A group that states nothing is a folder of stores.
    write_json(&path("zarr.json"), &group_json(&json!({})));
    rest(above.path());
    for (store, wanted) in [
        ("a.ome.zarr", &["a.ims"][..]),
        ("a.ome.zarr/", &["a.ims"]),
        ("b.ozx", &["b.ims"]),
        ("link.zarr", &["link.ims"]),
        ("a.ome.zarr/0", &["0.ims"]),
        ("series.zarr", &["series/0.ims", "series/1.ims"]),
        ("series.zarr/1", &["1.ims"]),
        ("", &["a.ims", "b.ims", "link.ims", "other.ims", "series/0.ims", "series/1.ims"]),
    ] {
        let mount = Mount::of(&path(store)).wrapper(plain_user()).start();
        let mut names = paths_below(mount.path());
        names.sort();
        assert_eq!(names, wanted, "{store}");
        for name in wanted {
            assert!(shows_image(&mount.path().join(name)), "{store}: {name}");
        }
        let (status, stderr) = mount.stop();
        assert!(status.success(), "{stderr:#?}");
    }
}

#[test]
fn one_store_as_source_is_followed_when_it_is_replaced() {
    if !can_mount() {
        return;
    }
    let above = TempDir::with_prefix("zarrims-above-").expect("a temporary folder");
    let path = above.path().join("a.zip");
    let new = above.path().join("new");
    fs::write(&path, image(Version::V2, "", Members::Stored)).expect("a file");
    rest(above.path());
    let mount = Mount::of(&path).wrapper(plain_user()).start();
    let file = mount.path().join("a.ims");
    assert!(shows_image(&file));
    let other = Tiny { seed: 77, ..IMAGE };
    other.write(&above.path().join("other"));
    fs::write(&new, zipped(&above.path().join("other"), "", Members::Stored)).expect("a file");
    fs::rename(&new, &path).expect("renamed");
    eventually("the new image", SOON, || {
        Ims::open(&file).and_then(|ims| ims.pixels(0, 0, 0)).is_ok_and(|now| now == other.pixels())
    });
    fs::remove_file(&path).expect("removed");
    eventually("nothing is there", SOON, || paths_below(mount.path()).is_empty());
    fs::write(&new, image(Version::V3, "", Members::Deflated)).expect("a file");
    fs::rename(&new, &path).expect("renamed");
    eventually("it is back", SOON, || file.exists() && shows_image(&file));
}
