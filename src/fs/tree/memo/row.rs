//! A row of the memo: the result of inspecting a folder, as JSON.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::by_hand::ImagePath;
use crate::cache::ImageId;
use crate::fs::tree::file::{FileSpec, FileState, LevelSpec, ListedFile, ViewSpec};
use crate::fs::tree::inspected::{Checked, Inspected, Skipped};
use crate::source::image::{Role, Title};
use crate::source::root::join;
use crate::source::{Fingerprint, NonImage, Permissions, Stamp};
use crate::sync::lock;

/// A row. Paths of `state` are relative to the folder; those outside of it are whole, with a slash in front.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    title: Option<Title>,
    view: Option<View>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<(String, usize)>,
    size: u64,
    shape: [u64; 5],
    /// Lengths, and whether it is computed.
    levels: Vec<([u64; 3], bool)>,
    id: String,
    modified: SystemTime,
    /// As the paths of `state`.
    samples: Vec<PathBuf>,
    chunks_modified: Option<SystemTime>,
    /// Mode, owner and group.
    permissions: Option<(u32, u32, u32)>,
}

/// A file that a person asks for. Paths are below the source.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct View {
    number: usize,
    name: String,
    store: PathBuf,
    images: Vec<(PathBuf, PathBuf)>,
}

/// A path as a line has it.
fn relative(folder: &Path, path: &Path) -> PathBuf {
    let outside = || Path::new("/").join(path);
    path.strip_prefix(folder).map_or_else(|_| outside(), Path::to_path_buf)
}

/// The path below the source that a path of a line stands for.
fn absolute(folder: &Path, path: &Path) -> PathBuf {
    path.strip_prefix("/").map_or_else(|_| join(folder, path), Path::to_path_buf)
}

impl Row {
    pub(super) fn of(folder: &Path, found: &Inspected) -> Self {
        let state = found.fingerprint.entries().map(|(path, stamp)| {
            let stamp = stamp.stamp().map(|stamp| stamp.to_string());
            (relative(folder, path), stamp)
        });
        Self {
            folder: folder.to_path_buf(),
            files: (found.files.as_ref())
                .map(|files| files.iter().map(|file| File::of(folder, file)).collect()),
            skipped: found
                .skipped
                .iter()
                .cloned()
                .map(|s| (s.path, s.reason, s.non_image))
                .collect(),
            notes: found.notes.clone(),
            state: state.collect(),
        }
    }

    /// `None` if the row was not written by this program, or is about another folder.
    pub(super) fn into_inspected(self, about: &Path) -> Option<Inspected> {
        let Self { folder, files, skipped, notes, state } = self;
        if folder != about {
            return None;
        }
        let state = state.into_iter().map(|(path, stamp)| {
            let stamp = match stamp {
                Some(text) => Some(Stamp::parse(&text)?),
                None => None,
            };
            Some((absolute(&folder, &path), stamp))
        });
        let fingerprint = Arc::new(state.collect::<Option<Fingerprint>>()?.closed());
        let spec = |file: File| file.into_spec(&folder, &fingerprint);
        let files = match files {
            None => None,
            Some(files) => Some(files.into_iter().map(spec).collect::<Option<_>>()?),
        };
        let found = Inspected {
            files,
            skipped: skipped
                .into_iter()
                .map(|(path, reason, non_image)| Skipped { path, reason, non_image })
                .collect(),
            notes,
            fingerprint,
            is_outage: false,
            is_unfinished: false,
            is_lasting: true,
            recalled: None,
            checked: Mutex::new(Checked::never()),
        };
        Some(Inspected { recalled: Some(found.findings()), ..found })
    }
}

impl File {
    fn of(folder: &Path, file: &ListedFile) -> Self {
        let (spec, state) = (&file.spec, lock(&file.found.state));
        Self {
            image: spec.image.clone(),
            multiscale: spec.multiscale,
            is_label: spec.role == Role::Label,
            name: spec.name.clone(),
            title: spec.title.clone(),
            view: spec.view.as_ref().map(|view| View {
                number: view.number,
                name: view.name.clone(),
                store: spec.store.clone(),
                images: view.images.iter().map(|at| (at.store.clone(), at.image.clone())).collect(),
            }),
            labels: spec.labels.to_vec(),
            size: spec.size,
            shape: spec.shape,
            levels: spec.levels.iter().map(|level| (level.size, level.is_computed)).collect(),
            id: spec.id.to_string(),
            modified: spec.modified,
            samples: spec.samples.iter().map(|path| relative(folder, path)).collect(),
            chunks_modified: state.chunks_modified,
            permissions: state.permissions.map(|p| (p.mode, p.uid, p.gid)),
        }
    }

    fn into_spec(self, folder: &Path, metadata: &Arc<Fingerprint>) -> Option<ListedFile> {
        let permissions = self.permissions.map(|(mode, uid, gid)| Permissions { mode, uid, gid });
        // Their age is unknown: they are read again at the first look-up.
        let state = FileState {
            chunks_modified: self.chunks_modified,
            permissions,
            ..FileState::default()
        };
        let store = self.view.as_ref().map_or(folder, |view| &view.store).to_path_buf();
        let view = self.view.map(|view| {
            let images = view.images.into_iter();
            Arc::new(ViewSpec {
                entry: folder.to_path_buf(),
                number: view.number,
                name: view.name,
                images: images.map(|(store, image)| ImagePath { store, image }).collect(),
            })
        });
        let file = ListedFile::new(FileSpec {
            store,
            view,
            complete: None,
            image: self.image,
            multiscale: self.multiscale,
            role: if self.is_label { Role::Label } else { Role::Image },
            name: self.name,
            title: self.title,
            labels: self.labels.into(),
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
            samples: self.samples.iter().map(|path| absolute(folder, path)).collect(),
        });
        *lock(&file.found.state) = state;
        Some(file)
    }
}
