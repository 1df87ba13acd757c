//! Names: what a store is called, what is not followed, and how the tree keeps up with the source.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::json;
use tempfile::TempDir;

use super::{SOON, below, two_stores};
use crate::common::mount::{Mount, can_mount};
use crate::common::tiny::{Tiny, group_json, write_json};
use crate::common::{eventually, list_json, row_of};

/// One row of voxels is one run of bytes in the virtual file.
fn small(seed: u16) -> Tiny {
    Tiny { shape: [1, 8, 16], chunk: [1, 8, 16], seed }
}

/// Whether a virtual file shows this image and not another.
fn shows(path: &Path, image: &Tiny) -> bool {
    let bytes = fs::read(path).expect("readable");
    let pixels = image.pixels();
    bytes.windows(32).any(|run| run == &pixels[..32])
}

fn names(folder: &Path) -> Vec<String> {
    below(folder).into_keys().collect()
}

#[test]
fn clashing_names_are_told_apart_as_documented() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let expected = [
        ("x.ome.zarr", "x.ims"),
        ("x.zarr", "x.zarr.ims"),
        ("x", "x~2.ims"),
        ("y.zr", "y.ims"),
        ("z", "z.ims"),
        ("sub/x.zarr", "sub/x.ims"),
        // A plain folder keeps its name, a store gives way.
        ("w.ims/inside.zarr", "w.ims/inside.ims"),
        ("w.zarr", "w.zarr.ims"),
    ];
    for (seed, (store, _)) in (1..).zip(expected) {
        small(seed).write(&source.path().join(store));
    }
    let rows = list_json(source.path(), &[]);
    let mount = Mount::of(source.path()).start();
    let mut wanted: Vec<&str> = expected.iter().map(|(_, file)| *file).collect();
    wanted.extend(["sub", "w.ims"]);
    wanted.sort_unstable();
    assert_eq!(names(mount.path()), wanted);
    for (seed, (store, file)) in (1..).zip(expected) {
        assert_eq!(row_of(&rows, file)["store"], store, "{file}");
        assert!(shows(&mount.path().join(file), &small(seed)), "{file} does not show {store}");
    }
}

#[test]
fn names_are_fit_for_clients_that_ignore_case_and_for_windows() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let expected = [
        ("Brain.zarr", "Brain.ims"),
        ("brain.zarr", "brain.zarr.ims"),
        ("\u{c4}hre.zarr", "\u{c4}hre.ims"),
        ("\u{e4}hre.zarr", "\u{e4}hre.zarr.ims"),
        ("UP.ZARR", "UP.ims"),
        ("up2.Ome.Zarr", "up2.ims"),
        ("colon:1.zarr", "colon_1.ims"),
        ("colon?1.zarr", "colon?1.zarr.ims"),
        ("end .zarr", "end .ims"),
        ("CON.zarr", "CON_.ims"),
        ("Data/x.zarr", "Data/x.ims"),
        ("data/y.zarr", "data~2/y.ims"),
        ("day 1./z.zarr", "day 1_/z.ims"),
        ("a|b/line\nbreak.zarr", "a_b/line_break.ims"),
    ]
    .map(|(store, file)| (store, file.replace('?', "_")));
    for (seed, (store, _)) in (1..).zip(&expected) {
        small(seed).write(&source.path().join(store));
    }
    let rows = list_json(source.path(), &[]);
    let mount = Mount::of(source.path()).start();
    let mut wanted: Vec<&str> = expected.iter().map(|(_, file)| file.as_str()).collect();
    wanted.extend(["Data", "data~2", "day 1_", "a_b"]);
    wanted.sort_unstable();
    assert_eq!(names(mount.path()), wanted);
    for (seed, (store, file)) in (1..).zip(&expected) {
        assert_eq!(row_of(&rows, file)["store"], *store, "{file}");
        assert!(shows(&mount.path().join(file), &small(seed)), "{file} does not show {store}");
    }
    assert!(!mount.path().join("data").exists(), "a name of the source that is not shown");
}

#[test]
fn names_from_metadata_and_paths_in_a_store_are_fit_as_well() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let store = source.path().join("m.zarr");
    let images = ["/", "C:\\x?*", "line\nbreak", "same", "same"];
    let entries: Vec<_> = (0..images.len())
        .map(|n| json!({"name": images[n], "axes": ["z", "y", "x"], "datasets": [{"path": n.to_string()}]}))
        .collect();
    write_json(&store.join("A/zarr.json"), &group_json(&json!({"ome": {"multiscales": entries}})));
    for (seed, n) in (1..).zip(0..images.len()) {
        small(seed).write_array(&store.join(format!("A/{n}")));
    }
    small(9).write(&store.join("a/im"));
    for group in ["", "a"] {
        write_json(&store.join(group).join("zarr.json"), &group_json(&json!({})));
    }
    let expected =
        ["m/A.ims", "m/A_C__x__.ims", "m/A_line_break.ims", "m/A_same.ims", "m/A_same~2.ims"];
    let mount = Mount::of(source.path()).start();
    let mut wanted = vec!["m", "m/a", "m/a/im.ims"];
    wanted.extend(expected);
    wanted.sort_unstable();
    assert_eq!(names(mount.path()), wanted);
    for (seed, file) in (1..).zip(expected) {
        assert!(shows(&mount.path().join(file), &small(seed)), "{file}");
    }
    assert!(shows(&mount.path().join("m/a/im.ims"), &small(9)));
}

#[test]
fn several_images_of_a_store_become_a_folder() {
    if !can_mount() {
        return;
    }
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let store = source.path().join("m.ome.zarr");
    let images = [("0", "m/0.ims"), ("A/1/0", "m/A/1/0.ims"), ("tile.zarr", "m/tile.ims")];
    for (seed, (inside, _)) in (1..).zip(images) {
        small(seed).write(&store.join(inside));
    }
    for group in ["A/1", "A", ""] {
        write_json(&store.join(group).join("zarr.json"), &group_json(&json!({})));
    }
    let mount = Mount::of(source.path()).start();
    let wanted = ["m", "m/0.ims", "m/A", "m/A/1", "m/A/1/0.ims", "m/tile.ims"];
    assert_eq!(names(mount.path()), wanted);
    for (seed, (inside, file)) in (1..).zip(images) {
        assert!(shows(&mount.path().join(file), &small(seed)), "{file} does not show {inside}");
    }
}

#[test]
fn links_out_of_the_source_are_not_followed() {
    if !can_mount() {
        return;
    }
    let outside = TempDir::with_prefix("zarrims-outside-").expect("a temporary folder");
    small(1).write(&outside.path().join("secret.zarr"));
    let source = TempDir::with_prefix("zarrims-source-").expect("a temporary folder");
    let at = |name: &str| source.path().join(name);
    let secret = |name: &str| outside.path().join("secret.zarr").join(name);
    small(2).write(&at("inside.zarr"));
    symlink("inside.zarr", at("alias.zarr")).expect("a link");
    symlink(secret(""), at("store.zarr")).expect("a link");
    symlink(outside.path(), at("folder")).expect("a link");
    // A relative way out, from one folder further down.
    fs::create_dir(at("deep")).expect("a folder");
    let name = outside.path().file_name().expect("a name").to_string_lossy().into_owned();
    symlink(format!("../../{name}/secret.zarr"), at("deep/relative.zarr")).expect("a link");
    // Metadata, an array and a chunk that lie outside.
    fs::create_dir(at("metadata.zarr")).expect("a folder");
    symlink(secret("zarr.json"), at("metadata.zarr/zarr.json")).expect("a link");
    small(3).write(&at("array.zarr"));
    fs::remove_dir_all(at("array.zarr/0")).expect("a folder");
    symlink(secret("0"), at("array.zarr/0")).expect("a link");
    small(4).write(&at("chunk.zarr"));
    fs::remove_file(at("chunk.zarr/0/c/0/0/0")).expect("a chunk");
    symlink(secret("0/c/0/0/0"), at("chunk.zarr/0/c/0/0/0")).expect("a link");

    let rows = list_json(source.path(), &[]);
    let mount = Mount::of(source.path()).start();
    assert_eq!(names(mount.path()), ["alias.ims", "chunk.ims", "deep", "inside.ims"]);
    for name in ["inside.ims", "alias.ims"] {
        assert!(shows(&mount.path().join(name), &small(2)), "{name}");
    }
    // The chunk exists and cannot be read: an error, neither the secret nor the fill value.
    let error = fs::read(mount.path().join("chunk.ims")).expect_err("a chunk outside");
    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    for path in ["store.zarr", "deep/relative.zarr", "metadata.zarr", "array.zarr"] {
        let told = rows.iter().any(|row| row["skipped"] == path);
        assert!(told, "{path} is skipped without a reason: {rows:#?}");
    }
}

#[test]
fn a_fifo_for_metadata_does_not_hang_the_daemon() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    for name in ["zarr.json", ".zarray", ".zattrs", ".zgroup"] {
        let store = source.path().join(format!("fifo{name}.zarr"));
        fs::create_dir(&store).expect("a folder");
        mkfifoat(CWD, store.join(name), Mode::RUSR | Mode::WUSR).expect("a FIFO");
    }
    // A daemon that hangs is ended, and this test fails.
    let mount = Mount::of(source.path()).life(SOON).start();
    assert_eq!(names(mount.path()), ["a.ims", "deep", "deep/b.ims"]);
    fs::read(mount.path().join("a.ims")).expect("readable");
    mount.wait_for_line(SOON, |line| line.contains("fifozarr.json.zarr"));
    let (status, stderr) = mount.stop();
    assert!(status.success(), "{status}: {stderr:#?}");
}

#[test]
fn stores_come_and_go_without_a_remount() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let mount = Mount::of(source.path()).start();
    let (shown, stored) = (mount.path(), source.path());
    assert_eq!(names(shown), ["a.ims", "deep", "deep/b.ims"]);

    small(5).write(&stored.join("new.zarr"));
    eventually("a new store appears", SOON, || shown.join("new.ims").is_file());
    assert!(shows(&shown.join("new.ims"), &small(5)));
    small(6).write(&stored.join("deep/deeper/new.zarr"));
    let inside = shown.join("deep/deeper/new.ims");
    eventually("a new folder with a store appears", SOON, || inside.is_file());
    assert!(shows(&inside, &small(6)));
    eventually("and is listed", SOON, || names(shown).len() == 6);

    fs::remove_dir_all(stored.join("new.zarr")).expect("a store");
    fs::remove_dir_all(stored.join("deep/b.zarr")).expect("a store");
    eventually("a removed store goes", SOON, || !shown.join("new.ims").exists());
    eventually("one further down as well", SOON, || {
        names(shown) == ["a.ims", "deep", "deep/deeper", "deep/deeper/new.ims"]
    });
    // A name can come back as another store.
    small(7).write(&stored.join("new.zarr"));
    eventually("a name comes back", SOON, || shown.join("new.ims").is_file());
    assert!(shows(&shown.join("new.ims"), &small(7)));
    assert!(shown.join("a.ims").is_file(), "what did not change is still there");
}

#[test]
fn a_store_appears_when_its_metadata_is_complete() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let mount = Mount::of(source.path()).start();
    let store = source.path().join("half.zarr");
    small(5).write_array(&store.join("0"));
    let document = serde_json::to_vec(&Tiny::image_json("half")).expect("JSON");
    fs::write(store.join("zarr.json"), &document[..document.len() / 2]).expect("a file");
    // Asked for by name, so that the daemon looks at what is there so far.
    let shown = mount.path().join("half.ims");
    eventually("the half store is noticed", SOON, || {
        assert!(!shown.exists(), "half a document is no image");
        mount.stderr().iter().any(|line| line.contains("half.zarr"))
    });
    fs::write(store.join("zarr.json"), &document).expect("a file");
    eventually("the complete store appears", SOON, || shown.is_file());
    assert!(shows(&shown, &small(5)));
}

#[test]
fn rewritten_metadata_gives_another_size_and_inode() {
    if !can_mount() {
        return;
    }
    let source = two_stores();
    let mount = Mount::of(source.path()).start();
    let path = mount.path().join("a.ims");
    let before = fs::metadata(&path).expect("attributes");
    let bytes = fs::read(&path).expect("readable");
    // A store that is still being written grows by time points or planes.
    let grown = Tiny { shape: [90, 21, 35], ..Tiny::default() };
    let document = serde_json::to_vec(&grown.array_json()).expect("JSON");
    let part = source.path().join("a.ome.zarr/0/part");
    fs::write(&part, &document).expect("a file");
    fs::rename(&part, source.path().join("a.ome.zarr/0/zarr.json")).expect("rename");
    eventually("the new size shows", SOON, || {
        fs::metadata(&path).is_ok_and(|now| now.len() != before.len())
    });
    let after = fs::metadata(&path).expect("attributes");
    assert_ne!(after.ino(), before.ino(), "an inode stands for one state of a store");
    let rows = list_json(source.path(), &[]);
    assert_eq!(row_of(&rows, "a.ims")["size"], after.len());
    assert_eq!(row_of(&rows, "a.ims")["shape"], json!([1, 1, 90, 21, 35]));
    assert!(after.len() > before.len());
    let now = fs::read(&path).expect("readable");
    assert_eq!(now.len() as u64, after.len());
    assert_ne!(now[..bytes.len()], bytes[..], "the bytes of the old state");
}
