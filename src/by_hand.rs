//! What people say by hand of stores and images, and the files that they ask for.
//!
//! Two kinds of tables stand in the configuration file, or in a file beside a store (`beside`): `[[store]]`
//! corrects what a store says (`store`, `correction`), `[[view]]` asks for a further file made of what is
//! there (`view`). This room reads the tables (`document`), finds those that are about a store, and applies
//! them (`correct`, `find`). It knows no names of the mount and no inodes.
//!
//! Nothing is corrected halfway: a store about which something wrong is said is not shown, with one line that
//! says what is wrong. Shown without the correction it would have metadata that a person has found wrong.

mod beside;
mod correct;
mod correction;
mod document;
mod find;
mod pattern;
mod store;
#[cfg(test)]
mod tests;
mod view;

pub use beside::store_of;
pub(crate) use document::{Document, Key, Table, Value, in_order};
pub use document::{Mistake, Origin, Said};
pub use find::{Found, Shown, inspect, open};
pub(crate) use store::Place;
pub use store::StoreTable;
pub use view::ViewTable;

use toml::de::DeValue;

/// The tables that hold for a mount, or those of a file beside a store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    /// Later ones count more, key by key.
    pub stores: Vec<StoreTable>,
    /// The files that are asked for.
    pub views: Vec<ViewTable>,
}

/// Names of the tables.
pub(crate) const NAMES: [&str; 2] = ["store", "view"];

impl Tables {
    /// Reads the tables of one kind, which is a key of [`NAMES`].
    pub(crate) fn add(
        &mut self,
        document: &Document<'_>,
        key: &Key<'_>,
        value: &Value<'_>,
        place: Place,
    ) -> Result<(), Mistake> {
        let name = key.get_ref();
        let DeValue::Array(list) = value.get_ref() else {
            let words = format!("{name}: write [[{name}]], with two brackets");
            return Err(document.mistake(key.span(), words));
        };
        for entry in list {
            if name == "view" {
                self.views.push(ViewTable::parse(document, entry, place)?);
            } else {
                self.stores.push(StoreTable::parse(document, entry, place)?);
            }
        }
        Ok(())
    }

    /// Reads a text that has these tables only.
    fn parse_all(
        document: &Document<'_>,
        table: &Table<'_>,
        place: Place,
    ) -> Result<Self, Mistake> {
        let mut found = Self::default();
        for (key, value) in in_order(table) {
            let name = key.get_ref().as_ref();
            if !NAMES.contains(&name) {
                let similar = crate::words::similar(name, NAMES.into_iter());
                let hint = similar.map(|similar| format!("; similar: [[{similar}]]"));
                let hint = hint.unwrap_or_else(|| "; keys stand in [[store]] or [[view]]".into());
                let words = format!("{name}: no such table{hint}");
                return Err(document.mistake(key.span(), words));
            }
            found.add(document, key, value, place)?;
        }
        Ok(found)
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stores.is_empty() && self.views.is_empty()
    }

    /// Adds tables that count more.
    pub fn extend(&mut self, more: &Self) {
        self.stores.extend(more.stores.iter().cloned());
        self.views.extend(more.views.iter().cloned());
    }
}
