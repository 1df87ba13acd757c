//! Giving names and inodes to what is in a folder.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::source::root::join;

use super::super::naming::{self, Candidate};
use super::access::checked_now;
use super::node::{Child, Content, FileNode, FileSpec, Ino, Inspected, Node};
use super::{Tree, lock};

impl Tree {
    /// Names everything in a mirrored folder and makes its nodes known.
    pub(super) fn name_children(
        &self,
        node: &Node,
        source: &Path,
        inspected: &[(OsString, Arc<Inspected>)],
    ) -> BTreeMap<OsString, Child> {
        let mut names = BTreeMap::new();
        let mut candidates = Vec::new();
        let mut stores = Vec::new();
        for (name, found) in inspected {
            match &found.files {
                None => {
                    let path = node.path.join(name);
                    let ino = Ino::derive(b'd', &path, 0);
                    let content =
                        Content::Mirror { source: source.join(name), listing: Mutex::default() };
                    let attributes = self.folder_attributes(ino, &source.join(name));
                    let (attributes, access_at) = (Mutex::new(attributes), checked_now());
                    let parent = node.ino();
                    self.know(ino, Node { attributes, access_at, parent, path, content });
                    names.insert(name.clone(), Child { ino, inspected: found.clone() });
                }
                Some(files) if !files.is_empty() => {
                    let ending = if files.len() == 1 { ".ims" } else { "" };
                    candidates.push(Candidate { source: name.clone(), ending });
                    stores.push((found, files));
                }
                Some(_) => {}
            }
        }
        let taken: HashSet<OsString> = names.keys().cloned().collect();
        let assigned = naming::assign(&taken, &candidates);
        for (name, (found, files)) in assigned.into_iter().zip(stores) {
            let path = node.path.join(&name);
            let parent = node.ino();
            let ino = match &files[..] {
                [file] => self.know_file(parent, path, file),
                files => self.know_store_folder(parent, &path, files),
            };
            names.insert(name, Child { ino, inspected: found.clone() });
        }
        names
    }

    /// A folder with the images of one store, and the folders within it.
    fn know_store_folder(&self, parent: Ino, path: &Path, files: &[FileSpec]) -> Ino {
        let stem = path.file_name().unwrap_or_default().to_owned();
        let mut folders: BTreeMap<PathBuf, BTreeMap<OsString, Ino>> = BTreeMap::new();
        folders.entry(PathBuf::new()).or_default();
        let folder_ino = |inside: &Path| Ino::derive(b'd', &join(path, inside), 0);
        for file in files {
            let mut parts =
                naming::path_in_store(&stem, &file.image, file.multiscale, file.name.as_deref());
            let Some(last) = parts.pop() else { continue };
            let mut inside = PathBuf::new();
            for part in parts {
                let above = inside.clone();
                inside.push(&part);
                folders.entry(above).or_default().insert(part, folder_ino(&inside));
                folders.entry(inside.clone()).or_default();
            }
            let siblings = folders.entry(inside.clone()).or_default();
            let taken: HashSet<OsString> = siblings.keys().cloned().collect();
            let name = if taken.contains(&last) {
                let source = Path::new(&last).file_stem().unwrap_or(&last).to_owned();
                naming::assign(&taken, &[Candidate { source, ending: ".ims" }]).remove(0)
            } else {
                last
            };
            let ino = self.know_file(folder_ino(&inside), join(path, &inside).join(&name), file);
            siblings.insert(name, ino);
        }
        let store = files.first().map(|file| file.store.clone()).unwrap_or_default();
        for (inside, names) in folders {
            let ino = folder_ino(&inside);
            let above = match inside.parent() {
                Some(above) => folder_ino(above),
                None => parent,
            };
            let mut attributes = self.folder_attributes(ino, &store);
            attributes.modified =
                files.iter().map(|file| file.modified).max().unwrap_or(attributes.modified);
            let content = Content::StoreFolder { store: store.clone(), names: Mutex::new(names) };
            let (attributes, access_at) = (Mutex::new(attributes), checked_now());
            let path = join(path, &inside);
            self.know(ino, Node { attributes, access_at, parent: above, path, content });
        }
        folder_ino(Path::new(""))
    }

    pub(super) fn know_file(&self, parent: Ino, path: PathBuf, spec: &FileSpec) -> Ino {
        let newest = lock(&spec.state).newest;
        let ino = newest.unwrap_or_else(|| Ino::derive(b'f', &path, spec.id.0));
        // A store that has come back is listed under the inode that somebody may still have open.
        lock(&self.lingering).retain(|known| *known != ino);
        let (attributes, access_at) = self.file_attributes(ino, spec);
        let content = Content::File(FileNode {
            spec: spec.clone(),
            looked: Mutex::default(),
            open: Mutex::default(),
            fleeting: Arc::default(),
        });
        let (attributes, access_at) = (Mutex::new(attributes), Mutex::new(access_at));
        self.know(ino, Node { attributes, access_at, parent, path, content });
        ino
    }
}
