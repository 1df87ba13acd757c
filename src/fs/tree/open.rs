//! Opening files: each inode stands for one state of a store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use crate::image::VirtualFile;
use crate::source::discover;
use crate::source::{ChunkState, Unfollowed};

use super::node::{Chunks, Content, FileNode, FileSpec, Ino, Looked, Node};
use super::{FsError, Revalidate, Tree, lock};

impl Tree {
    /// Opens the image behind a file, and tells whether the kernel may keep the pages it has: only if
    /// nothing has changed since the last opening, nor may have, as where pages stand for absent
    /// chunks of an image that does not follow its chunks.
    ///
    /// An inode stands for one state of the metadata and of the chunks, so that openings of different
    /// states never share pages: if the chunks have changed, the file gets another inode, and this
    /// one is stale.
    ///
    /// # Errors
    /// [`FsError::IsADirectory`]; [`FsError::Stale`] when the store is not as it was listed.
    pub fn open(&self, ino: Ino) -> Result<(Arc<VirtualFile>, bool), FsError> {
        let node = self.node(ino)?;
        let Content::File(FileNode { spec, looked, open, fleeting }) = &node.content else {
            return Err(FsError::IsADirectory);
        };
        self.check_permissions(&node, spec, false)?;
        let asked = Instant::now();
        let mut looked = lock(looked);
        let chunks = looked.chunks.clone();
        // Many who open a file at the same time look once.
        let was_looked_at = looked.at.is_some_and(|at| at >= asked);
        let begun = Instant::now();
        let may_keep = !matches!(chunks, Chunks::AtFirst) && !fleeting.load(Ordering::Relaxed);
        // The kernel looks the name up again at once, and the listing must not be trusted then.
        let is_stale = || {
            lock(&spec.state).has_changed = true;
            FsError::Stale
        };
        let shared = lock(open).upgrade();
        if let Some(file) = shared {
            if !file.source().fingerprint.is_unchanged(&self.root) {
                return Err(is_stale());
            }
            if matches!(chunks, Chunks::Known(_)) && !was_looked_at {
                self.compare(&node, spec, &chunks, &file.source().chunk_state())?;
                looked.at = Some(begun);
            }
            return Ok((file, may_keep));
        }
        let image = discover::open_image(&self.root, &spec.store, &spec.image, spec.multiscale)
            .map_err(|error| {
                tracing::warn!(store = %spec.store.display(), %error, "cannot open image");
                is_stale()
            })?;
        let looks = match chunks {
            Chunks::AtFirst => self.config.revalidate == Revalidate::Open,
            Chunks::Any => false,
            Chunks::Known(_) => true,
        };
        let mut now = None;
        let mut stands_for = Chunks::Any;
        if looks {
            let found = image.keep_to_chunks();
            self.compare(&node, spec, &chunks, &found)?;
            match found {
                Ok(state) => {
                    now = Some(state.clone());
                    stands_for = Chunks::Known(state);
                }
                Err(reason) => {
                    let store = spec.store.display();
                    tracing::info!(%store, %reason, "changes of chunks will not be noticed");
                    if reason != Unfollowed::TooMany {
                        // The next time may be faster, as what was read is in memory somewhere, and
                        // what could not be read may be readable.
                        stands_for = Chunks::AtFirst;
                    }
                }
            }
        }
        let (image, engine) = (Arc::new(image), self.engine.clone());
        let mut file = VirtualFile::new(&self.root, image, engine, now.as_ref())?;
        if file.id() != spec.id || file.size() != spec.size {
            // Changed since it was read, or listed by a memo that is wrong: it is inspected anew.
            lock(&spec.state).is_refuted = true;
            return Err(is_stale());
        }
        file.share_fleeting(fleeting);
        let file = Arc::new(file);
        *lock(open) = Arc::downgrade(&file);
        *looked = Looked { chunks: stands_for, at: Some(begun) };
        Ok((file, may_keep))
    }

    /// Takes up what a look at the chunk files has found.
    ///
    /// # Errors
    /// [`FsError::Stale`] where the chunks are not in the state that the file stands for, which then
    /// gets another inode, and where somebody may not read them who could so far.
    fn compare(
        &self,
        node: &Node,
        spec: &FileSpec,
        chunks: &Chunks,
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
        let has_changed = match (chunks, found) {
            (Chunks::Known(known), Ok(now)) => !known.is_same(now),
            (Chunks::Known(_), Err(_)) => true,
            (Chunks::AtFirst | Chunks::Any, _) => false,
        };
        if has_changed {
            self.ask_permissions(spec);
            return Err(self.renew(node, spec));
        }
        self.check_permissions(node, spec, true)
    }

    /// Gives a file whose chunks have changed another inode.
    fn renew(&self, node: &Node, spec: &FileSpec) -> FsError {
        tracing::info!(path = %node.path.display(), "chunks have changed since the last opening");
        let state = self.states.fetch_add(1, Ordering::Relaxed);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let unique = spec.id.0 ^ (time.as_nanos() << 16) ^ u128::from(state);
        let (old, new) = (node.ino(), Ino::derive(b'f', &node.path, unique));
        lock(&spec.state).newest = Some(new);
        self.know_file(node.parent, node.path.clone(), spec);
        if let Ok(parent) = self.node(node.parent) {
            match &parent.content {
                Content::StoreFolder { names, .. } => {
                    lock(names).values_mut().filter(|ino| **ino == old).for_each(|ino| *ino = new);
                }
                Content::Mirror { listing, .. } => {
                    let mut listing = lock(listing);
                    let names = listing.iter_mut().flat_map(|listing| listing.names.values_mut());
                    names.filter(|child| child.ino == old).for_each(|child| child.ino = new);
                }
                Content::File(_) => {}
            }
        }
        lock(&self.lingering).push(old);
        FsError::Stale
    }
}
