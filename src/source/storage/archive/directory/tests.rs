use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::super::interface::{Links, Storage};
use super::super::super::memory::Memory;
use super::super::zip::zip;
use super::*;

fn parsed(bytes: &[u8]) -> io::Result<Option<Directory>> {
    let files = Memory::default();
    files.put("x", bytes);
    let (file, stamp) = files.open(std::path::Path::new("x")).expect("a file");
    assert_eq!(files.stat(std::path::Path::new("x"), Links::Stay).expect("a file").stamp, stamp);
    Directory::read(&*file, stamp.size(), true)
}

fn of(names: &[&str]) -> Directory {
    let members = names.iter().enumerate().map(|(number, name)| (name, vec![0; number]));
    parsed(&zip(members, false)).expect("whole").expect("a zip")
}

fn names(directory: &Directory, folder: &str) -> Vec<(String, FileKind)> {
    let (mut all, mut next) = (Vec::new(), None);
    loop {
        let (names, at) = directory.names(folder.as_bytes(), next, 2);
        if names.is_empty() {
            return all;
        }
        next = Some(at);
        all.extend(
            names.into_iter().map(|entry| {
                (entry.name.to_string_lossy().into_owned(), entry.kind.expect("known"))
            }),
        );
    }
}

fn size(directory: &Directory, path: &str) -> Option<u64> {
    match directory.find(path.as_bytes()) {
        Some(Found::File(member)) => Some(member.size),
        _ => None,
    }
}

#[test]
fn folders_are_what_the_names_imply() {
    let directory = of(&["a/b/c", "a/", "a/b.txt", "d", "a/b/e", "a-b", "", "./f//g"]);
    let own = |list: &[(&str, FileKind)]| {
        list.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect::<Vec<_>>()
    };
    let top = own(&[
        ("a-b", FileKind::File),
        ("a", FileKind::Folder),
        ("d", FileKind::File),
        ("f", FileKind::Folder),
    ]);
    assert_eq!(names(&directory, ""), top);
    assert_eq!(names(&directory, "a"), own(&[("b.txt", FileKind::File), ("b", FileKind::Folder)]));
    assert_eq!(names(&directory, "a/b"), own(&[("c", FileKind::File), ("e", FileKind::File)]));
    assert_eq!(names(&directory, "x"), []);
    assert_eq!((size(&directory, "f/g"), directory.find(b"f")), (Some(7), Some(Found::Folder)));
    assert_eq!((directory.find(b"a/b/"), directory.find(b"a/bb")), (None, None));
}

#[test]
fn the_last_member_of_a_name_counts() {
    let directory = of(&["a", "b", "a", "./a", "b/c"]);
    assert_eq!((size(&directory, "a"), size(&directory, "b")), (Some(3), Some(1)));
    // A file that is also a folder is listed once, as a file.
    let listed = names(&directory, "");
    assert_eq!(listed.iter().filter(|(name, _)| name == "b").count(), 1);
    assert_eq!(size(&directory, "b/c"), Some(4));
}

#[test]
fn more_members_than_sixteen_bits_count_are_all_there() {
    let members = (0..70_000).map(|number| (number.to_string(), ""));
    let directory = parsed(&zip(members, false)).expect("whole").expect("a zip");
    assert_eq!(directory.order.len(), 70_000);
    assert!(size(&directory, "69999").is_some() && size(&directory, "70000").is_none());
}

#[test]
fn what_comes_around_the_archive_does_not_matter() {
    let bytes = zip([("zarr.json", "abc")], false);
    let with_comment = {
        let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
        archive.set_comment(br#"{"ome": {"version": "0.5"}}"#.to_vec());
        archive.finish().expect("in memory")
    };
    assert!(parsed(&with_comment).expect("whole").is_some());
    let prefixed = [b"#!/bin/sh\nexit\n".as_slice(), &bytes].concat();
    let directory = parsed(&prefixed).expect("whole").expect("a zip");
    assert!(directory.has_zarr());
    let Some(Found::File(member)) = directory.find(b"zarr.json") else { panic!("no member") };
    assert_eq!(member.header_at, 15);
    assert!(parsed(b"no zip at all").expect("readable").is_none());
    assert!(parsed(b"").expect("readable").is_none());
}

#[test]
fn a_damaged_directory_is_told() {
    let bytes = zip([("zarr.json", "abc"), ("b", "d")], false);
    let told = |bytes: &[u8]| match parsed(bytes) {
        Err(error) => error.to_string(),
        Ok(found) => panic!("{found:?}"),
    };
    assert!(told(&bytes[..bytes.len() - 30]).contains("no central directory"));
    let end = bytes.len() - 22;
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        bytes
    };
    assert!(told(&with(end + 10, 9)).contains("lists 2 members and states 9"));
    assert!(told(&with(end + 4, 1)).contains("several parts"));
    assert!(told(&with(end + 19, 9)).contains("damaged"));
    let first = bytes.windows(4).position(|part| part == b"PK\x01\x02").expect("an entry");
    assert!(told(&with(first, b'Q')).contains("damaged"));
}

proptest! {
    #[test]
    fn every_name_is_found_and_no_other(
        names in prop::collection::vec("[ab/.]{1,6}", 0..40), other in "[ab/.]{1,6}",
    ) {
        let members = names.iter().enumerate().map(|(number, name)| (name, vec![0; number]));
        let directory = parsed(&zip(members, false)).expect("whole").expect("a zip");
        let mut wanted = BTreeMap::new();
        for (number, name) in names.iter().enumerate().filter(|(_, name)| !name.ends_with('/')) {
            if let Some(path) = usable(name.as_bytes()) {
                prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
                wanted.insert(path, number as u64);
            }
        }
        for (path, number) in &wanted {
            prop_assert_eq!(size(&directory, path), Some(*number));
        }
        prop_assert_eq!(size(&directory, &other), wanted.get(&other).copied());
        let below: Vec<String> = directory.below(b"").map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        prop_assert_eq!(below, wanted.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn damaged_bytes_never_panic(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = zip([("zarr.json", "abc"), ("a/b", "d")], true);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = parsed(&bytes);
        let _ = parsed(&bytes[..cut.index(bytes.len())]);
    }
}
