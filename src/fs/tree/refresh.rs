//! Keeping the listing of a mirrored folder up to date.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::by_hand::Entry;
use crate::fs::naming;
use crate::fs::view::FsError;
use crate::resources::workers::Workers;
use crate::source::SourceError;
use crate::source::discover::{self, File, is_notable_file};
use crate::source::root::{DirEntry, EntryKind};
use crate::sync::lock;

use super::inspect::{Inspector, is_notable};
use super::inspected::{Checked, Inspected, Skipped};
use super::looks::{Findings, Looks, Wait};
use super::names::Namer;
use super::node::{Listing, Node};

/// What a look costs at most that met an outage.
const OUTAGE_COST: Duration = Duration::from_secs(1);

/// Files of a folder that are looked into although their names promise nothing.
const MOST_UNNAMED: usize = 1000;

/// Looks at folders.
pub(super) struct Refresh<'a> {
    pub(super) namer: Namer<'a>,
    pub(super) inspector: &'a Arc<Inspector>,
    pub(super) workers: &'a Workers,
}

/// What a look at a folder begins with.
struct Due {
    looks: Arc<Looks>,
    known: Known,
    skipped: Vec<Skipped>,
    is_forgotten: bool,
}

/// What is known of what is in a folder, by name.
type Known = Arc<HashMap<OsString, Arc<Inspected>>>;

/// What a folder has in it.
struct Contents {
    /// What to look into: folders, and entries for what a person asks for.
    folders: Vec<OsString>,
    /// What was known of them, if the folder was forgotten.
    recalled: Known,
    skipped: Vec<Skipped>,
    /// How long it took to list it.
    cost: Duration,
}

/// The files of a folder whose names do not promise a store. A few are looked into: any of them may be an
/// archive.
#[derive(Default)]
struct Unnamed {
    /// A folder that changes is listed more than once.
    names: RefCell<HashSet<OsString>>,
}

impl Unnamed {
    /// Counts an entry, and takes it while there are few.
    fn take(&self, entry: &DirEntry) -> bool {
        let mut names = self.names.borrow_mut();
        let is_taken = entry.kind == EntryKind::File && names.len() <= MOST_UNNAMED;
        if is_taken {
            names.insert(entry.name.clone());
        }
        is_taken
    }

    /// Whether all of them are looked into.
    fn are_few(&self, folder: &Path) -> bool {
        let are_few = self.names.borrow().len() <= MOST_UNNAMED;
        if !are_few {
            tracing::debug!(
                path = %folder.display(),
                "more than {MOST_UNNAMED} files; zip files are looked for only among those named .zip or .ozx"
            );
        }
        are_few
    }
}

impl Refresh<'_> {
    /// Brings the listing of a mirrored folder up to date. The listing is not locked during a wait for a
    /// store. Of a new listing, the memory that it takes, and how long it took.
    pub(super) fn run(
        &self,
        node: &Node,
        source: &Path,
        listing: &Mutex<Option<Listing>>,
        wait: Wait<'_>,
    ) -> Result<Option<(u64, Duration)>, FsError> {
        let mut made = None;
        while let Some(due) = due(listing, wait) {
            let started = Instant::now();
            let mut contents = match self.contents(source, &due.skipped) {
                Ok(contents) => contents,
                // What was there before stays, until the source answers again. A folder of this machine that is gone
                // is another matter: another one may take its place.
                Err(FsError::Source(error))
                    if error.is_outage() && self.inspector.root.storage().is_remote() =>
                {
                    return keep(listing, started, error).map(|()| None);
                }
                Err(error) => {
                    let old = lock(listing).take();
                    *lock(listing) = Some(Listing { looks: due.looks, ..Listing::default() });
                    let nodes = self.namer.nodes;
                    nodes.forget(old.into_iter().flat_map(|old| old.names.into_values()));
                    nodes.settle(node.ino(), &node.path);
                    return Err(error);
                }
            };
            let is_miss = matches!(wait, Wait::Name(_));
            let (inspector, root) = (self.inspector.clone(), self.inspector.root.clone());
            let mut known = due.known;
            if due.is_forgotten {
                known = self.recalled(source, &contents.folders, &known);
                contents.recalled = known.clone();
            }
            let look = move |path: &Path, known: Option<&Arc<Inspected>>| match known
                .filter(|known| is_miss && known.is_fresh(&root))
            {
                Some(known) => known.clone(),
                None => inspector.look(path, known),
            };
            let known = |name: &OsString| known.get(name).cloned();
            let round = due.looks.begin(self.workers, source, &contents.folders, known, look);
            due.looks.wait(wait);
            let mut listing = lock(listing);
            // If a later round was faster, what it has not seen is taken up by the next one.
            if let Some(findings) = due.looks.settle(round) {
                let is_told = matches!(wait, Wait::Listing);
                self.take_in(node, source, &mut listing, contents, findings, is_told);
                made = listing.as_ref().map(|listing| (listing.bytes(), started.elapsed()));
                break;
            }
        }
        Ok(made)
    }

    /// Lists a folder.
    fn contents(&self, source: &Path, skipped_before: &[Skipped]) -> Result<Contents, FsError> {
        let started = Instant::now();
        let (mut folders, mut skipped) = (Vec::new(), Vec::new());
        let files = Unnamed::default();
        let is_wanted = |entry: &DirEntry| is_notable(entry) || files.take(entry);
        let entries = self.inspector.root.list(source, is_wanted)?;
        let looks_into_all = files.are_few(source);
        for DirEntry { name, kind } in entries {
            let path = source.join(&name);
            if kind == EntryKind::File
                && !looks_into_all
                && !is_notable_file(Path::new(&name))
                && Entry::at(&path).is_none()
            {
                continue;
            }
            let reason = match kind {
                EntryKind::Directory | EntryKind::LinkedDirectory => {
                    folders.push(name);
                    None
                }
                EntryKind::File if Entry::at(&path).is_some() => {
                    folders.push(name);
                    None
                }
                EntryKind::File => match discover::look_at_file(&self.inspector.root, &path) {
                    File::Store => {
                        folders.push(name);
                        None
                    }
                    File::Skipped(reason) => Some(reason),
                    File::Ordinary => None,
                },
                EntryKind::BadLink => discover::skipped_link(&path),
                EntryKind::Other => None,
            };
            skipped.extend(reason.map(|reason| Skipped::of(&path, &reason)));
        }
        self.inspector.teller.tell_beside(skipped_before, &skipped);
        folders.extend(self.inspector.entries_in(source));
        Ok(Contents { folders, recalled: Known::default(), skipped, cost: started.elapsed() })
    }

    /// What was known of what is in a folder before it was forgotten: a look that takes long hides nothing that was
    /// shown before.
    fn recalled(&self, source: &Path, folders: &[OsString], known: &Known) -> Known {
        let recalled = folders.iter().filter_map(|name| {
            let found = match known.get(name) {
                None => self.inspector.recall(&source.join(name))?,
                Some(known) => known.clone(),
            };
            Some((name.clone(), found))
        });
        Arc::new(recalled.collect())
    }

    /// Makes a listing of what was found. A folder that is still looked into is what it was before; one that
    /// was not known, and what may have to give a name up to it, is not shown yet.
    fn take_in(
        &self,
        node: &Node,
        source: &Path,
        listing: &mut Option<Listing>,
        Contents { folders, recalled, skipped, cost: listed }: Contents,
        Findings { mut found, under_way, cost }: Findings,
        is_told: bool,
    ) {
        let old = listing.take().unwrap_or_default();
        let mut inspected = Vec::new();
        let mut unknown = HashSet::new();
        let before = |name: &OsString| old.inspected.get(name).or_else(|| recalled.get(name));
        for name in folders {
            if let Some(found) = found.remove(&name).or_else(|| before(&name).cloned()) {
                inspected.push((name, found));
                continue;
            }
            unknown.extend(naming::rivals(&name));
            if is_told && !old.slow.contains(&name) {
                let path = source.join(&name);
                tracing::info!(path = %path.display(), "takes long to look into; shown later");
            }
        }
        let is_shown = |name: &OsString| {
            let was_shown = before(name).is_some() && !old.held_back.contains(name);
            unknown.is_empty() || was_shown || !unknown.contains(&naming::key(name))
        };
        let (shown, held_back): (Vec<_>, Vec<_>) =
            inspected.into_iter().partition(|(name, _)| is_shown(name));
        let names = self.namer.name_children(node, source, &shown, &under_way);
        let is_complete = unknown.is_empty();
        let now = Listing::hash_of(&names);
        // Of a folder that was forgotten, what was shown before is known by the hash alone, until all is here again.
        let was_forgotten = old.is_forgotten || old.is_coming_back;
        let has_come_back = is_complete || !was_forgotten;
        if has_come_back && old.shown.is_some_and(|before| before != now) {
            node.touch();
        }
        let kept: HashSet<_> = names.values().map(|child| child.ino).collect();
        self.namer.nodes.forget(old.names.into_values().filter(|child| !kept.contains(&child.ino)));
        if is_complete && was_forgotten {
            self.namer.nodes.settle(node.ino(), &node.path);
        }
        let cost = listed + cost;
        let grows = shown.iter().chain(&held_back).any(|(_, found)| found.is_unfinished);
        let checked = if grows { Checked::of_growing(cost) } else { Checked::costing(cost) };
        *listing = Some(Listing {
            held_back: held_back.iter().map(|(name, _)| name.clone()).collect(),
            inspected: Arc::new(shown.into_iter().chain(held_back).collect()),
            names,
            skipped,
            checked: Some(checked),
            slow: if is_told { under_way } else { old.slow },
            looks: old.looks,
            shown: if has_come_back { Some(now) } else { old.shown },
            is_forgotten: false,
            is_coming_back: was_forgotten && !is_complete,
        });
    }
}

/// Keeps a listing that was made before, for as long as another look would take.
///
/// # Errors
/// The reason, where there is none.
fn keep(
    listing: &Mutex<Option<Listing>>,
    started: Instant,
    error: SourceError,
) -> Result<(), FsError> {
    let mut listing = lock(listing);
    let known = listing.as_mut().filter(|known| known.checked.is_some() && !known.is_forgotten);
    let known = known.ok_or(FsError::Source(error))?;
    // The next look need not wait for ten times what this one took.
    known.checked = Some(Checked::costing(started.elapsed().min(OUTAGE_COST)));
    Ok(())
}

/// Whether it is time to look at a folder, by what the caller waits for.
fn due(listing: &Mutex<Option<Listing>>, wait: Wait<'_>) -> Option<Due> {
    let mut listing = lock(listing);
    let known = listing.get_or_insert_default();
    let is_recent = known.checked.as_ref().is_some_and(Checked::is_recent);
    let is_asked_for = match wait {
        Wait::Listing | Wait::All => known.looks.is_awaited(wait),
        Wait::Name(_) => known.looks.is_awaited(wait) || known.seems_changed(),
    };
    (!is_recent || is_asked_for || known.is_forgotten || known.looks.has_news()).then(|| Due {
        looks: known.looks.clone(),
        known: known.inspected.clone(),
        is_forgotten: known.is_forgotten,
        skipped: known.skipped.clone(),
    })
}

impl Listing {
    /// Whether something that is shown was not compared with the source lately, and is not just now.
    fn seems_changed(&self) -> bool {
        let under_way = self.looks.under_way();
        self.inspected.iter().any(|(name, found)| {
            let is_shown = found.files.as_ref().is_none_or(|files| !files.is_empty());
            is_shown && !found.seems_fresh() && !under_way.contains(name)
        })
    }
}
