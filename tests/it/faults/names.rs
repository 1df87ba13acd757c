//! The names on a disk that may lose power.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::common::picks::Picks;

/// What a name stands for, by inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Folder(u64),
    File(u64),
}

#[derive(Debug, Clone)]
enum Change {
    Bind(PathBuf, Node),
    Unbind(PathBuf),
    Rename(PathBuf, PathBuf, Node),
}

/// Absolute paths; the folder above all is always there.
#[derive(Debug, Default)]
pub(crate) struct Names {
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Not durable yet, oldest first.
    changes: Vec<Change>,
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            Self::Bind(path, node) => drop(names.insert(path.clone(), *node)),
            Self::Unbind(path) => drop(names.remove(path)),
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl Names {
    pub(crate) fn get(&self, path: &Path) -> Option<Node> {
        self.live.get(path).copied()
    }

    pub(crate) fn has_folder(&self, path: &Path) -> bool {
        path.parent().is_none() || matches!(self.get(path), Some(Node::Folder(_)))
    }

    pub(crate) fn bind(&mut self, path: &Path, node: Node) {
        self.change(Change::Bind(path.into(), node));
    }

    pub(crate) fn unbind(&mut self, path: &Path) {
        self.change(Change::Unbind(path.into()));
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path, node: Node) {
        self.change(Change::Rename(from.into(), to.into(), node));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes.push(change);
    }

    /// What lies directly in a folder.
    pub(crate) fn inside<'a>(
        &'a self,
        folder: &'a Path,
    ) -> impl Iterator<Item = (&'a Path, Node)> + 'a {
        let all = self.below(folder);
        all.filter(move |(path, _)| path.parent() == Some(folder))
    }

    /// Everything in a folder, whatever above what is in it.
    pub(crate) fn below<'a>(
        &'a self,
        folder: &'a Path,
    ) -> impl Iterator<Item = (&'a Path, Node)> + 'a {
        let from = self.live.range(folder.to_path_buf()..);
        let all = from.take_while(move |(path, _)| path.starts_with(folder));
        all.filter(move |(path, _)| *path != folder).map(|(path, node)| (&**path, *node))
    }

    /// All that has a name now.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Path, Node)> {
        self.live.iter().map(|(path, node)| (&**path, *node))
    }

    /// Whether a file may have a name after a loss of power.
    pub(crate) fn may_come_back(&self, file: u64) -> bool {
        let is_it = |node: &Node| *node == Node::File(file);
        self.durable.values().any(is_it)
            || self.changes.iter().any(|change| match change {
                Change::Bind(_, node) | Change::Rename(_, _, node) => is_it(node),
                Change::Unbind(_) => false,
            })
    }

    /// What the system writes back in its own time: the older half.
    pub(crate) fn write_back(&mut self) {
        let rest = self.changes.split_off(self.changes.len() / 2);
        for change in std::mem::replace(&mut self.changes, rest) {
            change.apply(&mut self.durable);
        }
    }

    /// Keeps the first `kept` changes, as a file system with a journal does, or any subset.
    pub(crate) fn lose_power(&mut self, picks: &mut Picks, kept: u64) {
        let mut left = std::mem::take(&mut self.durable);
        let is_ordered = picks.below(2) == 0;
        for change in std::mem::take(&mut self.changes) {
            if picks.below(100) < kept.max(50) {
                change.apply(&mut left);
            } else if is_ordered && picks.below(8) == 0 {
                break;
            }
        }
        // What lies in a folder that is not there is not there either.
        let mut whole = BTreeMap::new();
        for (path, node) in left {
            let parent = path.parent().expect("below the root");
            if parent.parent().is_none() || matches!(whole.get(parent), Some(Node::Folder(_))) {
                whole.insert(path, node);
            }
        }
        self.live = whole.clone();
        self.durable = whole;
    }
}

/// `folder/inside` without dots.
pub(crate) fn resolve(folder: &Path, inside: &Path) -> PathBuf {
    let mut path = folder.to_path_buf();
    for part in inside.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    path
}
