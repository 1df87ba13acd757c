//! Paths below the source, with wildcards.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// Longest pattern: a pattern becomes an automaton, which takes some hundred times as much memory.
const LIMIT_BYTES: usize = 512;

/// A path, or a pattern for paths: `*` and `?` stand for letters of one name, `**` for folders, `[ab]` for
/// one of these letters, `{a,b}` for one of these words; a letter behind a backslash stands for itself.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let text = below(text)?;
        if text.len() > LIMIT_BYTES {
            return Err(format!("is longer than {LIMIT_BYTES} bytes"));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
        let glob = glob.map_err(|error| format!("is no pattern: {}", error.kind()))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    /// The path as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it may stand for more than the path that is its text.
    #[must_use]
    pub fn has_wildcards(&self) -> bool {
        self.text.contains(['*', '?', '[', '{', '\\'])
    }

    /// The leading folders that all paths which it stands for have in common.
    pub(super) fn fixed_folder(&self) -> PathBuf {
        let is_fixed = |part: &&str| !part.contains(['*', '?', '[', '{', '\\']);
        let parts: Vec<&str> = self.text.split('/').collect();
        // The last one is a name.
        parts[..parts.len() - 1].iter().copied().take_while(is_fixed).collect()
    }

    /// Whether it may stand for a path below a folder.
    pub(super) fn may_reach_below(&self, folder: &Path) -> bool {
        // Braces may hold slashes.
        let is_open = self.text.contains("**") || self.text.contains('{');
        is_open || self.text.split('/').count() > folder.components().count()
    }

    /// Whether it stands for a path. Names with brackets stand for themselves, too.
    #[must_use]
    pub fn is_match(&self, path: &Path) -> bool {
        path == Path::new(&self.text) || self.matcher.is_match(path)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A path without slashes at its ends, and without a leading `./`.
///
/// # Errors
/// Where it leaves the folder that it begins in.
pub(super) fn below(text: &str) -> Result<&str, String> {
    if text.starts_with('/') {
        return Err("begins with /; write the path below SOURCE".to_owned());
    }
    let mut text = text.trim_end_matches('/');
    while let Some(rest) = text.strip_prefix("./") {
        text = rest.trim_start_matches('/');
    }
    let text = if text == "." { "" } else { text };
    if Path::new(text).components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err("leads out of the folder with \"..\"".to_owned());
    }
    if text.contains('\0') {
        return Err("has a character that no name has".to_owned());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stop_at_folders() {
        let matches = |pattern: &str, path: &str| {
            let pattern = Pattern::new(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            pattern.is_match(Path::new(path))
        };
        for (pattern, path) in [
            ("a.zarr", "a.zarr"),
            ("./a.zarr/", "a.zarr"),
            ("*.zarr", "a.zarr"),
            ("**/*.zarr", "a.zarr"),
            ("**/*.zarr", "x/y/a.zarr"),
            ("x/{a,b}.zarr", "x/b.zarr"),
            ("x/**", "x/y/a.zarr"),
            ("run [1].zarr", "run [1].zarr"),
            ("run [12].zarr", "run 2.zarr"),
            ("run \\[1\\].zarr", "run [1].zarr"),
            (".", ""),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in
            [("*.zarr", "x/a.zarr"), ("a.zarr", "A.zarr"), ("a?zarr", "a/zarr"), ("a", "a/b")]
        {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn patterns_that_are_refused() {
        for text in ["/a", "../a", "a/../b", "[a", "{a", "a\0", &"a".repeat(LIMIT_BYTES + 1)] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }
}
