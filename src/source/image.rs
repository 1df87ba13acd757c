//! One image of a store: its levels as arrays, its axes in the order (t, c, z, y, x), and what its
//! metadata says of size, time and channels.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::array::ZarrArray;
use super::axes::Axes;
use super::convert::SourceType;
use super::fingerprint::Fingerprint;
use super::geometry::{Geometry, Stated};
use super::level::{Levels, axis_names};
use super::metadata::ArrayNode;
use super::ome::{self, Multiscale};
use super::ome_xml::XmlImage;
use super::omero::Omero;
use super::root::{SourceRoot, join};
use super::snapshot::{ChunkState, LookBudget, Snapshot, Unfollowed};
use super::transform::Transform;
use super::{SourceError, conventions, display, facts};

pub use super::level::LevelSource;

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
    /// Axes along which voxels are stored backwards, order (x, y, z): they are shown as stored.
    pub is_flipped: [bool; 3],
    /// Time of the first time point, in milliseconds since 1970-01-01 UTC, where stated.
    pub acquired_ms: Option<i64>,
    /// Interval between time points in seconds, where stated.
    pub time_step_s: Option<f64>,
    /// Seconds from the acquisition to each time point, where each is stated; they increase by a
    /// millisecond at least.
    pub times_s: Option<Vec<f64>>,
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

    /// Whether no chunk file was added, deleted or replaced since [`ImageSource::keep_to_chunks`], as far as
    /// their folders tell.
    #[must_use]
    pub fn has_same_folders(&self) -> bool {
        self.levels.iter().all(|level| level.array.has_same_folders())
    }

    fn look(&self) -> Result<Vec<Snapshot>, Unfollowed> {
        let mut budget = LookBudget::new();
        self.levels.iter().map(|level| level.array.look(&mut budget)).collect()
    }

    /// An array by itself: one level. Attributes that name the array as an image (`multiscales` with the
    /// path `.`) are those of the image.
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
        let mut notes = Vec::new();
        let own = ome::own_multiscale(&node.attributes);
        let (multiscale, dataset) = own.map_or_else(Default::default, |(multiscale, at)| {
            let dataset = multiscale.datasets[at].clone();
            (multiscale, dataset)
        });
        let stated = multiscale.axes.as_deref().and_then(|stated| {
            let axes = Axes::stated(stated, array.shape());
            axes.map_err(|reason| notes.push(format!("axes are not used: {reason}"))).ok()
        });
        let axes = match stated {
            Some(axes) => axes,
            None => Axes::of_array(axis_names(node), array.shape())
                .map_err(|reason| SourceError::unsupported(&folder, reason))?,
        };
        let transform = multiscale.transform(&dataset, &axes);
        let sources = vec![LevelSource::new(array, axes.slots, image.to_owned())];
        let levels = Levels { sources, axes, transform, attributes: node.attributes.clone() };
        let place = Place { store, image, multiscale: 0, role: Role::Image };
        let about = About { attributes: &node.attributes, xml: None };
        Ok(Self::assemble(&place, &multiscale, levels, about, fingerprint, notes))
    }

    /// One entry of `multiscales`. Levels that cannot be used are left out and noted. The files
    /// looked at are recorded in `fingerprint`, also where there is no image in the end.
    ///
    /// # Errors
    /// [`SourceError`] when the finest level cannot be read or is not an image.
    pub(crate) fn from_multiscale(
        root: &Arc<SourceRoot>,
        place: &Place<'_>,
        multiscale: &Multiscale,
        about: About<'_>,
        fingerprint: &mut Fingerprint,
    ) -> Result<Self, SourceError> {
        let mut notes = Vec::new();
        let levels = Levels::open(root, place, multiscale, fingerprint, &mut notes)?;
        Ok(Self::assemble(place, multiscale, levels, about, fingerprint.clone(), notes))
    }

    /// Puts together what the levels are and what is stated of them.
    fn assemble(
        &Place { store, image, multiscale: index, role }: &Place<'_>,
        multiscale: &Multiscale,
        levels: Levels,
        about: About<'_>,
        fingerprint: Fingerprint,
        mut notes: Vec<String>,
    ) -> Self {
        let Levels { sources: levels, axes, transform, attributes } = levels;
        let [time_points, _, _, y, x] = levels[0].shape();
        let xml = about.xml.filter(|xml| !xml.must_fit || xml.pixels.size_xy == [Some(x), Some(y)]);
        if transform.simplified {
            notes.push("rotation or shear of the image is not applied".to_owned());
        }
        let otherwise =
            stated_otherwise([&attributes, about.attributes], &axes, &transform, &mut notes);
        let stated = Stated {
            axes: &axes,
            transform: &transform,
            convention: otherwise.as_ref(),
            xml: xml.as_ref().map(|xml| &xml.pixels),
            time_points,
        };
        let geometry = Geometry::new(&stated, &mut notes);
        let omero = if multiscale.omero == Omero::default() {
            Omero::find([&attributes])
        } else {
            multiscale.omero.clone()
        };
        let channels = channels(&omero, &mut notes);
        if multiscale.name.as_ref().is_some_and(|name| name.len() > NAME_LIMIT_BYTES) {
            notes.push(format!("name is cut to {NAME_LIMIT_BYTES} bytes"));
        }
        let samples = xml.as_ref().and_then(XmlImage::samples);
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
            is_flipped: geometry.is_flipped,
            time_step_s: geometry.time_step_s,
            times_s: geometry.times_s,
            acquired_ms: None,
            details: Vec::new(),
            sections: Vec::new(),
            channels,
            levels,
            notes,
            fingerprint,
        };
        facts::describe(&mut source, about.attributes, xml);
        display::decide(&mut source, &axes, omero.is_greyscale, samples);
        source
    }
}

/// What another convention than OME-NGFF states, in the first of several attributes.
fn stated_otherwise(
    places: [&Map<String, Value>; 2],
    axes: &Axes,
    transform: &Transform,
    notes: &mut Vec<String>,
) -> Option<conventions::Convention> {
    let is_complete = axes.space().into_iter().all(|at| {
        let scale = transform.scale_of(at);
        scale.is_some_and(|scale| (scale.abs() - 1.0).abs() > f64::EPSILON)
    });
    if is_complete {
        return None;
    }
    places.into_iter().find_map(|attributes| conventions::find(attributes, axes, notes))
}

/// Longest name that is shown whole.
pub(crate) const NAME_LIMIT_BYTES: usize = 1024;

/// The display settings, and a note on each that is of no use.
fn channels(omero: &Omero, notes: &mut Vec<String>) -> Vec<ChannelSource> {
    for (c, channel) in omero.channels.iter().enumerate() {
        for member in &channel.unusable {
            notes.push(format!("{member} of channel {c} is not usable; replaced"));
        }
        if channel.is_off {
            notes.push(format!("channel {c} is switched off (\"active\" is false), and shown"));
        }
        if channel.label.as_ref().is_some_and(|label| label.len() > NAME_LIMIT_BYTES) {
            notes.push(format!("label of channel {c} is cut to {NAME_LIMIT_BYTES} bytes"));
        }
    }
    let channels = omero.channels.iter().map(|channel| ChannelSource {
        name: channel.label.clone(),
        color: channel.color,
        window: channel.window,
        details: channel.details.clone(),
    });
    channels.collect()
}
