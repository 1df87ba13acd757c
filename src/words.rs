//! Words that users write for choices, and the known word that is most like an unknown one.

use crate::image::{Int16, Pyramid, Uint32};

/// Words for [`Pyramid`].
pub(crate) const PYRAMID: [(&str, Pyramid); 3] =
    [("auto", Pyramid::Auto), ("source", Pyramid::Source), ("imaris", Pyramid::Imaris)];
/// Words for [`Int16`].
pub(crate) const INT16: [(&str, Int16); 3] =
    [("float32", Int16::Float32), ("keep", Int16::Keep), ("offset", Int16::Offset)];
/// Words for [`Uint32`].
pub(crate) const UINT32: [(&str, Uint32); 2] =
    [("float32", Uint32::Float32), ("keep", Uint32::Keep)];

/// The candidate that is most like a word, if one is.
pub(crate) fn similar<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    /// As the parser of the command line does.
    const LEAST: f64 = 0.7;
    let rated = candidates.map(|candidate| (strsim::jaro(word, candidate), candidate));
    let near = rated.filter(|(likeness, _)| *likeness > LEAST);
    near.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, candidate)| candidate)
}

/// Looks whether a word is one of those given.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_choice(text: &str, names: &[&str]) -> Result<(), String> {
    if names.contains(&text) {
        return Ok(());
    }
    let similar = similar(text, names.iter().copied());
    let similar = similar.map(|similar| format!("; similar: {similar}")).unwrap_or_default();
    Err(format!("is none of {}{similar}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_words() {
        let keys = || ["dir", "size", "min-free"].into_iter();
        assert_eq!(similar("sise", keys()), Some("size"));
        assert_eq!(similar("min_free", keys()), Some("min-free"));
        assert_eq!(similar("threads", keys()), None);
    }
}
