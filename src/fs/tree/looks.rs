//! Looks into the folders within a folder, in the background: a store that takes long, or does not answer,
//! must not hold up the names of its neighbours.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::by_hand::Entry;
use crate::fs::naming;
use crate::resources::workers::Workers;
use crate::sync::lock;

use super::inspected::Inspected;

/// Threads that look. Most of the time they wait for a file server; each may hold a document of metadata.
pub(super) const THREADS: usize = 8;

/// The same, with those whose store does not answer.
pub(super) const MOST_THREADS: usize = 64;

/// Who lists a folder waits for what is in it as long as looks come to an end within this time, and not for
/// a look that takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a caller waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait<'a> {
    /// The end of every look.
    All,
    /// The names that are known without waiting for a store that takes long.
    Listing,
    /// What a name in the mount may stand for, however long that takes.
    Name(&'a OsStr),
}

/// The looks into the folders of one folder.
#[derive(Debug, Default)]
pub(super) struct Looks {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By name of the folder.
    under_way: HashSet<OsString>,
    /// Those of them that take long, and that no listing waits for any more.
    slow: HashSet<OsString>,
    /// What came of those that nobody has taken up yet.
    found: HashMap<OsString, Arc<Inspected>>,
    /// When the last one came to its end.
    last_end: Option<Instant>,
    rounds: u64,
    /// The newest round whose findings were taken up.
    settled: u64,
}

/// A round of looks, begun at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    number: u64,
    started: Instant,
}

/// What is known at the end of a wait.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) found: HashMap<OsString, Arc<Inspected>>,
    /// Folders that are still looked into.
    pub(super) under_way: HashSet<OsString>,
    /// How long the looks of the round took that came to an end.
    pub(super) cost: Duration,
}

/// A look under way. However it ends, callers stop waiting for it.
struct Look {
    looks: Arc<Looks>,
    name: OsString,
    found: Option<Arc<Inspected>>,
}

impl Look {
    fn end(mut self, found: Arc<Inspected>) {
        self.found = Some(found);
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        let mut state = lock(&self.looks.state);
        state.under_way.remove(&self.name);
        state.slow.remove(&self.name);
        if let Some(found) = self.found.take() {
            state.found.insert(std::mem::take(&mut self.name), found);
        }
        state.last_end = Some(Instant::now());
        self.looks.ended.notify_all();
    }
}

/// Whether what is found at a name of the source may have a name in the mount.
fn may_be_called(source: &OsStr, name: &OsStr) -> bool {
    match (Entry::asked_name(source), Entry::at(Path::new(source))) {
        (Some(asked), _) => naming::may_be_called(asked, name),
        // Only the file says what it asks for.
        (None, Some(_)) => true,
        (None, None) => naming::may_be_called(source, name),
    }
}

impl State {
    fn is_awaited(&self, wait: Wait<'_>) -> bool {
        match wait {
            Wait::All => !self.under_way.is_empty(),
            Wait::Listing => self.under_way.iter().any(|name| !self.slow.contains(name)),
            Wait::Name(name) => self.under_way.iter().any(|source| may_be_called(source, name)),
        }
    }
}

impl Looks {
    /// Whether something was found that nobody has taken up.
    pub(super) fn has_news(&self) -> bool {
        !lock(&self.state).found.is_empty()
    }

    /// Whether none is under way. What was found may wait to be taken up.
    pub(super) fn are_over(&self) -> bool {
        lock(&self.state).under_way.is_empty()
    }

    /// Lets go of what nobody has taken up.
    pub(super) fn forget(&self) {
        lock(&self.state).found = HashMap::new();
    }

    /// The folders that are looked into now.
    pub(super) fn under_way(&self) -> HashSet<OsString> {
        lock(&self.state).under_way.clone()
    }

    /// Whether looks are under way that a caller waits for.
    pub(super) fn is_awaited(&self, wait: Wait<'_>) -> bool {
        lock(&self.state).is_awaited(wait)
    }

    /// Begins a look into each of the folders of `source`, unless one is under way. `known`: what was known
    /// of it, and need not be looked for again while it is true.
    pub(super) fn begin(
        self: &Arc<Self>,
        workers: &Workers,
        source: &Path,
        folders: &[OsString],
        known: impl Fn(&OsString) -> Option<Arc<Inspected>>,
        look: impl Fn(&Path, Option<&Arc<Inspected>>) -> Arc<Inspected> + Send + Sync + 'static,
    ) -> Round {
        let mut state = lock(&self.state);
        state.rounds += 1;
        let round = Round { number: state.rounds, started: Instant::now() };
        let mut begun = Vec::new();
        for name in folders {
            if !state.under_way.contains(name) && !state.found.contains_key(name) {
                state.under_way.insert(name.clone());
                begun.push(Look { looks: self.clone(), name: name.clone(), found: None });
            }
        }
        drop(state);
        let look = Arc::new(look);
        for begun in begun {
            let (look, known) = (look.clone(), known(&begun.name));
            let path = source.join(&begun.name);
            workers.spawn(move || begun.end(look(&path, known.as_ref())));
        }
        round
    }

    /// Waits until the answer that the caller waits for is known.
    pub(super) fn wait(&self, wait: Wait<'_>) {
        let mut state = lock(&self.state);
        let mut seen = state.under_way.len();
        let mut since = Instant::now();
        while state.is_awaited(wait) {
            if since.elapsed() >= PATIENCE && matches!(wait, Wait::Listing) {
                let State { under_way, slow, .. } = &mut *state;
                slow.extend(under_way.iter().cloned());
                return;
            }
            let waited = self.ended.wait_timeout(state, PATIENCE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.under_way.len() != seen {
                (seen, since) = (state.under_way.len(), Instant::now());
            }
        }
    }

    /// Takes up what was found; `None` where a later round has done so.
    pub(super) fn settle(&self, round: Round) -> Option<Findings> {
        let mut state = lock(&self.state);
        if state.settled > round.number {
            return None;
        }
        state.settled = round.number;
        let cost = state.last_end.map_or(Duration::ZERO, |end| end - round.started.min(end));
        let found = std::mem::take(&mut state.found);
        // Of a folder with many names, of which none is left here.
        state.under_way.shrink_to_fit();
        Some(Findings { found, under_way: state.under_way.clone(), cost })
    }
}
