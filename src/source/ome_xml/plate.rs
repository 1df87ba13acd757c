//! Which image of an OME-XML is which field of a plate.
//!
//! Source: OME schema 2016-06 (`ome.xsd`), elements "Plate", "Well", `WellSample` and `ImageRef`.

use std::collections::HashMap;

use roxmltree::Node;

use super::node::{MAX_IMAGES, child, children, whole};

/// Plates whose wells are read: only a single plate gives the order of images.
const MAX_PLATES: usize = 2;

/// One well of a plate.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct XmlWell {
    pub(crate) row: usize,
    pub(crate) column: usize,
    /// Numbers of its images, in the order of its samples.
    pub(crate) images: Vec<Option<usize>>,
}

/// Schema elements "Plate", "Well" and `WellSample`; none where there are several plates.
pub(super) fn wells(root: Node) -> Vec<XmlWell> {
    let mut plates = children(root, "Plate").take(MAX_PLATES);
    let (Some(plate), None) = (plates.next(), plates.next()) else { return Vec::new() };
    let images = children(root, "Image").take(MAX_IMAGES).enumerate();
    let numbers: HashMap<&str, usize> =
        images.filter_map(|(number, image)| Some((image.attribute("ID")?, number))).collect();
    let well = |well: Node| {
        let mut samples: Vec<(u64, Option<usize>)> = children(well, "WellSample")
            .map(|sample| {
                let image = child(sample, "ImageRef").and_then(|image| image.attribute("ID"));
                let index = whole(sample, "Index").unwrap_or(u64::MAX);
                (index, image.and_then(|id| numbers.get(id).copied()))
            })
            .collect();
        samples.sort_by_key(|(index, _)| *index);
        Some(XmlWell {
            row: usize::try_from(whole(well, "Row")?).ok()?,
            column: usize::try_from(whole(well, "Column")?).ok()?,
            images: samples.into_iter().map(|(_, image)| image).collect(),
        })
    };
    children(plate, "Well").filter_map(well).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ome_xml::parse;

    #[test]
    fn wells_of_the_only_plate() {
        let plate = r#"<Plate><Well Row="1" Column="2"><WellSample Index="9"><ImageRef ID="I:0"/>
            </WellSample><WellSample Index="4"><ImageRef ID="I:1"/></WellSample><WellSample/></Well>
            <Well Row="-1" Column="0"/></Plate>"#;
        let images = r#"<Image ID="I:0"/><Image ID="I:1"/>"#;
        let found = parse(&format!("<OME>{plate}{images}</OME>")).expect("well-formed");
        let well = XmlWell { row: 1, column: 2, images: vec![Some(1), Some(0), None] };
        assert_eq!(found.wells, [well]);
        let two = parse(&format!("<OME>{plate}{plate}{images}</OME>")).expect("well-formed");
        assert!(two.wells.is_empty());
    }
}
