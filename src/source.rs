//! Zarr stores as a source of pixels: finding them, reading their metadata, decoding their chunks.
//!
//! This layer knows Zarr and OME-NGFF and nothing of Imaris. It is a fence around the `zarrs` crate,
//! whose parsing is stricter and whose partial decoding is laxer than a daemon can afford:
//!
//! * metadata JSON is read and repaired here ([`json`], [`metadata`]) before `zarrs` sees it;
//! * bytes are read through [`storage`], which never follows a link out of the source folder and never
//!   opens anything but a regular file; [`root`] keeps absence and failed reads apart;
//! * a chunk is always decoded whole, by [`codec`], with every length bounded and every checksum
//!   verified. A chunk that is absent is the fill value; a chunk that exists but cannot be decoded
//!   is an error, never the fill value.
//!
//! [`discover`] walks a folder. [`ome`] reads the image metadata, with [`axes`], [`transform`] and [`omero`]
//! for its parts, [`systems`] and [`scene`] for where it lies, [`nodes`] for collections; [`above`] reads the
//! groups above an image. [`conventions`], [`coordinates`] and [`webknossos`] read other conventions than
//! OME-NGFF, [`series`] and [`ome_xml`] read the metadata of the microscope, [`plate`] finds the wells of
//! images, [`facts`] collects the rest. [`level`] opens the arrays, and [`chunk_files`] their chunks.
//! [`geometry`] and [`display`] decide which of several statements counts, and [`assemble`] puts everything
//! together as an [`image::ImageSource`]: the five axes (t, c, z, y, x), the levels, the voxel size, the
//! channels.
//!
//! Arrows point down only: no file needs another one that needs it, and [`storage`] and [`error`] are at the
//! bottom.

mod above;
mod array;
mod assemble;
mod axes;
pub(crate) mod boxes;
mod chunk_files;
mod chunk_keys;
mod codec;
mod color;
pub mod compose;
mod conventions;
mod coordinates;
mod date_time;
mod decode_error;
pub mod discover;
mod display;
pub(crate) mod error;
pub mod facts;
mod fingerprint;
mod foreign;
mod geometry;
pub mod growing;
pub(crate) mod halving;
pub mod image;
mod json;
mod level;
mod metadata;
mod nodes;
mod non_image;
mod ome;
mod ome_xml;
mod omero;
pub(crate) mod parts;
mod permissions;
mod place;
mod plate;
mod remembered;
mod remote;
mod resized;
pub mod root;
mod scene;
mod series;
mod snapshot;
mod source_type;
pub mod storage;
pub mod store_name;
mod systems;
mod title;
mod transform;
mod units;
mod webknossos;

/// Opens a source as a user gave it: a folder, a remote one that is listed, or one that names its stores.
///
/// # Errors
/// Why nothing can be read there.
pub fn open(location: &Location, follow_links: bool) -> std::io::Result<SourceRoot> {
    if location.remote().is_some() {
        return remote::open(location);
    }
    SourceRoot::at(location, follow_links)
}

pub use array::{UnitBytes, ZarrArray};
pub(crate) use array::{forget_remembered, remember_at_most};
pub(crate) use color::parse_text as color;
pub use error::{SourceError, Unsupported};
pub use fingerprint::Fingerprint;
pub use non_image::NonImage;
pub use permissions::{AccessKinds, Permissions, access_of, metadata_of};
pub use place::{AxesByHand, SaysAxes};
pub use root::SourceRoot;
pub use snapshot::ChunkState;
pub use source_type::SourceType;
pub use storage::{Location, Seen, Stamp, Storage, Unfollowed};
pub use units::micrometres;
pub(crate) use units::seconds;
