//! A zip file beside the stores: its central directory, its members, and the image in it.
//!
//! The input is the file. Its end is repaired first, so that more inputs are zip files at all: if the last
//! 22 bytes are no end of a central directory, one is added for the entries that are found from the first
//! one on.

#![no_main]

use std::cell::OnceCell;
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use zarrims::source::SourceRoot;
use zarrims::source::discover::{File, Folder, inspect, look_at_file};
use zarrims_fuzz::Scratch;

thread_local! {
    static SOURCE: OnceCell<(Scratch, Arc<SourceRoot>)> = const { OnceCell::new() };
}

const NAME: &str = "x.ozx";

/// Most members that are read of an archive, and most bytes of one.
const MEMBERS: usize = 64;
const BYTES: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    SOURCE.with(|source| {
        let (scratch, root) = source.get_or_init(|| {
            let scratch = Scratch::new("zip");
            let root = Arc::new(SourceRoot::open(scratch.path(), false).expect("a source folder"));
            (scratch, root)
        });
        scratch.write(NAME, &repaired(data));
        let archive = Path::new(NAME);
        match look_at_file(root, archive) {
            File::Store => {}
            File::Skipped(_) => return,
            File::Ordinary => panic!("a file of that name promises a store"),
        }
        match inspect(root, archive, true) {
            Ok(Folder::Store(found)) => {
                assert!(!found.images.is_empty() || !found.skipped.is_empty());
            }
            Ok(Folder::Plain(_)) => panic!("an archive is a store"),
            Err(error) => panic!("its directory has been read: {error}"),
        }
        let mut left = MEMBERS;
        walk(root, archive, &mut left);
    });
});

/// Reads the members below a folder, whole and in part.
fn walk(root: &SourceRoot, folder: &Path, left: &mut usize) {
    let mut names: Vec<(PathBuf, bool)> = Vec::new();
    root.each_entry(folder, &mut |entry| {
        let path = folder.join(&entry.name);
        assert_eq!(path.components().count(), folder.components().count() + 1);
        assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
        names.push((path, entry.is_folder()));
        if names.len() < MEMBERS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .expect("a folder of an archive can be listed");
    for (path, is_folder) in names {
        if *left == 0 {
            return;
        }
        *left -= 1;
        if is_folder {
            walk(root, &path, left);
            continue;
        }
        let Ok((file, stamp)) = root.storage().open(&path) else { continue };
        assert_eq!(root.stamp(&path).expect("it is there"), Some(stamp));
        if stamp.size() > BYTES {
            continue;
        }
        let len = usize::try_from(stamp.size()).expect("small");
        let mut whole = vec![0; len];
        let is_right = file.read_exact_at(&mut whole, 0).is_ok();
        let mut part = vec![0; len.div_ceil(2)];
        let at = len - part.len();
        if file.read_exact_at(&mut part, at as u64).is_ok() && is_right {
            assert!(part == whole[at..], "a part differs from the whole");
        }
    }
}

/// The file with an end of its central directory.
fn repaired(data: &[u8]) -> Vec<u8> {
    let mut file = data.to_vec();
    let has_end = data.len() >= 22 && data[data.len() - 22..].starts_with(b"PK\x05\x06");
    let first = data.windows(4).position(|part| part == b"PK\x01\x02");
    if let Some(first) = first
        && !has_end
    {
        let entries = data.windows(4).filter(|part| part == b"PK\x01\x02").count();
        let entries = u16::try_from(entries).unwrap_or(u16::MAX).to_le_bytes();
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend([entries, entries].concat());
        file.extend([length(data.len() - first), length(first)].concat());
        file.extend([0, 0]);
    }
    file
}
