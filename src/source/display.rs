//! Colours, names and windows of the channels, decided as viewers do.
//!
//! The first line that applies counts:
//!
//! | Image | Stated | Shown | Noted |
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
use super::image::{ChannelSource, ImageSource};
use super::source_type::SourceType;

/// Colours and names of the samples of a pixel.
const SAMPLES: [([u8; 3], &str); 4] =
    [([255, 0, 0], "Red"), ([0, 255, 0], "Green"), ([0, 0, 255], "Blue"), ([0, 0, 0], "Alpha")];

/// Decides which display settings are shown. A colour or window that is `None` afterwards is left to
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
        let last = axes.stored.len() - 1;
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

/// Replaces colours of channels that come from several images and would be invisible, or look the same.
pub(super) fn tell_apart(image: &mut ImageSource) {
    let count = image.channels.len();
    if count > 1 && image.channels.iter().any(|channel| channel.color.is_some()) {
        replace_useless(&mut image.channels, count, &mut image.notes);
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
        for channel in channels.iter_mut() {
            channel.color = None;
        }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::source::SourceRoot;
    use crate::source::discover::open_image;
    use crate::source::storage::Memory;

    /// An image of these axes in chunks of its whole size; each axis is as long as its number says.
    fn image(axes: &[(&str, u64)], dtype: &str, omero: &Value) -> ImageSource {
        let files = Memory::default();
        let (names, shape): (Vec<&str>, Vec<u64>) = axes.iter().copied().unzip();
        let array = json!({"zarr_format": 2, "shape": shape, "chunks": shape, "dtype": dtype,
            "compressor": null, "fill_value": 0, "order": "C", "filters": null});
        let group = json!({"omero": omero,
            "multiscales": [{"axes": names, "datasets": [{"path": "0"}]}]});
        let write = |path: &str, document: &Value| files.put(path, document.to_string().as_bytes());
        write("0/.zarray", &array);
        write(".zgroup", &json!({"zarr_format": 2}));
        write(".zattrs", &group);
        open_image(&SourceRoot::in_memory(files), Path::new(""), "", 0).expect("an image")
    }

    fn colors(image: &ImageSource) -> Vec<Option<[u8; 3]>> {
        image.channels.iter().map(|channel| channel.color).collect()
    }

    /// Colours of channels that state these, and the notes.
    fn shown(stated: &[&str]) -> (Vec<Option<[u8; 3]>>, String) {
        let channels: Vec<Value> = stated.iter().map(|color| json!({"color": color})).collect();
        let axes = [("c", stated.len() as u64), ("y", 8), ("x", 8)];
        let image = image(&axes, "<u2", &json!({"channels": channels}));
        (colors(&image), image.notes.join("; "))
    }

    const WHITE: Option<[u8; 3]> = Some([255; 3]);

    #[test]
    fn a_single_grey_channel_is_white() {
        for grey in ["808080", "FFFFFF", "000000"] {
            assert_eq!(shown(&[grey]), (vec![WHITE], String::new()), "{grey}");
        }
        assert_eq!(shown(&["00FF00"]).0, [Some([0, 255, 0])]);
        let omero = json!({"channels": [{"color": "00FF00"}], "rdefs": {"model": "greyscale"}});
        assert_eq!(colors(&image(&[("y", 8), ("x", 8)], "<u2", &omero)), [WHITE]);
        let two = json!({"channels": [{"color": "00FF00"}, {"color": "FF0000"}],
            "rdefs": {"model": "greyscale"}});
        let two = image(&[("c", 2), ("y", 8), ("x", 8)], "<u2", &two);
        assert_eq!(colors(&two), [Some([0, 255, 0]), Some([255, 0, 0])]);
    }

    #[test]
    fn colours_that_would_hide_a_channel_are_the_palettes() {
        let (found, notes) = shown(&["000000", "00FF00"]);
        assert_eq!(found, [None, Some([0, 255, 0])]);
        assert!(notes.contains("channel 0 is black"), "{notes}");
        let (found, notes) = shown(&["FFFFFF", "FFFFFF", "FFFFFF"]);
        assert_eq!(found, [None; 3]);
        assert!(notes.contains("all channels have one colour"), "{notes}");
        let (found, notes) = shown(&["FF0000", "FF0000", "0000FF"]);
        assert_eq!(found, [Some([255, 0, 0]), Some([255, 0, 0]), Some([0, 0, 255])]);
        assert_eq!(notes, "");
    }

    #[test]
    fn samples_of_pixels_are_red_green_and_blue() {
        let none = json!(null);
        let rgb = vec![Some([255, 0, 0]), Some([0, 255, 0]), Some([0, 0, 255])];
        let interleaved = image(&[("y", 8), ("x", 8), ("c", 3)], "|u1", &none);
        assert_eq!(colors(&interleaved), rgb);
        assert_eq!(interleaved.channels[0].window, Some((0.0, 255.0)));
        assert_eq!(interleaved.channels[2].name.as_deref(), Some("Blue"));
        let named = image(&[("rgb", 3), ("y", 8), ("x", 8)], "<u2", &none);
        assert_eq!((colors(&named), named.channels[0].window), (rgb.clone(), None));
        let samples = [("t", 1), ("c", 1), ("y", 8), ("x", 8), ("s", 4)];
        let found = image(&samples, "|u1", &none);
        assert_eq!(colors(&found)[..3], rgb);
        assert_eq!(colors(&found)[3], Some([0; 3]));
        assert!(found.notes.join("; ").contains("alpha"), "{:?}", found.notes);
        // Channels of a microscope.
        for (axes, dtype) in [
            ([("c", 3), ("y", 8), ("x", 8)], "|u1"),
            ([("y", 8), ("x", 8), ("c", 3)], "<u2"),
            ([("y", 8), ("x", 8), ("c", 2)], "|u1"),
            ([("z", 8), ("y", 8), ("x", 3)], "|u1"),
        ] {
            assert!(image(&axes, dtype, &none).channels.is_empty(), "{axes:?} {dtype}");
        }
        let stated = json!({"channels": [{"color": "FFFF00"}, {}, {}]});
        let stated = image(&[("y", 8), ("x", 8), ("c", 3)], "|u1", &stated);
        assert_eq!(colors(&stated), [Some([255, 255, 0]), None, None]);
    }

    #[test]
    fn windows_that_say_nothing_are_measured() {
        let window = |dtype: &str, start: f64, end: f64| {
            let omero = json!({"channels": [{"window": {"start": start, "end": end}}]});
            image(&[("y", 8), ("x", 8)], dtype, &omero).channels[0].window
        };
        assert_eq!(window("<u2", 0.0, 1.0), None);
        assert_eq!(window("<f4", 0.0, 1.0), Some((0.0, 1.0)));
        assert_eq!(window("<i2", -1000.0, 0.0), Some((-1000.0, 0.0)));
    }

    #[test]
    fn channels_that_are_switched_off_are_told() {
        let omero =
            json!({"channels": [{"color": "FF0000"}, {"color": "00FF00", "active": false}]});
        let found = image(&[("c", 2), ("y", 8), ("x", 8)], "<u2", &omero);
        assert_eq!(found.channels.len(), 2);
        assert!(found.notes.join("; ").contains("channel 1 is switched off"), "{:?}", found.notes);
    }
}
