//! Looking into folders of the source: which are stores, and of what images.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use crate::image::VirtualFile;
use crate::source::Fingerprint;
use crate::source::discover::{self, Folder};
use crate::source::root::{DirEntry, EntryKind};

use super::Tree;
use super::node::{Checked, FileSpec, Inspected, Skipped};

/// Notes on an image that its log line holds.
const NOTES_SHOWN: usize = 8;

impl Tree {
    /// A fault of this program in one store must not hide the stores beside it.
    pub(super) fn inspect_guarded(&self, path: &Path) -> Inspected {
        catch_unwind(AssertUnwindSafe(|| self.inspect(path))).unwrap_or_else(|_| {
            let reason = "internal fault while reading its metadata".to_owned();
            tracing::error!(path = %path.display(), reason, "skipped");
            let mut fingerprint = Fingerprint::default();
            fingerprint.record(&self.root, path);
            Inspected {
                files: Some(Vec::new()),
                skipped: vec![Skipped { path: path.to_path_buf(), reason }],
                fingerprint,
                checked: Mutex::new(Checked::since(Instant::now())),
            }
        })
    }

    /// Inspects a folder of the source, plans its images, and logs what is skipped.
    fn inspect(&self, path: &Path) -> Inspected {
        let mut found = Inspected {
            files: Some(Vec::new()),
            skipped: Vec::new(),
            fingerprint: Fingerprint::default(),
            checked: Mutex::new(Checked::since(Instant::now())),
        };
        let mut skip = |path: &Path, reason: &str| {
            let row = Skipped { path: path.to_path_buf(), reason: reason_for(path, reason) };
            tracing::warn!(path = %row.path.display(), reason = %row.reason, "skipped");
            found.skipped.push(row);
        };
        match discover::inspect(&self.root, path, self.config.labels) {
            Ok(Folder::Plain(fingerprint)) => {
                found.files = None;
                found.fingerprint = fingerprint;
            }
            Ok(Folder::Store(store)) => {
                for (path, error) in &store.skipped {
                    skip(path, &error.to_string());
                }
                let mut files = Vec::new();
                for image in store.images {
                    if !image.notes.is_empty() {
                        let path = image.folder();
                        tracing::info!(path = %path.display(), "{}", one_line(&image.notes));
                    }
                    let (image, engine) = (image.clone(), self.engine.clone());
                    match VirtualFile::new(&self.root, image.clone(), engine, None) {
                        Ok(file) => files.push(FileSpec {
                            store: image.store.clone(),
                            image: image.image.clone(),
                            multiscale: image.multiscale,
                            role: image.role,
                            name: image.name.clone(),
                            size: file.size(),
                            shape: image.levels[0].shape(),
                            levels: file.plan().levels.len(),
                            id: file.id(),
                            modified: image
                                .fingerprint
                                .modified()
                                .unwrap_or(SystemTime::UNIX_EPOCH),
                            newest: Arc::default(),
                            has_changed: Arc::default(),
                        }),
                        Err(error) => {
                            skip(&image.folder(), &error.to_string());
                        }
                    }
                }
                found.files = Some(files);
                found.fingerprint = store.fingerprint;
            }
            Err(error) => {
                skip(path, &error.to_string());
                found.fingerprint.record(&self.root, path);
            }
        }
        found
    }
}

/// Whether an entry of a folder is shown, or is worth a line why not.
pub(super) fn is_notable(entry: &DirEntry) -> bool {
    match entry.kind {
        EntryKind::File => discover::skipped_file(Path::new(&entry.name)).is_some(),
        EntryKind::Other => false,
        EntryKind::Directory | EntryKind::LinkedDirectory | EntryKind::BadLink => true,
    }
}

/// The first few notes on an image, and how many more there are.
fn one_line(notes: &[String]) -> String {
    let shown = notes.len().min(NOTES_SHOWN);
    let more = match notes.len() - shown {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", notes[..shown].join("; "))
}

/// The reason without the path in front, which the row has already.
pub(super) fn reason_for(path: &Path, reason: &str) -> String {
    let prefix = format!("{}: ", path.display());
    reason.strip_prefix(&prefix).unwrap_or(reason).to_owned()
}
