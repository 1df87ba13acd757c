//! What a folder is: a plain folder, or a Zarr store, and which images a store holds.
//!
//! A store is recognised by its metadata files, not by its name. Groups are walked, arrays and
//! multiscale groups are not entered. Nothing found is lost silently: what is not an image is in
//! [`Store::skipped`] with its reason.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::image::{About, ImageSource, Place, Role};
use super::metadata::{METADATA_FILES, ZarrNode, read_node};
use super::ome;
use super::root::{DirEntry, Fingerprint, SourceRoot, join};
use super::series::SeriesXml;
use super::{SourceError, Unsupported};

/// Nested groups entered within a store.
const DEPTH_LIMIT: usize = 32;

/// Nodes looked at within a store: the largest plates have some 10^4 fields.
const NODE_LIMIT: usize = 200_000;

/// Metadata files of more bytes than this are large: those of an image have some thousands.
const LARGE_METADATA_BYTES: u64 = 256 << 10;

/// What a folder is.
#[derive(Debug)]
pub enum Folder {
    /// No Zarr metadata: a folder to mirror. Holds the state in which it was found so.
    Plain(Fingerprint),
    /// A Zarr hierarchy, or something that promised to be one.
    Store(Box<Store>),
}

/// The images of a store.
#[derive(Debug, Default)]
pub struct Store {
    /// Images, in the order of their paths.
    pub images: Vec<Arc<ImageSource>>,
    /// What is not shown, with paths below the source folder.
    pub skipped: Vec<(PathBuf, SourceError)>,
    /// The files all this was read from.
    pub fingerprint: Fingerprint,
}

/// Whether a name promises a Zarr store.
#[must_use]
pub fn is_store_name(name: &Path) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| matches!(extension, "zarr" | "zr"))
}

/// The reason why a regular file is not shown, for files that promise a store.
#[must_use]
pub fn skipped_file(path: &Path) -> Option<SourceError> {
    let extension = path.extension().and_then(|extension| extension.to_str())?;
    match extension {
        "ozx" | "zip" => Some(SourceError::unsupported(path, Unsupported::Zip)),
        "zarr" | "zr" => Some(SourceError::unsupported(path, Unsupported::NoMetadata)),
        _ => None,
    }
}

/// The reason for a bad link, for links whose name promises a store.
#[must_use]
pub fn skipped_link(path: &Path) -> Option<SourceError> {
    is_store_name(path).then(|| SourceError::unsupported(path, Unsupported::Link))
}

/// Looks at a folder. With `labels`, label images are found as well.
///
/// # Errors
/// [`SourceError::Io`] when the folder itself cannot be read. Faults inside a store are in
/// [`Store::skipped`].
pub fn inspect(root: &Arc<SourceRoot>, folder: &Path, labels: bool) -> Result<Folder, SourceError> {
    let (xml, found) = (SeriesXml::default(), Store::default());
    let mut walk = Walk { root, store: folder, labels, xml, found, nodes: 0 };
    // Before: metadata may come while it is looked for.
    let plain = root.stamp(folder);
    let node = read_node(root, folder, &mut walk.found.fingerprint);
    if matches!(node, Ok(None)) {
        if root.stamp(&folder.join("attributes.json")).is_some() && is_n5(folder) {
            walk.found.fingerprint.record_stamp(folder, plain);
            walk.found.skipped.push(skip(folder, Unsupported::N5));
            return Ok(Folder::Store(Box::new(walk.found)));
        }
        if !is_store_name(folder) {
            // Metadata files cannot appear without a change of the folder itself.
            let mut fingerprint = Fingerprint::default();
            fingerprint.record_stamp(folder, plain);
            return Ok(Folder::Plain(fingerprint));
        }
        walk.found.fingerprint.record_stamp(folder, plain);
        // Some writers leave out the group metadata at the root.
        root.each_entry(folder, &mut |_| ControlFlow::Break(()))?;
        walk.group(Path::new(""), 0);
        if walk.found.images.is_empty() && walk.found.skipped.is_empty() {
            walk.found.skipped.push(skip(folder, Unsupported::NoMetadata));
        }
        return Ok(Folder::Store(Box::new(walk.found)));
    }
    walk.node(Path::new(""), node, 0);
    let found = &mut walk.found;
    if found.images.is_empty() && found.skipped.is_empty() {
        found.skipped.push(skip(folder, Unsupported::NoImage));
    }
    Ok(Folder::Store(Box::new(walk.found)))
}

/// Reads one image that [`inspect`] has found before.
///
/// # Errors
/// [`SourceError`] when it cannot be read any more, or is gone.
pub fn open_image(
    root: &Arc<SourceRoot>,
    store: &Path,
    image: &str,
    multiscale: usize,
) -> Result<ImageSource, SourceError> {
    let folder = join(store, Path::new(image));
    let mut fingerprint = Fingerprint::default();
    match read_node(root, &folder, &mut fingerprint)? {
        Some(ZarrNode::Array(node)) => {
            ImageSource::from_array(root, store, image, &node, fingerprint)
        }
        Some(ZarrNode::Group(attributes)) => {
            let multiscales = ome::multiscales(&attributes);
            let found = multiscales
                .get(multiscale)
                .ok_or_else(|| SourceError::unsupported(&folder, Unsupported::NoImage))?;
            let role = role_of(Path::new(image), &attributes);
            let place = Place { store, image, multiscale, role };
            let xml = SeriesXml::default().of(root, store, image, &mut fingerprint);
            let about = About { attributes: &attributes, xml };
            ImageSource::from_multiscale(root, &place, found, about, &mut fingerprint)
        }
        None => Err(SourceError::unsupported(folder, Unsupported::NoMetadata)),
    }
}

/// Whether the metadata of a folder is so long that reading it may take much memory.
#[must_use]
pub fn has_large_metadata(root: &SourceRoot, folder: &Path) -> bool {
    let bytes = |name: &str| root.stamp(&folder.join(name)).map(|stamp| stamp.size);
    // Most folders have the first one, and then the others do not count.
    let bytes = match bytes(METADATA_FILES[0]) {
        Some(bytes) => bytes,
        None => METADATA_FILES[1..].iter().filter_map(|name| bytes(name)).max().unwrap_or(0),
    };
    bytes > LARGE_METADATA_BYTES
}

/// Whether a folder is itself an image, and not a folder of stores.
#[must_use]
pub fn is_image(root: &SourceRoot, folder: &Path) -> bool {
    match read_node(root, folder, &mut Fingerprint::default()) {
        Ok(Some(ZarrNode::Array(_))) => true,
        Ok(Some(ZarrNode::Group(attributes))) => !ome::multiscales(&attributes).is_empty(),
        Ok(None) | Err(_) => false,
    }
}

fn is_n5(folder: &Path) -> bool {
    folder.extension().is_some_and(|extension| extension == "n5")
}

fn skip(path: &Path, reason: Unsupported) -> (PathBuf, SourceError) {
    (path.to_path_buf(), SourceError::unsupported(path, reason))
}

/// What a multiscales group is for: labels say so, or lie in a folder of that name (OME-NGFF 0.4,
/// "labels").
fn role_of(inside: &Path, attributes: &Map<String, Value>) -> Role {
    let folder = inside.parent().and_then(Path::file_name);
    if ome::is_label(attributes) || folder.is_some_and(|name| name == "labels") {
        Role::Label
    } else {
        Role::Image
    }
}

struct Walk<'a> {
    root: &'a Arc<SourceRoot>,
    store: &'a Path,
    labels: bool,
    xml: SeriesXml,
    found: Store,
    nodes: usize,
}

impl Walk<'_> {
    fn node(&mut self, inside: &Path, node: Result<Option<ZarrNode>, SourceError>, depth: usize) {
        let folder = join(self.store, inside);
        self.nodes += 1;
        match node {
            Err(error) => self.found.skipped.push((folder, error)),
            Ok(Some(ZarrNode::Array(node))) => {
                let fingerprint = self.own_fingerprint(&folder);
                let image = inside.to_string_lossy();
                let image =
                    ImageSource::from_array(self.root, self.store, &image, &node, fingerprint);
                self.image(&folder, image);
            }
            Ok(Some(ZarrNode::Group(attributes))) if ome::is_table(&attributes) => {
                self.found.skipped.push(skip(&folder, Unsupported::Table));
            }
            Ok(Some(ZarrNode::Group(attributes))) => {
                let multiscales = ome::multiscales(&attributes);
                if multiscales.is_empty() {
                    self.group(inside, depth);
                    return;
                }
                let role = role_of(inside, &attributes);
                if role == Role::Label && !self.labels {
                    self.found.skipped.push(skip(&folder, Unsupported::Label));
                    return;
                }
                for (index, multiscale) in multiscales.iter().enumerate() {
                    let mut fingerprint = self.own_fingerprint(&folder);
                    let image = inside.to_string_lossy();
                    let place = Place { store: self.store, image: &image, multiscale: index, role };
                    let xml = self.xml.of(self.root, self.store, &image, &mut fingerprint);
                    let about = About { attributes: &attributes, xml };
                    let image = ImageSource::from_multiscale(
                        self.root,
                        &place,
                        multiscale,
                        about,
                        &mut fingerprint,
                    );
                    // Also without an image: the arrays may be written later than the group.
                    self.found.fingerprint.absorb(&fingerprint);
                    self.image(&folder, image);
                }
                let left_out = ome::multiscales_left_out(&attributes);
                if left_out > 0 {
                    self.found.skipped.push(skip(&folder, Unsupported::TooManyImages(left_out)));
                }
                // A label image has none of its own; a link to an image here would have them for ever.
                if role == Role::Image {
                    self.labels(inside, depth);
                }
            }
            Ok(None) => self.group(inside, depth),
        }
    }

    /// The metadata files of one node, as they were when it was read.
    fn own_fingerprint(&self, folder: &Path) -> Fingerprint {
        let mut own = Fingerprint::default();
        for name in METADATA_FILES {
            own.copy_from(&self.found.fingerprint, &folder.join(name));
        }
        own
    }

    fn image(&mut self, folder: &Path, image: Result<ImageSource, SourceError>) {
        match image {
            Ok(image) => self.found.images.push(Arc::new(image)),
            Err(error) => self.found.skipped.push((folder.to_path_buf(), error)),
        }
    }

    /// Enters a group that is no image.
    fn group(&mut self, inside: &Path, depth: usize) {
        let folder = join(self.store, inside);
        self.found.fingerprint.record(self.root, &folder);
        if depth >= DEPTH_LIMIT || self.nodes >= NODE_LIMIT {
            let limit = if depth >= DEPTH_LIMIT { DEPTH_LIMIT } else { NODE_LIMIT };
            self.found.skipped.push(skip(&folder, Unsupported::TooDeep(limit)));
            return;
        }
        let entries = match self.root.list(&folder, DirEntry::is_folder) {
            Ok(entries) => entries,
            Err(error) => {
                self.found.fingerprint.doubt();
                self.found.skipped.push((folder, error));
                return;
            }
        };
        for entry in entries {
            let inside = inside.join(&entry.name);
            let path = join(self.store, &inside);
            if entry.name.to_str().is_none() {
                self.found.skipped.push(skip(&path, Unsupported::Name));
                continue;
            }
            let node = read_node(self.root, &path, &mut self.found.fingerprint);
            self.node(&inside, node, depth + 1);
        }
    }

    /// The label images of an image, or their names where they are not shown.
    fn labels(&mut self, inside: &Path, depth: usize) {
        let labels = inside.join("labels");
        let folder = join(self.store, &labels);
        if self.root.stamp(&folder).is_none() {
            // Nearly always: one look tells what four would.
            self.found.fingerprint.record_stamp(&folder, None);
            return;
        }
        let node = read_node(self.root, &folder, &mut self.found.fingerprint);
        let Ok(Some(ZarrNode::Group(attributes))) = node else { return };
        let mut seen = BTreeSet::new();
        for name in ome::label_names(&attributes) {
            let below: PathBuf = Path::new(&name).components().collect();
            let is_below = below.components().all(|part| matches!(part, Component::Normal(_)));
            let path = folder.join(&below);
            if below.as_os_str().is_empty() || !seen.insert(below.clone()) {
                continue;
            }
            if !is_below {
                self.found.skipped.push(skip(&folder, Unsupported::PathEscapes(name)));
            } else if !self.labels {
                self.found.skipped.push(skip(&path, Unsupported::Label));
            } else if depth >= DEPTH_LIMIT || self.nodes >= NODE_LIMIT {
                self.found.skipped.push(skip(&path, Unsupported::TooDeep(NODE_LIMIT)));
            } else {
                let inside = labels.join(&below);
                let node = read_node(self.root, &path, &mut self.found.fingerprint);
                self.node(&inside, node, depth + 1);
            }
        }
    }
}
