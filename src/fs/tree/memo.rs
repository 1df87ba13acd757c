//! What inspecting the source gave, kept in the cache folder, so that a later start lists, and tells
//! sizes, without reading metadata again.
//!
//! The memo is a text file: a line that says for which program, source folder and options it holds,
//! and a line of JSON for each folder that was inspected, with a checksum in front. A line is believed
//! if its checksum is right and every file that the answer was computed from is in the state that the
//! line says (see [`Fingerprint`](crate::source::Fingerprint)). At any doubt the folder is inspected.
//!
//! An answer is put down only if its fingerprint tells at any later time whether it is true: all files
//! could be read, and had been at rest for so long that a later change bears another time.

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

use crate::cache::{CacheError, MemoSource, SteadyCache};
use crate::image::Engine;
use crate::source::SourceRoot;

use super::node::{Checked, Inspected};
use super::{TreeConfig, lock};
use row::{Key, Row};

/// Changes whenever lines are written in another way.
const FORMAT_VERSION: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct Memo {
    scope: Scope,
    /// By path below the source folder.
    records: Mutex<HashMap<PathBuf, Record>>,
    /// Answers so far that are not in the memo of an earlier run.
    news: AtomicU64,
    written: Mutex<Written>,
}

/// What is known of a folder.
#[derive(Debug)]
enum Record {
    /// The JSON of an earlier run; nobody has asked for it yet.
    Earlier(Arc<str>),
    /// For as long as a listing has it.
    Known(Weak<Inspected>),
}

/// The number of news at two times.
#[derive(Debug, Default)]
struct Written {
    last_written: u64,
    last_asked: u64,
}

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Memo,
    Source,
}

/// A hash of all that an answer depends on beside the files.
#[derive(Debug, Clone, Copy)]
struct Scope(u128);

impl Scope {
    /// `None` if it cannot be told which program this is.
    fn of(root: &SourceRoot, engine: &Engine, config: TreeConfig) -> Option<Self> {
        // The file that runs, also if another one is at its path by now.
        let program = std::fs::metadata("/proc/self/exe").ok()?;
        let program = (env!("CARGO_PKG_VERSION"), program.len(), program.modified().ok()?);
        let user = rustix::process::geteuid().as_raw();
        let source = (root.location(), root.follows_links(), user);
        Some(Self::hash(&(program, source, config.labels, engine.images())))
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
    /// The memo of a mount, with what the last run has left in the cache folder.
    pub(super) fn open(
        cache: &SteadyCache,
        root: &SourceRoot,
        engine: &Engine,
        config: TreeConfig,
    ) -> Option<Arc<Self>> {
        let memo = Arc::new(Self::new(Scope::of(root, engine, config)?));
        if let Some(bytes) = cache.memo() {
            memo.load(&bytes);
        }
        let source: Weak<Self> = Arc::downgrade(&memo);
        cache.ask_for_memos(source);
        Some(memo)
    }

    fn new(scope: Scope) -> Self {
        let (records, news) = (Mutex::default(), AtomicU64::new(0));
        Self { scope, records, news, written: Mutex::default() }
    }

    fn load(&self, bytes: &[u8]) {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        if lines.next() != Some(self.scope.header().as_bytes()) {
            tracing::debug!("the memo is of another version, source or choice of options");
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

    /// What an earlier run has found in a folder, if that is still true.
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

    /// Notes what is known of a folder.
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

    /// Notes that more is known of what is shown than is put down.
    pub(super) fn note_news(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// The text of the memo, of at most so many bytes: what this run knows goes before the rest.
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
            // A name that is not UTF-8 is inspected at each start.
            if let Some(json) =
                Row::of(&folder, &found).and_then(|row| serde_json::to_string(&row).ok())
            {
                add(&json);
            }
        }
        for (_, json) in earlier {
            add(&json);
        }
        text
    }
}

impl MemoSource for Memo {
    /// Writes once there was nothing new for a while, at the end, and when there is much that is new.
    fn renew(
        &self,
        at_end: bool,
        most_bytes: u64,
        keep: &mut dyn FnMut(&[u8]) -> Result<(), CacheError>,
    ) {
        let news = self.news.load(Ordering::Relaxed);
        let mut written = lock(&self.written);
        let is_resting = news == written.last_asked;
        written.last_asked = news;
        let is_much = news >= 2 * written.last_written;
        if news == written.last_written || !(at_end || is_resting || is_much) {
            return;
        }
        match keep(self.write(most_bytes).as_bytes()) {
            Ok(()) => written.last_written = news,
            Err(error) => tracing::debug!(%error, "memo not kept"),
        }
    }
}
