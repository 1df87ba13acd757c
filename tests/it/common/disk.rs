//! What a folder takes on the disk.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that `du -s --block-size=1` reports for a folder. What goes while it is being looked at
/// takes nothing.
pub fn disk_bytes(folder: &Path) -> u64 {
    disk_bytes_of(folder, |_| true)
}

/// The part of [`disk_bytes`] that is due to some of the paths.
pub fn disk_bytes_of(folder: &Path, mut counts: impl FnMut(&Path) -> bool) -> u64 {
    let mut bytes = 0;
    let mut pending = vec![folder.to_path_buf()];
    while let Some(path) = pending.pop() {
        let Some(metadata) = unless_gone(fs::symlink_metadata(&path)) else { continue };
        if counts(&path) {
            bytes += metadata.blocks() * 512;
        }
        if metadata.is_dir()
            && let Some(entries) = unless_gone(fs::read_dir(&path))
        {
            let entries = entries.filter_map(|entry| unless_gone(entry.map(|entry| entry.path())));
            let mut entries: Vec<PathBuf> = entries.collect();
            entries.sort();
            pending.extend(entries);
        }
    }
    bytes
}

#[track_caller]
fn unless_gone<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        other => Some(other.expect("an own folder")),
    }
}

/// The same by the program itself.
#[track_caller]
pub fn du(folder: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(folder).output();
    let output = output.expect("du starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("du: {text}"))
}
