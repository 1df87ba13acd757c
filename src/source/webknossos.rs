//! WEBKNOSSOS datasets: the box and the size of a layer's voxels.
//!
//! Source: WEBKNOSSOS, "datasource-properties.json Specification". The file lies at the root of a dataset, one
//! or two folders above the groups of its layers. Writers pad the arrays to whole shards, so that one of a
//! coarser magnification may be the larger one; what is published is `boundingBox`, in voxels of magnification
//! 1, order (x, y, z). Voxels are `scale` nanometres large, or `scale.factor` of `scale.unit`.
//!
//! A magnification has the box from its first voxel that has a part of it to its last one (`webknossos` 4.3.3,
//! `MagView.bounding_box`: `align_with_mag(mag, ceil=True)`). All levels of an image in the mount begin at one
//! point. So a coarser magnification in which the box begins within a voxel is left out.
//!
//! The file is looked for where the finest level is called like a magnification (`1`, `2-2-1`).

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::boxes::Box3;
use super::image::ImageSource;
use super::json::{number, parse_lenient, text, whole_numbers};
use super::level::{LARGER, magnification};
use super::parts::LevelSource;
use super::root::{SourceRoot, join};
use super::units::micrometres;

const FILE: &str = "datasource-properties.json";

/// Folders above the array of a level that may hold the file: the layer, the dataset, and one more.
const ABOVE: usize = 3;

/// First voxel and size, in voxels of magnification 1, order (x, y, z).
type Bounds = ([u64; 3], [u64; 3]);

/// What the file says of a layer, order (x, y, z).
#[derive(Debug)]
struct Layer {
    /// Folder of the file.
    folder: PathBuf,
    bounds: Option<Bounds>,
    /// Edge of a voxel of magnification 1.
    voxel_um: Option<[f64; 3]>,
    /// By the paths of their arrays below the folder.
    magnifications: Vec<(PathBuf, [u64; 3])>,
}

impl Layer {
    /// The magnification of a level: as the file says, else by its name.
    fn magnification(&self, level: &LevelSource) -> Option<[u64; 3]> {
        let array = level.parts().first()?.array.folder();
        let inside = array.strip_prefix(&self.folder).unwrap_or(array);
        let stated = self.magnifications.iter().find(|(path, _)| path == inside);
        stated.map(|(_, factors)| *factors).or_else(|| by_name(array))
    }
}

/// The magnification that an array is called by.
fn by_name(array: &Path) -> Option<[u64; 3]> {
    magnification(array.file_name()?.to_str()?)
}

/// The published part of an image, if it is a layer of a dataset; else the image itself. Levels that are larger
/// than the one above are left out.
pub(super) fn published(root: &SourceRoot, image: ImageSource) -> ImageSource {
    let mut image = boxed(root, image);
    let mut kept: Vec<LevelSource> = Vec::new();
    for level in std::mem::take(&mut image.levels) {
        if kept.last().is_some_and(|above| level.is_larger_than(above)) {
            image.notes.push(left_out(&level, LARGER));
        } else {
            kept.push(level);
        }
    }
    image.levels = kept;
    image
}

fn left_out(level: &LevelSource, reason: &str) -> String {
    let array = level.parts().first().map(|part| part.array.folder());
    let name = array.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    format!("level {name:?} left out: {reason}")
}

fn boxed(root: &SourceRoot, mut image: ImageSource) -> ImageSource {
    let finest = image.levels[0].parts().first().map(|part| part.array.folder().to_path_buf());
    let Some(array) = finest.filter(|array| by_name(array).is_some()) else { return image };
    let Some(layer) = layer_above(root, &array, &mut image) else { return image };
    let Some(magnification) = layer.magnification(&image.levels[0]) else { return image };
    if let Some(voxel_um) = layer.voxel_um.and_then(|size| voxels_of(size, magnification))
        && image.voxel_um.iter().all(|edge| (edge - 1.0).abs() < f64::EPSILON)
    {
        image.voxel_um = voxel_um;
        image.lacks_unit = [false; 3];
        image.notes.push(format!("voxel size is that of {FILE:?}"));
    }
    match layer.bounds {
        Some(bounds) => within(image, &layer, bounds, magnification),
        None => image,
    }
}

/// What the nearest file above an array says of it. The files looked at are recorded in the fingerprint of the
/// image.
fn layer_above(root: &SourceRoot, array: &Path, image: &mut ImageSource) -> Option<Layer> {
    for folder in array.ancestors().skip(1).take(ABOVE) {
        let file = join(folder, Path::new(FILE));
        if image.fingerprint.record(root, &file).stamp().is_none() {
            continue;
        }
        let read = root.read_metadata(&file).ok().flatten();
        let Some(Ok(Value::Object(document))) = read.map(|(bytes, _)| parse_lenient(&bytes)) else {
            image.notes.push(format!("{FILE:?} cannot be read; the image may be padded"));
            image.fingerprint.doubt();
            return None;
        };
        let inside = array.strip_prefix(folder).unwrap_or(array);
        return find(&document, folder, inside);
    }
    None
}

/// The layer of an array at a path relative to the file: by the path of a magnification, else by its name.
fn find(document: &Map<String, Value>, folder: &Path, array: &Path) -> Option<Layer> {
    let layers = document.get("dataLayers")?.as_array()?;
    let has_array = |layer: &&Value| {
        let paths = layer.get("mags").and_then(Value::as_array).into_iter().flatten();
        paths.filter_map(path_of).any(|path| path == array)
    };
    let is_named = |layer: &&Value| {
        let name = layer.get("name").and_then(text);
        name.is_some_and(|name| array.parent() == Some(&plain(&name)))
    };
    let layer = layers.iter().find(has_array).or_else(|| layers.iter().find(is_named))?;
    let stated = layer.get("mags").and_then(Value::as_array).into_iter().flatten();
    let stated = stated.filter_map(|mag| {
        let factors: [u64; 3] = mag.get("mag").and_then(whole_numbers)?.try_into().ok()?;
        Some((path_of(mag)?, factors.map(|factor| factor.max(1))))
    });
    Some(Layer {
        folder: folder.to_path_buf(),
        bounds: layer.get("boundingBox").and_then(bounds),
        voxel_um: document.get("scale").and_then(voxel_um),
        magnifications: stated.collect(),
    })
}

fn path_of(mag: &Value) -> Option<PathBuf> {
    mag.get("path").and_then(text).map(|path| plain(&path))
}

fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

fn bounds(stated: &Value) -> Option<Bounds> {
    let first = stated.get("topLeft").and_then(whole_numbers)?.try_into().ok()?;
    let sizes = ["width", "height", "depth"].map(|name| stated.get(name).cloned());
    let sizes: Vec<Value> = sizes.into_iter().collect::<Option<_>>()?;
    let size: [u64; 3] = whole_numbers(&Value::Array(sizes))?.try_into().ok()?;
    (!size.contains(&0)).then_some((first, size))
}

fn voxel_um(scale: &Value) -> Option<[f64; 3]> {
    let unit = scale.get("unit").and_then(text).unwrap_or_else(|| "nanometer".to_owned());
    let factor = micrometres(&unit)?;
    let list = scale.get("factor").unwrap_or(scale).as_array()?;
    let list: Vec<f64> = list.iter().map(number).collect::<Option<_>>()?;
    let sizes: [f64; 3] = list.try_into().ok()?;
    Some(sizes.map(|size| size * factor))
}

/// Edges of the voxels of a magnification.
#[expect(clippy::cast_precision_loss, reason = "magnifications are small")]
fn voxels_of(voxel_um: [f64; 3], magnification: [u64; 3]) -> Option<[f64; 3]> {
    let sizes = std::array::from_fn(|axis| voxel_um[axis] * magnification[axis] as f64);
    sizes.iter().all(|size| (1e-6..1e9).contains(size)).then_some(sizes)
}

/// The box of an image, as far as the arrays have it.
fn within(mut image: ImageSource, layer: &Layer, bounds: Bounds, finest: [u64; 3]) -> ImageSource {
    let Some(shown) = voxels_in(&image.levels[0], bounds, finest) else {
        image.notes.push(format!("the box in {FILE:?} is not used: it lies outside of the array"));
        return image;
    };
    let levels = std::mem::take(&mut image.levels);
    let is_part = whole(&levels[0]) != shown;
    for level in levels {
        match part_of(&level, layer, bounds, (&shown, finest)) {
            Ok(part) => image.levels.push(part),
            Err(reason) => image.notes.push(left_out(&level, reason)),
        }
    }
    if is_part {
        let mut told = Vec::new();
        for (axis, range) in "xyz".chars().zip(shown.iter().rev()) {
            told.push(format!("{axis} {}..{}", range.start, range.end));
        }
        image.notes.push(format!("the box in {FILE:?} is shown: {}", told.join(", ")));
        for (axis, range) in shown.iter().rev().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "voxels are far below 2^53")]
            let offset = range.start as f64 * image.voxel_um[axis];
            image.origin_um[axis] += offset;
        }
    }
    image
}

/// The box in a level; the reason if the level cannot be shown with the finest one, of which a box is shown.
fn part_of(
    level: &LevelSource,
    layer: &Layer,
    bounds: Bounds,
    (shown, finest): (&Box3, [u64; 3]),
) -> Result<LevelSource, &'static str> {
    let own = layer.magnification(level).ok_or("its magnification is not known")?;
    let region = voxels_in(level, bounds, own).ok_or("the box of the layer lies outside of it")?;
    let is_at_one_point = (0..3).all(|axis| {
        let first = |region: &Box3, factors: [u64; 3]| {
            u128::from(region[axis].start) * u128::from(factors[2 - axis])
        };
        first(&region, own) == first(shown, finest)
    });
    if !is_at_one_point {
        return Err("the box of the layer begins within one of its voxels");
    }
    if region == whole(level) {
        return Ok(level.clone());
    }
    let [times, channels, ..] = level.shape();
    let [z, y, x] = region.clone().map(|range| range.end - range.start);
    let mut part = LevelSource::blank(level, [times, channels, z, y, x], Some(ratio(own, finest)));
    part.put(level, &region, [0; 5]);
    Ok(part)
}

/// The voxels of a level that have a part of a box, order (z, y, x).
fn voxels_in(level: &LevelSource, (first, size): Bounds, factors: [u64; 3]) -> Option<Box3> {
    let [_, _, shape @ ..] = level.shape();
    let region: Box3 = std::array::from_fn(|at| {
        let axis = 2 - at;
        let end = first[axis].saturating_add(size[axis]).div_ceil(factors[axis]);
        first[axis] / factors[axis]..end.min(shape[at])
    });
    region.iter().all(|range| range.start < range.end).then_some(region)
}

/// All voxels of a level, order (z, y, x).
fn whole(level: &LevelSource) -> Box3 {
    let [_, _, z, y, x] = level.shape();
    [0..z, 0..y, 0..x]
}

/// Scale of a magnification by that of the finest, order (z, y, x).
#[expect(clippy::cast_precision_loss, reason = "magnifications are small")]
fn ratio(own: [u64; 3], finest: [u64; 3]) -> [f64; 3] {
    std::array::from_fn(|at| own[2 - at] as f64 / finest[2 - at] as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::discover::open_image;
    use crate::source::storage::Memory;
    use serde_json::json;

    #[test]
    fn magnifications_by_their_names() {
        assert_eq!(magnification("1"), Some([1; 3]));
        assert_eq!(magnification("4-4-2"), Some([4, 4, 2]));
        for other in ["0", "s0", "3", "1-1", "", "scale1", "1-1-0"] {
            assert_eq!(magnification(other), None, "{other}");
        }
    }

    fn dataset(bounding_box: &Value) -> Value {
        json!({"scale": {"factor": [10, 20, 30], "unit": "nanometer"}, "dataLayers": [
            {"name": "other", "boundingBox": {"topLeft": [0, 0, 0], "width": 1, "height": 1, "depth": 1}},
            {"name": "color", "boundingBox": bounding_box, "mags": [
                {"mag": [1, 1, 1], "path": "./color/1"}, {"mag": [2, 2, 2], "path": "./color/2"}]}]})
    }

    fn layer(dataset: &Value, is_multiscale: bool) -> ImageSource {
        padded_layer(dataset, is_multiscale, [1, 32, 16, 16])
    }

    /// A layer of two magnifications, padded to chunks of 16; the coarser one has the shape `coarse`, in the order
    /// (c, x, y, z).
    fn padded_layer(dataset: &Value, is_multiscale: bool, coarse: [u64; 4]) -> ImageSource {
        let files = Memory::default();
        let write = |path: &str, value: &Value| files.put(path, value.to_string().as_bytes());
        let array = |shape: [u64; 4]| {
            json!({"zarr_format": 2, "shape": shape, "chunks": [1, 16, 16, 16], "dtype": "|u1",
                "compressor": null, "fill_value": 0, "order": "C", "filters": null})
        };
        write("d/datasource-properties.json", dataset);
        write("d/color/1/.zarray", &array([1, 48, 32, 32]));
        write("d/color/2/.zarray", &array(coarse));
        let axes = ["c", "x", "y", "z"];
        let image = if is_multiscale {
            let step = |n: u32| json!([{"type": "scale", "scale": [1, n, n, n]}]);
            let datasets = json!([{"path": "1", "coordinateTransformations": step(1)},
                {"path": "2", "coordinateTransformations": step(2)}]);
            write("d/color/.zgroup", &json!({"zarr_format": 2}));
            write(
                "d/color/.zattrs",
                &json!({"multiscales": [{"axes": axes, "datasets": datasets}]}),
            );
            "color"
        } else {
            write("d/color/1/.zattrs", &json!({"_ARRAY_DIMENSIONS": axes}));
            "color/1"
        };
        open_image(&SourceRoot::in_memory(files), Path::new("d"), image, 0).expect("an image")
    }

    #[test]
    fn the_box_is_the_image() {
        let bounding_box = json!({"topLeft": [4, 0, 8], "width": 36, "height": 25, "depth": 20});
        for is_multiscale in [true, false] {
            let image = layer(&dataset(&bounding_box), is_multiscale);
            assert_eq!(image.levels[0].shape(), [1, 1, 20, 25, 36]);
            let close =
                |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
            assert!(close(image.voxel_um, [0.01, 0.02, 0.03]), "{:?}", image.voxel_um);
            assert!(close(image.origin_um, [0.04, 0.0, 0.24]), "{:?}", image.origin_um);
            let notes = image.notes.join("; ");
            assert!(notes.contains("x 4..40, y 0..25, z 8..28"), "{notes}");
            let file = Path::new("d/datasource-properties.json");
            assert!(image.fingerprint.entries().any(|(path, _)| path == file));
        }
        // Voxels that have a part of the box are of it: y is rounded up.
        let image = layer(&dataset(&bounding_box), true);
        assert_eq!(image.levels[1].shape(), [1, 1, 10, 13, 18]);
        assert_eq!(
            image.levels[1].parts()[0].in_array(&[0..10, 0..13, 0..18]),
            [4..14, 0..13, 2..20]
        );
    }

    #[test]
    fn a_coarser_array_may_be_padded_beyond_the_finest_one() {
        let at = |corner: [u64; 3]| {
            let bounding_box = json!({"topLeft": corner, "width": 36, "height": 25, "depth": 20});
            padded_layer(&dataset(&bounding_box), true, [1, 64, 64, 64])
        };
        let image = at([4, 0, 8]);
        assert_eq!(image.levels[1].shape(), [1, 1, 10, 13, 18]);
        assert_eq!(image.levels[1].relative_scale, Some([2.0; 3]));
        assert_eq!(image.levels[1].parts()[0].in_array(&[0..1, 0..1, 0..1]), [4..5, 0..1, 2..3]);
        assert!(!image.notes.join("; ").contains("left out"), "{:?}", image.notes);
        // The finest one is not padded.
        let bounding_box = json!({"topLeft": [0, 0, 0], "width": 48, "height": 32, "depth": 32});
        let image = padded_layer(&dataset(&bounding_box), true, [1, 64, 64, 64]);
        assert_eq!(image.levels[1].shape(), [1, 1, 16, 16, 24]);
        for corner in [[5, 0, 8], [4, 1, 8], [4, 0, 7]] {
            let image = at(corner);
            assert_eq!(image.levels.len(), 1, "{corner:?}");
            let wanted =
                "level \"2\" left out: the box of the layer begins within one of its voxels";
            assert!(image.notes.iter().any(|note| note == wanted), "{:?}", image.notes);
        }
    }

    #[test]
    fn without_a_box_no_level_is_larger_than_the_one_above() {
        for dataset in [dataset(&json!(null)), json!({"dataLayers": []}), json!([])] {
            let image = padded_layer(&dataset, true, [1, 64, 16, 16]);
            assert_eq!(image.levels.len(), 1, "{dataset}");
            let wanted = "level \"2\" left out: larger than the level above";
            assert!(image.notes.iter().any(|note| note == wanted), "{:?}", image.notes);
        }
    }

    #[test]
    fn magnifications_are_those_of_the_file() {
        let mut dataset =
            dataset(&json!({"topLeft": [16, 0, 0], "width": 16, "height": 16, "depth": 16}));
        dataset["dataLayers"][1]["mags"] = json!([
            {"mag": [2, 2, 1], "path": "color/1"}, {"mag": [4, 4, 2], "path": "./color/2"}]);
        let image = layer(&dataset, true);
        assert_eq!(image.levels[0].shape(), [1, 1, 16, 8, 8]);
        assert_eq!(image.levels[1].shape(), [1, 1, 8, 4, 4]);
        assert_eq!(image.levels[1].relative_scale, Some([2.0; 3]));
    }

    #[test]
    fn a_box_that_cannot_be_used_leaves_the_image_whole() {
        let whole = [1, 1, 32, 32, 48];
        for (bounding_box, told) in [
            (json!({"topLeft": [0, 0, 0], "width": 100, "height": 32, "depth": 32}), ""),
            (json!({"topLeft": [90, 0, 0], "width": 5, "height": 5, "depth": 5}), "is not used"),
            (json!({"topLeft": [-3, 0, 0], "width": 5, "height": 5, "depth": 5}), ""),
            (json!({"topLeft": [0, 0, 0], "width": 0, "height": 5, "depth": 5}), ""),
            (json!(null), ""),
        ] {
            let image = layer(&dataset(&bounding_box), true);
            assert_eq!(image.levels[0].shape(), whole, "{bounding_box}");
            let notes = image.notes.join("; ");
            assert!(notes.contains(told), "{bounding_box} {notes}");
        }
        assert_eq!(layer(&json!({"dataLayers": 3}), true).levels[0].shape(), whole);
    }
}
