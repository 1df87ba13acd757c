//! A source: there, and readable by this user.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::geteuid;
use zarrims::config::Mistake;

use super::finding::{Finding, plain};
use super::wanted::Wanted;
use crate::daemon;

const CHECK: &str = "source";

/// Files and folders that are looked at.
const MOST: usize = 5000;

/// Files that every reader of a store needs.
const METADATA: [&str; 5] = ["zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"];

pub(super) fn check(wanted: &Wanted<'_>) -> Finding {
    let named = wanted.merged.source.named();
    let config = match wanted.config {
        Ok(config) => config,
        Err(Mistake(line)) => {
            return Finding::fault(CHECK, line.clone(), fix(wanted.merged.source.as_path()));
        }
    };
    if let Err(error) = daemon::source::open(config) {
        return Finding::fault(CHECK, format!("{error:#}"), fix(wanted.merged.source.as_path()));
    }
    match &config.source.folder {
        Some(folder) if folder.is_dir() => of_folder(&named, folder),
        _ => Finding::ok(CHECK, format!("{named} can be read")),
    }
}

fn fix(path: &Path) -> String {
    let user = geteuid().as_raw();
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => reading(user, path),
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTCONN) => {
            "remove the dead mount as the line says".to_owned()
        }
        _ if path.to_string_lossy().contains("://") => {
            "check the address, and the credentials in the environment; README, Object stores and web servers".to_owned()
        }
        _ => format!("name a folder with stores, a store or a zip file that user {user} can read"),
    }
}

/// How a user gets the right to read.
fn reading(user: u32, path: &Path) -> String {
    let path = path.display();
    format!(
        "as root: setfacl -R -m u:{user}:rX {path}; or let the daemon run as a user or a group that may read it"
    )
}

/// Looks at the first folders and metadata files, the upper ones first.
fn of_folder(named: &str, folder: &Path) -> Finding {
    let (mut looked, mut closed) = (0, Vec::new());
    let mut pending = VecDeque::from([folder.to_path_buf()]);
    while let Some(folder) = pending.pop_front() {
        let names = match fs::read_dir(&folder) {
            Ok(names) => names,
            Err(error) => {
                note(&mut closed, folder, &error);
                continue;
            }
        };
        for entry in names.flatten() {
            looked += 1;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                pending.push_back(entry.path());
            } else if kind.is_file()
                && is_metadata(&entry)
                && let Err(error) = File::open(entry.path())
            {
                note(&mut closed, entry.path(), &error);
            }
            if looked >= MOST {
                pending.clear();
                break;
            }
        }
    }
    match closed.first() {
        None => Finding::ok(CHECK, format!("{named} can be read ({looked} names looked at)")),
        Some((path, error)) => {
            let count = closed.len();
            let shown = path.display();
            let text = format!(
                "{named}: {count} of {looked} names cannot be read, such as {shown}: {error}"
            );
            Finding::warning(CHECK, text, reading(geteuid().as_raw(), path))
        }
    }
}

fn is_metadata(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    METADATA.iter().any(|known| name == *known)
}

/// What went away meanwhile is no fault.
fn note(closed: &mut Vec<(PathBuf, String)>, path: PathBuf, error: &io::Error) {
    if error.kind() != io::ErrorKind::NotFound {
        closed.push((path, plain(error)));
    }
}
