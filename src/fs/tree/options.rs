//! What the user chose for a tree.

use std::time::Duration;

/// What a tree shows instead of what the source says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TreeConfig {
    /// Owner of everything, else the source's.
    pub uid: Option<u32>,
    /// Group of everything, else the source's.
    pub gid: Option<u32>,
    /// Permission bits taken away.
    pub umask: u16,
    /// Other users may enter the mount.
    pub is_shared: bool,
    /// Where label images are shown.
    pub labels: Labels,
    /// What the images of a store of several are called.
    pub image_names: ImageNames,
    /// When chunk files are looked at.
    pub revalidate: Revalidate,
    /// Of images that are still being written, only what is complete is shown.
    pub live: bool,
}

/// Where label images are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Labels {
    /// Nowhere.
    #[default]
    Hide,
    /// Each in a file, in a folder beside its image.
    Files,
    /// As further channels of their image.
    Channels,
}

/// What the images of a store of several are called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageNames {
    /// As the metadata of the store calls them: wells and fields of a plate, names of series.
    #[default]
    Metadata,
    /// By their paths within the store.
    Paths,
}

/// When the tree notices chunk files that were rewritten, added or deleted. It always notices changed
/// metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revalidate {
    /// When a file is opened this long after the last look, or later.
    After(Duration),
    /// Never.
    Never,
}

impl Revalidate {
    /// At each opening.
    pub const AT_ONCE: Self = Self::After(Duration::ZERO);
    /// Programs that open a file many times in a row look once.
    pub const AFTER_A_MOMENT: Self = Self::After(Duration::from_secs(2));

    /// The age at which a look is repeated.
    pub(super) fn time(self) -> Duration {
        match self {
            Self::After(time) => time,
            Self::Never => Duration::ZERO,
        }
    }
}

impl Default for Revalidate {
    fn default() -> Self {
        Self::AFTER_A_MOMENT
    }
}
