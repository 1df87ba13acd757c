//! Giving names and inodes to what is in a folder.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_64;

use crate::by_hand::Entry;
use crate::fs::naming::{self, Candidate, Contents, InStore, Taken};
use crate::fs::view::Ino;
use crate::source::image::Role;
use crate::source::root::join;
use crate::source::store_name::stem;

use super::access::Rights;
use super::file::ListedFile;
use super::forgotten::Kept;
use super::inspected::Inspected;
use super::node::{Child, Content, Listing, Node, Shown};
use super::nodes::Nodes;
use super::options::ImageNames;

/// Part of what an inode number is derived from.
const FOLDER: u8 = b'd';
const FILE: u8 = b'f';

/// The inode of a path: a hash, so that it is the same after a restart, in whatever order names are looked up. If
/// another path has it, which two of a million files have with a chance of 3e-8, it is the next hash.
fn inode(nodes: &Nodes, kind: u8, path: &Path, identity: u128) -> Ino {
    let mut key = vec![kind];
    key.extend_from_slice(path.as_os_str().as_bytes());
    key.extend_from_slice(&identity.to_le_bytes());
    loop {
        // 0 means "none" and 1 is the root.
        let ino = Ino(xxh3_64(&key).clamp(2, Ino::MOST.0));
        if nodes.get(ino).is_ok_and(|other| other.path != path) {
            key.push(kind);
        } else {
            return ino;
        }
    }
}

/// Makes nodes.
pub(super) struct Namer<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) rights: &'a Rights,
}

impl Namer<'_> {
    /// Names everything in a mirrored folder and adds its nodes.
    pub(super) fn name_children(
        &self,
        node: &Node,
        source: &Path,
        inspected: &[(OsString, Arc<Inspected>)],
        under_way: &HashSet<OsString>,
    ) -> BTreeMap<OsString, Child> {
        let mut names = BTreeMap::new();
        let (views, inspected): (Vec<_>, Vec<_>) =
            inspected.iter().partition(|(name, _)| Entry::at(Path::new(name)).is_some());
        let (mut stores, mut folders) = (Vec::new(), Vec::new());
        for (name, found) in inspected {
            match &found.files {
                None => folders.push((name.as_os_str(), found)),
                Some(files) if !files.is_empty() => stores.push((name.as_os_str(), found, files)),
                Some(_) => {}
            }
        }
        let mut taken = Taken::default();
        let sources: Vec<&OsStr> = folders.iter().map(|(name, _)| *name).collect();
        let assigned = naming::assign_folders(&mut taken, &sources);
        for (name, (source_name, found)) in assigned.into_iter().zip(folders) {
            let path = node.path.join(&name);
            let ino = inode(self.nodes, FOLDER, &path, 0);
            // A folder that may not answer is not asked, but left as it is.
            if !under_way.contains(source_name) || self.nodes.get(ino).is_err() {
                self.add_folder(node.ino(), ino, path, source.join(source_name));
            }
            names.insert(name, Child { ino, inspected: found.clone() });
        }
        for (name, ino, found) in self.name_stores(node, &mut taken, &stores) {
            names.insert(name, Child { ino, inspected: found.clone() });
        }
        self.name_views(node, &mut taken, &views, &mut names);
        names
    }

    /// Names the stores of a mirrored folder, and then the folders of their labels.
    fn name_stores<'s>(
        &self,
        node: &Node,
        taken: &mut Taken,
        stores: &[(&'s OsStr, &'s Arc<Inspected>, &'s Vec<ListedFile>)],
    ) -> Vec<(OsString, Ino, &'s Arc<Inspected>)> {
        let images: Vec<Vec<InStore<'_>>> = stores
            .iter()
            .map(|(_, _, files)| files.iter().map(|f| self.in_store(f)).collect())
            .collect();
        let contents: Vec<Contents<'_>> =
            images.iter().map(|images| Contents::of(images)).collect();
        let has_images = |at: &usize| contents[*at].only().is_some() || contents[*at].is_folder();
        let with_images: Vec<usize> = (0..stores.len()).filter(has_images).collect();
        let candidate = |at: &usize| Candidate {
            source: stores[*at].0.to_owned(),
            title: None,
            ending: if contents[*at].is_folder() { "" } else { ".ims" },
        };
        let candidates: Vec<Candidate> = with_images.iter().map(candidate).collect();
        let assigned = naming::assign(taken, &candidates);
        // Labels without an image are called as those of the image would be.
        let mut own: Vec<OsString> =
            stores.iter().map(|(name, ..)| stem(name).to_owned()).collect();
        let mut named = Vec::new();
        for (at, name) in with_images.into_iter().zip(assigned) {
            let (_, found, files) = stores[at];
            let path = node.path.join(&name);
            let ino = match contents[at].only() {
                Some(only) => self.add_file(node.ino(), path, &files[only]),
                None => {
                    self.add_store_folder(node.ino(), &path, files, contents[at].in_folder(&name))
                }
            };
            own[at].clone_from(&name);
            named.push((name, ino, found));
        }
        let mut order: Vec<usize> = (0..stores.len()).collect();
        order.sort_by_key(|at| (&own[*at], stores[*at].0));
        for at in order {
            let (_, found, files) = stores[at];
            let labels = contents[at].beside();
            if !labels.is_empty() {
                let name = naming::labels_beside(taken, &own[at]);
                let path = node.path.join(&name);
                named.push((name, self.add_store_folder(node.ino(), &path, files, labels), found));
            }
        }
        named
    }

    /// What the name of an image is made from.
    fn in_store<'s>(&self, file: &'s ListedFile) -> InStore<'s> {
        let spec = &file.spec;
        let is_by_path = self.rights.config.image_names == ImageNames::Paths;
        InStore {
            image: &spec.image,
            multiscale: spec.multiscale,
            name: spec.name.as_deref(),
            title: spec.title.as_ref().filter(|_| !is_by_path),
            is_label: spec.role == Role::Label,
        }
    }

    /// Names the files that a person asks for. They come last: no store has to give a name up to them.
    fn name_views(
        &self,
        node: &Node,
        taken: &mut Taken,
        entries: &[&(OsString, Arc<Inspected>)],
        names: &mut BTreeMap<OsString, Child>,
    ) {
        let files = entries
            .iter()
            .flat_map(|(_, found)| found.files.iter().flatten().map(move |file| (found, file)));
        let mut views: Vec<_> = files
            .filter_map(|(found, file)| Some((file.spec.view.as_ref()?.clone(), found, file)))
            .collect();
        views.sort_by(|(a, ..), (b, ..)| (&a.entry, a.number).cmp(&(&b.entry, b.number)));
        for (view, found, file) in views {
            let candidate =
                Candidate { source: OsString::from(&view.name), title: None, ending: ".ims" };
            for name in naming::assign(taken, &[candidate]) {
                let ino = self.add_file(node.ino(), node.path.join(&name), file);
                names.insert(name, Child { ino, inspected: found.clone() });
            }
        }
    }

    /// A folder of the source, shown as a folder.
    fn add_folder(&self, parent: Ino, ino: Ino, path: PathBuf, source: PathBuf) {
        let mut attributes = self.rights.folder_attributes(ino, &source);
        let mut listing = None;
        if let Some(Kept { modified, shown }) = self.nodes.kept_of(ino) {
            attributes.modified = attributes.modified.max(modified);
            listing =
                Some(Listing { shown: Some(shown), is_forgotten: true, ..Listing::default() });
        }
        let shown = Mutex::new(Shown::now(attributes));
        let content = Content::Mirror { source, listing: Box::new(Mutex::new(listing)) };
        self.nodes.add(ino, Node { shown, parent, path, content });
    }

    /// A folder with images or labels of one store, by their numbers and their paths below the folder, and
    /// the folders within it.
    fn add_store_folder(
        &self,
        parent: Ino,
        path: &Path,
        files: &[ListedFile],
        places: Vec<(usize, PathBuf)>,
    ) -> Ino {
        let mut folders: BTreeMap<PathBuf, BTreeMap<OsString, Ino>> = BTreeMap::new();
        let folder_ino = |inside: &Path| inode(self.nodes, FOLDER, &join(path, inside), 0);
        let specs = || files.iter().map(|file| &file.spec);
        for (number, inside) in places {
            let above = inside.parent().unwrap_or(Path::new(""));
            let mut ino = self.add_file(folder_ino(above), join(path, &inside), &files[number]);
            for below in inside.ancestors() {
                let (Some(above), Some(name)) = (below.parent(), below.file_name()) else { break };
                folders.entry(above.to_path_buf()).or_default().insert(name.to_owned(), ino);
                ino = folder_ino(above);
            }
        }
        let store = specs().next().map(|spec| spec.store.clone()).unwrap_or_default();
        let newest = specs().map(|spec| spec.modified).max();
        for (inside, names) in folders {
            let ino = folder_ino(&inside);
            let parent = inside.parent().map_or(parent, folder_ino);
            let mut attributes = self.rights.folder_attributes(ino, &store);
            attributes.modified = newest.unwrap_or(attributes.modified);
            let shown = Mutex::new(Shown::now(attributes));
            let content =
                Content::StoreFolder { store: store.clone(), names: Box::new(Mutex::new(names)) };
            self.nodes.add(ino, Node { shown, parent, path: join(path, &inside), content });
        }
        folder_ino(Path::new(""))
    }

    fn add_file(&self, parent: Ino, path: PathBuf, file: &ListedFile) -> Ino {
        let ino = inode(self.nodes, FILE, &path, file.spec.id.0);
        let shown = Mutex::new(self.rights.file_attributes(ino, file));
        let content = Content::File(file.clone());
        self.nodes.add(ino, Node { shown, parent, path, content });
        ino
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use crate::fs::tree::forgotten::Forgotten;
    use crate::fs::view::{Attributes, NodeKind};
    use crate::resources::Names;
    use crate::resources::memory::MemoryBudget;
    use crate::resources::shares::Shares;

    use super::*;

    fn node(ino: Ino, path: &str) -> Node {
        let attributes = Attributes {
            ino,
            kind: NodeKind::Directory,
            size: 0,
            modified: SystemTime::UNIX_EPOCH,
            mode: 0o555,
            uid: 0,
            gid: 0,
        };
        let content = Content::Mirror { source: PathBuf::from(path), listing: Box::default() };
        let shown = Mutex::new(Shown::now(attributes));
        Node { shown, parent: Ino::ROOT, path: PathBuf::from(path), content }
    }

    fn none() -> Nodes {
        let names = Names::within(Shares::of(1 << 24), &MemoryBudget::new(1 << 24));
        Nodes::new(node(Ino::ROOT, ""), Forgotten::within(names.forgotten))
    }

    #[test]
    fn two_paths_never_share_an_inode() {
        let nodes = none();
        let path = Path::new("a");
        let first = inode(&nodes, FOLDER, path, 0);
        nodes.add(first, node(first, "a"));
        assert_eq!(inode(&nodes, FOLDER, path, 0), first);
        assert_ne!(inode(&nodes, FOLDER, path, 1), first);
        assert_ne!(inode(&nodes, FILE, path, 0), first);

        let nodes = none();
        nodes.add(first, node(first, "b"));
        let second = inode(&nodes, FOLDER, path, 0);
        assert_ne!(second, first);
        nodes.add(second, node(second, "a"));
        assert_eq!(inode(&nodes, FOLDER, path, 0), second);
        assert_eq!(nodes.get(first).expect("it is known").path, Path::new("b"));
    }
}
