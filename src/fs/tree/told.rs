//! What the log and a list say of a store: a line for each fault, and one for all its nodes
//! that are rightly no images.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::source::NonImage;
use crate::sync::lock;

use super::inspected::{Inspected, Skipped};

/// Faults of a store that have a line each.
const FAULTS_TOLD: usize = 20;

/// The skipped paths of a store, as the log and a list show them.
#[derive(Debug)]
pub struct Told<'a> {
    /// Those that have a line each.
    pub faults: Vec<&'a Skipped>,
    /// The line for faults beyond these.
    pub more: Option<String>,
    /// The line for all nodes that are rightly no images.
    pub summary: Option<String>,
}

impl<'a> Told<'a> {
    /// Sorts the skipped paths of a store. What the whole store is has a line of its own.
    #[must_use]
    pub fn of(store: &Path, rows: &'a [Skipped]) -> Self {
        let is_summed = |row: &&Skipped| row.non_image.is_some() && row.path != store;
        let (summed, mut faults): (Vec<_>, Vec<_>) = rows.iter().partition(is_summed);
        let more = faults.len().saturating_sub(FAULTS_TOLD);
        faults.truncate(FAULTS_TOLD);
        let mut counts: BTreeMap<NonImage, usize> = BTreeMap::new();
        for row in &summed {
            if let Some(what) = row.non_image {
                *counts.entry(what).or_default() += 1;
            }
        }
        Self {
            faults,
            more: (more > 0).then(|| format!("and {more} more (--list -v names them)")),
            summary: (!summed.is_empty()).then(|| summary(summed.len(), counts)),
        }
    }
}

/// Such as `4 nodes are no images: 3 labels, 1 table (--list -v names them)`.
fn summary(nodes: usize, counts: BTreeMap<NonImage, usize>) -> String {
    let mut counts: Vec<(NonImage, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(what, count)| (usize::MAX - count, *what));
    let counts: Vec<String> = counts.into_iter().map(|(what, n)| what.count(n)).collect();
    let counts = counts.join(", ");
    match nodes {
        1 => format!("1 node is no image: {counts} (--list -v names it)"),
        _ => format!("{nodes} nodes are no images: {counts} (--list -v names them)"),
    }
}

/// Logs what is skipped, and what is assumed of what is shown, once.
#[derive(Debug, Default)]
pub(super) struct Teller {
    /// A hash of the last words about each folder of the source.
    told: Mutex<HashMap<PathBuf, u64>>,
}

impl Teller {
    /// Logs what an inspection has found, unless the log has it already: a folder that cannot be read is
    /// looked at again and again.
    pub(super) fn tell(&self, folder: &Path, found: &Inspected) {
        let Inspected { skipped, notes, files, .. } = found;
        let mut hasher = DefaultHasher::new();
        (skipped, notes).hash(&mut hasher);
        let hash = hasher.finish();
        let is_nothing = skipped.is_empty() && notes.is_empty();
        let before = {
            let mut told = lock(&self.told);
            if is_nothing { told.remove(folder) } else { told.insert(folder.to_path_buf(), hash) }
        };
        if before == Some(hash) {
            return;
        }
        let told = Told::of(folder, skipped);
        for row in &told.faults {
            tracing::warn!(path = %row.path.display(), reason = %row.reason, "skipped");
        }
        let (path, is_absent) = (folder.display(), files.as_ref().is_some_and(Vec::is_empty));
        if let Some(more) = told.more {
            tracing::warn!(%path, reason = more, "skipped");
        }
        match told.summary {
            // Then there is no file that shows that the store was found.
            Some(summary) if is_absent => tracing::warn!(%path, "{summary}"),
            Some(summary) => tracing::info!(%path, "{summary}"),
            None => {}
        }
        for row in skipped.iter().filter(|row| row.non_image.is_some() && row.path != folder) {
            tracing::debug!(path = %row.path.display(), reason = %row.reason, "skipped");
        }
        for (path, notes) in notes {
            tracing::info!(path = %path.display(), "{notes}");
        }
    }
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

    #[test]
    fn non_images_are_summed_and_faults_are_not() {
        let mut rows = vec![row("x.zarr/t", Some(NonImage::Table)), row("x.zarr/bad", None)];
        rows.extend((0..3).map(|n| row(&format!("x.zarr/labels/{n}"), Some(NonImage::Label))));
        let told = Told::of(Path::new("x.zarr"), &rows);
        assert_eq!(told.faults, [&rows[1]]);
        assert_eq!(told.more, None);
        let expected = "4 nodes are no images: 3 labels, 1 table (--list -v names them)";
        assert_eq!(told.summary.as_deref(), Some(expected));
        let told = Told::of(Path::new("x.zarr"), &rows[..1]);
        let expected = "1 node is no image: 1 table (--list -v names it)";
        assert_eq!(told.summary.as_deref(), Some(expected));
    }

    #[test]
    fn what_the_store_itself_is_has_a_line() {
        let rows = [row("m.zarr", Some(NonImage::Matrix))];
        let told = Told::of(Path::new("m.zarr"), &rows);
        assert_eq!((told.faults.len(), told.summary), (1, None));
    }

    #[test]
    fn faults_are_bounded() {
        let rows: Vec<Skipped> = (0..25).map(|n| row(&format!("x.zarr/{n}"), None)).collect();
        let told = Told::of(Path::new("x.zarr"), &rows);
        assert_eq!(told.faults.len(), 20);
        assert_eq!(told.more.as_deref(), Some("and 5 more (--list -v names them)"));
    }
}
