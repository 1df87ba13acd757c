//! Where a brick lies: slots in sparse segment files, and the table of open segment files.
//!
//! Slot `n` of a segment starts at `n * stride`, where the stride is the slot size rounded up to
//! [`PAGE_BYTES`], so two bricks never share a page and releasing one is punching its slot. All
//! this follows from the key and the slot size: there is no state per slot, however large the
//! image.
//!
//! A segment file gets its full apparent length when it is created. Another length later means that
//! it was changed from outside, and no write ever extends it (XFS would preallocate past the end).

use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use lru::LruCache;
use xxhash_rust::xxh3::Xxh3;

use super::disk::{DiskFile, Folder, Opening};
use super::key::{BrickKey, ImageId};
use crate::descriptors;
use crate::sync::lock;

/// Unit of allocation: slots start on it, lengths are accounted in it.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Largest apparent size of a segment file. ext4 stops at 16 TiB; a smaller bound keeps a damaged
/// file from costing much.
const SEGMENT_BYTES: u64 = 1 << 40;

/// Segment files kept open without a pin on them, and the part of all descriptors that they may take.
const OPEN_FILES: usize = 256;
const OPEN_SHARE: usize = 4;

const SUFFIX: &str = ".bricks";

/// Bytes read at a time to verify a brick.
const VERIFY_BYTES: u64 = 1 << 20;

/// Rounds up to whole pages. Lengths here are at most [`SEGMENT_BYTES`], so this cannot overflow.
pub(super) fn allocated_bytes(length: u64) -> u64 {
    length.div_ceil(PAGE_BYTES) * PAGE_BYTES
}

/// A slot size known to fit a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotSize(u64);

impl SlotSize {
    pub(super) fn new(slot_bytes: u64) -> Option<Self> {
        (1..=SEGMENT_BYTES).contains(&slot_bytes).then_some(Self(slot_bytes))
    }

    pub(super) fn bytes(self) -> u64 {
        self.0
    }

    fn stride(self) -> u64 {
        allocated_bytes(self.0)
    }

    fn slots_per_segment(self) -> u64 {
        SEGMENT_BYTES / self.stride()
    }

    /// Segment files of a space with this number of slots.
    pub(super) fn segments(self, slots: u64) -> u64 {
        slots.div_ceil(self.slots_per_segment())
    }

    /// Apparent length of every segment file with slots of this size.
    pub(super) fn file_bytes(self) -> u64 {
        self.slots_per_segment() * self.stride()
    }
}

/// One segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SegmentKey {
    pub(super) image: ImageId,
    pub(super) space: u16,
    pub(super) segment: u64,
}

impl SegmentKey {
    pub(super) fn file_name(&self) -> String {
        format!("{}-{}{SUFFIX}", self.space, self.segment)
    }

    /// The inverse of [`Self::file_name`]; anything else is not a segment file.
    pub(super) fn parse(image: ImageId, name: &str) -> Option<Self> {
        let (space, segment) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let key = Self { image, space: space.parse().ok()?, segment: segment.parse().ok()? };
        (key.file_name() == name).then_some(key)
    }
}

/// The slot of a brick: offsets are relative to the start of its segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: SegmentKey,
    pub(super) offset: u64,
    pub(super) stride: u64,
    pub(super) size: SlotSize,
}

impl Place {
    pub(super) fn of(key: &BrickKey, size: SlotSize) -> Self {
        let slots = size.slots_per_segment();
        let segment = SegmentKey { image: key.image, space: key.space, segment: key.index / slots };
        let stride = size.stride();
        Self { segment, offset: (key.index % slots) * stride, stride, size }
    }
}

/// An open segment file.
#[derive(Debug)]
pub(super) struct SegmentFile(Box<dyn DiskFile>);

impl SegmentFile {
    /// Whether it still has a name and its full length.
    pub(super) fn is_intact(&self, size: SlotSize) -> io::Result<bool> {
        let state = self.0.state()?;
        Ok(!state.is_removed && state.length == size.file_bytes())
    }

    /// Bytes on disk, the file system's own metadata for this file included where it counts it.
    pub(super) fn disk_bytes(&self) -> io::Result<u64> {
        Ok(self.0.state()?.disk_bytes)
    }

    pub(super) fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    /// xxh3-64 of a range.
    pub(super) fn checksum(&self, offset: u64, length: u64) -> io::Result<u64> {
        let mut hasher = Xxh3::new();
        let mut buf = vec![0; usize::try_from(length.min(VERIFY_BYTES)).unwrap_or(1)];
        let mut done = 0;
        while done < length {
            let part = usize::try_from(length - done).unwrap_or(usize::MAX).min(buf.len());
            self.read_exact_at(&mut buf[..part], offset + done)?;
            hasher.update(&buf[..part]);
            done += part as u64;
        }
        Ok(hasher.digest())
    }

    pub(super) fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    pub(super) fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.0.punch_hole(offset, bytes)
    }
}

/// The answer to [`SegmentFiles::create`].
pub(super) enum Created {
    /// The file existed.
    Known(Arc<SegmentFile>),
    /// The file was created, perhaps with its folder.
    New(Arc<SegmentFile>),
    /// The file was created because one with bricks in it was removed from outside.
    Lost,
}

/// The folder of all image folders.
pub(super) const IMAGES: &str = "images";

/// The segment files under one directory, a bounded number of them open.
///
/// The table's lock also orders the creation and the deletion of files and image directories.
#[derive(Debug)]
pub(super) struct SegmentFiles {
    folder: Arc<dyn Folder>,
    open: Arc<OpenFiles>,
}

/// The files that are open, by the time of their last use.
type OpenFiles = Mutex<LruCache<SegmentKey, Arc<SegmentFile>>>;

impl descriptors::Pool for OpenFiles {
    fn close_all(&self) {
        if let Ok(mut open) = self.try_lock() {
            open.clear();
        }
    }
}

impl SegmentFiles {
    pub(super) fn new(folder: Arc<dyn Folder>) -> Self {
        let bound = OPEN_FILES.min(descriptors::limit() / OPEN_SHARE);
        let bound = NonZeroUsize::new(bound).unwrap_or(NonZeroUsize::MIN);
        let open = Arc::new(Mutex::new(LruCache::new(bound)));
        let pool: Weak<OpenFiles> = Arc::downgrade(&open);
        descriptors::register(pool);
        Self { folder, open }
    }

    pub(super) fn folder(&self) -> &dyn Folder {
        &*self.folder
    }

    /// Path below the cache's folder.
    pub(super) fn path(key: &SegmentKey) -> PathBuf {
        image_folder(key.image).join(key.file_name())
    }

    /// A file that should exist.
    pub(super) fn existing(&self, key: &SegmentKey) -> io::Result<Arc<SegmentFile>> {
        let mut open = lock(&self.open);
        if let Some(file) = open.get(key) {
            return Ok(Arc::clone(file));
        }
        let file = self.open_file(&mut open, &Self::path(key), Opening::Existing)?;
        let file = Arc::new(SegmentFile(file));
        open.put(*key, Arc::clone(&file));
        Ok(file)
    }

    /// The file, created with the folders above it if need be.
    ///
    /// If the file had to be created, `lost` tells whether bricks should have been in it. It is called
    /// before another thread can put one there. If it returns true, the file is of no use.
    pub(super) fn create(
        &self,
        key: &SegmentKey,
        size: SlotSize,
        lost: impl FnOnce() -> bool,
    ) -> io::Result<Created> {
        let mut open = lock(&self.open);
        if let Some(file) = open.get(key) {
            return Ok(Created::Known(Arc::clone(file)));
        }
        self.make_image_folder(key.image)?;
        let path = Self::path(key);
        let (file, made) = match self.open_file(&mut open, &path, Opening::New) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                (self.open_file(&mut open, &path, Opening::Existing)?, false)
            }
            Err(error) => return Err(error),
        };
        if made && let Err(error) = file.set_len(size.file_bytes()) {
            // An empty file left behind would look like one that was truncated.
            drop(self.folder.remove_file(&path));
            return Err(error);
        }
        if made && lost() {
            return Ok(Created::Lost);
        }
        let file = Arc::new(SegmentFile(file));
        open.put(*key, Arc::clone(&file));
        Ok(if made { Created::New(file) } else { Created::Known(file) })
    }

    /// Opens a file; closes the others first if there are no descriptors left.
    fn open_file(
        &self,
        open: &mut LruCache<SegmentKey, Arc<SegmentFile>>,
        path: &Path,
        how: Opening,
    ) -> io::Result<Box<dyn DiskFile>> {
        match self.folder.open(path, how) {
            Err(error) if descriptors::is_shortage(&error) => {
                open.clear();
                self.folder.open(path, how)
            }
            other => other,
        }
    }

    fn make_image_folder(&self, image: ImageId) -> io::Result<()> {
        let path = image_folder(image);
        let made = match self.folder.make_folder(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // It was removed from outside. If the cache's own folder is gone, this fails too.
                self.folder.make_folder(Path::new(IMAGES))?;
                self.folder.make_folder(&path)
            }
            other => other,
        };
        match made {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Closes a file that can no longer be trusted.
    pub(super) fn forget(&self, key: &SegmentKey) {
        lock(&self.open).pop(key);
    }

    /// Deletes a file, and its image folder if that is empty then, provided that `unused` still
    /// returns true once no other thread can open the file. Returns whether the file is gone.
    pub(super) fn delete_if(
        &self,
        key: &SegmentKey,
        unused: impl FnOnce() -> bool,
    ) -> io::Result<bool> {
        let mut open = lock(&self.open);
        if !unused() {
            return Ok(false);
        }
        open.pop(key);
        match self.folder.remove_file(&Self::path(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Fails, as it should, while other segments are left.
        drop(self.folder.remove_folder(&image_folder(key.image)));
        Ok(true)
    }
}

fn image_folder(image: ImageId) -> PathBuf {
    Path::new(IMAGES).join(image.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u64) -> BrickKey {
        BrickKey { image: ImageId(7), space: 3, index }
    }

    #[test]
    fn slots_do_not_overlap_and_stay_inside_a_segment() {
        for bytes in [1, 4095, 4096, 4097, 65_536, 1_000_003, 32 << 20, SEGMENT_BYTES] {
            let size = SlotSize::new(bytes).unwrap();
            assert!(size.file_bytes() <= SEGMENT_BYTES);
            for index in [0, 1, 2, 1 << 20, (1 << 50) - 1, 1 << 50, u64::MAX - 1] {
                let (a, b) = (Place::of(&key(index), size), Place::of(&key(index + 1), size));
                assert!(a.offset + a.stride <= size.file_bytes());
                assert!(a.offset % PAGE_BYTES == 0 && a.stride >= bytes);
                assert!(
                    (a.segment == b.segment && b.offset == a.offset + a.stride)
                        || (b.segment.segment == a.segment.segment + 1 && b.offset == 0)
                );
            }
        }
        assert_eq!(SlotSize::new(0), None);
        assert_eq!(SlotSize::new(SEGMENT_BYTES + 1), None);
    }

    #[test]
    fn file_names_read_back_and_nothing_else_does() {
        let key = SegmentKey { image: ImageId(1), space: 65_535, segment: 1 << 38 };
        assert_eq!(SegmentKey::parse(ImageId(1), &key.file_name()), Some(key));
        for name in ["", "1-2", "01-2.bricks", "1-+2.bricks", "1-2.bricks.new", "70000-1.bricks"] {
            assert_eq!(SegmentKey::parse(ImageId(1), name), None, "{name}");
        }
    }
}
