//! The metadata region as a whole: its records, and that of another file with the same pixels.

use std::borrow::Cow;
use std::sync::{Arc, mpsc};

use crate::engine::brick::{Brick, Mode};
use crate::engine::error::ImageError;
use crate::image::measure::thumbnail;
use crate::ims::{ImsFile, MetadataWriter, Packing, Templates};

use super::VirtualFile;
use super::metadata::Record;
use super::records::MOST_LOST;

/// Most bytes that are given at a time.
const PIECE_BYTES: u64 = 1 << 20;

impl VirtualFile {
    /// How many records its metadata are made from; each is kept as a brick is.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.metadata().records(self.plan(), 0..self.plan().datasets()).count() as u64
    }

    /// Gives the metadata region of a file of `eof` bytes whose chunks are compressed, and all else as here: each piece
    /// and where it lies. Waits for voxels.
    ///
    /// # Errors
    /// [`ImageError`] when they cannot be read, and what `put` returns.
    pub fn each_packed_metadata<E: From<ImageError>>(
        self: &Arc<Self>,
        packing: Packing,
        eof: u64,
        mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let plan = self.plan();
        let (layout, metadata) = (&plan.layout, plan.layout.metadata());
        let ims = ImsFile { packing: Some(packing), ..plan.ims.clone() };
        let (width, height) = thumbnail::size(plan);
        let templates = Templates::new(&ims, [width, height]).map_err(ImageError::from)?;
        let index_root = |level, dataset| layout.index_root(level, dataset);
        let writer = MetadataWriter {
            file: &ims,
            layout: metadata,
            templates: &templates,
            eof,
            index_root: &index_root,
        };
        let (mut known, mut at) = ((None, Vec::new()), 0);
        let mut buffer = Vec::new();
        while at < metadata.bytes() {
            let (part, run) = metadata.locate(at);
            let record = self.metadata().record_of(part);
            if record != known.0 {
                known = (record, self.record(record, 0)?);
            }
            buffer.resize(usize::try_from(run.min(PIECE_BYTES)).unwrap_or(usize::MAX), 0);
            let mut lost = 0;
            loop {
                match self.metadata().write_with(&writer, at, &mut buffer, &known.1) {
                    Err(ImageError::BadRecord) if lost < MOST_LOST => {
                        lost += 1;
                        known.1 = self.record(record, lost)?;
                    }
                    result => break result?,
                }
            }
            put(at, &buffer)?;
            at += buffer.len() as u64;
        }
        Ok(())
    }

    /// The bytes of a record, or none where nothing can be made of them; `lost`: how often that was so.
    fn record(self: &Arc<Self>, record: Option<Record>, lost: u32) -> Result<Vec<u8>, ImageError> {
        let Some(record) = record else { return Ok(Vec::new()) };
        let (sender, receiver) = mpsc::sync_channel(1);
        let done = move |result: Result<Brick, ImageError>| {
            // The receiver waits below.
            let _ = sender.send(result);
        };
        let mode = Mode { unreadable: lost > 0, ..Mode::default() };
        self.request_record(record, mode, Box::new(done));
        let found = receiver.recv().unwrap_or(Err(ImageError::Abandoned))?;
        // The cache failed between the look and the read: no bytes are no record.
        Ok(found.bytes().map(Cow::into_owned).unwrap_or_default())
    }
}
