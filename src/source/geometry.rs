//! Voxel size, place and times of an image, from all statements of the metadata. Unusable statements are
//! replaced and noted; they never stop an image.
//!
//! Each axis takes the first that is stated of: the transforms of OME-NGFF, another convention
//! ([`super::conventions`]), the OME-XML. A scale of 1 without a unit states nothing: writers put it
//! where they do not know (OME-NGFF 0.4, "multiscales": "the scaling factor ... MUST be 1.0" then).
//!
//! Time points have the times of their planes in the OME-XML, where these increase and do not contradict an
//! interval that is stated.

use super::axes::Axes;
use super::conventions::Convention;
use super::ome_xml::XmlPixels;
use super::transform::Transform;
use super::units::{self, Unit};

/// Voxel edges taken at their word: from a picometre to a kilometre.
const VOXEL_RANGE_UM: std::ops::RangeInclusive<f64> = 1e-6..=1e9;

/// Characters of an unknown unit that a note quotes.
const QUOTED_CHARS: usize = 40;

/// Latest time of a plane, in seconds, that is taken at its word: a century.
const LATEST_S: f64 = 3.2e9;

/// Times of planes may differ from a stated interval by this part of it: acquisition is not that regular.
const TIME_TOLERANCE: f64 = 0.25;

/// Names of the axes of space in the order (x, y, z), and their places in (t, c, z, y, x).
const SPACE: [(char, usize); 3] = [('x', 4), ('y', 3), ('z', 2)];

/// Statements of the metadata about the place and time of voxels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stated<'a> {
    pub(super) axes: &'a Axes,
    /// Of OME-NGFF, of the finest level.
    pub(super) transform: &'a Transform,
    pub(super) convention: Option<&'a Convention>,
    pub(super) xml: Option<&'a XmlPixels>,
    pub(super) time_points: u64,
}

/// Lengths in the order (x, y, z).
#[derive(Debug)]
pub(super) struct Geometry {
    /// Edge of a voxel in micrometres.
    pub(super) voxel_um: [f64; 3],
    /// Translation in micrometres.
    pub(super) origin_um: [f64; 3],
    /// Axes with a scale and no unit: micrometres are a guess.
    pub(super) lacks_unit: [bool; 3],
    /// Axes along which voxels are stored backwards, as their scale is negative.
    pub(super) is_flipped: [bool; 3],
    /// Interval between time points in seconds, where stated.
    pub(super) time_step_s: Option<f64>,
    /// Seconds from the acquisition date to each time point, where stated.
    pub(super) times_s: Option<Vec<f64>>,
}

/// Statements of the metadata about one axis.
#[derive(Debug, Clone, Copy)]
struct Measure<'a> {
    scale: Option<f64>,
    translation: Option<f64>,
    unit: Option<&'a str>,
}

impl Geometry {
    pub(super) fn new(stated: &Stated<'_>, notes: &mut Vec<String>) -> Self {
        let mut found = Self {
            voxel_um: [1.0; 3],
            origin_um: [0.0; 3],
            lacks_unit: [false; 3],
            is_flipped: [false; 3],
            time_step_s: None,
            times_s: None,
        };
        let assumed = [Some(stated.transform), stated.convention.map(|c| &c.transform)];
        notes.extend(assumed.into_iter().flatten().filter_map(|t| t.assumed.clone()));
        let mut from_xml = String::new();
        let mut from_convention = String::new();
        for (slot, (name, axis)) in SPACE.into_iter().enumerate() {
            let own = stated.axes.slots[axis].map(|at| stated.own(at));
            let other = stated.axes.slots[axis].and_then(|at| stated.other(at));
            match (own.filter(|own| own.is_stated(units::length)), other) {
                (Some(own), _) => found.add_axis(slot, own, notes),
                (None, Some(other)) => {
                    found.add_axis(slot, other, notes);
                    from_convention.push(name);
                }
                (None, None) => {
                    // Of an axis that the array does not have, the size is known nevertheless.
                    let size = stated.xml.and_then(|xml| xml.voxel_um[slot]);
                    if let Some(own) = own {
                        found.add_axis(slot, own, notes);
                    }
                    if let Some(size) = size.filter(|size| VOXEL_RANGE_UM.contains(size)) {
                        found.voxel_um[slot] = size;
                        found.lacks_unit[slot] = false;
                        from_xml.push(name);
                    }
                }
            }
        }
        if let Some(convention) = stated.convention.filter(|_| !from_convention.is_empty()) {
            let attribute: String = convention.name.chars().take(QUOTED_CHARS).collect();
            notes.push(format!("voxel size along {from_convention} is that of {attribute:?}"));
        }
        if !from_xml.is_empty() {
            notes.push(format!("voxel size along {from_xml} is that of the OME-XML"));
        }
        found.add_times(stated, notes);
        let is_length = |slot: usize| (found.voxel_um[slot] - 1.0).abs() > f64::EPSILON;
        if (0..3).any(|slot| found.lacks_unit[slot] && is_length(slot)) {
            notes.push("lengths without a unit are taken as --default-unit says".to_owned());
        }
        found
    }

    fn add_axis(&mut self, slot: usize, measure: Measure<'_>, notes: &mut Vec<String>) {
        let unit = units::length(measure.unit);
        let factor = match unit {
            Unit::Factor(factor) => factor,
            Unit::Absent => 1.0,
            Unit::Unknown => {
                notes.push(format!("unit {} is not known; taken as micrometre", quoted(measure)));
                1.0
            }
        };
        if unit == Unit::Absent && measure.unit.is_some_and(|unit| !unit.trim().is_empty()) {
            notes.push(format!("unit {} states no length", quoted(measure)));
        }
        if let Some(scale) = measure.scale {
            let voxel = scale * factor;
            if VOXEL_RANGE_UM.contains(&voxel.abs()) {
                self.voxel_um[slot] = voxel.abs();
                self.lacks_unit[slot] = unit == Unit::Absent;
                self.is_flipped[slot] = voxel < 0.0;
            } else {
                notes.push(format!("voxel size {voxel:?} um replaced by 1 um"));
            }
        }
        if self.is_flipped[slot] {
            let name = SPACE[slot].0;
            notes.push(format!(
                "the scale of {name} is negative: voxels are shown as stored, not flipped"
            ));
        }
        let origin = measure.translation.unwrap_or(0.0) * factor;
        if origin.abs() < *VOXEL_RANGE_UM.end() {
            self.origin_um[slot] = origin;
        }
    }

    fn add_times(&mut self, stated: &Stated<'_>, notes: &mut Vec<String>) {
        let own = stated.axes.slots[0].map(|at| stated.own(at));
        let other = stated.axes.slots[0].and_then(|at| stated.other(at));
        let measure = own.filter(|own| own.is_stated(units::time)).or(other);
        let xml = stated.xml.filter(|_| stated.time_points > 1);
        self.times_s = xml.and_then(|xml| plane_times(xml, stated.time_points, notes));
        if measure.is_none() {
            self.time_step_s = xml.and_then(|xml| xml.time_step_s);
            if self.times_s.is_none() && self.time_step_s.is_some() {
                notes.push("interval between time points is that of the OME-XML".to_owned());
            }
        }
        if self.time_step_s.is_none()
            && let Some(measure) = measure.or(own.filter(|_| self.times_s.is_none()))
        {
            self.add_interval(measure, notes);
        }
        let is_contradicted = |times: &Vec<f64>| {
            let step = self.time_step_s.filter(|_| measure.is_some());
            step.is_some_and(|step| (mean_interval(times) - step).abs() > step * TIME_TOLERANCE)
        };
        if self.times_s.take_if(|times| is_contradicted(times)).is_some() {
            notes.push(
                "times of planes in the OME-XML contradict the interval that is stated; not used"
                    .to_owned(),
            );
        } else if self.times_s.is_some() {
            notes.push("times of time points are those of the planes in the OME-XML".to_owned());
        }
    }

    fn add_interval(&mut self, measure: Measure<'_>, notes: &mut Vec<String>) {
        let factor = match units::time(measure.unit) {
            Unit::Factor(factor) => factor,
            Unit::Absent if measure.unit.is_none_or(|unit| unit.trim().is_empty()) => 1.0,
            Unit::Absent => {
                notes.push(format!("unit {} states no time; taken as second", quoted(measure)));
                1.0
            }
            Unit::Unknown => {
                notes.push(format!("unit {} is not known; taken as second", quoted(measure)));
                1.0
            }
        };
        let step = measure.scale.map(|scale| (scale * factor).abs());
        self.time_step_s = step.filter(|step| step.is_finite() && *step > 0.0);
        if step.is_some() && self.time_step_s.is_none() {
            notes.push("interval between time points replaced by 1 s".to_owned());
        } else if measure.scale.is_some_and(|scale| scale < 0.0) {
            notes.push(
                "interval between time points is negative: its magnitude is shown".to_owned(),
            );
        }
    }
}

impl<'a> Stated<'a> {
    /// The statement of OME-NGFF about a stored axis.
    fn own(&self, at: usize) -> Measure<'a> {
        let unit = self.axes.stored.get(at).and_then(|axis| axis.unit.as_deref());
        let unit = unit.filter(|unit| !unit.trim().is_empty());
        Measure {
            scale: self.transform.scale_of(at),
            translation: self.transform.translation_of(at),
            unit: unit.or_else(|| self.transform.unit_of(at)),
        }
    }

    /// The statement of another convention about a stored axis.
    fn other(&self, at: usize) -> Option<Measure<'a>> {
        let transform = &self.convention?.transform;
        let unit = self.axes.stored.get(at).and_then(|axis| axis.unit.as_deref());
        Some(Measure {
            scale: Some(transform.scale_of(at)?),
            translation: transform.translation_of(at),
            unit: transform.unit_of(at).or(unit),
        })
    }
}

impl Measure<'_> {
    /// Whether there is a scale that means something.
    fn is_stated(&self, unit: fn(Option<&str>) -> Unit) -> bool {
        let is_one = |scale: f64| (scale.abs() - 1.0).abs() < f64::EPSILON;
        self.scale.is_some_and(|scale| !is_one(scale) || unit(self.unit) != Unit::Absent)
    }
}

fn quoted(measure: Measure<'_>) -> String {
    let unit: String = measure.unit.unwrap_or_default().chars().take(QUOTED_CHARS).collect();
    format!("{unit:?}")
}

#[expect(clippy::cast_precision_loss, reason = "far fewer time points than 2^53")]
fn mean_interval(times: &[f64]) -> f64 {
    match times {
        [first, .., last] => (last - first) / (times.len() - 1) as f64,
        _ => 0.0,
    }
}

/// The times of the first planes of each time point, where they increase by milliseconds at least.
fn plane_times(xml: &XmlPixels, time_points: u64, notes: &mut Vec<String>) -> Option<Vec<f64>> {
    let stated = xml.times_s.iter().take(usize::try_from(time_points).unwrap_or(usize::MAX));
    let times: Vec<f64> = stated.copied().collect();
    if times.is_empty() {
        return None;
    }
    let is_complete = times.len() as u64 == time_points;
    let increases = times.is_sorted_by(|a, b| (a * 1000.0).round() < (b * 1000.0).round());
    let is_usable = is_complete && increases && times.iter().all(|time| time.abs() < LATEST_S);
    if !is_usable {
        notes.push(
            "times of planes in the OME-XML do not increase, or are not all there".to_owned(),
        );
    }
    is_usable.then_some(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::axes::Axis;

    /// Axes (t, z, y, x) of these units.
    fn axes(units: [Option<&str>; 4]) -> Axes {
        let named = ["t", "z", "y", "x"].into_iter().zip(units);
        let stored: Vec<Axis> = named
            .map(|(name, unit)| Axis { unit: unit.map(str::to_owned), ..Axis::named(name) })
            .collect();
        Axes::stated(&stored, &[4, 8, 8, 8]).expect("axes")
    }

    fn scale(scale: [f64; 4]) -> Transform {
        Transform { scale: scale.map(Some).to_vec(), ..Transform::default() }
    }

    fn xml() -> XmlPixels {
        XmlPixels {
            voxel_um: [Some(0.2), Some(0.3), Some(1.5)],
            time_step_s: Some(30.0),
            ..XmlPixels::default()
        }
    }

    fn geometry(
        units: [Option<&str>; 4],
        transform: &Transform,
        xml: Option<&XmlPixels>,
    ) -> (Geometry, String) {
        let mut notes = Vec::new();
        let axes = axes(units);
        let stated = Stated { axes: &axes, transform, convention: None, xml, time_points: 4 };
        let found = Geometry::new(&stated, &mut notes);
        (found, notes.join("; "))
    }

    const UM: Option<&str> = Some("micrometer");
    const S: Option<&str> = Some("second");

    #[test]
    fn a_negative_scale_is_a_size_and_a_flip() {
        let (found, notes) = geometry([S, UM, UM, UM], &scale([2.0, 6.5, -6.25, 6.5]), None);
        assert_eq!(found.voxel_um.to_vec(), [6.5, 6.25, 6.5]);
        assert_eq!(found.is_flipped, [false, true, false]);
        assert!(notes.contains("scale of y is negative"), "{notes}");
        let (found, notes) = geometry([S, UM, UM, UM], &scale([-2.0, 1.0, 1.0, 1.0]), None);
        assert_eq!(found.time_step_s, Some(2.0));
        assert!(notes.contains("negative"), "{notes}");
    }

    #[test]
    fn the_ome_xml_says_what_ome_ngff_does_not() {
        let (found, notes) = geometry([None; 4], &Transform::default(), Some(&xml()));
        assert_eq!((found.voxel_um.to_vec(), found.time_step_s), (vec![0.2, 0.3, 1.5], Some(30.0)));
        assert_eq!(found.lacks_unit, [false; 3]);
        assert!(notes.contains("along xyz is that of the OME-XML"), "{notes}");
        // One without a unit states nothing; one micrometre, and half of something, do.
        let (found, _) =
            geometry([None, UM, None, None], &scale([1.0, 1.0, 0.5, 1.0]), Some(&xml()));
        assert_eq!(found.voxel_um.to_vec(), [0.2, 0.5, 1.0]);
        assert_eq!(found.lacks_unit, [false, true, false]);
        assert_eq!(found.time_step_s, Some(30.0));
        let (found, notes) = geometry([S, UM, UM, UM], &scale([1.0, 2.0, 3.0, 4.0]), Some(&xml()));
        assert_eq!((found.voxel_um.to_vec(), found.time_step_s), (vec![4.0, 3.0, 2.0], Some(1.0)));
        assert!(!notes.contains("XML"), "{notes}");
    }

    #[test]
    fn times_of_planes_are_used_where_they_increase() {
        let times = |times: &[f64]| {
            let xml = XmlPixels { times_s: times.to_vec(), ..xml() };
            let (found, notes) = geometry([None; 4], &scale([1.0; 4]), Some(&xml));
            (found.times_s, found.time_step_s, notes)
        };
        let (found, _, notes) = times(&[0.0, 10.0, 35.0, 90.0]);
        assert_eq!(found.as_deref(), Some(&[0.0, 10.0, 35.0, 90.0][..]));
        assert!(notes.contains("planes in the OME-XML"), "{notes}");
        for bad in [&[0.0, 10.0, 10.0, 20.0][..], &[0.0, 1.0], &[0.0, 1.0, 2.0, 1e30]] {
            let (found, step, notes) = times(bad);
            assert_eq!((found, step), (None, Some(30.0)), "{bad:?}");
            assert!(notes.contains("do not increase"), "{notes}");
        }
    }

    #[test]
    fn true_times_come_before_an_interval_that_they_agree_with() {
        let times = |step: f64| {
            let xml = XmlPixels { times_s: vec![0.0, 9.5, 20.5, 30.0], ..xml() };
            let (found, notes) =
                geometry([S, UM, UM, UM], &scale([step, 1.0, 1.0, 1.0]), Some(&xml));
            (found.times_s.is_some(), found.time_step_s, notes)
        };
        let (is_used, step, notes) = times(10.0);
        assert_eq!((is_used, step), (true, Some(10.0)));
        assert!(notes.contains("planes in the OME-XML"), "{notes}");
        let (is_used, step, notes) = times(60.0);
        assert_eq!((is_used, step), (false, Some(60.0)));
        assert!(notes.contains("contradict"), "{notes}");
    }

    #[test]
    fn another_convention_comes_before_the_ome_xml() {
        let convention =
            Convention { name: "voxel_size".into(), transform: scale([1.0, 4.0, 8.0, 9.0]) };
        let axes = axes([None; 4]);
        let xml = xml();
        let stated = Stated {
            axes: &axes,
            transform: &scale([1.0, 1.0, 1.0, 7.0]),
            convention: Some(&convention),
            xml: Some(&xml),
            time_points: 4,
        };
        let mut notes = Vec::new();
        let found = Geometry::new(&stated, &mut notes);
        assert_eq!(found.voxel_um.to_vec(), [7.0, 8.0, 4.0]);
        assert_eq!(found.lacks_unit, [true; 3]);
        assert!(notes[0].contains("along yz is that of \"voxel_size\""), "{notes:?}");
    }

    #[test]
    fn units_that_say_nothing_and_units_that_are_not_known() {
        let (found, notes) =
            geometry([Some("frame"), Some("pixel"), Some(" "), None], &scale([2.0; 4]), None);
        assert_eq!((found.voxel_um.to_vec(), found.lacks_unit), (vec![2.0; 3], [true; 3]));
        assert_eq!(found.time_step_s, Some(2.0));
        assert!(notes.contains("\"pixel\" states no length"), "{notes}");
        let (found, notes) =
            geometry([Some("Channel"), Some("furlong"), UM, UM], &scale([2.0; 4]), None);
        assert_eq!((found.voxel_um.to_vec(), found.lacks_unit), (vec![2.0; 3], [false; 3]));
        assert!(notes.contains("\"Channel\" is not known; taken as second"), "{notes}");
        assert!(notes.contains("\"furlong\" is not known; taken as micrometre"), "{notes}");
    }
}
