//! A file on a disk that may lose power: what is shown, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::common::picks::Picks;

/// Unit of allocation and of writing back.
pub(crate) const PAGE: u64 = 4096;

const PAGE_LEN: usize = 4096;

type Page = Arc<[u8; PAGE_LEN]>;

#[derive(Debug, Clone, Default)]
struct Content {
    len: u64,
    /// Pages that are allocated; all others read as zeros.
    pages: BTreeMap<u64, Page>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MemFile {
    live: Content,
    durable: Content,
    /// The states of each page that may be on disk or not, oldest first; `None` is a hole.
    dirty: BTreeMap<u64, Vec<Option<Page>>>,
    /// The same for the length.
    lengths: Vec<u64>,
}

/// Most states that are remembered of a page or a length.
const STATES: usize = 6;

fn index(value: u64) -> usize {
    usize::try_from(value).expect("files under test fit in memory")
}

/// The pages that a stretch touches, and the part of each that lies in it.
fn parts(offset: u64, bytes: u64) -> impl Iterator<Item = (u64, Range<usize>)> {
    let end = offset + bytes;
    let pages = if bytes == 0 { 0..0 } else { offset / PAGE..end.div_ceil(PAGE) };
    pages.map(move |page| {
        let first = page * PAGE;
        (page, index(offset.max(first) - first)..index(end.min(first + PAGE) - first))
    })
}

impl MemFile {
    pub(crate) fn len(&self) -> u64 {
        self.live.len
    }

    /// Bytes on disk.
    pub(crate) fn allocated(&self) -> u64 {
        self.live.pages.len() as u64 * PAGE
    }

    /// Number of states of pages that are not durable.
    pub(crate) fn pending(&self) -> usize {
        self.dirty.values().map(Vec::len).sum()
    }

    /// False beyond the end.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64) -> bool {
        if offset + out.len() as u64 > self.live.len {
            return false;
        }
        let mut at = 0;
        for (page, part) in parts(offset, out.len() as u64) {
            let to = &mut out[at..at + part.len()];
            at += part.len();
            match self.live.pages.get(&page) {
                Some(bytes) => to.copy_from_slice(&bytes[part]),
                None => to.fill(0),
            }
        }
        true
    }

    /// Writes as far as `room` new pages go; whether that was all.
    pub(crate) fn write(&mut self, data: &[u8], offset: u64, mut room: u64) -> bool {
        let mut at = 0;
        for (page, part) in parts(offset, data.len() as u64) {
            let known = self.live.pages.get(&page);
            if known.is_none() {
                let Some(left) = room.checked_sub(1) else { return false };
                room = left;
            }
            let mut bytes = known.map_or([0; PAGE_LEN], |known| **known);
            bytes[part.clone()].copy_from_slice(&data[at..at + part.len()]);
            at += part.len();
            self.put(page, Some(Arc::new(bytes)));
            let end = page * PAGE + part.end as u64;
            if end > self.live.len {
                self.note_len(end);
            }
        }
        true
    }

    pub(crate) fn punch(&mut self, offset: u64, bytes: u64) {
        let end = offset + bytes;
        let touched: Vec<u64> = self
            .live
            .pages
            .range(offset / PAGE..end.div_ceil(PAGE))
            .map(|(page, _)| *page)
            .collect();
        for page in touched {
            let first = page * PAGE;
            if offset <= first && first + PAGE <= end {
                self.put(page, None);
            } else {
                let mut bytes = *self.live.pages[&page];
                bytes[index(offset.max(first) - first)..index(end.min(first + PAGE) - first)]
                    .fill(0);
                self.put(page, Some(Arc::new(bytes)));
            }
        }
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.live.len {
            self.punch(len, self.live.len.next_multiple_of(PAGE) - len);
        }
        self.note_len(len);
    }

    fn put(&mut self, page: u64, bytes: Option<Page>) {
        match &bytes {
            Some(bytes) => drop(self.live.pages.insert(page, bytes.clone())),
            None => drop(self.live.pages.remove(&page)),
        }
        remember(self.dirty.entry(page).or_default(), bytes);
    }

    fn note_len(&mut self, len: u64) {
        self.live.len = len;
        remember(&mut self.lengths, len);
    }

    /// All that was done to it is durable.
    pub(crate) fn sync(&mut self) {
        self.durable = self.live.clone();
        self.dirty.clear();
        self.lengths.clear();
    }

    /// What the system writes back in its own time: some pages.
    pub(crate) fn write_back(&mut self, picks: &mut Picks) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.retain(|page, states| {
            if picks.below(4) == 0 {
                return true;
            }
            match states.pop().flatten() {
                Some(bytes) => drop(self.durable.pages.insert(*page, bytes)),
                None => drop(self.durable.pages.remove(page)),
            }
            false
        });
        self.dirty = dirty;
        if let Some(len) = self.lengths.pop() {
            self.durable.len = len;
            self.lengths.clear();
        }
    }

    /// Leaves of each page, and of the length, one of the states that may have reached the disk; or
    /// zeros, garbage, or a page torn between two of them. `kept` percent are as they were last.
    pub(crate) fn lose_power(&mut self, picks: &mut Picks, kept: u64) {
        let mut left = std::mem::take(&mut self.durable);
        for (page, states) in std::mem::take(&mut self.dirty) {
            let before = left.pages.remove(&page);
            if let Some(bytes) = survivor(&states, before.as_ref(), picks, kept) {
                left.pages.insert(page, bytes);
            }
        }
        if let Some(last) = self.lengths.last() {
            left.len = match picks.below(100) {
                lucky if lucky < kept => *last,
                pick if pick % 2 == 0 => left.len,
                _ => self.lengths[picks.index(self.lengths.len())],
            };
        }
        left.pages.split_off(&left.len.div_ceil(PAGE));
        self.lengths.clear();
        self.live = left.clone();
        self.durable = left;
    }

    /// Changes one byte that is at rest.
    pub(crate) fn rot(&mut self, picks: &mut Picks) {
        if self.live.pages.is_empty() {
            return;
        }
        let page = *self.live.pages.keys().nth(picks.index(self.live.pages.len())).expect("a page");
        let mut bytes = *self.live.pages[&page];
        // The front of a page is the most likely to be in use.
        let front = [PAGE_LEN, 64][picks.index(2)];
        let within = picks.index(front);
        bytes[within] ^= 1 << picks.below(8);
        self.put(page, Some(Arc::new(bytes)));
    }
}

fn remember<T>(states: &mut Vec<T>, state: T) {
    if states.len() == STATES {
        states.remove(STATES / 2);
    }
    states.push(state);
}

fn survivor(
    states: &[Option<Page>],
    before: Option<&Page>,
    picks: &mut Picks,
    kept: u64,
) -> Option<Page> {
    let last = states.last().cloned().flatten();
    if picks.below(100) < kept {
        return last;
    }
    match picks.below(10) {
        0..4 => before.cloned(),
        4..7 => states[picks.index(states.len())].clone(),
        7 => Some(Arc::new([0; PAGE_LEN])),
        8 => Some(Arc::new([u8::try_from(picks.below(256)).expect("a byte"); PAGE_LEN])),
        _ => {
            let bytes = |page: Option<&Page>| page.map_or([0; PAGE_LEN], |page| **page);
            let mut torn = bytes(before);
            let cut = picks.index(PAGE_LEN);
            torn[..cut].copy_from_slice(&bytes(last.as_ref())[..cut]);
            Some(Arc::new(torn))
        }
    }
}
