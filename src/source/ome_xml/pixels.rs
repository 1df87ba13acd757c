//! Sizes of voxels and times of planes.
//!
//! Source: OME schema 2016-06 (`ome.xsd`), elements "Pixels" and "Plane".

use std::collections::BTreeMap;

use roxmltree::Node;

use super::node::{children, length, short_text, text, whole};
use crate::source::units;

/// Times beyond this many are left out: no file has as many time points.
const MAX_TIMES: usize = 65_532;

/// Sizes and times of the element "Pixels".
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct XmlPixels {
    /// Length of x and y in voxels.
    pub(crate) size_xy: [Option<u64>; 2],
    /// Edge of a voxel in micrometres, order (x, y, z).
    pub(crate) voxel_um: [Option<f64>; 3],
    /// Interval between time points in seconds.
    pub(crate) time_step_s: Option<f64>,
    /// Seconds since the acquisition date, of the first plane of each time point, as far as each has
    /// one from the first on.
    pub(crate) times_s: Vec<f64>,
}

/// Schema elements "Pixels" and "Plane": sizes and times. Units are micrometres and seconds where
/// none is stated.
pub(super) fn sizes_and_times(pixels: Node) -> XmlPixels {
    let size = |name: &str| length(pixels, name, "um", 1.0);
    let mut times: BTreeMap<u64, f64> = BTreeMap::new();
    for plane in children(pixels, "Plane") {
        if let Some((t, time)) = whole(plane, "TheT").zip(seconds(plane, "DeltaT")) {
            let first = times.entry(t).or_insert(time);
            *first = first.min(time);
        }
    }
    let in_order = times.into_iter().zip(0..).take_while(|((t, _), number)| t == number);
    XmlPixels {
        size_xy: ["SizeX", "SizeY"].map(|name| whole(pixels, name)),
        voxel_um: ["PhysicalSizeX", "PhysicalSizeY", "PhysicalSizeZ"].map(size),
        time_step_s: seconds(pixels, "TimeIncrement").filter(|step| *step > 0.0),
        times_s: in_order.map(|((_, time), _)| time).take(MAX_TIMES).collect(),
    }
}

/// A time in seconds.
fn seconds(node: Node, name: &str) -> Option<f64> {
    let unit = text(node, &format!("{name}Unit"));
    let factor = units::seconds(unit.as_deref().unwrap_or("s"))?;
    let number: f64 = short_text(node, name)?.parse().ok()?;
    Some(number * factor).filter(|time| time.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ome_xml::tests::only;

    #[test]
    fn sizes_and_times_with_and_without_units() {
        let found = only(
            r#"<Pixels SizeX="16" SizeY="8" PhysicalSizeX="0.2" PhysicalSizeY="200"
            PhysicalSizeYUnit="nm" PhysicalSizeZ="1.5" PhysicalSizeZUnit="&#181;m"
            TimeIncrement="500" TimeIncrementUnit="ms"><Channel SamplesPerPixel="3"/>
            <Plane TheT="1" TheC="0" TheZ="0" DeltaT="2"/><Plane TheT="0" TheZ="1" DeltaT="0.5"/>
            <Plane TheT="0" TheC="0" TheZ="0" DeltaT="0.25"/>
            <Plane TheT="3" TheC="0" TheZ="0" DeltaT="9"/></Pixels>"#,
        );
        assert_eq!(found.pixels.size_xy, [Some(16), Some(8)]);
        assert_eq!(found.pixels.voxel_um, [Some(0.2), Some(0.2), Some(1.5)]);
        assert_eq!(found.pixels.time_step_s, Some(0.5));
        assert_eq!(found.pixels.times_s, [0.25, 2.0]);
        assert_eq!(found.channels[0].samples, Some(3));
        let bad = r#"<Pixels PhysicalSizeX="-1" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"
            TimeIncrement="0"><Plane TheT="-1" DeltaT="1"/><Plane TheT="0" DeltaT="NaN"/></Pixels>"#;
        assert_eq!(only(bad).pixels, XmlPixels::default());
    }
}
