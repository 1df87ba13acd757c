//! What the files of a store are called.
//!
//! * `x.ome.zarr`, `x.zarr`, `x.zr` and `x` become `x.ims`; a store of several images becomes a folder
//!   `x` of files named by the path of each image within the store.
//! * Where two names in one folder would be the same, plain folders keep theirs; among stores the
//!   first of `x.ome.zarr`, `x.zarr`, others in the order of their bytes keeps the short name and the
//!   others keep their full names (`x.zarr.ims`). Should that be taken as well, `~2`, `~3` ... is
//!   added. A name therefore depends only on the names beside it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Suffixes that say "store" and are dropped from the file name, longest first.
const STORE_SUFFIXES: [&str; 3] = [".ome.zarr", ".zarr", ".zr"];

/// Longest name a Linux file system can show.
const NAME_LIMIT_BYTES: usize = 255;

/// The name without its store suffix.
#[must_use]
pub fn stem(name: &OsStr) -> &OsStr {
    let bytes = name.as_bytes();
    for suffix in STORE_SUFFIXES {
        match bytes.strip_suffix(suffix.as_bytes()) {
            Some(stem) if !stem.is_empty() => return OsStr::from_bytes(stem),
            _ => {}
        }
    }
    name
}

fn precedence(name: &OsStr) -> usize {
    let suffix =
        STORE_SUFFIXES.iter().position(|suffix| name.as_bytes().ends_with(suffix.as_bytes()));
    suffix.unwrap_or(STORE_SUFFIXES.len())
}

/// Something that wants a name in a folder.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Name of the store's folder.
    pub source: OsString,
    /// What is put behind the stem: `.ims` for a file, nothing for a folder.
    pub ending: &'static str,
}

/// Gives each candidate a name that is not in `taken` and not another's.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "one caller, one hasher")]
pub fn assign(taken: &HashSet<OsString>, candidates: &[Candidate]) -> Vec<OsString> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| {
        let key = |i: usize| (precedence(&candidates[i].source), &candidates[i].source);
        key(a).cmp(&key(b))
    });
    let mut taken = taken.clone();
    let mut names = vec![OsString::new(); candidates.len()];
    for i in order {
        let Candidate { source, ending } = &candidates[i];
        let short = with_ending(stem(source), "", ending);
        let full = with_ending(source, "", ending);
        let numbered = (2_u64..).map(|n| with_ending(source, &format!("~{n}"), ending));
        if let Some(name) =
            [short, full].into_iter().chain(numbered).find(|name| !taken.contains(name))
        {
            taken.insert(name.clone());
            names[i] = name;
        }
    }
    names
}

/// Puts name, number and ending together, cutting the name where the whole would be too long.
fn with_ending(name: &OsStr, number: &str, ending: &str) -> OsString {
    let room = NAME_LIMIT_BYTES - number.len() - ending.len();
    let mut bytes = name.as_bytes()[..name.len().min(room)].to_vec();
    bytes.extend_from_slice(number.as_bytes());
    bytes.extend_from_slice(ending.as_bytes());
    OsString::from_vec(bytes)
}

/// Folders and file name of an image in the folder of its store; `stem` is the name of that folder.
#[must_use]
pub fn path_in_store(
    stem: &OsStr,
    image: &str,
    multiscale: usize,
    name: Option<&str>,
) -> Vec<OsString> {
    let mut parts: Vec<OsString> =
        image.split('/').filter(|part| !part.is_empty()).map(OsString::from).collect();
    let mut last = parts.pop().map_or_else(|| stem.to_owned(), |last| self::stem(&last).to_owned());
    if multiscale > 0 {
        let usable = name.filter(|name| !name.contains('/') && !name.contains('\0'));
        last.push("_");
        last.push(usable.map_or_else(|| multiscale.to_string(), str::to_owned));
    }
    parts.push(with_ending(&last, "", ".ims"));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(taken: &[&str], sources: &[(&str, &'static str)]) -> Vec<String> {
        let taken = taken.iter().map(OsString::from).collect();
        let candidates: Vec<Candidate> = sources
            .iter()
            .map(|(source, ending)| Candidate { source: source.into(), ending })
            .collect();
        let names = assign(&taken, &candidates);
        names.into_iter().map(|name| name.into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn suffixes_are_dropped() {
        let sources =
            [("a.ome.zarr", ".ims"), ("b.zarr", ".ims"), ("c", ".ims"), (".zarr", ".ims")];
        assert_eq!(names(&[], &sources), ["a.ims", "b.ims", "c.ims", ".zarr.ims"]);
    }

    #[test]
    fn clashes_do_not_depend_on_the_order() {
        let sources = [("x", ".ims"), ("x.zarr", ".ims"), ("x.ome.zarr", ".ims")];
        assert_eq!(names(&[], &sources), ["x~2.ims", "x.zarr.ims", "x.ims"]);
        let reversed = [sources[2], sources[1], sources[0]];
        assert_eq!(names(&[], &reversed), ["x.ims", "x.zarr.ims", "x~2.ims"]);
        assert_eq!(names(&["x.ims"], &[("x.zarr", ".ims")]), ["x.zarr.ims"]);
        assert_eq!(names(&["x"], &[("x.zarr", ""), ("x.ome.zarr", "")]), ["x.zarr", "x.ome.zarr"]);
    }

    #[test]
    fn long_names_stay_below_the_limit() {
        let long = "n".repeat(255);
        assert!(names(&[], &[(&long, ".ims")])[0].len() <= 255);
    }

    #[test]
    fn images_inside_a_store() {
        let path = |image, multiscale, name| {
            let parts = path_in_store(OsStr::new("x"), image, multiscale, name);
            parts
                .into_iter()
                .map(|part| part.into_string().expect("UTF-8"))
                .collect::<Vec<_>>()
                .join("/")
        };
        assert_eq!(path("", 0, Some("vol")), "x.ims");
        assert_eq!(path("", 1, Some("overview")), "x_overview.ims");
        assert_eq!(path("", 2, Some("a/b")), "x_2.ims");
        assert_eq!(path("A/1/0", 0, None), "A/1/0.ims");
        assert_eq!(path("tile_1.zarr", 0, None), "tile_1.ims");
    }
}
