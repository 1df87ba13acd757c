//! WEBKNOSSOS datasets: the box and the size of a layer's voxels.
//!
//! Source: WEBKNOSSOS, "datasource-properties.json Specification". The file lies at the root of a dataset, one
//! or two folders above the groups of its layers. Writers pad the arrays to whole shards; what is published
//! is `boundingBox`, in voxels of magnification 1, order (x, y, z). Voxels are `scale` nanometres large, or
//! `scale.factor` of `scale.unit`.
//!
//! The file is looked for where the finest level is called like a magnification (`1`, `2-2-1`).

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use super::compose::{Crop, crop};
use super::image::ImageSource;
use super::json::{number, parse_lenient, text, whole_numbers};
use super::level::magnification;
use super::root::{SourceRoot, join};
use super::units::micrometres;

const FILE: &str = "datasource-properties.json";

/// Folders above the array of a level that may hold the file: the layer, the dataset, and one more.
const ABOVE: usize = 3;

/// What the file says of a layer, order (x, y, z).
#[derive(Debug, PartialEq)]
struct Layer {
    /// First voxel and size, in voxels of magnification 1.
    bounds: Option<([u64; 3], [u64; 3])>,
    voxel_um: Option<[f64; 3]>,
    /// Of the finest level.
    magnification: [u64; 3],
}

/// The published part of an image, if it is a layer of a dataset; else the image itself.
pub(super) fn published(root: &SourceRoot, mut image: ImageSource) -> ImageSource {
    let Some(array) = image.levels[0].parts().first().map(|part| part.array.folder().to_path_buf())
    else {
        return image;
    };
    let name = array.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(magnification) = magnification(name) else { return image };
    let Some(layer) = layer_above(root, &array, magnification, &mut image) else { return image };
    if let Some(voxel_um) = layer.voxel_um
        && image.voxel_um.iter().all(|edge| (edge - 1.0).abs() < f64::EPSILON)
    {
        image.voxel_um = voxel_um;
        image.lacks_unit = [false; 3];
        image.notes.push(format!("voxel size is that of {FILE:?}"));
    }
    match layer.bounds {
        Some(bounds) => within(image, bounds, layer.magnification),
        None => image,
    }
}

/// What the nearest file above an array says of it. The files looked at are recorded in the fingerprint of the
/// image.
fn layer_above(
    root: &SourceRoot,
    array: &Path,
    magnification: [u64; 3],
    image: &mut ImageSource,
) -> Option<Layer> {
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
        return find(&document, inside, magnification);
    }
    None
}

/// The layer of an array at a path relative to the file: by the path of a magnification, else by its name.
fn find(document: &Map<String, Value>, array: &Path, magnification: [u64; 3]) -> Option<Layer> {
    let layers = document.get("dataLayers")?.as_array()?;
    let is_here = |mag: &&Value| {
        let path = mag.get("path").and_then(text);
        path.is_some_and(|path| plain(&path) == array)
    };
    let mags = |layer: &&Value| layer.get("mags").and_then(Value::as_array).cloned();
    let by_path = layers.iter().find_map(|layer| {
        let mags = mags(&layer)?;
        let mag = mags.iter().find(is_here)?;
        let factors = mag.get("mag").and_then(whole_numbers);
        Some((layer, factors.and_then(|list| list.try_into().ok()).unwrap_or(magnification)))
    });
    let by_name = || {
        let is_named = |layer: &&Value| {
            let name = layer.get("name").and_then(text);
            name.is_some_and(|name| array.parent() == Some(&plain(&name)))
        };
        layers.iter().find(is_named).map(|layer| (layer, magnification))
    };
    let (layer, magnification): (&Value, [u64; 3]) = by_path.or_else(by_name)?;
    let magnification = magnification.map(|factor| factor.max(1));
    Some(Layer {
        bounds: layer.get("boundingBox").and_then(bounds),
        voxel_um: document.get("scale").and_then(|scale| voxel_um(scale, magnification)),
        magnification,
    })
}

fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

fn bounds(stated: &Value) -> Option<([u64; 3], [u64; 3])> {
    let first = stated.get("topLeft").and_then(whole_numbers)?.try_into().ok()?;
    let sizes = ["width", "height", "depth"].map(|name| stated.get(name).cloned());
    let sizes: Vec<Value> = sizes.into_iter().collect::<Option<_>>()?;
    let size: [u64; 3] = whole_numbers(&Value::Array(sizes))?.try_into().ok()?;
    (!size.contains(&0)).then_some((first, size))
}

#[expect(clippy::cast_precision_loss, reason = "magnifications are small")]
fn voxel_um(scale: &Value, magnification: [u64; 3]) -> Option<[f64; 3]> {
    let unit = scale.get("unit").and_then(text).unwrap_or_else(|| "nanometer".to_owned());
    let factor = micrometres(&unit)?;
    let list = scale.get("factor").unwrap_or(scale).as_array()?;
    let list: Vec<f64> = list.iter().map(number).collect::<Option<_>>()?;
    let [x, y, z]: [f64; 3] = list.try_into().ok()?;
    let sizes = [x, y, z].into_iter().zip(magnification);
    let sizes: Vec<f64> = sizes.map(|(size, mag)| size * mag as f64 * factor).collect();
    let is_size = |size: &f64| (1e-6..1e9).contains(size);
    sizes.iter().all(is_size).then(|| [sizes[0], sizes[1], sizes[2]])
}

/// The box of an image, as far as the array has it.
fn within(
    image: ImageSource,
    (first, size): ([u64; 3], [u64; 3]),
    magnification: [u64; 3],
) -> ImageSource {
    let [_, _, z, y, x] = image.levels[0].shape();
    let shape = [x, y, z];
    let range = |axis: usize| -> Range<u64> {
        let mag = magnification[axis];
        let end = first[axis].saturating_add(size[axis]).div_ceil(mag);
        first[axis] / mag..end.min(shape[axis])
    };
    let ranges = [range(0), range(1), range(2)];
    if (0..3).all(|axis| ranges[axis] == (0..shape[axis])) {
        return image;
    }
    let told: Vec<String> = ranges
        .iter()
        .zip("xyz".chars())
        .map(|(r, axis)| format!("{axis} {}..{}", r.start, r.end))
        .collect();
    let [x, y, z] = ranges.map(Some);
    match crop(&image, &Crop { x, y, z, ..Crop::default() }) {
        Ok(mut cropped) => {
            // The box is the whole image, and no part of a larger one.
            cropped.facts.retain(|fact| fact.key != "Crop");
            cropped.notes.push(format!("the box in {FILE:?} is shown: {}", told.join(", ")));
            cropped
        }
        Err(error) => {
            let mut image = image;
            image.notes.push(format!("the box in {FILE:?} is not used: {error}"));
            image
        }
    }
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

    /// A layer of two magnifications, padded to chunks of 16.
    fn layer(dataset: &Value, is_multiscale: bool) -> ImageSource {
        let files = Memory::default();
        let write = |path: &str, value: &Value| files.put(path, value.to_string().as_bytes());
        let array = |shape: [u64; 4]| {
            json!({"zarr_format": 2, "shape": shape, "chunks": [1, 16, 16, 16], "dtype": "|u1",
                "compressor": null, "fill_value": 0, "order": "C", "filters": null})
        };
        write("d/datasource-properties.json", dataset);
        write("d/color/1/.zarray", &array([1, 48, 32, 32]));
        write("d/color/2/.zarray", &array([1, 32, 16, 16]));
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
        let image = layer(&dataset(&bounding_box), true);
        assert_eq!(image.levels[1].shape(), [1, 1, 10, 12, 18]);
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
