//! Stores and images as the source has them, with what is said of them by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::image::ImageOptions;
use crate::source::discover::{self, Folder};
use crate::source::image::{ImageSource, Role};
use crate::source::{AxesByHand, Fingerprint, SourceError, SourceRoot, Unsupported};

use super::beside::{self, refused};
use super::correction::Correction;
use super::document::Mistake;
use super::store::StoreTable;
use super::tables::Tables;

/// What a folder turned out to be.
#[derive(Debug)]
pub struct Found {
    /// The images; `None`: a plain folder.
    pub images: Option<Vec<Shown>>,
    /// What is not shown, with paths below the source.
    pub skipped: Vec<(PathBuf, SourceError)>,
    /// The files all this was read from.
    pub fingerprint: Fingerprint,
}

/// An image as it is shown.
#[derive(Debug)]
pub struct Shown {
    /// The image.
    pub source: ImageSource,
    /// How it becomes a file.
    pub options: ImageOptions,
}

/// What is said of one store.
struct OfStore {
    /// Of the configuration, then of the file beside it.
    tables: Vec<StoreTable>,
    /// The state of the file beside it.
    fingerprint: Fingerprint,
}

/// What is said of one image.
struct OfImage {
    /// Where it is said that the image is hidden.
    hidden: Option<String>,
    correction: Correction,
    /// The tables, for the log.
    origins: Vec<String>,
}

impl OfStore {
    fn image(&self, image: &str, role: Role) -> OfImage {
        let mut found =
            OfImage { hidden: None, correction: Correction::default(), origins: Vec::new() };
        for table in self.tables.iter().filter(|table| table.is_about(Path::new(image))) {
            let correction = table.of_role(role);
            if correction != Correction::default() {
                found.origins.push(table.origin.to_string());
            }
            found.correction.overlay(&correction);
            if let Some(hidden) = &table.hidden {
                found.hidden = hidden.value.then(|| hidden.origin.to_string());
            }
        }
        found
    }

    /// What is said of the dimensions of an image.
    fn axes(&self, image: &str, role: Role) -> Option<AxesByHand> {
        let axes = self.image(image, role).correction.axes?;
        Some(AxesByHand { letters: axes.value, origin: axes.origin.to_string() })
    }

    /// An image with all that is said of it. Its fingerprint has the files that say so.
    fn correct(&self, mut source: ImageSource, options: ImageOptions) -> Result<Shown, Mistake> {
        source.fingerprint.absorb(&self.fingerprint);
        let OfImage { correction, origins, .. } = self.image(&source.image, source.role);
        let mut options = options;
        correction.apply(&mut source, &mut options)?;
        if !origins.is_empty() {
            source.notes.push(format!("corrected by hand: {}", origins.join(", ")));
        }
        Ok(Shown { source, options })
    }
}

impl OfStore {
    /// Collects what is said of a store in the configuration and in the file beside it.
    ///
    /// # Errors
    /// What is wrong with the file, and its state.
    fn new(
        root: &SourceRoot,
        store: &Path,
        configured: &Tables,
    ) -> Result<Self, (SourceError, Fingerprint)> {
        let mut fingerprint = Fingerprint::default();
        let file = beside::file_of(store);
        let beside = file.map(|file| beside::read(root, &file, &mut fingerprint));
        let beside = match beside.transpose() {
            Ok(beside) => beside.flatten(),
            // It is the store that is not shown.
            Err(SourceError::Unsupported { reason, .. }) => {
                return Err((SourceError::unsupported(store, reason), fingerprint));
            }
            Err(error) => return Err((error, fingerprint)),
        };
        let mut tables: Vec<StoreTable> =
            configured.stores.iter().filter(|table| table.is_of(store)).cloned().collect();
        tables.extend(beside.into_iter().flat_map(|beside| beside.stores));
        Ok(Self { tables, fingerprint })
    }

    /// Without a word about any image.
    fn silent(fingerprint: Fingerprint) -> Self {
        Self { tables: Vec::new(), fingerprint }
    }

    /// A table of the file beside the store that is about no image of it.
    fn unmatched(&self, folder: &Path, store: &discover::Store) -> Option<Mistake> {
        let tables = self.tables.iter().filter(|table| table.path.is_none());
        let mut tables = tables.filter_map(|table| Some((table, table.image.as_ref()?)));
        let (table, image) = tables.find(|(table, _)| {
            let is_image = store.images.iter().any(|image| table.is_about(Path::new(&image.image)));
            // Label images that are not asked for, and images that cannot be shown, are there as well.
            let inside =
                |path: &Path| path.strip_prefix(folder).is_ok_and(|path| table.is_about(path));
            !is_image && !store.skipped.iter().any(|(path, _)| inside(path))
        })?;
        let words = format!("image = {:?}: the store has no such image", image.text());
        Some(Mistake::at(&table.origin, words))
    }
}

/// Looks at a folder. With `labels`, label images are found as well; `configured` is what the configuration
/// says, `options` how images become files.
///
/// # Errors
/// As for [`discover::inspect`].
pub fn inspect(
    root: &Arc<SourceRoot>,
    folder: &Path,
    labels: bool,
    configured: &Tables,
    options: &ImageOptions,
) -> Result<Found, SourceError> {
    look(root, folder, (labels, false), configured, options)
}

fn look(
    root: &Arc<SourceRoot>,
    folder: &Path,
    (labels, hidden): (bool, bool),
    configured: &Tables,
    options: &ImageOptions,
) -> Result<Found, SourceError> {
    let (said, mistake) = match OfStore::new(root, folder, configured) {
        Ok(said) => (said, None),
        Err((error, fingerprint)) => (OfStore::silent(fingerprint), Some(error)),
    };
    let says_axes = |image: &str, role: Role| said.axes(image, role);
    let store = match discover::inspect_as(root, folder, labels, &says_axes)? {
        Folder::Plain(plain) => {
            let (skipped, fingerprint) = (plain.skipped, plain.fingerprint);
            return Ok(Found { images: None, skipped, fingerprint });
        }
        Folder::Store(store) => *store,
    };
    let unmatched = said.unmatched(folder, &store).map(|mistake| refused(folder, &mistake));
    let discover::Store { images, mut skipped, mut fingerprint } = store;
    fingerprint.absorb(&said.fingerprint);
    let mut shown = Vec::new();
    if let Some(error) = mistake.or(unmatched) {
        skipped.push((folder.to_path_buf(), error));
        return Ok(Found { images: Some(shown), skipped, fingerprint });
    }
    for image in images {
        let path = image.folder();
        let is_hidden = said.image(&image.image, image.role).hidden.filter(|_| !hidden);
        if let Some(origin) = is_hidden {
            let hidden = Unsupported::Hidden(origin);
            skipped.push((path.clone(), SourceError::unsupported(path, hidden)));
            continue;
        }
        match said.correct(image, *options) {
            Ok(image) => shown.push(image),
            Err(mistake) => skipped.push((path.clone(), refused(&path, &mistake))),
        }
    }
    Ok(Found { images: Some(shown), skipped, fingerprint })
}

/// All images of a store, also those that are hidden, but no label images.
///
/// # Errors
/// As for [`inspect`].
pub(super) fn all_images(
    root: &Arc<SourceRoot>,
    store: &Path,
    configured: &Tables,
    options: &ImageOptions,
) -> Result<Found, SourceError> {
    look(root, store, (false, true), configured, options)
}

/// Reads one image that [`inspect`] has found before.
///
/// # Errors
/// [`SourceError`] when it cannot be read any more, is gone, or is hidden by hand.
pub fn open(
    root: &Arc<SourceRoot>,
    (store, image, multiscale): (&Path, &str, usize),
    configured: &Tables,
    options: &ImageOptions,
) -> Result<Shown, SourceError> {
    let said = OfStore::new(root, store, configured).map_err(|(error, _)| error)?;
    let says_axes = |image: &str, role: Role| said.axes(image, role);
    let image = discover::open_image_as(root, store, image, multiscale, &says_axes)?;
    let path = image.folder();
    said.correct(image, *options).map_err(|mistake| refused(&path, &mistake))
}
