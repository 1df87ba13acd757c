//! Every share and cap of memory and threads, side by side.
//!
//! The memory budget (`--memory`) is for bricks that are decoded. Open passes, records in production,
//! bricks that wait for the cache's disk and the state of open files leave less of it for decoding. What else
//! stays in memory takes a share of its size on top. [`Shares::total`] adds it all up; `doc/CONFIGURATION.md`
//! states the sum.

/// The budget, where nothing else is configured and the machine has enough.
pub(crate) const DEFAULT_BUDGET_BYTES: u64 = 128 << 20;

/// Most threads of one group, however many of them hang; and the part of all file descriptors that they may
/// need if each has a file open.
pub(crate) const MOST_THREADS: usize = 1024;
pub(crate) const DESCRIPTORS_SHARE: usize = 8;

/// Tasks that wait for a thread with nothing else to do; beyond these the oldest are dropped.
pub(crate) const MOST_IDLE_TASKS: usize = 256;

/// Most threads that wait for remote sources beside those that produce bricks. They hold a unit or two each.
pub(crate) const FETCH_THREADS: usize = 32;

/// Most threads that measure what metadata say of pixels. They wait for the threads that produce bricks.
pub(crate) const METADATA_THREADS: usize = 32;

/// What an open file takes, and more for each of its levels: descriptions of arrays, and where things lie.
pub(crate) const OPEN_FILE_BYTES: u64 = 16 << 10;
pub(crate) const OPEN_LEVEL_BYTES: u64 = 8 << 10;

/// Largest buffer that a thread keeps for its next task, and smallest that the pool takes: smaller ones are
/// left to the allocator, which keeps them at hand as well.
pub(crate) const KEPT_BUFFER_BYTES: usize = 4 << 20;
pub(crate) const POOLED_BUFFER_BYTES: usize = 4 << 20;

/// Largest read unit that an array remembers, and the estimated cost of an entry of a shard index.
pub(crate) const REMEMBERED_UNIT_BYTES: u64 = 64 << 20;

/// Memory for the counts of the datasets that are counted at a time, unless those of one take more; part of the
/// budget.
pub(crate) const COUNTS_BYTES: u64 = 8 << 20;

/// The program itself, its stacks and tables, while it is busy.
const PROGRAM_BYTES: u64 = 16 << 20;

/// The shares of a memory budget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shares {
    budget: u64,
}

impl Shares {
    pub(crate) const fn of(budget_bytes: u64) -> Self {
        Self { budget: budget_bytes }
    }

    /// For bricks that are decoded, and all that is held of it.
    pub(crate) const fn budget(self) -> u64 {
        self.budget
    }

    /// Within the budget: open passes, and records in production.
    pub(crate) const fn aside(self) -> u64 {
        self.budget / 4
    }

    /// Within the budget: bricks that wait for the cache's disk. Few, so that the processor still has them
    /// at hand.
    pub(crate) const fn unwritten(self) -> u64 {
        self.budget / 64
    }

    /// Within the budget: bricks that wait to be put into the shared cache.
    pub(crate) const fn shared_puts(self) -> u64 {
        self.budget / 32
    }

    /// Within the budget: what is known of names, which is listings of folders with what `stat` needs of each file,
    /// and what is left of them when they are forgotten.
    pub(crate) const fn names(self) -> u64 {
        self.budget / 4
    }

    /// Within what is known of names: what was found out about stores that no listing holds.
    pub(crate) const fn memo(self) -> u64 {
        self.budget / 16
    }

    /// Within what is known of names: inodes and paths of what was forgotten.
    pub(crate) const fn forgotten(self) -> u64 {
        self.budget / 16
    }

    /// On top: bricks that were produced lately.
    pub(crate) const fn recent(self) -> u64 {
        self.budget / 4
    }

    /// Within the recent bricks: those that no reader has asked for yet. Less than all, so that none is dropped
    /// before its time.
    pub(crate) const fn ahead(self) -> u64 {
        self.recent() / 2
    }

    /// On top: records, and bricks that are not on disk.
    pub(crate) const fn only_in_memory(self) -> u64 {
        self.budget / 8
    }

    /// On top: buffers that threads keep. As much again for the pool.
    pub(crate) const fn buffers(self) -> u64 {
        self.budget / 16
    }

    /// On top: decoded shard indices; the largest known index is 4 MiB.
    pub(crate) const fn shard_indices(self) -> u64 {
        self.budget / 16
    }

    /// On top: central directories of zip files. 100 000 members take about 4 MiB. The one used last stays,
    /// however large it is.
    pub(crate) const fn zip_directories(self) -> u64 {
        self.budget / 32
    }

    /// On top: states of decoders of deflated members, to begin in the middle of one.
    pub(crate) const fn inflated_members(self) -> u64 {
        self.budget / 32
    }

    /// On top: the read unit that each array has decoded last.
    pub(crate) const fn last_units(self) -> u64 {
        self.budget / 4
    }

    /// All that the daemon takes.
    pub(crate) const fn total(self) -> u64 {
        let on_top = self.recent()
            + self.only_in_memory()
            + 2 * self.buffers()
            + self.shard_indices()
            + self.zip_directories()
            + self.inflated_members()
            + self.last_units()
            + PROGRAM_BYTES;
        self.budget.saturating_add(on_top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_what_the_documents_state() {
        let shares = Shares::of(DEFAULT_BUDGET_BYTES);
        // README.md and doc/CONFIGURATION.md: "256 MiB in all by default".
        assert_eq!(shares.total(), 256 << 20);
        let at_work = [shares.aside(), shares.unwritten(), shares.shared_puts(), COUNTS_BYTES];
        let at_work: u64 = at_work.iter().sum();
        assert!(at_work <= shares.budget() / 2, "decoding has less than a half");
        // However many stores there are.
        let most = at_work + shares.names();
        assert!(most <= shares.budget() * 5 / 8, "decoding has less than three eighths");
        assert!(shares.memo() + shares.forgotten() <= shares.names() / 2);
        assert!(shares.ahead() < shares.recent());
    }
}
