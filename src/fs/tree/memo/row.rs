//! A line of the memo: the result of inspecting a folder, as JSON.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cache::ImageId;
use crate::fs::tree::file::{FileSpec, FileState, LevelSpec, ListedFile};
use crate::fs::tree::inspected::{Checked, Inspected, Skipped};
use crate::source::image::Role;
use crate::source::root::join;
use crate::source::{Fingerprint, NonImage, Permissions, Stamp};
use crate::sync::lock;

/// The part of a line that says what it is about.
#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) folder: PathBuf,
}

/// A line. Paths of `state` are relative to the folder.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    folder: PathBuf,
    /// Absent: a plain folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skipped: Vec<(PathBuf, String, Option<NonImage>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<(PathBuf, String)>,
    state: Vec<(PathBuf, Option<String>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    image: String,
    multiscale: usize,
    is_label: bool,
    name: Option<String>,
    size: u64,
    shape: [u64; 5],
    /// Lengths, and whether it is computed.
    levels: Vec<([u64; 3], bool)>,
    id: String,
    modified: SystemTime,
    /// Relative to the folder.
    samples: Vec<PathBuf>,
    chunks_modified: Option<SystemTime>,
    /// Mode, owner and group.
    permissions: Option<(u32, u32, u32)>,
}

impl Row {
    /// `None` where a path is not below the folder.
    pub(super) fn of(folder: &Path, found: &Inspected) -> Option<Self> {
        let state = found.fingerprint.entries().map(|(path, stamp)| {
            let stamp = stamp.stamp().map(|stamp| stamp.to_string());
            Some((path.strip_prefix(folder).ok()?.to_path_buf(), stamp))
        });
        Some(Self {
            folder: folder.to_path_buf(),
            files: found.files.as_ref().map(|files| files.iter().map(File::of).collect()),
            skipped: found
                .skipped
                .iter()
                .cloned()
                .map(|s| (s.path, s.reason, s.non_image))
                .collect(),
            notes: found.notes.clone(),
            state: state.collect::<Option<_>>()?,
        })
    }

    /// `None` if the line was not written by this program.
    pub(super) fn into_inspected(self) -> Option<Inspected> {
        let Self { folder, files, skipped, notes, state } = self;
        let state = state.into_iter().map(|(path, stamp)| {
            let stamp = match stamp {
                Some(text) => Some(Stamp::parse(&text)?),
                None => None,
            };
            Some((join(&folder, &path), stamp))
        });
        let fingerprint: Arc<Fingerprint> = Arc::new(state.collect::<Option<_>>()?);
        let spec = |file: File| file.into_spec(&folder, &fingerprint);
        let files = match files {
            None => None,
            Some(files) => Some(files.into_iter().map(spec).collect::<Option<_>>()?),
        };
        Some(Inspected {
            files,
            skipped: skipped
                .into_iter()
                .map(|(path, reason, non_image)| Skipped { path, reason, non_image })
                .collect(),
            notes,
            fingerprint,
            is_outage: false,
            is_lasting: true,
            checked: Mutex::new(Checked::since(Instant::now())),
        })
    }
}

impl File {
    fn of(file: &ListedFile) -> Self {
        let (spec, state) = (&file.spec, lock(&file.found.state));
        Self {
            image: spec.image.clone(),
            multiscale: spec.multiscale,
            is_label: spec.role == Role::Label,
            name: spec.name.clone(),
            size: spec.size,
            shape: spec.shape,
            levels: spec.levels.iter().map(|level| (level.size, level.is_computed)).collect(),
            id: spec.id.to_string(),
            modified: spec.modified,
            samples: spec
                .samples
                .iter()
                .map(|path| path.strip_prefix(&spec.store).unwrap_or(path).to_path_buf())
                .collect(),
            chunks_modified: state.chunks_modified,
            permissions: state.permissions.map(|p| (p.mode, p.uid, p.gid)),
        }
    }

    fn into_spec(self, store: &Path, metadata: &Arc<Fingerprint>) -> Option<ListedFile> {
        let permissions = self.permissions.map(|(mode, uid, gid)| Permissions { mode, uid, gid });
        // Their age is unknown: they are read again at the first look-up.
        let state = FileState {
            chunks_modified: self.chunks_modified,
            permissions,
            ..FileState::default()
        };
        let file = ListedFile::new(FileSpec {
            store: store.to_path_buf(),
            image: self.image,
            multiscale: self.multiscale,
            role: if self.is_label { Role::Label } else { Role::Image },
            name: self.name,
            size: self.size,
            shape: self.shape,
            levels: self
                .levels
                .into_iter()
                .map(|(size, is_computed)| LevelSpec { size, is_computed })
                .collect(),
            id: ImageId(u128::from_str_radix(&self.id, 16).ok()?),
            modified: self.modified,
            metadata: metadata.clone(),
            samples: self.samples.iter().map(|path| store.join(path)).collect(),
        });
        *lock(&file.found.state) = state;
        Some(file)
    }
}
