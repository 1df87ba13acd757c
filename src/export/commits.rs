//! Brings what is written to the disk and into the journal, beside those who write.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Output;
use super::error::ExportError;
use super::journal::{Journal, Record};

/// What is written is brought to the disk and into the journal after this time, or after so many bytes.
const COMMIT_TIME: Duration = Duration::from_millis(250);
const COMMIT_BYTES: u64 = 256 << 20;

/// Pieces that are written, in the order of the file, and not yet in the journal.
pub(super) struct Commits {
    ready: Vec<Record>,
    end: u64,
    committed: u64,
    since: Instant,
    sender: SyncSender<Vec<Record>>,
}

impl Commits {
    /// Runs `work`, which writes pieces; what it has written is in the journal at the end.
    ///
    /// # Errors
    /// Those of `work`, and [`ExportError`] of the disk.
    pub(super) fn run(
        output: &mut Output,
        work: impl FnOnce(&mut Self) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let (sender, received) = sync_channel(1);
        let (file, journal) = (&output.file, &output.journal);
        let failed = |error| ExportError::file(&output.path, error);
        let end = output.done;
        let (worked, committed) = thread::scope(|scope| {
            let committer = scope.spawn(move || commit_all(file, journal, &received, &failed));
            let since = Instant::now();
            let mut commits = Self { ready: Vec::new(), end, committed: end, since, sender };
            let worked = work(&mut commits);
            commits.finish();
            (worked, committer.join())
        });
        let committed = committed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        output.done = output.journal.replay(&mut |_, _| Ok(true))?;
        worked.and(committed)
    }

    /// Where the next piece begins.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Takes the next piece, which is written.
    pub(super) fn push(&mut self, record: Record) {
        self.end = record.end;
        self.ready.push(record);
    }

    /// Hands on what is written, when it is time.
    pub(super) fn commit_soon(&mut self) {
        let is_due =
            self.since.elapsed() >= COMMIT_TIME || self.end - self.committed >= COMMIT_BYTES;
        if self.ready.is_empty() || !is_due {
            return;
        }
        match self.sender.try_send(std::mem::take(&mut self.ready)) {
            Ok(()) => (self.since, self.committed) = (Instant::now(), self.end),
            // The disk is slower than the readers, or has failed, which the end will say.
            Err(TrySendError::Full(ready) | TrySendError::Disconnected(ready)) => {
                self.ready = ready;
            }
        }
    }

    fn finish(self) {
        if !self.ready.is_empty() {
            // Nobody receives after a failure, which the end will say.
            let _ = self.sender.send(self.ready);
        }
    }
}

/// Brings pieces to the disk, then into the journal.
fn commit_all(
    file: &File,
    journal: &Journal,
    commits: &Receiver<Vec<Record>>,
    failed: &(dyn Fn(io::Error) -> ExportError + Sync),
) -> Result<(), ExportError> {
    for records in commits {
        file.sync_data().map_err(failed)?;
        journal.append(&records)?;
    }
    Ok(())
}
