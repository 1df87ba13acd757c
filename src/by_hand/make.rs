//! Files made of what is there: opens the images that a view names, and composes them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::image::ImageOptions;
use crate::source::compose::{self, ComposeError, Crop};
use crate::source::image::ImageSource;
use crate::source::{Fingerprint, SourceError, SourceRoot, Unsupported};

use super::beside;
use super::context::{Context, ImagePath};
use super::document::{Mistake, Said};
use super::entry::Entry;
use super::find::Shown;
use super::resolve;
use super::tables::Tables;
use super::view::{ChannelName, Join, Made, Part, Pick, Times, ViewTable};

/// Most images that one view is made of.
const IMAGES_LIMIT: usize = 10_000;

/// Most images that are opened, and most names that are compared with patterns, for the views of one file. Later
/// views are left out.
const LOOKS_LIMIT: usize = 50_000;

/// Most channels that a message names.
const NAMED: usize = 8;

/// What an entry asks for.
#[derive(Debug, Default)]
pub struct Views {
    /// The files.
    pub views: Vec<View>,
    /// What cannot be shown.
    pub skipped: Vec<(PathBuf, SourceError)>,
    /// The files all this was read from.
    pub fingerprint: Fingerprint,
}

/// A file that is asked for.
#[derive(Debug)]
pub struct View {
    /// Which of the tables of its entry.
    pub number: usize,
    /// Name of the file, without `.ims`.
    pub name: String,
    /// What it shows.
    pub shown: Shown,
    /// The stores and images that it is made of.
    pub images: Vec<ImagePath>,
}

/// Makes the files that an entry asks for. `is_live`: the images that they are made of may become longer.
#[must_use]
pub fn views(
    root: &Arc<SourceRoot>,
    entry: &Entry,
    configured: &Tables,
    options: &ImageOptions,
    is_live: bool,
) -> Views {
    let mut found = Views::default();
    let tables = match entry.tables(root, configured, &mut found.fingerprint) {
        Ok(tables) => tables,
        Err(error) => {
            found.skipped.push((entry.path().to_path_buf(), error));
            return found;
        }
    };
    let mut left = LOOKS_LIMIT;
    for (number, table) in tables {
        if left == 0 {
            // One file cannot keep a thread busy for long.
            let words = "is left out: the views before it take too many stores";
            let path = path_of(entry, &table);
            let error = beside::refused(&path, &Mistake::at(&table.origin, words));
            found.skipped.push((path, error));
            continue;
        }
        let asked = (&found.fingerprint, is_live);
        let (made, seen) = make(root, entry, &table, configured, options, asked);
        found.fingerprint.absorb(&seen.fingerprint);
        let Seen { images, entries, .. } = seen;
        let used = images.len() + entries;
        match made {
            Ok(shown) => {
                found.views.push(View { number, name: table.file_name(), shown, images });
            }
            Err(mistake) => {
                // What is wrong may be mended in a store that was not recorded.
                found.fingerprint.doubt();
                let path = path_of(entry, &table);
                let error = beside::refused(&path, &mistake);
                found.skipped.push((path, error));
            }
        }
        left = left.saturating_sub(used);
    }
    found
}

/// Makes one of the files again.
///
/// # Errors
/// [`SourceError`] where it cannot be made any more.
pub fn open_view(
    root: &Arc<SourceRoot>,
    entry: &Entry,
    number: usize,
    configured: &Tables,
    options: &ImageOptions,
    is_live: bool,
) -> Result<Shown, SourceError> {
    let mut fingerprint = Fingerprint::default();
    let tables = entry.tables(root, configured, &mut fingerprint)?;
    let gone = || {
        let reason = Unsupported::ByHand("the view is not asked for any more".to_owned());
        SourceError::unsupported(entry.folder(), reason)
    };
    let table = tables.into_iter().find(|(known, _)| *known == number);
    let (_, table) = table.ok_or_else(gone)?;
    let (made, _) = make(root, entry, &table, configured, options, (&fingerprint, is_live));
    made.map_err(|mistake| beside::refused(&path_of(entry, &table), &mistake))
}

/// What the log and a list call a view: its path in the mount, as it was asked for.
fn path_of(entry: &Entry, table: &ViewTable) -> PathBuf {
    let mut path = entry.base().join(&table.name).into_os_string();
    path.push(".ims");
    path.into()
}

/// What was looked at for a view.
struct Seen {
    fingerprint: Fingerprint,
    images: Vec<ImagePath>,
    /// Names that were compared with patterns.
    entries: usize,
}

/// Makes a file, and returns all that was looked at. `asked` is the state of the file that asks for it.
fn make(
    root: &Arc<SourceRoot>,
    entry: &Entry,
    table: &ViewTable,
    configured: &Tables,
    options: &ImageOptions,
    (asked, is_live): (&Fingerprint, bool),
) -> (Result<Shown, Mistake>, Seen) {
    let mut asked_by = Fingerprint::default();
    asked_by.copy_from(asked, entry.path());
    let mut context = Context {
        root,
        base: entry.base(),
        beside: entry.store(),
        configured,
        options,
        is_live,
        fingerprint: Fingerprint::default(),
        images: Vec::new(),
        entries: 0,
    };
    let made = entry.check_folder(table).and_then(|()| table.made.make(&mut context));
    let made = made.and_then(|mut shown| {
        table.correction.apply(&mut shown.source, &mut shown.options)?;
        shown.source.name = Some(table.file_name());
        shown.source.notes.push(format!("made by hand: {}", table.origin));
        shown.source.fingerprint.absorb(&asked_by);
        Ok(shown)
    });
    let Context { fingerprint, images, entries, .. } = context;
    (made, Seen { fingerprint, images, entries })
}

impl Made {
    fn make(&self, context: &mut Context<'_>) -> Result<Shown, Mistake> {
        let mut images = Vec::new();
        for part in &self.of {
            match part {
                Part::Made(made) => images.push(made.make(context)?),
                Part::Stored(pattern) => {
                    for path in resolve::paths(context, pattern)? {
                        let opened = resolve::open(context, &path);
                        images.push(opened.map_err(|words| {
                            let text = pattern.value.text();
                            Mistake::at(&pattern.origin, format!("of = {text:?}: {words}"))
                        })?);
                        if images.len() > IMAGES_LIMIT {
                            let words = format!("of: more than {IMAGES_LIMIT} images");
                            return Err(Mistake::at(&pattern.origin, words));
                        }
                    }
                }
            }
        }
        if self.of.is_empty() {
            let store = context.beside.clone();
            let opened = match store {
                Some(store) => resolve::open(context, &store),
                None => Err("which stores it is made of".to_owned()),
            };
            images.push(
                opened.map_err(|words| {
                    Mistake::at(&self.origin, format!("of is missing: {words}"))
                })?,
            );
        }
        if context.is_live {
            self.cut(&mut images);
        }
        let mut whole = self.join(images)?;
        self.pick.take(&mut whole.source)?;
        Ok(whole)
    }

    /// Of images that grow one after the other, leaves the time points that all have, where they must agree in these.
    fn cut(&self, images: &mut [Shown]) {
        let join = self.join.as_ref().map(|said| &said.value);
        let times = |image: &Shown| image.source.levels[0].shape()[0];
        let shortest = images.iter().map(times).min();
        let (Some(Join::Channels | Join::Mosaic), Some(shortest)) = (join, shortest) else {
            return;
        };
        for image in images.iter_mut().filter(|image| times(image) > shortest) {
            image.source = compose::first_times(&image.source, shortest, &[]);
        }
    }

    fn join(&self, mut images: Vec<Shown>) -> Result<Shown, Mistake> {
        let options = images.first().map(|image| image.options).unwrap_or_default();
        let Some(Said { value: join, origin }) = &self.join else {
            // The parser asks how several are joined.
            return images.pop().ok_or_else(|| Mistake::at(&self.origin, "of: no image"));
        };
        let sources: Vec<&ImageSource> = images.iter().map(|image| &image.source).collect();
        let source = match join {
            Join::Channels => compose::channels(&sources),
            Join::TimePoints => compose::series(&sources),
            Join::Mosaic => compose::mosaic(&sources),
        };
        let source = source.map_err(|error| Mistake::at(origin, format!("as: {error}")))?;
        Ok(Shown { source, options })
    }
}

impl Pick {
    /// Takes the part that is chosen.
    fn take(&self, image: &mut ImageSource) -> Result<(), Mistake> {
        if *self == Self::default() {
            return Ok(());
        }
        let [x, y, z] = self.space.each_ref().map(|said| said.as_ref().map(|s| s.value.clone()));
        let wanted = Crop { x, y, z, times: self.times(image)?, channels: self.channels(image)? };
        *image = compose::crop(image, &wanted).map_err(|error| self.mistake(&error))?;
        let chosen = self.channels.iter().flat_map(|said| &said.value);
        for (c, (_, correction)) in chosen.enumerate() {
            correction.apply(image, c);
        }
        Ok(())
    }

    fn times(&self, image: &ImageSource) -> Result<Option<Vec<u64>>, Mistake> {
        let Some(Said { value, origin }) = &self.times else { return Ok(None) };
        let [count, ..] = image.levels[0].shape();
        match value {
            Times::List(list) => Ok(Some(list.clone())),
            Times::Range(range) if range.end <= count => Ok(Some(range.clone().collect())),
            Times::Range(range) => {
                let (start, end) = (range.start, range.end);
                let has = format!("outside the image, which has time points 0..{count}");
                Err(Mistake::at(origin, format!("t {start}..{end} is {has}")))
            }
        }
    }

    fn channels(&self, image: &ImageSource) -> Result<Option<Vec<u64>>, Mistake> {
        let Some(Said { value, origin }) = &self.channels else { return Ok(None) };
        let label = |c: usize| image.channels.get(c).and_then(|channel| channel.name.as_deref());
        let number = |which: &ChannelName| match which {
            ChannelName::Number(number) => Ok(*number),
            ChannelName::Label(wanted) => {
                let known = (0..image.channels.len()).filter(|c| label(*c) == Some(wanted));
                match known.map(|c| c as u64).collect::<Vec<_>>()[..] {
                    [only] => Ok(only),
                    [] => {
                        let labels = (0..image.channels.len()).filter_map(label);
                        let labels: Vec<&str> = labels.take(NAMED).collect();
                        let known = format!("labels are {}", labels.join(", "));
                        Err(format!("no channel is called {wanted:?}; the {known}"))
                    }
                    _ => Err(format!("several channels are called {wanted:?}; give numbers")),
                }
            }
        };
        let numbers: Result<Vec<u64>, String> =
            value.iter().map(|(which, _)| number(which)).collect();
        numbers.map(Some).map_err(|words| Mistake::at(origin, format!("channels: {words}")))
    }

    /// The line of the key that is wrong.
    fn mistake(&self, error: &ComposeError) -> Mistake {
        let of_axis = |axis: char| "xyz".find(axis).and_then(|at| self.space[at].as_ref());
        let times = || self.times.as_ref().map(|said| &said.origin);
        let origin = match error {
            ComposeError::Outside { axis, .. } | ComposeError::Empty { axis, .. } => {
                of_axis(*axis).map(|said| &said.origin)
            }
            ComposeError::NoIndex { what, .. }
            | ComposeError::Twice { what, .. }
            | ComposeError::NoneChosen { what } => match *what {
                "channel" => self.channels.as_ref().map(|said| &said.origin),
                _ => times(),
            },
            _ => None,
        };
        let any = self.space.iter().flatten().map(|said| &said.origin).next().or_else(times);
        let any = any.or_else(|| self.channels.as_ref().map(|said| &said.origin));
        // Only a part that is asked for can be wrong.
        let origin = origin.or(any).expect("a part is asked for");
        Mistake::at(origin, error.to_string())
    }
}
