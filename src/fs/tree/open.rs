//! Opening files. Each handle shows one state of a store: that of the moment it was opened, or a moment
//! before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::image::VirtualFile;
use crate::source::discover;
use crate::source::{ChunkState, Unfollowed};

use super::access::check_not_narrowed;
use super::node::{Chunks, Content, FileNode, FileSpec, Ino, Looked, Node};
use super::pages::{PageReader, Paging};
use super::{FsError, Revalidate, Tree, lock};

/// How often an opening begins anew, because the store has changed under it.
const ATTEMPTS: usize = 5;

/// A file that was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its bytes.
    pub file: Arc<VirtualFile>,
    /// What the kernel does with the pages it has.
    pub paging: Paging,
    /// The inode stands for another file by now, whose attributes the kernel must ask for.
    pub is_another: bool,
    _reader: Option<Arc<PageReader>>,
}

impl Tree {
    /// Opens the image behind a file in the state of the moment. If the file is another one by now, as after
    /// a change of metadata, that one is opened: file servers look a name up, and open what they found a
    /// moment later by its inode.
    ///
    /// # Errors
    /// [`FsError::IsADirectory`]; [`FsError::Stale`] when there is no such file any more, or the store changes
    /// all the time; [`FsError::Restricted`] where somebody may not read it who could when it was looked up.
    pub fn open(&self, ino: Ino) -> Result<Opened, FsError> {
        let mut current = ino;
        for _ in 0..ATTEMPTS {
            let path = match self.node(current) {
                Ok(node) => match self.open_node(&node) {
                    Err(FsError::Stale) => node.path.clone(),
                    Ok(opened) if current != ino => return self.stand_in(ino, &node, opened),
                    other => return other,
                },
                Err(error) => lock(&self.former).get(&current).cloned().ok_or(error)?,
            };
            current = self.find(&path).map_err(|_| FsError::Stale)?.ino;
        }
        Err(FsError::Stale)
    }

    /// A file as it is opened by the inode that another one had.
    ///
    /// # Errors
    /// [`FsError::Restricted`].
    fn stand_in(&self, ino: Ino, node: &Node, opened: Opened) -> Result<Opened, FsError> {
        let before = lock(&self.nodes).remove(&ino);
        lock(&self.former).put(ino, node.path.clone());
        if let Some(before) = before {
            check_not_narrowed(before.attributes(), node.attributes())?;
        }
        Ok(Opened { paging: Paging::Bypass, is_another: true, _reader: None, ..opened })
    }

    fn open_node(&self, node: &Node) -> Result<Opened, FsError> {
        let Content::File(known) = &node.content else { return Err(FsError::IsADirectory) };
        self.check_permissions(node, &known.spec, false)?;
        let asked = Instant::now();
        let mut looked = lock(&known.looked);
        let shared = lock(&known.open).upgrade();
        let file = match shared {
            Some(file) => self.look_again(node, known, file, &mut looked, asked)?,
            None => None,
        };
        let file = match file {
            Some(file) => file,
            None => self.build(node, known, &mut looked)?,
        };
        let may_be_old =
            matches!(looked.chunks, Chunks::AtFirst) || known.fleeting.load(Ordering::Relaxed);
        let (paging, reader) = known.pages.open(file.content(), may_be_old);
        Ok(Opened { file, paging, is_another: false, _reader: reader })
    }

    /// A file that is open, or was a moment ago, if it still shows its store as it is.
    fn look_again(
        &self,
        node: &Node,
        FileNode { spec, fleeting, .. }: &FileNode,
        file: Arc<VirtualFile>,
        looked: &mut Looked,
        asked: Instant,
    ) -> Result<Option<Arc<VirtualFile>>, FsError> {
        if !file.source().fingerprint.is_unchanged(&self.root) {
            return Err(stale(spec));
        }
        let Chunks::Known(known) = &looked.chunks else { return Ok(Some(file)) };
        // Many who open a file at the same time look once.
        let reuse = self.config.revalidate.time();
        let stands =
            |at: Instant| at >= asked || (at.elapsed() < reuse && file.source().has_same_folders());
        // Who mends a damaged chunk sees it mended at the next opening.
        let may_be_mended = fleeting.load(Ordering::Relaxed);
        if looked.at.is_some_and(stands) && !file.is_outdated() && !may_be_mended {
            return Ok(Some(file));
        }
        let begun = Instant::now();
        let found = file.source().chunk_state();
        let is_same = found.as_ref().is_ok_and(|now| known.is_same(now));
        if !is_same {
            tracing::info!(path = %node.path.display(), "chunks have changed since the last opening");
            return Ok(None);
        }
        self.take_up_look(node, spec, &found)?;
        looked.at = Some(begun);
        Ok(Some(file))
    }

    /// The virtual file of a store as it is now.
    fn build(
        &self,
        node: &Node,
        FileNode { spec, open, fleeting, .. }: &FileNode,
        looked: &mut Looked,
    ) -> Result<Arc<VirtualFile>, FsError> {
        let begun = Instant::now();
        let image = discover::open_image(&self.root, &spec.store, &spec.image, spec.multiscale)
            .map_err(|error| {
                tracing::warn!(store = %spec.store.display(), %error, "cannot open image");
                stale(spec)
            })?;
        let looks = match looked.chunks {
            Chunks::AtFirst => self.config.revalidate != Revalidate::Never,
            Chunks::Any => false,
            Chunks::Known(_) => true,
        };
        let (mut now, mut chunks) = (None, Chunks::Any);
        if looks {
            let found = image.keep_to_chunks();
            self.take_up_look(node, spec, &found)?;
            match found {
                Ok(state) => {
                    now = Some(state.clone());
                    chunks = Chunks::Known(state);
                }
                Err(reason) => {
                    let store = spec.store.display();
                    tracing::info!(%store, %reason, "changes of chunks will not be noticed");
                    if reason != Unfollowed::TooMany {
                        // The next time may be faster, as what was read is in memory somewhere, and
                        // what could not be read may be readable.
                        chunks = Chunks::AtFirst;
                    }
                }
            }
        }
        let (image, images) = (Arc::new(image), self.images.clone());
        let mut file = VirtualFile::new(&self.root, image, images, now.as_ref())?;
        if file.id() != spec.id || file.size() != spec.size {
            // Changed since it was read, or listed by a memo that is wrong: it is inspected anew.
            lock(&spec.state).is_refuted = true;
            return Err(stale(spec));
        }
        file.share_fleeting(fleeting);
        let file = Arc::new(file);
        *lock(open) = Arc::downgrade(&file);
        *looked = Looked { chunks, at: Some(begun) };
        Ok(file)
    }

    /// Takes up what a look at the chunk files has found.
    ///
    /// # Errors
    /// [`FsError::Restricted`] where somebody may not read them who could so far.
    fn take_up_look(
        &self,
        node: &Node,
        spec: &FileSpec,
        found: &Result<ChunkState, Unfollowed>,
    ) -> Result<(), FsError> {
        if let Ok(state) = found {
            let mut known = lock(&spec.state);
            known.chunk_access = Some((state.access().clone(), Instant::now()));
            if known.chunks_modified != state.modified() {
                known.chunks_modified = state.modified();
                self.memo.iter().for_each(|memo| memo.note_news());
            }
        }
        self.check_permissions(node, spec, true)
    }

    /// A handle was closed.
    pub fn close(&self, opened: Opened) {
        // The last one: who opens the file again soon finds it.
        if Arc::strong_count(&opened.file) == 1 {
            self.closed.keep(opened.file);
        }
    }
}

/// The store is not as it was listed, and the listing must not be trusted.
fn stale(spec: &FileSpec) -> FsError {
    lock(&spec.state).has_changed = true;
    FsError::Stale
}
