//! Several images as one.

use std::borrow::Borrow;
use std::path::Path;

use crate::source::boxes::Box3;
use crate::source::display;
use crate::source::facts::{Fact, Subject, TEXT_LIMIT_BYTES, cut};
use crate::source::halving::{reached, scale_of};
use crate::source::image::{ChannelSource, ImageSource};
use crate::source::parts::LevelSource;

use super::error::ComposeError;
use super::time;

/// Most parts of all levels of an image.
const MOST_PARTS: usize = 1 << 18;

/// Keeps every later sum of sizes within a signed 64-bit file offset, padding included.
const LARGEST_BYTES: u64 = 1 << 60;

/// What an image is made of, among the facts about its store.
const MADE_OF: &str = "MadeOf";

/// How far two sizes of a voxel that count as equal may be apart.
const VOXEL_TOLERANCE: f64 = 1e-4;

/// How far apart in voxels the places of images may be that are shown at one place.
const PLACE_TOLERANCE: f64 = 0.5;

/// Shows the channels of several images as those of one. Name, place and time are those of the first.
///
/// # Errors
/// [`ComposeError::Differs`] where size, number of time points, voxel size or type of one is not that of the first.
pub fn channels<I: Borrow<ImageSource>>(images: &[I]) -> Result<ImageSource, ComposeError> {
    let images = agreeing(images, &[0, 2, 3, 4])?;
    let mut whole = put_together(&images, &one_behind_the_other(&images, 1))?;
    whole.channels.clear();
    whole.facts.retain(|fact| !matches!(fact.subject, Subject::Part { channel: Some(_), .. }));
    for image in &images {
        add_channels(&mut whole, image);
    }
    display::tell_apart(&mut whole);
    Ok(whole)
}

/// Shows several images as the time points of one. Name, place and channels are those of the first.
///
/// # Errors
/// [`ComposeError::Differs`] where size, number of channels, voxel size or type of one is not that of the first.
pub fn series<I: Borrow<ImageSource>>(images: &[I]) -> Result<ImageSource, ComposeError> {
    let images = agreeing(images, &[1, 2, 3, 4])?;
    let mut whole = put_together(&images, &one_behind_the_other(&images, 0))?;
    time::join(&mut whole, &images);
    Ok(whole)
}

/// Adds the channels of an image behind those that are there, with what is known of them.
pub(super) fn add_channels(whole: &mut ImageSource, image: &ImageSource) {
    let before = whole.channels.len();
    let [_, count, ..] = image.levels[0].shape();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    whole.channels.extend(image.channels.iter().take(count).cloned());
    whole.channels.resize_with(before + count, ChannelSource::default);
    whole.facts.extend(image.facts.iter().filter_map(|fact| match fact.subject {
        Subject::Part { element, channel: Some(c) } => {
            let subject = Subject::Part { element, channel: Some(before + c) };
            Some(Fact { subject, ..fact.clone() })
        }
        _ => None,
    }));
}

/// The images, if they agree in all that must be the same: the lengths of some axes (t, c, z, y, x), voxel size
/// and type.
///
/// # Errors
/// [`ComposeError::NoImage`], or [`ComposeError::Differs`] with the first that does not agree.
pub(super) fn agreeing<'a, I: Borrow<ImageSource>>(
    images: &'a [I],
    axes: &[usize],
) -> Result<Vec<&'a ImageSource>, ComposeError> {
    let images: Vec<&ImageSource> = images.iter().map(Borrow::borrow).collect();
    let first = *images.first().ok_or(ComposeError::NoImage)?;
    for (number, own) in (1..).zip(&images) {
        let compare = |what: &'static str, first: String, own_value: String| {
            if first == own_value {
                return Ok(());
            }
            let path = path_of(own);
            Err(ComposeError::Differs { number, path, what, first, own: own_value })
        };
        for &axis in axes {
            const WHAT: [&str; 5] =
                ["number of time points", "number of channels", "z size", "y size", "x size"];
            let length = |image: &ImageSource| image.levels[0].shape()[axis].to_string();
            compare(WHAT[axis], length(first), length(own))?;
        }
        if !has_same_voxels(first, own) {
            compare("voxel size", voxel_size(first), voxel_size(own))?;
        }
        let directions = |image: &ImageSource| format!("{:?}", image.is_flipped);
        compare("direction of axes (x, y, z backwards)", directions(first), directions(own))?;
    }
    Ok(images)
}

/// Fails if an image has voxels of another type than the first.
pub(super) fn check_types(images: &[&ImageSource]) -> Result<(), ComposeError> {
    let first = images[0].source_type().name();
    for (number, own) in (1..).zip(images) {
        let name = own.source_type().name();
        if name != first {
            let path = path_of(own);
            let (first, own) = (first.to_owned(), name.to_owned());
            return Err(ComposeError::Differs { number, path, what: "type", first, own });
        }
    }
    Ok(())
}

fn has_same_voxels(first: &ImageSource, own: &ImageSource) -> bool {
    first.lacks_unit == own.lacks_unit
        && first
            .voxel_um
            .iter()
            .zip(own.voxel_um)
            .all(|(first, own)| (first - own).abs() <= VOXEL_TOLERANCE * first.abs().max(own.abs()))
}

/// The size of a voxel, in words.
fn voxel_size(image: &ImageSource) -> String {
    let [x, y, z] = image.voxel_um;
    let unit = |axis: usize| if image.lacks_unit[axis] { "without unit" } else { "um" };
    format!("x {x} {}, y {y} {}, z {z} {}", unit(0), unit(1), unit(2))
}

/// Places, order (t, c, z, y, x), that follow each other along an axis.
pub(super) fn one_behind_the_other(images: &[&ImageSource], axis: usize) -> Vec<[u64; 5]> {
    let mut at = [0; 5];
    let next = |image: &&ImageSource| {
        let place = at;
        at[axis] += image.levels[0].shape()[axis];
        place
    };
    images.iter().map(next).collect()
}

/// Puts images at places, order (t, c, z, y, x), of a new one; the later one covers the earlier ones. The rest
/// is that of the first.
pub(super) fn put_together(
    images: &[&ImageSource],
    places: &[[u64; 5]],
) -> Result<ImageSource, ComposeError> {
    check_types(images)?;
    let mut whole = images[0].clone();
    whole.levels = levels(images, places)?;
    check_size(&whole)?;
    for (number, image) in (1..).zip(images).skip(1) {
        whole.fingerprint.absorb(&image.fingerprint);
        let others = std::iter::once(image.folder()).chain(image.others.iter().cloned());
        whole.others.extend(others);
        let notes = image.notes.iter().map(|note| format!("image {number}: {note}"));
        whole.notes.extend(notes);
    }
    note_moved(&mut whole, images, places);
    note_parts(&mut whole);
    Ok(whole)
}

/// Says in the file which images it is made of.
fn note_parts(whole: &mut ImageSource) {
    let names = std::iter::once(path_of(whole));
    let names = names.chain(whole.others.iter().map(|path| path.display().to_string()));
    let names = names.collect::<Vec<_>>().join(", ");
    let value = cut(&names, TEXT_LIMIT_BYTES).to_owned();
    whole.facts.retain(|fact| fact.subject != Subject::Store || fact.key != MADE_OF);
    if !whole.others.is_empty() {
        let fact = Fact { subject: Subject::Store, key: MADE_OF.to_owned(), value };
        whole.facts.insert(0, fact);
    }
}

/// Notes images that the metadata has at another place than they are shown at.
fn note_moved(whole: &mut ImageSource, images: &[&ImageSource], places: &[[u64; 5]]) {
    let first = images[0];
    for ((number, image), place) in (1..).zip(images).zip(places) {
        let is_moved = (0..3).any(|axis| {
            #[expect(clippy::cast_precision_loss, reason = "voxels are far below 2^53")]
            let shown = place[4 - axis] as f64 - places[0][4 - axis] as f64;
            let stated = (image.origin_um[axis] - first.origin_um[axis]) / first.voxel_um[axis];
            (stated - shown).abs() > PLACE_TOLERANCE
        });
        if is_moved {
            whole
                .notes
                .push(format!("image {number} is shown at the place of the first, not its own"));
        }
    }
}

/// The levels of the whole: those that all images have, and whose voxels are those of one image each.
fn levels(images: &[&ImageSource], places: &[[u64; 5]]) -> Result<Vec<LevelSource>, ComposeError> {
    let mut shape = [0; 5];
    for (image, place) in images.iter().zip(places) {
        for (axis, length) in image.levels[0].shape().into_iter().enumerate() {
            let end = place[axis].checked_add(length).ok_or(ComposeError::TooLarge)?;
            shape[axis] = shape[axis].max(end);
        }
    }
    let reached: Vec<Vec<(usize, [u32; 3])>> = images
        .iter()
        .map(|image| reached(&image.levels.iter().map(LevelSource::stored).collect::<Vec<_>>()))
        .collect();
    let mut found = Vec::new();
    let mut parts = 0;
    for &(number, halvings) in &reached[0] {
        let size = std::array::from_fn(|axis| match axis.checked_sub(2) {
            Some(slot) => shape[axis] >> halvings[slot],
            None => shape[axis],
        });
        let scale = (number > 0).then(|| scale_of(halvings));
        let mut level = LevelSource::blank(&images[0].levels[number], size, scale);
        let is_whole = images.iter().zip(places).zip(&reached).all(|((image, place), reached)| {
            let own = reached.iter().find(|(_, own)| *own == halvings);
            let placed = own.zip(placed(image, place, &shape, halvings));
            if let Some(((own, _), (region, at))) = &placed {
                level.put(&image.levels[*own], region, *at);
            }
            placed.is_some()
        });
        if is_whole {
            parts += level.parts().len();
            if parts > MOST_PARTS {
                return Err(ComposeError::TooManyParts(MOST_PARTS));
            }
            found.push(level);
        }
    }
    Ok(found)
}

/// The box of a level of an image that is shown, and its place in that level of the whole. `None` where a voxel
/// of the level would cover voxels that are not the image's.
fn placed(
    image: &ImageSource,
    place: &[u64; 5],
    whole: &[u64; 5],
    halvings: [u32; 3],
) -> Option<(Box3, [u64; 5])> {
    let shape = image.levels[0].shape();
    let (mut region, mut at) = ([0..0, 0..0, 0..0], *place);
    for (slot, halvings) in halvings.into_iter().enumerate() {
        let axis = slot + 2;
        let end = place[axis] + shape[axis];
        let is_even = |voxel: u64| voxel >> halvings << halvings == voxel;
        if !is_even(place[axis]) || !(is_even(end) || end == whole[axis]) {
            return None;
        }
        at[axis] = place[axis] >> halvings;
        region[slot] = 0..(end >> halvings) - at[axis];
        if region[slot].is_empty() {
            return None;
        }
    }
    Some((region, at))
}

/// Fails if an image has more voxels than a file can have, or too many parts.
pub(super) fn check_size(image: &ImageSource) -> Result<(), ComposeError> {
    let bytes = image.source_type().bytes() as u64;
    let sides = image.levels[0].shape().into_iter();
    let bytes = sides.fold(bytes, u64::saturating_mul);
    if bytes >= LARGEST_BYTES {
        return Err(ComposeError::TooLarge);
    }
    if image.levels.iter().map(|level| level.parts().len()).sum::<usize>() > MOST_PARTS {
        return Err(ComposeError::TooManyParts(MOST_PARTS));
    }
    Ok(())
}

/// The path of an image, in words.
pub(super) fn path_of(image: &ImageSource) -> String {
    let path = image.folder();
    if path == Path::new("") { ".".to_owned() } else { path.display().to_string() }
}
