//! Puts an image together from its levels and from all that the metadata states.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::above::Said;
use super::array::ZarrArray;
use super::axes::Axes;
use super::conventions::Convention;
use super::error::SourceError;
use super::facts::{self, Facts, Microscope, Provenance, TEXT_LIMIT_BYTES};
use super::fingerprint::Fingerprint;
use super::geometry::{Geometry, Stated};
use super::image::{ChannelSource, ImageSource, LevelSource, NAME_LIMIT_BYTES};
use super::level::{Levels, axis_names};
use super::metadata::ArrayNode;
use super::ome::{self, Multiscale};
use super::ome_xml::{XmlChannel, XmlImage};
use super::omero::Omero;
use super::place::Place;
use super::root::{SourceRoot, join};
use super::title::Title;
use super::transform::Transform;
use super::{conventions, coordinates, display};

/// What else is known of an image.
#[derive(Debug)]
pub(crate) struct About<'a> {
    /// Attributes of its group.
    pub(crate) attributes: &'a Map<String, Value>,
    /// What the OME-XML of the store says.
    pub(crate) xml: Option<XmlImage>,
    /// What the groups above it say.
    pub(crate) above: Said,
    /// What the arrays beside it say, where it states nothing itself.
    pub(crate) beside: Option<Convention>,
}

impl ImageSource {
    /// An array by itself: one level. Attributes that name the array as an image (`multiscales` with the
    /// path `.`) are those of the image.
    ///
    /// # Errors
    /// [`SourceError`] when it is not an image.
    pub(crate) fn from_array(
        root: &Arc<SourceRoot>,
        place: &Place<'_>,
        node: &ArrayNode,
        mut fingerprint: Fingerprint,
    ) -> Result<Self, SourceError> {
        let folder = join(place.store, Path::new(place.image));
        let array = ZarrArray::open(root, &folder, node)?;
        let mut notes = Vec::new();
        let own = ome::own_multiscale(&node.attributes);
        let (multiscale, dataset) = own.map_or_else(Default::default, |(multiscale, at)| {
            let dataset = multiscale.datasets[at].clone();
            (multiscale, dataset)
        });
        let stored = multiscale.stored_axes(&dataset);
        let by_hand = place.axes.map(|said| {
            let axes = Axes::by_hand(said, stored.as_deref(), array.shape());
            axes.map_err(|reason| SourceError::unsupported(&folder, reason))
        });
        let stated = stored.and_then(|stored| {
            let axes = Axes::stated(&stored, array.shape());
            axes.map_err(|reason| notes.push(format!("axes are not used: {reason}"))).ok()
        });
        // Where each dimension has a length, all are dimensions of space.
        let is_color =
            node.is_color() && !conventions::has_lengths(&node.attributes, array.shape().len());
        let axes = match (by_hand, stated) {
            (Some(axes), _) => axes?,
            (None, Some(axes)) => axes,
            (None, None) => Axes::of_array(axis_names(node), array.shape(), is_color)
                .map_err(|reason| SourceError::unsupported(&folder, reason))?,
        };
        let transform = multiscale.transform(&dataset, &axes);
        let is_told = transform.is_scaled()
            || axis_names(node).is_none()
            || conventions::find(&node.attributes, &axes, &mut Vec::new()).is_some();
        let beside = (!is_told).then(|| {
            coordinates::find(root, &folder, &axes, array.shape(), &mut fingerprint, &mut notes)
        });
        let sources = vec![LevelSource::new(array, axes.slots, place.image)];
        let levels = Levels { sources, axes, transform, attributes: node.attributes.clone() };
        let (above, beside) = (Said::default(), beside.flatten());
        let about = About { attributes: &node.attributes, xml: None, above, beside };
        Ok(Self::assemble(place, &multiscale, levels, about, fingerprint, notes))
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
        let placed = about.above.place.as_ref().map(|place| multiscale.placed(place));
        let multiscale = placed.as_ref().unwrap_or(multiscale);
        let mut notes = multiscale.notes.clone();
        let levels = Levels::open(root, place, multiscale, fingerprint, &mut notes)?;
        Ok(Self::assemble(place, multiscale, levels, about, fingerprint.clone(), notes))
    }

    /// Puts the image together from its levels and from the statements of the metadata.
    fn assemble(
        &Place { store, image, multiscale: index, role, axes: _ }: &Place<'_>,
        multiscale: &Multiscale,
        levels: Levels,
        about: About<'_>,
        fingerprint: Fingerprint,
        mut notes: Vec<String>,
    ) -> Self {
        let Levels { sources: levels, axes, transform, attributes } = levels;
        let [time_points, _, _, y, x] = levels[0].shape();
        let xml = about.xml.filter(|xml| !xml.must_fit || xml.pixels.size_xy == [Some(x), Some(y)]);
        notes.extend(transform.left_out.clone());
        let otherwise =
            stated_otherwise([&attributes, about.attributes], &axes, &transform, &mut notes)
                .or(about.beside);
        let stated = Stated {
            axes: &axes,
            transform: &transform,
            convention: otherwise.as_ref(),
            xml: xml.as_ref().map(|xml| &xml.pixels),
            time_points,
        };
        let geometry = Geometry::new(&stated, &mut notes);
        let omero = omero(multiscale, &attributes);
        let channels = channels(&omero, &mut notes);
        let name = about.above.name.as_ref().or(multiscale.name.as_ref());
        if name.is_some_and(|name| name.len() > NAME_LIMIT_BYTES) {
            notes.push(format!("name is cut to {NAME_LIMIT_BYTES} bytes"));
        }
        let samples = xml.as_ref().and_then(XmlImage::samples);
        let mut source = Self {
            store: store.to_path_buf(),
            image: image.to_owned(),
            multiscale: index,
            others: Vec::new(),
            role,
            name: about.above.name.or_else(|| multiscale.name.clone()),
            title: None,
            description: None,
            voxel_um: geometry.voxel_um,
            origin_um: geometry.origin_um,
            lacks_unit: geometry.lacks_unit,
            is_flipped: geometry.is_flipped,
            time_step_s: geometry.time_step_s,
            times_s: geometry.times_s,
            acquired_ms: None,
            microscope: Microscope::default(),
            provenance: Provenance::default(),
            facts: Vec::new(),
            channels,
            levels,
            notes,
            fingerprint,
        };
        describe(&mut source, about.attributes, xml);
        display::decide(&mut source, &axes, omero.is_greyscale, samples);
        source
    }
}

/// The member `omero` of the image, else that of its finest level.
fn omero(multiscale: &Multiscale, attributes: &Map<String, Value>) -> Omero {
    match &multiscale.omero {
        none if *none == Omero::default() => Omero::find([attributes]),
        stated => stated.clone(),
    }
}

/// Adds to an image what its attributes and its OME-XML say.
fn describe(image: &mut ImageSource, attributes: &Map<String, Value>, xml: Option<XmlImage>) {
    image.provenance = Provenance::new(image.multiscale, attributes);
    let mut collected = Facts::default();
    if let Some(xml) = xml {
        add_xml(image, &mut collected, xml);
    }
    collected.add_attributes(attributes);
    image.facts = collected.into_list();
}

fn add_xml(image: &mut ImageSource, collected: &mut Facts, xml: XmlImage) {
    image.title = xml.title.map(Title::Series);
    image.name = image.name.take().or(xml.name);
    image.description = xml.description.map(|text| facts::cut(&text, TEXT_LIMIT_BYTES).to_owned());
    image.acquired_ms = xml.acquired_ms;
    image.microscope = Microscope {
        lens_power: xml.lens_power,
        numerical_aperture: xml.numerical_aperture,
        manufacturer: xml.manufacturer,
        model: xml.model,
    };
    collected.add_parts(None, xml.facts);
    let [_, channels, ..] = image.levels[0].shape();
    // Where one channel stands for several samples, the XML does not say which is which.
    if xml.channels.len() as u64 == channels {
        image.channels.resize_with(xml.channels.len(), ChannelSource::default);
        for (c, (channel, xml)) in image.channels.iter_mut().zip(xml.channels).enumerate() {
            add_channel(channel, collected, c, xml);
        }
    }
}

fn add_channel(channel: &mut ChannelSource, collected: &mut Facts, c: usize, xml: XmlChannel) {
    channel.name = channel.name.take().or(xml.name).or(xml.fluor);
    channel.color = channel.color.or(xml.color);
    channel.emission_nm = channel.emission_nm.or(xml.emission_nm);
    channel.excitation_nm = channel.excitation_nm.or(xml.excitation_nm);
    channel.pinhole_um = xml.pinhole_um;
    channel.acquisition_mode = xml.acquisition_mode;
    collected.add_parts(Some(c), xml.facts);
}

/// What another convention than OME-NGFF states, in the first of several attributes.
fn stated_otherwise(
    places: [&Map<String, Value>; 2],
    axes: &Axes,
    transform: &Transform,
    notes: &mut Vec<String>,
) -> Option<Convention> {
    let is_complete = axes.space().into_iter().all(|at| {
        let scale = transform.scale_of(at);
        scale.is_some_and(|scale| (scale.abs() - 1.0).abs() > f64::EPSILON)
    });
    if is_complete {
        return None;
    }
    places.into_iter().find_map(|attributes| conventions::find(attributes, axes, notes))
}

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
        emission_nm: channel.emission_nm,
        excitation_nm: channel.excitation_nm,
        ..ChannelSource::default()
    });
    channels.collect()
}
