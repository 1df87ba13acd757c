//! The names of one folder: no two alike.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};

use crate::source::store_name::{STORE_SUFFIXES, stem, suffix};

use super::safe::{folded, shown};

/// The names of one folder that are in use, as a client sees them that ignores case.
#[derive(Debug, Default)]
pub struct Taken {
    folded: HashSet<OsString>,
    /// Where the search for a free number begins, by name.
    next: HashMap<OsString, u64>,
}

/// A store or an image that wants a name in a folder.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name in the source.
    pub source: OsString,
    /// What the metadata calls it: comes before its name in the source, which it keeps if that is taken.
    pub title: Option<OsString>,
    /// What is put behind the stem: `.ims` for a file, nothing for a folder.
    pub ending: &'static str,
}

impl Taken {
    /// Takes a name, unless it is taken.
    fn take(&mut self, name: &OsStr) -> bool {
        self.folded.insert(folded(name))
    }

    /// Takes the first of these names that is free, or the last one with a number.
    pub(super) fn take_one(&mut self, wanted: &[&OsStr], ending: &str) -> OsString {
        for name in wanted {
            let name = shown(name, "", ending);
            if self.take(&name) {
                return name;
            }
        }
        let last = wanted.last().copied().unwrap_or_default();
        let key = folded(&shown(last, "", ending));
        let mut number = self.next.get(&key).copied().unwrap_or(2);
        loop {
            let name = shown(last, &format!("~{number}"), ending);
            number += 1;
            if self.take(&name) {
                self.next.insert(key, number);
                return name;
            }
        }
    }
}

/// Names for plain folders. One whose name is not UTF-8 keeps it.
#[must_use]
pub fn assign_folders(taken: &mut Taken, sources: &[&OsStr]) -> Vec<OsString> {
    let mut names = vec![OsString::new(); sources.len()];
    let (mut pending, mut order) = (Vec::new(), (0..sources.len()).collect::<Vec<_>>());
    order.sort_by_key(|&i| sources[i]);
    for i in order {
        let keeps = sources[i].to_str().is_none() || shown(sources[i], "", "") == *sources[i];
        if (keeps && taken.take(sources[i])) || sources[i].to_str().is_none() {
            sources[i].clone_into(&mut names[i]);
        } else {
            pending.push(i);
        }
    }
    for i in pending {
        names[i] = taken.take_one(&[sources[i]], "");
    }
    names
}

/// Gives each candidate a name that is not taken and not another's.
#[must_use]
pub fn assign(taken: &mut Taken, candidates: &[Candidate]) -> Vec<OsString> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&i| {
        let Candidate { source, title, .. } = &candidates[i];
        (title.is_some(), suffix(source).map_or(STORE_SUFFIXES.len(), |(_, place)| place), source)
    });
    let mut names = vec![OsString::new(); candidates.len()];
    for i in order {
        let Candidate { source, title, ending } = &candidates[i];
        names[i] = match title {
            Some(title) => taken.take_one(&[title, stem(source), source], ending),
            None => taken.take_one(&[stem(source), source], ending),
        };
    }
    names
}
