//! What a person sees first: colours, names and windows of the channels, decided as viewers do.
//!
//! The first line that applies counts:
//!
//! | Image | Stated | Shown | Told |
//! |---|---|---|---|
//! | one channel | `rdefs.model` is `greyscale` | white | |
//! | one channel | a grey (red = green = blue), black included | white | |
//! | red, green and blue (below) | no colour | red, green, blue; 0 to 255 for uint8 | yes |
//! | its fourth channel (alpha) | no colour | black, so that it hides nothing | yes |
//! | any | no colour, or none that can be used | the palette's | unusable ones |
//! | several channels | black, which shows nothing | the palette's | yes |
//! | several channels | one colour for all | the palette's, for all | yes |
//! | any | any other colour, also one that repeats | as stated | |
//! | any | `active` is false | shown: the file cannot say it | yes |
//! | any | a window with start below end | as stated | |
//! | integers | a window from 0 to 1 or less, which writers put when they know nothing | measured | |
//! | any | no window, `min` and `max` only, start = end, start > end, not a number | measured | if one is there |
//!
//! `min` and `max` are the limits of the control, not what is shown (omero-web, "rendering settings").
//! Windows that are measured are made with the statistics of the voxels.
//!
//! Channels are red, green and blue if there are three or four, and their axis is called so (`rgb`, `s`,
//! `samples`, `color`), or the OME-XML has them as samples of one channel, or they are uint8 and lie
//! side by side for each pixel (the last dimension of the array), as no microscope's channels do.

use super::axes::{Axes, slot_of};
use super::convert::SourceType;
use super::image::{ChannelSource, ImageSource};

/// Colours and names of the samples of a pixel.
const SAMPLES: [([u8; 3], &str); 4] =
    [([255, 0, 0], "Red"), ([0, 255, 0], "Green"), ([0, 0, 255], "Blue"), ([0, 0, 0], "Alpha")];

/// Decides what of the display settings is shown. A colour or window that is `None` afterwards is left to
/// the palette, or to be measured. `samples` is what the OME-XML has as samples per pixel.
pub(super) fn decide(
    image: &mut ImageSource,
    axes: &Axes,
    is_greyscale: bool,
    samples: Option<u64>,
) {
    let [_, channels, ..] = image.levels[0].shape();
    let is_integer = image.source_type().is_integer();
    for channel in &mut image.channels {
        channel.window =
            channel.window.filter(|(start, end)| !(is_integer && *start >= 0.0 && *end <= 1.0));
    }
    let count = usize::try_from(channels).unwrap_or(usize::MAX);
    let shown = image.channels.len().min(count);
    if count == 1 {
        if let Some(only) = image.channels.first_mut() {
            let is_grey =
                only.color.is_some_and(|[red, green, blue]| red == green && green == blue);
            if is_grey || is_greyscale {
                only.color = Some([255; 3]);
            }
        }
    } else if image.channels[..shown].iter().all(|channel| channel.color.is_none()) {
        let last = image.levels[0].array.shape().len() - 1;
        let is_interleaved = image.source_type() == SourceType::U8
            && axes.slots[1] == Some(last)
            && slot_of(&axes.stored[last].name) == Some(1);
        let is_rgb = is_interleaved || axes.has_samples() || samples == Some(channels);
        if is_rgb && (3..=4).contains(&count) {
            show_samples(image, count);
        }
    } else {
        replace_useless(&mut image.channels[..shown], count, &mut image.notes);
    }
}

fn show_samples(image: &mut ImageSource, count: usize) {
    let is_byte = image.source_type() == SourceType::U8;
    if image.channels.len() < count {
        image.channels.resize_with(count, ChannelSource::default);
    }
    for (channel, (color, name)) in image.channels.iter_mut().zip(SAMPLES) {
        channel.color = Some(color);
        channel.name.get_or_insert_with(|| name.to_owned());
        if is_byte {
            channel.window.get_or_insert((0.0, 255.0));
        }
    }
    image.notes.push("channels are taken for red, green and blue".to_owned());
    if count == SAMPLES.len() {
        image.notes.push("the fourth channel is taken for alpha, and shown black".to_owned());
    }
}

/// Colours that would make channels invisible, or look the same, are left to the palette.
fn replace_useless(channels: &mut [ChannelSource], count: usize, notes: &mut Vec<String>) {
    let first = channels.first().and_then(|channel| channel.color);
    let is_same = channels.len() == count && channels.iter().all(|c| c.color == first);
    if is_same {
        channels.iter_mut().for_each(|channel| channel.color = None);
        notes.push("all channels have one colour; others are shown".to_owned());
        return;
    }
    for (c, channel) in channels.iter_mut().enumerate() {
        if channel.color == Some([0; 3]) {
            channel.color = None;
            notes.push(format!(
                "channel {c} is black, which shows nothing; another colour is shown"
            ));
        }
    }
}
