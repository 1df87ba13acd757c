//! Words that users write for choices, and the known word that is most like an unknown one.

use crate::image::{CHUNK_VOXELS_LIMIT, ChunkShape, Int16, Pyramid, Uint32};

/// Words for [`Pyramid`].
pub(crate) const PYRAMID: [(&str, Pyramid); 3] =
    [("auto", Pyramid::Auto), ("source", Pyramid::Source), ("imaris", Pyramid::Imaris)];
/// Words for [`Int16`].
pub(crate) const INT16: [(&str, Int16); 3] =
    [("float32", Int16::Float32), ("keep", Int16::Keep), ("offset", Int16::Offset)];
/// Words for [`Uint32`].
pub(crate) const UINT32: [(&str, Uint32); 2] =
    [("float32", Uint32::Float32), ("keep", Uint32::Keep)];

/// Reads a shape of HDF5 chunks: `auto`, or three lengths such as `16,256,256`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn chunk_shape(text: &str) -> Result<ChunkShape, String> {
    if text == "auto" {
        return Ok(ChunkShape::Auto);
    }
    let sides: Option<Vec<u64>> =
        text.split(',').map(|side| side.trim().parse().ok().filter(|side| *side > 0)).collect();
    let Some([z, y, x]) = sides.as_deref() else {
        return Err(
            "is neither auto nor three lengths Z,Y,X from 1 on, such as 16,256,256".to_owned()
        );
    };
    let voxels = z.saturating_mul(*y).saturating_mul(*x);
    if voxels > CHUNK_VOXELS_LIMIT {
        return Err(format!("has more than the {CHUNK_VOXELS_LIMIT} voxels that a chunk may have"));
    }
    Ok(ChunkShape::Given([*z, *y, *x]))
}

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
    fn shapes_of_chunks() {
        assert_eq!(chunk_shape("auto"), Ok(ChunkShape::Auto));
        assert_eq!(chunk_shape("1, 256,1024"), Ok(ChunkShape::Given([1, 256, 1024])));
        assert_eq!(chunk_shape("1,2048,2048"), Ok(ChunkShape::Given([1, 2048, 2048])));
        for wrong in
            ["", "Auto", "16", "16,256", "1,16,256,256", "0,1,1", "-1,1,1", "1,,1", "a,b,c"]
        {
            let words = chunk_shape(wrong).expect_err(wrong);
            assert!(words.starts_with("is neither auto nor three lengths"), "{wrong}: {words}");
        }
        for large in ["1,2048,2049", "18446744073709551615,18446744073709551615,1"] {
            let words = chunk_shape(large).expect_err(large);
            assert_eq!(words, "has more than the 4194304 voxels that a chunk may have");
        }
    }

    #[test]
    fn similar_words() {
        let keys = || ["dir", "size", "min-free"].into_iter();
        assert_eq!(similar("sise", keys()), Some("size"));
        assert_eq!(similar("min_free", keys()), Some("min-free"));
        assert_eq!(similar("threads", keys()), None);
    }
}
