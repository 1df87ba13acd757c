//! Where the images and labels of one store are shown.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::source::image::Title;
use crate::source::store_name::stem;

use super::safe::{NAME_LIMIT_BYTES, cut};
use super::taken::{Candidate, Taken, assign, assign_folders};

/// What follows the name of an image in the name of the folder of its labels.
pub(super) const LABELS: &str = "_labels";

/// Room for a number behind it.
const NUMBER_BYTES: usize = 8;

const IMS: &str = ".ims";

/// Longest part of a name that comes from metadata: programs of Windows open paths of 259 characters
/// ("Maximum Path Length Limitation", Microsoft), folders and drive included.
const STATED_LIMIT_BYTES: usize = 120;

/// An image of a store.
#[derive(Debug, Clone, Copy)]
pub struct InStore<'a> {
    /// Path of its group or array within the store.
    pub image: &'a str,
    /// Which entry of `multiscales`.
    pub multiscale: usize,
    /// Name from its own metadata.
    pub name: Option<&'a str>,
    /// What the metadata of the store calls it; `None`: it is called by its path.
    pub title: Option<&'a Title>,
    /// It is a label image.
    pub is_label: bool,
}

/// What a store has to show.
#[derive(Debug)]
pub struct Contents<'a> {
    all: &'a [InStore<'a>],
    /// Numbers of the images.
    images: Vec<usize>,
    /// Numbers and paths of the labels of an image, by the number of the image.
    owned: BTreeMap<usize, Vec<Label<'a>>>,
    /// Labels that are those of no image that is shown.
    loose: Vec<Label<'a>>,
}

#[derive(Debug)]
struct Label<'a> {
    number: usize,
    /// Path without what leads to the labels of its image.
    path: Vec<&'a str>,
}

/// A folder of the mount, before its names are given.
#[derive(Debug, Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    files: Vec<File<'a>>,
}

#[derive(Debug)]
struct File<'a> {
    number: usize,
    candidate: Candidate,
    labels: Folder<'a>,
}

impl<'a> Contents<'a> {
    /// Tells images and labels apart, and finds the image of each label.
    #[must_use]
    pub fn of(all: &'a [InStore<'a>]) -> Self {
        // A store that is a label image and nothing else is shown as an image.
        let is_image = |image: &InStore<'_>| !image.is_label || parts(image.image).next().is_none();
        let mut contents =
            Self { all, images: Vec::new(), owned: BTreeMap::new(), loose: Vec::new() };
        let mut by_path: HashMap<Vec<&str>, usize> = HashMap::new();
        for (number, image) in all.iter().enumerate().filter(|(_, image)| is_image(image)) {
            contents.images.push(number);
            by_path.entry(parts(image.image).collect()).or_insert(number);
        }
        for (number, label) in all.iter().enumerate().filter(|(_, image)| !is_image(image)) {
            let path: Vec<&str> = parts(label.image).collect();
            let mut groups = (0..path.len() - 1).rev().filter(|at| path[*at] == "labels");
            let owner = groups.clone().find_map(|at| Some((at, *by_path.get(&path[..at])?)));
            if let Some((at, owner)) = owner {
                let label = Label { number, path: path[at + 1..].to_vec() };
                contents.owned.entry(owner).or_default().push(label);
            } else {
                let outermost = groups.next_back();
                let rest = path.iter().enumerate().filter(|(at, _)| Some(*at) != outermost);
                let path = rest.map(|(_, part)| *part).collect();
                contents.loose.push(Label { number, path });
            }
        }
        contents
    }

    /// The number of the image that is shown as one file, named like the store.
    #[must_use]
    pub fn only(&self) -> Option<usize> {
        match self.images.as_slice() {
            // A plate has one field at first, and more later.
            [only] => (!matches!(self.all[*only].title, Some(Title::Field(_)))).then_some(*only),
            _ => None,
        }
    }

    /// Whether the images are shown in a folder named like the store.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        !self.images.is_empty() && self.only().is_none()
    }

    /// Numbers of the images and paths of their files below the folder of the store, which is called
    /// `store` in the mount; in folders beside them, their labels.
    #[must_use]
    pub fn in_folder(&self, store: &OsStr) -> Vec<(usize, PathBuf)> {
        let mut top = Folder::default();
        for number in &self.images {
            let image = &self.all[*number];
            let own = parts(image.image).last().map_or(store, OsStr::new);
            let labels = self.owned.get(number).map(|labels| self.labels_folder(labels));
            let file = File {
                number: *number,
                candidate: image.candidate(own),
                labels: labels.unwrap_or_default(),
            };
            match image.title {
                Some(Title::Field(field)) => top.enter(parts(&field.plate)).files.push(file),
                _ => top.above(image.image).files.push(file),
            }
        }
        top.paths()
    }

    /// Numbers of the labels in the folder beside the file or folder of the store, and their paths below it:
    /// those of an image that is the only one, and those of no image.
    #[must_use]
    pub fn beside(&self) -> Vec<(usize, PathBuf)> {
        let owned = self.only().and_then(|only| self.owned.get(&only));
        let labels = owned.into_iter().flatten().chain(&self.loose);
        self.labels_folder(labels).paths()
    }

    fn labels_folder<'l>(&self, labels: impl IntoIterator<Item = &'l Label<'a>>) -> Folder<'a>
    where
        'a: 'l,
    {
        let mut folder = Folder::default();
        for Label { number, path } in labels {
            let Some((own, above)) = path.split_last() else { continue };
            let candidate = self.all[*number].candidate(OsStr::new(own));
            let file = File { number: *number, candidate, labels: Folder::default() };
            folder.enter(above.iter().copied()).files.push(file);
        }
        folder
    }
}

/// The name of the folder of labels beside a file or folder.
pub fn labels_beside(taken: &mut Taken, name: &OsStr) -> OsString {
    let name = name.as_bytes();
    let mut folder = name.strip_suffix(IMS.as_bytes()).unwrap_or(name).to_vec();
    cut(&mut folder, NAME_LIMIT_BYTES - LABELS.len() - NUMBER_BYTES);
    folder.extend_from_slice(LABELS.as_bytes());
    taken.take_one(&[&OsString::from_vec(folder)], "")
}

impl<'a> Folder<'a> {
    fn enter(&mut self, path: impl Iterator<Item = &'a str>) -> &mut Self {
        path.fold(self, |folder, part| folder.folders.entry(part).or_default())
    }

    /// The folder that a path lies in.
    fn above(&mut self, path: &'a str) -> &mut Self {
        let count = parts(path).count();
        self.enter(parts(path).take(count.saturating_sub(1)))
    }

    /// Gives all names: the numbers of the files, and their paths.
    fn paths(self) -> Vec<(usize, PathBuf)> {
        let mut paths = Vec::new();
        let mut pending = vec![(PathBuf::new(), self)];
        while let Some((place, folder)) = pending.pop() {
            folder.name(&place, &mut paths, &mut pending);
        }
        paths
    }

    fn name(
        self,
        place: &Path,
        paths: &mut Vec<(usize, PathBuf)>,
        pending: &mut Vec<(PathBuf, Self)>,
    ) {
        let mut taken = Taken::default();
        let sources: Vec<&OsStr> = self.folders.keys().map(OsStr::new).collect();
        let folders = assign_folders(&mut taken, &sources);
        let candidates: Vec<_> = self.files.iter().map(|file| file.candidate.clone()).collect();
        let files = assign(&mut taken, &candidates);
        let inner = folders.into_iter().zip(self.folders.into_values());
        pending.extend(inner.map(|(name, folder)| (place.join(name), folder)));
        // Last: labels must not change the name of anything else.
        for (name, file) in files.into_iter().zip(self.files) {
            if !file.labels.is_empty() {
                pending.push((place.join(labels_beside(&mut taken, &name)), file.labels));
            }
            paths.push((file.number, place.join(name)));
        }
    }

    fn is_empty(&self) -> bool {
        self.folders.is_empty() && self.files.is_empty()
    }
}

impl InStore<'_> {
    /// The names it asks for in its folder, where its own part of the path is `own`.
    fn candidate(&self, own: &OsStr) -> Candidate {
        let title = self.title.map(|title| OsString::from(stated(&title.text("_"))));
        let source = match self.title {
            Some(Title::Field(field)) => OsString::from(field.path.replace('/', "_")),
            _ => own.to_owned(),
        };
        if self.multiscale == 0 {
            return Candidate { source, title, ending: IMS };
        }
        // A name of nothing but marks is none.
        let name = self.name.filter(|name| name.chars().any(char::is_alphanumeric));
        let name = name.map_or_else(|| self.multiscale.to_string(), stated);
        let with = |base: &OsStr| {
            let mut whole = base.to_owned();
            whole.push("_");
            whole.push(&name);
            whole
        };
        let title = title.map(|title| with(&title));
        Candidate { source: with(stem(&source)), title, ending: IMS }
    }
}

/// A name from metadata, at most as long as leaves room for the folders above it.
fn stated(name: &str) -> String {
    name[..name.floor_char_boundary(STATED_LIMIT_BYTES)].to_owned()
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}
