//! Giving names and inodes to what is in a folder.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::source::root::join;

use super::super::naming::{self, Candidate, InStore, Taken};
use super::access::checked_now;
use super::node::{Child, Content, FileNode, FileSpec, Ino, Inspected, Node};
use super::pages::Pages;
use super::{Tree, lock};

impl Tree {
    /// Names everything in a mirrored folder and makes its nodes known.
    pub(super) fn name_children(
        &self,
        node: &Node,
        source: &Path,
        inspected: &[(OsString, Arc<Inspected>)],
        under_way: &HashSet<OsString>,
    ) -> BTreeMap<OsString, Child> {
        let mut names = BTreeMap::new();
        let (mut candidates, mut stores, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        for (name, found) in inspected {
            match &found.files {
                None => folders.push((name.as_os_str(), found)),
                Some(files) if !files.is_empty() => {
                    let ending = if files.len() == 1 { ".ims" } else { "" };
                    candidates.push(Candidate { source: name.clone(), ending });
                    stores.push((found, files));
                }
                Some(_) => {}
            }
        }
        let mut taken = Taken::default();
        let sources: Vec<&OsStr> = folders.iter().map(|(name, _)| *name).collect();
        let assigned = naming::assign_folders(&mut taken, &sources);
        for (name, (source_name, found)) in assigned.into_iter().zip(folders) {
            let path = node.path.join(&name);
            let ino = Ino::derive(b'd', &path, 0);
            // A folder that may not answer is not asked, but left as it is.
            if !under_way.contains(source_name) || self.node(ino).is_err() {
                self.know_folder(node.ino(), ino, path, source.join(source_name));
            }
            names.insert(name, Child { ino, inspected: found.clone() });
        }
        let assigned = naming::assign(&mut taken, &candidates);
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

    /// A folder of the source, shown as a folder.
    fn know_folder(&self, parent: Ino, ino: Ino, path: PathBuf, source: PathBuf) {
        let attributes = Mutex::new(self.folder_attributes(ino, &source));
        let access_at = checked_now();
        let content = Content::Mirror { source, listing: Box::default() };
        self.know(ino, Node { attributes, access_at, parent, path, content });
    }

    /// A folder with the images of one store, and the folders within it.
    fn know_store_folder(&self, parent: Ino, path: &Path, files: &[FileSpec]) -> Ino {
        let mut folders: BTreeMap<PathBuf, BTreeMap<OsString, Ino>> = BTreeMap::new();
        let folder_ino = |inside: &Path| Ino::derive(b'd', &join(path, inside), 0);
        let images: Vec<InStore<'_>> = files
            .iter()
            .map(|FileSpec { image, multiscale, name, .. }| InStore {
                image,
                multiscale: *multiscale,
                name: name.as_deref(),
            })
            .collect();
        let paths = naming::paths_in_store(path.file_name().unwrap_or_default(), &images);
        for (file, inside) in files.iter().zip(paths) {
            let above = inside.parent().unwrap_or(Path::new(""));
            let mut ino = self.know_file(folder_ino(above), join(path, &inside), file);
            for below in inside.ancestors() {
                let (Some(above), Some(name)) = (below.parent(), below.file_name()) else { break };
                folders.entry(above.to_path_buf()).or_default().insert(name.to_owned(), ino);
                ino = folder_ino(above);
            }
        }
        let store = files.first().map(|file| file.store.clone()).unwrap_or_default();
        let newest = files.iter().map(|file| file.modified).max();
        for (inside, names) in folders {
            let ino = folder_ino(&inside);
            let above = match inside.parent() {
                Some(above) => folder_ino(above),
                None => parent,
            };
            let mut attributes = self.folder_attributes(ino, &store);
            attributes.modified = newest.unwrap_or(attributes.modified);
            let content = Content::StoreFolder { store: store.clone(), names: Mutex::new(names) };
            let (attributes, access_at) = (Mutex::new(attributes), checked_now());
            let path = join(path, &inside);
            self.know(ino, Node { attributes, access_at, parent: above, path, content });
        }
        folder_ino(Path::new(""))
    }

    pub(super) fn know_file(&self, parent: Ino, path: PathBuf, spec: &FileSpec) -> Ino {
        let ino = Ino::derive(b'f', &path, spec.id.0);
        // A store that has come back is listed under the inode that somebody may still have open.
        lock(&self.lingering).retain(|known| *known != ino);
        let (attributes, access_at) = self.file_attributes(ino, spec);
        let content = Content::File(Box::new(FileNode {
            spec: spec.clone(),
            looked: Mutex::default(),
            open: Mutex::default(),
            pages: Pages::default(),
            fleeting: Arc::default(),
        }));
        let (attributes, access_at) = (Mutex::new(attributes), Mutex::new(access_at));
        self.know(ino, Node { attributes, access_at, parent, path, content });
        ino
    }
}
