//! What the groups above an image say of it: its name and kind in a collection (OME-NGFF RFC-8), its place in
//! a scene (0.6).
//!
//! Both stand in `zarr.json` only. The groups are looked at from the image upwards, up to the root of its
//! store. Files that speak of images are part of the state of those; others are not: a plate that grows must
//! not change its other images. A file that cannot be read says nothing, and is reported where it is walked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::SourceError;
use super::fingerprint::Fingerprint;
use super::json::parse_lenient;
use super::nodes::{Link, Nodes};
use super::root::{SourceRoot, join};
use super::scene::{Placement, Scene};
use super::storage::Stamp;

/// What is said of an image.
#[derive(Debug, Default, Clone)]
pub(crate) struct Said {
    pub(crate) name: Option<String>,
    pub(crate) is_label: bool,
    pub(crate) place: Option<Placement>,
}

/// Reads the groups above images; remembers those above the last one.
#[derive(Debug, Default)]
pub(crate) struct Above {
    last: Vec<Arc<Group>>,
}

/// What a group says of others.
#[derive(Debug)]
struct Group {
    folder: PathBuf,
    stamp: Option<Stamp>,
    is_doubtful: bool,
    links: Vec<Link>,
    scene: Option<Scene>,
}

impl Above {
    /// What the groups above say of the image at a path within a store. The nearest one that says anything
    /// counts.
    pub(crate) fn of(
        &mut self,
        root: &SourceRoot,
        store: &Path,
        image: &str,
        fingerprint: &mut Fingerprint,
    ) -> Said {
        let image = Path::new(image);
        let mut said = Said::default();
        let mut groups = Vec::new();
        for above in image.ancestors().skip(1) {
            let folder = join(store, above);
            let known = self.last.iter().find(|group| group.folder == folder).cloned();
            let group = known.unwrap_or_else(|| Arc::new(Group::read(root, folder)));
            group.record(fingerprint);
            let inside = image.strip_prefix(above).unwrap_or(image).to_string_lossy();
            if let Some(link) =
                group.links.iter().find(|link| link.path.as_deref() == Some(&*inside))
            {
                said.is_label |= link.is_label;
                said.name = said.name.or_else(|| Some(link.name.clone())).filter(|n| !n.is_empty());
            }
            // The labels of an image lie where it lies.
            let labelled = inside.split_once("/labels/").map_or(&*inside, |(outer, _)| outer);
            let is_outer = labelled.len() < inside.len();
            let place = group.scene.as_ref().and_then(|scene| scene.placement(labelled));
            said.place = said.place.or_else(|| {
                let mut place = place?;
                if is_outer {
                    place.system = String::new();
                }
                Some(place)
            });
            groups.push(group);
        }
        self.last = groups;
        said
    }
}

impl Group {
    fn read(root: &SourceRoot, folder: PathBuf) -> Self {
        let mut group =
            Self { folder, stamp: None, is_doubtful: false, links: Vec::new(), scene: None };
        let read = root.read_metadata(&group.folder.join("zarr.json"));
        group.is_doubtful = matches!(read, Err(SourceError::Io { .. }));
        if let Ok(Some((bytes, stamp))) = read {
            group.stamp = Some(stamp);
            if let Some(ome) = ome_of(&bytes) {
                group.links = Nodes::of(&ome).links;
                group.scene = Scene::parse(&ome);
            }
        }
        group
    }

    fn record(&self, fingerprint: &mut Fingerprint) {
        if self.is_doubtful {
            fingerprint.doubt();
        } else if self.scene.is_some() || !self.links.is_empty() {
            fingerprint.record_stamp(&self.folder.join("zarr.json"), self.stamp);
        }
    }
}

/// The object `ome` of a `zarr.json`. Most groups above images have none, and need not be parsed.
fn ome_of(bytes: &[u8]) -> Option<Map<String, Value>> {
    const SIGNS: [&[u8]; 3] = [b"\"scene\"", b"\"nodes\"", b"\"coordinateTransformations\""];
    if !SIGNS.iter().any(|sign| bytes.windows(sign.len()).any(|part| part == *sign)) {
        return None;
    }
    let Ok(Value::Object(mut document)) = parse_lenient(bytes) else { return None };
    let Some(Value::Object(mut attributes)) = document.remove("attributes") else { return None };
    match attributes.remove("ome") {
        Some(Value::Object(ome)) => Some(ome),
        _ => None,
    }
}
