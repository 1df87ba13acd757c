//! One image of a store: its levels as arrays, its axes in the order (t, c, z, y, x), and what its
//! metadata says of size, time and channels.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::array::ZarrArray;
use super::convert::SourceType;
use super::facts;
use super::fingerprint::Fingerprint;
use super::geometry::Geometry;
use super::metadata::{ArrayNode, ZarrNode, read_node};
use super::ome::{Axis, LEVELS_LIMIT, Multiscale, Transform};
use super::ome_xml::XmlImage;
use super::root::{SourceRoot, join};
use super::snapshot::{ChunkState, LookBudget, Snapshot, Unfollowed};
use super::{SourceError, Unsupported};

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Measured intensities.
    Image,
    /// Object numbers.
    Label,
}

/// One image, ready to be planned and read.
#[derive(Debug)]
pub struct ImageSource {
    /// Path of the store below the source folder.
    pub store: PathBuf,
    /// Path of the multiscales group, or of the plain array, within the store; empty for its root.
    pub image: String,
    /// Which entry of `multiscales`.
    pub multiscale: usize,
    /// What the image is for.
    pub role: Role,
    /// Name from the metadata.
    pub name: Option<String>,
    /// Description from the metadata.
    pub description: Option<String>,
    /// Levels with the same type, time points and channels; finest first, never empty.
    pub levels: Vec<LevelSource>,
    /// Edge of a voxel of level 0 in micrometres, order (x, y, z).
    pub voxel_um: [f64; 3],
    /// Translation of level 0 in micrometres, order (x, y, z).
    pub origin_um: [f64; 3],
    /// Axes with a scale and no unit, order (x, y, z): micrometres are a guess.
    pub lacks_unit: [bool; 3],
    /// Time of the first time point, in milliseconds since 1970-01-01 UTC, where stated.
    pub acquired_ms: Option<i64>,
    /// Interval between time points in seconds, where stated.
    pub time_step_s: Option<f64>,
    /// Display settings, as many as the metadata lists.
    pub channels: Vec<ChannelSource>,
    /// Facts about the image with the names Imaris has for them, such as `LensPower`.
    pub details: Vec<(String, String)>,
    /// Other metadata worth keeping, as text: sections of keys and values.
    pub sections: Vec<Section>,
    /// What was left out or assumed, one line each, for the log.
    pub notes: Vec<String>,
    /// State of the metadata files all this was read from.
    pub fingerprint: Fingerprint,
}

/// Where the metadata of an image lies, and what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Path of the store below the source folder.
    pub(crate) store: &'a Path,
    /// Path of the multiscales group within the store.
    pub(crate) image: &'a str,
    /// Which entry of `multiscales`.
    pub(crate) multiscale: usize,
    pub(crate) role: Role,
}

/// What else is known of an image.
#[derive(Debug)]
pub(crate) struct About<'a> {
    /// Attributes of its group.
    pub(crate) attributes: &'a Map<String, Value>,
    /// What the OME-XML of the store says.
    pub(crate) xml: Option<XmlImage>,
}

/// A group of text: its name, and its keys and values.
pub type Section = (String, Vec<(String, String)>);

/// Display settings of one channel; `None` where the metadata states nothing usable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChannelSource {
    /// Label.
    pub name: Option<String>,
    /// Red, green, blue.
    pub color: Option<[u8; 3]>,
    /// Display window (start, end), finite and increasing.
    pub window: Option<(f64, f64)>,
    /// Facts about the channel with the names Imaris has for them.
    pub details: Vec<(String, String)>,
}

/// One resolution level of a store.
#[derive(Debug, Clone)]
pub struct LevelSource {
    /// The voxels.
    pub array: Arc<ZarrArray>,
    /// Which dimension of the array is t, c, z, y, x; `None`: the axis has length one.
    pub axes: [Option<usize>; 5],
    /// Path of the array within the store.
    pub path: String,
    /// Scale relative to level 0, order (z, y, x), where stated.
    pub relative_scale: Option<[f64; 3]>,
}

impl LevelSource {
    fn new(mut array: ZarrArray, axes: [Option<usize>; 5], path: String) -> Self {
        let shared = |axis: Option<usize>| axis.is_some_and(|axis| array.unit_shape()[axis] > 1);
        if shared(axes[0]) || shared(axes[1]) {
            array.remember_units();
        }
        Self { array: Arc::new(array), axes, path, relative_scale: None }
    }

    /// Lengths in voxels, order (t, c, z, y, x).
    #[must_use]
    pub fn shape(&self) -> [u64; 5] {
        self.axes.map(|axis| axis.map_or(1, |axis| self.array.shape()[axis]))
    }

    /// Shape of a read unit in voxels, order (t, c, z, y, x).
    #[must_use]
    pub fn unit_shape(&self) -> [u64; 5] {
        self.axes.map(|axis| axis.map_or(1, |axis| self.array.unit_shape()[axis]))
    }

    /// Distance in voxels, within a decoded read unit, between neighbours along (t, c, z, y, x).
    #[must_use]
    pub fn unit_strides(&self) -> [u64; 5] {
        let shape = self.array.unit_shape();
        self.axes.map(|axis| axis.map_or(0, |axis| shape[axis + 1..].iter().product()))
    }

    /// Position of a unit for [`ZarrArray::read_unit`] from its position along (t, c, z, y, x).
    #[must_use]
    pub fn unit_position(&self, tczyx: [u64; 5]) -> Vec<u64> {
        let mut position = vec![0; self.array.shape().len()];
        for (axis, at) in self.axes.iter().zip(tczyx) {
            if let Some(axis) = *axis {
                position[axis] = at;
            }
        }
        position
    }
}

impl ImageSource {
    /// Path of the multiscales group, or of the plain array, below the source folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        join(&self.store, Path::new(&self.image))
    }

    /// Type of the stored voxels.
    #[must_use]
    pub fn source_type(&self) -> SourceType {
        self.levels[0].array.source_type()
    }

    /// A chunk of each level, by its path below the source folder.
    pub fn samples(&self) -> impl Iterator<Item = PathBuf> {
        self.levels.iter().map(|level| level.array.folder().join(level.array.first_chunk()))
    }

    /// Looks at the chunk files of all levels as they are now, and keeps to what was found: from then
    /// on, chunks are given as they were, or not at all.
    ///
    /// # Errors
    /// [`Unfollowed`] where there are too many to look at, or some cannot be looked at.
    pub fn keep_to_chunks(&self) -> Result<ChunkState, Unfollowed> {
        let mut snapshots = self.look()?;
        let mut state = ChunkState::of(snapshots.iter());
        if let Some(time) = state.settles_soon() {
            // The store was written just now. A moment later its state is one that is found again.
            std::thread::sleep(time);
            snapshots = self.look()?;
            state = ChunkState::of(snapshots.iter());
        }
        for (level, snapshot) in self.levels.iter().zip(snapshots) {
            level.array.keep_to(snapshot);
        }
        Ok(state)
    }

    /// The state of the chunk files of all levels, as [`ImageSource::keep_to_chunks`] tells it.
    ///
    /// # Errors
    /// As for [`ImageSource::keep_to_chunks`].
    pub fn chunk_state(&self) -> Result<ChunkState, Unfollowed> {
        Ok(ChunkState::of(self.look()?.iter()))
    }

    fn look(&self) -> Result<Vec<Snapshot>, Unfollowed> {
        let mut budget = LookBudget::new();
        self.levels.iter().map(|level| level.array.look(&mut budget)).collect()
    }

    /// An array without OME metadata: one level, 1 um voxels.
    ///
    /// # Errors
    /// [`SourceError`] when it is not an image.
    pub(crate) fn from_array(
        root: &Arc<SourceRoot>,
        store: &Path,
        image: &str,
        node: &ArrayNode,
        fingerprint: Fingerprint,
    ) -> Result<Self, SourceError> {
        let folder = join(store, Path::new(image));
        let array = ZarrArray::open(root, &folder, node)?;
        let dimensions = array.shape().len();
        let named =
            node.dimension_names().filter(|names| names.len() == dimensions).and_then(|names| {
                let axes: Vec<Axis> =
                    names.into_iter().map(|name| Axis { name, ..Axis::default() }).collect();
                map_axes(&axes, array.shape()).ok()
            });
        let axes = match named {
            Some(axes) => axes,
            None => {
                positional_axes(dimensions).map_err(|e| SourceError::unsupported(&folder, e))?
            }
        };
        let level = LevelSource::new(array, axes, image.to_owned());
        let mut source = Self {
            store: store.to_path_buf(),
            image: image.to_owned(),
            multiscale: 0,
            role: Role::Image,
            name: None,
            description: None,
            levels: vec![level],
            voxel_um: [1.0; 3],
            origin_um: [0.0; 3],
            lacks_unit: [false; 3],
            acquired_ms: None,
            time_step_s: None,
            channels: Vec::new(),
            details: Vec::new(),
            sections: Vec::new(),
            notes: Vec::new(),
            fingerprint,
        };
        facts::describe(&mut source, &node.attributes, None);
        Ok(source)
    }

    /// One entry of `multiscales`. Levels that cannot be used are left out and noted. The files
    /// looked at are recorded in `fingerprint`, also where there is no image in the end.
    ///
    /// # Errors
    /// [`SourceError`] when the first level cannot be read or is not an image.
    pub(crate) fn from_multiscale(
        root: &Arc<SourceRoot>,
        &Place { store, image, multiscale: index, role }: &Place<'_>,
        multiscale: &Multiscale,
        about: About<'_>,
        fingerprint: &mut Fingerprint,
    ) -> Result<Self, SourceError> {
        let group = join(store, Path::new(image));
        let mut notes = Vec::new();
        let mut levels: Vec<LevelSource> = Vec::new();
        let mut finest: Option<&Transform> = None;
        for dataset in &multiscale.datasets {
            let opened = open_level(root, store, image, &dataset.path, fingerprint).and_then(
                |(path, array)| {
                    let axes = level_axes(multiscale, array.shape())
                        .map_err(|reason| SourceError::unsupported(&group, reason))?;
                    Ok(LevelSource::new(array, axes, path))
                },
            );
            let mut level = match opened {
                Ok(level) => level,
                // Without its finest level an image would lie about its size; and what cannot be read now
                // may be there at the next look, when the image would be another one.
                Err(error) if levels.is_empty() || error.is_fault() => return Err(error),
                Err(error) => {
                    notes.push(format!("level {:?} left out: {error}", dataset.path));
                    continue;
                }
            };
            if let (Some(first), Some(transform)) = (levels.first(), finest) {
                if let Err(reason) = fits(first, levels.last().unwrap_or(first), &level) {
                    notes.push(format!("level {:?} left out: {reason}", dataset.path));
                    continue;
                }
                level.relative_scale = relative_scale(transform, &dataset.transform, &level.axes);
            } else {
                finest = Some(&dataset.transform);
            }
            levels.push(level);
        }
        let (Some(first), Some(transform)) = (levels.first(), finest) else {
            let names = multiscale.datasets.len();
            let reason = Unsupported::NoLevel(format!("{names} datasets listed"));
            return Err(SourceError::unsupported(group, reason));
        };
        if multiscale.left_out > 0 {
            notes.push(format!(
                "{} levels beyond the first {LEVELS_LIMIT} left out",
                multiscale.left_out
            ));
        }
        if transform.simplified {
            notes.push("rotation or shear of the image is not applied".to_owned());
        }
        let geometry = Geometry::new(multiscale, first.axes, transform, &mut notes);
        let channels = channels(multiscale, &mut notes);
        if multiscale.name.as_ref().is_some_and(|name| name.len() > NAME_LIMIT_BYTES) {
            notes.push(format!("name is cut to {NAME_LIMIT_BYTES} bytes"));
        }
        let mut source = Self {
            store: store.to_path_buf(),
            image: image.to_owned(),
            multiscale: index,
            role,
            name: multiscale.name.clone(),
            description: None,
            voxel_um: geometry.voxel_um,
            origin_um: geometry.origin_um,
            lacks_unit: geometry.lacks_unit,
            time_step_s: geometry.time_step_s,
            acquired_ms: None,
            details: Vec::new(),
            sections: Vec::new(),
            channels,
            levels,
            notes,
            fingerprint: fingerprint.clone(),
        };
        facts::describe(&mut source, about.attributes, about.xml);
        Ok(source)
    }
}

/// Longest name that is shown whole.
pub(crate) const NAME_LIMIT_BYTES: usize = 1024;

/// The display settings, and a note on each that is of no use.
fn channels(multiscale: &Multiscale, notes: &mut Vec<String>) -> Vec<ChannelSource> {
    for (c, channel) in multiscale.channels.iter().enumerate() {
        for member in &channel.unusable {
            notes.push(format!("{member} of channel {c} is not usable; replaced"));
        }
        if channel.label.as_ref().is_some_and(|label| label.len() > NAME_LIMIT_BYTES) {
            notes.push(format!("label of channel {c} is cut to {NAME_LIMIT_BYTES} bytes"));
        }
    }
    let channels = multiscale.channels.iter().map(|channel| ChannelSource {
        name: channel.label.clone(),
        color: channel.color,
        window: channel.window,
        details: channel.details.clone(),
    });
    channels.collect()
}

/// Opens the array of a level; the path may not leave the store.
fn open_level(
    root: &Arc<SourceRoot>,
    store: &Path,
    image: &str,
    path: &str,
    fingerprint: &mut Fingerprint,
) -> Result<(String, ZarrArray), SourceError> {
    let mut inside = PathBuf::from(image);
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                let reason = Unsupported::PathEscapes(path.to_owned());
                return Err(SourceError::unsupported(join(store, Path::new(image)), reason));
            }
        }
    }
    let folder = join(store, &inside);
    match read_node(root, &folder, fingerprint)? {
        Some(ZarrNode::Array(node)) => {
            let array = ZarrArray::open(root, &folder, &node)?;
            Ok((inside.to_string_lossy().into_owned(), array))
        }
        Some(ZarrNode::Group(_)) | None => {
            let reason = Unsupported::NoLevel(format!("no array at {path:?}"));
            Err(SourceError::unsupported(folder, reason))
        }
    }
}

/// Whether a coarser level belongs to the same image.
fn fits(finest: &LevelSource, above: &LevelSource, level: &LevelSource) -> Result<(), String> {
    if level.array.source_type() != finest.array.source_type() {
        return Err("another data type than the finest level".to_owned());
    }
    let (shape, before) = (level.shape(), above.shape());
    if shape[..2] != before[..2] {
        return Err(format!("{} time points and {} channels", shape[0], shape[1]));
    }
    if shape[2..].iter().zip(&before[2..]).any(|(own, above)| own > above) {
        return Err("larger than the level above".to_owned());
    }
    Ok(())
}

fn relative_scale(
    finest: &Transform,
    own: &Transform,
    axes: &[Option<usize>; 5],
) -> Option<[f64; 3]> {
    let ratio = |axis: Option<usize>| match axis {
        None => Some(1.0),
        Some(axis) => {
            let ratio = own.scale_of(axis)? / finest.scale_of(axis)?;
            (ratio.is_finite() && ratio > 0.0).then_some(ratio)
        }
    };
    Some([ratio(axes[2])?, ratio(axes[3])?, ratio(axes[4])?])
}

fn level_axes(multiscale: &Multiscale, shape: &[u64]) -> Result<[Option<usize>; 5], Unsupported> {
    match &multiscale.axes {
        Some(axes) if axes.len() == shape.len() => map_axes(axes, shape),
        Some(axes) => Err(Unsupported::AxesMismatch { axes: axes.len(), dimensions: shape.len() }),
        None => positional_axes(shape.len()),
    }
}

/// Finds t, c, z, y, x by name, then by type. An axis of another name is dropped if it has length
/// one, and is the channel axis if there is no other.
fn map_axes(axes: &[Axis], shape: &[u64]) -> Result<[Option<usize>; 5], Unsupported> {
    let by_name = |axis: &Axis| {
        Some(match axis.name.to_lowercase().as_str() {
            "t" | "time" => 0,
            "c" | "ch" | "channel" | "channels" => 1,
            "z" => 2,
            "y" => 3,
            "x" => 4,
            _ => return None,
        })
    };
    let mut mapped = [None; 5];
    let mut unnamed = Vec::new();
    for (at, axis) in axes.iter().enumerate() {
        match by_name(axis) {
            Some(slot) if mapped[slot].is_none() => mapped[slot] = Some(at),
            Some(_) => return Err(Unsupported::DuplicateAxis(axis.name.clone())),
            None => unnamed.push(at),
        }
    }
    // Space axes without usable names fill z, y, x from the back, in their order.
    let is_kind = |at: &usize, kind: &str| axes[*at].kind.as_deref() == Some(kind);
    let spaces: Vec<usize> = unnamed.iter().copied().filter(|at| is_kind(at, "space")).collect();
    let free: Vec<usize> = (2..5).filter(|&slot| mapped[slot].is_none()).collect();
    if spaces.len() <= free.len() {
        for (slot, at) in free.into_iter().rev().zip(spaces.into_iter().rev()) {
            mapped[slot] = Some(at);
        }
    }
    for at in unnamed {
        if mapped.contains(&Some(at)) {
            continue;
        }
        let slot = usize::from(!is_kind(&at, "time"));
        if shape[at] == 1 {
            // Nothing is lost.
        } else if mapped[slot].is_none() {
            mapped[slot] = Some(at);
        } else {
            return Err(Unsupported::UnknownAxis(axes[at].name.clone()));
        }
    }
    if mapped[3].is_none() || mapped[4].is_none() {
        return Err(Unsupported::Member("y and x axes"));
    }
    Ok(mapped)
}

/// Arrays without usable names: yx, zyx, czyx, tczyx.
fn positional_axes(dimensions: usize) -> Result<[Option<usize>; 5], Unsupported> {
    Ok(match dimensions {
        2 => [None, None, None, Some(0), Some(1)],
        3 => [None, None, Some(0), Some(1), Some(2)],
        4 => [None, Some(0), Some(1), Some(2), Some(3)],
        5 => [Some(0), Some(1), Some(2), Some(3), Some(4)],
        other => return Err(Unsupported::Dimensions(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(names: &[&str]) -> Vec<Axis> {
        names.iter().map(|name| Axis { name: (*name).to_owned(), ..Axis::default() }).collect()
    }

    #[test]
    fn names_in_any_order_and_case() {
        let found = map_axes(&axes(&["C", "x", "Y", "z"]), &[2, 9, 8, 7]);
        assert_eq!(found, Ok([None, Some(0), Some(3), Some(2), Some(1)]));
        let twice = map_axes(&axes(&["y", "y", "x"]), &[2, 2, 2]);
        assert_eq!(twice, Err(Unsupported::DuplicateAxis("y".into())));
    }

    #[test]
    fn other_axes_are_dropped_or_become_channels() {
        assert_eq!(
            map_axes(&axes(&["s", "y", "x"]), &[1, 8, 9]),
            Ok([None, None, None, Some(1), Some(2)])
        );
        assert_eq!(
            map_axes(&axes(&["angle", "y", "x"]), &[4, 8, 9]),
            Ok([None, Some(0), None, Some(1), Some(2)])
        );
        assert_eq!(
            map_axes(&axes(&["angle", "c", "y", "x"]), &[4, 2, 8, 9]),
            Err(Unsupported::UnknownAxis("angle".into()))
        );
    }

    #[test]
    fn types_decide_where_names_do_not() {
        let space =
            |name: &str| Axis { name: name.to_owned(), kind: Some("space".to_owned()), unit: None };
        let named = [space("depth"), space("height"), space("width")];
        assert_eq!(map_axes(&named, &[5, 6, 7]), Ok([None, None, Some(0), Some(1), Some(2)]));
    }
}
