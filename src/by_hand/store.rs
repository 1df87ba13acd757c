//! `[[store]]`: which images a table is about, and what it says of them.

use std::path::Path;

use crate::source::image::Role;

use super::correction::{CONTENT, Correction, GEOMETRY};
use super::document::{Document, Fields, Line, Mistake, Origin, Said, Value, Wrong, switch, text};
use super::pattern::Pattern;

/// Where a table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the configuration: it is about the stores of a pattern.
    Configuration,
    /// In a file beside a store: it is about that store.
    Beside,
}

/// A table `[[store]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreTable {
    /// Where it stands.
    pub origin: Origin,
    /// The stores, by their paths below the source; `None`: the one beside the file.
    pub path: Option<Pattern>,
    /// The images, by their paths within the store; `None`: all.
    pub image: Option<Pattern>,
    /// Whether they are hidden; `false` shows what an earlier table hides.
    pub hidden: Option<Said<bool>>,
    /// What is said of them.
    pub correction: Correction,
    /// All this, as it was written.
    pub lines: Vec<Line>,
}

/// The keys of a table.
fn keys(place: Place) -> Vec<&'static str> {
    let path: &[&str] = if place == Place::Configuration { &["path"] } else { &[] };
    [path, &["image", "hidden"], &CONTENT, &GEOMETRY].concat()
}

impl StoreTable {
    pub(super) fn parse(
        document: &Document<'_>,
        value: &Value<'_>,
        place: Place,
    ) -> Result<Self, Mistake> {
        let fields = Fields::new(document, "[[store]]", value, &keys(place))?;
        let path = fields.get("path", pattern)?;
        if place == Place::Configuration && path.is_none() {
            let words = "path is missing: which stores this is about, such as \"**/embryo*.zarr\"";
            return Err(Mistake::at(&fields.origin(), format!("[[store]]: {words}")));
        }
        Ok(Self {
            origin: fields.origin(),
            path,
            image: fields.get("image", pattern)?,
            hidden: fields.said("hidden", switch)?,
            correction: Correction::parse(&fields)?,
            lines: fields.lines(),
        })
    }

    /// Whether it is about a store.
    pub(super) fn is_of(&self, store: &Path) -> bool {
        self.path.as_ref().is_none_or(|path| path.is_match(store))
    }

    /// Whether it is about an image of its store, by the path within it.
    pub(super) fn is_about(&self, image: &Path) -> bool {
        self.image.as_ref().is_none_or(|pattern| pattern.is_match(image))
    }

    /// What it says of an image of this role. Where it names no image, it says of label images only what
    /// they have in common with the images that they are of.
    pub(super) fn of_role(&self, role: Role) -> Correction {
        match (role, &self.image) {
            (Role::Label, None) => self.correction.clone().of_labels(),
            _ => self.correction.clone(),
        }
    }
}

/// A text that may be empty or `.`, for the root of a store.
fn pattern(value: &Value<'_>) -> Result<Pattern, Wrong> {
    let root = value.get_ref().as_str().filter(|text| text.is_empty()).map(str::to_owned);
    let text = root.map_or_else(|| text(value), Ok)?;
    Pattern::new(&text).map_err(|words| Wrong::value(value, words))
}
