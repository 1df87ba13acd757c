//! The walk through the nodes of one store.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::super::above::{Above, Said};
use super::super::assemble::About;
use super::super::error::{SourceError, Unsupported};
use super::super::fingerprint::Fingerprint;
use super::super::foreign;
use super::super::image::ImageSource;
use super::super::metadata::{ArrayNode, METADATA_FILES, ZarrNode, read_node};
use super::super::nodes::Nodes;
use super::super::ome::{self, Multiscale};
use super::super::place::{Place, Role, SaysAxes};
use super::super::plate::{Membership, Plates};
use super::super::root::{DirEntry, EntryKind, SourceRoot, join};
use super::super::series::SeriesXml;
use super::super::storage::Seen;
use super::found::{Store, role_of, shown, skip};
use super::not_image::{not_an_image, not_understood};
use super::stated;

/// Nested groups entered within a store.
const DEPTH_LIMIT: usize = 32;

/// Nodes looked at within a store: the largest plates have some 10^4 fields.
const NODE_LIMIT: usize = 200_000;

/// Characters of a name that a reason quotes.
const NAME_TOLD_CHARS: usize = 64;

pub(super) struct Walk<'a> {
    pub(super) root: &'a Arc<SourceRoot>,
    pub(super) store: &'a Path,
    /// Whether label images are shown.
    pub(super) labels: bool,
    /// What a person says of the dimensions of images.
    pub(super) axes: SaysAxes<'a>,
    pub(super) xml: SeriesXml,
    pub(super) above: Above,
    pub(super) plates: Plates,
    pub(super) found: Store,
    pub(super) nodes: usize,
    /// Inside the group of an image that is shown: other nodes are reported, not shown.
    pub(super) is_inside_image: bool,
}

/// What is known of the images of a group before they are read.
struct Known {
    role: Role,
    membership: Membership,
    above: Said,
    /// The files that `above` was read from.
    signs: Fingerprint,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        root: &'a Arc<SourceRoot>,
        store: &'a Path,
        labels: bool,
        axes: SaysAxes<'a>,
    ) -> Self {
        Self {
            root,
            store,
            labels,
            axes,
            xml: SeriesXml::default(),
            above: Above::default(),
            plates: Plates::default(),
            found: Store::default(),
            nodes: 0,
            is_inside_image: false,
        }
    }
}

impl Walk<'_> {
    pub(super) fn skip(&mut self, path: &Path, reason: Unsupported) {
        self.found.skipped.push(skip(path, reason));
    }

    /// Reports something that could not be read, and may be readable the next time.
    pub(super) fn fail(&mut self, path: PathBuf, error: SourceError) {
        if matches!(error, SourceError::Io { .. }) {
            self.found.fingerprint.doubt();
        }
        self.found.skipped.push((path, error));
    }

    pub(super) fn read_node(&mut self, folder: &Path) -> Result<Option<ZarrNode>, SourceError> {
        read_node(self.root, folder, &mut self.found.fingerprint)
    }

    /// Decides what a folder is, from its metadata.
    pub(super) fn node(
        &mut self,
        inside: &Path,
        node: Result<Option<ZarrNode>, SourceError>,
        depth: usize,
    ) {
        self.nodes += 1;
        match node {
            Err(error) => self.fail(join(self.store, inside), error),
            Ok(Some(ZarrNode::Array(node))) => self.array(inside, &node),
            Ok(Some(ZarrNode::Group(attributes))) => self.group_node(inside, &attributes, depth),
            Ok(None) => {
                let folder = join(self.store, inside);
                let mut fingerprint = Fingerprint::default();
                let format = foreign::format_of(self.root, &folder, &mut fingerprint);
                self.found.fingerprint.absorb(&fingerprint);
                if let Ok(Some(format)) = format {
                    return self.skip(&folder, format);
                }
                if let Err(error) = format {
                    self.fail(folder, error);
                }
                self.group(inside, depth);
            }
        }
    }

    /// An array that is no level of a multiscales group.
    fn array(&mut self, inside: &Path, node: &ArrayNode) {
        let folder = join(self.store, inside);
        let role = role_of(inside, &node.attributes, &Said::default());
        if let Some(reason) = not_an_image(inside, node) {
            self.skip(&folder, reason);
        } else if self.is_inside_image {
            self.skip(&folder, Unsupported::Unlisted);
        } else if role == Role::Label && !self.labels {
            self.skip(&folder, Unsupported::Label);
        } else if let Some(membership) = self.membership(inside, role) {
            let fingerprint = self.own_fingerprint(&folder);
            let image = inside.to_string_lossy();
            let axes = (self.axes)(&image, role);
            let place = Place {
                store: self.store,
                image: &image,
                multiscale: 0,
                role,
                axes: axes.as_ref(),
            };
            let image = ImageSource::from_array(self.root, &place, node, fingerprint);
            let image = image.map(|image| shown(self.root, image, membership));
            self.image(&folder, image);
        }
    }

    fn group_node(&mut self, inside: &Path, attributes: &Map<String, Value>, depth: usize) {
        let folder = join(self.store, inside);
        if ome::is_table(attributes) {
            self.skip(&folder, Unsupported::Table);
            return;
        }
        let multiscales = ome::multiscales(attributes);
        let nodes = ome::nodes(attributes);
        self.links(inside, &nodes);
        if multiscales.is_empty() {
            if let Some(reason) = not_understood(attributes) {
                self.skip(&folder, reason);
            }
            self.plates.learn(inside, attributes);
            self.group(inside, depth);
            return;
        }
        let mut signs = Fingerprint::default();
        let above = self.above.of(self.root, self.store, &inside.to_string_lossy(), &mut signs);
        self.found.fingerprint.absorb(&signs);
        let role = role_of(inside, attributes, &above);
        if role == Role::Label && !self.labels {
            self.skip(&folder, Unsupported::Label);
        } else if self.is_inside_image {
            self.skip(&folder, Unsupported::InnerImage);
        } else if let Some(membership) = self.membership(inside, role) {
            let known = Known { role, membership, above, signs };
            self.images(inside, attributes, &multiscales, &known);
            // A label image has none of its own; a link to an image here would have them for ever.
            if nodes.is_collection {
                let known = first_parts(&multiscales);
                self.members(inside, depth, &|name| !known.contains(name));
            } else if role == Role::Image {
                self.beside_levels(inside, &multiscales, depth);
            }
        }
    }

    /// Reports the nodes of a collection that are not found by walking: those that are not there, or lie
    /// elsewhere, and those of unknown types.
    fn links(&mut self, inside: &Path, nodes: &Nodes) {
        let folder = join(self.store, inside);
        for link in &nodes.links {
            let name = || link.name.chars().take(NAME_TOLD_CHARS).collect();
            let Some(path) = &link.path else {
                self.skip(&folder, Unsupported::NodeElsewhere(name()));
                continue;
            };
            let target = join(&folder, Path::new(path));
            if self.found.fingerprint.record(self.root, &target) == Seen::Absent {
                self.skip(&target, Unsupported::NodeMissing(name()));
            }
        }
        if let Some(kind) = nodes.unknown.first() {
            self.skip(&folder, Unsupported::OmeMembers(format!("nodes of type {kind:?}")));
        }
    }

    /// The images of a multiscales group.
    fn images(
        &mut self,
        inside: &Path,
        attributes: &Map<String, Value>,
        multiscales: &[Multiscale],
        known: &Known,
    ) {
        let folder = join(self.store, inside);
        let image = inside.to_string_lossy();
        for (index, multiscale) in multiscales.iter().enumerate() {
            let mut fingerprint = self.own_fingerprint(&folder);
            fingerprint.absorb(&known.signs);
            let role = if multiscale.is_label { Role::Label } else { known.role };
            if role == Role::Label && !self.labels {
                self.skip(&folder, Unsupported::Label);
                continue;
            }
            let axes = (self.axes)(&image, role);
            let axes = axes.as_ref();
            let place = Place { store: self.store, image: &image, multiscale: index, role, axes };
            let xml = self.xml.of(self.root, self.store, &image, &mut fingerprint);
            let about = About { attributes, xml, above: known.above.clone(), beside: None };
            let found = ImageSource::from_multiscale(
                self.root,
                &place,
                multiscale,
                about,
                &mut fingerprint,
            );
            // Also without an image: the arrays may be written later than the group.
            self.found.fingerprint.absorb(&fingerprint);
            let found = found.map(|image| shown(self.root, image, known.membership.clone()));
            self.image(&folder, found);
        }
        let left_out = ome::multiscales_left_out(attributes);
        if left_out > 0 {
            self.skip(&folder, Unsupported::TooManyImages(left_out));
        }
    }

    /// What the plate above an image says of it; `None`, and a line, where it leaves the image out. Labels are
    /// those of an image that is listed.
    fn membership(&mut self, inside: &Path, role: Role) -> Option<Membership> {
        if role == Role::Label {
            return Some(Membership::NoPlate);
        }
        let image = inside.to_string_lossy();
        let membership = self.plates.membership(self.root, self.store, &image);
        if membership == Membership::NotListed {
            self.skip(&join(self.store, inside), Unsupported::NotInPlate);
            return None;
        }
        Some(membership)
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
            Ok(image) => {
                // Arrays and files beside it may say something of it.
                self.found.fingerprint.absorb(&image.fingerprint);
                self.found.images.push(image);
            }
            Err(error) => self.fail(folder.to_path_buf(), error),
        }
    }

    /// Finds the labels of an image, and reports other nodes in its group that are no levels of it.
    fn beside_levels(&mut self, inside: &Path, multiscales: &[Multiscale], depth: usize) {
        let mut known = first_parts(multiscales);
        known.extend(["labels", "OME"].map(OsStr::new));
        let is_known = |name: &OsStr| known.contains(name);
        let folder = join(self.store, inside);
        let (mut has_labels, mut has_more) = (false, false);
        let mut see = |name: &OsStr| {
            has_labels |= name == "labels";
            has_more |= !is_known(name);
        };
        let looked = match self.root.each_name(&folder, &mut see) {
            Err(error) if lists_nothing(&error) => {
                // What no metadata states may still be labels, which have a name of their own.
                see(OsStr::new("labels"));
                for name in stated::members(self.root, self.store, inside) {
                    see(name.as_ref());
                }
                Ok(())
            }
            looked => looked,
        };
        // The folder is not recorded: writers put files there that come and go, and nothing that is shown
        // depends on them.
        if let Err(error) = looked {
            self.fail(folder.clone(), SourceError::io(&folder, error));
        }
        if has_labels {
            self.label_images(inside, depth);
        } else {
            self.found.fingerprint.record_stamp(&folder.join("labels"), None);
        }
        if has_more {
            self.is_inside_image = true;
            self.members(inside, depth, &|name| !is_known(name));
            self.is_inside_image = false;
        }
    }

    /// Enters a group that is no image.
    pub(super) fn group(&mut self, inside: &Path, depth: usize) {
        self.members(inside, depth, &|_| true);
    }

    /// Inspects the members of a group that `is_wanted` accepts.
    pub(super) fn members(
        &mut self,
        inside: &Path,
        depth: usize,
        is_wanted: &dyn Fn(&OsStr) -> bool,
    ) {
        let folder = join(self.store, inside);
        if !self.is_inside_image {
            self.found.fingerprint.record(self.root, &folder);
        }
        if let Some(reason) = self.limit(depth) {
            self.skip(&folder, reason);
            return;
        }
        let entries = self.root.list(&folder, |entry| {
            (entry.is_folder() || entry.kind == EntryKind::BadLink) && is_wanted(&entry.name)
        });
        let entries = match entries {
            Ok(entries) => entries,
            Err(SourceError::Io { source, .. }) if lists_nothing(&source) => {
                let names = stated::members(self.root, self.store, inside).into_iter();
                let names = names.map(OsString::from).filter(|name| is_wanted(name));
                names.map(|name| DirEntry { name, kind: EntryKind::Directory }).collect()
            }
            Err(error) => return self.fail(folder, error),
        };
        for entry in entries {
            let inside = inside.join(&entry.name);
            let path = join(self.store, &inside);
            if entry.kind == EntryKind::BadLink {
                // Its target may come later.
                self.found.fingerprint.doubt();
                self.skip(&path, Unsupported::Link);
            } else if entry.name.to_str().is_none() {
                self.skip(&path, Unsupported::Name);
            } else {
                let node = self.read_node(&path);
                self.node(&inside, node, depth + 1);
            }
        }
    }

    /// The limit that is reached, if any.
    pub(super) fn limit(&self, depth: usize) -> Option<Unsupported> {
        if depth >= DEPTH_LIMIT {
            Some(Unsupported::TooDeep(DEPTH_LIMIT))
        } else if self.nodes >= NODE_LIMIT {
            Some(Unsupported::TooDeep(NODE_LIMIT))
        } else {
            None
        }
    }

    /// Finds the label images of an image: those that the group `labels` lists (OME-NGFF 0.4, "labels"),
    /// and those that lie in it all the same, as its list may be absent or incomplete.
    fn label_images(&mut self, inside: &Path, depth: usize) {
        let labels = inside.join("labels");
        let folder = join(self.store, &labels);
        let names = match self.read_node(&folder) {
            Ok(Some(ZarrNode::Group(attributes))) => ome::label_names(&attributes),
            Ok(Some(ZarrNode::Array(_))) => return self.skip(&folder, Unsupported::Unlisted),
            Ok(None) => Vec::new(),
            Err(error) => {
                self.fail(folder.clone(), error);
                Vec::new()
            }
        };
        let (mut seen, mut listed) = (BTreeSet::new(), BTreeSet::new());
        for name in names {
            let below: PathBuf = Path::new(&name).components().collect();
            if !below.as_os_str().is_empty() && seen.insert(below.clone()) {
                self.listed_label(&labels, &name, &below, depth);
                listed.extend(below.iter().next().map(OsStr::to_owned));
            }
        }
        self.members(&labels, depth + 1, &|name| !listed.contains(name));
    }

    fn listed_label(&mut self, labels: &Path, name: &str, below: &Path, depth: usize) {
        let folder = join(self.store, labels);
        let path = folder.join(below);
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            self.skip(&folder, Unsupported::PathEscapes(name.to_owned()));
        } else if !self.labels {
            self.skip(&path, Unsupported::Label);
        } else if let Some(reason) = self.limit(depth + below.components().count()) {
            self.skip(&path, reason);
        } else {
            let node = self.read_node(&path);
            self.node(&labels.join(below), node, depth + 1);
        }
    }
}

/// The members of a group that hold levels of its images.
fn first_parts(multiscales: &[Multiscale]) -> BTreeSet<&OsStr> {
    let datasets = multiscales.iter().flat_map(|multiscale| &multiscale.datasets);
    let parts = datasets.map(|dataset| Path::new(&dataset.path).components());
    let first = parts.filter_map(|mut parts| {
        parts.find_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
    });
    first.collect()
}

/// Whether an error says that the source has no listing, as a web server.
fn lists_nothing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
}
