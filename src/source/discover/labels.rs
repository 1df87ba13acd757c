//! The label images of an image.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::super::Unsupported;
use super::super::metadata::ZarrNode;
use super::super::ome;
use super::super::root::join;
use super::walk::Walk;

impl Walk<'_> {
    /// Finds the label images of an image: those that the group `labels` lists (OME-NGFF 0.4, "labels"),
    /// and those that lie in it all the same, as its list may be absent or incomplete.
    pub(super) fn labels(&mut self, inside: &Path, depth: usize) {
        let labels = inside.join("labels");
        let folder = join(self.store, &labels);
        let names = match self.read_node(&folder) {
            Ok(Some(ZarrNode::Group(attributes))) => ome::label_names(&attributes),
            Ok(Some(ZarrNode::Array(_))) => return self.skip(&folder, Unsupported::Unlisted),
            Ok(None) => Vec::new(),
            Err(error) => {
                self.fail(folder.clone(), error);
                Vec::new()
            }
        };
        let (mut seen, mut listed) = (BTreeSet::new(), BTreeSet::new());
        for name in names {
            let below: PathBuf = Path::new(&name).components().collect();
            if !below.as_os_str().is_empty() && seen.insert(below.clone()) {
                self.listed_label(&labels, &name, &below, depth);
                listed.extend(below.iter().next().map(OsStr::to_owned));
            }
        }
        self.members(&labels, depth + 1, &|name| !listed.contains(name));
    }

    fn listed_label(&mut self, labels: &Path, name: &str, below: &Path, depth: usize) {
        let folder = join(self.store, labels);
        let path = folder.join(below);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            self.skip(&folder, Unsupported::PathEscapes(name.to_owned()));
        } else if !self.labels {
            self.skip(&path, Unsupported::Label);
        } else if let Some(reason) = self.limit(depth) {
            self.skip(&path, reason);
        } else {
            let node = self.read_node(&path);
            self.node(&labels.join(below), node, depth + 1);
        }
    }
}
