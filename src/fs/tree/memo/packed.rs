//! Rows of the memo, packed: a few of them at a time are compressed into a block, in which rows of neighbours share
//! what they have in common. A row of 750 bytes takes some 100.
//!
//! A block, in memory as in the note, is the hashes of the folders that its rows are about, and the compressed rows,
//! with a checksum over both.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::resources::Account;

/// Rows of a block, and bytes after which it is full. Larger blocks would pack better, and take longer to unpack.
const ROWS: usize = 64;
const FULL_BYTES: usize = 64 << 10;

/// Blocks that stay unpacked: neighbours are asked for one after the other.
const UNPACKED: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// A block that was not used for so long makes room for another one. Else those that came first stay: who walks over
/// more stores than there is room for would find none of them the next time.
const UNUSED_AFTER: Duration = Duration::from_mins(10);

/// The longest rows that are packed: those of plates with a hundred thousand fields.
const MOST_BYTES: usize = 64 << 20;

const LEVEL: i32 = 1;

/// What a block, a row in the index and a place in the order take beside the bytes of the rows.
const BLOCK_BYTES: u64 = 128;
const ROW_BYTES: u64 = 40;

/// A folder of the source, as the index knows it.
pub(super) fn key_of(folder: &Path) -> u64 {
    xxh3_64(folder.as_os_str().as_bytes())
}

/// A few rows.
#[derive(Debug)]
pub(super) struct Block {
    /// What each row is about, see [`key_of`].
    keys: Box<[u64]>,
    packed: Box<[u8]>,
    /// Length of the rows, each with a line break behind it.
    plain_bytes: u32,
    /// From the memo of an earlier run.
    is_earlier: bool,
}

/// Packs rows, in the order in which they come.
#[derive(Debug, Default)]
pub(super) struct Packer {
    keys: Vec<u64>,
    rows: String,
}

/// Packed rows, by folder.
#[derive(Debug)]
pub(super) struct Packed {
    /// The block that has the row of a folder.
    index: HashMap<u64, u64>,
    /// By number; those used last are the last to go.
    blocks: LruCache<u64, (Arc<Block>, Instant)>,
    unpacked: LruCache<u64, Arc<str>>,
    next: u64,
    /// Rows of the next block.
    packer: Packer,
    /// What the blocks take, and those of all mounts.
    bytes: u64,
    account: Arc<Account>,
    /// There was no room for all.
    pub(super) is_full: bool,
}

impl Packer {
    /// Adds a row; the block that is full with it.
    pub(super) fn add(&mut self, folder: &Path, json: &str) -> Option<Block> {
        if json.len() > MOST_BYTES {
            return None;
        }
        let before = if self.rows.len() + json.len() > MOST_BYTES { self.finish() } else { None };
        self.keys.push(key_of(folder));
        self.rows.push_str(json);
        self.rows.push('\n');
        let is_full = self.keys.len() == ROWS || self.rows.len() >= FULL_BYTES;
        before.or_else(|| if is_full { self.finish() } else { None })
    }

    fn row(&self, key: u64) -> Option<&str> {
        let at = self.keys.iter().position(|known| *known == key)?;
        self.rows.split('\n').nth(at)
    }

    /// Takes a row out; whether there was one.
    fn remove(&mut self, key: u64) -> bool {
        let Some(at) = self.keys.iter().position(|known| *known == key) else { return false };
        self.keys.remove(at);
        let mut rows = self.rows.split_inclusive('\n');
        let before: usize = rows.by_ref().take(at).map(str::len).sum();
        let row = rows.next().map_or(0, str::len);
        self.rows.drain(before..before + row);
        true
    }

    /// The rows that are left.
    pub(super) fn finish(&mut self) -> Option<Block> {
        let (keys, rows) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.rows));
        if keys.is_empty() {
            return None;
        }
        let packed = zstd::bulk::compress(rows.as_bytes(), LEVEL).ok()?.into_boxed_slice();
        let plain_bytes = u32::try_from(rows.len()).ok()?;
        Some(Block { keys: keys.into_boxed_slice(), packed, plain_bytes, is_earlier: false })
    }
}

impl Block {
    pub(super) fn rows(&self) -> usize {
        self.keys.len()
    }

    /// A block of some of its rows; `None` for no row.
    pub(super) fn only(self: Arc<Self>, is_wanted: &[bool]) -> Option<Arc<Self>> {
        if is_wanted.iter().all(|is_wanted| *is_wanted) {
            return Some(self);
        }
        let plain = if is_wanted.contains(&true) { self.unpacked()? } else { return None };
        let mut packer = Packer::default();
        let rows = self.keys.iter().zip(plain.split_inclusive('\n')).zip(is_wanted);
        for ((key, row), _) in rows.filter(|(_, is_wanted)| **is_wanted) {
            packer.keys.push(*key);
            packer.rows.push_str(row);
        }
        packer.finish().map(Arc::new)
    }

    fn bytes(&self) -> u64 {
        BLOCK_BYTES + self.packed.len() as u64 + ROW_BYTES * self.keys.len() as u64
    }

    /// Its rows, each with a line break behind it.
    fn unpacked(&self) -> Option<String> {
        let plain_bytes =
            usize::try_from(self.plain_bytes).ok().filter(|n| *n <= 2 * MOST_BYTES)?;
        String::from_utf8(zstd::bulk::decompress(&self.packed, plain_bytes).ok()?).ok()
    }

    /// Writes the block: numbers of bytes and rows, the checksum, and what it is over.
    pub(super) fn write(&self, seed: u64, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(8 * self.keys.len() + self.packed.len());
        for key in &self.keys {
            body.extend_from_slice(&key.to_le_bytes());
        }
        body.extend_from_slice(&self.packed);
        let numbers =
            [self.keys.len(), self.packed.len()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        for number in [numbers[0], numbers[1], self.plain_bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&checksum(seed, numbers, self.plain_bytes, &body).to_le_bytes());
        out.extend_from_slice(&body);
    }

    /// Bytes that [`Block::write`] writes.
    pub(super) fn written_bytes(&self) -> u64 {
        (HEAD_BYTES + 8 * self.keys.len() + self.packed.len()) as u64
    }

    /// Reads a block and leaves what is behind it; `None` if it is not whole.
    pub(super) fn read(seed: u64, bytes: &mut &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let number = |at: usize| Some(u32::from_le_bytes(head[at..at + 4].try_into().ok()?));
        let (rows, packed, plain_bytes) = (number(0)?, number(4)?, number(8)?);
        let (keys_bytes, packed_bytes) =
            (usize::try_from(rows).ok()?.checked_mul(8)?, usize::try_from(packed).ok()?);
        let (body, rest) = rest.split_at_checked(keys_bytes.checked_add(packed_bytes)?)?;
        let expected = u64::from_le_bytes(head[12..].try_into().ok()?);
        if checksum(seed, [rows, packed], plain_bytes, body) != expected {
            return None;
        }
        let (keys, packed) = body.split_at(keys_bytes);
        let keys = keys.chunks_exact(8).map(|key| Some(u64::from_le_bytes(key.try_into().ok()?)));
        let keys = keys.collect::<Option<_>>()?;
        *bytes = rest;
        Some(Self { keys, packed: packed.into(), plain_bytes, is_earlier: true })
    }
}

/// Three numbers and a checksum.
const HEAD_BYTES: usize = 3 * 4 + 8;

fn checksum(seed: u64, numbers: [u32; 2], plain_bytes: u32, body: &[u8]) -> u64 {
    let [rows, packed] = numbers.map(u64::from);
    let seed = seed ^ rows ^ packed.rotate_left(20) ^ u64::from(plain_bytes).rotate_left(40);
    xxh3_64_with_seed(body, seed)
}

impl Packed {
    /// At most what the account has room for.
    pub(super) fn within(account: Arc<Account>) -> Self {
        let (index, blocks) = (HashMap::new(), LruCache::unbounded());
        Self {
            index,
            blocks,
            unpacked: LruCache::new(UNPACKED),
            next: 0,
            packer: Packer::default(),
            bytes: 0,
            account,
            is_full: false,
        }
    }

    /// Memory that the rows take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn count(&mut self, old: u64, new: u64) {
        self.bytes = self.bytes + new - old;
        self.account.change(old, new);
    }

    /// Number of folders with a row.
    #[cfg(test)]
    pub(super) fn rows(&self) -> usize {
        self.index.len() + self.packer.keys.len()
    }

    /// Adds a row in place of another one about the same folder.
    pub(super) fn add_row(&mut self, folder: &Path, json: &str) {
        self.remove(folder);
        if let Some(block) = self.packer.add(folder, json) {
            self.add(block);
        }
    }

    /// Packs the rows that wait for others.
    pub(super) fn flush(&mut self) {
        if let Some(block) = self.packer.finish() {
            self.add(block);
        }
    }

    /// Adds the rows of a block. Those of `earlier` runs leave the others that are about the same folders; else
    /// the new ones take their place.
    pub(super) fn add(&mut self, block: Block) {
        let number = self.next;
        self.next += 1;
        for key in &block.keys {
            match self.index.entry(*key) {
                Entry::Occupied(_) if block.is_earlier => {}
                Entry::Occupied(mut known) => {
                    let old = known.insert(number);
                    self.let_go(old);
                }
                Entry::Vacant(place) => drop(place.insert(number)),
            }
        }
        self.count(0, block.bytes());
        self.blocks.put(number, (Arc::new(block), Instant::now()));
        self.let_go(number);
        while self.account.is_over() {
            self.is_full = true;
            let oldest = self.blocks.peek_lru().map(|(oldest, (_, used))| (*oldest, *used));
            match oldest {
                Some((oldest, used)) if used.elapsed() > UNUSED_AFTER => self.drop_block(oldest),
                _ => return self.drop_block(number),
            }
        }
    }

    fn drop_block(&mut self, number: u64) {
        let Some((block, _)) = self.blocks.pop(&number) else { return };
        self.unpacked.pop(&number);
        self.count(block.bytes(), 0);
        for key in &block.keys {
            if self.index.get(key) == Some(&number) {
                self.index.remove(key);
            }
        }
    }

    /// Drops a block whose rows have all got another place.
    fn let_go(&mut self, number: u64) {
        let Some((block, _)) = self.blocks.peek(&number) else { return };
        if block.keys.iter().all(|key| self.index.get(key) != Some(&number)) {
            self.drop_block(number);
        }
    }

    /// Whether there is a row about a folder.
    pub(super) fn has(&self, folder: &Path) -> bool {
        let key = key_of(folder);
        self.index.contains_key(&key) || self.packer.keys.contains(&key)
    }

    /// The row about a folder, and whether it is from an earlier run.
    pub(super) fn row(&mut self, folder: &Path) -> Option<(String, bool)> {
        let key = key_of(folder);
        if let Some(row) = self.packer.row(key) {
            return Some((row.to_owned(), false));
        }
        let number = *self.index.get(&key)?;
        let (block, used) = self.blocks.get_mut(&number)?;
        *used = Instant::now();
        let block = block.clone();
        let at = block.keys.iter().position(|known| *known == key)?;
        let rows = if let Some(rows) = self.unpacked.get(&number) {
            rows.clone()
        } else {
            let rows: Arc<str> = block.unpacked()?.into();
            if rows.len() <= 2 * FULL_BYTES {
                self.unpacked.put(number, rows.clone());
            }
            rows
        };
        let row = rows.split('\n').nth(at)?;
        Some((row.to_owned(), block.is_earlier))
    }

    /// Drops the row about a folder; whether there was one.
    pub(super) fn remove(&mut self, folder: &Path) -> bool {
        let key = key_of(folder);
        let was_waiting = self.packer.remove(key);
        let old = self.index.remove(&key);
        if let Some(number) = old {
            self.let_go(number);
        }
        old.is_some() || was_waiting
    }

    /// All blocks, those used last first, and which of their rows count: a block keeps rows in whose place others
    /// have come; `held` are folders whose rows do not count.
    pub(super) fn blocks(&self, held: &HashSet<u64>) -> Vec<(Arc<Block>, Vec<bool>)> {
        let counts = |number: &u64, block: &Arc<Block>| {
            let counts = |key| self.index.get(key) == Some(number) && !held.contains(key);
            (block.clone(), block.keys.iter().map(counts).collect())
        };
        self.blocks.iter().map(|(number, (block, _))| counts(number, block)).collect()
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        self.account.change(self.bytes(), 0);
    }
}
