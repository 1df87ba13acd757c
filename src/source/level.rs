//! The levels of an image: opened, put in order, and left out where they do not belong to it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::array::ZarrArray;
use super::axes::Axes;
use super::conventions;
use super::error::{SourceError, Unsupported};
use super::fingerprint::Fingerprint;
use super::metadata::{ArrayNode, ZarrNode, read_node, read_soon};
use super::ome::{self, Dataset, LEVELS_LIMIT, Multiscale};
use super::parts::LevelSource;
use super::place::Place;
use super::root::{SourceRoot, join};
use super::transform::Transform;

/// Why a level is left out that is larger along an axis than the next finer one.
pub(super) const LARGER: &str = "larger than the level above";

/// The levels of an image, and the statements of the metadata about the finest.
#[derive(Debug)]
pub(super) struct Levels {
    /// Finest first, never empty.
    pub(super) sources: Vec<LevelSource>,
    pub(super) axes: Axes,
    pub(super) transform: Transform,
    /// Attributes of the array.
    pub(super) attributes: Map<String, Value>,
}

/// A level that can be read.
struct Opened {
    /// Its place in the list of datasets.
    listed: usize,
    level: LevelSource,
    axes: Axes,
    transform: Transform,
    attributes: Map<String, Value>,
}

impl Opened {
    /// Number of voxels of a volume.
    fn voxels(&self) -> u128 {
        self.level.shape()[2..].iter().fold(1, |n, side| n.saturating_mul(u128::from(*side)))
    }
}

impl Levels {
    /// Opens the arrays of a multiscale image. The largest is level 0, in whatever order they are
    /// listed. Those that cannot be used are left out and noted.
    ///
    /// # Errors
    /// [`SourceError`] when the finest level cannot be read or is not an image: without it an image
    /// would lie about its size.
    pub(super) fn open(
        root: &Arc<SourceRoot>,
        place: &Place<'_>,
        multiscale: &Multiscale,
        fingerprint: &mut Fingerprint,
        notes: &mut Vec<String>,
    ) -> Result<Self, SourceError> {
        let (mut opened, failed) = open_all(root, place, multiscale, fingerprint);
        let is_upward = opened.is_sorted_by_key(Opened::voxels)
            && opened.first().map(Opened::voxels) < opened.last().map(Opened::voxels);
        // Stable: levels of one size keep their order.
        opened.sort_by_key(|level| std::cmp::Reverse(level.voxels()));
        let magnifications = magnifications(&opened, multiscale);
        if let Some(magnifications) = &magnifications {
            opened.sort_by_key(|level| magnifications[&level.listed]);
        }
        if !opened.is_sorted_by_key(|level| level.listed) {
            notes.push("levels are listed in another order than by size".to_owned());
        }
        let mut opened = opened.into_iter();
        let Some(finest) = opened.next() else {
            let group = join(place.store, Path::new(place.image));
            let names = multiscale.datasets.len();
            let reason = Unsupported::NoLevel(format!("{names} datasets listed"));
            let none = SourceError::unsupported(group, reason);
            return Err(failed.into_iter().next().map_or(none, |(_, error)| error));
        };
        for (listed, error) in failed {
            // A level that cannot be read now may be there at the next look, and make another image.
            if error.is_fault() || is_finer(multiscale, listed, &finest, is_upward) {
                return Err(error);
            }
            let path = &multiscale.datasets[listed].path;
            notes.push(format!("level {path:?} left out: {error}"));
        }
        let mut levels = vec![finest.level];
        for mut own in opened {
            let above = &levels[levels.len() - 1];
            // The box of a layer is not known here: `webknossos` leaves out what is larger without padding, too.
            let is_larger = magnifications.is_none() && own.level.is_larger_than(above);
            let reason = is_larger.then(|| LARGER.to_owned());
            if let Some(reason) = differs(&levels[0], &own.level).or(reason) {
                let path = &multiscale.datasets[own.listed].path;
                notes.push(format!("level {path:?} left out: {reason}"));
                continue;
            }
            own.level.relative_scale =
                relative_scale((&finest.transform, &finest.axes), (&own.transform, &own.axes));
            levels.push(own.level);
        }
        if multiscale.left_out > 0 {
            let left_out = multiscale.left_out;
            notes.push(format!("{left_out} levels beyond the first {LEVELS_LIMIT} left out"));
        }
        let Opened { axes, transform, attributes, .. } = finest;
        Ok(Self { sources: levels, axes, transform, attributes })
    }
}

/// The factors in the name of a magnification of WEBKNOSSOS, order (x, y, z): `2` or `2-2-1`.
pub(super) fn magnification(name: &str) -> Option<[u64; 3]> {
    let factors: Vec<u64> = name.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let factors = match factors[..] {
        [all] => [all; 3],
        [x, y, z] => [x, y, z],
        _ => return None,
    };
    factors.iter().all(|factor| factor.is_power_of_two()).then_some(factors)
}

/// The product of the magnification that each level is called by, by its place in the list, where the stated
/// voxel sizes grow with them. WEBKNOSSOS pads arrays, so that a coarser one may be the larger one.
fn magnifications(opened: &[Opened], multiscale: &Multiscale) -> Option<BTreeMap<usize, u64>> {
    let product = |level: &Opened| {
        let name = Path::new(&multiscale.datasets[level.listed].path).file_name()?.to_str()?;
        magnification(name)?.iter().try_fold(1_u64, |product, n| product.checked_mul(*n))
    };
    let stated = |level: &Opened| level.transform.scale.iter().flatten().product::<f64>();
    let mut levels: Vec<(u64, f64, usize)> = opened
        .iter()
        .map(|level| Some((product(level)?, stated(level), level.listed)))
        .collect::<Option<_>>()?;
    levels.sort_by_key(|(product, ..)| *product);
    let grows = levels.is_sorted_by(|(a, fine, _), (b, coarse, _)| a < b && fine < coarse);
    grows.then(|| levels.into_iter().map(|(product, _, listed)| (listed, product)).collect())
}

/// Opens the readable levels, in the order of the list.
fn open_all(
    root: &Arc<SourceRoot>,
    place: &Place<'_>,
    multiscale: &Multiscale,
    fingerprint: &mut Fingerprint,
) -> (Vec<Opened>, Vec<(usize, SourceError)>) {
    let paths = multiscale.datasets.iter().filter_map(|it| path_inside(place.image, &it.path));
    read_soon(root, paths.map(|inside| join(place.store, &inside)));
    let nodes: Vec<_> = multiscale
        .datasets
        .iter()
        .map(|dataset| read_level(root, place, &dataset.path, fingerprint))
        .collect();
    // Arrays that do not name their axes have those of their neighbours.
    let named = nodes.iter().zip(&multiscale.datasets);
    let mut names = named.filter_map(|(node, dataset)| {
        let (_, node) = node.as_ref().ok()?;
        dataset.axis_names().or_else(|| axis_names(node))
    });
    let names = names.next();
    // All levels are colour, or none: a coarse one may be as short by chance. Five dimensions are those of
    // OME-NGFF 0.1.
    let is_color = nodes.iter().flatten().all(|(_, node)| {
        node.is_color() && node.document.get("shape").is_some_and(|it| it[4].is_null())
    });
    let (mut opened, mut failed) = (Vec::new(), Vec::new());
    for (listed, node) in nodes.into_iter().enumerate() {
        let dataset = &multiscale.datasets[listed];
        let level = node.and_then(|(path, node)| {
            let array = ZarrArray::open(root, &join(place.store, &path), &node)?;
            let own = || dataset.axis_names().or_else(|| axis_names(&node)).or(names.clone());
            // The node of a level may state what the node of the image leaves out (RFC-8).
            let alone = dataset.is_bare().then(|| ome::own_multiscale(&node.attributes)).flatten();
            let (multiscale, dataset) = match &alone {
                Some((alone, at)) => (alone, &alone.datasets[*at]),
                None => (multiscale, dataset),
            };
            let axes = match (place.axes, multiscale.stored_axes(dataset)) {
                (Some(said), stated) => Axes::by_hand(said, stated.as_deref(), array.shape()),
                (None, Some(stated)) => Axes::stated(&stated, array.shape()),
                (None, None) => Axes::of_array(own(), array.shape(), is_color),
            };
            let group = join(place.store, Path::new(place.image));
            let axes = axes.map_err(|reason| SourceError::unsupported(group, reason))?;
            let transform = multiscale.transform(dataset, &axes);
            let level = LevelSource::new(array, axes.slots, &path.to_string_lossy());
            Ok(Opened { listed, level, axes, transform, attributes: node.attributes })
        });
        match level {
            Ok(level) => opened.push(level),
            Err(error) => failed.push((listed, error)),
        }
    }
    (opened, failed)
}

/// Names of the dimensions, where the array states them.
pub(super) fn axis_names(node: &ArrayNode) -> Option<Vec<String>> {
    node.dimension_names().or_else(|| conventions::axis_names(&node.attributes))
}

/// Reads the metadata of a level.
fn read_level(
    root: &SourceRoot,
    place: &Place<'_>,
    path: &str,
    fingerprint: &mut Fingerprint,
) -> Result<(PathBuf, Box<ArrayNode>), SourceError> {
    let Some(inside) = path_inside(place.image, path) else {
        let reason = Unsupported::PathEscapes(path.to_owned());
        let group = join(place.store, Path::new(place.image));
        return Err(SourceError::unsupported(group, reason));
    };
    let folder = join(place.store, &inside);
    match read_node(root, &folder, fingerprint)? {
        Some(ZarrNode::Array(node)) => Ok((inside, node)),
        Some(ZarrNode::Group(_)) | None => {
            let reason = Unsupported::NoLevel(format!("no array at {path:?}"));
            Err(SourceError::unsupported(folder, reason))
        }
    }
}

/// The path of a dataset within the store; `None` where it leaves the store. A slash in front stands for
/// the group.
fn path_inside(image: &str, path: &str) -> Option<PathBuf> {
    let mut inside = PathBuf::from(image);
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir => {
                if !inside.pop() {
                    return None;
                }
            }
            Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

/// Whether a level that cannot be read is finer than the finest that can: by its scale, else by its
/// place in the list.
fn is_finer(multiscale: &Multiscale, listed: usize, finest: &Opened, is_upward: bool) -> bool {
    let size = |transform: &Transform| {
        let scales = finest.axes.space().into_iter().map(|at| transform.scale_of(at));
        let size: f64 = scales.map(|scale| scale.map(f64::abs)).product::<Option<f64>>()?;
        (size.is_finite() && size > 0.0).then_some(size)
    };
    let dataset: &Dataset = &multiscale.datasets[listed];
    let own = size(&multiscale.transform(dataset, &finest.axes));
    match own.zip(size(&finest.transform)) {
        Some((own, known)) if own < known * 0.999 => true,
        Some((own, known)) if own > known * 1.001 => false,
        _ if is_upward => listed > finest.listed,
        _ => listed < finest.listed,
    }
}

/// Why a coarser level is of another image, if it is.
fn differs(finest: &LevelSource, level: &LevelSource) -> Option<String> {
    if level.source_type() != finest.source_type() {
        return Some("another data type than the finest level".to_owned());
    }
    let [times, channels, ..] = level.shape();
    let is_other = [times, channels] != finest.shape()[..2];
    is_other.then(|| format!("{times} time points and {channels} channels"))
}

/// Scale of a level by that of the finest, order (z, y, x); flips do not matter.
fn relative_scale(finest: (&Transform, &Axes), own: (&Transform, &Axes)) -> Option<[f64; 3]> {
    let ratio = |slot: usize| match (own.1.slots[slot], finest.1.slots[slot]) {
        (Some(at), Some(above)) => {
            let ratio = (own.0.scale_of(at)? / finest.0.scale_of(above)?).abs();
            (ratio.is_finite() && ratio > 0.0).then_some(ratio)
        }
        _ => Some(1.0),
    };
    Some([ratio(2)?, ratio(3)?, ratio(4)?])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::discover::open_image;
    use crate::source::image::ImageSource;
    use crate::source::storage::Memory;

    #[test]
    fn paths_stay_inside_the_store() {
        let inside = |image: &str, path: &str| {
            path_inside(image, path).map(|path| path.to_string_lossy().into_owned())
        };
        for path in ["0", "/0", "0/", "./0", "//0/.", "x/../0"] {
            assert_eq!(inside("a", path).as_deref(), Some("a/0"), "{path}");
        }
        assert_eq!(inside("a/b", "../0").as_deref(), Some("a/0"));
        assert_eq!(inside("a", "../../0"), None);
        assert_eq!(inside("", "../x.zarr/0"), None);
        assert_eq!(inside("", "").as_deref(), Some(""));
    }

    /// An image whose levels have these lengths, along y and x, and scales. A length of 0 stands for an
    /// array that is not there.
    fn image(levels: &[(u64, Option<f64>)]) -> Result<ImageSource, SourceError> {
        let files = Memory::default();
        let write = |path: &str, document: &Value| files.put(path, document.to_string().as_bytes());
        let mut datasets = Vec::new();
        for (number, (length, scale)) in levels.iter().enumerate() {
            let path = number.to_string();
            let array = json!({"zarr_format": 2, "shape": [length, length], "chunks": [8, 8],
                "dtype": "<u2", "compressor": null, "fill_value": 0, "order": "C", "filters": null});
            if *length > 0 {
                write(&format!("{path}/.zarray"), &array);
            }
            let steps = scale.map(|scale| json!([{"type": "scale", "scale": [scale, scale]}]));
            datasets.push(json!({"path": path, "coordinateTransformations": steps}));
        }
        let image = json!({"axes": ["y", "x"], "datasets": datasets});
        write(".zattrs", &json!({"multiscales": [image]}));
        open_image(&SourceRoot::in_memory(files), Path::new(""), "", 0)
    }

    fn paths(levels: &[(u64, Option<f64>)]) -> Vec<String> {
        let image = image(levels).unwrap_or_else(|error| panic!("{levels:?}: {error}"));
        image.levels.iter().map(|level| level.parts()[0].path.to_string()).collect()
    }

    #[test]
    fn the_largest_level_is_the_first_in_whatever_order_they_are_listed() {
        let up = [(8, Some(4.0)), (16, Some(2.0)), (32, Some(1.0))];
        assert_eq!(paths(&up), ["2", "1", "0"]);
        let found = image(&up).expect("an image");
        assert!((found.voxel_um[0] - 1.0).abs() < 1e-9, "{:?}", found.voxel_um);
        assert_eq!(found.levels[2].relative_scale, Some([1.0, 4.0, 4.0]));
        assert!(found.notes.join("; ").contains("another order"), "{:?}", found.notes);
        assert_eq!(paths(&[(16, None), (32, None), (8, None)]), ["1", "0", "2"]);
        // Of one size, the first comes first.
        assert_eq!(paths(&[(32, Some(1.0)), (32, Some(2.0)), (16, Some(4.0))]), ["0", "1", "2"]);
    }

    #[test]
    fn an_image_without_its_finest_level_is_none() {
        for unreadable in [
            &[(0, Some(1.0)), (16, Some(2.0))][..],
            &[(8, Some(4.0)), (16, Some(2.0)), (0, Some(1.0))],
            &[(16, Some(2.0)), (0, Some(1.0))],
            &[(0, None), (16, None), (8, None)],
            &[(8, None), (16, None), (0, None)],
            &[(0, Some(1.0)), (16, Some(1.0))],
            &[(0, None)],
            &[],
        ] {
            assert!(image(unreadable).is_err(), "{unreadable:?}");
        }
        for readable in [
            &[(32, Some(1.0)), (0, Some(2.0)), (8, Some(4.0))][..],
            &[(0, Some(4.0)), (16, Some(2.0)), (32, Some(1.0))],
            &[(0, None), (16, None), (32, None)],
            &[(32, None), (16, None), (0, None)],
        ] {
            let found = image(readable).unwrap_or_else(|error| panic!("{readable:?}: {error}"));
            assert_eq!(found.levels[0].shape()[3..], [32, 32], "{readable:?}");
            assert!(found.notes.join("; ").contains("left out"), "{:?}", found.notes);
        }
    }
}
