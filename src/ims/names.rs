//! The names in a group, in the order in which HDF5 sorts them, without a list of those that are numbered.

use std::ops::Range;

/// Names of the members of a group: a prefix with each number from 0 on, and some that are listed.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: &'static str,
    /// How many have a number.
    count: u64,
    /// Bytes that each of them takes in the heap: as many as the longest, so that each can be found.
    stride: u64,
    /// Sorted.
    listed: Vec<Listed>,
}

/// A name that has no number.
#[derive(Debug, Clone)]
struct Listed {
    name: String,
    /// Its place in the list that was given.
    number: usize,
    /// Its place among all names.
    rank: u64,
    /// Where it begins in the heap, after those with numbers.
    heap_at: u64,
}

/// One name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// The prefix with this number.
    Numbered(u64),
    /// By its place in the list that was given.
    Listed(usize),
}

/// A local heap begins with the empty name (HDF5 specification, section III.D).
const EMPTY_NAME_BYTES: u64 = 8;

impl Names {
    /// `prefix` with each number below `count`.
    pub(super) fn numbered(prefix: &'static str, count: u64) -> Self {
        let longest = text(prefix, count.saturating_sub(1));
        Self { prefix, count, stride: stored_bytes(longest.len()), listed: Vec::new() }
    }

    /// Names without numbers.
    pub(super) fn listed(names: impl IntoIterator<Item = String>) -> Self {
        Self::numbered("", 0).and(names)
    }

    /// These, and some without numbers. All names differ.
    pub(super) fn and(self, names: impl IntoIterator<Item = String>) -> Self {
        let mut heap_at = EMPTY_NAME_BYTES + self.count * self.stride;
        let names = names.into_iter().enumerate();
        let mut listed: Vec<Listed> = names
            .map(|(number, name)| {
                let at = heap_at;
                heap_at += stored_bytes(name.len());
                Listed { name, number, rank: 0, heap_at: at }
            })
            .collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        for (before, listed) in (0..).zip(&mut listed) {
            listed.rank = before + self.numbered_before(&listed.name);
        }
        Self { listed, ..self }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.count + self.listed.len() as u64
    }

    /// The name at a place in sorted order.
    pub(super) fn at(&self, rank: u64) -> Name {
        let before = self.listed.partition_point(|listed| listed.rank < rank);
        match self.listed.get(before) {
            Some(listed) if listed.rank == rank => Name::Listed(listed.number),
            _ => Name::Numbered(nth(self.count, rank - before as u64)),
        }
    }

    /// Where a name begins in the heap.
    pub(super) fn heap_offset(&self, name: Name) -> u64 {
        match name {
            Name::Numbered(number) => EMPTY_NAME_BYTES + number * self.stride,
            Name::Listed(number) => {
                let mut listed = self.listed.iter();
                listed.find(|listed| listed.number == number).map_or(0, |listed| listed.heap_at)
            }
        }
    }

    /// Bytes of the data segment of the heap. Like `ImarisWriter`'s, it has room for a free block, of which nobody
    /// is told.
    pub(super) fn heap_bytes(&self) -> u64 {
        let listed = self.listed.iter().map(|listed| stored_bytes(listed.name.len()));
        EMPTY_NAME_BYTES + self.count * self.stride + listed.sum::<u64>() + 16
    }

    /// Where the first numbered name begins in the heap, the distance to the next, and how many there are.
    pub(super) fn numbered_in_heap(&self) -> (u64, u64, u64) {
        (EMPTY_NAME_BYTES, self.stride, self.count)
    }

    /// Calls `put` with what the heap holds: offset and name, without the zero byte that ends it. Of the
    /// numbered names only those with the numbers `numbered`.
    pub(super) fn each(&self, numbered: Range<u64>, put: &mut dyn FnMut(u64, &[u8])) {
        for number in numbered {
            let name = Name::Numbered(number);
            put(self.heap_offset(name), self.text(number).as_bytes());
        }
        for Listed { name, heap_at, .. } in &self.listed {
            put(*heap_at, name.as_bytes());
        }
    }

    fn text(&self, number: u64) -> String {
        text(self.prefix, number)
    }

    /// How many numbered names sort before a name.
    fn numbered_before(&self, name: &str) -> u64 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.text(nth(self.count, middle)).as_str() < name {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

fn text(prefix: &str, number: u64) -> String {
    format!("{prefix}{number}")
}

/// Bytes of a name in a local heap: ended by a zero byte and padded to 8 (HDF5 specification, section III.D).
fn stored_bytes(len: usize) -> u64 {
    (len as u64 + 1).next_multiple_of(8)
}

/// The number at place `rank`, where the numbers below `count` are sorted as texts: 0, 1, 10, 11, 2.
fn nth(count: u64, rank: u64) -> u64 {
    let (mut number, mut left) = (1, rank);
    if rank == 0 {
        return 0;
    }
    left -= 1;
    while left > 0 {
        let below = beginning_with(number, count);
        if below <= left {
            (number, left) = (number + 1, left - below);
        } else {
            (number, left) = (number * 10, left - 1);
        }
    }
    number
}

/// How many numbers below `count` have a decimal text that begins with that of `number`.
fn beginning_with(number: u64, count: u64) -> u64 {
    let (mut first, mut end, mut sum) = (number, number + 1, 0);
    while first < count {
        sum += end.min(count) - first;
        (first, end) = (first.saturating_mul(10), end.saturating_mul(10));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(names: &Names, listed: &[String]) -> Vec<String> {
        let text = |name| match name {
            Name::Numbered(number) => names.text(number),
            Name::Listed(number) => listed[number].clone(),
        };
        (0..names.len()).map(|rank| text(names.at(rank))).collect()
    }

    #[test]
    fn numbers_are_sorted_as_texts() {
        for count in [1, 2, 9, 10, 11, 99, 100, 101, 1234, 70_000] {
            let names = Names::numbered("TimePoint ", count);
            let mut sorted: Vec<_> = (0..count).map(|n| format!("TimePoint {n}")).collect();
            sorted.sort();
            assert_eq!(all(&names, &[]), sorted);
        }
        assert_eq!(nth(100_000_001, 2), 10);
        assert_eq!(nth(u64::MAX, 1), 1);
    }

    proptest! {
        #[test]
        fn listed_names_stand_between_them(
            count in 0_u64..300,
            listed in prop::collection::btree_set("(Channel [0-9]{1,3}x|[A-Z]{1,9}|Channel)", 0..9),
        ) {
            let listed: Vec<String> = listed.into_iter().rev().collect();
            let names = Names::numbered("Channel ", count).and(listed.iter().cloned());
            let numbered = (0..count).map(|n| format!("Channel {n}"));
            let mut sorted: Vec<String> = numbered.chain(listed.iter().cloned()).collect();
            sorted.sort();
            prop_assert_eq!(all(&names, &listed), sorted);
            let mut places = Vec::new();
            names.each(0..count, &mut |at, name| places.push((at, name.len() as u64)));
            places.sort_unstable();
            let mut end = EMPTY_NAME_BYTES;
            for (at, len) in places {
                prop_assert!(at >= end, "{} {}", at, end);
                end = at + len + 1;
            }
            prop_assert!(end <= names.heap_bytes());
        }
    }
}
