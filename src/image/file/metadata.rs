//! The metadata region of a file: what it says of pixels is measured when it is first read, and kept in records.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::cache::{BrickKey, Slot};
use crate::engine::brick::{Brick, Keep, Produced, Whole};
use crate::engine::error::ImageError;
use crate::image::measure::{
    BadRecord, Datasets, DisplayRanges, Measured, Sketch, channels_shown, is_small, thumbnail,
};
use crate::image::options::Statistics;
use crate::image::plan::ImagePlan;
use crate::image::voxels::image::Image;
use crate::image::voxels::space::Space;
use crate::ims::{MetadataPart, MetadataWriter, Pixels, Templates};
use crate::sync::lock;

/// Memory of an open file for records that the cache does not keep. Readers of one opening see one version of so
/// many; of further ones they may see another after the store was written to.
const FLEETING_BYTES: u64 = 1 << 20;

/// Runs of datasets that are measured before anybody wants them, while a reader walks along time.
const RUNS_AHEAD: u64 = 2;

/// What was measured of some pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Record {
    /// The histograms of a run of datasets, by a rule.
    Histograms(Statistics, u64),
    /// The displayed ranges of a run of channels.
    Ranges(u64),
    Thumbnail,
}

/// How the metadata of a file are made.
#[derive(Debug)]
pub(super) struct Metadata {
    /// The rule for histograms that are shown.
    rule: Statistics,
    datasets: Datasets,
    ranges: DisplayRanges,
    thumbnail_bytes: u64,
    /// Of the thumbnail.
    sketch: Arc<Sketch>,
    templates: OnceLock<Templates>,
    fleeting: Mutex<Fleeting>,
    /// The run of datasets that was read last.
    last_run: AtomicU64,
}

/// Records that the source may change any time, once served: readers of one opening must see one version.
#[derive(Debug, Default)]
struct Fleeting {
    records: HashMap<Record, Brick>,
    bytes: u64,
}

impl Metadata {
    pub(super) fn new(image: &Arc<Image>) -> Self {
        // Of small images, both rules count all.
        let asked = image.images.options().statistics;
        let rule = if is_small(image) { Statistics::Fast } else { asked };
        let (width, height) = thumbnail::size(&image.plan);
        Self {
            rule,
            datasets: Datasets::new(image, rule),
            ranges: DisplayRanges::new(image),
            thumbnail_bytes: 4 * u64::from(width) * u64::from(height),
            sketch: Arc::default(),
            templates: OnceLock::new(),
            fleeting: Mutex::default(),
            last_run: AtomicU64::new(0),
        }
    }

    /// The record that a part is made from; `None` where it says nothing of pixels.
    pub(super) fn record_of(&self, part: MetadataPart) -> Option<Record> {
        match part {
            MetadataPart::Fixed => None,
            MetadataPart::Channel(channel) => {
                Some(Record::Ranges(self.ranges.run_of(channel as u64)))
            }
            MetadataPart::Dataset { dataset, .. } => {
                Some(Record::Histograms(self.rule, self.datasets.run_of(dataset)))
            }
            MetadataPart::Thumbnail => Some(Record::Thumbnail),
        }
    }

    /// The records of a file, those of histograms of some `datasets` only, which are not none.
    pub(super) fn records(
        &self,
        plan: &ImagePlan,
        datasets: Range<u64>,
    ) -> impl Iterator<Item = Record> + use<> {
        let runs = self.datasets.run_of(datasets.start)..=self.datasets.run_of(datasets.end - 1);
        let channels = plan.ims.channels.len() as u64;
        let ranges = 0..=self.ranges.run_of(channels - 1);
        let rule = self.rule;
        let histograms = runs.map(move |run| Record::Histograms(rule, run));
        let of_pixels = histograms.chain(ranges.map(Record::Ranges));
        of_pixels.chain([Record::Thumbnail])
    }

    /// Whether a record depends on all voxels.
    pub(super) fn is_exact(record: Record) -> bool {
        matches!(record, Record::Histograms(Statistics::Exact, _))
    }

    /// Where a record is kept.
    pub(super) fn slot(&self, image: &Image, record: Record) -> Slot {
        let (space, index, slot_bytes) = match record {
            Record::Histograms(rule, run) => {
                let space = match rule {
                    Statistics::Fast => Space::FastStatistics,
                    Statistics::Exact => Space::ExactStatistics,
                };
                (space, run, self.datasets_by(rule).record_bytes())
            }
            Record::Ranges(run) => (Space::DisplayRanges, run, self.ranges.record_bytes()),
            Record::Thumbnail => (Space::Thumbnail, 0, self.thumbnail_bytes),
        };
        let key = BrickKey { image: image.content, space: space.number(), index };
        Slot { key, slot_bytes, is_proven: true }
    }

    fn datasets_by(&self, rule: Statistics) -> &Datasets {
        if rule == self.rule { &self.datasets } else { self.ranges.datasets() }
    }

    /// The records that a record is made from: those of finer things, so there is no circle.
    pub(super) fn sources(&self, image: &Image, record: Record) -> Vec<Record> {
        match record {
            Record::Histograms(..) => Vec::new(),
            Record::Ranges(run) => {
                let runs = self.ranges.sources(image, run).into_iter();
                runs.map(|run| Record::Histograms(Statistics::Fast, run)).collect()
            }
            Record::Thumbnail => {
                let last = self.ranges.run_of(channels_shown(&image.plan) - 1);
                (0..=last).map(Record::Ranges).collect()
            }
        }
    }

    /// What a record says of ranges, to those that are made from it.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub(super) fn measured(
        &self,
        record: Record,
        bytes: &[u8],
        is_lasting: bool,
    ) -> Result<Measured, BadRecord> {
        let ranges = match record {
            Record::Histograms(rule, run) => self.datasets_by(rule).ranges(bytes, run)?,
            Record::Ranges(run) => self.ranges.ranges(bytes, run)?,
            Record::Thumbnail => Vec::new(),
        };
        Ok(Measured { ranges, is_lasting })
    }

    /// Makes a record from what its [`Metadata::sources`] say, and from voxels, which it waits for.
    ///
    /// # Errors
    /// [`ImageError`] when the store changed or vanished; damaged chunks are left out instead.
    pub(super) fn produce(
        &self,
        image: &Arc<Image>,
        record: Record,
        sources: &[Measured],
    ) -> Result<Produced, ImageError> {
        let reserve = |bytes| Arc::new(image.engine().resources().reserve_aside(bytes));
        let result = match record {
            Record::Histograms(rule, run) => {
                let datasets = self.datasets_by(rule);
                datasets.measure(image, run, &self.sketch, &reserve(datasets.memory_bytes()))
            }
            Record::Ranges(run) => Ok(self.ranges.record(image, run, sources)),
            Record::Thumbnail => thumbnail::measure(
                image,
                sources,
                &self.sketch,
                &reserve(thumbnail::memory_bytes(image)),
            ),
        };
        match result {
            Ok((bytes, is_lasting)) => {
                let keep = if is_lasting { Keep::OnDisk } else { Keep::FLEETING };
                Ok(Produced::new(Arc::new(bytes.into()), keep, false))
            }
            Err(error) => {
                let store = image.source.folder();
                tracing::error!(store = %store.display(), %error, "cannot measure the pixels");
                Err(error)
            }
        }
    }

    /// Records to be made ahead, when a reader has come to another one: the next ones, if it walks along time.
    pub(super) fn ahead(
        &self,
        plan: &ImagePlan,
        record: Record,
    ) -> impl Iterator<Item = Record> + use<> {
        let rule = self.rule;
        self.runs_ahead(plan, record).map(move |run| Record::Histograms(rule, run))
    }

    fn runs_ahead(&self, plan: &ImagePlan, record: Record) -> Range<u64> {
        let Record::Histograms(_, run) = record else { return 0..0 };
        let is_next = self.last_run.swap(run, Ordering::Relaxed).checked_add(1) == Some(run);
        let runs = self.datasets.run_of(plan.datasets() - 1) + 1;
        if is_next { run + 1..(run + 1 + RUNS_AHEAD).min(runs) } else { 0..0 }
    }

    /// A record that the cache does not keep, as readers of this opening have seen it.
    pub(super) fn seen(&self, record: Record) -> Option<Brick> {
        lock(&self.fleeting).records.get(&record).cloned()
    }

    /// The version of a record that readers of this opening get: the first one, unless it was `lost`.
    pub(super) fn settled(&self, record: Record, found: Brick, lost: bool) -> Brick {
        let bytes = match &found {
            Brick::Memory(Whole { lasting: false, bytes, .. }) => bytes.len() as u64,
            _ => return found,
        };
        let mut fleeting = lock(&self.fleeting);
        let Fleeting { records, bytes: held } = &mut *fleeting;
        match records.get(&record) {
            Some(known) if !lost => known.clone(),
            _ => {
                if *held + bytes <= FLEETING_BYTES {
                    *held += bytes;
                    records.insert(record, found.clone());
                }
                found
            }
        }
    }

    /// Writes bytes of one part of the region, from `offset` on. `record` is that of the part.
    ///
    /// # Errors
    /// [`ImageError::BadRecord`] when it is not; the others are faults of the program.
    pub(super) fn write(
        &self,
        image: &Image,
        offset: u64,
        out: &mut [u8],
        record: &[u8],
    ) -> Result<(), ImageError> {
        let layout = &image.plan.layout;
        let root = |level, dataset| layout.index_root(level, dataset);
        let templates = self.templates(&image.plan)?;
        let writer = MetadataWriter {
            file: &image.plan.ims,
            layout: layout.metadata(),
            templates,
            eof: layout.file_bytes(),
            index_root: &root,
        };
        self.write_with(&writer, offset, out, record)
    }

    /// The same with a writer of another file with the same pixels.
    pub(super) fn write_with(
        &self,
        writer: &MetadataWriter,
        offset: u64,
        out: &mut [u8],
        record: &[u8],
    ) -> Result<(), ImageError> {
        let histograms;
        let (part, _) = writer.layout.locate(offset);
        let pixels = match part {
            MetadataPart::Fixed => Pixels::None,
            MetadataPart::Channel(channel) => {
                Pixels::Range(self.ranges.range(record, channel as u64)?)
            }
            MetadataPart::Dataset { level, dataset } => {
                histograms = self.datasets.histograms(record, dataset, level)?;
                Pixels::Histograms(histograms.as_ref())
            }
            MetadataPart::Thumbnail if record.len() as u64 == self.thumbnail_bytes => {
                Pixels::Thumbnail(record)
            }
            MetadataPart::Thumbnail => return Err(ImageError::BadRecord),
        };
        Ok(writer.write(offset, out, pixels)?)
    }

    /// The headers of datasets, which the HDF5 library writes once.
    fn templates(&self, plan: &ImagePlan) -> Result<&Templates, ImageError> {
        if let Some(templates) = self.templates.get() {
            return Ok(templates);
        }
        let (width, height) = thumbnail::size(plan);
        let templates = Templates::new(&plan.ims, [width, height])?;
        Ok(self.templates.get_or_init(|| templates))
    }
}
