//! What folders of the source turned out to be.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fs::view::CHECK_INTERVAL;
use crate::source::{Fingerprint, NonImage, SourceError, SourceRoot};
use crate::sync::lock;

use super::file::{ListedFile, Verdict};

/// A folder whose check takes long is checked at most this part of the time.
const CHECK_DUTY: u32 = 10;

/// What a result takes beside what it is made of, with its places in maps; and a path with a text.
const OWN_BYTES: u64 = 400;
const ROW_BYTES: u64 = 100;

/// A path that is not shown, and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// Path below the source folder.
    pub path: PathBuf,
    /// Reason, one line.
    pub reason: String,
    /// What it is, if nothing is wrong with it but that it is no image.
    pub non_image: Option<NonImage>,
}

/// What a folder of the source turned out to be.
#[derive(Debug)]
pub(super) struct Inspected {
    /// `None`: a plain folder.
    pub(super) files: Option<Vec<ListedFile>>,
    pub(super) skipped: Vec<Skipped>,
    /// What the inspection left out or assumed of images that are shown, one line for each.
    pub(super) notes: Vec<(PathBuf, String)>,
    pub(super) fingerprint: Arc<Fingerprint>,
    /// The source did not answer.
    pub(super) is_outage: bool,
    /// More of an image may be shown at the next look, without a change of its metadata.
    pub(super) is_unfinished: bool,
    /// The fingerprint shows at any later time whether all this still holds.
    pub(super) is_lasting: bool,
    /// [`Inspected::findings`] of what the memo has of it.
    pub(super) recalled: Option<u64>,
    pub(super) checked: Mutex<Checked>,
}

/// When something was compared with the source, and how long that took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    at: Instant,
    /// Until the next check is due.
    pause: Duration,
}

impl Checked {
    /// A check that began at `started` and ends now.
    pub(super) fn since(started: Instant) -> Self {
        Self::costing(started.elapsed())
    }

    /// A check is due.
    pub(super) fn never() -> Self {
        Self { at: Instant::now(), pause: Duration::ZERO }
    }

    /// A check that ends now. `cost` leaves out what nobody waited for.
    pub(super) fn costing(cost: Duration) -> Self {
        Self { at: Instant::now(), pause: CHECK_INTERVAL.max(cost * CHECK_DUTY) }
    }

    /// The same for what is not complete: half of the time may go into checks.
    pub(super) fn of_growing(cost: Duration) -> Self {
        Self { at: Instant::now(), pause: CHECK_INTERVAL.max(cost) }
    }

    /// Whether it is that long ago.
    pub(super) fn is_older_than(&self, pause: Duration) -> bool {
        self.at.elapsed() > pause
    }

    /// Whether the next check is not due yet.
    pub(super) fn is_recent(&self) -> bool {
        self.at.elapsed() < self.pause
    }
}

impl Inspected {
    /// A store without images, checked now.
    pub(super) fn nothing(fingerprint: Fingerprint) -> Self {
        Self {
            files: Some(Vec::new()),
            skipped: Vec::new(),
            notes: Vec::new(),
            fingerprint: Arc::new(fingerprint.closed()),
            is_outage: false,
            is_unfinished: false,
            is_lasting: false,
            recalled: None,
            checked: Mutex::new(Checked::since(Instant::now())),
        }
    }

    /// Memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        let of_files: u64 = self.files.iter().flatten().map(ListedFile::bytes).sum();
        let of_skipped: u64 = self.skipped.iter().map(Skipped::bytes).sum();
        let note = |(path, text): &(PathBuf, String)| {
            ROW_BYTES + (path.as_os_str().len() + text.len()) as u64
        };
        let of_notes: u64 = self.notes.iter().map(note).sum();
        OWN_BYTES + self.fingerprint.bytes() + of_files + of_skipped + of_notes
    }

    /// Whether images that were known before are missing now, and something could not be read.
    pub(super) fn has_lost_images_of(&self, known: &Self) -> bool {
        let has_fault = self.skipped.iter().any(|row| row.non_image.is_none());
        let name = |file: &ListedFile| file.spec.place();
        let shown: HashSet<_> = self.files.iter().flatten().map(name).collect();
        has_fault && known.files.iter().flatten().any(|file| !shown.contains(&name(file)))
    }

    /// Whether images that were known before are missing because the source does not answer.
    pub(super) fn is_cut_off(&self, known: &Self) -> bool {
        self.is_outage && self.has_lost_images_of(known)
    }

    /// The worst verdict on its files.
    fn verdict(&self) -> Verdict {
        let verdicts = self.files.iter().flatten().map(ListedFile::verdict);
        verdicts.max().unwrap_or_default()
    }

    /// Whether no opening has met a change.
    pub(super) fn holds(&self) -> bool {
        self.verdict() == Verdict::Holds
    }

    /// A hash of what openings and look-ups have found out that the memo keeps.
    pub(super) fn findings(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in self.files.iter().flatten() {
            let state = lock(&file.found.state);
            let permissions = state.permissions.map(|p| (p.mode, p.uid, p.gid));
            (state.chunks_modified, permissions).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Whether openings have found out what another inspection would not, and the memo cannot keep.
    pub(super) fn has_findings(&self) -> bool {
        let is_kept = self.is_lasting && self.holds();
        let has_found = |file: &ListedFile| lock(&file.found.state).chunks_modified.is_some();
        !is_kept && self.files.iter().flatten().any(has_found)
    }

    /// Whether the last check is recent, and no opening has met a change since.
    pub(super) fn seems_fresh(&self) -> bool {
        lock(&self.checked).is_recent() && self.holds()
    }

    /// Whether the source is as it was; looks only once per [`CHECK_INTERVAL`].
    pub(super) fn is_fresh(&self, root: &SourceRoot) -> bool {
        self.seems_fresh() || self.is_current(root)
    }

    /// Whether all is as it was found. What could not be read, or was written just before, has to be
    /// inspected again.
    pub(super) fn is_current(&self, root: &SourceRoot) -> bool {
        let started = Instant::now();
        let current = self.is_lasting
            && self.verdict() != Verdict::Refuted
            && self.fingerprint.is_unchanged(root);
        if current {
            *lock(&self.checked) = Checked::since(started);
        }
        current
    }
}

impl Skipped {
    fn bytes(&self) -> u64 {
        ROW_BYTES + (self.path.as_os_str().len() + self.reason.len()) as u64
    }

    pub(super) fn of(path: &Path, error: &SourceError) -> Self {
        let (path, reason) = (path.to_path_buf(), error.reason_at(path));
        Self { path, reason, non_image: error.non_image() }
    }

    pub(super) fn all(rows: &[(PathBuf, SourceError)]) -> Vec<Self> {
        rows.iter().map(|(path, error)| Self::of(path, error)).collect()
    }

    /// For a reason that may begin with the path, which the row has already.
    pub(super) fn because(path: &Path, reason: &str) -> Self {
        let prefix = format!("{}: ", path.display());
        let reason = reason.strip_prefix(&prefix).unwrap_or(reason).to_owned();
        Self { path: path.to_path_buf(), reason, non_image: None }
    }
}
