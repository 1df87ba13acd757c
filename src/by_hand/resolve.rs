//! Which images of the source a path or a pattern of a view stands for.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::source::image::Role;
use crate::source::root::join;
use crate::source::{Fingerprint, SourceRoot, discover};

use super::context::Context;
use super::document::{Mistake, Said};
use super::find::{self, Shown};
use super::pattern::Pattern;

/// Most entries of folders that are compared with the patterns of one view.
const ENTRIES_LIMIT: usize = 20_000;

/// Most images of a store that a message names.
const NAMED: usize = 4;

/// The paths that a pattern stands for, in the order of their names, numbers by their value.
pub(super) fn paths(
    context: &mut Context<'_>,
    pattern: &Said<Pattern>,
) -> Result<Vec<PathBuf>, Mistake> {
    let Said { value, origin } = pattern;
    let refused = |words: String| Mistake::at(origin, format!("of = {:?}: {words}", value.text()));
    let literal = join(context.base, Path::new(value.text()));
    if !value.has_wildcards() || matches!(context.root.stamp(&literal), Ok(Some(_))) {
        return Ok(vec![literal]);
    }
    let mut search = Search {
        root: context.root,
        base: context.base,
        pattern: value,
        fingerprint: &mut context.fingerprint,
        found: Vec::new(),
        entries: &mut context.entries,
    };
    search.folder(&value.fixed_folder(), 0).map_err(refused)?;
    let mut found = search.found;
    if found.is_empty() {
        return Err(refused("no store has such a name".to_owned()));
    }
    found.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(found.into_iter().map(|path| join(context.base, &path)).collect())
}

/// A search through folders.
struct Search<'a> {
    root: &'a SourceRoot,
    base: &'a Path,
    pattern: &'a Pattern,
    fingerprint: &'a mut Fingerprint,
    /// Below `base`.
    found: Vec<PathBuf>,
    /// Of all patterns of the view.
    entries: &'a mut usize,
}

impl Search<'_> {
    /// Looks into a folder below `base`. Stores are not entered.
    fn folder(&mut self, below: &Path, depth: usize) -> Result<(), String> {
        let folder = join(self.base, below);
        self.fingerprint.record(self.root, &folder);
        let entries = self.root.list(&folder, |entry| {
            entry.is_folder() || discover::is_notable_file(Path::new(&entry.name))
        });
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.fingerprint.doubt();
                return Err(error.to_string());
            }
        };
        for entry in entries {
            *self.entries += 1;
            if *self.entries > ENTRIES_LIMIT {
                return Err(format!("stands for too much: more than {ENTRIES_LIMIT} names"));
            }
            let path = join(below, Path::new(&entry.name));
            if self.pattern.is_match(&path) {
                self.found.push(path);
            } else if entry.is_folder()
                && self.pattern.may_reach_below(&path)
                && depth < 32
                && !discover::is_store(self.root, &join(self.base, &path))
            {
                self.folder(&path, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// The order in which people count: `t2` comes before `t10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits =
            |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (of_a, of_b) = (digits(a), digits(b));
        if of_a > 0 && of_b > 0 {
            let (number_a, rest_a) = a.split_at(of_a);
            let (number_b, rest_b) = b.split_at(of_b);
            let value = |text: &'_ str| text.trim_start_matches('0').len();
            let order = value(number_a).cmp(&value(number_b)).then_with(|| {
                number_a.trim_start_matches('0').cmp(number_b.trim_start_matches('0'))
            });
            // The same number, written in two ways: the text decides, so that the order is one.
            let order = order.then_with(|| number_a.cmp(number_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
            continue;
        }
        let (mut chars_a, mut chars_b) = (a.chars(), b.chars());
        match (chars_a.next(), chars_b.next()) {
            (Some(one), Some(other)) if one == other => {
                (a, b) = (chars_a.as_str(), chars_b.as_str());
            }
            (one, other) => return one.cmp(&other),
        }
    }
}

/// Opens the image at a path: that of a store with one image, or of an image within a store.
///
/// # Errors
/// In words, why there is none.
pub(super) fn open(context: &mut Context<'_>, path: &Path) -> Result<Shown, String> {
    let Some((store, inside)) = store_on_the_way(context.root, path) else {
        context.fingerprint.record(context.root, path);
        return Err(format!("there is no store {}", path.display()));
    };
    let image = inside.to_str().ok_or_else(|| "is not UTF-8".to_owned())?.to_owned();
    if image.is_empty() && !discover::is_image(context.root, &store) {
        return only_image(context, &store);
    }
    let Context { root, configured, options, .. } = context;
    let found = find::open(root, (&store, &image, 0), configured, options);
    let found = found.map_err(|error| error.reason_at(path))?;
    context.use_image(&found.source);
    Ok(found)
}

/// The image of a store that holds one.
fn only_image(context: &mut Context<'_>, store: &Path) -> Result<Shown, String> {
    let Context { root, configured, options, .. } = context;
    let found = find::all_images(root, store, configured, options);
    let found = found.map_err(|error| error.reason_at(store))?;
    context.fingerprint.absorb(&found.fingerprint);
    let mut images: Vec<Shown> = found.images.into_iter().flatten().collect();
    images.retain(|image| image.source.role == Role::Image);
    if images.len() > 1 {
        let path = |image: &Shown| image.source.folder().display().to_string();
        let named: Vec<String> = images.iter().take(NAMED).map(path).collect();
        let more = if images.len() > NAMED { ", ..." } else { "" };
        let named = named.join(", ");
        return Err(format!("holds {} images; name one: {named}{more}", images.len()));
    }
    let Some(image) = images.pop() else {
        let reason = found.skipped.first().map(|(_, error)| error.reason_at(store));
        return Err(reason.unwrap_or_else(|| format!("{} holds no image", store.display())));
    };
    context.use_image(&image.source);
    Ok(image)
}

/// The first folder on the way to a path that is a store, and the rest of the path.
fn store_on_the_way(root: &Arc<SourceRoot>, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut above: Vec<&Path> = path.ancestors().collect();
    // The source itself is a folder of stores, whatever it states.
    above.retain(|folder| !folder.as_os_str().is_empty());
    above.reverse();
    let store = above.into_iter().find(|folder| discover::is_store(root, folder))?;
    Some((store.to_path_buf(), path.strip_prefix(store).ok()?.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_by_their_value() {
        let mut names = ["t10", "t2", "t02", "t1b", "t1", "a", "t", "t2a", "t99999999999999999999"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["a", "t", "t1", "t1b", "t02", "t2", "t2a", "t10", "t99999999999999999999"]
        );
    }
}
