//! A mount of the configuration, as it was asked for and as far as it can be used.

use std::path::PathBuf;

use zarrims::config::{MergedMount, Mistake, MountConfig};

/// A mount that is to be checked.
pub(super) struct Wanted<'a> {
    pub(super) merged: &'a MergedMount,
    pub(super) config: &'a Result<MountConfig, Mistake>,
}

impl Wanted<'_> {
    /// As it was given; `None` if only the source was.
    pub(super) fn mountpoint(&self) -> Option<PathBuf> {
        self.merged.mountpoint.as_ref().map(|setting| setting.as_path().to_path_buf())
    }

    /// Whether other users are to enter it.
    pub(super) fn allows_others(&self) -> bool {
        let text = self.merged.settings.get("allow-other").text.as_ref();
        text.is_some_and(|text| text == "true")
    }
}
