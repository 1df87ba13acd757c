//! What the log and a list say of what is skipped: one line for each store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::source::NonImage;
use crate::sync::lock;

use super::inspected::{Inspected, Skipped};

/// Reasons that the line of a store names.
const REASONS_TOLD: usize = 3;

/// What the log and a list say of the skipped paths of a store: one line.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    /// The path that the line is about: the only one that is skipped, or the store.
    pub path: PathBuf,
    /// The reason, or what is skipped of the store.
    pub text: String,
    /// It sums up nodes of the store.
    pub is_sum: bool,
    /// Something is wrong with one of them.
    pub has_faults: bool,
}

impl Told {
    /// The line for the skipped paths of a store; `None` if there are none. What the whole store is counts
    /// as a fault: there is no file that shows that it was found.
    #[must_use]
    pub fn of(store: &Path, rows: &[Skipped]) -> Option<Self> {
        let is_summed = |row: &&Skipped| row.non_image.is_some() && row.path != store;
        let (summed, faults): (Vec<_>, Vec<_>) = rows.iter().partition(is_summed);
        let path = store.to_path_buf();
        let mut counts: BTreeMap<NonImage, usize> = BTreeMap::new();
        for what in summed.iter().filter_map(|row| row.non_image) {
            *counts.entry(what).or_default() += 1;
        }
        let has_faults = !faults.is_empty();
        Some(match (faults.as_slice(), summed.len()) {
            ([], 0) => return None,
            ([only], 0) => Self {
                path: only.path.clone(),
                text: only.reason.clone(),
                is_sum: false,
                has_faults,
            },
            (faults, nodes) => {
                let lines = [fault_summary(store, faults), summary(nodes, counts)];
                let text = lines.into_iter().flatten().collect::<Vec<_>>().join("; ");
                let them = if rows.len() == 1 { "it" } else { "them" };
                let text = format!("{text} (--list -v names {them})");
                Self { path, text, is_sum: true, has_faults }
            }
        })
    }
}

/// Such as `3 nodes cannot be shown: a and 1 more: codec "x" is not supported; b: no Zarr metadata`.
fn fault_summary(store: &Path, faults: &[&Skipped]) -> Option<String> {
    let mut reasons: Vec<(&str, Vec<&Path>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for row in faults {
        // Of a file in it: the same reason in each node.
        let own = format!("{}/", row.path.display());
        let reason = row.reason.strip_prefix(&own).unwrap_or(&row.reason);
        let at = *places.entry(reason).or_insert(reasons.len());
        if at == reasons.len() {
            reasons.push((reason, Vec::new()));
        }
        reasons[at].1.push(&row.path);
    }
    reasons.sort_by_key(|(_, paths)| usize::MAX - paths.len());
    let one = |(reason, paths): &(&str, Vec<&Path>)| {
        let first = paths[0].strip_prefix(store).ok().filter(|first| !first.as_os_str().is_empty());
        let first = first.unwrap_or(paths[0]).display();
        match paths.len() - 1 {
            0 => format!("{first}: {reason}"),
            more => format!("{first} and {more} more: {reason}"),
        }
    };
    let mut told: Vec<String> = reasons.iter().take(REASONS_TOLD).map(one).collect();
    let more: usize = reasons.iter().skip(REASONS_TOLD).map(|(_, paths)| paths.len()).sum();
    if more > 0 {
        told.push(format!("{more} more for other reasons"));
    }
    let told = told.join("; ");
    match faults.len() {
        0 => None,
        1 => Some(format!("1 node cannot be shown: {told}")),
        nodes => Some(format!("{nodes} nodes cannot be shown: {told}")),
    }
}

/// Such as `4 nodes are no images: 3 labels, 1 table`.
fn summary(nodes: usize, counts: BTreeMap<NonImage, usize>) -> Option<String> {
    let mut counts: Vec<(NonImage, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(what, count)| (usize::MAX - count, *what));
    let counts: Vec<String> = counts.into_iter().map(|(what, n)| what.count(n)).collect();
    let counts = counts.join(", ");
    match nodes {
        0 => None,
        1 => Some(format!("1 node is no image: {counts}")),
        _ => Some(format!("{nodes} nodes are no images: {counts}")),
    }
}

/// Logs what is skipped, and what is assumed of what is shown, once.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// Hashes of the last words about folders of the source, by hashes of their paths.
    told: Mutex<HashMap<u64, u64>>,
}

impl Teller {
    /// Logs what an inspection has found, unless the log has it already: a folder that cannot be read is
    /// looked at again and again.
    pub(super) fn tell(&self, folder: &Path, found: &Inspected) {
        let Inspected { skipped, notes, files, .. } = found;
        let (key, hash) = (hash_of(folder), hash_of(&(skipped, notes)));
        let is_nothing = skipped.is_empty() && notes.is_empty();
        let before = {
            let mut told = lock(&self.told);
            if is_nothing { told.remove(&key) } else { told.insert(key, hash) }
        };
        if before == Some(hash) {
            return;
        }
        if let Some(Told { path, text, is_sum, has_faults }) = Told::of(folder, skipped) {
            let path = path.display();
            // Without a file there is nothing else that shows that the store was found.
            let is_absent = files.as_ref().is_some_and(Vec::is_empty);
            match (has_faults, is_absent) {
                (true, _) => tracing::warn!(%path, reason = %text, "skipped"),
                (false, true) => tracing::warn!(%path, "{text}"),
                (false, false) => tracing::info!(%path, "{text}"),
            }
            for row in skipped.iter().filter(|_| is_sum) {
                tracing::debug!(path = %row.path.display(), reason = %row.reason, "skipped");
            }
        }
        for (path, notes) in notes {
            tracing::info!(path = %path.display(), "{notes}");
        }
    }

    /// Logs what is skipped beside the stores of a folder, unless the log has it already. `before`: what was skipped
    /// there at the last look.
    pub(super) fn tell_beside(&self, before: &[Skipped], now: &[Skipped]) {
        let mut told = lock(&self.told);
        let paths: HashSet<&Path> = now.iter().map(|row| row.path.as_path()).collect();
        for row in before.iter().filter(|row| !paths.contains(row.path.as_path())) {
            told.remove(&hash_of(&row.path));
        }
        for row in now {
            let hash = hash_of(row);
            if told.insert(hash_of(&row.path), hash) != Some(hash) {
                tracing::warn!(path = %row.path.display(), reason = %row.reason, "skipped");
            }
        }
    }
}

fn hash_of(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {}: {}", self.path.display(), self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, non_image: Option<NonImage>) -> Skipped {
        Skipped { path: path.into(), reason: "so".to_owned(), non_image }
    }

    fn told(rows: &[Skipped]) -> (String, String) {
        let told = Told::of(Path::new("x.zarr"), rows).expect("something is skipped");
        (told.path.display().to_string(), told.text)
    }

    #[test]
    fn a_store_has_one_line() {
        assert_eq!(Told::of(Path::new("x.zarr"), &[]), None);
        let mut rows = vec![row("x.zarr/bad", None)];
        assert_eq!(told(&rows), ("x.zarr/bad".to_owned(), "so".to_owned()));
        rows.push(row("x.zarr/t", Some(NonImage::Table)));
        rows.extend((0..3).map(|n| row(&format!("x.zarr/labels/{n}"), Some(NonImage::Label))));
        let no_images = "4 nodes are no images: 3 labels, 1 table (--list -v names them)";
        let expected = format!("1 node cannot be shown: bad: so; {no_images}");
        assert_eq!(told(&rows), ("x.zarr".to_owned(), expected));
        assert_eq!(told(&rows[1..]).1, no_images);
        assert_eq!(told(&rows[1..2]).1, "1 node is no image: 1 table (--list -v names it)");
    }

    #[test]
    fn what_the_store_itself_is_has_its_reason() {
        let rows = [row("x.zarr", Some(NonImage::Matrix))];
        assert_eq!(told(&rows), ("x.zarr".to_owned(), "so".to_owned()));
    }

    #[test]
    fn faults_are_counted_by_their_reasons() {
        let mut rows: Vec<Skipped> = (0..25).map(|n| row(&format!("x.zarr/{n}"), None)).collect();
        let reasons = ["a", "b", "c", "d", "x.zarr/4/f: e", "x.zarr/5/f: e"];
        for (row, reason) in rows.iter_mut().zip(reasons) {
            reason.clone_into(&mut row.reason);
        }
        let expected = "25 nodes cannot be shown: 6 and 18 more: so; 4 and 1 more: f: e; 0: a; 3 more for \
                        other reasons (--list -v names them)";
        assert_eq!(told(&rows).1, expected);
    }
}
