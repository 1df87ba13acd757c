//! The thumbnail, computed again from whole arrays, plane by plane. The formula is that of the
//! writer of Imaris (`ImarisWriter`, `bpThumbnailBuilder.cxx`).

use super::Shown;

/// Longer side in pixels.
const SIDE: f64 = 256.0;

/// Coarsest level with planes of at least 256 by 256 voxels, else the finest.
fn level_of(sizes: &[[usize; 3]]) -> usize {
    sizes.iter().rposition(|&[_, y, x]| y >= 256 && x >= 256).unwrap_or(0)
}

/// Width and height: square pixels as large as the shorter edge of a voxel, whole ones only, scaled
/// so that the longer side has 256.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small images"
)]
fn grid(shown: &Shown, [_, y, x]: [usize; 3]) -> [usize; 2] {
    let extents = shown.ims.extents().expect("extents");
    let lengths = [extents[0], extents[1]].map(|(low, high)| high - low);
    let pixel = (lengths[0] / x as f64).min(lengths[1] / y as f64);
    let pixels = lengths.map(|length| (length / pixel + 1e-6).floor());
    let longer = pixels[0].max(pixels[1]);
    pixels.map(|count| (count / longer * SIDE).round().max(1.0) as usize)
}

/// The largest voxel of every column along z; what is not a number is passed over.
fn projection(values: &[f64], [planes, y, x]: [usize; 3]) -> Vec<f64> {
    let mut largest = vec![f64::NEG_INFINITY; y * x];
    for plane in values.chunks(y * x).take(planes) {
        for (largest, value) in largest.iter_mut().zip(plane) {
            *largest = largest.max(*value);
        }
    }
    largest
}

/// Compares the thumbnail with one from whole arrays; `colours` are those of the channels.
#[track_caller]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
pub(super) fn assert_thumbnail(shown: &Shown, colours: &[[u8; 3]]) {
    let sizes = shown.sizes();
    let level = level_of(&sizes);
    let size = sizes[level];
    let [width, height] = grid(shown, size);
    let mut expected = vec![[0, 0, 0, 255]; width * height];
    for (c, colour) in colours.iter().enumerate() {
        let largest = projection(&shown.values(level, 0, c), size);
        let [low, high] = shown.color_range(c);
        for (at, pixel) in expected.iter_mut().enumerate() {
            // Nearest neighbour.
            let (y, x) = (at / width * size[1] / height, at % width * size[2] / width);
            let part = ((largest[y * size[2] + x] - low) / (high - low)).clamp(0.0, 1.0);
            for (shade, colour) in pixel.iter_mut().zip(colour) {
                let colour = f64::from(f32::from(*colour) / 255.0);
                *shade = (*shade).max((part * colour * 255.0) as u8);
            }
        }
    }
    let (found_height, found_width, found) = shown.thumbnail();
    assert_eq!((found_width, found_height), (width, height), "size of the thumbnail");
    let other = found.chunks(4).zip(&expected).position(|(found, want)| found != want);
    if let Some(at) = other {
        let got = &found[4 * at..4 * at + 4];
        panic!("thumbnail: pixel {at} is {got:?}, expected {:?}", expected[at]);
    }
    let shades = expected.iter().collect::<std::collections::BTreeSet<_>>();
    assert!(shades.len() > 20, "a thumbnail of {} shades tells nothing", shades.len());
}
