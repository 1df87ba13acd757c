//! Looking into folders of the source: which are stores, and of what images.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::allocator;
use crate::by_hand::{self, Entry, Shown, StoreTable, Tables, View};
use crate::image::{Images, VirtualFile};
use crate::resources::memory::MemoryBudget;
use crate::source::discover;
use crate::source::growing::{self, Complete};
use crate::source::image::ImageSource;
use crate::source::root::{DirEntry, EntryKind};
use crate::source::{Fingerprint, SourceError, SourceRoot};
use crate::sync::lock;

use super::access;
use super::file::{FileSpec, LevelSpec, ListedFile, Verdict, ViewSpec, place};
use super::inspected::{Inspected, Skipped};
use super::labels::{self, LabelAt, WithLabels};
use super::memo::{Held, Memo, Origin, Recalled, Save};
use super::options::{Labels, TreeConfig};
use super::told::Teller;

/// Metadata files of more bytes than this are large: those of an image have some thousands.
const LARGE_METADATA_BYTES: u64 = 256 << 10;

/// Pauses before a store with an incomplete document is inspected again.
const INCOMPLETE_PAUSES: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(120),
    Duration::from_millis(300),
];

/// Notes on an image that its log line holds.
const NOTES_SHOWN: usize = 8;

/// Looks into folders, from any thread.
#[derive(Debug)]
pub(super) struct Inspector {
    pub(super) root: Arc<SourceRoot>,
    pub(super) images: Arc<Images>,
    pub(super) config: TreeConfig,
    /// What the configuration says of stores.
    by_hand: Arc<Tables>,
    /// Which tables of stores were about a store, by their numbers.
    matched: Mutex<HashSet<usize>>,
    /// Findings of earlier runs, and of listings that were forgotten.
    memo: Memo,
    pub(super) teller: Teller,
    /// For stores that may take much memory: one at a time, apart from those that do not answer.
    large: Arc<MemoryBudget>,
}

impl Inspector {
    pub(super) fn new(
        root: Arc<SourceRoot>,
        images: Arc<Images>,
        config: TreeConfig,
        by_hand: Arc<Tables>,
    ) -> Self {
        let (cache, options) = (images.engine().cache(), images.options());
        let account = images.engine().resources().names.memo.clone();
        let memo = Memo::open(cache, &root, options, config, (&by_hand, account));
        let (teller, large) = (Teller::default(), MemoryBudget::new(1));
        let matched = Mutex::default();
        Self { root, images, config, by_hand, matched, memo, teller, large }
    }

    /// What a folder of the source is: what is known of it, in this run or by the memo, if that is still
    /// true, or what it is found to be.
    pub(super) fn look(&self, folder: &Path, known: Option<&Arc<Inspected>>) -> Arc<Inspected> {
        if let Some(known) = known.filter(|known| known.is_current(&self.root)) {
            return known.clone();
        }
        let recalled = if known.is_none() { self.memo.recall(folder) } else { None };
        if let Some(Recalled { found, .. }) = recalled
            && found.is_current(&self.root)
        {
            return self.take_up(folder, found, Origin::Memo);
        }
        if let Some(found) = self.look_into_small(folder, known) {
            return found;
        }
        let _alone = self.large.reserve(1);
        let found = self.look_into(folder, known);
        // The next one may need as much, in another heap.
        allocator::trim();
        found
    }

    /// What this run has found out about a folder that no listing holds any more. Whether it is still true is another
    /// question.
    pub(super) fn recall(&self, folder: &Path) -> Option<Arc<Inspected>> {
        let recalled = self.memo.recall(folder)?;
        (!recalled.is_earlier).then(|| Arc::new(recalled.found))
    }

    /// Notes that an opening has found out more about a file than the memo says.
    pub(super) fn note_news(&self) {
        self.memo.note_news();
    }

    /// Keeps results in the memo that no listing holds any more.
    pub(super) fn pack(&self, results: &[(PathBuf, Arc<Inspected>)]) {
        self.memo.pack(results);
    }

    /// Saves what is known in the cache, with what listings hold.
    pub(super) fn save(&self, when: Save, held: impl FnOnce() -> Held) {
        if let Some(cache) = self.images.engine().cache() {
            self.memo.save(cache, when, held);
        }
    }

    /// Inspects a folder of the source; `known` is what was known of it.
    pub(super) fn look_into(
        &self,
        folder: &Path,
        known: Option<&Arc<Inspected>>,
    ) -> Arc<Inspected> {
        let found = self.inspect_patiently(&self.root, folder, known);
        cut_off(&found, known).unwrap_or_else(|| self.take_over(folder, found, known))
    }

    /// The same, unless its metadata is so long that reading it may take much memory: many folders are
    /// inspected at a time.
    pub(super) fn look_into_small(
        &self,
        folder: &Path,
        known: Option<&Arc<Inspected>>,
    ) -> Option<Arc<Inspected>> {
        let root = Arc::new(self.root.with_metadata_limit(LARGE_METADATA_BYTES));
        let found = self.inspect_patiently(&root, folder, known);
        if root.has_refused() {
            return None;
        }
        cut_off(&found, known).or_else(|| Some(self.take_over(folder, found, known)))
    }

    /// Takes over what openings have found out about images that are known.
    fn take_over(
        &self,
        folder: &Path,
        mut found: Inspected,
        known: Option<&Arc<Inspected>>,
    ) -> Arc<Inspected> {
        let before = known.into_iter().flat_map(|known| known.files.iter().flatten());
        let before: HashMap<_, _> = before.map(|file| (file.spec.key(), file)).collect();
        for file in found.files.iter_mut().flatten() {
            if let Some(same) = before.get(&file.spec.key()) {
                file.found = same.found.clone();
                lock(&file.found.state).verdict = Verdict::Holds;
            }
            if self.config.is_shared {
                access::ask(&self.root, self.config, file);
            }
        }
        self.take_up(folder, found, Origin::Source)
    }

    /// Logs what is skipped, and what is assumed of what is shown.
    fn take_up(&self, folder: &Path, mut found: Inspected, origin: Origin) -> Arc<Inspected> {
        if let Some(files) = &mut found.files {
            files.shrink_to_fit();
        }
        self.teller.tell(folder, &found);
        self.memo.remember(folder, &found, origin);
        Arc::new(found)
    }

    /// Inspects a folder again while images that were shown are missing for a fault: a program that
    /// overwrites a document in place leaves it incomplete for a moment.
    fn inspect_patiently(
        &self,
        root: &Arc<SourceRoot>,
        path: &Path,
        known: Option<&Arc<Inspected>>,
    ) -> Inspected {
        let mut found = self.inspect_guarded(root, path, known);
        for pause in INCOMPLETE_PAUSES {
            if root.has_refused()
                || found.is_outage
                || !known.is_some_and(|known| found.has_lost_images_of(known))
            {
                break;
            }
            thread::sleep(pause);
            found = self.inspect_guarded(root, path, known);
        }
        found
    }

    /// A fault of this program in one store must not hide the stores beside it.
    fn inspect_guarded(
        &self,
        root: &Arc<SourceRoot>,
        path: &Path,
        known: Option<&Arc<Inspected>>,
    ) -> Inspected {
        catch_unwind(AssertUnwindSafe(|| self.inspect(root, path, known))).unwrap_or_else(|_| {
            let reason = "internal fault while reading its metadata".to_owned();
            tracing::error!(path = %path.display(), reason, "fault");
            let mut fingerprint = Fingerprint::default();
            fingerprint.record(&self.root, path);
            let skipped = vec![Skipped::because(path, &reason)];
            Inspected { skipped, ..Inspected::nothing(fingerprint) }
        })
    }

    /// Inspects a folder of the source and plans its images.
    fn inspect(
        &self,
        root: &Arc<SourceRoot>,
        path: &Path,
        known: Option<&Arc<Inspected>>,
    ) -> Inspected {
        tracing::debug!(path = %path.display(), "inspecting");
        let began = SystemTime::now();
        if let Some(entry) = Entry::at(path) {
            return self.inspect_entry(root, &entry, began, known);
        }
        let (labels, options) = (self.config.labels != Labels::Hide, self.images.options());
        let mut found = match by_hand::inspect(root, path, labels, &self.by_hand, options) {
            Ok(by_hand::Found { images, mut skipped, fingerprint }) => {
                let images = images.map(|images| self.arrange(images, &mut skipped));
                let mut found = Inspected {
                    files: images.is_some().then(Vec::new),
                    is_outage: skipped.iter().any(|(_, error)| error.is_outage()),
                    skipped: Skipped::all(&skipped),
                    ..Inspected::nothing(fingerprint)
                };
                if images.is_some() {
                    lock(&self.matched).extend(self.by_hand.about(path));
                }
                for image in images.into_iter().flatten() {
                    let path = image.shown.source.folder();
                    self.plan(&path, image, None, known, &mut found);
                }
                found
            }
            Err(error) => {
                let mut fingerprint = Fingerprint::default();
                fingerprint.doubt();
                fingerprint.record(&self.root, path);
                let skipped = vec![Skipped::of(path, &error)];
                let is_outage = error.is_outage();
                return Inspected { skipped, is_outage, ..Inspected::nothing(fingerprint) };
            }
        };
        found.is_lasting = found.fingerprint.is_lasting(began) && !found.is_unfinished;
        found
    }

    /// Makes and plans the files that a person asks for.
    fn inspect_entry(
        &self,
        root: &Arc<SourceRoot>,
        entry: &Entry,
        began: SystemTime,
        known: Option<&Arc<Inspected>>,
    ) -> Inspected {
        let options = self.images.options();
        let asked = by_hand::views(root, entry, &self.by_hand, options, self.config.live);
        let by_hand::Views { views, skipped, fingerprint } = asked;
        let skipped = Skipped::all(&skipped);
        let mut found = Inspected { skipped, ..Inspected::nothing(fingerprint) };
        for View { number, name, shown, images } in views {
            let entry = entry.path().to_path_buf();
            let path = entry.with_file_name(format!("{name}.ims"));
            let view = ViewSpec { entry, number, name, images };
            self.plan(&path, WithLabels::without(shown), Some(Arc::new(view)), known, &mut found);
        }
        found.is_lasting = found.fingerprint.is_lasting(began) && !found.is_unfinished;
        found
    }

    /// Tables of stores that were about no store so far.
    pub(super) fn unmatched(&self) -> Vec<&StoreTable> {
        let matched = lock(&self.matched);
        let tables = self.by_hand.stores.iter().enumerate();
        tables.filter(|(number, _)| !matched.contains(number)).map(|(_, table)| table).collect()
    }

    /// Names of entries of a folder for what the configuration asks for.
    pub(super) fn entries_in(&self, folder: &Path) -> Vec<OsString> {
        Entry::configured(&self.root, &self.by_hand, folder)
    }

    /// The image of a file that was listed, in the state of the moment.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be read any more, or is gone.
    pub(super) fn open_image(&self, spec: &FileSpec) -> Result<Shown, SourceError> {
        let (root, tables, options) = (&self.root, &self.by_hand, self.images.options());
        let as_listed = |shown: Shown| match &spec.complete {
            _ if !self.config.live => shown,
            Some(complete) => {
                Shown { source: growing::only_complete(&shown.source, complete), ..shown }
            }
            None => Shown { source: growing::all_of(&shown.source), ..shown },
        };
        if let Some(view) = &spec.view {
            let entry = Entry::at(&view.entry).expect("a view is listed by its entry");
            let live = self.config.live;
            let opened = by_hand::open_view(root, &entry, view.number, tables, options, live);
            return opened.map(as_listed);
        }
        let open = |path: &str, number| {
            by_hand::open(root, (spec.store.as_path(), path, number), tables, options)
        };
        let shown = open(&spec.image, spec.multiscale)?;
        if spec.labels.is_empty() {
            return Ok(as_listed(shown));
        }
        let label = |(path, number): &LabelAt| open(path, *number);
        let labels: Vec<Shown> = spec.labels.iter().map(label).collect::<Result<_, _>>()?;
        labels::with_channels(shown, &labels).map(as_listed)
    }

    /// Which images of a store have files, with the labels that are channels of them.
    fn arrange(
        &self,
        images: Vec<Shown>,
        skipped: &mut Vec<(PathBuf, SourceError)>,
    ) -> Vec<WithLabels> {
        if self.config.labels != Labels::Channels {
            return images.into_iter().map(WithLabels::without).collect();
        }
        let (images, refused) = labels::in_their_images(images);
        skipped.extend(refused);
        images
    }

    /// Plans the virtual file of an image; `path` is what the log calls it.
    fn plan(
        &self,
        path: &Path,
        image: WithLabels,
        view: Option<Arc<ViewSpec>>,
        known: Option<&Arc<Inspected>>,
        found: &mut Inspected,
    ) {
        let WithLabels { shown: Shown { source, options }, labels } = image;
        let (source, complete) =
            match self.config.live.then(|| complete_part(&source, view.as_deref(), known)) {
                None => (source, None),
                Some(Ok((part, complete))) => (part, Some(complete)),
                Some(Err(reason)) => {
                    found.skipped.push(Skipped::because(path, &reason));
                    found.is_unfinished = true;
                    return;
                }
            };
        found.is_unfinished |= complete.as_ref().is_some_and(|complete| !complete.is_all);
        let image = Arc::new(source);
        if !image.notes.is_empty() {
            found.notes.push((path.to_path_buf(), one_line(&image.notes)));
        }
        match VirtualFile::planned(&self.root, image.clone(), &options, self.images.clone(), None) {
            Ok(file) => found.files.get_or_insert_default().push(ListedFile::new(FileSpec {
                store: image.store.clone(),
                image: image.image.clone(),
                multiscale: image.multiscale,
                role: image.role,
                name: image.name.clone(),
                title: image.title.clone(),
                view,
                complete: complete.map(Box::new),
                labels: labels.into(),
                size: file.size(),
                shape: image.levels[0].shape(),
                levels: file.plan().levels.iter().map(LevelSpec::of).collect(),
                id: file.id(),
                modified: image.fingerprint.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                metadata: found.fingerprint.clone(),
                samples: image.samples().collect(),
            })),
            Err(error) => {
                found.skipped.push(Skipped::because(path, &error.to_string()));
            }
        }
    }
}

/// What was known of a folder, where the source does not answer: its files stay, and their reads fail until it
/// does. The storage has logged that.
fn cut_off(found: &Inspected, known: Option<&Arc<Inspected>>) -> Option<Arc<Inspected>> {
    known.filter(|known| found.is_cut_off(known)).cloned()
}

/// What of an image is complete, of which `known` was shown before.
///
/// # Errors
/// In words, why nothing of it is shown.
fn complete_part(
    image: &ImageSource,
    view: Option<&ViewSpec>,
    known: Option<&Arc<Inspected>>,
) -> Result<(ImageSource, Complete), String> {
    let place = place(image, view);
    let before = known.into_iter().flat_map(|known| known.files.iter().flatten());
    let before = before.map(|file| &file.spec).find(|spec| spec.place() == place);
    let shown = before.map_or(0, |spec| spec.shape[0]);
    let pause = before.and_then(|spec| Some(spec.complete.as_ref()?.pause)).unwrap_or_default();
    let complete = growing::complete(image, shown, pause).map_err(|reason| {
        format!("what of it is complete cannot be found out: {reason}; mounts without --live show it as it is")
    })?;
    if complete.times == 0 {
        return Err("none of its time points is complete so far".to_owned());
    }
    Ok((growing::only_complete(image, &complete), complete))
}

/// Whether an entry of a folder is shown, or is worth a line why not.
pub(super) fn is_notable(entry: &DirEntry) -> bool {
    match entry.kind {
        EntryKind::File => {
            let name = Path::new(&entry.name);
            discover::is_notable_file(name) || Entry::at(name).is_some()
        }
        EntryKind::Other => false,
        EntryKind::Directory | EntryKind::LinkedDirectory | EntryKind::BadLink => true,
    }
}

/// The first few notes on an image, and how many more there are.
fn one_line(notes: &[String]) -> String {
    let shown = notes.len().min(NOTES_SHOWN);
    let more = match notes.len() - shown {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", notes[..shown].join("; "))
}
