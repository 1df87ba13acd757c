//! Puts what a person says of an image in the place of what its store says.

use crate::image::ImageOptions;
use crate::source::image::{ChannelSource, ImageSource};

use super::correction::{ChannelCorrection, Correction};
use super::document::{Mistake, Said};

impl Correction {
    /// Corrects an image, and how it becomes a file. What is said of its axes counts when its arrays are
    /// opened, and not here.
    ///
    /// # Errors
    /// Where something does not fit the image.
    pub(super) fn apply(
        &self,
        image: &mut ImageSource,
        options: &mut ImageOptions,
    ) -> Result<(), Mistake> {
        self.apply_lengths(image, options.default_unit_um);
        if let Some(step) = self.time_step_s {
            (image.time_step_s, image.times_s) = (Some(step), None);
        }
        if let Some(name) = &self.name {
            image.name = Some(name.clone());
        }
        if let Some(levels) = &self.levels {
            keep_levels(image, levels)?;
        }
        if let Some(Said { value, origin }) = &self.channels {
            let [_, channels, ..] = image.levels[0].shape();
            if value.len() as u64 > channels {
                let words =
                    format!("channels: {} are named, the image has {channels}", value.len());
                return Err(Mistake::at(origin, words));
            }
            for (c, channel) in value.iter().enumerate() {
                channel.apply(image, c);
            }
        }
        options.pyramid = self.pyramid.unwrap_or(options.pyramid);
        options.chunk = self.chunk.unwrap_or(options.chunk);
        options.conversions.int16 = self.int16.unwrap_or(options.conversions.int16);
        options.conversions.uint32 = self.uint32.unwrap_or(options.conversions.uint32);
        Ok(())
    }

    fn apply_lengths(&self, image: &mut ImageSource, default_unit_um: f64) {
        for axis in 0..3 {
            if image.lacks_unit[axis]
                && (self.unit_um.or(self.voxel_um[axis]).or(self.origin_um[axis])).is_some()
            {
                // What is not corrected keeps the unit that it would have had.
                let unit = self.unit_um.unwrap_or(default_unit_um);
                image.voxel_um[axis] *= unit;
                image.origin_um[axis] *= unit;
                image.lacks_unit[axis] = false;
            }
            image.voxel_um[axis] = self.voxel_um[axis].unwrap_or(image.voxel_um[axis]);
            image.origin_um[axis] = self.origin_um[axis].unwrap_or(image.origin_um[axis]);
        }
    }
}

impl ChannelCorrection {
    /// Corrects channel `c` of an image.
    pub(super) fn apply(&self, image: &mut ImageSource, c: usize) {
        if image.channels.len() <= c {
            image.channels.resize_with(c + 1, ChannelSource::default);
        }
        let channel = &mut image.channels[c];
        channel.name = self.name.clone().or(channel.name.take());
        channel.color = self.color.or(channel.color);
        channel.window = self.window.or(channel.window);
    }
}

fn keep_levels(image: &mut ImageSource, levels: &Said<Vec<u64>>) -> Result<(), Mistake> {
    let Said { value: wanted, origin } = levels;
    let count = image.levels.len();
    if let Some(missing) = wanted.iter().find(|wanted| **wanted >= count as u64) {
        let words = format!("levels: there is no level {missing}, the store has {count}");
        return Err(Mistake::at(origin, words));
    }
    let mut number = 0;
    image.levels.retain(|_| {
        number += 1;
        wanted.contains(&(number - 1))
    });
    Ok(())
}
