//! What a folder is: a plain folder, or a Zarr store, and which images a store holds.
//!
//! A store is recognised by its metadata files, not by its name. Groups are walked, arrays are not
//! entered, and nodes in a multiscales group beside its levels and labels are reported, not shown.
//! Nothing is lost silently: [`Store::skipped`] has every node that is not an image, and every file that
//! could not be read, with the reason. Unreadable files are looked at again later.

mod found;
mod names;
mod not_image;
mod stated;
mod walk;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::above::{Above, Said};
use super::assemble::About;
use super::error::{SourceError, Unsupported};
use super::fingerprint::Fingerprint;
use super::foreign;
use super::image::ImageSource;
use super::metadata::{ZarrNode, read_node};
use super::ome;
use super::place::{Place, SaysAxes};
use super::plate::Plates;
use super::root::{SourceRoot, join};
use super::series::SeriesXml;
use super::storage::{FileKind, Seen};
use found::{role_of, shown};
use walk::Walk;

pub use found::Store;
pub use names::{File, is_notable_file, is_store_name, look_at_file, skipped_link};

/// What a folder, or an archive, is.
#[derive(Debug)]
pub enum Folder {
    /// No Zarr metadata: a folder to mirror. Without images.
    Plain(Box<Store>),
    /// A Zarr hierarchy, or something that promised to be one.
    Store(Box<Store>),
}

/// Looks at a folder. With `labels`, label images are found as well.
///
/// # Errors
/// [`SourceError::Io`] when the folder itself cannot be read. Faults inside a store are in
/// [`Store::skipped`].
pub fn inspect(root: &Arc<SourceRoot>, folder: &Path, labels: bool) -> Result<Folder, SourceError> {
    inspect_as(root, folder, labels, &|_, _| None)
}

/// The same, where a person says what the dimensions of images are.
///
/// # Errors
/// As for [`inspect`].
pub fn inspect_as(
    root: &Arc<SourceRoot>,
    folder: &Path,
    labels: bool,
    axes: SaysAxes<'_>,
) -> Result<Folder, SourceError> {
    let walk = Walk::new(root, folder, labels, axes);
    // Before: metadata may come while it is looked for.
    let (before, kind) = root.look_at(folder);
    let is_archive = kind == Some(FileKind::File);
    let mut found = inspect_folder(walk, before, is_archive)?;
    if let Folder::Store(store) = &mut found
        && is_archive
    {
        if let Some(names) = root.storage().left_out(folder) {
            store.skipped.push(found::skip(folder, Unsupported::Members(names)));
        }
        store.fingerprint = store.fingerprint.of_one(folder, before);
    }
    Ok(found)
}

/// Looks at a folder, or at an archive, which is always a store. `before` is its state.
fn inspect_folder(
    mut walk: Walk<'_>,
    before: Seen,
    is_archive: bool,
) -> Result<Folder, SourceError> {
    let (root, folder) = (walk.root, walk.store);
    let node = walk.read_node(folder);
    if matches!(node, Ok(None)) {
        let mut signs = Fingerprint::default();
        let format = foreign::format_of(root, folder, &mut signs);
        if !is_archive && !is_store_name(folder) && !matches!(format, Ok(Some(_))) {
            // Metadata files cannot appear without a change of the folder itself.
            walk.found.fingerprint = Fingerprint::default();
            walk.found.fingerprint.add(folder, before);
            if let Err(error) = format {
                walk.fail(folder.to_path_buf(), error);
            }
            return Ok(Folder::Plain(Box::new(walk.found)));
        }
        walk.found.fingerprint.add(folder, before);
        walk.found.fingerprint.absorb(&signs);
        if let Ok(Some(format)) = format {
            walk.skip(folder, format);
            return Ok(Folder::Store(Box::new(walk.found)));
        }
        if let Err(error) = format {
            walk.fail(folder.to_path_buf(), error);
        }
        // Some writers leave out the group metadata at the root.
        root.each_entry(folder, &mut |_| ControlFlow::Break(()))?;
        walk.group(Path::new(""), 0);
        if walk.found.images.is_empty() && walk.found.skipped.is_empty() {
            walk.skip(folder, Unsupported::NoMetadata);
        }
        return Ok(Folder::Store(Box::new(walk.found)));
    }
    walk.node(Path::new(""), node, 0);
    if walk.found.images.is_empty() && walk.found.skipped.is_empty() {
        walk.skip(folder, Unsupported::NoImage);
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
    open_image_as(root, store, image, multiscale, &|_, _| None)
}

/// The same, where a person says what the dimensions of images are.
///
/// # Errors
/// As for [`open_image`].
pub fn open_image_as(
    root: &Arc<SourceRoot>,
    store: &Path,
    image: &str,
    multiscale: usize,
    axes: SaysAxes<'_>,
) -> Result<ImageSource, SourceError> {
    let folder = join(store, Path::new(image));
    let (mut fingerprint, mut plates) = (Fingerprint::default(), Plates::default());
    match read_node(root, &folder, &mut fingerprint)? {
        Some(ZarrNode::Array(node)) => {
            let role = role_of(Path::new(image), &node.attributes, &Said::default());
            let axes = axes(image, role);
            let place = Place { store, image, multiscale: 0, role, axes: axes.as_ref() };
            let found = ImageSource::from_array(root, &place, &node, fingerprint)?;
            Ok(shown(root, found, plates.membership(root, store, image)))
        }
        Some(ZarrNode::Group(attributes)) => {
            let multiscales = ome::multiscales(&attributes);
            let found = multiscales
                .get(multiscale)
                .ok_or_else(|| SourceError::unsupported(&folder, Unsupported::NoImage))?;
            let above = Above::default().of(root, store, image, &mut fingerprint);
            let role = role_of(Path::new(image), &attributes, &above);
            let axes = axes(image, role);
            let place = Place { store, image, multiscale, role, axes: axes.as_ref() };
            let xml = SeriesXml::default().of(root, store, image, &mut fingerprint);
            let about = About { attributes: &attributes, xml, above, beside: None };
            let found = ImageSource::from_multiscale(root, &place, found, about, &mut fingerprint)?;
            Ok(shown(root, found, plates.membership(root, store, image)))
        }
        None => Err(SourceError::unsupported(folder, Unsupported::NoMetadata)),
    }
}

/// Whether a source folder called `name` is itself a store, and not a folder of stores. A group that states
/// nothing, and is not called like a store, holds stores.
#[must_use]
pub fn is_one_store(root: &SourceRoot, name: &Path) -> bool {
    match read_node(root, Path::new(""), &mut Fingerprint::default()) {
        Ok(Some(ZarrNode::Group(attributes))) => !attributes.is_empty() || is_store_name(name),
        Ok(Some(ZarrNode::Array(_))) | Err(_) => true,
        Ok(None) => false,
    }
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

/// Whether a folder or a file is, or promises to be, a store.
#[must_use]
pub fn is_store(root: &SourceRoot, folder: &Path) -> bool {
    match read_node(root, folder, &mut Fingerprint::default()) {
        Ok(None) => match root.look_at(folder) {
            (_, Some(FileKind::File)) => {
                matches!(look_at_file(root, folder), File::Store)
            }
            (seen, _) => is_store_name(folder) && seen.stamp().is_some(),
        },
        // What cannot be read is not taken for a plain folder.
        Ok(Some(_)) | Err(_) => true,
    }
}

#[cfg(test)]
mod tests;
