//! The memo: results of inspecting the source, kept as a note in the cache, so that a later start
//! lists names and sizes without reading metadata again.
//!
//! The memo is a line that names the program, source folder and options for which it holds, and behind it rows of
//! JSON, one for each inspected folder, a few of them packed at a time (`packed`). A row is trusted if the checksum
//! of its block is right and every file that the result was computed from is in the state that the row states (see
//! [`Fingerprint`](crate::source::Fingerprint)). Otherwise the folder is inspected.
//!
//! Rows come from the note of an earlier run, or from listings that were forgotten in this one. They take a share of
//! memory at most; beyond it new ones are kept if others were not used for long.
//!
//! The memo holds a result only if its fingerprint shows at any later time whether it is still true:
//! all files could be read, and had been at rest long enough that a later change gets another time.
//!
//! Each source folder and choice of options has a note of its own, so several mounts share a cache.

mod packed;
mod row;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use xxhash_rust::xxh3::xxh3_128;

use crate::by_hand::Tables;
use crate::cache::SteadyCache;
use crate::image::ImageOptions;
use crate::resources::Account;
use crate::source::SourceRoot;
use crate::sync::lock;

use super::inspected::Inspected;
use super::options::TreeConfig;
use packed::{Block, Packed, Packer};
use row::Row;

/// Bump whenever lines are written in another way, or their values mean something else. A memo of
/// another version is ignored.
const FORMAT_VERSION: u32 = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct Memo {
    scope: Scope,
    /// Name of its note in the cache; `None` where there is no cache, or the program cannot be identified.
    note: Option<String>,
    /// Results of earlier runs, and of this one that no listing holds any more.
    packed: Mutex<Packed>,
    /// Number of results so far that are not in the memo of an earlier run.
    news: AtomicU64,
    written: Mutex<Written>,
    /// The log has it that the note, and the memory for rows, cannot hold all.
    is_note_told: AtomicBool,
    is_memory_told: AtomicBool,
}

/// Results that listings hold, by their folders below the source.
pub(super) type Held = Vec<(PathBuf, Arc<Inspected>)>;

/// A result that no listing holds. Whether it is still true is another question.
#[derive(Debug)]
pub(super) struct Recalled {
    pub(super) found: Inspected,
    /// An earlier run wrote it.
    pub(super) is_earlier: bool,
}

/// The bytes of a memo, and what did not fit.
struct Text {
    bytes: Vec<u8>,
    left_out: usize,
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
        format!("zarrims-memo {FORMAT_VERSION} {:032x}\n", self.0)
    }

    /// For checksums of blocks.
    fn seed(self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        let seed = self.0 as u64;
        seed
    }
}

impl Memo {
    /// The memo of a mount, with the results of the last run. `account`: memory for rows.
    pub(super) fn open(
        cache: Option<&SteadyCache>,
        root: &SourceRoot,
        options: &ImageOptions,
        config: TreeConfig,
        (by_hand, account): (&Tables, Arc<Account>),
    ) -> Self {
        let mount = Scope::of_mount(root, options, config, by_hand);
        let (Some(cache), Some(scope)) = (cache, Scope::of(mount)) else {
            return Self::new(mount, None, account);
        };
        let name = format!("tree-{:032x}", mount.0);
        let bytes = cache.note(&name);
        let memo = Self::new(scope, Some(name), account);
        if let Some(bytes) = bytes {
            memo.load(&bytes);
        }
        memo
    }

    fn new(scope: Scope, note: Option<String>, account: Arc<Account>) -> Self {
        Self {
            scope,
            note,
            packed: Mutex::new(Packed::within(account)),
            news: AtomicU64::new(0),
            written: Mutex::default(),
            is_note_told: AtomicBool::new(false),
            is_memory_told: AtomicBool::new(false),
        }
    }

    fn load(&self, bytes: &[u8]) {
        let header = self.scope.header();
        let Some(mut rest) = bytes.strip_prefix(header.as_bytes()) else {
            tracing::debug!("the memo is of another version, program or user");
            return;
        };
        let mut packed = lock(&self.packed);
        while !rest.is_empty() {
            let Some(block) = Block::read(self.scope.seed(), &mut rest) else {
                tracing::debug!(bytes = rest.len(), "the end of the memo is damaged");
                break;
            };
            packed.add(block);
        }
        tracing::debug!(bytes = packed.bytes(), "memo read");
    }

    /// The result for a folder that no listing holds, if the memo has it.
    pub(super) fn recall(&self, folder: &Path) -> Option<Recalled> {
        let (json, is_earlier) = lock(&self.packed).row(folder)?;
        let row: Row = serde_json::from_str(&json).ok()?;
        let mut found = row.into_inspected(folder)?;
        if is_earlier {
            // It is packed once as a result of this run.
            found.recalled = None;
        }
        Some(Recalled { found, is_earlier })
    }

    /// Takes note of a result.
    pub(super) fn remember(&self, folder: &Path, found: &Inspected, origin: Origin) {
        if origin == Origin::Memo {
            return;
        }
        let was_packed = lock(&self.packed).remove(folder);
        if found.is_lasting || was_packed {
            self.news.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes note that a result has become more complete since it was written.
    pub(super) fn note_news(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// Packs results that no listing holds any more, so that they can be recalled. What an opening has refuted is
    /// not worth that.
    pub(super) fn pack(&self, results: &[(PathBuf, Arc<Inspected>)]) {
        for (folder, found) in results {
            let is_same = found.holds() && found.recalled == Some(found.findings());
            if is_same && lock(&self.packed).has(folder) {
                continue;
            }
            let is_worth_it = found.is_lasting && found.holds();
            // Folders whose name is not UTF-8 are inspected again.
            let json = is_worth_it.then(|| serde_json::to_string(&Row::of(folder, found)));
            let mut packed = lock(&self.packed);
            match json {
                Some(Ok(json)) => packed.add_row(folder, &json),
                _ => drop(packed.remove(folder)),
            }
        }
        if lock(&self.packed).is_full && !self.is_memory_told.swap(true, Ordering::Relaxed) {
            tracing::info!(
                "more stores than fit the memory for names: some are inspected again when they are asked for \
                 (a larger --memory keeps more)"
            );
        }
    }

    /// The memo in at most `most_bytes`: what listings hold comes before the others.
    fn write(&self, mut held: Held, most_bytes: u64) -> Text {
        held.retain(|(_, found)| found.is_lasting);
        held.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let keys: HashSet<u64> = held.iter().map(|(folder, _)| packed::key_of(folder)).collect();
        let packed = {
            let mut packed = lock(&self.packed);
            packed.flush();
            packed.blocks(&keys)
        };
        let packed = packed.into_iter().filter_map(|(block, counts)| block.only(&counts));
        drop(keys);
        let mut text = Text { bytes: self.scope.header().into_bytes(), left_out: 0 };
        let mut add = |block: Arc<Block>| {
            if text.bytes.len() as u64 + block.written_bytes() > most_bytes {
                text.left_out += block.rows();
            } else {
                block.write(self.scope.seed(), &mut text.bytes);
            }
        };
        let mut packer = Packer::default();
        for (folder, found) in held {
            // Folders whose name is not UTF-8 are inspected at each start.
            if let Ok(json) = serde_json::to_string(&Row::of(&folder, &found)) {
                packer.add(&folder, &json).into_iter().map(Arc::new).for_each(&mut add);
            }
        }
        packer.finish().map(Arc::new).into_iter().chain(packed).for_each(add);
        text
    }

    /// Writes the memo to the cache, with what listings hold.
    pub(super) fn save(&self, cache: &SteadyCache, when: Save, held: impl FnOnce() -> Held) {
        if let Some(note) = &self.note {
            let put = |bytes: &[u8]| cache.put_note(note, bytes);
            self.save_by(when, held, cache.most_note_bytes(), put);
        }
    }

    /// Hands a text of at most `most_bytes` to `put` if it is time; `put` returns whether it is stored.
    fn save_by(
        &self,
        when: Save,
        held: impl FnOnce() -> Held,
        most_bytes: u64,
        put: impl FnOnce(&[u8]) -> bool,
    ) {
        let news = self.news.load(Ordering::Relaxed);
        let mut written = lock(&self.written);
        let is_resting = news == written.last_asked;
        written.last_asked = news;
        let is_much = news >= 2 * written.last_written;
        let is_due = when == Save::Now || is_resting || is_much;
        if news == written.last_written || !is_due {
            return;
        }
        let Text { bytes, left_out } = self.write(held(), most_bytes);
        if left_out > 0 && most_bytes > 0 && !self.is_note_told.swap(true, Ordering::Relaxed) {
            tracing::info!(
                left_out,
                most_bytes,
                "more stores than fit the memo in the cache: those left out are inspected again after the next start"
            );
        }
        if put(&bytes) {
            written.last_written = news;
        }
    }
}
