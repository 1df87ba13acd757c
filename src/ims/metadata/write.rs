//! Writing any range of the metadata region.

use crate::ims::describe::{ChannelHistograms, Histogram, ImsFile};
use crate::ims::header::{AttributeType, attribute};
use crate::ims::names::{Name, Names};
use crate::ims::superblock::superblock;
use crate::ims::template::{self, Templates};
use crate::ims::window::Window;
use crate::ims::{ImsError, schema, text};

use super::group::write_info;
use super::layout::{LevelSlots, MetadataLayout, MetadataPart};

/// What a part of the region says of pixels.
#[derive(Debug, Clone, Copy)]
pub enum Pixels<'a> {
    /// Of a part that is fixed: nothing.
    None,
    /// The displayed range (black, full colour) of the channel.
    Range((f64, f64)),
    /// The histograms of the dataset at this level. Where nothing was counted it is written without, as
    /// `ImarisWriter` does.
    Histograms(Option<&'a ChannelHistograms>),
    /// The pixels of the thumbnail, row by row: red, green, blue, alpha.
    Thumbnail(&'a [u8]),
}

/// Writes the metadata of a file.
pub struct MetadataWriter<'a> {
    /// The file.
    pub file: &'a ImsFile,
    /// Where its metadata lie: that of the same file, but for its packing.
    pub layout: &'a MetadataLayout,
    /// Its headers.
    pub templates: &'a Templates,
    /// Bytes of the whole file.
    pub eof: u64,
    /// File address of the root node of the chunk index of (level, dataset), which has the number
    /// `t * channels + c`.
    pub index_root: &'a dyn Fn(usize, u64) -> u64,
}

impl MetadataWriter<'_> {
    /// Writes the bytes from `offset` on, which all belong to one part; see [`MetadataLayout::locate`]. Equal input
    /// gives equal bytes.
    ///
    /// # Errors
    ///
    /// [`ImsError::HistogramBins`] or [`ImsError::Thumbnail`] if `pixels` does not belong to the file;
    /// [`ImsError::Capacity`] if it does not fit, and [`ImsError::Template`] if the headers are not what they should
    /// be, which is a fault of this program.
    pub fn write(&self, offset: u64, out: &mut [u8], pixels: Pixels) -> Result<(), ImsError> {
        let mut window = Window::new(offset, out);
        let (part, _) = self.layout.locate(offset);
        match (part, pixels) {
            (MetadataPart::Fixed, _) => self.write_fixed(&mut window),
            (MetadataPart::Channel(c), Pixels::Range(range)) => {
                let channel = self.file.channels.get(c);
                let longest = schema::channel_group(c, &channel, None);
                let group = schema::channel_group(c, &channel, Some(range));
                let at = self.layout.channel_text(c as u64);
                write_info(&mut window, at, &longest, &group, self.templates)
            }
            (MetadataPart::Dataset { level, dataset }, Pixels::Histograms(histograms)) => {
                self.write_dataset(&mut window, level, dataset, histograms)
            }
            (MetadataPart::Thumbnail, Pixels::Thumbnail(rgba)) => {
                window.put(self.layout.pixels, rgba);
                Ok(())
            }
            (part, _) => Err(ImsError::Pixels { part }),
        }
    }

    fn write_fixed(&self, window: &mut Window) -> Result<(), ImsError> {
        let Self { layout, file, .. } = self;
        self.write_root(window)?;
        layout.data_set.write_plain(window, &|name| match name {
            Name::Numbered(level) => layout.levels[in_memory(level)].group.at,
            Name::Listed(_) => 0,
        })?;
        layout.info.write_plain(window, &|name| match name {
            Name::Numbered(channel) => layout.channel_text(channel),
            Name::Listed(0) => layout.time_info.at,
            Name::Listed(number) => layout.texts[number - 1],
        })?;
        let ends = layout.texts.iter().skip(1).chain([&layout.time_info.at]);
        for (number, (&at, &end)) in layout.texts.iter().zip(ends).enumerate() {
            if window.wants(at, end - at) {
                let group = schema::info_group(file, number);
                write_info(window, at, &group, &group, self.templates)?;
            }
        }
        self.write_time_info(window)?;
        let header = layout.thumbnail.end();
        layout.thumbnail.write_plain(window, &|_| header)?;
        if window.wants(header, template::HEADER_BYTES) {
            window.put(header, &self.templates.thumbnail(layout.pixels)?);
        }
        layout.levels.iter().try_for_each(|level| self.write_level(window, level))
    }

    fn write_root(&self, window: &mut Window) -> Result<(), ImsError> {
        let MetadataLayout { root, data_set, info, thumbnail, .. } = self.layout;
        if !window.wants(0, root.end()) {
            return Ok(());
        }
        window.put(0, &superblock(self.eof, root.at, root.addresses()));
        let mut header = root.header();
        for (name, value) in schema::ROOT_ATTRIBUTES {
            header.attribute(name, AttributeType::Text, value.as_bytes());
        }
        let one = 1_u32.to_le_bytes();
        header.attribute(schema::NUMBER_OF_DATA_SETS, AttributeType::U32, &one);
        // In the order of `ROOT_GROUPS`.
        let groups = [data_set.at, info.at, thumbnail.at];
        root.write(window, header, &|name| match name {
            Name::Listed(number) => groups[number],
            Name::Numbered(_) => 0,
        })
    }

    fn write_time_info(&self, window: &mut Window) -> Result<(), ImsError> {
        let MetadataLayout { time_info, stamps, time_points, .. } = self.layout;
        if !window.wants(time_info.at, time_info.bytes()) {
            return Ok(());
        }
        let mut header = time_info.header();
        let count = time_points.to_string();
        for name in schema::TIME_COUNTS {
            header.attribute(name, AttributeType::Text, count.as_bytes());
        }
        header.announce(*time_points, schema::STAMP_BYTES);
        time_info.write(window, header, &|_| 0)?;
        for t in window.wanted(*stamps, schema::STAMP_BYTES, *time_points) {
            let stamp = self.file.time_stamps.get(t);
            let bytes = attribute(&schema::stamp_name(t), AttributeType::Text, stamp.as_bytes());
            let (needed, capacity) = (bytes.len() as u64, schema::STAMP_BYTES);
            if needed != capacity {
                return Err(ImsError::Capacity { needed, capacity });
            }
            window.put(stamps + t * schema::STAMP_BYTES, &bytes);
        }
        Ok(())
    }

    /// The group of a level and those of its time points (Imaris5FileFormat.pdf 3.1).
    fn write_level(&self, window: &mut Window, level: &LevelSlots) -> Result<(), ImsError> {
        let LevelSlots { group, time_point, time_stride, .. } = level;
        group.write_plain(window, &|name| match name {
            Name::Numbered(t) => level.time_point(t),
            Name::Listed(_) => 0,
        })?;
        let channels = self.layout.channels;
        for t in window.wanted(time_point.at, *time_stride, self.layout.time_points) {
            time_point.moved(level.time_point(t)).write_plain(window, &|name| match name {
                Name::Numbered(c) => level.dataset(t * channels + c),
                Name::Listed(_) => 0,
            })?;
        }
        Ok(())
    }

    /// The group of a channel, `Data` and histograms (Imaris5FileFormat.pdf 3.1).
    fn write_dataset(
        &self,
        window: &mut Window,
        number: usize,
        dataset: u64,
        histograms: Option<&ChannelHistograms>,
    ) -> Result<(), ImsError> {
        let level = &self.layout.levels[number];
        let found = found(histograms);
        self.validate(number, dataset, &found)?;
        let group = level.channel.moved(level.dataset(dataset));
        let data = group.end();
        let names = schema::histograms(self.file.voxel_type);
        let places = names.iter().scan(data + template::HEADER_BYTES, |at, (_, bins)| {
            let place = *at;
            *at += template::HEADER_BYTES + 8 * *bins as u64;
            Some(place)
        });
        let members: Vec<u64> = [data].into_iter().chain(places).collect();
        let group = group.with(Names::listed(
            [schema::DATA]
                .into_iter()
                .chain(names.iter().take(found.len()).map(|(names, _)| names.dataset))
                .map(str::to_owned),
        ));
        let mut header = group.header();
        for (name, value) in schema::size_attributes(&self.file.levels[number]) {
            header.attribute(name, AttributeType::Text, value.as_bytes());
        }
        for ((names, _), histogram) in names.iter().zip(&found) {
            let range = text::range(histogram.min, histogram.max);
            for (name, value) in names.range.into_iter().zip(range) {
                header.attribute(name, AttributeType::Text, value.as_bytes());
            }
        }
        group.write(window, header, &|name| match name {
            Name::Listed(number) => members[number],
            Name::Numbered(_) => 0,
        })?;
        window.put(data, &self.templates.data(number, (self.index_root)(number, dataset))?);
        for (&place, histogram) in members[1..].iter().zip(&found) {
            let bins = place + template::HEADER_BYTES;
            window.put(place, &self.templates.bins(histogram.bins.len() as u64, bins)?);
            let bytes: Vec<u8> = histogram.bins.iter().flat_map(|bin| bin.to_le_bytes()).collect();
            window.put(bins, &bytes);
        }
        Ok(())
    }

    /// Checks that histograms belong to the file and fit their slot.
    fn validate(&self, level: usize, dataset: u64, found: &[&Histogram]) -> Result<(), ImsError> {
        let names = schema::histograms(self.file.voxel_type);
        for (number, histogram) in found.iter().enumerate() {
            let bins = histogram.bins.len();
            let fits = match names.get(number) {
                Some(_) if number == 0 => bins == schema::HISTOGRAM_BINS,
                Some((_, most)) => (1..=*most).contains(&bins),
                None => false,
            };
            if !fits {
                return Err(ImsError::HistogramBins { level, dataset, bins: bins as u64 });
            }
        }
        Ok(())
    }
}

fn found(histograms: Option<&ChannelHistograms>) -> Vec<&Histogram> {
    histograms.map_or_else(Vec::new, |found| {
        [&found.histogram].into_iter().chain(&found.histogram_1024).collect()
    })
}

/// A number of what is in memory.
fn in_memory(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
