//! All tables of a file, or of a mount.

use std::path::Path;

use toml::de::DeValue;

use crate::words::similar;

use super::document::{Document, Key, Mistake, Table, Value, in_order};
use super::store::{Place, StoreTable};
use super::view::ViewTable;

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
    pub(super) fn parse_all(
        document: &Document<'_>,
        table: &Table<'_>,
        place: Place,
    ) -> Result<Self, Mistake> {
        let mut found = Self::default();
        for (key, value) in in_order(table) {
            let name = key.get_ref().as_ref();
            if !NAMES.contains(&name) {
                let similar = similar(name, NAMES.into_iter());
                let hint = similar.map(|similar| format!("; similar: [[{similar}]]"));
                let hint = hint.unwrap_or_else(|| "; keys stand in [[store]] or [[view]]".into());
                let words = format!("{name}: no such table{hint}");
                return Err(document.mistake(key.span(), words));
            }
            found.add(document, key, value, place)?;
        }
        Ok(found)
    }

    /// The numbers of the tables that are about a store.
    pub fn about(&self, store: &Path) -> impl Iterator<Item = usize> {
        let tables = self.stores.iter().enumerate();
        tables.filter(move |(_, table)| table.is_of(store)).map(|(number, _)| number)
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
