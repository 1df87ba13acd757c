//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::decode_error::DecodeError;
use super::storage::SourceGone;

/// What can go wrong between a store on disk and its decoded voxels.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A file or folder could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path below the source folder.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// A metadata file is larger than any real one.
    #[error("{}: metadata of {bytes} bytes, more than {limit}", path.display())]
    MetadataTooLarge {
        /// Path below the source folder.
        path: PathBuf,
        /// Size found.
        bytes: u64,
        /// Largest size accepted.
        limit: u64,
    },
    /// A metadata file is not JSON, or not yet completely written.
    #[error("{}: {source}", path.display())]
    Json {
        /// Path below the source folder.
        path: PathBuf,
        /// The parser's reason.
        #[source]
        source: serde_json::Error,
    },
    /// The store uses something that cannot be shown as an image.
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// Path below the source folder.
        path: PathBuf,
        /// The reason, in words for the log.
        reason: Unsupported,
    },
    /// A chunk exists but cannot be decoded.
    #[error("{}: {reason}", path.display())]
    Chunk {
        /// Path of the chunk's file below the source folder.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        reason: DecodeError,
    },
    /// The array's metadata changed or vanished after the image was planned, or a chunk after it was
    /// opened.
    #[error("{}: changed since the image was opened", path.display())]
    Changed {
        /// Path of the file below the source folder.
        path: PathBuf,
    },
}

/// Why a Zarr node is not shown as an image.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum Unsupported {
    /// Neither Zarr v2 nor v3.
    #[error("zarr_format {0} is not supported")]
    ZarrFormat(String),
    /// A required member of the metadata is missing or of the wrong type.
    #[error("metadata has no usable {0:?}")]
    Member(&'static str),
    /// `zarrs` refused the array metadata.
    #[error("{0}")]
    Array(String),
    /// A codec that is not decoded here.
    #[error("codec {0:?} is not supported")]
    Codec(String),
    /// A member of the metadata that is not known, and says that it must be.
    #[error("metadata has {0:?}, which must be understood")]
    MustUnderstand(String),
    /// Voxels of this type are not an image.
    #[error("data type {0} is not supported")]
    DataType(String),
    /// Anything but 2 to 5 dimensions.
    #[error("{} {}; an image has 2 to 5", .0, if *.0 == 1 { "dimension" } else { "dimensions" })]
    Dimensions(usize),
    /// A dimension or chunk of length zero.
    #[error("a dimension of length 0")]
    ZeroLength,
    /// The voxel count or byte count overflows.
    #[error("shape {0:?} is larger than a file can be")]
    TooLarge(Vec<u64>),
    /// A chunk larger than this program decodes in one piece.
    #[error("chunks of {bytes} bytes; the largest decoded is {limit}")]
    ChunkTooLarge {
        /// Declared size of one decoded chunk.
        bytes: u64,
        /// Largest size accepted.
        limit: u64,
    },
    /// Chunk shapes along the codec chain do not fit together.
    #[error("chunk shape {0:?} does not fit the array or shard")]
    ChunkShape(Vec<u64>),
    /// The axes do not describe the array.
    #[error("{axes} axes for an array of {dimensions} dimensions")]
    AxesMismatch {
        /// Number of axes in the metadata.
        axes: usize,
        /// Number of dimensions of the array.
        dimensions: usize,
    },
    /// An axis name occurs twice.
    #[error("axis {0:?} occurs twice")]
    DuplicateAxis(String),
    /// An axis that is none of t, c, z, y, x and is longer than one.
    #[error("axis {0:?} has no place in an image")]
    UnknownAxis(String),
    /// The multiscales metadata names no readable array.
    #[error("no level of the image can be read: {0}")]
    NoLevel(String),
    /// A dataset path that leaves its store.
    #[error("dataset path {0:?} leaves the store")]
    PathEscapes(String),
    /// A Zarr group without any image below it.
    #[error("no image in this Zarr group")]
    NoImage,
    /// A name that promises a store, and no Zarr metadata.
    #[error("no Zarr metadata")]
    NoMetadata,
    /// Members of an archive that no path leads to.
    #[error("{0}")]
    Members(String),
    /// An N5 container.
    #[error("N5 is not supported")]
    N5,
    /// A volume that neuroglancer reads.
    #[error("neuroglancer precomputed is not supported")]
    Precomputed,
    /// References to chunks in other files.
    #[error("kerchunk references are not supported")]
    Kerchunk,
    /// Members of `ome` that are not understood.
    #[error("\"ome\" holds {0}, which is not understood; what lies below is shown without it")]
    OmeMembers(String),
    /// A node of a collection whose path leads out of the store.
    #[error(
        "node {0:?} of the collection lies in another store or in a JSON file: it is not followed"
    )]
    NodeElsewhere(String),
    /// A node of a collection that is not there.
    #[error("node {0:?} of the collection is not there")]
    NodeMissing(String),
    /// An image in the group of another one.
    #[error("an image inside an image; only the outer one is shown")]
    InnerImage,
    /// An array in the group of an image that is no level of it.
    #[error("an array inside an image that is none of its levels")]
    Unlisted,
    /// A few numbers, as of a transform.
    #[error("a {0} x {1} matrix, not an image")]
    Matrix(u64, u64),
    /// Where the elements of an axis lie.
    #[error("coordinates of an axis, not an image")]
    Coordinates,
    /// A table beside the images.
    #[error("a table, not an image")]
    Table,
    /// A name inside a store that is not UTF-8, as Zarr demands.
    #[error("name is not UTF-8")]
    Name,
    /// A label image that cannot be a channel of its image.
    #[error("not shown as a channel: {0}; --labels files shows it")]
    LabelChannel(String),
    /// A label image.
    #[error("label images are shown with --labels files or channels only")]
    Label,
    /// An image that the plate or the well above it does not list.
    #[error("the plate above does not list this image")]
    NotInPlate,
    /// A symbolic link that cannot be followed.
    #[error("symbolic link is broken, circular, or leads out of the source folder")]
    Link,
    /// A person has hidden it, in the line given.
    #[error("hidden by hand: {0}")]
    Hidden(String),
    /// What a person says of it is wrong.
    #[error("{0}")]
    ByHand(String),
    /// More images in one group than any real store has.
    #[error("{0} more entries of \"multiscales\" are not looked at")]
    TooManyImages(usize),
    /// More nested groups or nodes than any real store has.
    #[error("more than {0} nested folders or nodes")]
    TooDeep(usize),
}

impl SourceError {
    pub(crate) fn unsupported(path: impl Into<PathBuf>, reason: Unsupported) -> Self {
        Self::Unsupported { path: path.into(), reason }
    }

    /// What is wrong, without the path in front where it is this one.
    pub(crate) fn reason_at(&self, path: &Path) -> String {
        let (text, prefix) = (self.to_string(), format!("{}: ", path.display()));
        text.strip_prefix(&prefix).map_or(text.clone(), str::to_owned)
    }

    /// Whether something could not be read that is there, and may be readable the next time.
    pub(crate) fn is_fault(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() != io::ErrorKind::NotFound,
            Self::Changed { .. } => true,
            Self::MetadataTooLarge { .. }
            | Self::Json { .. }
            | Self::Unsupported { .. }
            | Self::Chunk { .. } => false,
        }
    }

    /// Whether the source did not answer; the storage has logged it.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Io { source, .. } if SourceGone::is_reason_of(source))
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
