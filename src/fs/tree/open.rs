//! Opening files: look, decide, build. Each handle shows one state of a store: that of the moment it was
//! opened, or a moment before.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::by_hand::Shown;
use crate::fs::view::{FsError, Paging};
use crate::image::VirtualFile;
use crate::source::image::ImageSource;
use crate::source::{ChunkState, SourceRoot, Unfollowed};
use crate::sync::lock;

use super::access::Rights;
use super::decide::{self, Knowledge, LastLook, Situation, Step};
use super::file::{Chunks, FileSpec, Found, ListedFile, Verdict};
use super::inspect::Inspector;
use super::node::{Content, Node};
use super::options::Revalidate;
use super::pages::PageReader;

/// A file that was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its bytes.
    pub file: Arc<VirtualFile>,
    /// Its path below the mount point.
    pub path: Arc<Path>,
    /// What the kernel does with the pages it has.
    pub paging: Paging,
    /// The inode stands for another file now: the kernel must ask for its attributes again.
    pub is_another: bool,
    _reader: Option<Arc<PageReader>>,
}

impl Opened {
    /// The same file, opened by the inode of an earlier one.
    pub(super) fn stand_in(self) -> Self {
        Self { paging: Paging::Bypass, is_another: true, _reader: None, ..self }
    }
}

/// Opens the files of a tree.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) inspector: Arc<Inspector>,
    pub(super) rights: Rights,
    pub(super) revalidate: Revalidate,
}

/// One opening.
struct Opening<'a> {
    opener: &'a Opener,
    node: &'a Node,
    spec: &'a FileSpec,
    found: &'a Found,
    began: Instant,
}

impl Opener {
    /// Opens the file of a node.
    ///
    /// # Errors
    /// [`FsError::IsADirectory`]; [`FsError::Stale`] when the store is not as it was listed;
    /// [`FsError::Restricted`] when fewer users may read it than at the lookup.
    pub(super) fn open(&self, node: &Node) -> Result<Opened, FsError> {
        let Content::File(ListedFile { spec, found }) = &node.content else {
            return Err(FsError::IsADirectory);
        };
        self.rights.check(node, false)?;
        let opening = Opening { opener: self, node, spec, found, began: Instant::now() };
        let _alone = lock(&found.opening);
        let file = match opening.shared()? {
            Some(file) => file,
            None => opening.build()?,
        };
        let may_be_mended = opening.may_be_mended();
        let mut state = lock(&found.state);
        let opened = state.opened();
        let may_be_old = decide::may_pages_be_old(knowledge(&opened.chunks), may_be_mended);
        let (paging, reader) = opened.pages.open(file.content(), may_be_old);
        let path = node.path.as_path().into();
        Ok(Opened { file, path, paging, is_another: false, _reader: reader })
    }
}

impl Opening<'_> {
    /// The file that is open, or was a moment ago, if it still shows its store as it is.
    fn shared(&self) -> Result<Option<Arc<VirtualFile>>, FsError> {
        let Some(file) = lock(&self.found.state).opened().open.upgrade() else { return Ok(None) };
        match decide::step(self.situation(&file)) {
            Step::Share => Ok(Some(file)),
            Step::Look => self.look_again(file),
            Step::Build => Ok(None),
            Step::Relist => Err(self.stale(Verdict::Changed)),
        }
    }

    /// What this opening finds.
    fn situation(&self, file: &VirtualFile) -> Situation {
        let (follows_chunks, looked_at) = {
            let mut state = lock(&self.found.state);
            let opened = state.opened();
            (knowledge(&opened.chunks) == Knowledge::State, opened.looked_at)
        };
        let has_metadata_changed = !file.source().fingerprint.is_unchanged(self.root());
        let asks_folders = follows_chunks && !has_metadata_changed;
        let reuse = self.opener.revalidate.time();
        let last_look = match looked_at {
            Some(at) if at >= self.began => LastLook::DuringThisOpening,
            Some(at) if asks_folders && at.elapsed() < reuse => {
                if file.source().has_same_folders() {
                    LastLook::Recent
                } else {
                    LastLook::FoldersChanged
                }
            }
            _ => LastLook::Old,
        };
        Situation {
            is_held: true,
            has_metadata_changed,
            follows_chunks,
            last_look,
            is_outdated: file.is_outdated(),
            may_be_mended: self.may_be_mended(),
        }
    }

    /// The file, if its chunks are as they were.
    fn look_again(&self, file: Arc<VirtualFile>) -> Result<Option<Arc<VirtualFile>>, FsError> {
        let began = Instant::now();
        let found = file.source().chunk_state();
        let is_same = match (&lock(&self.found.state).opened().chunks, &found) {
            (Chunks::Known(known), Ok(now)) => known.is_same(now),
            _ => false,
        };
        if !is_same {
            let path = self.node.path.display();
            tracing::info!(%path, "chunks have changed since the last opening");
            return Ok(None);
        }
        self.take_up_look(&found)?;
        lock(&self.found.state).opened().looked_at = Some(began);
        Ok(Some(file))
    }

    /// The virtual file of a store as it is now.
    fn build(&self) -> Result<Arc<VirtualFile>, FsError> {
        let began = Instant::now();
        let image = self.opener.inspector.open_image(self.spec);
        let Shown { source: image, options } = image.map_err(|error| {
            // The store may be as it was.
            if error.is_outage() && self.root().storage().is_remote() {
                return error.into();
            }
            tracing::warn!(store = %self.spec.store.display(), %error, "cannot open image");
            self.stale(Verdict::Changed)
        })?;
        let knowledge = knowledge(&lock(&self.found.state).opened().chunks);
        let looks = decide::looks_when_built(knowledge, self.opener.revalidate);
        let chunks = if looks { self.look_first(&image)? } else { Chunks::Any };
        let now = if let Chunks::Known(state) = &chunks { Some(state) } else { None };
        let images = self.opener.inspector.images.clone();
        let mut file = VirtualFile::planned(self.root(), Arc::new(image), &options, images, now)?;
        if file.id() != self.spec.id || file.size() != self.spec.size {
            // The store has changed since it was listed, or the listing came from a wrong memo.
            return Err(self.stale(Verdict::Refuted));
        }
        let mut state = lock(&self.found.state);
        let opened = state.opened();
        file.share_fleeting(&opened.fleeting);
        let file = Arc::new(file);
        opened.open = Arc::downgrade(&file);
        (opened.chunks, opened.looked_at) = (chunks, Some(began));
        drop(state);
        Ok(file)
    }

    /// The state of the chunks, to which the image keeps from now on.
    fn look_first(&self, image: &ImageSource) -> Result<Chunks, FsError> {
        let found = image.keep_to_chunks();
        self.take_up_look(&found)?;
        match found {
            Ok(state) => Ok(Chunks::Known(state)),
            Err(reason) => {
                let store = self.spec.store.display();
                tracing::info!(%store, %reason, "changes of chunks will not be noticed");
                // The next look may be faster, as the system has cached what this one read, and files
                // that could not be read may be readable.
                let is_final = reason == Unfollowed::TooMany;
                Ok(if is_final { Chunks::Any } else { Chunks::AtNextOpening })
            }
        }
    }

    /// Takes up what a look at the chunk files has found.
    ///
    /// # Errors
    /// [`FsError::Restricted`] where a user may no longer read them.
    fn take_up_look(&self, found: &Result<ChunkState, Unfollowed>) -> Result<(), FsError> {
        if let Ok(now) = found {
            let mut state = lock(&self.found.state);
            state.opened().chunk_access = Some((now.access().clone(), Instant::now()));
            if state.chunks_modified != now.modified() {
                state.chunks_modified = now.modified();
                self.opener.inspector.note_news();
            }
        }
        self.opener.rights.check(self.node, true)
    }

    fn root(&self) -> &Arc<SourceRoot> {
        &self.opener.inspector.root
    }

    fn may_be_mended(&self) -> bool {
        lock(&self.found.state).opened().fleeting.load(Ordering::Relaxed)
    }

    /// The store is not as it was listed, and the listing must not be trusted.
    fn stale(&self, verdict: Verdict) -> FsError {
        lock(&self.found.state).doubt(verdict);
        FsError::Stale
    }
}

fn knowledge(chunks: &Chunks) -> Knowledge {
    match chunks {
        Chunks::AtNextOpening => Knowledge::ToCome,
        Chunks::Any => Knowledge::Never,
        Chunks::Known(_) => Knowledge::State,
    }
}
