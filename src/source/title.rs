//! What the metadata of a store calls one of its images, where that is another name than its path.

use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Title {
    /// A field of a plate.
    Field(Field),
    /// A series whose name no other one in the OME-XML of the store has.
    Series(String),
}

/// A field of view of a well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Path of the plate within the store.
    pub plate: String,
    /// Path of the field within the plate.
    pub path: String,
    /// Row and column, such as `A01`.
    pub well: String,
    /// Path of the field within the well.
    pub field: String,
    /// Where the plate has several acquisitions, one other than the first of them.
    pub acquisition: Option<u64>,
}

impl Title {
    /// The name, with `between` between its parts, such as `A01_0` or `A01 4 acq1`.
    #[must_use]
    pub fn text(&self, between: &str) -> String {
        match self {
            Self::Field(Field { well, field, acquisition, .. }) => {
                let acquisition = acquisition.map(|id| format!("{between}acq{id}"));
                format!("{well}{between}{field}{}", acquisition.unwrap_or_default())
            }
            Self::Series(name) => name.clone(),
        }
    }
}
