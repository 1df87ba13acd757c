//! Listings, page by page.

use super::state::ObjectState;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOf {
    /// The folders and objects right in a folder.
    Folder,
    /// All objects below a folder, at any depth.
    Everything,
}

/// A page of a listing. Names are relative to the folder that is listed.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Names of folders.
    pub folders: Vec<String>,
    /// Objects by their names.
    pub objects: Vec<(String, ObjectState)>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
    /// An empty object of its name marks the folder, as some tools do.
    pub is_marked: bool,
}

impl Page {
    pub(super) fn of(
        folder: &str,
        listed: &object_store::ListResult,
        next: Option<String>,
    ) -> Self {
        let inside = |path: &object_store::path::Path| {
            let path: &str = path.as_ref();
            let name = path.strip_prefix(folder)?;
            let name = if folder.is_empty() { name } else { name.strip_prefix('/')? };
            (!name.is_empty()).then(|| name.to_owned())
        };
        let folders = listed.common_prefixes.iter().filter_map(inside).collect();
        let object = |meta: &object_store::ObjectMeta| {
            Some((inside(&meta.location)?, ObjectState::of(meta)))
        };
        let objects: Vec<_> = listed.objects.iter().filter_map(object).collect();
        let is_marked = objects.len() < listed.objects.len();
        Self { folders, objects, next, is_marked }
    }
}
