//! The slots of groups.

use crate::ims::header::{self, AttributeType, GroupHeader, attribute_bytes};
use crate::ims::names::{Name, Names};
use crate::ims::schema::InfoGroup;
use crate::ims::symbol_table::{SymbolTable, TableAddresses};
use crate::ims::template::{self, Templates};
use crate::ims::window::Window;
use crate::ims::{ImsError, schema};

/// A group in its slot: the room for its header, its symbol table, and behind them what the schema has in it.
#[derive(Debug, Clone)]
pub(super) struct GroupSlot {
    /// Address of the header.
    pub(super) at: u64,
    header_room: u64,
    table: SymbolTable,
}

impl GroupSlot {
    /// A group at `at` with room for attributes of `attributes` bytes.
    pub(super) fn new(at: u64, attributes: u64, names: Names) -> Self {
        let header_room = header::GROUP_BYTES + attributes;
        Self { at, header_room, table: SymbolTable::new(names) }
    }

    /// The same group elsewhere.
    pub(super) fn moved(&self, at: u64) -> Self {
        Self { at, ..self.clone() }
    }

    /// The same slot with fewer members.
    pub(super) fn with(self, names: Names) -> Self {
        Self { table: SymbolTable::new(names), ..self }
    }

    /// Bytes of header and symbol table.
    pub(super) fn bytes(&self) -> u64 {
        self.header_room + self.table.bytes()
    }

    /// Where header and symbol table end.
    pub(super) fn end(&self) -> u64 {
        self.at + self.bytes()
    }

    /// The header, to which attributes can be added.
    pub(super) fn header(&self) -> GroupHeader {
        GroupHeader::new(self.addresses())
    }

    /// Where the parts of the symbol table lie.
    pub(super) fn addresses(&self) -> TableAddresses {
        self.table.addresses(self.at + self.header_room)
    }

    /// Writes the header and the table; `child` gives the addresses of the members.
    ///
    /// # Errors
    /// [`ImsError::Capacity`] when the header has more attributes than there is room for.
    pub(super) fn write(
        &self,
        window: &mut Window,
        header: GroupHeader,
        child: &dyn Fn(Name) -> u64,
    ) -> Result<(), ImsError> {
        let bytes = header.finish();
        let (needed, capacity) = (bytes.len() as u64, self.header_room);
        if needed > capacity {
            return Err(ImsError::Capacity { needed, capacity });
        }
        window.put(self.at, &bytes);
        self.table.write(window, self.at + self.header_room, child);
        Ok(())
    }

    /// Writes a group without attributes.
    pub(super) fn write_plain(
        &self,
        window: &mut Window,
        child: &dyn Fn(Name) -> u64,
    ) -> Result<(), ImsError> {
        if window.wants(self.at, self.bytes()) {
            self.write(window, self.header(), child)?;
        }
        Ok(())
    }
}

/// Bytes of the attributes of a group of texts.
fn attributes_bytes(group: &InfoGroup) -> u64 {
    let attributes = group.entries.iter().filter(|entry| !entry.is_dataset());
    let bytes = attributes
        .map(|entry| attribute_bytes(AttributeType::Text, entry.name().len(), entry.value.len()));
    bytes.sum()
}

/// Where the datasets of a group of texts lie, whose header and table end at `end`: headers, and where the last one
/// ends.
fn text_places(group: &InfoGroup, end: u64) -> (Vec<u64>, u64) {
    let mut at = end;
    let datasets = group.entries.iter().filter(|entry| entry.is_dataset());
    let places = datasets.map(|entry| {
        let place = at;
        at += template::HEADER_BYTES + (entry.value.len() as u64).next_multiple_of(8);
        place
    });
    (places.collect(), at)
}

fn text_names(group: &InfoGroup) -> Names {
    let datasets = group.entries.iter().filter(|entry| entry.is_dataset());
    Names::listed(datasets.map(schema::InfoEntry::name))
}

/// Bytes of the slot of a group of texts, the longest that it can have.
pub(super) fn info_bytes(longest: &InfoGroup) -> u64 {
    let slot = GroupSlot::new(0, attributes_bytes(longest), text_names(longest));
    text_places(longest, slot.end()).1
}

/// Writes a group of texts into its slot at `at`, which has room for the `longest`.
pub(super) fn write_info(
    window: &mut Window,
    at: u64,
    longest: &InfoGroup,
    group: &InfoGroup,
    templates: &Templates,
) -> Result<(), ImsError> {
    let slot = GroupSlot::new(at, attributes_bytes(longest), text_names(group));
    let (places, _) = text_places(group, slot.end());
    let mut header = slot.header();
    for entry in group.entries.iter().filter(|entry| !entry.is_dataset()) {
        header.attribute(&entry.name(), AttributeType::Text, &entry.value);
    }
    slot.write(window, header, &|name| match name {
        Name::Listed(number) => places[number],
        Name::Numbered(_) => 0,
    })?;
    let datasets = group.entries.iter().filter(|entry| entry.is_dataset());
    for (entry, &place) in datasets.zip(&places) {
        let data = place + template::HEADER_BYTES;
        window.put(place, &templates.text(entry.value.len() as u64, data)?);
        window.put(data, &entry.value);
    }
    Ok(())
}
