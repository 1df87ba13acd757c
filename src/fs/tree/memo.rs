//! The memo: results of inspecting the source, kept as a note in the cache, so that a later start
//! lists names and sizes without reading metadata again.
//!
//! The memo is a text: a line that names the program, source folder and options for which it holds,
//! and a line of JSON for each inspected folder, with a checksum in front. The reader trusts a line
//! if its checksum is right and every file that the result was computed from is in the state that
//! the line states (see [`Fingerprint`](crate::source::Fingerprint)). Otherwise it inspects the folder.
//!
//! The memo holds a result only if its fingerprint shows at any later time whether it is still true:
//! all files could be read, and had been at rest long enough that a later change gets another time.
//!
//! Each source folder and choice of options has a note of its own, so several mounts share a cache.

mod row;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::by_hand::Tables;
use crate::cache::SteadyCache;
use crate::image::ImageOptions;
use crate::source::SourceRoot;
use crate::sync::lock;

use super::inspected::{Checked, Inspected};
use super::options::TreeConfig;
use row::{Key, Row};

/// Bump whenever lines are written in another way, or their values mean something else. A memo of
/// another version is ignored.
const FORMAT_VERSION: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Memo {
    scope: Scope,
    /// Name of its note in the cache.
    note: String,
    /// By path below the source folder.
    records: Mutex<HashMap<PathBuf, Record>>,
    /// Number of results so far that are not in the memo of an earlier run.
    news: AtomicU64,
    written: Mutex<Written>,
}

/// What the memo has of a folder.
#[derive(Debug)]
enum Record {
    /// The JSON of an earlier run, not used yet.
    Earlier(Arc<str>),
    /// A result of this run, for as long as a listing holds it.
    Known(Weak<Inspected>),
}

/// The number of news at two times.
#[derive(Debug, Default)]
struct Written {
    last_written: u64,
    last_asked: u64,
}

/// When the memo is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Save {
    /// If nothing new has come since the last call, or if there is much that is new.
    IfDue,
    /// If anything is new: for the end.
    Now,
}

/// Where a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Memo,
    Source,
}

/// A hash of everything that a result depends on beside the files.
#[derive(Debug, Clone, Copy)]
struct Scope(u128);

impl Scope {
    /// `None` if the program cannot be identified.
    fn of(mount: Self) -> Option<Self> {
        // The file that runs, even if another one is at its path by now.
        let program = std::fs::metadata("/proc/self/exe").ok()?;
        let program = (env!("CARGO_PKG_VERSION"), program.len(), program.modified().ok()?);
        let user = rustix::process::geteuid().as_raw();
        Some(Self::hash(&(program, user, mount.0)))
    }

    /// The part that stays when the program is replaced: source folder and options.
    fn of_mount(
        root: &SourceRoot,
        options: &ImageOptions,
        config: TreeConfig,
        by_hand: &Tables,
    ) -> Self {
        // Names, sizes and states do not depend on rights, nor on when chunks are looked at.
        let TreeConfig { labels, image_names: _, uid: _, gid: _, .. } = config;
        let TreeConfig { umask: _, is_shared: _, revalidate: _, live, .. } = config;
        Self::hash(&(root.location(), root.follows_links(), labels, live, options, by_hand))
    }

    fn hash(all: &dyn std::fmt::Debug) -> Self {
        Self(xxh3_128(format!("{all:?}").as_bytes()))
    }

    fn header(self) -> String {
        format!("zarrims-memo {FORMAT_VERSION} {:032x}", self.0)
    }

    fn line(self, json: &str) -> String {
        format!("{:016x} {json}", self.checksum(json))
    }

    /// The JSON of a line that is whole.
    fn json_of(self, line: &str) -> Option<&str> {
        let (checksum, json) = line.split_once(' ')?;
        let is_whole =
            checksum.len() == 16 && u64::from_str_radix(checksum, 16).ok()? == self.checksum(json);
        is_whole.then_some(json)
    }

    fn checksum(self, json: &str) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        let seed = self.0 as u64;
        xxh3_64_with_seed(json.as_bytes(), seed)
    }
}

impl Memo {
    /// The memo of a mount, with the results of the last run.
    pub(super) fn open(
        cache: &SteadyCache,
        root: &SourceRoot,
        options: &ImageOptions,
        config: TreeConfig,
        by_hand: &Tables,
    ) -> Option<Arc<Self>> {
        let mount = Scope::of_mount(root, options, config, by_hand);
        let memo = Self::new(Scope::of(mount)?, format!("tree-{:032x}", mount.0));
        if let Some(bytes) = cache.note(&memo.note) {
            memo.load(&bytes);
        }
        Some(Arc::new(memo))
    }

    fn new(scope: Scope, note: String) -> Self {
        let (records, news) = (Mutex::default(), AtomicU64::new(0));
        Self { scope, note, records, news, written: Mutex::default() }
    }

    fn load(&self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        if lines.next() != Some(self.scope.header().as_bytes()) {
            tracing::debug!("the memo is of another version, program or user");
            return;
        }
        let mut records = lock(&self.records);
        let mut damaged = 0;
        for line in lines.filter(|line| !line.is_empty()) {
            let json = str::from_utf8(line).ok().and_then(|line| self.scope.json_of(line));
            match json.and_then(|json| Some((serde_json::from_str::<Key>(json).ok()?.folder, json)))
            {
                Some((folder, json)) => drop(records.insert(folder, Record::Earlier(json.into()))),
                None => damaged += 1,
            }
        }
        tracing::debug!(records = records.len(), damaged, "memo read");
    }

    /// The result of an earlier run for a folder, if that is still true.
    pub(super) fn recall(&self, root: &SourceRoot, folder: &Path) -> Option<Inspected> {
        let mut records = lock(&self.records);
        let json = match records.get(folder)? {
            Record::Earlier(json) => json.clone(),
            Record::Known(_) => return None,
        };
        records.remove(folder);
        drop(records);
        let started = Instant::now();
        let found = serde_json::from_str::<Row>(&json).ok().and_then(Row::into_inspected);
        let found = found.filter(|found| found.fingerprint.is_unchanged(root))?;
        *lock(&found.checked) = Checked::since(started);
        Some(found)
    }

    /// Takes note of a result.
    pub(super) fn remember(&self, folder: &Path, found: &Arc<Inspected>, origin: Origin) {
        let mut records = lock(&self.records);
        let is_news = if found.is_lasting {
            records.insert(folder.to_path_buf(), Record::Known(Arc::downgrade(found)));
            origin == Origin::Source
        } else {
            records.remove(folder).is_some()
        };
        if is_news {
            self.news.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes note that a result has become more complete since it was written.
    pub(super) fn note_news(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// The text of the memo, of at most `most_bytes`: results of this run come before the others.
    fn write(&self, most_bytes: u64) -> String {
        let (mut known, mut earlier) = (Vec::new(), Vec::new());
        lock(&self.records).retain(|folder, record| match record {
            Record::Earlier(json) => {
                earlier.push((folder.clone(), json.clone()));
                true
            }
            Record::Known(found) => {
                let found = found.upgrade();
                found.is_some_and(|found| {
                    known.push((folder.clone(), found));
                    true
                })
            }
        });
        known.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        earlier.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut text = self.scope.header();
        text.push('\n');
        let mut add = |json: &str| {
            let line = self.scope.line(json);
            if (text.len() + line.len()) as u64 >= most_bytes {
                return;
            }
            // Writing to a string does not fail.
            let _ = writeln!(text, "{line}");
        };
        for (folder, found) in known {
            // Folders whose name is not UTF-8 are inspected at each start.
            if let Ok(json) = serde_json::to_string(&Row::of(&folder, &found)) {
                add(&json);
            }
        }
        for (_, json) in earlier {
            add(&json);
        }
        text
    }

    /// Writes the memo to the cache.
    pub(super) fn save(&self, cache: &SteadyCache, when: Save) {
        self.save_by(when, cache.most_note_bytes(), |bytes| cache.put_note(&self.note, bytes));
    }

    /// Hands a text of at most `most_bytes` to `put` if it is time; `put` returns whether it is stored.
    fn save_by(&self, when: Save, most_bytes: u64, put: impl FnOnce(&[u8]) -> bool) {
        let news = self.news.load(Ordering::Relaxed);
        let mut written = lock(&self.written);
        let is_resting = news == written.last_asked;
        written.last_asked = news;
        let is_much = news >= 2 * written.last_written;
        let is_due = when == Save::Now || is_resting || is_much;
        if news != written.last_written && is_due && put(self.write(most_bytes).as_bytes()) {
            written.last_written = news;
        }
    }
}
