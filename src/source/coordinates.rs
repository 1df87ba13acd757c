//! Coordinate arrays of xarray: where the elements of each axis lie.
//!
//! Source: xarray, "Dimension coordinates": an array of one dimension beside the data, called like its
//! dimension. Evenly spaced values give the size of voxels and the place of the first one; others give
//! nothing, and one line. Units are in the attribute `units` (CF conventions, 3.1), for times as
//! `seconds since 2026-01-01`. Of a channel axis, nothing is read.

use std::path::{Component, Path};
use std::sync::Arc;

use half::f16;
use serde_json::{Map, Value};

use super::array::{UnitBytes, ZarrArray};
use super::axes::Axes;
use super::conventions::Convention;
use super::error::SourceError;
use super::fingerprint::Fingerprint;
use super::json::text;
use super::metadata::{ArrayNode, ZarrNode, read_node};
use super::root::SourceRoot;
use super::source_type::SourceType;
use super::transform::Transform;

/// Most values of an axis that are read.
const VALUES_LIMIT: u64 = 1 << 20;

/// Values that are off by this part of their distance are evenly spaced all the same.
const TOLERANCE: f64 = 0.01;

/// What the coordinate arrays beside an array say; `None` where there are none, or they say nothing. The
/// files looked at are recorded in the fingerprint.
pub(crate) fn find(
    root: &Arc<SourceRoot>,
    array: &Path,
    axes: &Axes,
    shape: &[u64],
    fingerprint: &mut Fingerprint,
    notes: &mut Vec<String>,
) -> Option<Convention> {
    let group = array.parent()?;
    let mut found = Transform::default();
    for (at, axis) in axes.stored.iter().enumerate() {
        let name = Path::new(&axis.name);
        let is_plain = matches!(name.components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
        if !is_plain || axes.slots[1] == Some(at) || Some(name.as_os_str()) == array.file_name() {
            continue;
        }
        let folder = group.join(name);
        let node = match read_node(root, &folder, fingerprint) {
            Ok(Some(ZarrNode::Array(node))) => node,
            Ok(_) | Err(_) => continue,
        };
        let quoted: String = axis.name.chars().take(40).collect();
        match values(root, &folder, &node, shape[at], fingerprint) {
            Ok(values) => match spacing(&values) {
                Some((step, first)) => {
                    for list in [&mut found.scale, &mut found.translation] {
                        list.resize(axes.stored.len(), None);
                    }
                    found.units.resize(axes.stored.len(), None);
                    // One value has a place and no size.
                    found.scale[at] = step;
                    found.translation[at] = Some(first);
                    found.units[at] = unit(&node.attributes);
                }
                None => {
                    notes.push(format!("coordinates of {quoted:?} are not evenly spaced; not used"))
                }
            },
            Err(reason) => notes.push(format!("coordinates of {quoted:?} are not used: {reason}")),
        }
    }
    let transform = found;
    transform.is_scaled().then(|| Convention { name: "coordinates".to_owned(), transform })
}

fn unit(attributes: &Map<String, Value>) -> Option<String> {
    let stated = text(attributes.get("units").or_else(|| attributes.get("unit"))?)?;
    Some(stated.split(" since ").next().unwrap_or_default().trim().to_owned())
}

/// The values of an array of one dimension and this length.
fn values(
    root: &Arc<SourceRoot>,
    folder: &Path,
    node: &ArrayNode,
    length: u64,
    fingerprint: &mut Fingerprint,
) -> Result<Vec<f64>, String> {
    let told = |error: SourceError| error.to_string();
    let array = ZarrArray::open_line(root, folder, node).map_err(told)?;
    if array.shape() != [length] {
        return Err(format!("{} values for {length}", array.shape()[0]));
    }
    if length > VALUES_LIMIT {
        return Err(format!("more than {VALUES_LIMIT} values"));
    }
    let (unit, bytes) = (array.unit_shape()[0], array.source_type().bytes());
    let mut values = Vec::new();
    for number in 0..length.div_ceil(unit) {
        fingerprint.record(root, &array.file_of_unit(&[number]));
        let read = array.read_unit(&[number]).inspect_err(|_| fingerprint.doubt());
        match read.map_err(told)? {
            UnitBytes::Stored { bytes: stored, .. } => {
                values
                    .extend(stored.chunks_exact(bytes).map(|raw| value(array.source_type(), raw)));
            }
            UnitBytes::Fill => {
                let fill = value(array.source_type(), array.fill_value());
                values.extend(std::iter::repeat_n(fill, usize::try_from(unit).unwrap_or(0)));
            }
        }
    }
    values.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    Ok(values)
}

/// A number in native byte order.
#[expect(clippy::cast_precision_loss, reason = "coordinates are far below 2^53")]
fn value(kind: SourceType, raw: &[u8]) -> f64 {
    fn of<const N: usize>(raw: &[u8]) -> [u8; N] {
        raw.first_chunk::<N>().copied().unwrap_or([0; N])
    }
    match kind {
        SourceType::Bool | SourceType::U8 => f64::from(of::<1>(raw)[0]),
        SourceType::I8 => f64::from(i8::from_ne_bytes(of(raw))),
        SourceType::U16 => f64::from(u16::from_ne_bytes(of(raw))),
        SourceType::I16 => f64::from(i16::from_ne_bytes(of(raw))),
        SourceType::U32 => f64::from(u32::from_ne_bytes(of(raw))),
        SourceType::I32 => f64::from(i32::from_ne_bytes(of(raw))),
        SourceType::U64 => u64::from_ne_bytes(of(raw)) as f64,
        SourceType::I64 => i64::from_ne_bytes(of(raw)) as f64,
        SourceType::F16 => f16::from_ne_bytes(of(raw)).to_f64(),
        SourceType::F32 => f64::from(f32::from_ne_bytes(of(raw))),
        SourceType::F64 => f64::from_ne_bytes(of(raw)),
    }
}

/// The distance of evenly spaced values, and the first of them; of one value, no distance. `None` where they
/// are not evenly spaced.
#[expect(clippy::cast_precision_loss, reason = "at most VALUES_LIMIT values")]
fn spacing(values: &[f64]) -> Option<(Option<f64>, f64)> {
    let (&first, &last) = (values.first()?, values.last()?);
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    if values.len() == 1 {
        return Some((None, first));
    }
    let step = (last - first) / (values.len() - 1) as f64;
    // Values are often numbers of 32 bits.
    let rounding = f64::from(f32::EPSILON) * first.abs().max(last.abs());
    let limit = step.abs() * TOLERANCE + rounding;
    let is_even = |(i, value): (usize, &f64)| (first + step * i as f64 - value).abs() <= limit;
    let is_clear = step != 0.0 && rounding < step.abs() * 0.5;
    (is_clear && values.iter().enumerate().all(is_even)).then_some((Some(step), first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::discover::open_image;
    use crate::source::image::ImageSource;
    use crate::source::storage::Memory;
    use serde_json::json;

    #[test]
    fn only_even_distances_are_a_size() {
        assert_eq!(spacing(&[5.0, 7.0, 9.0]), Some((Some(2.0), 5.0)));
        assert_eq!(spacing(&[5.0]), Some((None, 5.0)));
        assert_eq!(spacing(&[9.0, 7.0, 5.0]), Some((Some(-2.0), 9.0)));
        let single: Vec<f64> = (0..2000).map(|i| f64::from(i as f32 * 0.65_f32)).collect();
        let (step, _) = spacing(&single).expect("even");
        assert!((step.expect("a distance") - 0.65).abs() < 1e-5);
        for other in [&[][..], &[0.0, 1.0, 4.0], &[1.0, 1.0], &[0.0, f64::NAN], &[0.0, 1.0, 2.05]] {
            assert_eq!(spacing(other), None, "{other:?}");
        }
    }

    /// An image with arrays of these values beside it, and their units.
    fn image(coordinates: &[(&str, &[f64], &str)]) -> ImageSource {
        let files = Memory::default();
        let array = |shape: &[usize], kind: &str, names: &[&str], unit: &str| {
            json!({"zarr_format": 3, "node_type": "array", "shape": shape, "data_type": kind,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
                "chunk_key_encoding": {"name": "default"}, "fill_value": 0,
                "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                "dimension_names": names, "attributes": {"units": unit}})
        };
        let write = |path: &str, value: &Value| files.put(path, value.to_string().as_bytes());
        write("a.zarr/raw/zarr.json", &array(&[2, 3, 4], "uint16", &["z", "y", "x"], ""));
        for (name, values, unit) in coordinates {
            let own = array(&[values.len()], "float64", &[name], unit);
            write(&format!("a.zarr/{name}/zarr.json"), &own);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            files.put(&format!("a.zarr/{name}/c/0"), &bytes);
        }
        open_image(&SourceRoot::in_memory(files), Path::new("a.zarr"), "raw", 0).expect("an image")
    }

    #[test]
    fn arrays_called_like_axes_say_where_they_lie() {
        let x = [0.0, 0.25, 0.5, 0.75];
        let found = image(&[
            ("z", &[10.0, 12.0], "um"),
            ("y", &[0.0, 500.0, 1000.0], "nm"),
            ("x", &x, "um"),
        ]);
        let close = |a: [f64; 3], b: [f64; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
        assert!(close(found.voxel_um, [0.25, 0.5, 2.0]), "{:?}", found.voxel_um);
        assert!(close(found.origin_um, [0.0, 0.0, 10.0]), "{:?}", found.origin_um);
        assert!(found.notes.join("; ").contains("\"coordinates\""), "{:?}", found.notes);
        let chunk = Path::new("a.zarr/x/c/0");
        assert!(
            found.fingerprint.entries().any(|(path, _)| path == chunk),
            "{:?}",
            found.fingerprint
        );
        let odd =
            image(&[("z", &[0.0, 3.0], "um"), ("y", &[0.0, 1.0, 5.0], "um"), ("x", &x[..3], "um")]);
        assert!(close(odd.voxel_um, [1.0, 1.0, 3.0]), "{:?}", odd.voxel_um);
        let notes = odd.notes.join("; ");
        assert!(notes.contains("\"y\" are not evenly spaced"), "{notes}");
        assert!(notes.contains("\"x\" are not used: 3 values for 4"), "{notes}");
    }
}
