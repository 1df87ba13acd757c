//! A part of an image.

use std::collections::HashSet;
use std::ops::Range;

use crate::source::boxes::Box3;
use crate::source::facts::{Fact, Subject};
use crate::source::halving::{reached, scale_of};
use crate::source::image::{ChannelSource, ImageSource};
use crate::source::parts::LevelSource;

use super::error::ComposeError;
use super::join::check_size;
use super::time;

/// The part of an image that is kept; `None`: all of an axis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Crop {
    /// Voxels of level 0 along x, half-open.
    pub x: Option<Range<u64>>,
    /// Voxels of level 0 along y, half-open.
    pub y: Option<Range<u64>>,
    /// Voxels of level 0 along z, half-open.
    pub z: Option<Range<u64>>,
    /// Time points, in the order they are shown in.
    pub times: Option<Vec<u64>>,
    /// Channels, in the order they are shown in.
    pub channels: Option<Vec<u64>>,
}

/// A part of an image. Its position, time stamps and channels are those it has in the image.
///
/// # Errors
/// [`ComposeError`] where the image does not have all of it, or it is chosen twice.
pub fn crop(image: &ImageSource, wanted: &Crop) -> Result<ImageSource, ComposeError> {
    let [times, channels, z, y, x] = image.levels[0].shape();
    let space = [
        range('z', wanted.z.as_ref(), z)?,
        range('y', wanted.y.as_ref(), y)?,
        range('x', wanted.x.as_ref(), x)?,
    ];
    let chosen_times = chosen("time point", wanted.times.as_deref(), times)?;
    let chosen_channels = chosen("channel", wanted.channels.as_deref(), channels)?;
    let mut cropped = image.clone();
    cropped.levels = levels(image, &space, chosen_times, chosen_channels);
    for (axis, range) in [(0, &space[2]), (1, &space[1]), (2, &space[0])] {
        #[expect(clippy::cast_precision_loss, reason = "voxels are far below 2^53")]
        let offset = range.start as f64 * image.voxel_um[axis];
        cropped.origin_um[axis] += offset;
    }
    if let Some(chosen) = chosen_times {
        time::choose(&mut cropped, chosen);
    }
    if let Some(chosen) = chosen_channels {
        choose_channels(&mut cropped, chosen);
    }
    if let Some(value) = described(wanted) {
        cropped.facts.insert(0, Fact { subject: Subject::Store, key: "Crop".to_owned(), value });
    }
    check_size(&cropped)?;
    Ok(cropped)
}

/// A range of voxels, checked.
fn range(axis: char, wanted: Option<&Range<u64>>, length: u64) -> Result<Range<u64>, ComposeError> {
    let Some(&Range { start, end }) = wanted else { return Ok(0..length) };
    if start >= end {
        return Err(ComposeError::Empty { axis, start, end });
    }
    if end > length {
        return Err(ComposeError::Outside { axis, start, end, length });
    }
    Ok(start..end)
}

/// Indices, checked; `None` if they are all there are, in order.
fn chosen<'a>(
    what: &'static str,
    wanted: Option<&'a [u64]>,
    count: u64,
) -> Result<Option<&'a [u64]>, ComposeError> {
    let Some(wanted) = wanted else { return Ok(None) };
    if wanted.is_empty() {
        return Err(ComposeError::NoneChosen { what });
    }
    let mut seen = HashSet::new();
    for &index in wanted {
        if index >= count {
            return Err(ComposeError::NoIndex { what, index, count });
        }
        if !seen.insert(index) {
            return Err(ComposeError::Twice { what, index });
        }
    }
    Ok((!wanted.iter().copied().eq(0..count)).then_some(wanted))
}

/// The levels of the store of which the box is a part, see the module above.
fn levels(
    image: &ImageSource,
    space: &Box3,
    times: Option<&[u64]>,
    channels: Option<&[u64]>,
) -> Vec<LevelSource> {
    let mut found = Vec::new();
    let stored: Vec<_> = image.levels.iter().map(LevelSource::stored).collect();
    for (number, halvings) in reached(&stored) {
        let level = &image.levels[number];
        let Some(region) = in_level(space, halvings) else { break };
        let [times_of, channels_of, ..] = level.shape();
        let [z, y, x] = region.clone().map(|range| range.end - range.start);
        let scale = (number > 0).then(|| scale_of(halvings));
        let mut cut = LevelSource::blank(level, [times_of, channels_of, z, y, x], scale);
        cut.put(level, &region, [0; 5]);
        for (axis, chosen) in [times, channels].into_iter().enumerate() {
            if let Some(chosen) = chosen {
                cut.choose(axis, chosen);
            }
        }
        found.push(cut);
    }
    found
}

/// The box of level 0 in a coarser level; `None` where it begins within one of its voxels, or has none.
fn in_level(space: &Box3, halvings: [u32; 3]) -> Option<Box3> {
    let mut region = space.clone();
    for (range, halvings) in region.iter_mut().zip(halvings) {
        let start = range.start >> halvings;
        if start << halvings != range.start {
            return None;
        }
        *range = start..range.end >> halvings;
        if range.is_empty() {
            return None;
        }
    }
    Some(region)
}

/// Keeps some channels. One without a name keeps the one that it has in the whole image.
fn choose_channels(image: &mut ImageSource, chosen: &[u64]) {
    let old = std::mem::take(&mut image.channels);
    let number = |c: u64| usize::try_from(c).unwrap_or(usize::MAX);
    let channel = |&c: &u64| {
        let mut channel = old.get(number(c)).cloned().unwrap_or_default();
        channel.name.get_or_insert_with(|| format!("Channel {c}"));
        channel
    };
    image.channels = chosen.iter().map(channel).collect::<Vec<ChannelSource>>();
    image.facts.retain_mut(|fact| match &mut fact.subject {
        Subject::Part { channel: Some(c), .. } => {
            let place = chosen.iter().position(|chosen| number(*chosen) == *c);
            place.inspect(|place| *c = *place).is_some()
        }
        _ => true,
    });
}

/// The part, in words for the file.
fn described(wanted: &Crop) -> Option<String> {
    let ranges = [("x", &wanted.x), ("y", &wanted.y), ("z", &wanted.z)];
    let ranges = ranges.into_iter().filter_map(|(name, range)| {
        range.as_ref().map(|range| format!("{name} {}..{}", range.start, range.end))
    });
    let lists = [("channels", &wanted.channels), ("time points", &wanted.times)];
    let lists = lists.into_iter().filter_map(|(name, list)| {
        let list = list.as_ref()?.iter().map(u64::to_string).collect::<Vec<_>>();
        Some(format!("{name} {}", list.join(", ")))
    });
    let parts: Vec<String> = ranges.chain(lists).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
