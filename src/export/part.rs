//! A part of a file: its number, its bytes, its name.

use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Original, with_suffix};

/// Most parts of a file.
const PARTS_LIMIT: u32 = 10_000;

/// One of the parts of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// From 1 on.
    pub(super) number: u32,
    pub(super) of: u32,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Part {
    /// Reads `3/7`.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("is not a part such as 3/7, of at most {PARTS_LIMIT}");
        let (number, of) = text.split_once('/').ok_or_else(expected)?;
        let read = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { digits.parse::<u32>().ok() } else { None }
        };
        match (read(number), read(of)) {
            (Some(number), Some(of)) if (1..=of).contains(&number) && of <= PARTS_LIMIT => {
                Ok(Self { number, of })
            }
            _ => Err(expected()),
        }
    }

    /// The bytes of the file that are this part. Those of all parts follow each other.
    #[must_use]
    pub fn range(self, original: &dyn Original) -> Range<u64> {
        let cut = |number: u32| {
            let at = u128::from(original.size()) * u128::from(number) / u128::from(self.of);
            original.cut_near(u64::try_from(at).unwrap_or(u64::MAX))
        };
        cut(self.number - 1)..cut(self.number)
    }

    /// The file of the part, beside the whole one.
    pub(super) fn path(self, whole: &Path) -> PathBuf {
        with_suffix(whole, &format!(".part-{}-of-{}", self.number, self.of))
    }

    /// The part that a name beside `whole` stands for.
    pub(super) fn of_name(name: &OsStr, whole: &OsStr) -> Option<Self> {
        let rest = name.as_encoded_bytes().strip_prefix(whole.as_encoded_bytes())?;
        let rest = str::from_utf8(rest).ok()?.strip_prefix(".part-")?;
        Self::parse(&rest.replacen("-of-", "/", 1)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbers_from_one() {
        let part = Part::parse("3/7").expect("a part");
        let of_name = |name: &str| Part::of_name(OsStr::new(name), OsStr::new("x.ims"));
        assert_eq!(part.to_string(), "3/7");
        assert_eq!(part.path(Path::new("a/x.ims")), Path::new("a/x.ims.part-3-of-7"));
        assert_eq!(of_name("x.ims.part-3-of-7"), Some(part));
        for name in
            ["x.ims.part-3-of-7.journal", "x.ims.part", "y.ims.part-3-of-7", "x.ims.part-8-of-7"]
        {
            assert_eq!(of_name(name), None, "{name}");
        }
        for text in ["", "3", "0/7", "8/7", "+1/7", "1/", "1/99999", "1/7/9"] {
            assert!(Part::parse(text).is_err(), "{text}");
        }
    }
}
