//! Parts of stores that are no images, and no faults.

use serde::{Deserialize, Serialize};

use super::error::{SourceError, Unsupported};

/// The kind of a node that is rightly not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NonImage {
    /// A label image, where they are not asked for.
    Label,
    /// An image that the plate above it does not list.
    NotInPlate,
    /// A table.
    Table,
    /// Where the elements of an axis lie.
    Coordinates,
    /// An array of one dimension.
    Line,
    /// An array of no dimension.
    Number,
    /// A few numbers, as of a transform.
    Matrix,
    /// An array in the group of an image that is no level of it.
    Unlisted,
    /// An image that a person has hidden.
    Hidden,
}

impl NonImage {
    /// So many of them, in words.
    #[must_use]
    pub fn count(self, number: usize) -> String {
        let (one, many) = match self {
            Self::Label => ("label", "labels"),
            Self::NotInPlate => {
                ("image outside the lists of the plate", "images outside the lists of the plate")
            }
            Self::Table => ("table", "tables"),
            Self::Coordinates => ("coordinate array", "coordinate arrays"),
            Self::Line => ("one-dimensional array", "one-dimensional arrays"),
            Self::Number => ("single number", "single numbers"),
            Self::Matrix => ("matrix", "matrices"),
            Self::Unlisted => ("array that is no level", "arrays that are no levels"),
            Self::Hidden => ("hidden image", "hidden images"),
        };
        format!("{number} {}", if number == 1 { one } else { many })
    }
}

impl SourceError {
    /// What the node is, where nothing is wrong with it but that it is no image.
    #[must_use]
    pub fn non_image(&self) -> Option<NonImage> {
        let Self::Unsupported { reason, .. } = self else { return None };
        Some(match reason {
            Unsupported::Label => NonImage::Label,
            Unsupported::NotInPlate => NonImage::NotInPlate,
            Unsupported::Table => NonImage::Table,
            Unsupported::Coordinates => NonImage::Coordinates,
            Unsupported::Dimensions(1) => NonImage::Line,
            Unsupported::Dimensions(0) => NonImage::Number,
            Unsupported::Matrix(..) => NonImage::Matrix,
            Unsupported::Unlisted => NonImage::Unlisted,
            Unsupported::Hidden(_) => NonImage::Hidden,
            _ => return None,
        })
    }
}
