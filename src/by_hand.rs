//! What people say by hand of stores and images, and the files that they ask for.
//!
//! Two kinds of tables stand in the configuration file, or in a file beside a store (`beside`): `[[store]]`
//! corrects what a store says (`store`, `correction`), `[[view]]` asks for a further file made of what is
//! there (`view`, `resolve`, `make`). This room reads the tables (`document`), finds those that are about a
//! store, and applies them (`correct`, `find`). It knows no names of the mount and no inodes.
//!
//! Nothing is corrected halfway: a store about which something wrong is said is not shown, with one line that
//! says what is wrong. Shown without the correction it would have metadata that a person has found wrong.

mod asked;
mod beside;
mod context;
mod correct;
mod correction;
mod document;
mod entry;
mod find;
mod make;
mod pattern;
mod resolve;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod view;

pub use asked::{Asked, AskedChannel};
pub use beside::parse;
pub use context::ImagePath;
pub(crate) use document::{Document, Key, Table, Value, in_order, quoted};
pub use document::{Line, Mistake, Origin, Said};
pub use entry::Entry;
pub use find::{Found, Shown, inspect, open};
pub use make::{View, Views, open_view, views};
pub use pattern::Pattern;
pub(crate) use store::Place;
pub use store::StoreTable;
pub(crate) use tables::NAMES;
pub use tables::Tables;
pub use view::ViewTable;
