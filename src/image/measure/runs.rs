//! Runs: consecutive datasets, or channels, that are measured together and kept in one record.

use std::ops::Range;

use crate::resources::shares::COUNTS_BYTES;

/// Voxels read for a run, unless one dataset alone has more: some 10 ms, so that the first reader of a long
/// series waits no longer, and the next ones of the same run wait for nothing.
const RUN_VOXELS: u64 = 1 << 20;

/// Length of a record, unless that of one dataset alone is longer.
const RECORD_BYTES: u64 = 64 << 10;

/// What one member of a run takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Voxels read, at most.
    pub(super) voxels: u64,
    /// Memory for its counts.
    pub(super) counts_bytes: u64,
    /// Its part of the longest record.
    pub(super) record_bytes: u64,
}

/// How consecutive numbers are cut into runs of one length; the last one of each part may be shorter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Runs {
    /// Ascending: where each part begins, and the number of its first run. The last one is the end.
    parts: Vec<(u64, u64)>,
    length: u64,
}

impl Runs {
    /// The longest runs within the budgets, none of which goes over one of the `cuts`: ascending numbers below
    /// `members`.
    pub(super) fn new(cuts: impl IntoIterator<Item = u64>, members: u64, share: Share) -> Self {
        let within = |budget: u64, share: u64| budget / share.max(1);
        let length = within(RUN_VOXELS, share.voxels)
            .min(within(COUNTS_BYTES, share.counts_bytes))
            .min(within(RECORD_BYTES, share.record_bytes))
            .min(members)
            .max(1);
        Self::of_length(cuts, members, length)
    }

    /// Runs of `length`, which is not 0, or less.
    pub(super) fn of_length(
        cuts: impl IntoIterator<Item = u64>,
        members: u64,
        length: u64,
    ) -> Self {
        let mut parts = vec![(0, 0)];
        let (mut start, mut run) = (0, 0);
        for end in cuts.into_iter().chain([members]).filter(|&end| end > 0) {
            run += (end - start).div_ceil(length);
            start = end;
            parts.push((start, run));
        }
        Self { parts, length }
    }

    /// The run that a number belongs to.
    pub(super) fn run_of(&self, member: u64) -> u64 {
        let at = self.parts.partition_point(|&(start, _)| start <= member).max(1);
        let (start, run) = self.parts[at - 1];
        run + (member - start) / self.length
    }

    /// The numbers of a run, half-open; empty beyond the last one.
    pub(super) fn members(&self, run: u64) -> Range<u64> {
        let at = self.parts.partition_point(|&(_, first)| first <= run).max(1);
        let (start, first) = self.parts[at - 1];
        let end = self.parts.get(at).map_or(start, |&(end, _)| end);
        let start = (run - first).saturating_mul(self.length).saturating_add(start).min(end);
        start..start.saturating_add(self.length).min(end)
    }

    /// Members of the longest run, or more.
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_member_is_in_one_run(
            members in 1_u64..1 << 40,
            (voxels, counts_bytes, record_bytes) in (0_u64..1 << 21, 0_u64..1 << 24, 0_u64..1 << 17),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
            at in any::<prop::sample::Index>(),
        ) {
            let cuts: BTreeSet<u64> =
                cuts.iter().map(|cut| cut.index(usize::try_from(members).unwrap()) as u64).collect();
            let share = Share { voxels, counts_bytes, record_bytes };
            let runs = Runs::new(cuts.iter().copied(), members, share);
            let member = at.index(usize::try_from(members).unwrap()) as u64;
            let run = runs.run_of(member);
            let range = runs.members(run);
            prop_assert!(range.contains(&member));
            prop_assert_eq!(runs.run_of(range.start), run);
            prop_assert_eq!(runs.run_of(range.end - 1), run);
            prop_assert_eq!(range.end, runs.members(run + 1).start);
            prop_assert!(runs.members(runs.run_of(members - 1) + 1).is_empty());
            prop_assert!(cuts.iter().all(|cut| *cut <= range.start || *cut >= range.end));
            let length = runs.length();
            prop_assert!(range.end - range.start <= length);
            prop_assert!(length == 1 || length * record_bytes <= RECORD_BYTES);
            prop_assert!(length == 1 || length * counts_bytes <= COUNTS_BYTES);
            prop_assert!(length == 1 || length * voxels <= RUN_VOXELS);
        }
    }
}
