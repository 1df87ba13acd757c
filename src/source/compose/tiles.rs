//! Images as the tiles of one.

use std::borrow::Borrow;
use std::collections::HashMap;

use crate::source::image::ImageSource;

use super::error::ComposeError;
use super::join::{agreeing, put_together};

/// A tile that lies further from whole voxels than this is named.
const OFF_VOXELS: f64 = 0.05;

/// Most voxels between two tiles along an axis.
const FARTHEST_VOXELS: f64 = 9e15;

/// Tiles named in notes.
const NAMED: usize = 8;

/// Shows images as the tiles of one, at the places that their translations give, rounded to voxels of level 0.
/// Nothing is blended: where tiles overlap, the later one is shown, also where a chunk of it is absent. Where no
/// tile is, voxels have the fill value of the first. Name, channels and time are those of the first.
///
/// # Errors
/// [`ComposeError::Differs`] where the number of time points or channels, voxel size or type of one is not that
/// of the first; [`ComposeError::TooLarge`] where tiles lie too far apart.
pub fn mosaic<I: Borrow<ImageSource>>(images: &[I]) -> Result<ImageSource, ComposeError> {
    let images = agreeing(images, &[0, 1])?;
    let first = images[0];
    let low: [f64; 3] = std::array::from_fn(|axis| {
        images.iter().map(|image| image.origin_um[axis]).fold(f64::INFINITY, f64::min)
    });
    let (mut places, mut notes) = (Vec::new(), Vec::new());
    let mut off = 0;
    for (number, image) in (1..).zip(&images) {
        let mut place = [0; 5];
        let mut farthest_off = 0.0_f64;
        for axis in 0..3 {
            let voxels = (image.origin_um[axis] - low[axis]) / first.voxel_um[axis];
            if !(0.0..FARTHEST_VOXELS).contains(&voxels) {
                return Err(ComposeError::TooLarge);
            }
            farthest_off = farthest_off.max((voxels - voxels.round()).abs());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            let voxels = voxels.round() as u64;
            place[4 - axis] = voxels;
        }
        if farthest_off > OFF_VOXELS {
            off += 1;
            if off <= NAMED {
                notes.push(format!("tile {number} is moved by {farthest_off:.2} voxels"));
            }
        }
        places.push(place);
    }
    if off > NAMED {
        notes.push(format!("{} more tiles are moved by parts of a voxel", off - NAMED));
    }
    notes.extend(hidden(&images, &places));
    let mut whole = put_together(&images, &places)?;
    whole.origin_um = low;
    whole.notes.extend(notes);
    Ok(whole)
}

/// Notes tiles that a later one hides because it has the same place and size.
fn hidden(images: &[&ImageSource], places: &[[u64; 5]]) -> Vec<String> {
    let mut last = HashMap::new();
    let mut notes = Vec::new();
    for ((number, image), place) in (1..).zip(images).zip(places) {
        if let Some(before) = last.insert((*place, image.levels[0].shape()), number) {
            let before: usize = before;
            notes.push(format!("tile {before} is hidden by tile {number}, which has its place"));
        }
    }
    let more = notes.len().saturating_sub(NAMED);
    notes.truncate(NAMED);
    if more > 0 {
        notes.push(format!("{more} more tiles are hidden"));
    }
    notes
}
